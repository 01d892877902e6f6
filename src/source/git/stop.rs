//! Ends a running fetch from outside.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a fetch has to end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Nobody waits for the result any longer.
    Abandoned,
    /// A namespace with less than its share waits for the place of this fetch.
    GaveWay,
}

/// Tells the thread of a fetch to end. Clones tell the same thread.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<watch::Sender<Option<StopReason>>>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Ends the fetch. The first reason counts.
    pub(super) fn tell(&self, reason: StopReason) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            told.get_or_insert(reason);
            is_first
        });
    }

    /// The reason, if the fetch has to end.
    pub(super) fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Waits until the fetch has to end.
    pub(super) async fn told(&self) -> StopReason {
        let mut receiver = self.0.subscribe();
        let told = receiver.wait_for(Option::is_some).await;
        // This value owns the sender, so the wait cannot end with an error.
        told.ok()
            .and_then(|told| *told)
            .unwrap_or(StopReason::Abandoned)
    }

    /// Ends the fetch when the guard is dropped.
    pub(super) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Ends a fetch that nobody waits for.
pub(super) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.tell(StopReason::Abandoned);
    }
}
