//! The figures as a table, as Markdown and as JSON.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The machine and the versions of the measurement.
#[derive(Clone, Debug)]
pub struct Machine {
    cores: usize,
    model: String,
    kernel: String,
    commit: String,
    pub kubernetes: Option<String>,
}

impl Machine {
    pub fn read() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let commit = git(&["describe", "--always", "--dirty", "--exclude=*"]);
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            kernel: kernel.trim().to_owned(),
            commit,
            kubernetes: None,
        }
    }

    fn json(&self) -> Value {
        json!({
            "cores": self.cores, "model": self.model, "kernel": self.kernel,
            "towline": env!("CARGO_PKG_VERSION"), "commit": self.commit,
            "kubernetes": self.kubernetes,
        })
    }

    fn line(&self) -> String {
        format!(
            "towline {} ({}), Kubernetes {}, {} cores ({}), Linux {}",
            env!("CARGO_PKG_VERSION"),
            self.commit,
            self.kubernetes.as_deref().unwrap_or("unknown"),
            self.cores,
            self.model,
            self.kernel
        )
    }
}

fn git(args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Seconds,
    Milliseconds,
    MebiBytes,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::MebiBytes => format!("{value:.1} MiB"),
            Self::Count => format!("{value:.0}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::MebiBytes => "MiB",
            Self::Count => "",
        }
    }
}

/// The limit of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    TimesFloor(f64),
    AtMost(f64),
    /// No limit: for information.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The row's number in the design's table of bars.
    pub number: u8,
    pub work: String,
    pub measured: f64,
    pub floor: Option<f64>,
    pub unit: Unit,
    pub limit: Limit,
    /// Values from which the figures were calculated.
    pub details: Value,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor
            .filter(|floor| *floor > 0.0)
            .map(|floor| self.measured / floor)
    }

    fn met(&self) -> Option<bool> {
        match self.limit {
            Limit::TimesFloor(times) => self.ratio().map(|ratio| ratio <= times),
            Limit::AtMost(most) => Some(self.measured <= most),
            Limit::None => None,
        }
    }

    fn cells(&self) -> [String; 7] {
        let bar = match self.limit {
            Limit::TimesFloor(times) => format!("≤ {times} × floor"),
            Limit::AtMost(most) => format!("≤ {}", self.unit.show(most)),
            Limit::None => String::new(),
        };
        let met = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.number.to_string(),
            self.work.clone(),
            bar,
            self.unit.show(self.measured),
            self.floor
                .map_or_else(String::new, |floor| self.unit.show(floor)),
            self.ratio()
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "row": self.number, "work": self.work, "unit": self.unit.name(),
            "measured": self.measured, "floor": self.floor, "ratio": self.ratio(),
            "limit": match self.limit {
                Limit::TimesFloor(times) => json!({"timesFloor": times}),
                Limit::AtMost(most) => json!({"atMost": most}),
                Limit::None => json!(null),
            },
            "met": self.met(), "details": self.details,
        })
    }
}

const HEADS: [&str; 7] = ["row", "work", "bar", "measured", "floor", "ratio", ""];

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            rows: Vec::new(),
        }
    }

    /// Adds a row and prints it, because a run takes minutes.
    pub fn add(&mut self, row: Row) {
        let cells = row.cells();
        println!("{}", cells.join("  "));
        self.rows.push(row);
    }

    pub fn sort(&mut self) {
        self.rows.sort_by_key(|row| row.number);
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 7]> = self.rows.iter().map(Row::cells).collect();
        let heads = HEADS.map(str::to_owned);
        let width = |column: usize| {
            let cells = rows.iter().chain([&heads]);
            cells
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        let mut text = format!("{}\n\n", self.machine.line());
        for row in [&heads].into_iter().chain(&rows) {
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(text, "{cell:<width$}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.machine.line());
        let _ = writeln!(text, "| work | bar | measured | floor | ratio | |");
        let _ = writeln!(text, "|---|---|---|---|---|---|");
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells()[1..].join(" | "));
        }
        text
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({"machine": self.machine.json(), "rows": rows})
    }

    /// Replaces the text between the marks of the page.
    pub fn write_page(&self) -> io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmark.md");
        let text = fs::read_to_string(path)?;
        let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let Some((before, after)) = parts else {
            return Err(io::Error::other(format!(
                "docs/benchmark.md has no {BEGIN} … {END}"
            )));
        };
        fs::write(
            path,
            format!("{before}{BEGIN}\n{}{END}{after}", self.markdown()),
        )
    }
}

pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (
        sorted.get((sorted.len().max(1) - 1) / 2),
        sorted.get(sorted.len() / 2),
    ) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}
