//! A watch of one object, so that the time of a change is the time of its event.

use std::{
    fmt::Debug,
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;

pub struct ObjectWatch<K> {
    events: Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>,
    now: Option<K>,
    since: Instant,
}

impl<K> ObjectWatch<K>
where
    K: Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Watches the object `name`, which need not exist yet.
    pub async fn on(api: &Api<K>, name: &str) -> Result<Self, String> {
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        // With version 0, the watch begins with the current object.
        let events = api.watch(&params, "0").await;
        let events = events.map_err(|error| format!("watch {name}: {error}"))?;
        Ok(Self {
            events: Box::pin(events),
            now: None,
            since: Instant::now(),
        })
    }

    /// Waits until `look` returns a value for the object (`None`: the object does not exist). Returns the
    /// value and the time when it was seen.
    pub async fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        look: impl Fn(Option<&K>) -> Option<T>,
    ) -> Result<(Instant, T), String> {
        let seen = async {
            loop {
                if let Some(seen) = look(self.now.as_ref()) {
                    return Ok((self.since, seen));
                }
                match self.events.next().await {
                    Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                        self.now = Some(object);
                        self.since = Instant::now();
                    }
                    Some(Ok(WatchEvent::Deleted(_))) => {
                        self.now = None;
                        self.since = Instant::now();
                    }
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Error(status))) => {
                        return Err(format!("watching for {what}: {}", status.message));
                    }
                    Some(Err(error)) => return Err(format!("watching for {what}: {error}")),
                    None => return Err(format!("the watch for {what} ended")),
                }
            }
        };
        tokio::time::timeout(patience, seen)
            .await
            .unwrap_or_else(|_| Err(format!("not within {patience:?}: {what}")))
    }
}
