//! What one document may take in memory, counted while it is read.
//!
//! A mapping of one entry is eight bytes of text and takes more than six hundred in memory, so a file that is
//! small in Git can take gigabytes. The API server takes objects of at most [`MAX_OBJECT`] bytes, so a document
//! beyond these limits could not be applied.

use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::Value;

use super::YamlCause;

/// The most bytes that one document may take in memory as values.
pub const MAX_DOCUMENT: usize = 80 << 20;

/// The most bytes of an object as JSON: the API server's own limit on a request.
pub const MAX_OBJECT: usize = 3 << 20;

/// A value in a list or a mapping, with what the growth of its list leaves unused.
const SLOT: usize = 64;
/// The first node of a mapping's tree.
const MAP: usize = 656;
/// An entry of a mapping: nodes are half full at worst.
const ENTRY: usize = 112;
/// What an allocation takes beside its bytes.
const HEAP: usize = 32;

/// What a string takes.
pub(super) fn string(length: usize) -> usize {
    SLOT + HEAP + length
}

/// What a mapping's entry takes, without its value.
pub(super) fn entry(key: usize) -> usize {
    ENTRY + HEAP + key
}

/// What an empty mapping or list takes.
pub(super) fn map() -> usize {
    SLOT + MAP
}

/// What a number, a boolean or a null takes.
pub(super) fn scalar() -> usize {
    SLOT
}

/// About how many bytes a value takes in memory.
pub fn memory(value: &Value) -> usize {
    match value {
        Value::String(text) => string(text.len()),
        Value::Array(items) => SLOT + items.iter().map(memory).sum::<usize>(),
        Value::Object(fields) => {
            let entries = fields.iter();
            map()
                + entries
                    .map(|(key, value)| entry(key.len()) + memory(value))
                    .sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => scalar(),
    }
}

/// What is left for one document.
pub(super) struct Meter(usize);

impl Default for Meter {
    fn default() -> Self {
        Self(MAX_DOCUMENT)
    }
}

impl Meter {
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), YamlCause> {
        self.0 = self.0.checked_sub(bytes).ok_or(YamlCause::TooLarge)?;
        Ok(())
    }
}

/// The most bytes that all documents which are read at one time may take together, over all Syncs.
const ALL: usize = 128 << 20;

/// How many times the bytes of its text a document may take.
const EXPANSION: usize = 64;

/// Documents that can take no more than this never wait for others.
const SMALL: usize = 1 << 20;

static READ_NOW: Room = Room {
    left: Mutex::new(ALL),
    freed: Condvar::new(),
};

struct Room {
    left: Mutex<usize>,
    freed: Condvar,
}

/// Waits until there is room for the values of a document of so many bytes. The room is free again when the
/// answer is dropped.
pub(super) fn room_for(text: usize) -> Taken {
    let most = text.saturating_mul(EXPANSION).min(MAX_DOCUMENT);
    if most <= SMALL {
        return Taken(0);
    }
    let left = READ_NOW.left.lock().unwrap_or_else(PoisonError::into_inner);
    let left = READ_NOW.freed.wait_while(left, |left| *left < most);
    *left.unwrap_or_else(PoisonError::into_inner) -= most;
    Taken(most)
}

/// Room that is taken.
pub(super) struct Taken(usize);

impl Drop for Taken {
    fn drop(&mut self) {
        if self.0 > 0 {
            *READ_NOW.left.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
            READ_NOW.freed.notify_all();
        }
    }
}
