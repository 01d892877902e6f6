//! Removes pieces of values from a message: a password out of an address, a value in another case, its first letters, or
//! a value with letters beside it. A rule of a definition or of a policy, and a webhook, can write all of these.

use std::collections::HashMap;
use std::ops::Range;

/// The shortest piece that is searched for, in bytes.
const SHORTEST: usize = 6;

/// So many bytes of a longer piece are enough to be found.
const PART: usize = 8;

/// The lengths of what is searched for.
const LENGTHS: [usize; 3] = [SHORTEST, 7, PART];

/// What separates the pieces of a value.
const BETWEEN: [char; 22] = [
    ':', '/', '@', '=', ',', ';', '?', '&', '"', '\'', '`', '<', '>', '(', ')', '{', '}', '[', ']',
    '|', '\\', '#',
];

/// `message` without pieces of `values` that look like secrets, in upper or lower case. What is in `known` stays.
pub(super) fn cut_pieces(message: &str, values: &[String], known: &[&str]) -> String {
    let text = message.to_ascii_lowercase();
    let known: Vec<String> = known.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut places = LENGTHS.map(|length| places(text.as_bytes(), length));
    let mut found = Vec::new();
    for piece in values.iter().flat_map(|value| pieces(value)) {
        let piece = piece.to_ascii_lowercase();
        let length = PART.min(piece.len());
        for part in piece.as_bytes().windows(length) {
            // Taken out, so that a value that repeats itself finds each place once.
            let starts = places[length - SHORTEST].remove(part);
            let starts = starts.into_iter().flatten();
            found.extend(starts.map(|start| start..start + length));
        }
    }
    let mut found = merged(found);
    found.retain(|range| !is_known(&text, range, &known));
    cut(message, &found)
}

/// Where each sequence of so many bytes stands.
fn places(text: &[u8], length: usize) -> HashMap<&[u8], Vec<usize>> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (start, bytes) in text.windows(length).enumerate() {
        places.entry(bytes).or_default().push(start);
    }
    places
}

/// The pieces of a value that look like secrets: those with a digit, and the password of a login.
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let is_between = |c: char| c.is_whitespace() || BETWEEN.contains(&c);
    let telling = value
        .split(is_between)
        .filter(|piece| piece.bytes().any(|byte| byte.is_ascii_digit()));
    let login = value.rsplit_once('@').map(|(login, _)| login);
    let password = login.and_then(|login| login.rsplit(is_between).next());
    telling
        .chain(password)
        .filter(|piece| piece.len() >= SHORTEST)
}

/// Whether a range is a part of a name that is shown anyway, or of a field's path.
fn is_known(text: &str, range: &Range<usize>, known: &[String]) -> bool {
    let part = &text.as_bytes()[range.clone()];
    let is_named = |name: &String| name.as_bytes().windows(part.len()).any(|at| at == part);
    known.iter().any(is_named) || text.get(..range.start).is_some_and(is_in_path)
}

/// The ranges in their order, those that touch as one.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

/// The text with `…` in place of each range.
fn cut(text: &str, ranges: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for Range { start, end } in ranges {
        out.push_str(
            text.get(at..text.floor_char_boundary(*start))
                .unwrap_or_default(),
        );
        out.push('…');
        at = text.ceil_char_boundary(*end);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Whether what follows this text is a part of a field's path.
pub(super) fn is_in_path(before: &str) -> bool {
    let token = before
        .rsplit(|c: char| c.is_whitespace() || c == '"')
        .next();
    token.is_some_and(|token| {
        let roots = ["spec", "data", "metadata", "status", ".", "stringData"];
        token.ends_with(['.', '[', '"']) && roots.iter().any(|root| token.starts_with(root))
    }) || before.ends_with("[name=\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_value_that_looks_like_a_secret_is_cut() {
        const SECRET: &str = "Zk7q1marker8Xw";
        for (value, said, right) in [
            ("@", "xZk7q1marker8Xwy is bad", "x…y is bad"),
            (
                "user:@",
                "password zk7q1marker8xw is bad",
                "password … is bad",
            ),
            ("@", "it starts with Zk7q1marke", "it starts with …"),
            (
                "postgres://u:@@h/db",
                "user is \"u:Zk7q1marker8Xw@h/db\"",
                "user is \"u:…@h/db\"",
            ),
            ("--pw=@ --x", "no Zk7q1marker8Xw", "no …"),
            (
                "@",
                "spec.map.Zk7q1marker8Xw: Too long",
                "spec.map.Zk7q1marker8Xw: Too long",
            ),
            (
                "a@",
                "configmaps \"web-1234567\" is aZk7q1ma",
                "configmaps \"web-1234567\" is …",
            ),
            (
                "u:hunterx@h web-1234567",
                "web-1234567: hunterx",
                "web-1234567: …",
            ),
            (
                "deployment of the team",
                "the deployment of a team",
                "the deployment of a team",
            ),
            (
                "\u{e9}\u{e9}\u{e9}@",
                "\u{e9}\u{e9}k7q1marker8Xw\u{e9}",
                "\u{e9}\u{e9}…\u{e9}",
            ),
        ] {
            let value = match value.contains("hunterx") {
                true => value.to_owned(),
                false => value.replacen('@', SECRET, 1),
            };
            assert_eq!(cut_pieces(said, &[value], &["web-1234567"]), right);
        }
    }

    /// With each place for each part of the value, this would never end.
    #[test]
    fn a_value_and_a_message_that_repeat_themselves_are_cut_at_once() {
        let value = format!("{}1", "a".repeat(1_000_000));
        let message = format!("{} is bad", "a".repeat(16 << 10));
        assert_eq!(cut_pieces(&message, &[value], &[]), "… is bad");
        let values = ["aaaaa1", "aaaaaa1", "aaaaaaa1"].map(str::to_owned);
        for said in &values {
            assert_eq!(cut_pieces(said, &values, &[]), "…");
        }
    }
}
