//! What a text that is no YAML shows of the mistake that made it so. Only for texts that could not be read: in a text of
//! several lines, for example, YAML may have the same characters.

use super::number;

/// What Git writes at the beginning of a line before the first version of a conflict.
const FIRST: &str = "<<<<<<< ";

/// What it writes after the second version.
const LAST: &str = ">>>>>>> ";

/// The line of the first conflict that Git left in a text.
pub(super) fn merge_markers(text: &str) -> Option<u32> {
    let begins = |marker: &str| text.lines().position(|line| line.starts_with(marker));
    let (first, last) = (begins(FIRST)?, begins(LAST)?);
    (first < last).then(|| number(first))
}

/// Whether there is a template at a line that cannot be read, or right before that: some mistakes are found one line later.
pub(super) fn is_template(text: &str, line: u32) -> bool {
    let before = line.saturating_sub(2) as usize;
    let mut around = text.lines().skip(before).take(if line < 2 { 1 } else { 2 });
    around.any(|line| line.contains("{{"))
}

#[cfg(test)]
mod tests {
    use super::super::{YamlCause, documents};

    #[test]
    fn what_is_no_yaml_says_which_mistake_it_shows() {
        use YamlCause as C;
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
        let conflict =
            |inside: &str| format!("<<<<<<< HEAD\n{inside}=======\n{inside}>>>>>>> other\n");
        let cases = [
            (conflict(object), Some((1, C::MergeMarkers))),
            (
                format!("{object}{}", conflict("data: {}\n")),
                Some((5, C::MergeMarkers)),
            ),
            (
                format!("{object}---\n{}", conflict(object)),
                Some((6, C::MergeMarkers)),
            ),
            // Both versions have documents of their own.
            (
                format!("{object}{}", conflict(&format!("---\n{object}"))),
                Some((5, C::MergeMarkers)),
            ),
            // With the common version, as `merge.conflictStyle=diff3` has it.
            (
                format!(
                    "{object}<<<<<<< HEAD\na: 1\n||||||| base\na: 2\n=======\na: 3\n>>>>>>> other\n"
                ),
                Some((5, C::MergeMarkers)),
            ),
            (conflict("{\"a\": 1}\n"), Some((1, C::MergeMarkers))),
            // A text about conflicts is YAML.
            (
                format!("{object}data:\n  a: |\n    <<<<<<< HEAD\n    >>>>>>> x\n"),
                None,
            ),
            (
                format!("{object}data:\n  a: |\n    <<<<<<< HEAD\n\tb: 1\n"),
                Some((8, C::Syntax(""))),
            ),
            (
                "metadata:\n  name: {{ .Values.name }}\n".to_owned(),
                Some((2, C::Template)),
            ),
            (
                "metadata:\n  name: {{ .Values.name }}-web\n".to_owned(),
                Some((2, C::Template)),
            ),
            (
                "metadata:\n  name: x-{{ .Values.name }}\n  a: b\n".to_owned(),
                None,
            ),
            (
                "{{- if .Values.on }}\na: 1\n{{- end }}\n".to_owned(),
                Some((1, C::Template)),
            ),
            (
                "a:\n{{ include \"labels\" . | indent 2 }}\n".to_owned(),
                Some((2, C::Template)),
            ),
            (
                "{{ define \"a\" }}\na: 1\n{{ end }}".to_owned(),
                Some((1, C::Template)),
            ),
            ("a:\n  - {{ . }}\n".to_owned(), Some((2, C::Template))),
            // Texts for other programs have templates too.
            (
                "a: \"{{ $labels.pod }}\"\nb: |\n  {{ x }}\n".to_owned(),
                None,
            ),
            (
                "a: \"{{ $labels.pod }}\"\nb: 1\nc: 2\nd: [\n".to_owned(),
                Some((4, C::Syntax(""))),
            ),
        ];
        for (text, wanted) in cases {
            let found = documents(text.as_bytes()).err();
            let found = found.map(|error| match error.cause {
                C::Syntax(_) => (error.line, C::Syntax("")),
                cause => (error.line, cause),
            });
            assert_eq!(found, wanted, "{text}");
        }
    }
}
