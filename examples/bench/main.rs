//! The benchmark: measures every bar of the design beside the raw floor. The floor is what a simple
//! client reaches with the same control plane in the same run.
//!
//! `cargo run --release --example bench -- --help`

// If the benchmark cannot work, it stops with a message.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bed;
mod beside;
mod commands;
mod empty;
mod floor;
mod large;
mod load;
mod many;
mod mono;
mod pushed;
mod rendered;
mod report;
mod seen;
mod small;
mod soak;
mod told;

use std::path::PathBuf;

use clap::Parser;

use report::{Machine, Report};

/// Measures towline beside the raw floor. The table shows missed bars. The exit code only shows whether
/// everything could be measured.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Rows to measure, such as `1,2,5`. Default: all but 13.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<u8>,
    /// Number of ConfigMaps in the large Sync.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Minutes of row 13, which runs only when it is named.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Number of Syncs in the row of many Syncs.
    #[arg(long, default_value_t = 1_000)]
    syncs: usize,
    /// Repetitions of measurements that take milliseconds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Write the figures and their details to this JSON file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print a Markdown table too.
    #[arg(long)]
    markdown: bool,
    /// Write the Markdown table between the marks in docs/benchmark.md.
    #[arg(long)]
    page: bool,
    /// Measure this build of the operator instead of the one that Cargo makes.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// More arguments for the operator.
    #[arg(long, allow_hyphen_values = true)]
    operator_arg: Vec<String>,
}

impl Options {
    fn wants(&self, rows: &[u8]) -> bool {
        self.rows.is_empty() || rows.iter().any(|row| self.rows.contains(row))
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let mut report = Report::new(Machine::read());
    if options.wants(&[1, 2, 3, 6, 11]) {
        small::measure(&options, &mut report).await;
    }
    if options.wants(&[4]) {
        mono::measure(&options, &mut report).await;
    }
    if options.wants(&[1, 5, 6, 7]) {
        large::measure(&options, &mut report).await;
    }
    if options.wants(&[8]) {
        empty::measure(&options, &mut report).await;
    }
    if options.wants(&[9, 11, 12]) {
        many::measure(&options, &mut report).await;
    }
    if options.wants(&[10]) {
        beside::measure(&options, &mut report).await;
    }
    if options.wants(&[14, 15, 16, 17]) {
        rendered::measure(&options, &mut report).await;
    }
    // It takes an hour, so it runs only where it is named.
    if options.rows.contains(&13) {
        soak::measure(&options, &mut report).await;
    }
    report.sort();
    println!("\n{}", report.table());
    if options.markdown {
        println!("{}", report.markdown());
    }
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json())).expect("write the JSON file");
    }
    if options.page {
        report
            .write_page()
            .expect("write the table into docs/benchmark.md");
    }
}
