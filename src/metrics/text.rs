//! The text format 0.0.4, for scrapers that do not ask for OpenMetrics.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Translates OpenMetrics text into the older format. In that format a family has the name of its
/// samples, and there are no units and no end mark.
pub(super) fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, words)) = about(line, "# HELP ") {
            // The name depends on the type, which is on a later line.
            help = Some((name, words));
            continue;
        }
        let Some((name, kind)) = about(line, "# TYPE ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let (name, kind): (Cow<'_, str>, _) = match kind {
            "counter" => (format!("{name}_total").into(), kind),
            "info" => (format!("{name}_info").into(), "gauge"),
            "unknown" => (name.into(), "untyped"),
            _ => (name.into(), kind),
        };
        // Writing to a string cannot fail.
        if let Some((_, words)) = help.take() {
            let _ = writeln!(text, "# HELP {name} {words}");
        }
        let _ = writeln!(text, "# TYPE {name} {kind}");
    }
    text
}

fn about<'a>(line: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(what)?.split_once(' ')
}
