//! Tables for people. Pure.
//!
//! The last column is a sentence. On a terminal it is wrapped beside the other columns; where they leave no room for
//! it, each row becomes a block of its own. No line is wider than the terminal.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::columns::wrapped;
use super::terminal::{Paint, Terminal};
use crate::text::printable;

/// Columns between two cells.
const GAP: usize = 2;

/// The narrowest last column beside others.
const NARROWEST: usize = 28;

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
    /// Whether nobody knows what it says without its head.
    needs_head: bool,
}

impl Cell {
    /// A text in a colour. Line breaks become spaces, and other control characters are left out.
    pub(super) fn new(text: &str, paint: Paint) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        Self {
            text: printable(&words.join(" ")),
            paint,
            needs_head: false,
        }
    }

    /// A number or a time, which has its head beside it where there is no line of heads.
    pub(super) fn figure(text: &str) -> Self {
        Self {
            needs_head: true,
            ..Self::from(text)
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Paint::Plain)
    }
}

/// Names, and beside each what is to be said of it: a table without heads.
pub(super) fn pairs<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    terminal: Terminal,
) -> String {
    let rows = pairs.into_iter();
    let rows = rows.map(|(name, text)| vec![Cell::from(name), Cell::from(text)]);
    table(&["", ""], &rows.collect::<Vec<_>>(), terminal)
}

/// The table as text. Each row has as many cells as there are heads. Columns without any text are left out, and so is the
/// line of the heads if all are empty.
pub(super) fn table(heads: &[&str], rows: &[Vec<Cell>], terminal: Terminal) -> String {
    let is_used = |column: &usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(*column));
        cells.any(|cell| !cell.text.is_empty())
    };
    let columns: Vec<usize> = (0..heads.len()).filter(is_used).collect();
    let Some((last, first)) = columns.split_last() else {
        return String::new();
    };
    let widths: Vec<usize> = first
        .iter()
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(*column));
            let widest = cells.map(|cell| cell.text.width()).max();
            heads[*column].width().max(widest.unwrap_or_default())
        })
        .collect();
    let before: usize = widths.iter().map(|width| width + GAP).sum();
    let longest = rows.iter().filter_map(|row| row.get(*last));
    let longest = longest.map(|cell| cell.text.width()).max().unwrap_or(0);
    let room = match terminal.width {
        None => usize::MAX,
        Some(width) => width.saturating_sub(before),
    };
    if room < NARROWEST.min(longest.max(heads[*last].width())) {
        let width = terminal.width.unwrap_or(usize::MAX);
        return blocks(heads, rows, &columns, width, terminal);
    }
    let mut text = String::new();
    let heading: Vec<Cell> = heads
        .iter()
        .map(|head| Cell::new(head, Paint::Bold))
        .collect();
    let heading = heads
        .iter()
        .any(|head| !head.is_empty())
        .then_some(&heading);
    for row in heading.into_iter().chain(rows) {
        for (column, width) in first.iter().zip(&widths) {
            let cell = &row[*column];
            let gap = " ".repeat(width - cell.text.width() + GAP);
            let _ = write!(text, "{}{gap}", terminal.paint(cell.paint, &cell.text));
        }
        let cell = &row[*last];
        for (index, line) in wrapped(&cell.text, room).into_iter().enumerate() {
            if index > 0 {
                text.push_str(&" ".repeat(before));
            }
            text.push_str(&terminal.paint(cell.paint, line));
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
    }
    text
}

/// Each row as a block: the short cells, and the last one below them.
fn blocks(
    heads: &[&str],
    rows: &[Vec<Cell>],
    columns: &[usize],
    width: usize,
    terminal: Terminal,
) -> String {
    const INDENT: usize = 2;
    let mut text = String::new();
    let Some((last, first)) = columns.split_last() else {
        return text;
    };
    for row in rows {
        let mut used = 0;
        for (head, cell) in first.iter().map(|column| (heads[*column], &row[*column])) {
            let told = match cell.needs_head && !cell.text.is_empty() {
                true => format!("{} {}", head.to_lowercase(), cell.text),
                false => cell.text.clone(),
            };
            for line in wrapped(&told, width) {
                if line.is_empty() {
                    continue;
                }
                if used > 0 && used + GAP + line.width() > width {
                    text.push('\n');
                    used = 0;
                }
                if used > 0 {
                    text.push_str(&" ".repeat(GAP));
                    used += GAP;
                }
                text.push_str(&terminal.paint(cell.paint, line));
                used += line.width();
            }
        }
        text.push('\n');
        let cell = &row[*last];
        for line in wrapped(&cell.text, width.saturating_sub(INDENT)) {
            if !line.is_empty() {
                let line = terminal.paint(cell.paint, line);
                let _ = writeln!(text, "{}{line}", " ".repeat(INDENT));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 3]) -> Vec<Cell> {
        cells.map(Cell::from).to_vec()
    }

    const HEADS: [&str; 3] = ["NAME", "STATE", "MESSAGE"];

    fn at(width: usize) -> Terminal {
        Terminal {
            width: Some(width),
            colour: false,
        }
    }

    #[test]
    fn a_table_has_one_line_a_row_where_no_terminal_is() {
        let long = "word ".repeat(60);
        let rows = [
            row(["sync/shop", "Ready", "converged"]),
            row(["sync/a", "Failed", &long]),
        ];
        let text = table(&HEADS, &rows, Terminal::default());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "NAME       STATE   MESSAGE");
        assert_eq!(lines[1], "sync/shop  Ready   converged");
        assert!(lines[2].starts_with("sync/a     Failed  word word"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let rows = [
            row([
                "team-a/sync/a-rather-long-name-of-a-sync",
                "HealthFailed",
                "web é is not ready: 漢字漢字",
            ]),
            row(["sync/b", "Ready", &"x".repeat(300)]),
            row(["sync/c", "Ready", ""]),
        ];
        for width in [20, 40, 60, 80, 120, 300] {
            let text = table(&HEADS, &rows, at(width));
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
            for part in ["HealthFailed", "sync/c"] {
                assert!(text.contains(part), "{width}: {text}");
            }
        }
        let narrow = table(&HEADS, &rows[..1], at(40));
        assert_eq!(
            narrow,
            "team-a/sync/a-rather-long-name-of-a-sync\nHealthFailed\n  web é is not ready: 漢字漢字\n"
        );
    }

    #[test]
    fn a_figure_has_its_head_beside_it_where_there_are_no_heads() {
        let heads = ["REVISION", "CREATED", "PRUNED", "AUTHOR"];
        let cells = ["main@sha1:0123456789ab", "", "13", "Ada"];
        let row = cells.map(|text| match text {
            "" | "13" => Cell::figure(text),
            text => Cell::from(text),
        });
        let rows = [row.to_vec()];
        assert_eq!(
            table(&heads, &rows, at(30)),
            "main@sha1:0123456789ab\npruned 13\n  Ada\n"
        );
        assert_eq!(
            table(&heads, &rows, at(80)),
            "REVISION                PRUNED  AUTHOR\nmain@sha1:0123456789ab  13      Ada\n"
        );
    }

    #[test]
    fn a_wrapped_cell_stays_in_its_column() {
        let rows = [row([
            "sync/shop",
            "Ready",
            "one two three four five six seven eight",
        ])];
        let text = table(&HEADS, &rows, at(48));
        assert_eq!(
            text,
            "NAME       STATE  MESSAGE\n\
             sync/shop  Ready  one two three four five six\n                  seven eight\n"
        );
    }

    #[test]
    fn pairs_have_no_heads_and_lose_nothing_where_they_are_narrow() {
        let facts = [
            ("object", "Deployment.apps a/web"),
            ("last change", "main@sha1:111111111111"),
            ("author", "Alice <alice@team-a.example.org>"),
        ];
        assert_eq!(
            pairs(facts, Terminal::default()),
            "object       Deployment.apps a/web\n\
             last change  main@sha1:111111111111\n\
             author       Alice <alice@team-a.example.org>\n"
        );
        assert_eq!(
            pairs(facts, at(40)),
            "object\n  Deployment.apps a/web\n\
             last change\n  main@sha1:111111111111\n\
             author\n  Alice <alice@team-a.example.org>\n"
        );
    }

    #[test]
    fn cells_have_colours_and_no_control_characters() {
        let terminal = Terminal {
            width: None,
            colour: true,
        };
        let rows = [vec![Cell::new("a\x1b[31m\nb", Paint::Red), Cell::from("c")]];
        let text = table(&["A", "B"], &rows, terminal);
        assert!(
            text.ends_with("\x1b[31ma[31m b\x1b[0m   c\n")
                || text.contains("\x1b[31ma[31m b\x1b[0m  c"),
            "{text:?}"
        );
        assert_eq!(terminal.paint(Paint::Plain, "a"), "a");
    }

    #[test]
    fn columns_without_text_are_left_out() {
        let rows = [row(["a", "", "b"])];
        assert_eq!(
            table(&HEADS, &rows, Terminal::default()),
            "NAME  MESSAGE\na     b\n"
        );
        assert_eq!(table(&HEADS, &[], Terminal::default()), "");
    }
}
