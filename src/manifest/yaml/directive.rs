//! Directives: `%YAML 1.1` on the lines before the `---` of a document.

use super::{YamlCause, number};

/// The versions that a file may name. Files are read as kubectl reads them, whichever of the two it is.
const VERSIONS: [&str; 2] = ["1.1", "1.2"];

/// The longest directive that a message shows, in bytes.
const LONGEST: usize = 16;

/// Whether a text has nothing but directives, comments and empty lines. kubectl splits files at every `---`, so that the
/// directives of a document are a text of their own. kubectl refuses it, but kustomize and YAML itself do not.
///
/// # Errors
/// The line of a directive that is not supported, if the text begins with directives.
pub(super) fn are_all(text: &str) -> Result<bool, (u32, YamlCause)> {
    let mut has_some = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        match line.strip_prefix('%') {
            Some(directive) if is_supported(directive) => has_some = true,
            Some(directive) => {
                let cause = YamlCause::Directive(shown(directive));
                return Err((number(index), cause));
            }
            // A text that begins with the separator has it.
            None if line == "---" && index == 0 => (),
            None if line.is_empty() || line.trim_start().starts_with('#') => (),
            None => return Ok(false),
        }
    }
    Ok(has_some)
}

fn is_supported(directive: &str) -> bool {
    let mut words = directive.split_whitespace();
    let is_version =
        words.next() == Some("YAML") && words.next().is_some_and(|it| VERSIONS.contains(&it));
    is_version && words.next().is_none_or(|rest| rest.starts_with('#'))
}

/// The directive as a message may show it: its name, and the version of `%YAML`. Another text may be a secret.
fn shown(directive: &str) -> Option<Box<str>> {
    let mut words = directive.split_whitespace();
    let name = words.next()?;
    let is_name = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_uppercase());
    let version = words.next().filter(|version| {
        let is_part = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        name == "YAML" && version.len() <= LONGEST && version.bytes().all(is_part)
    });
    is_name.then(|| match version {
        Some(version) => format!("%{name} {version}").into(),
        None => format!("%{name}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_yaml_are_taken_and_other_directives_are_named() {
        let refused = |line, text: &str| {
            let named = (!text.is_empty()).then(|| text.into());
            Err((line, YamlCause::Directive(named)))
        };
        for (text, wanted) in [
            ("%YAML 1.1\n", Ok(true)),
            ("%YAML 1.2\n", Ok(true)),
            ("%YAML   1.2   # newer\r\n", Ok(true)),
            ("\n# a comment\n%YAML 1.1\n\n", Ok(true)),
            ("---\n%YAML 1.1\n", Ok(true)),
            ("", Ok(false)),
            ("# a comment\n", Ok(false)),
            ("a: 1\n%YAML 1.1\n", Ok(false)),
            ("%YAML 1.1\na: 1\n", Ok(false)),
            (" %YAML 1.1\n", Ok(false)),
            ("%YAML 2.0\n", refused(1, "%YAML 2.0")),
            ("%YAML\n", refused(1, "%YAML")),
            ("%YAML 1.1 x\n", refused(1, "%YAML 1.1")),
            (
                "%YAML 1.1\n%TAG !e! tag:example.org,2000:\n",
                refused(2, "%TAG"),
            ),
            ("%OTHER a b\n", refused(1, "%OTHER")),
            ("%pa55word\n", refused(1, "")),
            ("%YAML pa55word\n", refused(1, "%YAML")),
        ] {
            assert_eq!(are_all(text), wanted, "{text:?}");
        }
    }
}
