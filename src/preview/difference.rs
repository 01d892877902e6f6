//! What a person would call a difference. Pure.

use std::fmt::Write as _;

use serde_json::Value;
use similar::algorithms::{Capture, Replace, myers};
use similar::udiff::UnifiedHunkHeader;

use crate::plan::{DIGEST, IDENTITY, LEFT, PART_OF, PROOF};
use crate::text::{visible, visible_line};

/// What `kubectl apply` keeps of a whole manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Lines around a difference.
const CONTEXT: usize = 3;

/// An object without what the cluster and towline write by themselves.
pub fn cleaned(object: &Value) -> Value {
    let mut object = object.clone();
    remove_made(&mut object);
    object
}

/// The hunks of the unified difference of two texts whose lines are all ended; empty if they are the same. What a terminal
/// obeys, or nobody sees, is written as a number: otherwise two lines that differ would look the same.
// similar's `TextDiff` does this too, but brings every algorithm for every kind of text: half a megabyte of program.
pub fn unified(live: &str, wanted: &str) -> String {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<_>>();
    let (live, wanted) = (lines(live), lines(wanted));
    let mut found = Replace::new(Capture::new());
    let Ok(()) = myers::diff(
        &mut found,
        &live[..],
        0..live.len(),
        &wanted[..],
        0..wanted.len(),
    );
    let mut text = String::new();
    for group in found.into_inner().into_grouped_ops(CONTEXT) {
        let _ = writeln!(text, "{}", UnifiedHunkHeader::new(&group));
        for change in group.iter().flat_map(|op| op.iter_changes(&live, &wanted)) {
            let _ = write!(text, "{}{}", change.tag(), visible(change.value()));
        }
    }
    text
}

/// Text in a fence of Markdown, which is longer than every run of backticks in the text. The text ends with its last line.
pub fn fenced(language: &str, text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    let fence = "`".repeat(3.max(runs.max().unwrap_or(0) + 1));
    format!("{fence}{language}\n{text}{fence}\n")
}

/// Text on one line for Markdown, which reads no markup in it.
pub fn unmarked(text: &str) -> String {
    let mut inner = String::new();
    for c in visible_line(text).chars() {
        let is_plain = c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | ' ' | ':' | '(' | ')');
        match is_plain {
            true => inner.push(c),
            false => drop(write!(inner, "&#{};", u32::from(c))),
        }
    }
    inner
}

fn remove_made(object: &mut Value) {
    let Some(whole) = object.as_object_mut() else {
        return;
    };
    whole.remove("status");
    let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for field in [
        "managedFields",
        "resourceVersion",
        "uid",
        "generation",
        "creationTimestamp",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    for (map, names) in [
        (
            "annotations",
            &[PROOF, DIGEST, IDENTITY, LEFT, LAST_APPLIED][..],
        ),
        ("labels", &[PART_OF]),
    ] {
        if let Some(all) = metadata.get_mut(map).and_then(Value::as_object_mut) {
            all.retain(|name, _| !names.contains(&&**name));
            if all.is_empty() {
                metadata.remove(map);
            }
        }
    }
}
