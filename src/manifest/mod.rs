//! YAML and JSON to objects: what a file means, an object's identity, its digest, and what of it may
//! appear in a message.
//!
//! Architecture invariant: nothing else names the YAML crate, and no text of a file reaches an error
//! but the keys of labels and annotations.

mod digest;
mod identity;
mod object;
pub mod redact;
mod secret;
mod yaml;

pub use digest::Digest;
pub use identity::{GroupKind, GroupVersionKind, ObjectKey};
pub use object::{Manifest, ObjectError};
pub use yaml::{Document, YamlCause, YamlError, documents};
