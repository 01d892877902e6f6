//! Arguments of the commands that ask a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    CheckArgs, ClusterArgs, CreateCommand, EventsName, HookCommand, OutputFormat, SteeredName,
    duration, names,
};

/// The commands that ask a cluster, with the rights of whoever runs them.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// List Syncs and GitRepositories with their state, revision and message.
    #[command(after_help = "Example:\n  towline get -A --not-ready")]
    Get(GetArgs),
    /// Reconcile a Sync or a GitRepository now.
    #[command(after_help = "Example:\n  towline reconcile shop --with-source --wait")]
    Reconcile(ReconcileArgs),
    /// Stop a Sync or a GitRepository, and record who did it and why.
    #[command(
        after_help = "Example:\n  towline suspend shop --reason 'incident 7: do not touch the database'"
    )]
    Suspend(SuspendArgs),
    /// Let a suspended Sync or GitRepository go on.
    #[command(after_help = "Example:\n  towline resume shop")]
    Resume(ResumeArgs),
    /// Go back to a revision of a Sync that was live, and stay there until a commit brings other content than the newest.
    ///
    /// Without a revision, it is the last one that converged before. Exit codes: 0 if the Sync is pinned, 2 if it cannot be.
    #[command(
        after_help = "Example:\n  towline pin shop --reason 'incident 8: checkout fails'\n  towline pin shop 0123456 --hold"
    )]
    Pin(PinArgs),
    /// Let a pinned Sync go on to the newest revision.
    #[command(after_help = "Example:\n  towline unpin shop")]
    Unpin(UnpinArgs),
    /// Show the deletion that a Sync holds back, and approve exactly that deletion.
    #[command(after_help = "Example:\n  towline approve shop --digest 3f9a5c21")]
    Approve(ApproveArgs),
    /// Wait until a commit is live, or until Syncs are ready.
    #[command(after_help = "Example:\n  towline wait --commit \"$GIT_COMMIT\" --timeout 10m")]
    Wait(WaitArgs),
    /// Tell which Sync, commit and author made an object.
    #[command(after_help = "Example:\n  towline trace deploy/web")]
    Trace(ObjectArgs),
    /// Show the objects of a Sync, their health, and the pods of its workloads.
    #[command(after_help = "Example:\n  towline tree shop")]
    Tree(NamedArgs),
    /// Tell in one sentence why an object, a Sync or a GitRepository is not as Git says.
    #[command(after_help = "Example:\n  towline why deploy/web")]
    Why(ObjectArgs),
    /// List the events of Syncs and GitRepositories, the newest last.
    #[command(after_help = "Example:\n  towline events shop")]
    Events(EventsArgs),
    /// List the commits that changed a Sync, the newest first.
    #[command(after_help = "Example:\n  towline history shop")]
    History(NamedArgs),
    /// Show what a local folder would change in the cluster, by a dry run with your rights.
    ///
    /// Values of Secrets are masked. Exit codes: 0 without a difference, 1 with one, 2 after an error.
    #[command(after_help = "Example:\n  towline diff shop --path apps/prod")]
    Diff(DiffArgs),
    /// Print manifests of live objects, without what the cluster writes and without known defaults.
    ///
    /// Secrets are left out.
    #[command(after_help = "Example:\n  towline export deploy/web svc/web cm/settings > web.yaml")]
    Export(ExportArgs),
    /// Check the cluster, the definitions, the clocks, your rights, and whether an operator drives the namespace.
    #[command(after_help = "Example:\n  towline check")]
    Check(CheckArgs),
    /// Create what resources of towline name.
    #[command(subcommand)]
    Create(CreateCommand),
    /// Try out webhooks.
    #[command(subcommand)]
    Hook(HookCommand),
}

/// Arguments of `towline get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// Only Syncs and GitRepositories with these names. Without a name, all.
    #[arg(value_name = "NAME", value_parser = names::steered)]
    pub names: Vec<SteeredName>,

    /// Only those that are not ready. Suspended ones are among them.
    #[arg(long)]
    pub not_ready: bool,

    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Format. The default is a table.
    #[arg(long, short, value_enum)]
    pub output: Option<ListFormat>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of commands about one object.
#[derive(Args, Clone, Debug)]
pub struct ObjectArgs {
    /// The object, such as `deployment/web`, `certificates.cert-manager.io/web` or `sync/shop`.
    #[arg(value_name = "KIND/NAME", value_parser = kind_and_name)]
    pub object: KindAndName,

    /// Format. The default is text.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// A kind, as people name it, and the name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindAndName {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// Arguments of commands about one Sync.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The Sync.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub name: String,

    /// Format. The default is a table.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The Sync whose settings count.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub name: String,

    /// Folder or file on disk that stands for the Sync's path. The default is that path below --root.
    #[arg(long)]
    pub path: Option<PathBuf>,

    /// Root of the repository on disk. The default is the nearest folder above with `.git`.
    #[arg(long)]
    pub root: Option<PathBuf>,

    /// Commit of the clone to read in place of the files on disk: its id, or a branch or tag of the clone.
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,

    /// Try also the objects that have the folder's manifest already. An admission rule that is newer may refuse them.
    #[arg(long)]
    pub all: bool,

    /// Field managers that the operator was given by its argument of the same name, separated by commas. What they declared
    /// of an object goes when the operator applies it.
    #[arg(long, env = "TOWLINE_TAKEOVER_MANAGERS", value_delimiter = ',')]
    pub takeover_managers: Vec<String>,

    /// Root of a clone of the repository that spec.helm.chartRef names.
    #[arg(long, value_name = "FOLDER")]
    pub chart_root: Option<PathBuf>,

    /// A remote base of kustomizations, with a clone of it at that tag or commit: URL?ref=REF=FOLDER. It can be given
    /// several times.
    #[arg(long, value_name = "URL=FOLDER")]
    pub base_root: Vec<String>,

    /// Folder with the renderers, kustomize.cwasm and helm.cwasm, as renderers/build makes them.
    #[arg(
        long,
        env = "TOWLINE_RENDERERS_DIR",
        default_value = "/usr/lib/towline/renderers"
    )]
    pub renderers_dir: PathBuf,

    /// Format. The default is text with unified differences.
    #[arg(long, short, value_enum)]
    pub output: Option<DiffFormat>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Format of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// One JSON object.
    Json,
    /// A comment for a pull request.
    Markdown,
}

/// Arguments of `towline export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The objects, such as `deployment/web`.
    #[arg(value_name = "KIND/NAME", required = true, value_parser = kind_and_name)]
    pub objects: Vec<KindAndName>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Only of the resource with this name, such as `shop`, `sync/shop`, `repo/shop`, `alert/chat` or `provider/chat`.
    #[arg(value_name = "[KIND/]NAME", value_parser = names::events)]
    pub name: Option<EventsName>,

    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Format. The default is a table.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Format of a list of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A list in JSON.
    Json,
    /// YAML documents.
    Yaml,
    /// One `kind.group/name` on each line.
    Name,
}

/// Arguments of `towline reconcile`.
#[derive(Args, Clone, Debug)]
pub struct ReconcileArgs {
    /// The Sync: `NAME`, or `sync/NAME`. `repo/NAME` is a GitRepository.
    #[arg(value_name = "SYNC|repo/NAME", value_parser = names::steered)]
    pub name: SteeredName,

    /// Fetch the Sync's GitRepository first.
    #[arg(long)]
    pub with_source: bool,

    /// Wait until it is done, and until the Sync or GitRepository is ready.
    #[arg(long)]
    pub wait: bool,

    /// Longest time to wait. The default is twice that of spec.timeout, so that a Sync that does not get healthy has failed by
    /// then.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline suspend`.
#[derive(Args, Clone, Debug)]
pub struct SuspendArgs {
    /// The Sync: `NAME`, or `sync/NAME`. `repo/NAME` is a GitRepository.
    #[arg(value_name = "SYNC|repo/NAME", value_parser = names::steered)]
    pub name: SteeredName,

    /// Why, for others who find it suspended.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline resume`.
#[derive(Args, Clone, Debug)]
pub struct ResumeArgs {
    /// The Sync: `NAME`, or `sync/NAME`. `repo/NAME` is a GitRepository.
    #[arg(value_name = "SYNC|repo/NAME", value_parser = names::steered)]
    pub name: SteeredName,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline pin`.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    /// The Sync.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub name: String,

    /// The commit, or its first 7 digits or more: one that `towline history` lists.
    #[arg(value_name = "REVISION", value_parser = revision)]
    pub revision: Option<String>,

    /// Stay there until `towline unpin`, whatever is committed.
    #[arg(long)]
    pub hold: bool,

    /// Why, for others who find it pinned.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline unpin`.
#[derive(Args, Clone, Debug)]
pub struct UnpinArgs {
    /// The Sync.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub name: String,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline approve`.
#[derive(Args, Clone, Debug)]
pub struct ApproveArgs {
    /// The Sync.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub name: String,

    /// The digest of the deletion, or its first 8 characters or more. Without it, the deletion is only shown.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub digest: Option<String>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Only these Syncs. Without a name, all of the namespace.
    #[arg(value_name = "SYNC", value_parser = names::sync)]
    pub names: Vec<String>,

    /// The commit, or its first 7 digits or more. Only Syncs whose content it changed are waited for. Without a commit,
    /// Syncs are waited for until they are ready.
    #[arg(long, value_name = "SHA", value_parser = commit)]
    pub commit: Option<String>,

    /// Longest time to wait. The default is twice that of spec.timeout, so that a Sync that does not get healthy has failed by
    /// then.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,

    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

fn kind_and_name(text: &str) -> Result<KindAndName, String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && names::is_object(name) => Ok(KindAndName {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }),
        _ => Err("name a kind and an object, such as deploy/web".to_owned()),
    }
}

fn commit(text: &str) -> Result<String, String> {
    hexadecimal(text, 7)
        .ok_or_else(|| "it is not a commit of 7 to 64 hexadecimal digits".to_owned())
}

/// The commit of a revision as statuses name it: `main@sha1:0123456789ab`.
fn revision(text: &str) -> Result<String, String> {
    commit(text.rsplit_once(':').map_or(text, |(_, id)| id))
}

fn digest(text: &str) -> Result<String, String> {
    hexadecimal(text, 8)
        .ok_or_else(|| "it is not a digest of 8 to 64 hexadecimal digits".to_owned())
}

fn hexadecimal(text: &str, shortest: usize) -> Option<String> {
    let is_one =
        (shortest..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_with_its_kind() {
        let web = kind_and_name("deployments.apps/web").unwrap();
        assert_eq!((&*web.kind, &*web.name), ("deployments.apps", "web"));
        for wrong in [
            "web",
            "/web",
            "deploy/",
            "deploy/a/b",
            "deploy/..",
            "deploy/a?b",
        ] {
            assert!(kind_and_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_commit_is_hexadecimal() {
        assert_eq!(commit("ABCDEF0").as_deref(), Ok("abcdef0"));
        assert_eq!(revision("main@sha1:abcdef0").as_deref(), Ok("abcdef0"));
        assert!(revision("main").is_err());
        let long = "0".repeat(65);
        for wrong in ["", "abcdef", "main", "abcdefg", &long] {
            assert!(commit(wrong).is_err(), "{wrong}");
        }
    }
}
