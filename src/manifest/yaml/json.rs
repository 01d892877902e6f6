//! Strict JSON: `serde_json` alone keeps the last of two equal keys.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, error::Category};

use super::budget::{self, Meter};
use super::{Document, YamlCause, YamlError, fail, line_at, number, scalar};

/// Why a text was not read as JSON.
pub(super) enum Failure {
    /// The text is not JSON. It may be YAML.
    NotJson,
    /// The text is JSON with a content that must not be applied.
    Meaning(YamlError),
}

/// Whether kubectl would try to read the text as JSON first.
pub(super) fn looks_like(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Whether the whole text is concatenated JSON. Nothing of it is kept.
pub(super) fn is_stream(text: &str) -> bool {
    let values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.into_iter().all(|value| value.is_ok())
}

/// Calls `found` with each document of concatenated JSON.
pub(super) fn stream<E: From<YamlError>>(
    text: &str,
    mut found: impl FnMut(Document) -> Result<(), E>,
) -> Result<(), E> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut begin, mut index) = (0, 0);
    while let Some(Ok(_)) = values.next() {
        let end = values.byte_offset();
        let document = &text[begin..end];
        let _room = budget::room_for(document.len());
        let number = number(index);
        let value = one(document).map_err(|failure| {
            let YamlError { line, cause, .. } = match failure {
                Failure::Meaning(error) => error,
                // JSON as far as its form goes.
                Failure::NotJson => fail(number, 1, YamlCause::TooDeep),
            };
            let cause = cause.about(document);
            let before = line_at(text.as_bytes(), begin);
            fail(number, before.saturating_add(line).saturating_sub(1), cause)
        })?;
        if !value.is_null() {
            found(Document { number, value })?;
        }
        (begin, index) = (end, index + 1);
    }
    Ok(())
}

/// Exactly one JSON value.
pub(super) fn one(text: &str) -> Result<Value, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut meter = Meter::default();
    Strict(&mut meter)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| failure(1, &error))
}

fn failure(document: u32, error: &serde_json::Error) -> Failure {
    let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
    let text = error.to_string();
    if error.classify() == Category::Data {
        let cause = match text.strip_prefix(TWICE) {
            None => YamlCause::TooLarge,
            Some(rest) => {
                YamlCause::duplicate(rest.rsplit_once(" at line ").map_or("", |(key, _)| key))
            }
        };
        return Failure::Meaning(fail(document, line, cause));
    }
    if text.starts_with("number out of range") {
        return Failure::Meaning(fail(document, line, YamlCause::NonFinite));
    }
    Failure::NotJson
}

/// What errors of our own say, to be found again. The first is followed by the key.
const TWICE: &str = "duplicate key ";
const TOO_LARGE: &str = "too large";

/// Reads a JSON value without duplicate keys, within a budget.
struct Strict<'m>(&'m mut Meter);

impl Strict<'_> {
    fn charge<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.0.charge(bytes).map_err(|_| E::custom(TOO_LARGE))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(mut self) -> Result<Value, E> {
        self.charge(budget::scalar())?;
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<Value, E> {
        self.charge(budget::scalar())?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<Value, E> {
        self.charge(budget::scalar())?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<Value, E> {
        self.charge(budget::scalar())?;
        Ok(value.into())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<Value, E> {
        self.charge(budget::scalar())?;
        Ok(scalar::float(value).unwrap_or(Value::Null))
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<Value, E> {
        self.charge(budget::string(value.len()))?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(mut self, value: String) -> Result<Value, E> {
        self.charge(budget::string(value.len()))?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.charge(budget::scalar())?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Strict(&mut *self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.charge(budget::map())?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            self.charge(budget::entry(key.len()))?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("{TWICE}{key}")));
            }
            let value = access.next_value_seed(Strict(&mut *self.0))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
