//! The binary: parses the command line and runs the command.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use towline::config::{Cli, Command};

fn main() -> ExitCode {
    let done = match parsed().command {
        Command::Cluster(command) => return towline::cli::run(&command).into(),
        Command::Completion(args) => return towline::cli::completion(&args).into(),
        Command::Man(args) => return towline::cli::man(&args).into(),
        Command::Run(args) => towline::operator::run(args).map_err(Box::<dyn Error>::from),
        Command::Build(args) => towline::cli::build(&args).map_err(Into::into),
        Command::Crds(args) => towline::crds::run(&args).map_err(Into::into),
        Command::Version => {
            println!("towline {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            towline::cli::report(&*error);
            ExitCode::FAILURE
        }
    }
}

/// The command line. As `kubectl-towline`, the program is a plugin of kubectl, and its help says so.
fn parsed() -> Cli {
    let program = std::env::args_os().next().unwrap_or_default();
    let is_plugin = Path::new(&program).file_stem() == Some(OsStr::new("kubectl-towline"));
    let command = match is_plugin {
        true => Cli::command().bin_name("kubectl towline"),
        false => Cli::command(),
    };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
