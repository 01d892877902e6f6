//! Why a tree cannot be read.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What kind of fault it is: what a condition's reason is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// There is nothing at the path.
    PathNotFound,
    /// A file, or the number of files, is over a limit.
    TooLarge,
    /// Local storage lost what the revision names. Fetching the revision again helps.
    Damaged,
    /// The path cannot be in any tree: it is absolute, or has `..` in it.
    InvalidPath,
    /// What is at the path cannot be used: a symbolic link leads out of the tree, points at nothing, or
    /// is part of a circle.
    Unusable,
    /// Local storage does not answer. Trying again may help.
    Unavailable,
}

/// Why a tree cannot be read, in the words of the source that it is from.
#[derive(Clone, Debug)]
pub struct ReadError {
    fault: ReadFault,
    source: Arc<dyn Error + Send + Sync>,
}

impl ReadError {
    /// A fault and the source's own error, which this one is shown as.
    pub fn new(fault: ReadFault, source: impl Error + Send + Sync + 'static) -> Self {
        let source = Arc::new(source);
        Self { fault, source }
    }

    /// What kind of fault it is.
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
