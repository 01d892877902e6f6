//! Resumes watches. Every watch of the program uses this: own kinds, Secrets, definitions, namespaces and
//! managed kinds.
//!
//! While a watch is interrupted, towline misses changes. Pauses are therefore short: after an outage of the
//! API server every watch is back within [`LONGEST_PAUSE`]. Each pause is shortened at random by up to a half,
//! so that thousands of watches do not come back in one moment. kube's own back-off is not used: it pauses for
//! up to 30 seconds, and it starts over when a list begins, before the list has succeeded.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::watcher::{Error, Event, Result};
use tokio::time::Instant;

use crate::backoff::{Backoff, spread};

/// The API server answers a watch of a new custom kind with 429 until its storage is ready, which takes
/// milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause while the API server cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause after refusals that last, such as a missing right. Only a person can end those.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(10);

/// Refusals that last at least this long count as lasting. Earlier refusals may come from an API server
/// that starts: it forbids every request until it has read the roles.
const REFUSAL_LASTS: Duration = Duration::from_secs(30);

/// An interruption of at least this length is logged as a warning.
const WORTH_A_WARNING: Duration = Duration::from_secs(5);

/// An error this long after the last one begins a new interruption. A working watch may have no event
/// that ends the old one.
const NEW_INTERRUPTION: Duration = Duration::from_secs(60);

/// The events of a watch that resumes after every error, after the pause that suits the error. Each
/// lasting interruption is logged once. `what` names the watched objects in the log. `start` makes the
/// watch; its first event begins a list.
///
/// After an outage the watch starts anew, with a list: an administrator may have restored the API server's
/// data from a backup. Resource versions are then lower than before, and a watch that resumes at the old
/// version gets no event until they have caught up.
///
/// Errors are passed on, so that a follower can record that its state may be old. The follower itself neither
/// pauses nor logs.
pub(super) fn resumed<K: Send, S>(
    what: impl Into<String>,
    start: impl Fn() -> S + Send,
) -> impl Stream<Item = Result<Event<K>>> + Send
where
    S: Stream<Item = Result<Event<K>>> + Send,
{
    let events = Box::pin(start());
    let state = (events, start, Interruptions::new(what.into()));
    stream::unfold(state, |(mut events, start, mut interruptions)| async {
        if let Some(pause) = interruptions.pause.take() {
            tokio::time::sleep(pause).await;
        }
        if std::mem::take(&mut interruptions.is_outage) {
            events = Box::pin(start());
        }
        let event = events.next().await?;
        match &event {
            // This event comes before each list is requested, so it does not show success.
            Ok(Event::Init) => (),
            Ok(_) => interruptions.end(),
            Err(error) => interruptions.add(error, Instant::now()),
        }
        Some((event, (events, start, interruptions)))
    })
}

/// Whether the account lacks the right to list or watch.
pub(super) fn is_denied(error: &Error) -> bool {
    code(error) == Some(403)
}

/// Whether the API server does not serve what the watch asks for.
pub(super) fn is_not_served(error: &Error) -> bool {
    code(error) == Some(404)
}

/// Whether no API server could be reached to start a watch. A connection that breaks is no outage: load
/// balancers end idle connections.
fn is_outage(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(cause) if !matches!(cause, kube::Error::Api(_)))
}

/// The reaction to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// One event could not be parsed. The watch continues by itself.
    GoOn,
    /// The watch is too old to resume. List again: the API server works.
    List,
    /// Try again: the API server could not be reached, or has a problem.
    Retry,
    /// Try again, but the API server answered with a refusal.
    RetryRefused,
}

impl Remedy {
    fn of(error: &Error) -> Self {
        match (error, code(error)) {
            // kube parses an event that it does not understand as a status without any values.
            (Error::WatchFailed(kube::Error::SerdeError(_)), _)
            | (Error::WatchFailed(kube::Error::Api(_)), Some(0)) => Self::GoOn,
            (_, Some(410)) => Self::List,
            (_, Some(429)) => Self::Retry,
            (_, Some(400..500)) => Self::RetryRefused,
            _ => Self::Retry,
        }
    }
}

pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The interruptions of one watch.
struct Interruptions {
    what: String,
    backoff: Backoff,
    /// The pause before the watch is polled for its next event.
    pause: Option<Duration>,
    /// The interruption that has not ended.
    current: Option<Interruption>,
    /// The watch starts anew.
    is_outage: bool,
    /// Whether an unreadable event was logged.
    unreadable_logged: bool,
}

struct Interruption {
    since: Instant,
    last: Instant,
    last_remedy: Remedy,
    refused_since: Option<Instant>,
    logged: bool,
}

impl Interruptions {
    fn new(what: String) -> Self {
        Self {
            what,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE_REFUSED),
            pause: None,
            current: None,
            is_outage: false,
            unreadable_logged: false,
        }
    }

    fn end(&mut self) {
        self.backoff.reset();
        if self.current.take().is_some_and(|ended| ended.logged) {
            tracing::info!(watch = self.what, "the watch is resumed");
        }
    }

    fn add(&mut self, error: &Error, now: Instant) {
        let remedy = Remedy::of(error);
        if remedy == Remedy::GoOn {
            if !std::mem::replace(&mut self.unreadable_logged, true) {
                tracing::warn!(
                    watch = self.what,
                    error = crate::chain(error),
                    "an event cannot be read; it is skipped"
                );
            }
            return;
        }
        self.is_outage |= is_outage(error);
        let is_over = |current: &Interruption| now - current.last > NEW_INTERRUPTION;
        if self.current.as_ref().is_some_and(is_over) {
            self.end();
        }
        let current = self.current.get_or_insert(Interruption {
            since: now,
            last: now,
            last_remedy: Remedy::Retry,
            refused_since: None,
            logged: false,
        });
        if remedy == Remedy::List && current.last_remedy != Remedy::List {
            self.backoff.reset();
        }
        current.last = now;
        current.last_remedy = remedy;
        current.refused_since =
            (remedy == Remedy::RetryRefused).then(|| current.refused_since.unwrap_or(now));
        let refusal_lasts = current
            .refused_since
            .is_some_and(|since| now - since >= REFUSAL_LASTS);
        let longest = match refusal_lasts {
            true => LONGEST_PAUSE_REFUSED,
            false => LONGEST_PAUSE,
        };
        self.pause = Some(spread(self.backoff.pause().min(longest)));
        let (watch, error) = (&self.what, crate::chain(error));
        if !current.logged && now - current.since >= WORTH_A_WARNING {
            current.logged = true;
            tracing::warn!(watch, error, "the watch is interrupted, trying again");
        } else {
            tracing::debug!(watch, error, "the watch is interrupted, trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn status(code: u16) -> Box<Status> {
        Box::new(Status {
            code,
            ..Status::default()
        })
    }

    fn answered(code: u16) -> Error {
        Error::InitialListFailed(kube::Error::Api(status(code)))
    }

    fn unreachable() -> Error {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        Error::WatchStartFailed(kube::Error::Service(refused.into()))
    }

    fn unreadable() -> kube::Error {
        let Err(error) = serde_json::from_str::<u8>("null") else {
            unreachable!("null is no number");
        };
        kube::Error::SerdeError(error)
    }

    #[test]
    fn each_error_has_its_remedy() {
        for (error, remedy) in [
            (unreachable(), Remedy::Retry),
            (answered(500), Remedy::Retry),
            (answered(503), Remedy::Retry),
            (answered(429), Remedy::Retry),
            (answered(403), Remedy::RetryRefused),
            (answered(404), Remedy::RetryRefused),
            (answered(410), Remedy::List),
            (Error::WatchError(status(410)), Remedy::List),
            (Error::WatchError(status(500)), Remedy::Retry),
            (Error::WatchFailed(unreadable()), Remedy::GoOn),
            (
                Error::WatchFailed(kube::Error::Api(status(0))),
                Remedy::GoOn,
            ),
            // The list itself cannot be read: it is asked for again.
            (Error::InitialListFailed(unreadable()), Remedy::Retry),
            (Error::NoResourceVersion, Remedy::Retry),
        ] {
            assert_eq!(Remedy::of(&error), remedy, "{error:?}");
        }
    }

    /// The pauses when `error` comes again after each pause, for `seconds`.
    fn pauses(error: &Error, seconds: u64) -> (Interruptions, Vec<Duration>) {
        let mut interruptions = Interruptions::new("test".to_owned());
        let (mut now, mut pauses) = (Instant::now(), Vec::new());
        let end = now + Duration::from_secs(seconds);
        while now < end {
            interruptions.add(error, now);
            let pause = interruptions.pause.take().unwrap_or_default();
            pauses.push(pause);
            now += pause.max(Duration::from_millis(1));
        }
        (interruptions, pauses)
    }

    #[test]
    fn an_outage_makes_no_pause_long() {
        let (mut interruptions, pauses) = pauses(&unreachable(), 300);
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        // Nor do the tries become a load.
        assert!(pauses.len() < 310, "{}", pauses.len());
        assert!(interruptions.current.as_ref().is_some_and(|now| now.logged));
        interruptions.end();
        interruptions.add(&unreachable(), Instant::now());
        assert!(
            interruptions
                .pause
                .is_some_and(|pause| pause <= FIRST_PAUSE)
        );
    }

    #[test]
    fn refusals_of_a_server_that_starts_are_as_an_outage() {
        let (_, pauses) = pauses(&answered(403), 600);
        let mut passed = Duration::ZERO;
        for pause in &pauses {
            let lasts = passed >= REFUSAL_LASTS;
            assert!(
                *pause <= LONGEST_PAUSE || lasts,
                "{pause:?} after {passed:?}"
            );
            passed += *pause;
        }
        assert!(pauses[pauses.len() - 1] > LONGEST_PAUSE);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE_REFUSED));
    }

    #[test]
    fn an_expired_watch_lists_at_once_also_at_the_end_of_an_outage() {
        let (mut interruptions, _) = pauses(&unreachable(), 30);
        let now = Instant::now() + Duration::from_secs(30);
        interruptions.add(&answered(410), now);
        let pause = interruptions.pause.take();
        assert!(pause.is_some_and(|pause| pause <= FIRST_PAUSE), "{pause:?}");
        // A server that says nothing else is not asked without pauses.
        for _ in 0..10 {
            interruptions.add(&Error::WatchError(status(410)), now);
        }
        assert!(
            interruptions
                .pause
                .is_some_and(|pause| pause > FIRST_PAUSE * 10)
        );
    }

    #[test]
    fn an_event_that_cannot_be_read_pauses_nothing() {
        let mut interruptions = Interruptions::new("test".to_owned());
        let error = Error::WatchFailed(kube::Error::Api(status(0)));
        interruptions.add(&error, Instant::now());
        assert!(interruptions.pause.is_none() && interruptions.current.is_none());
    }

    #[test]
    fn ten_thousand_watches_do_not_come_back_in_one_moment() {
        let mut by_tenth = [0; 20];
        for _ in 0..10_000 {
            let (mut interruptions, pauses) = pauses(&unreachable(), 4);
            assert!(pauses.len() < 20);
            interruptions.add(&unreachable(), Instant::now());
            let pause = interruptions.pause.take().unwrap_or_default();
            by_tenth[(pause.as_millis() / 100).min(19) as usize] += 1;
        }
        // Evenly over a second, which is 1,000 in each tenth of it.
        assert!(by_tenth.iter().all(|count| *count < 1_500), "{by_tenth:?}");
    }

    #[tokio::test]
    async fn events_and_errors_are_passed_on_in_order() {
        let events = || {
            stream::iter([
                Ok(Event::Init),
                Err(answered(503)),
                Ok(Event::Init),
                Ok(Event::InitApply(1)),
                Ok(Event::InitDone),
            ])
        };
        let passed: Vec<String> = resumed("test", events).map(named).collect().await;
        assert_eq!(
            passed,
            ["Init", "error", "Init", "InitApply(1)", "InitDone"]
        );
    }

    fn named(event: Result<Event<u8>>) -> String {
        match event {
            Ok(event) => format!("{event:?}"),
            Err(_) => "error".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_outage_starts_the_watch_anew_and_a_broken_connection_does_not() {
        let broken = || {
            let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            Error::WatchFailed(kube::Error::Service(reset.into()))
        };
        let events = || {
            let events = [
                Ok(Event::Init),
                Ok(Event::InitDone),
                Err(broken()),
                Ok(Event::Apply(1)),
                Err(unreachable()),
                Ok(Event::Apply(2)),
            ];
            stream::iter(events)
        };
        let passed: Vec<String> = resumed("test", events).map(named).take(7).collect().await;
        assert_eq!(
            passed,
            [
                "Init", "InitDone", "error", "Apply(1)", "error", "Init", "InitDone"
            ]
        );
    }
}
