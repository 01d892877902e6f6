//! When a repository's cached copy turns out to be damaged: it is fetched anew, at once as a rule, and
//! after growing pauses where that does not help.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::source::Snapshot;

/// The longest pause between two mendings of a copy that is damaged again and again: a disk that loses
/// what is written to it, or a server that sends less than a commit needs.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is known of damage so far.
pub(super) struct Mender {
    /// The snapshot that was found damaged last; each is mended once.
    mended: Weak<Snapshot>,
    last: Option<Instant>,
    backoff: Backoff,
}

impl Mender {
    pub(super) fn new() -> Self {
        Self {
            mended: Weak::new(),
            last: None,
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
        }
    }

    /// Waits until `snapshot` is found damaged, and says when to fetch it anew. For a snapshot that it
    /// has said so of, for ever: a fetch that failed is tried again by whoever made it.
    pub(super) async fn due(&mut self, snapshot: Option<Arc<Snapshot>>) -> Instant {
        let Some(snapshot) = snapshot.filter(|snapshot| !self.knows(snapshot)) else {
            return std::future::pending().await;
        };
        snapshot.until_damaged().await;
        self.mended = Arc::downgrade(&snapshot);
        self.next(Instant::now())
    }

    fn knows(&self, snapshot: &Arc<Snapshot>) -> bool {
        std::ptr::eq(self.mended.as_ptr(), Arc::as_ptr(snapshot))
    }

    /// At once, unless the last mending was only just.
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
    fn what_is_damaged_again_and_again_is_fetched_ever_more_seldom() {
        let mut mender = Mender::new();
        let mut now = Instant::now();
        assert_eq!(mender.next(now), now, "the first time at once");
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let due = mender.next(now);
            assert!(due - now > last || due - now > LONGEST_PAUSE.mul_f64(0.8));
            (last, now) = (due - now, due);
        }
        assert!(last <= LONGEST_PAUSE);
        now += 2 * LONGEST_PAUSE;
        assert_eq!(mender.next(now), now, "and at once again after a while");
    }
}
