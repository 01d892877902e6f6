//! The Secrets that repositories name. One watch of metadata says when any of them changed; only then
//! is it read, by name, and no other Secret's body ever comes here.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::Context;
use crate::cluster::resumed;

/// Why a Secret cannot be used, for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is none.
    #[error("Secret {0} does not exist")]
    Missing(String),
    /// The API server does not give it. Only what the server itself says: an answer that cannot be
    /// read might be quoted.
    #[error("Secret {0} cannot be read: {1}")]
    Unavailable(String, String),
}

/// A Secret's values by key.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Says when a Secret changed.
#[derive(Default)]
pub(super) struct Secrets {
    named: Mutex<HashMap<(String, String), watch::Sender<u64>>>,
    /// The watch is in step: what did not change need not be read again.
    in_step: AtomicBool,
}

impl Secrets {
    /// Changes when the Secret does.
    pub(super) fn subscribe(&self, namespace: &str, name: &str) -> watch::Receiver<u64> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(key).or_default().subscribe()
    }

    /// Whether every change is told.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_step.load(Ordering::Acquire)
    }

    /// Watches all Secrets' metadata for as long as it is polled.
    pub(super) async fn follow(&self, client: Client, namespace: Option<&str>) {
        let api: Api<PartialObjectMeta<Secret>> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let events = resumed("Secret", watcher(api, watcher::Config::default()));
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(secret) | watcher::Event::Delete(secret)) => {
                    self.changed(&secret.namespace().unwrap_or_default(), &secret.name_any());
                }
                // What changed while there was no watch is not known.
                Ok(watcher::Event::InitDone) => {
                    self.in_step.store(true, Ordering::Release);
                    self.all_changed();
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => (),
                Err(_) => self.in_step.store(false, Ordering::Release),
            }
        }
    }

    fn changed(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = named.get(&key) {
            sender.send_modify(|count| *count += 1);
        }
    }

    fn all_changed(&self) {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in named.values() {
            sender.send_modify(|count| *count += 1);
        }
    }
}

/// Reads a Secret.
pub(super) async fn read(context: &Context, namespace: &str, name: &str) -> Result<Data, Error> {
    let title = format!("{namespace}/{name}");
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default().into_iter();
            Ok(data.map(|(key, value)| (key, value.0)).collect())
        }
        Ok(None) => Err(Error::Missing(title)),
        Err(kube::Error::Api(status)) => Err(Error::Unavailable(title, status.message)),
        Err(_) => Err(Error::Unavailable(title, "no answer".to_owned())),
    }
}

/// Waits for a change of a Secret that may not be named; false: it will not change.
pub(super) async fn changed(changes: Option<&mut watch::Receiver<u64>>) -> bool {
    match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}
