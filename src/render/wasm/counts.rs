//! How often something was rendered, and how often that was not needed.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was to be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderCounts {
    /// A renderer ran.
    pub rendered: u64,
    /// An output in memory holds.
    pub memory: u64,
    /// An output on disk holds.
    pub disk: u64,
}

/// Where an output is from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Renderer,
    Memory,
    Disk,
}

/// Counts outputs by where they are from.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; 3]);

impl Counts {
    pub(super) fn add(&self, origin: Origin) {
        self.0[origin as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RenderCounts {
        let count = |origin: Origin| self.0[origin as usize].load(Ordering::Relaxed);
        RenderCounts {
            rendered: count(Origin::Renderer),
            memory: count(Origin::Memory),
            disk: count(Origin::Disk),
        }
    }
}
