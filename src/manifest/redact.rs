//! What may appear in a message: no secret value, and no credential of a URL.

use super::GroupKind;

/// The longest refusal that is passed on, in bytes.
const MAX_REFUSAL: usize = 1024;

/// After these the API server, or an admission webhook, repeats what the manifest says.
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

/// Before these a quoted word is a name and not a value.
const NAMES: [&str; 7] = [
    "Secret",
    "secrets",
    "field",
    "namespace",
    "namespaces",
    "version",
    "webhook",
];

/// What the API server says about an object that it refuses, fit for a condition.
///
/// For a Secret everything from the first echo on is left out, and so is every quoted text that is
/// not a name. For other kinds the message stays, up to 1 KiB.
pub fn refusal(kind: &GroupKind, message: &str) -> String {
    if !(kind.group.is_empty() && &*kind.kind == "Secret") {
        return shortened(&text(message), MAX_REFUSAL);
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
    shortened(&text(&kept), MAX_REFUSAL)
}

/// The text without what is quoted, but for names.
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

/// Where a quoted text ends; without an end, it is all of it.
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

/// The text, cut at a character and marked with `…` where it is longer than `max` bytes.
pub fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub('…'.len_utf8());
    let fits = |(at, character): &(usize, char)| at + character.len_utf8() <= room;
    let kept = text
        .char_indices()
        .take_while(fits)
        .map(|(_, character)| character);
    kept.chain(['…']).collect()
}

/// A repository's URL without user, password, query and fragment; `https`, `ssh` and scp form.
pub fn url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let rest = without_user(rest, scheme.is_empty());
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("{scheme}{}", &rest[..end])
}

/// What follows the user and password. A password that should have been escaped may hold `/`, `?` and
/// `@`: it ends at the last `@` after which a host can begin.
fn without_user(rest: &str, scp: bool) -> &str {
    let mut kept = rest;
    for (at, _) in rest.match_indices('@') {
        let before = &rest[rest.len() - kept.len()..at];
        let authority = before.split(['/', '?', '#']).next().unwrap_or_default();
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        let is_host = !scp && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()));
        // Beyond a whole `host/` or `host:port/`, an `@` belongs to the path.
        if authority.len() < before.len() && (is_host || (scp && kept.len() < rest.len())) {
            break;
        }
        kept = &rest[at + 1..];
    }
    kept
}

/// A text, such as an error of libgit2, with every URL in it as [`url`] has it.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let begin = rest[..at]
            .rfind(|c| !is_scheme(c))
            .map_or(0, |before| before + char_len(rest, before));
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = rest[at..].find(is_end).map_or(rest.len(), |end| at + end);
        let token = &rest[begin..end];
        let bare = token.trim_end_matches([',', ';', '.', ':', ')', ']']);
        out.push_str(&rest[..begin]);
        out.push_str(&url(bare));
        out.push_str(&token[bare.len()..]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
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

    #[test]
    fn urls_lose_what_is_secret() {
        for (from, to) in [
            ("https://host/a/b.git", "https://host/a/b.git"),
            ("https://user:pw@host:8443/a", "https://host:8443/a"),
            ("https://token@host/a?x=secret#y", "https://host/a"),
            ("https://host/@scope/a", "https://host/@scope/a"),
            ("https://host:80/a@b/c", "https://host:80/a@b/c"),
            ("https://user:p/w@host/a", "https://host/a"),
            ("https://user:p@w@host/a", "https://host/a"),
            ("https://user:p?w@host/a", "https://host/a"),
            ("ssh://git@host:22/a", "ssh://host:22/a"),
            ("git@host:team/a.git", "host:team/a.git"),
            ("user:pw@host:a.git", "host:a.git"),
            ("git@host:team/a@b.git", "host:team/a@b.git"),
            ("", ""),
        ] {
            assert_eq!(url(from), to, "{from}");
        }
    }

    #[test]
    fn urls_in_a_text_lose_their_user() {
        assert_eq!(
            text(
                "failed to resolve 'https://u:p@host/a': no; see (ssh://git@h/b), é://x@y and https://t@z."
            ),
            "failed to resolve 'https://host/a': no; see (ssh://h/b), é://y and https://z."
        );
        assert_eq!(text("nothing here"), "nothing here");
    }
}
