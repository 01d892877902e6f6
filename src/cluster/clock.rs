//! The API server's clock, as far as its answers tell it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The longest wait for a second to pass. A clock that jumped must not hold up a prune for hours.
const LONGEST_WAIT: i64 = 10;

const SECOND: i64 = 1_000;

/// The API server's clock. Every answer of the API server has its second. The time since then is measured by a clock
/// that does not jump. Clones share what they learn.
#[derive(Clone, Debug)]
pub struct ServerClock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    origin: Instant,
    /// What to add to the time since `origin` in milliseconds, for the API server's time.
    ahead: Mutex<Option<i64>>,
}

impl Default for ServerClock {
    /// A clock that has seen no answer. It has this machine's time.
    fn default() -> Self {
        Self(Arc::new(ClockState {
            origin: Instant::now(),
            ahead: Mutex::default(),
        }))
    }
}

impl ServerClock {
    /// Takes note of an answer's `Date`.
    pub fn note(&self, headers: &HeaderMap) {
        if let Some(date) = date_of(headers) {
            self.learn(date.as_second());
        }
    }

    /// The current second.
    pub(super) fn now(&self) -> i64 {
        let ahead = *self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        match ahead {
            Some(ahead) => ahead.saturating_add(self.elapsed()).div_euclid(SECOND),
            None => Timestamp::now().as_second(),
        }
    }

    /// Takes note that this second is the current one.
    pub(super) fn learn(&self, second: i64) {
        let elapsed = self.elapsed();
        let mut ahead = self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = Some(narrowed(*ahead, second, elapsed));
    }

    fn elapsed(&self) -> i64 {
        let elapsed = self.0.origin.elapsed().as_millis();
        i64::try_from(elapsed).unwrap_or(i64::MAX)
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

/// The `Date` of an answer (RFC 9110, section 6.6.1).
pub fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    Some(rfc2822::parse(date).ok()?.timestamp())
}

/// How far the server is ahead, when after `elapsed` milliseconds its clock shows this second. Within the second, what
/// was known before is kept: an answer at the end of a second says the same as one at its start.
fn narrowed(ahead: Option<i64>, second: i64, elapsed: i64) -> i64 {
    let least = second.saturating_mul(SECOND).saturating_sub(elapsed);
    let most = least.saturating_add(SECOND - 1);
    ahead.map_or(least, |ahead| ahead.clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_server_counts() {
        let local = Timestamp::now().as_second();
        let clock = ServerClock::default();
        assert!((0..=1).contains(&(clock.now() - local)));
        let mut headers = HeaderMap::new();
        headers.insert(
            header::DATE,
            "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap(),
        );
        clock.note(&headers);
        let now = clock.now();
        assert!((784_111_777..784_111_800).contains(&now), "{now}");
        headers.insert(header::DATE, "yesterday".parse().unwrap());
        clock.note(&headers);
        assert!((now..now + 20).contains(&clock.now()));
        assert_eq!(clock.until_after(now - 5), Duration::ZERO);
        assert_eq!(clock.until_after(i64::MAX), Duration::from_secs(10));
    }

    #[test]
    fn each_answer_narrows_how_far_the_server_is_ahead() {
        // The server is 5.3 seconds ahead, and is set forward by an hour before the last answers.
        let mut ahead = None;
        for (second, elapsed, expected) in [
            (5, 0, 5_000),
            (6, 700, 5_300),
            (6, 1_600, 5_300),
            (5, 10, 5_300),
            (3_607, 1_900, 3_605_100),
            (3_608, 2_701, 3_605_299),
        ] {
            let learnt = narrowed(ahead, second, elapsed);
            assert_eq!(learnt, expected, "{second} after {elapsed} ms");
            ahead = Some(learnt);
        }
    }
}
