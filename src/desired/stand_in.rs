//! Stand-ins for what is secret: a render that strangers may influence, and whose result they see, gets no value of a
//! Secret and of an encrypted file. Hiding the values in the result would not do: templates can take a value apart, and
//! show its letters one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::manifest;

/// Hexadecimal digits of a stand-in, after its first letter.
const DIGITS: usize = 15;

/// Makes stand-ins: keyed hashes, so that equal values have equal ones, and nobody learns a value by trying.
#[derive(Clone)]
pub struct StandIns(Hmac<Sha256>);

impl fmt::Debug for StandIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandIns(…)")
    }
}

impl StandIns {
    /// Stand-ins under a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC fills a key up with zeros to a block.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// The stand-in for a value at a place. It is a valid name of an object, valid base64, and text in YAML.
    #[must_use]
    pub fn of(&self, place: &str, value: &[u8]) -> String {
        let digits = hex::encode(self.hash(place, value));
        format!("x{}", &digits[..DIGITS])
    }

    /// The stand-in for a number. It could be a port.
    #[must_use]
    pub fn number(&self, place: &str, value: &[u8]) -> u16 {
        let hash = self.hash(place, value);
        u16::from_be_bytes([hash[0], hash[1]]).max(1)
    }

    fn hash(&self, place: &str, value: &[u8]) -> [u8; 32] {
        let mut hmac = self.0.clone();
        hmac.update(&(place.len() as u64).to_be_bytes());
        hmac.update(place.as_bytes());
        hmac.update(value);
        hmac.finalize().into_bytes().into()
    }

    /// The values of a Secret. Those of `documents` are YAML whose texts and numbers are replaced one by one.
    pub(super) fn values(
        &self,
        name: &str,
        data: &BTreeMap<String, Vec<u8>>,
        documents: &BTreeSet<&str>,
    ) -> BTreeMap<String, Vec<u8>> {
        let values = data.iter().map(|(key, value)| {
            let place = format!("{name}/{key}");
            let stand_in = match documents.contains(&**key) {
                true => self.document(&place, value),
                false => self.of(&place, value),
            };
            (key.clone(), stand_in.into_bytes())
        });
        values.collect()
    }

    fn document(&self, place: &str, value: &[u8]) -> String {
        let documents = manifest::documents(value).unwrap_or_default();
        let mut documents = documents.into_iter().map(|document| document.value);
        let mut value = documents.next().unwrap_or(Value::Null);
        self.replace(place, &mut value);
        value.to_string()
    }

    fn replace(&self, place: &str, value: &mut Value) {
        match value {
            // Templates branch by these, and they tell little.
            Value::Null | Value::Bool(_) => (),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.replace(&format!("{place}.{name}"), value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(place, item)),
            Value::String(text) if text.is_empty() => (),
            Value::String(text) => *text = self.of(place, text.as_bytes()),
            Value::Number(number) => {
                *value = self.number(place, number.to_string().as_bytes()).into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_ins() -> StandIns {
        StandIns::new(&[7; 32])
    }

    #[test]
    fn a_stand_in_may_stand_wherever_a_value_may() {
        for value in ["", "a", "hunter2", "\u{0}\u{ff}"] {
            let stand_in = stand_ins().of("a", value.as_bytes());
            assert_eq!(stand_in.len(), 16, "as base64 it has whole bytes");
            assert!(stand_in.starts_with('x'), "YAML takes it as text");
            assert!(stand_in.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_ne!(stand_in, stand_ins().of("b", value.as_bytes()));
        }
        assert_ne!(stand_ins().of("ab", b"c"), stand_ins().of("a", b"bc"));
    }
}
