//! The binary: parse, then do.

use std::process::ExitCode;

use clap::Parser as _;
use towline::config::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => towline::run(args),
        Command::Crds => towline::print_crds(),
        Command::Version => towline::print_version(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("towline: {error}");
            ExitCode::FAILURE
        }
    }
}
