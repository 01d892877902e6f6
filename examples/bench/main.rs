//! The benchmark: every bar of the design beside the raw floor, which a bare client reaches against the
//! same control plane in the same run.
//!
//! `cargo run --release --example bench -- --help`

// A benchmark that cannot do its work has nothing better to do than to say so and end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bed;
mod empty;
mod floor;
mod large;
mod load;
mod many;
mod mono;
mod pushed;
mod report;
mod seen;
mod small;

use std::path::PathBuf;

use clap::Parser;

use report::{Machine, Report};

/// Measures towline beside the raw floor. A missed bar is told in the table; the exit code tells only
/// whether everything could be measured.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Rows to measure, as in `1,2,5`; all where none are named.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<u8>,
    /// ConfigMaps of the large Sync.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Syncs of the row of many Syncs.
    #[arg(long, default_value_t = 1_000)]
    syncs: usize,
    /// Repetitions of what takes milliseconds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Write the figures, and what they are made of, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print a Markdown table too.
    #[arg(long)]
    markdown: bool,
    /// Write the Markdown table between the marks in docs/benchmark.md.
    #[arg(long)]
    page: bool,
    /// Another build of the operator than the one that Cargo makes, to compare the two.
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
    if options.wants(&[1, 2, 3, 6]) {
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
    if options.wants(&[9]) {
        many::measure(&options, &mut report).await;
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
