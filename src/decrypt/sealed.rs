//! One sealed value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{AesGcm, aes::Aes256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Number, Value};

/// SOPS uses nonces of 32 bytes.
type Cipher = AesGcm<Aes256, U32>;

/// The key that all values of one file are sealed with.
pub(super) struct DataKey(Cipher);

/// An opened value.
#[derive(Debug, PartialEq)]
pub(super) enum Opened {
    /// A value of the file.
    Value(Value),
    /// A comment in the place of a list's item. It is removed.
    Comment,
}

impl DataKey {
    /// None unless it has 32 bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        Cipher::new_from_slice(bytes).ok().map(Self)
    }

    /// Decrypts a value. None if it is malformed, or sealed with another key or path.
    pub(super) fn open(&self, text: &str, path: &str) -> Option<Opened> {
        if text.is_empty() {
            return Some(Opened::Value(Value::String(String::new())));
        }
        let (kind, plain) = self.open_bytes(text, path)?;
        let plain = String::from_utf8(plain).ok()?;
        Some(Opened::Value(match kind {
            "comment" => return Some(Opened::Comment),
            "int" => Value::Number(plain.parse::<i64>().ok()?.into()),
            "float" => Value::Number(Number::from_f64(plain.parse().ok()?)?),
            "bool" => Value::Bool(match plain.as_str() {
                "True" | "true" | "1" => true,
                "False" | "false" | "0" => false,
                _ => return None,
            }),
            "str" | "bytes" | "time" => Value::String(plain),
            _ => return None,
        }))
    }

    fn open_bytes<'t>(&self, text: &'t str, path: &str) -> Option<(&'t str, Vec<u8>)> {
        let inside = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut parts = inside.split(',');
        let mut part = |name: &str| parts.next()?.strip_prefix(name);
        let (data, iv, tag, kind) = (part("data:")?, part("iv:")?, part("tag:")?, part("type:")?);
        let mut sealed = BASE64_STANDARD.decode(data).ok()?;
        sealed.extend(BASE64_STANDARD.decode(tag).ok()?);
        let iv: [u8; 32] = BASE64_STANDARD.decode(iv).ok()?.try_into().ok()?;
        let payload = Payload {
            msg: &sealed,
            aad: path.as_bytes(),
        };
        let plain = self.0.decrypt(&Array::from(iv), payload).ok()?;
        Some((kind, plain))
    }
}
