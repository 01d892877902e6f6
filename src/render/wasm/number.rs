//! Whether what a chart renders to may depend on the number of its release.

use super::{Reads, Values};
use crate::content::{ReadError, Tree};

/// Whether the documents may show which number the release has: whether a file of the chart mentions more of
/// `.Release` than names. An archive may.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn shows(reads: &Reads, values: &[Values], tree: &dyn Tree) -> Result<bool, ReadError> {
    // A template may run values as templates.
    let mut in_place = values.iter();
    if in_place.any(|values| mentions_number(values.text.as_bytes())) {
        return Ok(true);
    }
    for (path, blob) in reads.files() {
        if is_archive(path) || mentions_number(&tree.read(blob)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_archive(path: &str) -> bool {
    [".tgz", ".tar.gz"].iter().any(|end| path.ends_with(end))
}

fn mentions_number(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    if ["IsInstall", "IsUpgrade"]
        .iter()
        .any(|word| text.contains(word))
    {
        return true;
    }
    let mut mentions = text
        .match_indices(".Release")
        .map(|(at, word)| &text[at + word.len()..]);
    mentions.any(|rest| {
        let is_longer_word = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_name = [".Name", ".Service"]
            .iter()
            .any(|field| rest.starts_with(field));
        !is_longer_word && !is_name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_names_of_a_release_shows_its_number() {
        for (text, shows) in [
            ("name: {{ .Release.Name }}-{{ .Release.Namespace }}", false),
            ("heritage: {{ .Release.Service }}", false),
            ("see .Releases of the project", false),
            ("{{ if .Release.IsInstall }}", true),
            ("{{ if index .Release \"IsUpgrade\" }}", true),
            ("rev: {{ $.Release.Revision }}", true),
            ("all: {{ toYaml .Release }}", true),
            ("{{ with .Release }}{{ .Revision }}{{ end }}", true),
        ] {
            assert_eq!(mentions_number(text.as_bytes()), shows, "{text}");
        }
        assert!(is_archive("charts/a-1.2.3.tgz") && !is_archive("templates/a.yaml"));
    }
}
