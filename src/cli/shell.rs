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
    let path: PathBuf = folder.join(format!("{name}.1"));
    let written = page(name, command).and_then(|text| fs::write(&path, text));
    written.map_err(|error| CliError::Write(path, error))?;
    let below = command.get_subcommands();
    for sub in below.filter(|sub| sub.get_name() != "help") {
        pages(folder, &format!("{name}-{}", sub.get_name()), sub)?;
    }
    Ok(())
}

/// What the exit codes say, as docs/reference/command-line.md has them.
const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "It is done, and nothing differs."),
    (
        "1",
        "Something differs, is wrong, or has failed; the output says what.",
    ),
    (
        "2",
        "There is no answer: an argument is wrong or names what does not exist, or there is no cluster, no right, or no towline in \
         the cluster.",
    ),
    ("3", "The time of --timeout is over."),
];

/// The page of one command. The generator's own page puts the example under EXTRA, and has no exit codes.
fn page(name: &str, command: &Command) -> std::io::Result<Vec<u8>> {
    let example = command.get_after_help().map(ToString::to_string);
    let has_options = command.get_arguments().any(|one| !one.is_hide_set());
    let has_commands = command.get_subcommands().any(|one| !one.is_hide_set());
    // Without its example, the generator has nothing for EXTRA.
    let man = clap_mangen::Man::new(command.clone().after_help("")).title(name);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if has_options {
        man.render_options_section(&mut text)?;
    }
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(example) = example {
        let lines = example
            .lines()
            .skip_while(|line| line.starts_with("Example"));
        let lines: Vec<String> = lines.map(|line| roff(line.trim())).collect();
        text.extend(format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", lines.join("\n")).bytes());
    }
    text.extend(b".SH \"EXIT STATUS\"\n");
    for (code, meaning) in EXIT_STATUS {
        text.extend(format!(".TP\n{code}\n{}\n", roff(meaning)).bytes());
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut text)?;
    }
    Ok(text)
}

/// A line as roff prints it.
fn roff(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_examples_and_the_exit_codes() {
        let mut command = Cli::command();
        command.build();
        let mut left = vec![("towline".to_owned(), &command)];
        while let Some((name, command)) = left.pop() {
            let text = String::from_utf8(page(&name, command).unwrap()).unwrap();
            assert!(!text.contains(".SH EXTRA"), "{text}");
            assert!(text.contains(".SH \"EXIT STATUS\"\n.TP\n0\n"), "{text}");
            let has_example = command.get_after_help().is_some();
            assert_eq!(text.contains(".SH EXAMPLES\n.nf\n"), has_example, "{text}");
            let below = command.get_subcommands();
            let below = below.filter(|sub| sub.get_name() != "help");
            left.extend(below.map(|sub| (format!("{name}-{}", sub.get_name()), sub)));
        }
        assert_eq!(roff(".a \\-b"), "\\&.a \\e\\-b");
    }
}
