//! Two manifests of an object, compared field by field. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::preview::{LAST_APPLIED, unified};
use crate::text::{shorten, visible_line};

/// The longest value that is shown, in bytes, the most lines of a text, and the most lines of an object.
const LONGEST_VALUE: usize = 300;
const MOST_LINES: usize = 60;
const MOST_FIELDS: usize = 200;

/// Shows a value of a field that may be secret, from its path and its content.
pub(super) type Mask<'a> = &'a dyn Fn(&str, &str) -> String;

/// The fields that differ.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// As lines of a diff.
    pub(super) text: String,
    /// Whether a value or a field of them is left out, or a part of one.
    pub(super) is_cut: bool,
}

/// The fields that differ. `mask` shows the values of a Secret.
pub(super) fn fields(
    before: Option<&Value>,
    after: Option<&Value>,
    mask: Option<Mask<'_>>,
) -> Fields {
    let mut lines = Lines {
        mask,
        text: String::new(),
        shown: 0,
        left: 0,
        is_cut: false,
    };
    lines.compare("", before, after);
    if lines.left > 0 {
        let _ = writeln!(lines.text, "  and {} more fields", lines.left);
    }
    Fields {
        is_cut: lines.is_cut || lines.left > 0,
        text: lines.text,
    }
}

struct Lines<'a> {
    mask: Option<Mask<'a>>,
    text: String,
    shown: usize,
    left: usize,
    is_cut: bool,
}

/// What the heading of an object says already.
const HEADING: [&str; 4] = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];

impl Lines<'_> {
    fn compare(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        if before == after || (before.is_none() && HEADING.contains(&path)) {
            return;
        }
        match (before, after) {
            (Some(Value::Object(was)), Some(Value::Object(is))) => {
                let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for name in names {
                    self.compare(&below(path, name), was.get(name), is.get(name));
                }
            }
            (None, Some(Value::Object(is))) if !is.is_empty() => {
                for (name, value) in is {
                    self.compare(&below(path, name), None, Some(value));
                }
            }
            (Some(Value::Object(was)), None) if !was.is_empty() => {
                for (name, value) in was {
                    self.compare(&below(path, name), Some(value), None);
                }
            }
            (Some(Value::Array(was)), Some(Value::Array(is))) => self.lists(path, was, is),
            (None, Some(Value::Array(is))) if !is.is_empty() => self.lists(path, &[], is),
            (Some(Value::Array(was)), None) if !was.is_empty() => self.lists(path, was, &[]),
            _ => self.value(path, before, after),
        }
    }

    /// Items are matched by their names, if all have one, otherwise by their places.
    fn lists(&mut self, path: &str, was: &[Value], is: &[Value]) {
        let (Some(names_before), Some(names_after)) = (names(was), names(is)) else {
            for index in 0..was.len().max(is.len()) {
                self.compare(&format!("{path}[{index}]"), was.get(index), is.get(index));
            }
            return;
        };
        let all: BTreeSet<&str> = names_before.iter().chain(&names_after).copied().collect();
        let of = |names: &[&str], name: &str| names.iter().position(|is| *is == name);
        for name in all {
            let before = of(&names_before, name).and_then(|index| was.get(index));
            let after = of(&names_after, name).and_then(|index| is.get(index));
            self.compare(&format!("{path}[{name}]"), before, after);
        }
        let kept = |names: &[&str], others: &[&str]| -> Vec<String> {
            let both = names.iter().filter(|name| others.contains(name));
            both.map(|name| (*name).to_owned()).collect()
        };
        let (before, after) = (
            kept(&names_before, &names_after),
            kept(&names_after, &names_before),
        );
        if before != after {
            let order = |names: Vec<String>| Value::from(names.join(", "));
            self.value(
                &format!("order of {path}"),
                Some(&order(before)),
                Some(&order(after)),
            );
        }
    }

    /// A value or a line, and whether that is all of it.
    fn short(&mut self, text: &str) -> String {
        let short = shorten(text, LONGEST_VALUE);
        self.is_cut |= short != text;
        short
    }

    fn value(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        if self.shown >= MOST_FIELDS {
            self.left += 1;
            return;
        }
        self.shown += 1;
        let texts = [before, after].map(|value| value.and_then(Value::as_str));
        let is_long = |text: &Option<&str>| text.is_some_and(|text| text.trim_end().contains('\n'));
        let is_secret = self.mask.is_some() && is_hidden(path);
        if !is_secret && texts.iter().any(is_long) && (before.is_none() || texts[0].is_some()) {
            let ended = |text: Option<&str>| match text {
                None | Some("") => String::new(),
                Some(text) => format!("{}\n", text.strip_suffix('\n').unwrap_or(text)),
            };
            let hunks = unified(&ended(texts[0]), &ended(texts[1]));
            let path = visible_line(&self.short(path));
            let _ = writeln!(self.text, "  {path}:");
            for (index, line) in hunks.lines().enumerate() {
                if index == MOST_LINES {
                    let _ = writeln!(
                        self.text,
                        "  and {} more lines",
                        hunks.lines().count() - index
                    );
                    self.is_cut = true;
                    break;
                }
                let line = self.short(line);
                let _ = writeln!(self.text, "{line}");
            }
            return;
        }
        for (sign, value) in [('-', before), ('+', after)] {
            if let Some(value) = value {
                let shown = match self.mask.filter(|_| is_secret) {
                    Some(mask) => mask(path, &value.to_string()),
                    None => self.short(&value.to_string()),
                };
                let path = visible_line(&self.short(path));
                let _ = writeln!(self.text, "{sign} {path}: {}", visible_line(&shown));
            }
        }
    }
}

/// What is known to hold no value of a Secret. All else may: the name of a field may be misspelt.
const OPEN: [&str; 5] = ["apiVersion", "kind", "metadata", "type", "immutable"];

/// Whether a path of a Secret may hold one of its values.
fn is_hidden(path: &str) -> bool {
    let is_open = OPEN.iter().any(|field| {
        let rest = path.strip_prefix(field);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    // The whole manifest, as `kubectl apply` keeps it.
    !is_open || path.contains(LAST_APPLIED)
}

/// The path of a field. One with a dot in its name is in brackets.
fn below(path: &str, name: &str) -> String {
    match (path, name.contains('.')) {
        ("", false) => name.to_owned(),
        (_, false) => format!("{path}.{name}"),
        (_, true) => format!("{path}[{name}]"),
    }
}

/// The names of the items of a list. None if one has no name, or two have the same.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = items.iter().map(|item| item["name"].as_str()).collect();
    let names = names?;
    let distinct: BTreeSet<&&str> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn between(before: &Value, after: &Value) -> String {
        fields(Some(before), Some(after), None).text
    }

    #[test]
    fn each_field_has_its_line() {
        for (before, after, lines) in [
            (json!({"a": 1}), json!({"a": 1}), ""),
            (
                json!({"spec": {"replicas": 2}}),
                json!({"spec": {"replicas": 3}}),
                "- spec.replicas: 2\n+ spec.replicas: 3\n",
            ),
            (
                json!({"metadata": {"labels": {"a.io/b": "x"}}}),
                json!({"metadata": {}}),
                "- metadata.labels[a.io/b]: \"x\"\n",
            ),
            (
                json!({"c": [{"name": "a", "image": "1"}, {"name": "b"}]}),
                json!({"c": [{"name": "b"}, {"name": "a", "image": "2"}]}),
                "- c[a].image: \"1\"\n+ c[a].image: \"2\"\n- order of c: \"a, b\"\n+ order of c: \"b, a\"\n",
            ),
            (
                json!({"l": [1, 2]}),
                json!({"l": [1, 3, 4]}),
                "- l[1]: 2\n+ l[1]: 3\n+ l[2]: 4\n",
            ),
            (
                json!({"a": {}}),
                json!({"a": "text"}),
                "- a: {}\n+ a: \"text\"\n",
            ),
            (
                json!({"data": {"f": "one\ntwo\n"}}),
                json!({"data": {"f": "one\n2\n"}}),
                "  data.f:\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n",
            ),
        ] {
            assert_eq!(between(&before, &after), lines);
        }
        let made =
            json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "n"}, "x": [{"y": true}]});
        assert_eq!(fields(None, Some(&made), None).text, "+ x[0].y: true\n");
    }

    #[test]
    fn a_secret_shows_no_value_and_nothing_is_endless() {
        let mask = |path: &str, value: &str| format!("#{}{}", path.len(), value.len());
        let secret = |value: &str| json!({"metadata": {"labels": {"a": value}}, "data": {"k": value, "a.b": "line\nline"}, "stringData": value});
        let text = fields(
            Some(&secret("hunter2")),
            Some(&secret("swordfish")),
            Some(&mask),
        )
        .text;
        let outside = text.lines().filter(|line| !line.contains("metadata"));
        for line in outside {
            assert!(line.contains(": #"), "{text}");
        }
        for odd in [
            json!({"data": {"a.b": "hunter\n2"}}),
            json!({"stringdata": {"a": "hunter2"}}),
            json!({"dta": "hunter2"}),
            json!({"metadatas": {"a": ["hunter2"]}}),
            json!({"metadata": {"annotations": {LAST_APPLIED: "{\"data\": \"hunter2\"}\n"}}}),
        ] {
            for (before, after) in [(None, Some(&odd)), (Some(&odd), None)] {
                let shown = fields(before, after, Some(&mask)).text;
                assert!(
                    !shown.contains("hunter") && shown.contains(": #"),
                    "{shown}"
                );
            }
        }
        let many: Vec<u32> = (0..1000).collect();
        let Fields { text, is_cut } = fields(None, Some(&json!({ "l": many })), None);
        assert!(is_cut);
        assert_eq!(text.lines().count(), MOST_FIELDS + 1);
        let long =
            json!({"a": "x".repeat(9_000), "b": "y\n".repeat(9_000), "c": "\u{1b}[31m\n\u{202e}"});
        let Fields { text, is_cut } = fields(None, Some(&long), None);
        assert!(is_cut);
        assert!(text.len() < 2_000 && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_has_no_room_in_an_object_is_told() {
        let lines = |count: usize| "line\n".repeat(count);
        for (what, after, cut) in [
            ("short", json!({"a": "b", "c": [1, 2]}), false),
            (
                "the longest value",
                json!({"a": "x".repeat(LONGEST_VALUE - 2)}),
                false,
            ),
            (
                "a longer value",
                json!({"a": "x".repeat(LONGEST_VALUE)}),
                true,
            ),
            ("a text", json!({"a": lines(MOST_LINES - 1)}), false),
            ("a longer text", json!({"a": lines(MOST_LINES + 1)}), true),
            (
                "a long line",
                json!({"a": format!("{}\nb", "x".repeat(400))}),
                true,
            ),
            ("all fields", json!({"a": vec![1; MOST_FIELDS]}), false),
            ("more fields", json!({"a": vec![1; MOST_FIELDS + 1]}), true),
        ] {
            assert_eq!(fields(None, Some(&after), None).is_cut, cut, "{what}");
        }
    }
}
