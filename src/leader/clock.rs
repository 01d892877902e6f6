//! The clock that measures a lease.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// This clock continues while the machine is suspended, and the clock of [`std::time::Instant`]
/// does not. Otherwise the leader in a paused virtual machine would wake up and take its lease for
/// valid.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A time on this machine's monotonic clock. It is never compared with another machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    pub(super) fn now() -> Self {
        let now = clock_gettime(CLOCK);
        // The clock starts at zero and counts up.
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }

    /// The time from here until `later`. Zero if `later` is in the past.
    pub(super) fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }

    /// Nanoseconds since the start of the clock. 64 bits are enough for 584 years.
    pub(super) fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_unchanged_after_an_atomic_store() {
        let now = Moment::now();
        assert_eq!(Moment::from_nanos(now.nanos()), now);
        assert!(Moment::now() >= now);
        let later = now + Duration::from_secs(3);
        assert_eq!(now.until(later), Duration::from_secs(3));
        assert_eq!(later.until(now), Duration::ZERO);
    }
}
