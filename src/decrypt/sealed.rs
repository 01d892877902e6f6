//! One sealed value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{AesGcm, aes::Aes256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Number, Value};

/// How a sealed value begins.
pub(super) const SEALED: &str = "ENC[AES256_GCM,";

/// The same in base64: the value has a multiple of three bytes.
const SEALED_IN_BASE64: &str = "RU5DW0FFUzI1Nl9HQ00s";

/// The kinds of objects that a controller in the cluster opens, and makes Secrets of: those of sops-secrets-operator and of
/// sops-operator. Their metadata of SOPS are a field of the object.
const OPENED_IN_THE_CLUSTER: [&str; 2] = ["SopsSecret", "GlobalSopsSecret"];

/// Whether an object is applied as SOPS encrypted it. Without its metadata, nothing could open it.
pub(super) fn is_opened_in_the_cluster(api_version: &str, kind: &str, has_metadata: bool) -> bool {
    has_metadata && api_version.contains('/') && OPENED_IN_THE_CLUSTER.contains(&kind)
}

/// The path of the first value of an object that is sealed still, also in base64, as the values of a Secret are. A longer text
/// that contains one may be meant for another program, and so is an object that is opened in the cluster.
#[must_use]
pub fn sealed_field(object: &Value) -> Option<String> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let has_metadata = object["sops"].is_object();
    if is_opened_in_the_cluster(text("apiVersion"), text("kind"), has_metadata) {
        return None;
    }
    first_sealed(object)
}

fn first_sealed(object: &Value) -> Option<String> {
    let below = |name: &str, path: String| match path.as_str() {
        "" => name.to_owned(),
        path if path.starts_with('[') => format!("{name}{path}"),
        path => format!("{name}.{path}"),
    };
    match object {
        Value::String(text) => is_sealed(text).then(String::new),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| Some(below(&format!("[{index}]"), first_sealed(value)?))),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| Some(below(name, first_sealed(value)?))),
        _ => None,
    }
}

fn is_sealed(text: &str) -> bool {
    let is_whole = |text: &str| {
        let text = text.trim_end();
        let inside = text
            .strip_prefix(SEALED)
            .and_then(|rest| rest.strip_suffix(']'));
        inside.is_some_and(|inside| {
            let mut parts = inside.split(',');
            ["data:", "iv:", "tag:", "type:"].iter().all(|name| {
                let part = parts.next();
                part.is_some_and(|part| part.starts_with(name))
            }) && parts.next().is_none()
        })
    };
    match text.starts_with(SEALED_IN_BASE64) {
        true => {
            let bytes = BASE64_STANDARD.decode(text).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.is_some_and(|text| is_whole(&text))
        }
        false => is_whole(text),
    }
}

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
        let inside = text.strip_prefix(SEALED)?.strip_suffix(']')?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_is_sealed_still_is_found_and_a_text_about_one_is_not() {
        let sealed = "ENC[AES256_GCM,data:a+Q=,iv:b=,tag:c==,type:str]";
        for (object, wanted) in [
            (
                json!({"stringData": {"a": "b", "p": sealed}}),
                Some("stringData.p"),
            ),
            (
                json!({"data": {"p": BASE64_STANDARD.encode(sealed)}}),
                Some("data.p"),
            ),
            (
                json!({"data": {"p": BASE64_STANDARD.encode(format!("{sealed}\n"))}}),
                Some("data.p"),
            ),
            (
                json!({"spec": {"env": [{"v": 1}, {"v": sealed}]}}),
                Some("spec.env[1].v"),
            ),
            (json!({"spec": [[sealed]]}), Some("spec[0][0]")),
            (json!({"data": {"f": format!("a: {sealed}\n")}}), None),
            (json!({"data": {"f": "ENC[AES256_GCM,data:…]"}}), None),
            (json!({"data": {"f": SEALED_IN_BASE64}}), None),
            (
                json!({"apiVersion": "isindir.github.com/v1alpha3", "kind": "SopsSecret", "spec": sealed, "sops": {"mac": sealed}}),
                None,
            ),
            // It has lost what opens it.
            (
                json!({"apiVersion": "isindir.github.com/v1alpha3", "kind": "SopsSecret", "spec": sealed}),
                Some("spec"),
            ),
            (
                json!({"apiVersion": "v1", "kind": "SopsSecret", "sops": {}, "spec": sealed}),
                Some("spec"),
            ),
        ] {
            assert_eq!(sealed_field(&object).as_deref(), wanted);
        }
    }
}
