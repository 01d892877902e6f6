//! Content ids. Equal ids mean equal content.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest id, in bytes: SHA-256.
const LONGEST: usize = 32;

/// The id of an object in an object database, or another digest of content, of up to 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct ObjectId {
    length: u8,
    bytes: [u8; LONGEST],
}

impl ObjectId {
    /// The id with these bytes. Bytes after the 32nd are cut off, because no used digest is longer.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let length = bytes.len().min(LONGEST);
        let mut id = Self {
            length: u8::try_from(length).unwrap_or_default(),
            bytes: [0; LONGEST],
        };
        id.bytes[..length].copy_from_slice(&bytes[..length]);
        id
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The algorithm whose digests have this length, as in the name of a revision.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.length {
            20 => "sha1",
            _ => "sha256",
        }
    }
}

impl From<Vec<u8>> for ObjectId {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(&bytes)
    }
}

impl From<ObjectId> for Vec<u8> {
    fn from(id: ObjectId) -> Self {
        id.as_bytes().to_vec()
    }
}

/// In hexadecimal.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobId(pub ObjectId);

/// The content of a folder, or of a file at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub ObjectId);

/// The content of a [`super::Listing`]: the folder, and the targets of links that leave the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub ObjectId);
