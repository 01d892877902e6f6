//! Waits for a state instead of a fixed time.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long a test waits for work that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// The result of one look: the awaited value, or a description of the present state.
pub trait Look<T> {
    fn seen(self) -> Result<T, String>;
}

impl<T> Look<T> for Option<T> {
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Debug> Look<T> for Result<T, E> {
    fn seen(self) -> Result<T, String> {
        self.map_err(|state| format!("{state:#?}"))
    }
}

/// Calls `look` every 20 ms until it returns a value. Panics after `timeout` with `what` and the last
/// description. `look` can return `Err(state)` to put the state into the message.
pub async fn eventually<T, L: Look<T>>(
    what: &str,
    timeout: Duration,
    look: impl AsyncFnMut() -> L,
) -> T {
    match within(timeout, look).await {
        Ok(value) => value,
        Err(last) => panic!("not within {timeout:?}: {what}; last seen: {last}"),
    }
}

/// Like [`eventually`], but returns the last description instead of a panic. A look that is not done at
/// `timeout` is cancelled.
pub async fn within<T, L: Look<T>>(
    timeout: Duration,
    mut look: impl AsyncFnMut() -> L,
) -> Result<T, String> {
    let deadline = Instant::now() + timeout;
    let mut last = "nothing, the first look did not return".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await {
            Err(_) => return Err(last),
            Ok(looked) => match looked.seen() {
                Ok(value) => return Ok(value),
                Err(state) => last = state,
            },
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Calls `look` for all of `time`, and panics with the value if `look` returns one. At least one look
/// ends after `time`. A look that does not return is a failure, because its result is unknown.
pub async fn never<T: Debug>(what: &str, time: Duration, look: impl AsyncFnMut() -> Option<T>) {
    never_with(what, time, PATIENCE, look).await;
}

/// Like [`never`]. A look may take `longest`.
async fn never_with<T: Debug>(
    what: &str,
    time: Duration,
    longest: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) {
    let end = Instant::now() + time;
    loop {
        match tokio::time::timeout(longest, look()).await {
            Err(_) => panic!("{what}: unknown, because a look took longer than {longest:?}"),
            Ok(Some(value)) => panic!("{what}: {value:#?}"),
            Ok(None) if Instant::now() >= end => return,
            Ok(None) => tokio::time::sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt as _;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    async fn panics(test: impl Future<Output = ()>) -> bool {
        std::panic::AssertUnwindSafe(test)
            .catch_unwind()
            .await
            .is_err()
    }

    #[tokio::test]
    async fn never_fails_if_a_look_does_not_return() {
        let hangs = async || pending::<Option<()>>().await;
        assert!(panics(never_with("it", SHORT, SHORT, hangs)).await);
    }

    #[tokio::test]
    async fn never_sees_what_a_slow_look_finds_after_the_time() {
        let slow = async || {
            tokio::time::sleep(SHORT * 3).await;
            Some(())
        };
        assert!(panics(never("it", SHORT, slow)).await);
    }

    #[tokio::test]
    async fn never_looks_to_the_end_of_its_time() {
        let begin = Instant::now();
        let late = async || (begin.elapsed() >= SHORT - POLL).then_some(());
        assert!(panics(never("it", SHORT, late)).await);
        let mut looks = 0;
        never("it", Duration::ZERO, async || {
            looks += 1;
            None::<()>
        })
        .await;
        assert_eq!(looks, 1);
    }

    #[tokio::test]
    async fn eventually_returns_the_value_of_the_first_look() {
        assert_eq!(within(Duration::ZERO, async || Some(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_wait_without_an_answer_says_so() {
        let hangs = async || pending::<Option<()>>().await;
        let last = within(SHORT, hangs).await.unwrap_err();
        assert!(last.contains("did not return"), "{last}");
    }
}
