//! Strict JSON: `serde_json` alone keeps the last of two equal keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, error::Category};

use super::{Document, YamlCause, YamlError, fail, number, scalar};

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

/// The documents of concatenated JSON.
pub(super) fn stream(text: &str) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for (index, result) in serde_json::Deserializer::from_str(text)
        .into_iter::<Strict>()
        .enumerate()
    {
        let Strict(value) = result.map_err(|error| failure(number(index), &error))?;
        if !value.is_null() {
            documents.push(Document {
                number: number(index),
                value,
            });
        }
    }
    Ok(documents)
}

/// Exactly one JSON value.
pub(super) fn one(text: &str) -> Result<Value, Failure> {
    serde_json::from_str::<Strict>(text)
        .map(|Strict(value)| value)
        .map_err(|error| failure(1, &error))
}

fn failure(document: u32, error: &serde_json::Error) -> Failure {
    let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
    if error.classify() == Category::Data {
        return Failure::Meaning(fail(document, line, YamlCause::DuplicateKey));
    }
    if error.to_string().starts_with("number out of range") {
        return Failure::Meaning(fail(document, line, YamlCause::NonFinite));
    }
    Failure::NotJson
}

/// A JSON value without duplicate keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(scalar::float(value).unwrap_or(Value::Null))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom("duplicate key"));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
