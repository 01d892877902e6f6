//! What would change, as text, JSON or a comment for a pull request. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::output;
use super::terminal::{Paint, Terminal};
use crate::manifest::ObjectKey;
use crate::plan::SyncName;
use crate::preview::{Action, cleaned, fenced, unified, unmarked};
use crate::text::{Secrets, visible_line};

/// The longest comment that GitHub, GitLab and others take, in bytes, with room for what is around it.
const LONGEST_COMMENT: usize = 60_000;

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// `Kind.group namespace/name`
    pub(super) object: String,
    /// The file that declares it; none if it left Git.
    pub(super) file: Option<String>,
    pub(super) action: Action,
    /// The unified difference, with masked values.
    pub(super) diff: String,
    /// The other Sync that it would leave for this one.
    pub(super) moves_from: Option<SyncName>,
    /// The other Sync that would take it over from this one.
    pub(super) moves_to: Option<SyncName>,
}

/// The sign of an action in front of its object.
fn mark(action: &Action) -> (&'static str, Paint) {
    match action {
        Action::Create => ("+", Paint::Green),
        Action::Change => ("~", Paint::Yellow),
        Action::Delete => ("-", Paint::Red),
        Action::Release(_) => ("=", Paint::Dim),
        Action::Refuse(_) | Action::Unserved(_) => ("!", Paint::Red),
    }
}

/// The unified difference of two states of an object. Empty if a person would see none.
pub(super) fn difference(
    key: &ObjectKey,
    live: Option<&Value>,
    wanted: Option<&Value>,
    secrets: &Secrets,
) -> Result<String, serde_saphyr::ser::Error> {
    let clean = |object: Option<&Value>| object.map_or(Value::Null, cleaned);
    let (mut live, mut wanted) = (clean(live), clean(wanted));
    if live == wanted {
        return Ok(String::new());
    }
    if (&*key.kind.group, &*key.kind.kind) == ("", "Secret") {
        mask(&mut live, &mut wanted);
    }
    let text = |object: &Value| -> Result<String, serde_saphyr::ser::Error> {
        match object {
            Value::Null => Ok(String::new()),
            object => {
                let document = output::yaml(std::slice::from_ref(object))?;
                // What a Secret or an encrypted file lent to another object is no less secret there.
                Ok(secrets.hide(document.trim_start_matches("---\n")))
            }
        }
    };
    let (live, wanted) = (text(&live)?, text(&wanted)?);
    let hunks = unified(&live, &wanted);
    Ok(match hunks.is_empty() {
        true => hunks,
        false => format!("--- live\n+++ local\n{hunks}"),
    })
}

/// What is known to hold no value of a Secret. All else may: the name of a field may be misspelt.
const OPEN: [&str; 5] = ["apiVersion", "kind", "metadata", "type", "immutable"];

/// Masks the values of a Secret. Whether a value changes stays visible.
fn mask(live: &mut Value, wanted: &mut Value) {
    let names = [&*live, &*wanted].map(|object| object.as_object().into_iter().flatten());
    let names = names.into_iter().flatten().map(|(name, _)| name);
    let hidden: BTreeSet<String> = names
        .filter(|name| !OPEN.contains(&&***name))
        .cloned()
        .collect();
    for field in &hidden {
        let before = live.get(field).cloned().unwrap_or(Value::Null);
        let after = wanted.get(field).cloned().unwrap_or(Value::Null);
        let masked = |own: &Value, other: &Value, mark: &str| -> Value {
            match own {
                Value::Null => Value::Null,
                Value::Object(values) => {
                    let values = values.iter().map(|(key, value)| {
                        let shown = match other.get(key) {
                            Some(same) if same != value => format!("*** ({mark})"),
                            _ => "***".to_owned(),
                        };
                        (key.clone(), Value::from(shown))
                    });
                    Value::Object(values.collect::<Map<_, _>>())
                }
                _ => "***".into(),
            }
        };
        for (object, value) in [
            (&mut *live, masked(&before, &after, "before")),
            (&mut *wanted, masked(&after, &before, "after")),
        ] {
            if let Some(object) = object.as_object_mut().filter(|_| !value.is_null()) {
                object.insert(field.to_owned(), value);
            }
        }
    }
}

/// `1 to create, 2 to change`.
fn summary(changes: &[Change]) -> String {
    let counts = [
        "create",
        "change",
        "delete",
        "release",
        "refused",
        "not served",
    ]
    .map(|word| {
        let count = changes
            .iter()
            .filter(|change| change.action.word() == word)
            .count();
        match (count, word) {
            (0, _) => String::new(),
            (count, "refused" | "not served") => format!("{count} {word}"),
            (count, word) => format!("{count} to {word}"),
        }
    });
    let counts: Vec<String> = counts.into_iter().filter(|text| !text.is_empty()).collect();
    match counts.is_empty() {
        true => "no difference".to_owned(),
        false => counts.join(", "),
    }
}

fn heading(change: &Change) -> String {
    let file = change
        .file
        .as_ref()
        .map(|file| format!(" ({file})"))
        .unwrap_or_default();
    let why = match change.action.why() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let moves = match &change.moves_from {
        Some(from) => format!(", which moves here from Sync {from}"),
        None => String::new(),
    };
    visible_line(&format!("{}{file}{why}{moves}", change.object))
}

/// The changes for a terminal. `hint`: what else is to be said of all of them.
pub(super) fn as_text(
    sync: &str,
    changes: &[Change],
    hint: Option<&str>,
    terminal: Terminal,
) -> String {
    let mut text = String::new();
    for change in changes {
        let (mark, paint) = mark(&change.action);
        let line = format!("{mark} {}", heading(change));
        text.push_str(&terminal.paragraph(("", "  "), &[(&line, paint)]));
        for line in change.diff.lines() {
            let paint = match line.as_bytes().first() {
                Some(b'+') => Paint::Green,
                Some(b'-') => Paint::Red,
                Some(b'@') => Paint::Dim,
                _ => Paint::Plain,
            };
            let _ = writeln!(text, "{}", terminal.paint(paint, line));
        }
        text.push('\n');
    }
    text += &terminal.fitted(&format!("{sync}: {}", summary(changes)));
    if let Some(hint) = hint {
        text += &terminal.paragraph(("", "  "), &[(&visible_line(hint), Paint::Yellow)]);
    }
    text
}

/// The changes as one JSON object.
pub(super) fn as_json(sync: &str, changes: &[Change], hint: Option<&str>) -> String {
    let all: Vec<Value> = changes
        .iter()
        .map(|change| {
            let mut value = json!({"object": change.object, "action": change.action.word()});
            let more = [
                ("file", change.file.as_deref().unwrap_or_default()),
                ("message", change.action.why()),
                ("diff", &change.diff),
            ];
            if let Some(from) = &change.moves_from {
                value["movesFrom"] = from.to_string().into();
            }
            if let Some(to) = &change.moves_to {
                value["movesTo"] = to.to_string().into();
            }
            for (field, text) in more.into_iter().filter(|(_, text)| !text.is_empty()) {
                value[field] = text.into();
            }
            value
        })
        .collect();
    let mut whole = json!({"sync": sync, "differs": !changes.is_empty(), "summary": summary(changes), "changes": all});
    if let Some(hint) = hint {
        whole["pruneHeld"] = hint.into();
    }
    format!("{whole:#}\n")
}

/// The changes as a comment for a pull request. What does not fit is counted.
pub(super) fn as_markdown(sync: &str, changes: &[Change], hint: Option<&str>) -> String {
    let mut text = format!("### towline diff: `{sync}`\n\n{}\n", summary(changes));
    if let Some(hint) = hint {
        let _ = writeln!(text, "\n{}", unmarked(hint));
    }
    for (index, change) in changes.iter().enumerate() {
        let (mark, _) = mark(&change.action);
        let title = unmarked(&heading(change));
        let part = match change.diff.is_empty() {
            true => format!("\n{mark} {title}\n"),
            false => format!(
                "\n<details><summary>{mark} {title}</summary>\n\n{}\n</details>\n",
                fenced("diff", &change.diff)
            ),
        };
        if text.len() + part.len() > LONGEST_COMMENT {
            let _ = writeln!(text, "\nand {} more objects", changes.len() - index);
            break;
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;
    use crate::plan::{DIGEST, PART_OF};

    fn key(kind: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", kind),
            namespace: Some("a".into()),
            name: "m".into(),
        }
    }

    fn object(kind: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "data": data,
            "metadata": {"name": "m", "namespace": "a", "uid": "1", "resourceVersion": "2",
                "labels": {PART_OF: "x"}, "annotations": {DIGEST: "d", "kubectl.kubernetes.io/last-applied-configuration": "hunter22"}}})
    }

    fn diff(kind: &str, live: Option<&Value>, wanted: Option<&Value>, secrets: &Secrets) -> String {
        let [live, wanted] = [live, wanted].map(|data| data.map(|data| object(kind, data)));
        difference(&key(kind), live.as_ref(), wanted.as_ref(), secrets).unwrap()
    }

    #[test]
    fn what_the_cluster_writes_is_no_difference() {
        let data = json!({"a": "1"});
        let mut live = object("ConfigMap", &data);
        live["status"] = json!({});
        let wanted = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "m", "namespace": "a"}});
        let none = Secrets::default();
        assert_eq!(
            difference(&key("ConfigMap"), Some(&live), Some(&wanted), &none).unwrap(),
            ""
        );
        let changed = diff(
            "ConfigMap",
            Some(&json!({"a": "1"})),
            Some(&json!({"a": "2"})),
            &none,
        );
        assert!(changed.starts_with("--- live\n+++ local\n@@ "), "{changed}");
        assert!(
            changed.contains("\n-  a: \"1\"\n+  a: \"2\"\n"),
            "{changed}"
        );
    }

    #[test]
    fn values_of_secrets_are_masked_everywhere() {
        let secrets = Secrets::default();
        secrets.add("hunter22");
        let before = json!({"same": "c2FtZQ==", "old": "aHVudGVyMjI=", "gone": "Z29uZQ=="});
        let after = json!({"same": "c2FtZQ==", "old": "bmV3LXZhbHVl", "new": "YWRkZWQ="});
        for (live, wanted) in [
            (Some(&before), Some(&after)),
            (None, Some(&after)),
            (Some(&before), None),
            (Some(&json!("aHVudGVyMjI=")), Some(&after)),
        ] {
            let text = diff("Secret", live, wanted, &Secrets::default());
            assert!(text.contains("***"), "{text}");
            for value in [
                "c2FtZQ", "aHVudGVy", "Z29uZQ", "bmV3", "YWRkZWQ", "hunter22",
            ] {
                assert!(!text.contains(value), "{value} is in {text}");
            }
        }
        let misspelt = |field: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m", "namespace": "a"},
                field: {"same": "hunter22"}, "type": "Opaque"})
        };
        for (live, wanted) in [
            ("stringdata", "dta"),
            ("data", "Data"),
            ("values", "values"),
        ] {
            let key = key("Secret");
            let (live, wanted) = (misspelt(live), misspelt(wanted));
            for (live, wanted) in [(None, Some(&wanted)), (Some(&live), Some(&wanted))] {
                let text = difference(&key, live, wanted, &Secrets::default()).unwrap();
                assert!(!text.contains("hunter22"), "{text}");
            }
        }
        let text = diff("Secret", Some(&before), Some(&after), &secrets);
        assert!(
            text.contains("-  old: \"*** (before)\"") && text.contains("+  old: \"*** (after)\""),
            "{text}"
        );
        let lent = diff(
            "ConfigMap",
            None,
            Some(&json!({"url": "https://user:hunter22@host"})),
            &secrets,
        );
        assert!(
            lent.contains("url: ") && !lent.contains("hunter22"),
            "{lent}"
        );
    }

    fn changes() -> [Change; 3] {
        let change = |object: &str, file: Option<&str>, action, diff: &str| Change {
            object: object.to_owned(),
            file: file.map(str::to_owned),
            action,
            diff: diff.to_owned(),
            moves_from: None,
            moves_to: None,
        };
        [
            change(
                "ConfigMap a/m",
                Some("m.yaml"),
                Action::Change,
                "--- live\n+++ local\n-a: ```\n+a: 2\n",
            ),
            change("ConfigMap a/<old>", None, Action::Delete, ""),
            change(
                "Pod a/p",
                Some("p.yaml"),
                Action::Refuse("no".to_owned()),
                "",
            ),
        ]
    }

    #[test]
    fn changes_are_written_in_every_format() {
        let terminal = Terminal {
            width: None,
            colour: true,
        };
        let text = as_text("a/shop", &changes(), None, terminal);
        assert!(
            text.contains("\x1b[32m+a: 2\x1b[0m")
                && text.contains("\x1b[31m- ConfigMap a/<old>\x1b[0m"),
            "{text}"
        );
        assert!(text.contains("! Pod a/p (p.yaml): no"), "{text}");
        assert!(
            text.ends_with("a/shop: 1 to change, 1 to delete, 1 refused\n"),
            "{text}"
        );
        assert_eq!(
            as_text("a/shop", &[], None, Terminal::default()),
            "a/shop: no difference\n"
        );
        let value: Value = serde_json::from_str(&as_json("a/shop", &changes(), None)).unwrap();
        assert_eq!(
            value["changes"][2],
            json!({"object": "Pod a/p", "action": "refused", "file": "p.yaml", "message": "no"})
        );
        assert_eq!(value["differs"], true);
        let comment = as_markdown("a/shop", &changes(), None);
        assert!(
            comment.contains("````diff\n") && comment.contains("- ConfigMap a/&#60;old&#62;\n"),
            "{comment}"
        );
        let many: Vec<Change> = (0..2_000).flat_map(|_| changes()).collect();
        let long = as_markdown("a/shop", &many, None);
        assert!(
            long.len() < LONGEST_COMMENT + 100 && long.ends_with("more objects\n"),
            "{}",
            long.len()
        );
    }

    /// The author of a pull request chooses names, values and messages.
    #[test]
    fn what_nobody_sees_is_seen_and_what_is_markup_is_none() {
        let none = Secrets::default();
        let text = diff(
            "ConfigMap",
            Some(&json!({"a": "x = 1", "b": "all:\n\tmake\n"})),
            Some(&json!({"a": "x = 1\u{202e}", "b": "all:\n\tmake \u{200b}it\n"})),
            &none,
        );
        for part in [
            "x = 1\\u{202e}",
            "\n-    \tmake\n",
            "\n+    \tmake \\u{200b}it\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        let change = Change {
            object: "ConfigMap a/m".to_owned(),
            file: Some("[x](http://evil)\n<img>@team.yaml".to_owned()),
            action: Action::Refuse("data[\u{202e}`a`]: **no**".to_owned()),
            diff: String::new(),
            moves_from: None,
            moves_to: None,
        };
        let comment = as_markdown("a/shop", std::slice::from_ref(&change), None);
        let line = comment.lines().last().unwrap();
        for markup in ["[x", "<img>", "@team", "`a`", "**no**", "\u{202e}"] {
            assert!(!line.contains(markup), "{markup:?} is in {line:?}");
        }
        let text = as_text("a/shop", &[change], None, Terminal::default());
        assert!(
            text.contains("(http://evil)\\n<img>@team.yaml): data[\\u{202e}`a`]"),
            "{text}"
        );
    }
}
