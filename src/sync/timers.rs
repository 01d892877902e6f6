//! The current time, and the timers that wake a driver without an event.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::backoff::jittered;

/// A moment in two clocks: a monotonic one for timers, and the time of day for users.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) time: Timestamp,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            at: Instant::now(),
            time: Timestamp::now(),
        }
    }
}

/// When to wake up without an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timers {
    /// The next try of failed work.
    pub(super) retry: Option<Instant>,
    /// The next full verification.
    pub(super) verify: Instant,
    /// The end of `spec.timeout` for objects to become healthy.
    pub(super) healthy_by: Option<Instant>,
    /// The time to report that desired and observed differ.
    pub(super) diff: Option<Instant>,
    /// The next correction of an object that keeps being changed.
    pub(super) correct: Option<Instant>,
    /// Look at a hook again, or try hooks again that failed.
    pub(super) hook: Option<Instant>,
    /// Write the record of a chart's release, which could not be written.
    pub(super) record: Option<Instant>,
    /// Write the Sync's marks again.
    pub(super) marks: Option<Instant>,
    /// Write the status again, which could not be written.
    pub(super) status: Option<Instant>,
}

/// Which timers ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) retry: bool,
    pub(super) verify: bool,
    pub(super) healthy: bool,
    pub(super) diff: bool,
    pub(super) hook: bool,
    pub(super) record: bool,
}

impl Timers {
    /// Timers of which only the next verification is set.
    pub(super) fn new(verify: Instant) -> Self {
        Self {
            retry: None,
            verify,
            healthy_by: None,
            diff: None,
            correct: None,
            hook: None,
            record: None,
            marks: None,
            status: None,
        }
    }

    /// The earliest timer.
    pub(super) fn next(&self) -> Instant {
        let all = [
            self.retry,
            self.healthy_by,
            self.diff,
            self.correct,
            self.hook,
            self.record,
            self.marks,
            self.status,
        ];
        all.into_iter().flatten().fold(self.verify, Instant::min)
    }

    /// The timers that have run out. They are cleared, so that none wakes the driver twice. The next
    /// verification is in `interval`.
    pub(super) fn take_due(&mut self, now: Instant, interval: Duration) -> Due {
        let take = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        take(&mut self.correct);
        take(&mut self.marks);
        take(&mut self.status);
        let verify = self.verify <= now;
        if verify {
            self.verify = now + jittered(interval);
        }
        Due {
            retry: take(&mut self.retry),
            verify,
            healthy: take(&mut self.healthy_by),
            diff: take(&mut self.diff),
            hook: take(&mut self.hook),
            record: take(&mut self.record),
        }
    }
}

pub(super) fn count(number: usize) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}
