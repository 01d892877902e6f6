//! Why a tree cannot be read.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The kind of fault. It decides the reason of the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// There is nothing at the path.
    PathNotFound,
    /// A file, or the number of files, is over a limit.
    TooLarge,
    /// Local storage has lost content of the revision. A new fetch of the revision helps.
    Damaged,
    /// The path is invalid: it is absolute or contains `..`.
    InvalidPath,
    /// The entry at the path cannot be used: a symbolic link leaves the tree, has no target, or is
    /// part of a loop.
    Unusable,
    /// It is encrypted, and no key opens it.
    Encrypted,
    /// Local storage does not answer. Trying again may help.
    Unavailable,
}

/// Why a tree cannot be read, with the text of its source.
#[derive(Clone, Debug)]
pub struct ReadError {
    fault: ReadFault,
    source: Arc<dyn Error + Send + Sync>,
}

impl ReadError {
    /// A fault with the source's own error. The text is that error's text.
    pub fn new(fault: ReadFault, source: impl Error + Send + Sync + 'static) -> Self {
        let source = Arc::new(source);
        Self { fault, source }
    }

    /// The kind of fault.
    #[must_use]
    pub fn fault(&self) -> ReadFault {
        self.fault
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
