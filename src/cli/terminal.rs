//! The terminal, or what stands in its place: a file, a pipe, the log of a CI job.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr as _;

use super::CliError;
use super::columns::breaks;
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

    /// A paragraph whose parts have colours, in lines that fit. `first` stands before its first line, and `rest` before each
    /// other one.
    pub(super) fn paragraph(self, (first, rest): (&str, &str), parts: &[(&str, Paint)]) -> String {
        let on_one_line = |part: &str| printable(&part.replace(['\n', '\t'], " "));
        let parts = parts
            .iter()
            .map(|(part, paint)| (on_one_line(part), *paint));
        let parts: Vec<(String, Paint)> = parts.collect();
        let whole: String = parts.iter().map(|(part, _)| &**part).collect();
        let before = first.width().max(rest.width());
        let room = self
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(before));
        let mut text = String::new();
        for (index, line) in breaks(&whole, room).into_iter().enumerate() {
            text.push_str(if index == 0 { first } else { rest });
            let mut start = 0;
            for (part, paint) in &parts {
                let end = start + part.len();
                let (from, to) = (line.start.max(start), line.end.min(end));
                if from < to {
                    text.push_str(&self.paint(*paint, &whole[from..to]));
                }
                start = end;
            }
            text.push('\n');
        }
        text
    }

    /// Lines for people in lines that fit. What is indented stays so.
    pub(super) fn fitted(self, text: &str) -> String {
        let lines = text.lines().map(|line| {
            let told = line.trim_start_matches(' ');
            let indent = &line[..line.len() - told.len()];
            self.paragraph((indent, indent), &[(told, Paint::Plain)])
        });
        lines.collect()
    }

    /// Writes lines for people to standard output, in lines that fit.
    pub(super) fn say(text: &str) -> Result<(), CliError> {
        Self::print(&Self::of(Colour::Never).fitted(text))
    }

    /// Writes to standard output. A reader that has enough, as `head` has, is no error.
    pub(super) fn print(text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(CliError::Output),
        }
    }

    /// Writes one line to standard error; on a terminal, in lines that fit. Nobody has to listen.
    pub(super) fn note(line: &str) {
        let mut err = io::stderr().lock();
        let terminal = Self {
            width: err.is_terminal().then(|| width(&err)),
            colour: false,
        };
        let text = terminal.paragraph(("", ""), &[(line, Paint::Plain)]);
        let _ = err.write_all(text.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_keeps_its_colours_and_loses_nothing() {
        let parts = [
            ("Deployment.apps team-a/web", Paint::Plain),
            ("  ", Paint::Plain),
            ("InProgress", Paint::Yellow),
            (": 1 of 2 replicas are available\u{1b}[2J", Paint::Plain),
        ];
        let narrow = Terminal {
            width: Some(24),
            colour: true,
        };
        assert_eq!(
            narrow.paragraph(("├─ ", "│  "), &parts),
            "├─ Deployment.apps\n\
             │  team-a/web\n\
             │  \x1b[33mInProgress\x1b[0m: 1 of 2\n\
             │  replicas are\n\
             │  available[2J\n"
        );
        assert_eq!(
            Terminal::default().paragraph(("├─ ", "│  "), &parts),
            "├─ Deployment.apps team-a/web  InProgress: 1 of 2 replicas are available[2J\n"
        );
    }

    #[test]
    fn lines_for_people_fit_and_stay_indented() {
        let text = "one two three four\n  five six seven\n\n";
        let narrow = Terminal {
            width: Some(12),
            colour: false,
        };
        assert_eq!(
            narrow.fitted(text),
            "one two\nthree four\n  five six\n  seven\n\n"
        );
        assert_eq!(Terminal::default().fitted(text), text);
    }
}
