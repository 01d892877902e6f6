//! Judges every part of an answer before libgit2 gets it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use git2::{OdbLookupFlags, Oid, Repository};

use super::exchange::{Exchange, Failure};
use super::wire::{Wire, WireProblem, WireProgress};
use crate::source::git::limits::Floor;

/// What was read of one answer, or of one SSH connection.
pub(super) struct Reader {
    exchange: Arc<Exchange>,
    wire: Wire,
    pace: Pace,
    stored: Stored,
    /// The answer before this one was not over.
    is_out_of_turn: bool,
}

impl Reader {
    /// Reads a list of references, which ends with the given number of empty packets, and what
    /// follows it.
    pub(super) fn references(exchange: Arc<Exchange>, flushes: u32) -> Self {
        let wire = Wire::references(exchange.wire_limits(), flushes);
        Self::new(exchange, wire)
    }

    /// Reads an answer to a request.
    pub(super) fn answer(exchange: Arc<Exchange>) -> Self {
        let wire = Wire::answer(exchange.wire_limits());
        Self::new(exchange, wire)
    }

    fn new(exchange: Arc<Exchange>, wire: Wire) -> Self {
        Self {
            pace: Pace::new(exchange.floor()),
            // libgit2 would read the rest of that answer and this one as one.
            is_out_of_turn: exchange.is_open.load(Ordering::Relaxed),
            exchange,
            wire,
            stored: Stored(None),
        }
    }

    /// Judges `bytes`, for which the thread has waited.
    pub(super) fn judge(&mut self, bytes: &[u8], waited: Duration) -> io::Result<()> {
        let exchange = &self.exchange;
        exchange.count(bytes.len())?;
        if self.is_out_of_turn {
            return Err(exchange.fail(Failure::Wire(WireProblem::Invalid)));
        }
        let waited = match self.wire.is_flowing() {
            true => waited,
            false => Duration::ZERO,
        };
        let (store, stored) = (exchange.store(), &mut self.stored);
        let read = self.wire.read(bytes, &mut |id| stored.size(store, id));
        let progress = read.map_err(|problem| exchange.fail(Failure::Wire(problem)))?;
        exchange
            .is_open
            .store(self.wire.is_open(), Ordering::Relaxed);
        if !self.pace.is_kept(bytes.len(), waited, progress) {
            return Err(exchange.fail(Failure::TooSlow));
        }
        exchange.inflates(progress.inflated);
        exchange.spend(progress.pack)?;
        if progress.large || self.wire.has_long_list() {
            exchange.become_large()?;
        }
        Ok(())
    }
}

/// Finds the sizes of objects that earlier fetches stored.
struct Stored(Option<Repository>);

impl Stored {
    fn size(&mut self, store: &Path, id: &[u8]) -> Option<u64> {
        if self.0.is_none() {
            self.0 = Repository::open_bare(store).ok();
        }
        let id = Oid::from_bytes(id).ok()?;
        let odb = self.0.as_ref()?.odb().ok()?;
        // Without a refresh: a miss is common, and the store does not change meanwhile.
        if !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            return None;
        }
        odb.read_header(id).ok().map(|(size, _)| size as u64)
    }
}

/// Whether a server sends fast enough. Only the time in which this side waits for data counts.
struct Pace {
    floor: Floor,
    waited: Duration,
    bytes: u64,
    alive: bool,
}

impl Pace {
    fn new(floor: Floor) -> Self {
        Self {
            floor,
            waited: Duration::ZERO,
            bytes: 0,
            alive: false,
        }
    }

    fn is_kept(&mut self, bytes: usize, waited: Duration, progress: WireProgress) -> bool {
        self.bytes += bytes as u64;
        self.waited += waited;
        self.alive |= progress.alive;
        if self.waited < self.floor.time {
            return true;
        }
        let is_kept = self.alive || self.bytes >= self.floor.bytes;
        *self = Self::new(self.floor);
        is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_works_or_sends_enough_is_not_slow() {
        let floor = Floor {
            bytes: 100,
            time: Duration::from_secs(10),
        };
        let second = Duration::from_secs(1);
        let quiet = WireProgress::default();
        let alive = WireProgress {
            alive: true,
            ..quiet
        };
        for (bytes, progress, kept) in [(1, quiet, 9), (10, quiet, 100), (1, alive, 100)] {
            let mut pace = Pace::new(floor);
            let is_kept = |_: &usize| pace.is_kept(bytes, second, progress);
            assert_eq!(
                (0..100).take_while(is_kept).count(),
                kept,
                "{bytes} {progress:?}"
            );
        }
        // Data that is there at once counts no time.
        let mut pace = Pace::new(floor);
        assert!((0..1000).all(|_| pace.is_kept(1, Duration::ZERO, quiet)));
    }
}
