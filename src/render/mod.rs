//! Temporary stand-in: only the two input types that `source` fills.

use std::sync::Arc;

/// The id of a file's content (SHA-1, as Git has it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(pub [u8; 20]);

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the repository root, separated by `/`.
    pub path: Arc<str>,
    /// Its content.
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
}
