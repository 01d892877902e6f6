//! The command line. It is parsed without side effects, and then resolved once.

mod cluster;
mod command;
mod global;
mod names;
mod setup;
mod traces;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::url::HttpUrl;

pub use cluster::{ClusterArgs, Colour};
pub use command::{
    ApproveArgs, ClusterCommand, DiffArgs, DiffFormat, EventsArgs, ExportArgs, GetArgs,
    KindAndName, ListFormat, NamedArgs, ObjectArgs, PinArgs, ReconcileArgs, ResumeArgs,
    SuspendArgs, UnpinArgs, WaitArgs,
};
pub use global::command;
pub use names::{EventsName, SteeredName};
pub use setup::{
    CheckArgs, CompletionArgs, CreateCommand, GitSecretArgs, HookCommand, HookSecretArgs,
    HookTestArgs, ManArgs, NewSecretArgs, ProviderSecretArgs, RegistrySecretArgs, SecretCommand,
    SignersSecretArgs,
};
pub use traces::{Hidden, TraceArgs, TraceError};

/// A pull-based GitOps operator for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "towline", version, about)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster that kubectl would use.
    Run(Box<RunArgs>),
    /// Print the objects that a Sync would apply, from a folder on disk and without a cluster.
    #[command(after_help = "Example:\n  towline build apps/prod")]
    Build(BuildArgs),
    /// A command that asks a cluster.
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Print the completion for a shell.
    ///
    /// Make its folder before, if there is none: `mkdir -p ~/.local/share/bash-completion/completions`.
    #[command(
        after_help = "Example:\n  towline completion bash > ~/.local/share/bash-completion/completions/towline"
    )]
    Completion(CompletionArgs),
    /// Write man pages, one for each command.
    #[command(after_help = "Example:\n  towline man --into ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print the custom resource definitions.
    Crds(CrdsArgs),
    /// Print the version.
    Version,
}

/// Arguments of `towline build`.
#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// Folder or file to build: manifests, a kustomization or a chart. It wins over the path of --sync.
    #[arg(required_unless_present = "sync")]
    pub path: Option<PathBuf>,

    /// Manifest of the Sync whose settings count: path, kustomize, helm, substitute and all others.
    #[arg(long)]
    pub sync: Option<PathBuf>,

    /// Root of the repository. The default is the nearest folder above with `.git`, else PATH.
    #[arg(long)]
    pub root: Option<PathBuf>,

    /// Commit of the clone to read in place of the files on disk: its id, or a branch or tag of the clone.
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,

    /// Root of a clone of the repository that spec.helm.chartRef names.
    #[arg(long, value_name = "FOLDER")]
    pub chart_root: Option<PathBuf>,

    /// A remote base of kustomizations, with a clone of it at that tag or commit: URL?ref=REF=FOLDER. It can be given
    /// several times.
    #[arg(long, value_name = "URL=FOLDER")]
    pub base_root: Vec<String>,

    /// File with ConfigMaps and Secrets that the Sync names. It can be given several times.
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,

    /// Namespace of a Sync that names none.
    #[arg(long, default_value = "default")]
    pub namespace: String,

    /// Version of Kubernetes that charts see.
    #[arg(long, default_value = "v1.36.0")]
    pub kube_version: String,

    /// API versions that charts see, separated by commas: `apps/v1`, or `apps/v1/Deployment`.
    #[arg(long, value_delimiter = ',')]
    pub api_versions: Vec<String>,

    /// Folder with the renderers, kustomize.cwasm and helm.cwasm, as renderers/build makes them.
    #[arg(
        long,
        env = "TOWLINE_RENDERERS_DIR",
        default_value = "/usr/lib/towline/renderers"
    )]
    pub renderers_dir: PathBuf,

    /// Format of the objects.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Yaml)]
    pub output: OutputFormat,
}

/// Format of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// YAML documents.
    Yaml,
    /// A list in JSON.
    Json,
}

/// Arguments of `towline crds`.
#[derive(Args, Clone, Debug)]
pub struct CrdsArgs {
    /// Write one file for each definition into this folder instead of printing them.
    #[arg(long)]
    pub into: Option<PathBuf>,
}

/// The operator's settings. Each can also be set in the environment.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// File with the cluster and the credentials. The default is KUBECONFIG, else ~/.kube/config, else the account of
    /// the pod.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig. The default is its current context.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Address for /metrics, /healthz and /readyz; `[::]` means every address, including IPv4.
    #[arg(long, env = "TOWLINE_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Address for webhooks: POST /hook.
    #[arg(long, env = "TOWLINE_WEBHOOK_LISTEN", default_value = "[::]:9292")]
    pub webhook_listen: SocketAddr,

    /// Folder for fetched repositories and for what was rendered. It may be deleted at any time.
    #[arg(long, env = "TOWLINE_CACHE_DIR", default_value = "/var/cache/towline")]
    pub cache_dir: PathBuf,

    /// Size of the volume of --cache-dir, such as 10Gi. Copies use nine tenths of it, and what was rendered a fiftieth. The
    /// default is what is free there at the start.
    #[arg(long, env = "TOWLINE_CACHE_SIZE", value_parser = bytes)]
    pub cache_size: Option<u64>,

    /// The most that the copies of one namespace may have, such as 2Gi. The default is half of what all may have.
    #[arg(long, env = "TOWLINE_CACHE_SIZE_PER_NAMESPACE", value_parser = bytes)]
    pub cache_size_per_namespace: Option<u64>,

    /// Folder with the renderers kustomize.cwasm and helm.cwasm, which renderers/build makes.
    #[arg(
        long,
        env = "TOWLINE_RENDERERS_DIR",
        default_value = "/usr/lib/towline/renderers"
    )]
    pub renderers_dir: PathBuf,

    /// Format of the log.
    #[arg(long, env = "TOWLINE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Least severe level to log: error, warn, info, debug or trace. It can be set for a module, such as
    /// `info,towline=debug`.
    #[arg(long, env = "TOWLINE_LOG_LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,

    /// Drive only resources of this namespace, and manage only objects in it.
    #[arg(long, env = "TOWLINE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// ServiceAccount, in the namespace of each Sync, that acts for a Sync without spec.serviceAccountName. Without
    /// this argument, towline acts with all of its own rights.
    #[arg(long, env = "TOWLINE_DEFAULT_SERVICE_ACCOUNT", value_parser = account_name)]
    pub default_service_account: Option<String>,

    /// Let a Sync for which no ServiceAccount acts manage only objects of its own namespace, and an Alert tell only
    /// notices of its own namespace. Other references never reach into another namespace.
    #[arg(long, env = "TOWLINE_NO_CROSS_NAMESPACE", value_parser = BoolishValueParser::new())]
    pub no_cross_namespace: bool,

    /// Name that tells this cluster from others: in the statuses of commits, and in the messages of Alerts without
    /// `cluster` in spec.eventMetadata.
    #[arg(long, env = "TOWLINE_CLUSTER_NAME", value_parser = cluster_name)]
    pub cluster_name: Option<String>,

    /// URL of the folder that has towline's `docs` in it, such as https://git.example.com/platform/towline/blob/main: then
    /// messages of Alerts and failures of commits have links to the page of their reason.
    #[arg(long, env = "TOWLINE_DOCS_URL", value_parser = docs_url)]
    pub docs_url: Option<String>,

    /// Shortest time between two polls of a repository, and between two full verifications of a Sync, whatever their
    /// `interval` says.
    #[arg(long, env = "TOWLINE_MIN_INTERVAL", default_value = "0s", value_parser = duration)]
    pub min_interval: Duration,

    /// How long Git and the cluster may differ before a `Diff` event is written.
    #[arg(long, env = "TOWLINE_DIFF_AFTER", default_value = "30s", value_parser = duration)]
    pub diff_after: Duration,

    /// How long after a revision went live it may count as a failed change: because it is reverted, pinned away, or
    /// becomes unhealthy.
    #[arg(long, env = "TOWLINE_FAILURE_WINDOW", default_value = "1h", value_parser = duration)]
    pub failure_window: Duration,

    /// More field managers that apply whole manifests, separated by commas. When towline applies an
    /// object, it takes over the fields that they declared. The managers of kubectl, Helm, Flux and Argo
    /// CD are built in.
    #[arg(long, env = "TOWLINE_TAKEOVER_MANAGERS", value_delimiter = ',')]
    pub takeover_managers: Vec<String>,

    /// Show values of refused objects in status, events and logs, as in the API server's messages. Values
    /// of Secrets are never shown.
    #[arg(long, env = "TOWLINE_SHOW_VALUES", value_parser = BoolishValueParser::new())]
    pub show_values: bool,

    /// Run with other replicas. The replica that holds the Lease does the work, and the others are
    /// standbys.
    #[arg(long, env = "TOWLINE_LEADER_ELECT", value_parser = BoolishValueParser::new())]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "TOWLINE_LEASE_NAME", default_value = "towline")]
    pub lease_name: String,

    /// Namespace of the Lease and of the key's Secret. The default is the namespace of the pod, or of the kubeconfig's
    /// context.
    #[arg(long, env = "TOWLINE_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the Secret with the key that proves which objects towline manages. It is beside the Lease, and made
    /// where there is none.
    #[arg(long, env = "TOWLINE_KEY_SECRET", default_value = "towline-key")]
    pub key_secret: String,

    /// How long the Lease is valid after each renewal, at least 1s. A replica that cannot renew it
    /// stops writing after two thirds of that time.
    #[arg(long, env = "TOWLINE_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// `IP:port` at which other replicas reach the webhook port of this replica. The default is the
    /// address of --webhook-listen, unless that is every address.
    #[arg(long, env = "TOWLINE_ADVERTISE", value_parser = address)]
    pub advertise: Option<SocketAddr>,

    /// Where traces are sent.
    #[command(flatten)]
    pub traces: TraceArgs,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// The longest time that somebody can mean, in seconds: ten years.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60;

fn duration(text: &str) -> Result<Duration, String> {
    // Kubernetes' parser takes no text for no time, and ends the process for numbers that are too large.
    let numbers = || text.split(|c: char| !c.is_ascii_digit());
    let is_odd =
        numbers().all(str::is_empty) || numbers().any(|digits| digits.len() > 9) || text.len() > 40;
    let wrong = || "it is no time such as 90s, 10m or 1h30m, of at most ten years".to_owned();
    if is_odd {
        return Err(wrong());
    }
    let parsed: crate::api::Duration = text.parse().map_err(|error| format!("{error}"))?;
    if parsed.is_negative() {
        return Err("it is negative".to_owned());
    }
    let parsed = Duration::from(parsed);
    match parsed.as_secs() <= LONGEST {
        true => Ok(parsed),
        false => Err(wrong()),
    }
}

/// A size as in Kubernetes: a number, and an optional suffix such as `Mi` or `G`.
fn bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let power = |base: u64| {
        let exponent = ["", "K", "M", "G", "T", "P", "E"];
        let letter = unit.trim_end_matches('i').to_uppercase();
        let exponent = exponent.iter().position(|known| *known == letter)?;
        base.checked_pow(u32::try_from(exponent).ok()?)
    };
    let factor = match unit.ends_with('i') {
        true => power(1024).filter(|factor| *factor > 1),
        false => power(1000),
    };
    let wrong = || "it is not a size such as 512Mi or 10Gi".to_owned();
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * factor.ok_or_else(wrong)? as f64;
    match (1.0..1e19).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err(wrong()),
    }
}

/// A level, or levels of modules. The log's own parser takes any other word for a module, of which nothing would be logged.
fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!(
                "{level:?} is no level: error, warn, info, debug or trace, or for a module, such as info,towline=debug"
            ));
        }
    }
    Ok(text.to_owned())
}

fn cluster_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match matches!(text.len(), 1..=63) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it must have 1 to 63 letters, digits, '-', '.' and '_'".to_owned()),
    }
}

/// Ends with `/`.
fn docs_url(text: &str) -> Result<String, String> {
    let wrong = || "it must be an http or https URL without user, query or fragment".to_owned();
    let url = HttpUrl::parse(text).ok_or_else(wrong)?;
    let is_plain = url.without_user().as_ref() == Some(&url) && !text.contains(['?', '#']);
    match is_plain {
        true => Ok(format!("{}/", text.trim_end_matches('/'))),
        false => Err(wrong()),
    }
}

fn account_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_inner = |byte: u8| is_plain(byte) || byte == b'-' || byte == b'.';
    let (bytes, ends) = (text.as_bytes(), [text.bytes().next(), text.bytes().last()]);
    let is_name = bytes.len() <= 253
        && ends.into_iter().all(|end| end.is_some_and(is_plain))
        && bytes.iter().copied().all(is_inner);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err("it is not the name of a ServiceAccount".to_owned()),
    }
}

/// With less than a second, a busy API server could end every lease.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    match parsed < Duration::from_secs(1) {
        true => Err("it is shorter than a second".to_owned()),
        false => Ok(parsed),
    }
}

/// Parses `IP:port`. Also accepts an IPv6 address without brackets, because `$(POD_IP):9292` has
/// none.
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
    fn a_log_level_is_one() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "info,towline=debug",
            "towline::sync=trace",
        ] {
            assert_eq!(log_level(good).as_deref(), Ok(good));
        }
        for wrong in ["", "nonsense", "info,", "towline", "towline=loud", "info,x"] {
            assert!(log_level(wrong).is_err(), "{wrong}");
        }
    }

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
    fn a_size_is_read_as_in_kubernetes() {
        for (text, size) in [
            ("1024", 1024),
            ("512Mi", 512 << 20),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("2G", 2_000_000_000),
            ("5k", 5000),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in [
            "", "Gi", "10i", "10GB", "-1Gi", "0", "ten", "1e9Ei", "nan", "inf",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_account_is_a_name() {
        for name in ["default", "towline", "a.b-c", "0"] {
            assert_eq!(account_name(name).as_deref(), Ok(name));
        }
        for wrong in ["", "-a", "a-", "ns/a", "ns:a", "A", "a b"] {
            assert!(account_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_is_not_shorter_than_a_second() {
        assert_eq!(lease_duration("15s"), Ok(Duration::from_secs(15)));
        assert!(lease_duration("900ms").is_err());
        assert!(lease_duration("-15s").is_err());
    }
}
