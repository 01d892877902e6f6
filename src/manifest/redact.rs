//! Removes the values of a Secret from messages of the API server.

use std::borrow::Cow;

use serde_json::Value;

use super::GroupKind;
use super::echo::{LONGEST, closing, without_values};
use crate::text::{redact, shorten};

/// The longest message that is passed on, in bytes.
const MAX_REFUSAL: usize = 1024;

/// The longest word of such a message, in bytes. Names of objects and keys of labels are shorter.
const LONGEST_WORD: usize = 256;

/// The longest word of a message that is looked into, in bytes. A longer one is no name.
const LONGEST_READ: usize = 1024;

/// After these words the API server or an admission webhook repeats text of the manifest.
const ECHOES: [&str; 10] = [
    "Invalid value",
    "Unsupported value",
    "Duplicate value",
    "unable to parse",
    "illegal base64",
    "cannot unmarshal",
    "denied the request",
    "denied request",
    "expected ",
    "got ",
];

/// A quoted word after one of these is a name and not a value.
const NAMES: [&str; 9] = [
    "Secret",
    "secrets",
    "field",
    "namespace",
    "namespaces",
    "version",
    "webhook",
    "ValidatingAdmissionPolicy",
    "binding",
];

/// Keys of a Secret that are names by convention. Any other key may be a secret that stands in the wrong place.
const KNOWN_KEYS: [&str; 16] = [
    ".dockerconfigjson",
    ".dockercfg",
    "tls.crt",
    "tls.key",
    "ca.crt",
    "username",
    "password",
    "token",
    "bearerToken",
    "identity",
    "identity.pub",
    "known_hosts",
    "ssh-privatekey",
    "namespace",
    "key",
    "value",
];

/// What the API server says about an object that it refuses, fit for a condition: in at most 1 KiB, and without
/// the values of `sent`, the object as JSON, unless `show_values` asks for them.
///
/// For a Secret everything from the first echo on is left out, every quoted text that is not a name, and keys
/// that are no usual ones. Values of a Secret are never shown.
pub fn refusal(kind: &GroupKind, message: &str, sent: &[u8], show_values: bool) -> String {
    let sent: Value = serde_json::from_slice(sent).unwrap_or_default();
    // Values are searched for in the beginning of a long message only. A value that is found has to be whole.
    let message = &*match message.len() > LONGEST {
        true => without_long_words(message, LONGEST_READ),
        false => message.into(),
    };
    let kept = match kind.group.is_empty() && &*kind.kind == "Secret" {
        true => without_values(&of_secret(message), &sent),
        false if show_values => message.to_owned(),
        false => without_values(message, &sent),
    };
    shorten(
        &without_long_words(&redact(&kept), LONGEST_WORD),
        MAX_REFUSAL,
    )
}

/// A message of [`refusal`] without the values that the live object has. What refuses a change may repeat those, too.
pub fn without_live(kind: &GroupKind, message: &str, mut live: Value) -> String {
    if let Some(fields) = live.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata
            .retain(|field, _| matches!(&**field, "name" | "namespace" | "labels" | "annotations"));
    }
    refusal(kind, message, live.to_string().as_bytes(), false)
}

/// After these words the API server passes on what a policy or a webhook says.
const DENIALS: [&str; 2] = ["denied request", "denied the request"];

/// Whether a message is what a policy or a webhook says of a change that it denies.
pub fn is_denial(message: &str) -> bool {
    DENIALS.iter().any(|one| message.contains(one))
}

/// Whether a message may be that of a rule of a definition, in whose words the live object may be quoted. The schema itself
/// knows only what was sent.
pub fn is_of_rule(code: u16, kind: &GroupKind, message: &str) -> bool {
    // The groups of Kubernetes without a dot have no definitions.
    code == 422 && kind.group.contains('.') && message.contains(INVALID)
}

/// Before these words the API server names the object, and after them what is wrong with it.
const INVALID: &str = " is invalid: ";

/// Such a message without what the policy, the webhook or the rule says: it may repeat values of the live object, which is
/// not known.
pub fn without_reason(message: &str) -> String {
    let ends = DENIALS.iter();
    let ends = ends.filter_map(|one| Some(message.find(one)? + one.len()));
    let invalid = message
        .find(INVALID)
        .map(|at| at + INVALID.trim_end_matches(": ").len());
    let end = ends.chain(invalid).min().unwrap_or(message.len());
    format!(
        "{} (left out: it may show what the live object has, which the account may not get)",
        &message[..end]
    )
}

/// The text with `…` for every word of more than `most` bytes, so that what comes after it is read as well. A key may have
/// as many bytes as an object, and the API server repeats it before it says what is wrong with it.
fn without_long_words(text: &str, most: usize) -> Cow<'_, str> {
    let ends = |c: char| c.is_whitespace() || c.is_ascii_punctuation() && !matches!(c, '-' | '_');
    if text.len() <= most {
        return text.into();
    }
    let parts = text.split_inclusive(ends).map(|part| {
        let word = part.trim_end_matches(ends);
        match word.len() > most {
            true => format!("…{}", &part[word.len()..]).into(),
            false => Cow::Borrowed(part),
        }
    });
    parts.collect::<String>().into()
}

fn of_secret(message: &str) -> String {
    let echo = ECHOES
        .iter()
        .filter_map(|echo| message.find(echo).map(|at| (at, *echo)))
        .min_by_key(|(at, _)| *at);
    let (kept, cut) = match echo {
        Some((at, echo)) => (
            &message[..at],
            format!("{} (left out: it may show the secret)", echo.trim_end()),
        ),
        None => (message, String::new()),
    };
    format!("{}{cut}", without_keys(&unquoted(kept)))
}

/// The text without keys of `data` and `stringData`.
fn without_keys(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    let starts = ["data[", "data.", "stringData[", "stringData."];
    while let Some(at) = starts
        .iter()
        .filter_map(|start| Some(rest.find(start)? + start.len()))
        .min()
    {
        let (before, inner) = rest.split_at(at);
        out.push_str(before);
        // A key may hold what ends it, so that the last possible end counts.
        let end = match before.ends_with('[') {
            true => inner.find("]:").or_else(|| inner.rfind(']')),
            false => inner.find(": ").or_else(|| inner.rfind(':')),
        };
        let (key, after) = inner.split_at(end.unwrap_or(inner.len()));
        let is_metadata = before.ends_with("metadata.");
        out.push_str(if is_metadata || KNOWN_KEYS.contains(&key) {
            key
        } else {
            "…"
        });
        rest = after;
    }
    out.push_str(rest);
    out
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
            r#"secrets "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: was hunter2"#,
            r#"json: cannot unmarshal number hunter2 into Go struct"#,
            r#"failed to create typed patch object (a/x; /v1, Kind=Secret): .stringData.hunter2: expected string, got &{}"#,
            r#"Secret "x" is invalid: data[hunter2]: Invalid value: "hunter2": a valid config key must consist of"#,
            r#"Secret "x" is invalid: data[a]hunter2]: Required value: no"#,
            r#"type: Unsupported value: "hunter2": supported values"#,
            r#"something new about "a\"hunter2" and 'hunter2' and `hunter2"#,
        ] {
            let kept = refusal(&secret, message, b"", true);
            assert!(!kept.contains("hunter2"), "{kept}");
        }
        let kept = refusal(
            &secret,
            r#"Secret "x" is invalid: data[password]: Invalid value: "hunter2""#,
            b"",
            false,
        );
        assert!(
            kept.starts_with(r#"Secret "x" is invalid: data[password]: Invalid value"#),
            "{kept}"
        );
        let kept = refusal(
            &secret,
            r#"strict decoding error: unknown field "dta""#,
            b"",
            false,
        );
        assert_eq!(kept, r#"strict decoding error: unknown field "dta""#);
    }

    /// A key of a ConfigMap may have hundreds of kilobytes.
    #[test]
    fn what_is_wrong_is_told_after_a_key_of_any_length() {
        let must = "must be no more than 253 bytes";
        for (length, kind) in [
            (300, "ConfigMap"),
            (400_000, "ConfigMap"),
            (400_000, "Secret"),
        ] {
            let key = "k".repeat(length);
            let sent = serde_json::json!({"data": {&key: "hunter2"}}).to_string();
            let said =
                format!("{kind} \"x\" is invalid: data[{key}]: Invalid value: \"{key}\": {must}");
            let shown = refusal(&GroupKind::new("", kind), &said, sent.as_bytes(), false);
            assert!(
                shown.starts_with(&format!("{kind} \"x\" is invalid: data[…]: Invalid value")),
                "{shown}"
            );
            assert_eq!(shown.contains(must), kind == "ConfigMap", "{shown}");
            assert!(!shown.contains("kkk"), "{shown}");
        }
        let words = format!("{} is {}.b", "a".repeat(9), "é".repeat(9));
        assert_eq!(without_long_words(&words, 9), "aaaaaaaaa is ….b");
    }

    #[test]
    fn what_was_live_is_not_shown() {
        let live = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "hunter-two"},
            "metadata": {"name": "x", "labels": {"b": "hunter-three"}, "managedFields": [{"manager": "nobody"}]},
        });
        let said = "denied request: nobody changes hunter-two and hunter-three of x";
        let shown = without_live(&GroupKind::new("", "ConfigMap"), said, live);
        assert_eq!(shown, "denied request: nobody changes … and … of x");
    }

    #[test]
    fn what_a_policy_says_of_an_unknown_object_is_not_shown() {
        for (said, kept) in [
            (
                "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: was hunter-two",
                "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request",
            ),
            (
                "admission webhook \"w.example\" denied the request: hunter-two denied request",
                "admission webhook \"w.example\" denied the request",
            ),
        ] {
            assert!(is_denial(said));
            let shown = without_reason(said);
            let end =
                " (left out: it may show what the live object has, which the account may not get)";
            assert_eq!(shown.strip_suffix(end), Some(kept));
        }
        assert!(!is_denial(
            "ConfigMap \"x\" is invalid: data: Invalid value"
        ));
        let said =
            "Cred.sec.example \"x\" is invalid: spec: Invalid value: \"string\": was hunter-two";
        let kind = |group: &str| GroupKind::new(group, "Cred");
        assert!(is_of_rule(422, &kind("sec.example"), said));
        assert!(!is_of_rule(409, &kind("sec.example"), said));
        assert!(
            !is_of_rule(422, &kind("apps"), said),
            "it has no definition"
        );
        let shown = without_reason(said);
        assert!(
            shown.starts_with("Cred.sec.example \"x\" is invalid (left out"),
            "{shown}"
        );
    }

    #[test]
    fn other_kinds_keep_their_message_within_a_bound() {
        let kind = GroupKind::new("apps", "Deployment");
        let message = r#"Deployment.apps "a" is invalid: spec.x: Invalid value: "hunter2": no"#;
        let shown = |show_values| refusal(&kind, message, b"{}", show_values);
        assert_eq!(shown(true), message);
        assert_eq!(shown(false), message.replace("hunter2", "…"));
        let long = refusal(&kind, &"é".repeat(2000), b"", false);
        assert!(long.len() <= MAX_REFUSAL && long.ends_with('…'));
    }
}
