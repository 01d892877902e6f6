//! The API server's clock, as far as the creation of objects tells it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// The longest wait for a second to pass. A clock that jumped must not hold up a prune for hours.
const LONGEST_WAIT: i64 = 10;

/// How far the API server's clock is ahead of this machine's, in seconds. It begins with no difference, and learns
/// from the first object that does not fit.
#[derive(Debug, Default)]
pub(super) struct ServerClock(AtomicI64);

impl ServerClock {
    /// The current second.
    pub(super) fn now(&self) -> i64 {
        local() + self.0.load(Ordering::Relaxed)
    }

    /// Takes note that an object was created in this second, which is the current one.
    pub(super) fn learn(&self, created: i64) {
        self.0.store(created - local(), Ordering::Relaxed);
    }

    /// Waits until a second is over.
    pub(super) async fn passed(&self, second: i64) {
        tokio::time::sleep(self.until_after(second)).await;
    }

    fn until_after(&self, second: i64) -> Duration {
        let seconds = second.saturating_sub(self.now()).saturating_add(1);
        Duration::from_secs(seconds.clamp(0, LONGEST_WAIT).unsigned_abs())
    }
}

fn local() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_server_counts() {
        let clock = ServerClock::default();
        clock.learn(local() + 3_600);
        assert!((3_599..=3_601).contains(&(clock.now() - local())));
        assert_eq!(clock.until_after(clock.now() - 5), Duration::ZERO);
        let longest = Duration::from_secs(10);
        assert_eq!(clock.until_after(i64::MAX), longest);
    }
}
