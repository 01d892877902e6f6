//! Removes the values of a Secret from messages of the API server.

use super::GroupKind;
use crate::text::{redact, shorten};

/// The longest message that is passed on, in bytes.
const MAX_REFUSAL: usize = 1024;

/// After these words the API server or an admission webhook repeats text of the manifest.
const ECHOES: [&str; 9] = [
    "Invalid value",
    "Unsupported value",
    "Duplicate value",
    "unable to parse",
    "illegal base64",
    "cannot unmarshal",
    "denied the request",
    "expected ",
    "got ",
];

/// A quoted word after one of these is a name and not a value.
const NAMES: [&str; 7] = [
    "Secret",
    "secrets",
    "field",
    "namespace",
    "namespaces",
    "version",
    "webhook",
];

/// A message of the API server about a refused object, safe for a condition.
///
/// For a Secret, everything from the first echo on is removed, and so is every quoted text that is
/// not a name. For other kinds the message stays, up to 1 KiB.
pub fn refusal(kind: &GroupKind, message: &str) -> String {
    if !(kind.group.is_empty() && &*kind.kind == "Secret") {
        return shorten(&redact(message), MAX_REFUSAL);
    }
    let echo = ECHOES
        .iter()
        .filter_map(|echo| message.find(echo).map(|at| (at, *echo)))
        .min_by_key(|(at, _)| *at);
    let kept = match echo {
        Some((at, echo)) => format!(
            "{}{} (left out: it may show the secret)",
            unquoted(&message[..at]),
            echo.trim_end()
        ),
        None => unquoted(message),
    };
    shorten(&redact(&kept), MAX_REFUSAL)
}

/// Replaces quoted texts that are not names.
fn unquoted(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(open) = rest.find(['"', '`', '\'']) {
        let quote = rest.as_bytes().get(open).copied().unwrap_or(b'"') as char;
        let (before, inner) = (&rest[..open], &rest[open + 1..]);
        let end = closing(inner, quote);
        out.push_str(before);
        out.push(quote);
        let word = before
            .trim_end()
            .rsplit(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let is_name = NAMES.contains(&word) && before.ends_with(' ');
        out.push_str(if is_name { &inner[..end] } else { "…" });
        out.push(quote);
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The end of a quoted text. Without a closing quote, the end of the message.
fn closing(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        if character == quote && !escaped {
            return at;
        }
        escaped = character == '\\' && !escaped;
    }
    inner.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_secret_shows_no_value() {
        let secret = GroupKind::new("", "Secret");
        for message in [
            r#"Secret "x" is invalid: data[password]: Invalid value: "hunter2": must be short"#,
            r#"Secret "x" is invalid: [data[a]: Invalid value: "hunter2": no, data[b]: Invalid value: "hunter2": no]"#,
            r#"failed to create typed patch object (a/x; /v1, Kind=Secret): .data.password: expected string, got &{hunter2}"#,
            r#"admission webhook "w.example" denied the request: hunter2 is weak"#,
            r#"json: cannot unmarshal number hunter2 into Go struct"#,
            r#"type: Unsupported value: "hunter2": supported values"#,
            r#"something new about "a\"hunter2" and 'hunter2' and `hunter2"#,
        ] {
            let kept = refusal(&secret, message);
            assert!(!kept.contains("hunter2"), "{kept}");
        }
        let kept = refusal(
            &secret,
            r#"Secret "x" is invalid: data[password]: Invalid value: "hunter2""#,
        );
        assert!(
            kept.starts_with(r#"Secret "x" is invalid: data[password]: Invalid value"#),
            "{kept}"
        );
        let kept = refusal(&secret, r#"strict decoding error: unknown field "dta""#);
        assert_eq!(kept, r#"strict decoding error: unknown field "dta""#);
    }

    #[test]
    fn other_kinds_keep_their_message_within_a_bound() {
        let kind = GroupKind::new("apps", "Deployment");
        let message = r#"Deployment.apps "a" is invalid: spec.replicas: Invalid value: -1"#;
        assert_eq!(refusal(&kind, message), message);
        let long = refusal(&kind, &"é".repeat(2000));
        assert!(long.len() <= MAX_REFUSAL && long.ends_with('…'));
    }
}
