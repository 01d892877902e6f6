//! Clock, chance and standard error of one render.

use sha2::{Digest as _, Sha256};

/// How much of what a renderer writes to its standard error is kept.
const MAX_ERRORS: usize = 16 << 10;
/// How far the monotonic clock moves each time that it is read, in nanoseconds.
const TICK: u64 = 1_000;

/// What a process of WASI has besides files.
pub(super) struct Process {
    /// Nanoseconds since 1970, always the same.
    now: u64,
    /// Nanoseconds of the monotonic clock.
    passed: u64,
    seed: [u8; 32],
    /// How many blocks of random bytes were drawn.
    drawn: u64,
    /// The time of day was asked for.
    told_time: bool,
    /// What it wrote to its standard error.
    errors: Vec<u8>,
}

impl Process {
    pub(super) fn new(now: u64, seed: [u8; 32]) -> Self {
        Self {
            now,
            passed: 1_000_000_000,
            seed,
            drawn: 0,
            told_time: false,
            errors: Vec::new(),
        }
    }

    /// The next random bytes.
    pub(super) fn random(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 32);
        while bytes.len() < size {
            let block = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.drawn.to_le_bytes());
            bytes.extend_from_slice(&block.finalize());
            self.drawn += 1;
        }
        bytes.truncate(size);
        bytes
    }

    /// Nanoseconds since 1970.
    pub(super) fn now(&mut self) -> u64 {
        self.told_time = true;
        self.now
    }

    /// Whether random numbers were drawn, or the time of day was asked for.
    pub(super) fn drew(&self) -> bool {
        self.drawn > 0 || self.told_time
    }

    /// Nanoseconds of the monotonic clock, which every look moves.
    pub(super) fn passed(&mut self) -> u64 {
        self.passed += TICK;
        self.passed
    }

    /// Moves the clock by `timeout`, or to it.
    pub(super) fn wait(&mut self, timeout: u64, is_absolute: bool) {
        self.passed = if is_absolute {
            self.passed.max(timeout)
        } else {
            self.passed.saturating_add(timeout)
        };
    }

    /// Keeps what it writes to its standard error, up to a bound.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        let room = MAX_ERRORS
            .saturating_sub(self.errors.len())
            .min(bytes.len());
        self.errors.extend_from_slice(&bytes[..room]);
    }

    /// The warnings among what it wrote to its standard error, as kustomize writes them.
    pub(super) fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.errors);
        let warnings = text
            .lines()
            .filter_map(|line| line.strip_prefix("# Warning: "));
        let mut warnings: Vec<String> = warnings.map(|text| format!("kustomize: {text}")).collect();
        warnings.sort_unstable();
        warnings.dedup();
        warnings
    }

    /// What it wrote to its standard error.
    pub(super) fn errors(&self) -> &[u8] {
        &self.errors
    }
}
