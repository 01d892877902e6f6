//! The time when a state is seen. The watches start before the measured time begins.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(280);

/// Watches one object. The task ends when `is` holds, and returns that time and the object.
pub async fn once<K>(
    api: &Api<K>,
    name: &str,
    is: impl Fn(&K) -> bool + Send + Sync + 'static,
) -> JoinHandle<(Instant, K)>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(290);
    // With version 0, the watch begins with the current object.
    let events = api.watch(&params, "0").await.expect("start a watch");
    let what = name.to_owned();
    tokio::spawn(async move {
        let mut events = events.boxed();
        let found = async {
            while let Some(event) = events.next().await {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) =
                    event.expect("a watch event")
                    && is(&object)
                {
                    return (Instant::now(), object);
                }
            }
            panic!("the watch of {what} ended");
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("{what} is not as awaited within {PATIENCE:?}"),
        }
    })
}

/// Watches all objects of a namespace. The task ends when `is` has held for `count` of them, and returns
/// the time when it first held for each. The API server ends a watch that does not keep up; the next one begins with the
/// current objects.
pub async fn all<K>(
    api: &Api<K>,
    count: usize,
    is: impl Fn(&K) -> bool + Send + Sync + 'static,
) -> JoinHandle<Vec<Instant>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let params = WatchParams::default().timeout(290);
    let mut events = api
        .watch(&params, "0")
        .await
        .expect("start a watch")
        .boxed();
    let api = api.clone();
    tokio::spawn(async move {
        let (mut names, mut times) = (HashSet::new(), Vec::new());
        let found = async {
            loop {
                while let Some(Ok(event)) = events.next().await {
                    if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                        && is(&object)
                        && names.insert(object.name_any())
                    {
                        times.push(Instant::now());
                        if times.len() == count {
                            return;
                        }
                    }
                }
                let again = api.watch(&params, "0").await;
                events = again.expect("start a watch again").boxed();
            }
        };
        if tokio::time::timeout(PATIENCE, found).await.is_err() {
            panic!("only {} of {count} are as awaited", times.len());
        }
        times
    })
}
