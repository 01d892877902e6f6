//! The terminal, or what stands in its place: a file, a pipe, the log of a CI job.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;

use super::CliError;
use crate::config::Colour;
use crate::text::printable;

/// How text is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Columns. None: lines may have any length.
    pub(super) width: Option<usize>,
    /// Whether text has colours.
    pub(super) colour: bool,
}

/// The colour of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Paint {
    #[default]
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
            Self::Red => Some("31"),
        }
    }
}

impl Terminal {
    /// What standard output is.
    pub(super) fn of(colour: Colour) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        let columns = || env::var("COLUMNS").ok()?.parse().ok();
        let width = match is_terminal {
            true => tcgetwinsize(&out)
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0)
                .or_else(columns),
            false => None,
        };
        let is_unset = |name| env::var_os(name).is_none_or(|value| value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width,
            colour: match colour {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => is_terminal && !is_dumb && is_unset("NO_COLOR"),
            },
        }
    }

    /// The text in a colour.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        match paint.code().filter(|_| self.colour && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }

    /// Writes to standard output. A reader that has enough, as `head` has, is no error.
    pub(super) fn print(text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(CliError::Output),
        }
    }

    /// Writes one line to standard error. Nobody has to listen.
    pub(super) fn note(line: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", printable(line));
    }
}

/// Lines about the progress of a wait: on a terminal, each replaces the one before; elsewhere, each that differs stands
/// on its own.
#[derive(Default)]
pub(super) struct Progress {
    last: String,
}

impl Progress {
    /// Tells the present state.
    pub(super) fn tell(&mut self, line: &str) {
        let line = &*printable(line);
        if self.last == line {
            return;
        }
        line.clone_into(&mut self.last);
        let mut err = io::stderr().lock();
        let _ = match err.is_terminal() {
            true => write!(err, "\r\x1b[K{}", start(line, width(&err))),
            false => writeln!(err, "{line}"),
        }
        .and_then(|()| err.flush());
    }

    /// Removes the line from a terminal.
    pub(super) fn end(&mut self) {
        let mut err = io::stderr().lock();
        if err.is_terminal() && !self.last.is_empty() {
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

fn width(err: &io::StderrLock<'_>) -> usize {
    let size = tcgetwinsize(err).map(|size| usize::from(size.ws_col));
    size.ok().filter(|columns| *columns > 0).unwrap_or(80)
}

/// The start of a line that fits into `width` columns.
fn start(line: &str, width: usize) -> String {
    super::columns::split(line, width.saturating_sub(1))
        .0
        .to_owned()
}
