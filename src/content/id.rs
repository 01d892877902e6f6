//! Ids of content: equal ids are equal content.

use std::fmt;

/// The longest id, in bytes: SHA-256.
const LONGEST: usize = 32;

/// The id of an object in an object database, or another digest of content, of up to 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    length: u8,
    bytes: [u8; LONGEST],
}

impl ObjectId {
    /// The id with these bytes. What is longer than 32 bytes is cut: no digest in use is.
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

    /// The algorithm that makes ids of this length, as revisions name it.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.length {
            20 => "sha1",
            _ => "sha256",
        }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub ObjectId);

/// The content of a folder, or of the file that stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub ObjectId);

/// The content of a [`super::Listing`]: the folder's and, where links lead out of it, what they point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub ObjectId);
