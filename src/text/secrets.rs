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
mod tests;
