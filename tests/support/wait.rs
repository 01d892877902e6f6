//! Waiting for a state rather than for a time.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long a test waits for what takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// What one look gives: the awaited value, or a description of what is there instead.
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

/// Looks every 20 ms until `look` gives a value. Panics after `timeout`, with what was awaited and
/// what was last seen: let `look` give `Err(state)` to have the state in the message.
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

/// Like [`eventually`], giving what was last seen instead of a panic. A look that takes longer than
/// `timeout` is given up.
pub async fn within<T, L: Look<T>>(
    timeout: Duration,
    mut look: impl AsyncFnMut() -> L,
) -> Result<T, String> {
    let deadline = Instant::now() + timeout;
    let mut last = "nothing, the first look did not come back".to_owned();
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

/// Holds for all of `time` that `look` gives nothing; panics with what it gave.
pub async fn never<T: Debug>(what: &str, time: Duration, look: impl AsyncFnMut() -> Option<T>) {
    if let Ok(value) = within(time, look).await {
        panic!("{what}: {value:#?}");
    }
}
