//! Fetches beside the rounds of a Sync.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use crate::source;

/// What a fetch answers. A panic is an answer as well: a task that ends without one would leave its fetch under way for
/// as long as the driver runs.
pub(super) async fn answered<T, E: From<source::Error>>(
    fetch: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let answer = AssertUnwindSafe(fetch).catch_unwind().await;
    answer.unwrap_or_else(|_| Err(source::Error::Interrupted.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fetch_that_panics_was_interrupted() {
        let broken = async { panic!("broken") };
        let answer: Result<(), source::Error> = answered(broken).await;
        assert!(matches!(answer, Err(source::Error::Interrupted)));
        let good: Result<u8, source::Error> = answered(async { Ok(1) }).await;
        assert!(matches!(good, Ok(1)));
    }
}
