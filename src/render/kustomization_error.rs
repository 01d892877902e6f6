//! Why a kustomization is not given to kustomize.

use crate::text::printable;

/// What is wrong with a kustomization, or with a file that it names, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub(super) struct KustomizationError {
    pub(super) file: String,
    pub(super) what: String,
    /// Whether it is larger than it may be.
    pub(super) is_too_large: bool,
}

impl KustomizationError {
    /// Of a file that is larger than it may be. `what` says in which way, and what to do.
    pub(super) fn too_large(file: &str, what: &str) -> Self {
        Self {
            file: file.to_owned(),
            what: printable(&format!("too large: {what}")),
            is_too_large: true,
        }
    }
}
