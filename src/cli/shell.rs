//! `towline completion` and `towline man`: generated from the declarations of the arguments.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};

use super::terminal::Terminal;
use super::{CliError, Exit, report};
use crate::config::{Cli, CompletionArgs, ManArgs};

/// Prints the completion for a shell.
pub fn completion(args: &CompletionArgs) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "towline", &mut text);
    done(Terminal::print(&String::from_utf8_lossy(&text)))
}

/// Writes a man page for each command.
pub fn man(args: &ManArgs) -> Exit {
    let mut command = Cli::command();
    command.build();
    done(pages(&args.into, "towline", &command))
}

fn done(result: Result<(), CliError>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            report(&error);
            Exit::Error
        }
    }
}

/// The pages of a command and of those below it.
fn pages(folder: &Path, name: &str, command: &Command) -> Result<(), CliError> {
    let page = clap_mangen::Man::new(command.clone()).title(name);
    let mut text = Vec::new();
    let path: PathBuf = folder.join(format!("{name}.1"));
    let written = page.render(&mut text).and_then(|()| fs::write(&path, text));
    written.map_err(|error| CliError::Write(path, error))?;
    let below = command.get_subcommands();
    for sub in below.filter(|sub| sub.get_name() != "help") {
        pages(folder, &format!("{name}-{}", sub.get_name()), sub)?;
    }
    Ok(())
}
