//! The binary: parses the command line and runs the command.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use towline::config::{Cli, Command, command};

fn main() -> ExitCode {
    forbid_core_dumps();
    let done = match parsed().command {
        Command::Cluster(command) => return towline::cli::run(&command).into(),
        Command::Completion(args) => return towline::cli::completion(&args).into(),
        Command::Man(args) => return towline::cli::man(&args).into(),
        Command::Run(args) => {
            share_freed_memory();
            towline::operator::run(*args).map_err(Box::<dyn Error>::from)
        }
        Command::Build(args) => return towline::cli::build(&args).into(),
        Command::Crds(args) => return towline::cli::crds(&args).into(),
        Command::Version => return towline::cli::version().into(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            towline::cli::report(&*error);
            ExitCode::FAILURE
        }
    }
}

/// A core dump would hold decrypted content and keys. Linux gives a dump to the program that
/// `/proc/sys/kernel/core_pattern` names whatever the limit is, except for a limit of one byte
/// (`do_coredump` in fs/coredump.c). A file of one byte is too short for a dump as well.
///
/// The process stays readable for its own user, because tools that measure it need that. It does not where the limit is 0
/// already and cannot be raised: then `PR_SET_DUMPABLE` forbids the dump.
#[cfg(target_os = "linux")]
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let one_byte = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    if setrlimit(Resource::Core, one_byte).is_err() {
        // Nothing else is left to try, and the program is of use without it.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

#[cfg(not(target_os = "linux"))]
fn forbid_core_dumps() {}

/// glibc's allocator keeps up to eight arenas for each core, and what a thread of one arena frees no thread of another
/// uses. Two arenas take a seventh less memory with 1,000 Syncs, and no more time: docs/benchmark.md.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn share_freed_memory() {
    // SAFETY: it sets a number of the allocator, while the program has one thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn share_freed_memory() {}

/// The command line. As `kubectl-towline`, the program is a plugin of kubectl, and its help says so.
fn parsed() -> Cli {
    let program = std::env::args_os().next().unwrap_or_default();
    let is_plugin = Path::new(&program).file_stem() == Some(OsStr::new("kubectl-towline"));
    let command = match is_plugin {
        true => command().bin_name("kubectl towline"),
        false => command(),
    };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
