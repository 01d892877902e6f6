//! What finding patches may take, in memory and in time.

use std::cell::Cell;

/// The most patches of a build, and how much text they have in bytes.
pub(super) const MAX_PATCHES: usize = 1000;
pub(super) const MAX_TEXT: usize = 1 << 20;

/// The most regular expressions of a build, and the memory of one, in bytes.
pub(super) const MAX_PATTERNS: usize = 64;
pub(super) const PATTERN: usize = 32 << 10;

/// The most comparisons for the objects of one read: a second of a processor, and far more than any repository needs.
const MAX_STEPS: usize = 5_000_000;

/// What may still be looked at of a build.
pub(super) struct Budget {
    patches: usize,
    text: usize,
    patterns: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            patches: MAX_PATCHES,
            text: MAX_TEXT,
            patterns: MAX_PATTERNS,
        }
    }
}

impl Budget {
    /// One patch more, with so many bytes. None if that is too much.
    pub(super) fn patch(&mut self, bytes: usize) -> Option<()> {
        self.patches = self.patches.checked_sub(1)?;
        self.text = self.text.checked_sub(bytes)?;
        Some(())
    }

    /// One regular expression more. None if that is too much.
    pub(super) fn pattern(&mut self) -> Option<()> {
        self.patterns = self.patterns.checked_sub(1)?;
        Some(())
    }
}

/// How much is still compared for the objects of one read.
#[derive(Debug)]
pub struct Steps(Cell<usize>);

impl Default for Steps {
    fn default() -> Self {
        Self(Cell::new(MAX_STEPS))
    }
}

impl Steps {
    /// Takes some. None if there are no more.
    pub(super) fn take(&self, count: usize) -> Option<()> {
        let left = self.0.get().checked_sub(count);
        self.0.set(left.unwrap_or_default());
        left.map(drop)
    }
}
