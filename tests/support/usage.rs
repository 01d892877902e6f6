//! What a process costs: memory and processor time, from /proc.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident now.
    pub rss: f64,
    /// The most that was ever resident.
    pub peak: f64,
    /// Resident, with shared pages divided by those who share them.
    pub pss: f64,
    /// Resident and not backed by a file: neither the program nor its libraries.
    pub anonymous: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read its status");
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        Self {
            rss: mebibytes(&status, "VmRSS:"),
            peak: mebibytes(&status, "VmHWM:"),
            pss: mebibytes(&rollup, "Pss:"),
            anonymous: mebibytes(&status, "RssAnon:"),
        }
    }

    pub fn json(&self) -> Value {
        let Self {
            rss,
            peak,
            pss,
            anonymous,
        } = self;
        json!({"rss": rss, "peak": peak, "pss": pss, "anonymous": anonymous})
    }
}

fn mebibytes(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or_default() / 1024.0
}

/// Processor time of a process so far, user and system.
pub fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read its stat");
    // The program's name, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    // The kernel counts in hundredths of a second towards user space, whatever it uses itself.
    Duration::from_millis(ticks * 10)
}
