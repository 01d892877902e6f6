//! The command line. Arguments are parsed without side effects, then resolved once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
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
#[expect(clippy::large_enum_variant, reason = "there is one, read once")]
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
    /// Write one file for each definition into this folder instead of printing them.
    #[arg(long)]
    pub into: Option<PathBuf>,
}

/// The operator's settings; each is also read from the environment.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Address for /metrics, /healthz and /readyz; `[::]` means every address, IPv4 included.
    #[arg(long, env = "TOWLINE_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Address for webhooks: POST /hook.
    #[arg(long, env = "TOWLINE_WEBHOOK_LISTEN", default_value = "[::]:9292")]
    pub webhook_listen: SocketAddr,

    /// Folder for fetched repositories; it may be deleted at any time.
    #[arg(long, env = "TOWLINE_CACHE_DIR", default_value = "/var/cache/towline")]
    pub cache_dir: PathBuf,

    /// Format of the log.
    #[arg(long, env = "TOWLINE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Least severe level to log: error, warn, info, debug or trace. Also per module, as in
    /// `info,towline=debug`.
    #[arg(long, env = "TOWLINE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// Drive only resources of this namespace, and manage only objects in it.
    #[arg(long, env = "TOWLINE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// How long Git and the cluster may differ before a `Diff` event is written.
    #[arg(long, env = "TOWLINE_DIFF_AFTER", default_value = "30s", value_parser = duration)]
    pub diff_after: Duration,

    /// Run beside other replicas: the one that holds the Lease does the work, the others stand by.
    #[arg(long, env = "TOWLINE_LEADER_ELECT", value_parser = BoolishValueParser::new())]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "TOWLINE_LEASE_NAME", default_value = "towline")]
    pub lease_name: String,

    /// Namespace of the Lease; by default that of the pod, or of the kubeconfig's context.
    #[arg(long, env = "TOWLINE_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How long a replica that does not renew the Lease keeps it, 1s or more; it stops writing after
    /// two thirds of that time.
    #[arg(long, env = "TOWLINE_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// `IP:port` at which other replicas reach the webhook port of this one; by default that of
    /// --webhook-listen, unless that means every address.
    #[arg(long, env = "TOWLINE_ADVERTISE", value_parser = address)]
    pub advertise: Option<SocketAddr>,
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

/// Below a second, a busy API server would end every lease.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    match parsed < Duration::from_secs(1) {
        true => Err("it is shorter than a second".to_owned()),
        false => Ok(parsed),
    }
}

/// `IP:port`; an IPv6 address also without brackets, as `$(POD_IP):9292` gives it.
fn address(text: &str) -> Result<SocketAddr, String> {
    let without_brackets = || {
        let (ip, port) = text.rsplit_once(':')?;
        let (ip, port): (IpAddr, u16) = (ip.parse().ok()?, port.parse().ok()?);
        Some(SocketAddr::from((ip, port)))
    };
    let parsed = text.parse().ok().or_else(without_brackets);
    parsed.ok_or_else(|| "it is not an IP address with a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_and_without_brackets() {
        for (text, read) in [
            ("10.0.0.7:9292", "10.0.0.7:9292"),
            ("[fd00::7]:9292", "[fd00::7]:9292"),
            ("fd00::7:9292", "[fd00::7]:9292"),
        ] {
            assert_eq!(address(text), Ok(read.parse().unwrap()), "{text}");
        }
        for wrong in ["", ":9292", "10.0.0.7", "towline:9292", "10.0.0.7:x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_is_not_shorter_than_a_second() {
        assert_eq!(lease_duration("15s"), Ok(Duration::from_secs(15)));
        assert!(lease_duration("900ms").is_err());
        assert!(lease_duration("-15s").is_err());
    }
}
