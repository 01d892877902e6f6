//! When to fetch a repository again because its cached copy is damaged: usually at once, and after
//! growing pauses if that does not help.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::source::Snapshot;

/// The longest pause between two repairs. A copy can be damaged again and again by a faulty disk,
/// or by a server that does not send all objects of a commit.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The repairs of one repository.
pub(super) struct RepairSchedule {
    /// The last snapshot that was found damaged. Each snapshot is repaired once.
    repaired: Weak<Snapshot>,
    last: Option<Instant>,
    backoff: Backoff,
}

impl RepairSchedule {
    pub(super) fn new() -> Self {
        Self {
            repaired: Weak::new(),
            last: None,
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
        }
    }

    /// Waits until `snapshot` is found damaged, and returns the time of the new fetch. For a
    /// snapshot that it returned before, it never returns, because the driver retries a failed
    /// fetch itself.
    pub(super) async fn due(&mut self, snapshot: Option<Arc<Snapshot>>) -> Instant {
        let Some(snapshot) = snapshot.filter(|snapshot| !self.knows(snapshot)) else {
            return std::future::pending().await;
        };
        snapshot.until_damaged().await;
        self.repaired = Arc::downgrade(&snapshot);
        self.next(Instant::now())
    }

    fn knows(&self, snapshot: &Arc<Snapshot>) -> bool {
        std::ptr::eq(self.repaired.as_ptr(), Arc::as_ptr(snapshot))
    }

    /// Now, unless the last repair was a short time ago.
    fn next(&mut self, now: Instant) -> Instant {
        let since = self.last.replace(now).map(|last| now.duration_since(last));
        match since {
            Some(since) if since < 2 * LONGEST_PAUSE => now + self.backoff.pause(),
            _ => {
                self.backoff.reset();
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_damaged_again_and_again_is_fetched_after_growing_pauses() {
        let mut schedule = RepairSchedule::new();
        let mut now = Instant::now();
        assert_eq!(schedule.next(now), now, "the first time at once");
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let due = schedule.next(now);
            assert!(due - now > last || due - now > LONGEST_PAUSE.mul_f64(0.8));
            (last, now) = (due - now, due);
        }
        assert!(last <= LONGEST_PAUSE);
        now += 2 * LONGEST_PAUSE;
        assert_eq!(schedule.next(now), now, "and at once again after a while");
    }
}
