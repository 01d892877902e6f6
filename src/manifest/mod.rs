//! Reads YAML and JSON into objects: the meaning of a file, an object's identity, its digest, and
//! the redaction of messages about it.
//!
//! Architecture invariant: only this module uses the YAML crate, and no text of a file except the
//! keys of labels and annotations reaches an error.

mod digest;
mod echo;
mod field_path;
mod identity;
mod mode;
mod null;
mod object;
mod pieces;
pub mod redact;
mod scale;
mod secret;
mod uids;
mod yaml;

pub use digest::Digest;
pub use field_path::FieldPath;
pub use identity::{GroupKind, GroupVersionKind, ObjectKey};
pub use mode::{ApplyMode, ModeError, Modes};
pub use null::without_nulls;
pub use object::{Manifest, ObjectError, SUBSTITUTE, UnreadObject};
pub use scale::ScaleTarget;
pub use uids::forget_uids;
pub use yaml::{
    Document, MAX_DOCUMENT, MAX_OBJECT, Node, YamlCause, YamlError, documents, each_document,
    has_merge_markers, memory, ordered,
};
