//! The command line. Arguments are parsed without side effects, then resolved once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A pull-based GitOps operator for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "towline", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster that kubectl would use.
    Run(RunArgs),
    /// Print the custom resource definitions.
    Crds(CrdsArgs),
    /// Print the version.
    Version,
}

/// Where the definitions go.
#[derive(Args, Clone, Debug)]
pub struct CrdsArgs {
    /// Write one file for each into this folder instead.
    #[arg(long)]
    pub into: Option<PathBuf>,
}

/// The operator's settings; each is also read from the environment.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Address for /metrics, /healthz and /readyz.
    #[arg(long, env = "TOWLINE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Address for webhooks: POST /hook.
    #[arg(long, env = "TOWLINE_WEBHOOK_LISTEN", default_value = "0.0.0.0:9292")]
    pub webhook_listen: SocketAddr,

    /// Folder for fetched repositories; it may be lost at any time.
    #[arg(long, env = "TOWLINE_CACHE_DIR", default_value = "/var/cache/towline")]
    pub cache_dir: PathBuf,

    /// Form of the log.
    #[arg(long, env = "TOWLINE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Least severe level to log: error, warn, info, debug, trace; also per module, as in
    /// `info,towline=debug`.
    #[arg(long, env = "TOWLINE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// Drive only resources of this namespace, and manage only objects in it.
    #[arg(long, env = "TOWLINE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// How long Git and the cluster may differ before a "diff" event is written.
    #[arg(long, env = "TOWLINE_DIFF_AFTER", default_value = "30s", value_parser = duration)]
    pub diff_after: Duration,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crate::api::Duration = text.parse().map_err(|error| format!("{error}"))?;
    if parsed.is_negative() {
        return Err("it is negative".to_owned());
    }
    Ok(parsed.into())
}
