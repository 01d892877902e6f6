//! The Secrets and ConfigMaps that resources name. One watch of the metadata of a kind reports which
//! object changed. Only named objects are read, so that the operator never holds the content of others.

mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

pub use self::watched::{ValueError, Watched};
use crate::chain::refusal;
use crate::cluster::watched;
use crate::fleet::{Registry, Subscription};

/// The namespace and name of a Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SecretName {
    /// The name from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a Secret or a ConfigMap cannot be read. The first field is the kind.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object does not exist.
    #[error("{0} {1} does not exist")]
    Missing(&'static str, SecretName),
    /// The API server does not return it. Holds only the server's own message: an error about an answer
    /// that cannot be parsed might quote the answer.
    #[error("{0} {1} cannot be read: {2}")]
    Unavailable(&'static str, SecretName, String),
}

/// Whether a Secret or a ConfigMap can have this name (RFC 1123). The client puts a name into the path of the request as it
/// is: `?watch=1` would be a list of all objects without an end, and with `..` the request would be about something else.
fn may_exist(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty() && name.chars().all(is_part) && !name.contains("..") && name != "."
}

/// Values by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The bytes that values take.
pub fn size(data: &Data) -> usize {
    data.iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// A kind of object that holds values by key.
pub trait Keeping:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Send
    + 'static
{
    /// The kind's name, for messages.
    const KIND: &'static str;

    /// Whether the watch begins only when an object has a subscriber. The watch of Secrets begins at the
    /// start, so that a standby that takes over need not read all of them again.
    const LAZY: bool;

    /// The object's values.
    fn data(self) -> Data;
}

impl Keeping for Secret {
    const KIND: &'static str = "Secret";
    const LAZY: bool = false;

    fn data(self) -> Data {
        let data = self.data.unwrap_or_default().into_iter();
        data.map(|(key, value)| (key, value.0)).collect()
    }
}

impl Keeping for ConfigMap {
    const KIND: &'static str = "ConfigMap";
    const LAZY: bool = true;

    fn data(self) -> Data {
        let data = self.data.unwrap_or_default().into_iter();
        let mut data: Data = data.map(|(key, value)| (key, value.into_bytes())).collect();
        let binary = self.binary_data.unwrap_or_default().into_iter();
        data.extend(binary.map(|(key, value)| (key, value.0)));
        data
    }
}

/// The Secrets that resources name.
pub type Secrets = Keeper<Secret>;

/// The ConfigMaps that resources name.
pub type ConfigMaps = Keeper<ConfigMap>;

/// Reads objects of a kind, and reports when one changed. Clones share the watch.
pub struct Keeper<K> {
    client: Client,
    /// The objects that have subscribers. They have no view: only their changes matter.
    changes: Registry<SecretName, ()>,
    /// Starts the watch when the first object has a subscriber.
    wanted: Arc<Notify>,
    /// Whether the watch is up to date. If it is, an object without a change need not be read again.
    in_step: Arc<AtomicBool>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Keeper<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            changes: self.changes.clone(),
            wanted: self.wanted.clone(),
            in_step: self.in_step.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Keeping> Keeper<K> {
    /// Reads objects with `client`. Changes are seen only while [`Keeper::follow`] is polled.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            changes: Registry::default(),
            wanted: Arc::default(),
            in_step: Arc::default(),
            kind: PhantomData,
        }
    }

    /// Returns a subscription that changes with the object. The object need not exist yet.
    pub fn subscribe(&self, name: &SecretName) -> Subscription<SecretName, ()> {
        self.wanted.notify_one();
        self.changes.subscribe(name)
    }

    /// Whether every change is seen.
    pub fn is_in_step(&self) -> bool {
        self.in_step.load(Ordering::Acquire)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`ReadError`]: it does not exist, or the API server does not return it.
    pub async fn read(&self, name: &SecretName) -> Result<Data, ReadError> {
        if !may_exist(&name.name) {
            return Err(ReadError::Missing(K::KIND, name.clone()));
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let unavailable = |why| Err(ReadError::Unavailable(K::KIND, name.clone(), why));
        match api.get_opt(&name.name).await {
            Ok(Some(object)) => Ok(object.data()),
            Ok(None) => Err(ReadError::Missing(K::KIND, name.clone())),
            Err(kube::Error::Api(status)) => unavailable(refusal(&status)),
            Err(_) => unavailable("no answer".to_owned()),
        }
    }

    /// Watches the metadata of all objects of the kind for as long as it is polled.
    pub async fn follow(&self, watching: Client, namespace: Option<&str>) {
        if K::LAZY {
            self.wanted.notified().await;
        }
        let api: Api<PartialObjectMeta<K>> = match namespace {
            Some(namespace) => Api::namespaced(watching, namespace),
            None => Api::all(watching),
        };
        let events = watched(K::KIND, api, watcher::Config::default());
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                    let namespace = object.namespace().unwrap_or_default();
                    let name = SecretName::new(&namespace, &object.name_any());
                    self.changes.touch(&name);
                }
                Ok(watcher::Event::InitDone) => {
                    self.in_step.store(true, Ordering::Release);
                    // Changes during the interruption are unknown, so every Secret counts as
                    // changed.
                    self.changes.touch_all();
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => (),
                Err(_) => self.in_step.store(false, Ordering::Release),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_an_object_can_have_are_asked_for() {
        for (name, may) in [
            ("login", true),
            ("a.b-c.0", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/../../../b/secrets/c", false),
            ("a%2f..", false),
            ("?watch=1", false),
            ("?limit=0", false),
            ("a#b", false),
            ("a b", false),
            ("Login", false),
            ("lögin", false),
        ] {
            assert_eq!(may_exist(name), may, "{name}");
        }
    }
}
