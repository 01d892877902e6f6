//! The log: its targets, levels and formats.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, RunArgs};
use crate::sync::AUDIT;

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
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
