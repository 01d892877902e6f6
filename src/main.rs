//! The binary: parses the command line and runs the command.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use towline::config::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
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
            eprintln!("towline: {}", towline::chain(&*error));
            ExitCode::FAILURE
        }
    }
}
