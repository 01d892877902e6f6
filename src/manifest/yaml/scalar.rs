//! The values of scalars by go-yaml v2's rules: YAML 1.1 without base 60.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use granit_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

use super::YamlCause;

/// The type that a scalar's tag asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// The type follows from the text.
    Any,
    Str,
    Bool,
    Int,
    Float,
    Null,
    Binary,
    /// For kubectl, timestamps stay text, but their format is checked. towline refuses the tag.
    Timestamp,
}

/// The value of a scalar.
pub(super) fn value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, YamlCause> {
    let ask = match tag.map(asked) {
        None if style == ScalarStyle::Plain => Ask::Any,
        None => Ask::Str,
        Some(ask) => ask,
    };
    if ask == Ask::Str {
        return Ok(Value::String(text.to_owned()));
    }
    if ask == Ask::Binary {
        return binary(text);
    }
    let resolved = plain(text);
    match (ask, &resolved) {
        (Ask::Any, _) | (Ask::Bool, Plain::Bool(_)) | (Ask::Null, Plain::Null) => {}
        (Ask::Int, Plain::Int(_) | Plain::Unsigned(_)) => {}
        (Ask::Float, Plain::Int(_) | Plain::Float(_)) => {}
        _ => return Err(YamlCause::Tag),
    }
    match resolved {
        Plain::Null => Ok(Value::Null),
        Plain::Bool(value) => Ok(Value::Bool(value)),
        Plain::Int(value) => Ok(value.into()),
        Plain::Unsigned(value) => Ok(value.into()),
        Plain::Float(value) => Number::from_f64(value)
            .map(Value::Number)
            .ok_or(YamlCause::NonFinite),
        Plain::Text => Ok(Value::String(text.to_owned())),
    }
}

/// Whether this scalar as a key is a merge.
pub(super) fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<"
        && match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => is_bare(tag) || core_suffix(tag) == Some("merge"),
        }
}

/// A float as Kubernetes writes it in JSON: `1.0` and `1e3` are the integers 1 and 1000.
pub(super) fn float(value: f64) -> Option<Value> {
    // Go writes a whole number up to 2^64 without a fraction, and Kubernetes reads it as an
    // integer.
    if value.fract() == 0.0 && value.abs() < 18_446_744_073_709_551_616.0 {
        if value >= 0.0 {
            return Some((value as u64).into());
        }
        if value >= -9_223_372_036_854_775_808.0 {
            return Some((value as i64).into());
        }
    }
    Number::from_f64(value).map(Value::Number)
}

/// The text of a key: `sigs.k8s.io/yaml` writes numbers and booleans as strings.
pub(super) fn key(value: Value) -> Result<String, YamlCause> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => number_key(&number).ok_or(YamlCause::Key),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(YamlCause::Key),
    }
}

/// Go's `FormatFloat(value, 'g', -1, 32)` where it has no exponent.
fn number_key(number: &Number) -> Option<String> {
    if let Some(value) = number.as_i64() {
        return Some(value.to_string());
    }
    let value = number.as_f64().filter(|_| number.is_f64())? as f32;
    let plain = value == 0.0 || (1e-4..999_999.0).contains(&value.abs());
    plain.then(|| value.to_string())
}

fn asked(tag: &Tag) -> Ask {
    match core_suffix(tag) {
        Some("bool") => Ask::Bool,
        Some("int") => Ask::Int,
        Some("float") => Ask::Float,
        Some("null") => Ask::Null,
        Some("binary") => Ask::Binary,
        Some("timestamp") => Ask::Timestamp,
        // A tag that go-yaml does not know leaves the text unchanged.
        _ => Ask::Str,
    }
}

fn full(tag: &Tag) -> String {
    format!("{}{}", tag.handle(), tag.suffix())
}

fn is_bare(tag: &Tag) -> bool {
    full(tag) == "!"
}

fn core_suffix(tag: &Tag) -> Option<&str> {
    const CORE: &str = "tag:yaml.org,2002:";
    match tag.handle() {
        CORE => Some(tag.suffix()),
        "" => tag.suffix().strip_prefix(CORE),
        _ => None,
    }
}

fn binary(text: &str) -> Result<Value, YamlCause> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| YamlCause::Tag)?;
    String::from_utf8(bytes)
        .map(Value::String)
        .map_err(|_| YamlCause::Tag)
}

enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text,
}

fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Plain::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Plain::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Plain::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => separated(text)
            .and_then(|text| decimal(&text))
            .map_or(Plain::Text, Plain::Float),
        Some(b'0'..=b'9' | b'+' | b'-') => number(&text.replace('_', "")),
        _ => Plain::Text,
    }
}

/// Go's `ParseFloat` accepts underscores between digits, and go-yaml passes the text unchanged.
fn separated(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let between = |at: usize| at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1));
    text.match_indices('_')
        .all(|(at, _)| between(at))
        .then(|| text.replace('_', ""))
}

fn number(text: &str) -> Plain {
    integer(text)
        .or_else(|| decimal(text).map(Plain::Float))
        .or_else(|| odd_binary(text))
        .unwrap_or(Plain::Text)
}

/// Go's `ParseInt(text, 0, 64)`, then `ParseUint`.
fn integer(text: &str) -> Option<Plain> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` accepts a sign, so a second sign is refused here.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(value)) {
        (false, Ok(value)) => Some(Plain::Int(value)),
        (true, Ok(value)) => Some(Plain::Int(-value)),
        (true, Err(_)) => (value == i64::MIN.unsigned_abs()).then_some(Plain::Int(i64::MIN)),
        (false, Err(_)) => (!signed).then_some(Plain::Unsigned(value)),
    }
}

/// go-yaml's pattern for floats, `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`. A number
/// that overflows stays text.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || !digits(exponent) {
            return None;
        }
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// go-yaml also accepts `0b-1` and `0b+1`.
fn odd_binary(text: &str) -> Option<Plain> {
    i64::from_str_radix(text.strip_prefix("0b")?, 2)
        .ok()
        .map(Plain::Int)
}
