//! The log: its targets, levels and formats.

use std::io::{self, Write};

use serde_json::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, RunArgs};
use crate::sync::AUDIT;
use crate::text::shorten;

/// Targets that are never logged. kube's client logs an answer that it cannot read in full, even a
/// Secret. The HTTP client logs URLs with their queries, and texts of servers. The callers of an
/// interrupted watch log the cause themselves, once.
const MUTED: [&str; 4] = [
    "kube_client::client",
    "kube_runtime::watcher",
    "ureq",
    "ureq_proto",
];

/// Starts the log on standard error.
///
/// # Errors
///
/// `--log-level` is not a valid filter.
pub(crate) fn start(args: &RunArgs) -> Result<(), ParseError> {
    // The audit log is written at every level, unless the filter names it.
    let mut filter = format!("{AUDIT}=info,{}", args.log_level).parse::<EnvFilter>()?;
    for target in MUTED {
        let off = format!("{target}=off").parse()?;
        filter = filter.add_directive(off);
    }
    let format = args.log_format;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || BoundedLines { format });
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The longest line of the log, in bytes. A commit may hold paths and names of any length, and a server may
/// answer with a message of any size.
const LONGEST_LINE: usize = 16 * 1024;

/// The longest text in a line that would be longer, in bytes.
const LONGEST_TEXT: usize = 1024;

/// Standard error, with lines of a bounded length.
struct BoundedLines {
    format: LogFormat,
}

impl Write for BoundedLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The log writes whole lines.
        match bounded(line, self.format) {
            Some(short) => io::stderr().write_all(short.as_bytes())?,
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line that is too long, in short; none if it is not too long.
fn bounded(line: &[u8], format: LogFormat) -> Option<String> {
    if line.len() <= LONGEST_LINE {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let mut short = match format {
        LogFormat::Text => shorten(text.trim_end(), LONGEST_LINE),
        LogFormat::Json => {
            let mut value = serde_json::from_str(&text).unwrap_or(Value::Null);
            cut(&mut value);
            value.to_string()
        }
    };
    short.push('\n');
    Some(short)
}

fn cut(value: &mut Value) {
    match value {
        Value::String(text) => *text = shorten(text, LONGEST_TEXT),
        Value::Array(items) => items.iter_mut().for_each(cut),
        Value::Object(fields) => fields.values_mut().for_each(cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bound_and_json_stays_json() {
        assert_eq!(bounded(b"short\n", LogFormat::Text), None);
        let long = format!("INFO {}\n", "é".repeat(LONGEST_LINE));
        let short = bounded(long.as_bytes(), LogFormat::Text).unwrap();
        assert!(short.len() <= LONGEST_LINE + 1 && short.ends_with("…\n"));
        let path = "d".repeat(500_000);
        let line = serde_json::json!({"level": "INFO", "file": path, "fields": {"paths": [path]}});
        let short = bounded(format!("{line}\n").as_bytes(), LogFormat::Json).unwrap();
        assert!(short.len() <= 2 * LONGEST_TEXT + 100, "{}", short.len());
        let read: Value = serde_json::from_str(&short).unwrap();
        assert_eq!(read["level"], "INFO");
    }
}
