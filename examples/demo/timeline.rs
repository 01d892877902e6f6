//! The output for the user at the terminal.

use std::{
    cell::{Cell, RefCell},
    env, fmt,
    io::{IsTerminal as _, stdout},
    time::{Duration, Instant},
};

use crate::stage::Stage;

/// The maximum length of a line.
pub const WIDTH: usize = 100;

/// The column where text begins, after the column of times.
const INDENT: usize = 11;

/// Prints the steps, with the time that each took.
pub struct Timeline {
    started: Instant,
    colours: bool,
    /// The current step.
    step: RefCell<String>,
    verified: Cell<usize>,
    over: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Cyan = 36,
}

impl Timeline {
    pub fn start() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            started: Instant::now(),
            colours: stdout().is_terminal() && !plain,
            step: RefCell::default(),
            verified: Cell::new(0),
            over: Cell::new(false),
        }
    }

    /// Begins a step.
    pub fn step(&self, title: &str) {
        *self.step.borrow_mut() = title.to_owned();
        let clock = format!("{:.1} s", self.started.elapsed().as_secs_f64());
        let room = WIDTH.saturating_sub(title.chars().count() + clock.len() + 2);
        let rule = "─".repeat(room);
        println!(
            "\n{} {} {}",
            self.ink(Ink::Bold, title),
            self.ink(Ink::Dim, &rule),
            self.ink(Ink::Dim, &clock)
        );
    }

    /// Prints something that was verified, and that it took `took`.
    pub fn done(&self, took: Duration, text: &str) {
        self.verified.set(self.verified.get() + 1);
        let time = format!("{:>8}", Latency(took).to_string());
        let mark = self.ink(Ink::Green, "✓");
        self.wrapped(
            &format!("{} {mark} ", self.ink(Ink::Bold, &time)),
            text,
            None,
        );
    }

    /// Prints a command that a user types.
    pub fn command(&self, text: &str) {
        self.wrapped("         $ ", text, Some(Ink::Cyan));
    }

    /// Prints an explanation.
    pub fn note(&self, text: &str) {
        self.wrapped(&" ".repeat(INDENT), text, Some(Ink::Dim));
    }

    /// Prints text with its own layout, such as a manifest or a table. Long lines are cut, not wrapped.
    pub fn block(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("  {} {}", self.ink(Ink::Dim, "│"), cut(line, WIDTH - 4));
        }
    }

    /// Prints a table of kubectl. Commit ids are shortened, because full ids leave no room for the rest.
    pub fn table(&self, text: &str) {
        self.block(&narrow(text));
    }

    /// Prints the end of a failed demo: the step, the reason, and the state.
    pub fn fail(&self, reason: &str, state: &str) {
        let mark = self.ink(Ink::Red, "✗");
        println!();
        self.wrapped(
            &format!("         {mark} "),
            &format!("{}: {reason}", self.step.borrow()),
            None,
        );
        if !state.is_empty() {
            println!("{state}");
        }
    }

    pub fn succeed(&self) {
        let text = format!(
            "{} checks passed in {}.",
            self.verified.get(),
            Latency(self.started.elapsed())
        );
        println!("\n{}", self.ink(Ink::Bold, &text));
    }

    /// Prints how to use what still runs.
    pub fn invite(&self, stage: &Stage) {
        self.over.set(true);
        println!("\nEverything keeps running until Ctrl-C. In another terminal:\n");
        for (command, comment) in stage.invitation() {
            println!("  {}", self.ink(Ink::Cyan, &command));
            if !comment.is_empty() {
                println!("      {}", self.ink(Ink::Dim, &comment));
            }
        }
    }

    /// Whether the steps are done, so that a signal only ends what was kept running.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    fn wrapped(&self, first: &str, text: &str, ink: Option<Ink>) {
        let mut prefix = first.to_owned();
        for line in wrap(text, WIDTH - INDENT) {
            match ink {
                Some(ink) => println!("{prefix}{}", self.ink(ink, &line)),
                None => println!("{prefix}{line}"),
            }
            prefix = " ".repeat(INDENT);
        }
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{}m{text}\x1b[0m", ink as u8),
            false => text.to_owned(),
        }
    }
}

/// Breaks lines at spaces, and words that are longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word.to_owned();
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            while let Some((end, _)) = word.char_indices().nth(width) {
                lines.push(word.drain(..end).collect());
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

/// Shortens commit ids, and aligns the columns again.
fn narrow(text: &str) -> String {
    let mut narrowed = String::new();
    for table in text.split("\n\n") {
        let rows = table.lines().map(|row| {
            let cells = row.split("   ").map(str::trim);
            cells.filter(|cell| !cell.is_empty()).map(short_ids)
        });
        let rows: Vec<Vec<String>> = rows.map(Iterator::collect).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths = (0..columns).map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        });
        let widths: Vec<usize> = widths.collect();
        for row in &rows {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            narrowed += line.join("   ").trim_end();
            narrowed.push('\n');
        }
        narrowed.push('\n');
    }
    narrowed
}

/// The text with the first seven digits of each commit id.
pub fn short_ids(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("sha1:") {
        let id = after
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(after.len());
        short += before;
        short += "sha1:";
        short += &after[..id.min(7)];
        rest = &after[id..];
    }
    short + rest
}

fn cut(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => line.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// A duration, rounded for reading.
pub struct Latency(pub Duration);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            0.0..0.0095 => write!(f, "{:.1} ms", seconds * 1e3),
            0.0095..0.9995 => write!(f, "{:.0} ms", seconds * 1e3),
            0.9995..9.995 => write!(f, "{seconds:.2} s"),
            _ => write!(f, "{seconds:.1} s"),
        }
    }
}
