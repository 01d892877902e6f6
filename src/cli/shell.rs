//! Commands that ask no cluster: `towline completion`, `man` and `crds`, generated from the declarations of arguments and
//! resources, and `version`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};

use super::terminal::Terminal;
use super::{CliError, Exit, report};
use crate::config::{Cli, CompletionArgs, CrdsArgs, ManArgs};

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
    done(made(&args.into).and_then(|()| pages(&args.into, "towline", &command)))
}

/// Prints towline's definitions as one YAML stream, or writes them into a folder.
pub fn crds(args: &CrdsArgs) -> Exit {
    done(definitions(args))
}

fn definitions(args: &CrdsArgs) -> Result<(), CliError> {
    let files = crate::crds::files()?;
    let Some(folder) = &args.into else {
        let all: Vec<String> = files
            .iter()
            .map(|(_, text)| format!("---\n{text}"))
            .collect();
        return Terminal::print(&all.concat());
    };
    made(folder)?;
    for (name, text) in files {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|error| CliError::Write(file, error))?;
    }
    Ok(())
}

/// Prints the version.
pub fn version() -> Exit {
    done(Terminal::print(&format!(
        "towline {}\n",
        env!("CARGO_PKG_VERSION")
    )))
}

/// Makes a folder to write into, if there is none.
fn made(folder: &Path) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|error| CliError::Write(folder.to_owned(), error))
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
