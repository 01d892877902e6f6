//! What a process uses: memory and processor time, from /proc.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident memory now.
    pub rss: f64,
    /// The peak of resident memory.
    pub peak: f64,
    /// Resident memory, where a shared page counts in equal parts for the processes that share it.
    pub pss: f64,
    /// Resident memory that no file backs: without the program and its libraries.
    pub anonymous: f64,
    /// Resident memory that a file backs: the program, its libraries, and mapped packs.
    pub mapped: f64,
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
            mapped: mebibytes(&status, "RssFile:"),
        }
    }

    pub fn json(&self) -> Value {
        let Self {
            rss,
            peak,
            pss,
            anonymous,
            mapped,
        } = self;
        json!({"rss": rss, "peak": peak, "pss": pss, "anonymous": anonymous, "mapped": mapped})
    }
}

fn mebibytes(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or_default() / 1024.0
}

/// The processor time that a process has used, in user and system mode.
pub fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read its stat");
    // The program's name is in parentheses and may contain spaces.
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    // The kernel reports hundredths of a second to user space, independent of its own tick rate.
    Duration::from_millis(ticks * 10)
}

/// The number of threads of a process.
pub fn threads(pid: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/task")).expect("read its threads");
    all.count()
}

/// The number of open sockets of a process.
pub fn sockets(pid: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("read its files");
    let targets = all.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let is_socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    targets.filter(is_socket).count()
}
