//! A digest of an object's manifest, in sixteen bytes.

use std::fmt;
use std::io;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The first half of the SHA-256 of a manifest's canonical JSON: sorted keys, no white space.
///
/// 128 bits are enough against an accidental collision. An intended collision has no use, because
/// its author may write both manifests anyway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of an object's manifest.
    pub fn of(body: &Value) -> Self {
        Self::and_size(body).0
    }

    /// The digest, and how many bytes of JSON the manifest takes.
    pub fn and_size(body: &Value) -> (Self, usize) {
        let mut hasher = Hasher {
            hash: Sha256::new(),
            size: 0,
        };
        // Neither the hasher nor a `Value` can fail.
        let _ = serde_json::to_writer(&mut hasher, body);
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.hash.finalize()[..16]);
        (Self(half), hasher.size)
    }
}

impl std::str::FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut half = [0; 16];
        hex::decode_to_slice(text, &mut half)?;
        Ok(Self(half))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct Hasher {
    hash: Sha256,
    size: usize,
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> String {
        Digest::of(&serde_json::from_str(text).unwrap()).to_string()
    }

    /// Fails if a dependency turns on serde_json's `preserve_order`.
    #[test]
    fn the_order_of_keys_does_not_change_the_digest() {
        assert_eq!(
            digest(r#"{"b": 1, "a": {"d": 2, "c": 3}}"#),
            digest(r#"{"a":{"c":3,"d":2},"b":1}"#)
        );
    }

    #[test]
    fn is_the_half_of_sha256() {
        // printf '{"a":1}' | sha256sum
        assert_eq!(digest(r#"{"a": 1}"#), "015abd7f5cc57a2dd94b7590f04ad808");
        assert_ne!(digest(r#"{"a": 1}"#), digest(r#"{"a": "1"}"#));
    }
}
