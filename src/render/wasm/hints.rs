//! Where to look when a render fails: what is added to the words of renderers.

use super::{Chart, Failed, RenderFailure};
use crate::content::{Tree, within};
use crate::render::Patches;
use crate::text::printable;

/// Adds the files that kustomize does not name: patches that its words are about, or the last file that it read.
pub(super) fn where_to_look(mut failed: Box<Failed>, patches: &Patches) -> Box<Failed> {
    let RenderFailure::Refused { message, .. } = &failed.failure else {
        return failed;
    };
    let named = patches.named_in(message);
    let words = match (&*named, &failed.last) {
        ([], Some(last)) if !message.contains(&**last) => {
            format!("; the last file that it read is {}", printable(last))
        }
        ([one], _) if !message.contains(&**one) => format!("; the patch is in {one}"),
        ([_, _, ..], _) => format!("; the patch is in one of {}", named.join(", ")),
        _ => return failed,
    };
    failed.failure.add(&words);
    failed
}

/// The most templates that are named where one of a chart takes too much.
const MAX_NAMED: usize = 3;

/// Adds the templates that may go on without an end: those that count.
pub(super) fn which_templates(
    mut failed: Box<Failed>,
    chart: &Chart,
    tree: &dyn Tree,
) -> Box<Failed> {
    if !failed.failure.is_excess() {
        return failed;
    }
    let counts = |line: &str| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        line.contains("{{")
            && words.any(|word| matches!(word, "until" | "untilStep" | "seq" | "repeat"))
    };
    let folder = within(&chart.path, "templates/");
    let templates = failed
        .reads
        .files()
        .filter(|(path, _)| path.starts_with(&folder));
    let named = templates.filter_map(|(path, blob)| {
        let text = tree.read(blob).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().position(counts)?;
        Some(format!("{} line {}", printable(path), line + 1))
    });
    let named: Vec<_> = named.take(MAX_NAMED).collect();
    let mut words = match chart.path.as_str() {
        "" => String::new(),
        path => format!("; the chart is {}", printable(path)),
    };
    if !named.is_empty() {
        words += &format!("; templates that count: {}", named.join(", "));
    }
    failed.failure.add(&words);
    failed
}

/// Adds where the values of a chart are.
pub(super) fn which_values(mut failed: Box<Failed>, chart: &Chart) -> Box<Failed> {
    let names = chart
        .values
        .iter()
        .map(|values| match values.file.is_empty() {
            true => &*values.name,
            false => &*values.file,
        });
    let names: Vec<_> = names.collect();
    if let RenderFailure::Refused { message, .. } = &failed.failure
        && !names.is_empty()
        && !names.iter().any(|name| message.contains(name))
    {
        let words = format!("; with values of {}", printable(&names.join(", ")));
        failed.failure.add(&words);
    }
    failed
}
