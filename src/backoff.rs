//! Growing pauses between tries. The pauses are jittered, so that many failed tries are not
//! repeated at the same time.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Exponential back-off up to a limit.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    tries: u32,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// A back-off that starts at `first` and doubles up to `cap`.
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self {
            tries: 0,
            first,
            cap,
        }
    }

    /// The pause before the next try.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next();
        self.advance();
        pause
    }

    /// As [`Self::pause`], without counting the try.
    pub(crate) fn next(&self) -> Duration {
        let pause = self.first.saturating_mul(1 << self.tries.min(20));
        jittered(pause.min(self.cap))
    }

    /// Counts a try.
    pub(crate) fn advance(&mut self) {
        self.tries += 1;
    }

    /// Starts over, after a success or a change.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A duration that is shortened at random by up to a tenth.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - random() / 10.0)
}

/// A duration that is shortened at random by up to a half. For events that thousands of drivers see
/// at the same time.
pub(crate) fn spread(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - random() / 2.0)
}

/// At least 0 and less than 1.
fn random() -> f64 {
    // The standard library seeds a new RandomState. That is random enough for a pause.
    (RandomState::new().hash_one(()) % 10_000) as f64 / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_start_over() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 60);
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= second && pauses[0] >= second.mul_f64(0.9));
        assert!(pauses[3] > second * 7 && pauses[3] <= second * 8);
        assert!(pauses[39] <= second * 60 && pauses[39] >= second * 54);
        backoff.reset();
        assert!(backoff.pause() <= second);
    }
}
