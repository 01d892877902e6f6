//! Commands for people and for CI. They use the operator's own library, so they show what it would do.

mod build;
mod scope;

pub use build::{BuildError, build};
