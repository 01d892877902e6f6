//! Removes values of an object from the API server's messages about it. Field and rule stay.
//!
//! There are two lines of defence. First, the server's own forms are known: a text after `Invalid value:`
//! or in quotes is a value, unless the words around it show something else. Second, the values of the
//! object that was sent are known: none of them stays, in whatever form a webhook or a new version of the
//! server writes its message. Nor does a piece of one that looks like a secret.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pieces::{cut_pieces, is_in_path};
use crate::text::shorten;

/// After these words the server repeats a value.
const ECHOES: [&str; 10] = [
    "Invalid value: ",
    "Unsupported value: ",
    "Duplicate value: ",
    "Not found: ",
    "Too many: ",
    "Internal error: ",
    "cannot unmarshal number ",
    "cannot unmarshal string \"",
    ", got ",
    " got: ",
];

/// After these words, a text in quotes is a name, a path or a rule.
const NAMED: [&str; 20] = [
    "field",
    "webhook",
    "namespace",
    "namespaces",
    "version",
    "kind",
    "User",
    "resource",
    "group",
    "ValidatingAdmissionPolicy",
    "policy",
    "binding",
    "match",
    "matches",
    "is",
    "e.g.",
    "expression",
    "regex",
    "pattern",
    "verb",
];

/// Before these words, a text in quotes is the object's own name.
const NAME_ENDS: [&str; 6] = [
    " is invalid",
    " is forbidden",
    " not found",
    " already exists",
    " cannot ",
    ": the object has been modified",
];

/// Words of the API that are never secret.
const WORDS: [&str; 62] = [
    "string",
    "integer",
    "number",
    "boolean",
    "object",
    "array",
    "null",
    "type",
    "name",
    "value",
    "key",
    "true",
    "false",
    "Recreate",
    "RollingUpdate",
    "OnDelete",
    "ClusterIP",
    "NodePort",
    "LoadBalancer",
    "ExternalName",
    "None",
    "Always",
    "Never",
    "OnFailure",
    "IfNotPresent",
    "TCP",
    "UDP",
    "SCTP",
    "HTTP",
    "HTTPS",
    "Prefix",
    "Exact",
    "Opaque",
    "Allow",
    "Forbid",
    "Replace",
    "Utilization",
    "AverageValue",
    "Value",
    "Local",
    "Cluster",
    "Retain",
    "Delete",
    "must",
    "should",
    "spec",
    "data",
    "status",
    "metadata",
    "field",
    "required",
    "default",
    "invalid",
    "valid",
    "body",
    "specified",
    "expected",
    "denied",
    "request",
    "admission",
    "webhook",
    "labels",
];

/// Keys that identify the items of a list. Their values are part of a path.
const ITEM_KEYS: [&str; 8] = [
    "name",
    "type",
    "port",
    "containerPort",
    "protocol",
    "mountPath",
    "devicePath",
    "topologyKey",
];

/// Shorter values are not searched for, because they occur in ordinary words. The server's forms remove
/// them.
const SHORTEST: usize = 4;

/// The longest message in which values are searched for, in bytes. Much less of it is shown.
pub(super) const LONGEST: usize = 16 << 10;

/// `message` without values. `object` is the body that was sent, as JSON.
pub(super) fn without_values(message: &str, object: &Value) -> String {
    let cut = cut_forms(&shorten(message, LONGEST));
    let mut values = BTreeSet::new();
    collect(object, "", &mut values);
    // The object's identity is shown anyway.
    let known = [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/metadata/namespace",
    ]
    .map(|field| object.pointer(field).and_then(Value::as_str));
    let known: Vec<&str> = known.into_iter().flatten().collect();
    let group = known.first().and_then(|version| version.split('/').next());
    values.retain(|value| {
        let value = value.as_str();
        !WORDS.contains(&value) && !known.contains(&value) && group != Some(value)
    });
    // Longer values first, so that no rest of a longer value stays.
    let mut values: Vec<String> = values.into_iter().collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let cut = values
        .iter()
        .fold(cut, |text, value| cut_value(&text, value));
    cut_pieces(&cut, &values, &known)
}

/// Removes the text where the server's forms have values.
fn cut_forms(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    // Inside examples, lists of allowed values and rules, quoted text is the server's own.
    let mut is_rule = false;
    while let Some(first) = rest.chars().next() {
        if let Some(echo) = ECHOES.iter().find(|echo| rest.starts_with(**echo)) {
            let echo = echo.trim_end_matches('"');
            out.push_str(echo);
            let (value, after) = split_value(&rest[echo.len()..]);
            out.push_str(&shown(value));
            rest = after;
            is_rule = false;
            continue;
        }
        for start in [
            "(e.g. ",
            "supported values: ",
            "failed rule: ",
            "failed expression: ",
        ] {
            is_rule |= rest.starts_with(start);
        }
        if first == ')' || rest.starts_with("], ") || rest.starts_with(", spec") {
            is_rule = false;
        }
        let is_quote = matches!(first, '"' | '`')
            || first == '\'' && !out.ends_with(|c: char| c.is_alphanumeric());
        if !is_quote {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let inner = &rest[1..];
        let end = closing(inner, first);
        let (text, after) = (&inner[..end], inner.get(end + 1..).unwrap_or_default());
        out.push(first);
        out.push_str(if is_rule || is_name(&out, text, after) {
            text
        } else {
            "…"
        });
        out.push(first);
        rest = after;
    }
    out
}

/// Whether the words around a quoted text show that it is a name. `before` ends with the quote.
fn is_name(before: &str, text: &str, after: &str) -> bool {
    let before = &before[..before.len() - 1];
    let word = before
        .trim_end()
        .rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | ','))
        .next();
    let is_named = before.ends_with(' ') && word.is_some_and(|word| NAMED.contains(&word));
    let item_key = before
        .strip_suffix('=')
        .and_then(|before| before.rsplit(['[', ',']).next());
    is_named
        || item_key.is_some_and(|key| ITEM_KEYS.contains(&key))
        || WORDS.contains(&text)
        || NAME_ENDS.iter().any(|end| after.starts_with(end))
        || is_path(text)
}

fn is_path(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-[]/".contains(c);
    let starts = ["spec", "metadata", "status", ".spec", ".metadata"];
    let is_start = |start: &str| {
        let rest = text.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    starts.into_iter().any(is_start) && text.chars().all(is_part)
}

/// Splits off a value as Go or JSON prints it. Without an end, the whole text is the value.
fn split_value(text: &str) -> (&str, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        let end = (closing(inner, '"') + 2).min(text.len());
        return text.split_at(end);
    }
    let mut depth = 0_usize;
    let mut skip_to = 0;
    for (at, character) in text.char_indices() {
        if at < skip_to {
            continue;
        }
        match character {
            '"' => skip_to = at + closing(&text[at + 1..], '"') + 2,
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' if depth > 0 => depth -= 1,
            // The end of a list of errors.
            ']' => return text.split_at(at),
            ':' | ',' if depth == 0 && text[at + 1..].starts_with(' ') => return text.split_at(at),
            ' ' if depth == 0 && text[at..].starts_with(" into ") => return text.split_at(at),
            '\n' if depth == 0 => return text.split_at(at),
            _ => (),
        }
    }
    (text, "")
}

/// A refused value that may be shown: a type, a boolean, a small number.
fn shown(value: &str) -> String {
    let inner = value.trim_matches('"');
    let is_small = !inner.is_empty()
        && inner.len() <= 3
        && inner
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_word = ["true", "false"].contains(&value)
        || value.starts_with('"') && (inner.is_empty() || WORDS.contains(&inner));
    match (
        is_word || is_small && !value.starts_with('"'),
        value.starts_with('"'),
    ) {
        (true, _) => value.to_owned(),
        (false, true) => "\"…\"".to_owned(),
        (false, false) => "…".to_owned(),
    }
}

/// The end of a quoted text. Without an end quote, the end of the whole text.
pub(super) fn closing(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        if character == quote && !escaped {
            return at;
        }
        escaped = character == '\\' && !escaped;
    }
    inner.len()
}

/// The texts of all values, except those that name the object or an item of a list.
fn collect(value: &Value, last: &str, values: &mut BTreeSet<String>) {
    let mut add = |value: &str| {
        if value.chars().take(SHORTEST).count() == SHORTEST {
            values.insert(value.to_owned());
        }
    };
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                collect(inner, key, values);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, last, values)),
        Value::String(text) => {
            let is_identity =
                ["apiVersion", "kind", "namespace"].contains(&last) || ITEM_KEYS.contains(&last);
            if !is_identity {
                // The server repeats a text of several lines with escapes, or repeats one of its lines.
                let escaped = Value::String(text.clone()).to_string();
                add(escaped.trim_matches('"'));
                text.lines().map(str::trim).for_each(add);
            }
        }
        Value::Number(number) => add(&number.to_string()),
        Value::Bool(_) | Value::Null => (),
    }
}

/// Removes a value where it is a word of its own, but not where it is part of a field's path.
fn cut_value(text: &str, value: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        out.push_str(before);
        let is_word = !out.ends_with(|c: char| c.is_alphanumeric())
            && !after.starts_with(|c: char| c.is_alphanumeric());
        out.push_str(match is_word && !is_in_path(&out) {
            true => "…",
            false => value,
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Messages of apimachinery's field errors, structured-merge-diff, strict decoding, CEL, OpenAPI
    /// schemas and admission, with the expected result. `@` is the place of a value.
    const SENTENCES: [(&str, &str); 27] = [
        (
            r#"Creds.sec.example "x" is invalid: spec.password: Invalid value: "@": spec.password in body should match '^[a-z]+$'"#,
            r#"Creds.sec.example "x" is invalid: spec.password: Invalid value: "…": spec.password in body should match '^[a-z]+$'"#,
        ),
        (
            r#"failed to create typed patch object (ns/web; apps/v1, Kind=Deployment): .spec.template.spec.containers[name="web"].env[name="DB_PASSWORD"].value: expected string, got &value.valueUnstructured{Value:@}"#,
            r#"failed to create typed patch object (ns/web; apps/v1, Kind=Deployment): .spec.template.spec.containers[name="web"].env[name="DB_PASSWORD"].value: expected string, got …"#,
        ),
        (
            r#".spec.x: expected list, got &value.valueUnstructured{Value:map[string]interface {}{"a":"@", "b":1}}, .spec.y: field not declared in schema"#,
            r#".spec.x: expected list, got …, .spec.y: field not declared in schema"#,
        ),
        (
            r#"Service "x" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"#,
            r#"Service "x" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"#,
        ),
        (
            r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: @: provided port is already allocated"#,
            r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: …: provided port is already allocated"#,
        ),
        (
            r#"StatefulSet.apps "s" is invalid: spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":0,"X":"@"}: only allowed for updateStrategy 'RollingUpdate'"#,
            r#"StatefulSet.apps "s" is invalid: spec.updateStrategy.rollingUpdate: Invalid value: …: only allowed for updateStrategy 'RollingUpdate'"#,
        ),
        (
            r#"Deployment.apps "d" is invalid: [spec.template.spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type, spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate']"#,
            r#"Deployment.apps "d" is invalid: [spec.template.spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type, spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate']"#,
        ),
        (
            r#"spec.type: Unsupported value: "@": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
            r#"spec.type: Unsupported value: "…": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
        ),
        (
            r#"spec.mode: Unsupported value: "@": supported values: "fast-one", "slow""#,
            r#"spec.mode: Unsupported value: "…": supported values: "fast-one", "slow""#,
        ),
        (
            r#"[spec.a: Duplicate value: "@", spec.b: Not found: "@"]"#,
            r#"[spec.a: Duplicate value: "…", spec.b: Not found: "…"]"#,
        ),
        (
            r#"spec.x: Invalid value: "@\"@": no, spec.y: Required value: it is missing"#,
            r#"spec.x: Invalid value: "…": no, spec.y: Required value: it is missing"#,
        ),
        (
            r#"spec: Invalid value: {"a":"x}@","b":["@"]}: failed rule: self.a != 'forbidden'"#,
            r#"spec: Invalid value: …: failed rule: self.a != 'forbidden'"#,
        ),
        (
            r#"spec.x: Invalid value: "@": @ is too weak"#,
            r#"spec.x: Invalid value: "…": … is too weak"#,
        ),
        (
            r#"<nil>: Invalid value: "": "spec.u" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            r#"<nil>: Invalid value: "": "spec.u" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            r#"spec.csi: Invalid value: "null": spec.csi in body must be of type object: "null""#,
            r#"spec.csi: Invalid value: "null": spec.csi in body must be of type object: "null""#,
        ),
        (
            r#"metadata.labels: Invalid value: "@": a valid label must be an empty string or consist of alphanumeric characters (e.g. 'MyValue',  or 'my_value', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#,
            r#"metadata.labels: Invalid value: "…": a valid label must be an empty string or consist of alphanumeric characters (e.g. 'MyValue',  or 'my_value', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#,
        ),
        (
            r#"strict decoding error: unknown field "metadata.lables", duplicate field "spec.x""#,
            r#"strict decoding error: unknown field "metadata.lables", duplicate field "spec.x""#,
        ),
        (
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number @ into Go struct field EnvVar.spec.value of type string"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number … into Go struct field EnvVar.spec.value of type string"#,
        ),
        (
            r#"unable to parse quantity's suffix in "@""#,
            r#"unable to parse quantity's suffix in "…""#,
        ),
        (
            r#"strconv.ParseInt: parsing "@": invalid syntax"#,
            r#"strconv.ParseInt: parsing "…": invalid syntax"#,
        ),
        (
            r#"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#,
            r#"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#,
        ),
        (
            r#"admission webhook "w.example" denied the request: @ is weak, and "@" as well"#,
            r#"admission webhook "w.example" denied the request: … is weak, and "…" as well"#,
        ),
        (
            r#"deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p.example' with binding 'b.example' denied request: failed expression: object.spec.replicas <= 5"#,
            r#"deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p.example' with binding 'b.example' denied request: failed expression: object.spec.replicas <= 5"#,
        ),
        (
            r#"configmaps "x" is forbidden: User "u" cannot patch resource "configmaps" in API group "" in the namespace "ns""#,
            r#"configmaps "x" is forbidden: User "u" cannot patch resource "configmaps" in API group "" in the namespace "ns""#,
        ),
        (
            r#"namespaces "nowhere" not found"#,
            r#"namespaces "nowhere" not found"#,
        ),
        (
            r#".spec.set: duplicate entries for key ["@"]"#,
            r#".spec.set: duplicate entries for key ["…"]"#,
        ),
        (
            r#"spec.x: Internal error: @: broken"#,
            r#"spec.x: Internal error: …: broken"#,
        ),
    ];

    #[test]
    fn path_and_rule_stay_and_values_go() {
        for marker in [
            "Hunter2",
            "73911842",
            "hunterx",
            "hunter2-in-a-field",
            "p@ss'w\u{f6}rd",
        ] {
            let object = json!({"kind": "Creds", "spec": {"list": [{"deep": marker}]}});
            for (sentence, right) in SENTENCES {
                let said = sentence.replace('@', marker);
                assert_eq!(without_values(&said, &object), right, "{said}");
            }
        }
    }

    #[test]
    fn a_marker_in_any_place_of_an_object_never_reaches_a_message() {
        // A message of random pieces in a form that no server uses yet. xorshift makes failures
        // repeatable.
        let pieces = [
            "spec.a: ",
            "Invalid value: ",
            ", ",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "`",
            ": ",
            "got ",
            "must be ",
            "\\",
            "\n",
            "failed rule: ",
            "(e.g. ",
            "supported values: ",
            "field ",
            "é",
            " is invalid",
            "x.",
            "=",
            "map[a:",
            "name=",
        ];
        for marker in ["Zk7q1marker8Xw", "739118421"] {
            let mut state = 0x2545_F491_4F6C_DD1D_u64;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state % 1000).unwrap_or_default()
            };
            for round in 0..20_000 {
                let places = [
                    json!({"spec": {"a": marker}}),
                    json!({"spec": {"a": [{"b": [marker]}]}}),
                    json!({"spec": {"env": [{"name": "x", "value": format!("first\n  {marker}\n")}]}}),
                    json!({"metadata": {"annotations": {"k": marker}}}),
                ];
                let object = &places[next() % places.len()];
                let mut said = String::new();
                for _ in 0..next() % 12 {
                    said.push_str(pieces[next() % pieces.len()]);
                    if next() % 3 == 0 {
                        // Beside it, so that it is a word.
                        said.push(' ');
                        said.push_str(marker);
                        said.push(' ');
                    }
                }
                let kept = without_values(&said, object);
                assert!(
                    !kept.contains(marker),
                    "round {round}: {said:?} became {kept:?}"
                );
            }
        }
    }
}
