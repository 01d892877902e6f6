//! YAML and JSON to objects: what a file means, an object's identity, its digest, and what of it may
//! appear in a message.
//!
//! Architecture invariant: nothing else names the YAML crate, and no text of a file reaches an error.

mod yaml;

pub use yaml::{Document, YamlCause, YamlError, documents};
