//! Commands for people and for CI. They use the operator's own library, so they show what it would do.
//!
//! Each command is a pure core, from values to text, and a thin shell that reads and writes. A command has only the
//! rights of whoever runs it. What it writes to a cluster is what its arguments name: an annotation of a Sync or
//! GitRepository, `spec.suspend`, or a Secret that it creates. Managed objects are written by the operator alone, so no lease is needed here.

mod access;
mod annotate;
mod arrival;
mod build;
mod change;
mod check;
mod columns;
mod create;
mod diff;
mod export;
mod get;
mod hook;
mod lineage;
mod output;
mod owned;
mod past;
mod pin;
mod scope;
mod shell;
mod standing;
mod table;
mod terminal;
mod trace;
mod tree;
mod waiting;
mod why;

use std::error::Error;
use std::process::ExitCode;

use crate::config::{ClusterCommand, CreateCommand, HookCommand};
use crate::manifest::ObjectKey;

pub use build::build;
pub use shell::{completion, crds, man, version};

use access::AccessError;
use build::BuildError;
use terminal::Terminal;

/// What the exit code of a command says. It says the same for every command: docs/reference/command-line.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done, and nothing differs.
    Done = 0,
    /// The answer is that something differs, is wrong, or has failed; the output says what.
    Differs = 1,
    /// There is no answer: an argument is wrong or names what does not exist, or there is no cluster, no right, or no towline
    /// in the cluster. Every [`CliError`] is one.
    Error = 2,
    /// The time is over.
    Timeout = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the cluster serves no kind {0}: see kubectl api-resources")]
    UnknownKind(String),
    /// What exists of the arguments was shown.
    #[error("{}", in_words(.0))]
    Missing(Vec<AccessError>),
    #[error("{object} does not exist, and no Sync's status names it; {way}")]
    Unknown { object: ObjectKey, way: String },
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Pin(#[from] pin::PinError),
    #[error("the render was ended")]
    Ended,
    #[error("{0}")]
    Input(&'static str, #[source] crate::secrets::ReadError),
    #[error(transparent)]
    Secret(#[from] create::SecretError),
    #[error("writing {0}")]
    Write(std::path::PathBuf, #[source] std::io::Error),
    #[error("starting")]
    Start(#[source] std::io::Error),
    #[error("writing the output")]
    Output(#[source] std::io::Error),
    #[error("writing YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

impl CliError {
    /// An error if anything is missing.
    fn if_any(missing: Vec<AccessError>) -> Result<(), Self> {
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Self::Missing(missing)),
        }
    }
}

fn in_words(missing: &[AccessError]) -> String {
    let all: Vec<String> = missing.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// Runs a command that asks a cluster. Errors go to standard error.
pub fn run(command: &ClusterCommand) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Start);
    let done = runtime.and_then(|runtime| {
        let done = runtime.block_on(carry_out(command));
        runtime.shutdown_background();
        done
    });
    done.unwrap_or_else(|error| {
        report(&error);
        Exit::Error
    })
}

async fn carry_out(command: &ClusterCommand) -> Result<Exit, CliError> {
    match command {
        ClusterCommand::Get(args) => get::get(args).await,
        ClusterCommand::Reconcile(args) => annotate::reconcile(args).await,
        ClusterCommand::Suspend(args) => annotate::suspend(args).await,
        ClusterCommand::Resume(args) => annotate::resume(args).await,
        ClusterCommand::Pin(args) => pin::pin(args).await,
        ClusterCommand::Unpin(args) => pin::unpin(args).await,
        ClusterCommand::Approve(args) => annotate::approve(args).await,
        ClusterCommand::Wait(args) => waiting::wait(args).await,
        ClusterCommand::Trace(args) => trace::trace(args).await,
        ClusterCommand::Tree(args) => tree::tree(args).await,
        ClusterCommand::Why(args) => why::why(args).await,
        ClusterCommand::Events(args) => past::events(args).await,
        ClusterCommand::History(args) => past::history(args).await,
        ClusterCommand::Diff(args) => diff::diff(args).await,
        ClusterCommand::Export(args) => export::export(args).await,
        ClusterCommand::Check(args) => check::check(args).await,
        ClusterCommand::Create(CreateCommand::Secret(command)) => create::secret(command).await,
        ClusterCommand::Hook(HookCommand::Test(args)) => hook::test(args).await,
    }
}

/// Reports an error with its causes on standard error.
pub fn report(error: &(dyn Error + 'static)) {
    Terminal::note(&format!("towline: {}", crate::chain(error)));
}
