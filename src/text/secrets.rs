//! Secret values, and their removal from texts for users, in every form in which a program may write
//! them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde_json::Value;

/// Replaces a value.
const HIDDEN: &str = "***";

/// Marks with which programs end a shortened text.
const CUTS: [&str; 2] = ["...", "…"];

/// The most values, and their bytes. To look for more of them in each text would take too long.
const MOST_VALUES: usize = 10_000;
const MOST_BYTES: usize = 4 << 20;

/// Takes the place of a text, where there are more values than can be looked for.
const LEFT_OUT: &str = "(left out: there are too many secret values to look for in this text)";

/// Secret values. Clones share them: a value that is found later is hidden from all later texts.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Values>>);

#[derive(Clone, Default)]
struct Values {
    all: BTreeSet<String>,
    bytes: usize,
    /// There were more than can be looked for. They are not kept.
    too_many: bool,
    /// There was at least one, which may be too short to be looked for.
    any: bool,
}

impl Values {
    fn add(&mut self, value: &str) {
        if self.too_many || !self.all.insert(value.to_owned()) {
            return;
        }
        self.bytes += value.len();
        if self.all.len() > MOST_VALUES || self.bytes > MOST_BYTES {
            self.too_many = true;
            self.all = BTreeSet::new();
        }
    }
}

/// Hides the values.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.values().all.len())
    }
}

impl Secrets {
    /// Values shorter than this, in bytes, are not redacted: they match ordinary words, and the
    /// gaps would reveal them.
    pub const SHORTEST: usize = 4;

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let values = self.values();
        values.all.is_empty() && !values.too_many
    }

    /// Whether there was any value, also one that is too short to be hidden.
    #[must_use]
    pub fn had_any(&self) -> bool {
        self.values().any
    }

    /// Records that there is a value, without the value.
    pub fn note_any(&self) {
        self.values().any = true;
    }

    /// A copy with the present values. Later values of the copy and of `self` are separate.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.values().clone())))
    }

    /// Adds a value, each of its lines, the text that it holds in base64, the password of a login (`user:password@host`),
    /// and a number as Go's templates write it: `7.39118424e+08`.
    pub fn add(&self, value: &str) {
        let mut values = self.values();
        values.any = true;
        let decoded = BASE64_STANDARD.decode(value.trim());
        let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        for text in [Some(value), decoded.as_deref()].into_iter().flatten() {
            let parts = text.lines().chain([text]).map(bare);
            parts
                .chain(password(text))
                .filter(|part| part.len() >= Self::SHORTEST)
                .for_each(|part| values.add(part));
        }
        if let Some(mantissa) = mantissa(value.trim()) {
            values.add(&mantissa);
        }
    }

    /// Adds the value of a header, and what an answer may repeat of it: the credentials after their scheme (`Bearer …`), the
    /// login in base64 and its password, and the values of `name=value`.
    pub fn add_header(&self, value: &str) {
        self.add(value);
        let mut words: Vec<&str> = value.split([' ', '\t', ',', ';']).collect();
        // The first of several names the scheme.
        if words.len() > 1 {
            words.remove(0);
        }
        for word in words {
            self.add(word);
            if let Some((_, value)) = word.split_once('=') {
                self.add(value.trim_matches('"'));
            }
            let login = BASE64_STANDARD.decode(word).ok();
            let login = login.and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some((_, password)) = login.as_deref().and_then(|login| login.split_once(':')) {
                self.add(password);
            }
        }
    }

    /// Adds all texts and numbers of a document.
    pub fn add_all(&self, document: &Value) {
        match document {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            Value::Object(fields) => fields.values().for_each(|value| self.add_all(value)),
            Value::Bool(_) | Value::Null => (),
        }
    }

    /// Adds the secrets of a text with settings that cannot be parsed: every line, and the text after `:`
    /// or `=`.
    pub fn add_lines(&self, text: &str) {
        for line in text.lines() {
            self.add(line);
            if let Some((_, value)) = line.split_once([':', '=']) {
                self.add(value);
                for part in value.split([',', '[', ']', '{', '}']) {
                    let (_, part) = part.split_once(": ").unwrap_or(("", part));
                    self.add(part.trim().trim_matches(['"', '\'']));
                }
            }
        }
    }

    /// Replaces the values in `text`. Finds them unchanged, quoted, escaped, in base64 (also twice), base32 or hexadecimal
    /// digits, in upper and lower case, with other line breaks, and with their end cut off. Where there are too many values
    /// to look for, nothing of the text is left.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let values = self.values();
        if values.too_many {
            return LEFT_OUT.to_owned();
        }
        if values.all.is_empty() {
            return text.to_owned();
        }
        let shown = Plain::new(text);
        let starts = shown.starts();
        let mut found = Vec::new();
        for value in &values.all {
            each_form(value, &mut |form| {
                shown.find(&Plain::new(form).bytes, &starts, &mut found);
            });
        }
        cut_out(text, found)
    }
}

/// The password in an address.
fn password(text: &str) -> Option<&str> {
    let (login, _) = text.rsplit_once('@')?;
    let (_, password) = login.rsplit_once(':')?;
    (!password.starts_with("//")).then_some(password)
}

/// The digits of a large number as a float with an exponent has them. A shorter one would match ordinary numbers.
fn mantissa(text: &str) -> Option<String> {
    let digits = text.trim_end_matches('0');
    let is_large = digits.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_large.then(|| format!("{}.{}", &digits[..1], &digits[1..]))
}

/// The text without white space and control characters at its ends.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}

/// A text without quoting: escapes are resolved, quotes are removed, letters are in lower case, and each
/// run of white space is one space. A value is found in it however often it was quoted.
struct Plain {
    bytes: Vec<u8>,
    /// The range in the original text that each byte comes from.
    places: Vec<Range<usize>>,
}

/// The places of the first bytes of words.
type Starts<'t> = HashMap<&'t [u8], Vec<usize>>;

/// HTML's entities for special characters.
const ENTITIES: [(&str, char); 6] = [
    ("&lt;", '<'),
    ("&gt;", '>'),
    ("&amp;", '&'),
    ("&#34;", ' '),
    ("&#39;", ' '),
    ("&quot;", ' '),
];

impl Plain {
    fn new(text: &str) -> Self {
        let mut plain = Self {
            bytes: Vec::with_capacity(text.len()),
            places: Vec::with_capacity(text.len()),
        };
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let (character, size) = match first {
                '\\' => unescaped(&text[at..]),
                '"' | '\'' | '`' => (None, 1),
                '&' => {
                    let entity = ENTITIES
                        .iter()
                        .find(|(from, _)| text[at..].starts_with(from));
                    entity.map_or((Some('&'), 1), |(from, to)| {
                        (Some(*to).filter(|to| *to != ' '), from.len())
                    })
                }
                other => (Some(other), other.len_utf8()),
            };
            plain.push(character, at..at + size);
            at += size;
        }
        plain
    }

    fn push(&mut self, character: Option<char>, place: Range<usize>) {
        let Some(character) = character else { return };
        let is_space = character.is_whitespace() || character.is_control();
        if is_space && self.bytes.last() == Some(&b' ') {
            return;
        }
        let shown = if is_space {
            ' '
        } else {
            character.to_ascii_lowercase()
        };
        for byte in shown.encode_utf8(&mut [0; 4]).bytes() {
            self.bytes.push(byte);
            self.places.push(place.clone());
        }
    }

    /// Where each sequence of bytes stands with which a form may begin.
    fn starts(&self) -> Starts<'_> {
        let mut starts = Starts::new();
        for (start, bytes) in self.bytes.windows(Secrets::SHORTEST).enumerate() {
            starts.entry(bytes).or_default().push(start);
        }
        starts
    }

    /// Finds every place of `form`: the whole form, or its start before a mark that the rest was cut off.
    fn find(&self, form: &[u8], starts: &Starts<'_>, found: &mut Vec<Range<usize>>) {
        let first = form.get(..Secrets::SHORTEST);
        let starts = first.and_then(|first| starts.get(first));
        for &start in starts.into_iter().flatten() {
            let here = &self.bytes[start..];
            let same = here.iter().zip(form).take_while(|(a, b)| a == b).count();
            let is_cut = || {
                let after = &here[same..];
                let mut cuts = CUTS.iter();
                after.is_empty() || cuts.any(|cut| after.starts_with(cut.as_bytes()))
            };
            if same == form.len() || is_cut() {
                found.push(self.places[start].start..self.places[start + same - 1].end);
            }
        }
    }
}

/// Decodes the escape at the start of `text`, which begins with a backslash. Returns the character and
/// the length of the escape. The character is none if the backslashes only quote what follows.
fn unescaped(text: &str) -> (Option<char>, usize) {
    let rest = text.trim_start_matches('\\');
    let slashes = text.len() - rest.len();
    let number = |digits: usize| {
        let digits = rest.get(1..=digits)?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    };
    let of_number = |digits: usize| match number(digits) {
        Some('"' | '\'' | '`' | '\\') => (None, slashes + 1 + digits),
        Some(character) => (Some(character), slashes + 1 + digits),
        None => (None, slashes),
    };
    match rest.chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('u') => of_number(4),
        Some('x') => of_number(2),
        Some('n' | 't' | 'r' | 'a' | 'b' | 'f' | 'v') => (Some(' '), slashes + 1),
        _ => (None, slashes),
    }
}

/// The text with each range replaced. Ranges may overlap.
fn cut_out(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for Range { start, end } in ranges {
        if end <= at {
            continue;
        }
        if start > at || at == 0 {
            out.push_str(text.get(at..start).unwrap_or_default());
            out.push_str(HIDDEN);
        }
        // A range may end inside a character, if the form was cut there.
        at = (end..text.len())
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(text.len());
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Calls `found` with each form in which programs write a value. Quotes and escapes are not part of a
/// form.
fn each_form(value: &str, found: &mut dyn FnMut(&str)) {
    found(value);
    found(&escaped_url(value, "+"));
    found(&escaped_url(value, "%20"));
    found(&hex::encode(value));
    let mut cases = vec![value.to_owned()];
    for other in [value.to_uppercase(), value.to_lowercase()] {
        if !cases.contains(&other) {
            cases.push(other);
        }
    }
    for form in cases.iter().flat_map(|value| base64(value)) {
        found(&form);
        found(&form.replace('+', "-").replace('/', "_"));
    }
    // The login of a registry is in base64 within a document that is in base64.
    for form in base64(value).iter().flat_map(|form| base64(form)) {
        if form.len() >= TELLING_TWICE {
            found(&form);
        }
    }
    for form in encoded(value, 5, 8, base32) {
        found(&form);
    }
}

/// The shortest form of a value in base64 of base64, in bytes: a shorter one would match ordinary words.
const TELLING_TWICE: usize = 8;

fn base64(value: &str) -> Vec<String> {
    encoded(value, 3, 4, |bytes| BASE64_STANDARD_NO_PAD.encode(bytes))
}

fn escaped_url(value: &str, space: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b' ' => out.push_str(space),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => drop(write!(out, "%{byte:02x}")),
        }
    }
    out
}

/// The value in an encoding that writes `group` bytes as `digits` characters, for every offset of the
/// value in the encoded text. Characters that also depend on other bytes are left out.
fn encoded(
    value: &str,
    group: usize,
    digits: usize,
    encode: impl Fn(&[u8]) -> String,
) -> Vec<String> {
    let bits = 8 * group / digits;
    let of = |before: usize| {
        let bytes = [&vec![0; before], value.as_bytes()].concat();
        let text = encode(&bytes);
        let first = (8 * before).div_ceil(bits);
        let last = 8 * bytes.len() / bits;
        text.get(first..last).unwrap_or_default().to_owned()
    };
    // Forms of few characters would match ordinary words.
    let is_telling = |form: &String| form.len() > Secrets::SHORTEST;
    (0..group).map(of).filter(is_telling).collect()
}

fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::new();
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(DIGITS[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_found_in_base64_of_another_case_and_of_base64() {
        let secrets = Secrets::default();
        secrets.add("Hunter2-secret");
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let login = encode("shop:Hunter2-secret");
        for shown in [
            encode("HUNTER2-SECRET"),
            encode("x hunter2-secret y"),
            encode(&encode("Hunter2-secret")),
            encode(&format!(
                "{{\"auths\":{{\"r.example\":{{\"auth\":\"{login}\"}}}}}}"
            )),
        ] {
            let hidden = secrets.hide(&format!("it is {shown} here"));
            assert!(hidden.contains(HIDDEN), "{hidden}");
            assert!(hidden.len() + 12 < shown.len() + 11, "{hidden}");
        }
        assert_eq!(secrets.hide("nothing of it"), "nothing of it");
    }

    const VALUES: [&str; 6] = [
        "hunter2",
        "p@ss\"w'o\\rd<&>",
        "line one\nline two\t\u{7}",
        "p\u{e4}ssw\u{f6}rd",
        "correct horse battery staple",
        "73911842",
    ];

    fn secrets(value: &str) -> Secrets {
        let secrets = Secrets::default();
        secrets.add_all(&json!({"a": [{"b": value}]}));
        secrets
    }

    #[test]
    fn a_password_in_an_address_and_a_number_as_a_float_are_hidden() {
        for (value, said, hidden) in [
            (
                "postgres://user:hunter2-pw@db/app",
                "bad hunter2-pw",
                "bad ***",
            ),
            ("user:hunter2-pw@db", "bad hunter2-pw", "bad ***"),
            ("7391184200", "bad 7.391184200e+09", "bad ***00e+09"),
            ("7391184242", "bad 7.391184242e+09", "bad ***e+09"),
            ("100000", "at 1.0 of 2", "at 1.0 of 2"),
            ("https://user@db/app", "bad user", "bad user"),
        ] {
            assert_eq!(secrets(value).hide(said), hidden);
        }
    }

    #[test]
    fn what_an_answer_may_repeat_of_a_header_is_hidden() {
        for (header, answer) in [
            ("Bearer hunter2-token", "bad token hunter2-token"),
            ("hunter2-token", "bad token hunter2-token"),
            (
                "Basic dXNlcjpodW50ZXIyLXB3",
                "no login dXNlcjpodW50ZXIyLXB3, nor hunter2-pw",
            ),
            (
                "Token token=\"hunter2-token\", a=b",
                "bad token hunter2-token",
            ),
        ] {
            let secrets = Secrets::default();
            secrets.add_header(header);
            let hidden = secrets.hide(answer);
            assert!(
                !hidden.contains("hunter2") && !hidden.contains("dXNl"),
                "{hidden}"
            );
            let words = "what bears a login";
            assert_eq!(secrets.hide(words), words);
        }
    }

    #[test]
    fn every_form_of_a_value_is_hidden() {
        for value in VALUES {
            let secrets = secrets(value);
            let wrapped = value.replace(' ', "\n    ");
            let of_both = format!("user:{value}");
            let forms = [
                value.to_owned(),
                value.to_uppercase().to_lowercase(),
                value.to_ascii_uppercase(),
                json!(value).to_string(),
                json!(json!({"a": value}).to_string()).to_string(),
                format!("{value:?}"),
                value.replace('\'', "''"),
                wrapped,
                BASE64_STANDARD.encode(value),
                BASE64_STANDARD.encode(&of_both),
                BASE64_STANDARD.encode(format!("ab{value}cd")),
                hex::encode_upper(value),
                escaped_url(value, "+"),
                base32(format!("abc{value}").as_bytes()),
                value
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('"', "&#34;"),
            ];
            for form in forms {
                let said = format!("error at <{form}>: {form}");
                let kept = secrets.hide(&said);
                let inner = kept.trim_start_matches("error at <");
                assert!(kept.starts_with("error at <"), "{kept}");
                assert!(inner.contains(HIDDEN), "{form:?} of {value:?}: {kept}");
                for part in value.split_whitespace().filter(|part| part.len() > 3) {
                    assert!(!kept.contains(part), "{form:?} of {value:?}: {kept}");
                }
                let rest = kept.replace(HIDDEN, "").replace("error at", "");
                assert!(rest.len() < said.len() / 2 + 24, "{form:?}: {kept}");
            }
        }
    }

    #[test]
    fn a_value_whose_end_was_cut_off_is_hidden() {
        let secrets = secrets("hunter2-very-long");
        for (said, kept) in [
            ("!!str `hunter2...` into int", "!!str `***...` into int"),
            ("it is hunter2-ver…", "it is ***…"),
            ("ends with hunter", "ends with ***"),
            ("a hunter in the woods", "a hunter in the woods"),
        ] {
            assert_eq!(secrets.hide(said), kept);
        }
    }

    #[test]
    fn ordinary_words_and_short_values_stay() {
        let secrets = Secrets::default();
        for value in ["abc", "a", "", "true"] {
            secrets.add(value);
        }
        assert_eq!(secrets.hide("abc is a value"), "abc is a value");
        let none = Secrets::default();
        none.add_all(&json!({"enabled": true, "nothing": null, "port": 80}));
        assert!(none.is_empty());
        assert_eq!(none.hide("é true 80"), "é true 80");
    }

    #[test]
    fn what_base64_holds_and_what_settings_hold_is_secret() {
        let secrets = Secrets::default();
        secrets.add("aHVudGVyMg==");
        secrets.add_lines("PASSWORD=\"swordfish\"\nbroken: [opensesame\n");
        let said = "hunter2 and aHVudGVyMg==, swordfish, \"opensesame\"";
        let kept = secrets.hide(said);
        for value in ["hunter2", "aHVud", "swordfish", "opensesame"] {
            assert!(!kept.contains(value), "{kept}");
        }
    }

    #[test]
    fn overlapping_values_are_cut_once() {
        let secrets = Secrets::default();
        secrets.add("hunter2");
        secrets.add("ter2hood");
        assert_eq!(secrets.hide("é hunter2hood é"), "é *** é");
    }

    /// A Secret of 1 MiB may hold a hundred thousand lines.
    #[test]
    fn many_values_take_neither_long_nor_much_and_show_nothing() {
        let lines = |count: usize| {
            (0..count).fold(String::new(), |text, line| format!("{text}s3cret-{line}\n"))
        };
        let some = Secrets::default();
        some.add(&lines(1_000));
        let began = std::time::Instant::now();
        let said = "no such key: s3cret-999";
        assert_eq!(some.hide(said), "no such key: ***");
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());

        let values = (0..20_000).map(|number| format!("s3cret-{number}"));
        let many = Secrets::default();
        values.for_each(|value| many.add(&value));
        assert!(!many.is_empty());
        assert_eq!(many.values().all.len(), 0);
        assert_eq!(many.hide(said), LEFT_OUT);
        assert_eq!(many.fork().hide(said), LEFT_OUT);
        let large = Secrets::default();
        large.add(&"x".repeat(MOST_BYTES + 1));
        assert_eq!(large.hide(said), LEFT_OUT);
    }

    #[test]
    fn clones_share_and_forks_do_not() {
        let one = Secrets::default();
        let (clone, fork) = (one.clone(), one.fork());
        clone.add("hunter2");
        assert_eq!(one.hide("hunter2"), HIDDEN);
        assert_eq!(fork.hide("hunter2"), "hunter2");
    }
}
