//! The Secrets that resources name. One metadata watch reports changes. Only a changed Secret is
//! read, by its name, so the operator never holds the content of other Secrets.

mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};

pub use self::watched::{ValueError, Watched};
use crate::cluster::resumed;
use crate::fleet::{Registry, Subscription};

/// The namespace and name of a Secret.
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

/// Why a Secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The Secret does not exist.
    #[error("Secret {0} does not exist")]
    Missing(SecretName),
    /// The API server does not return the Secret. Holds only the server's own message, because the
    /// text of a parse error may quote the Secret.
    #[error("Secret {0} cannot be read: {1}")]
    Unavailable(SecretName, String),
}

/// A Secret's values by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// Reads Secrets, and says when one changed; clones share the watch.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    /// The Secrets that have subscribers. The registry holds no values; it only reports changes.
    changes: Registry<SecretName, ()>,
    /// The watch is complete, so an unchanged Secret need not be read again.
    in_step: Arc<AtomicBool>,
}

impl Secrets {
    /// Reads Secrets with `client`. Changes are seen only while [`Secrets::follow`] is polled.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            changes: Registry::default(),
            in_step: Arc::default(),
        }
    }

    /// A subscription to changes of a Secret. The Secret need not exist yet.
    pub fn subscribe(&self, name: &SecretName) -> Subscription<SecretName, ()> {
        self.changes.subscribe(name)
    }

    /// Whether every change is seen.
    pub fn is_in_step(&self) -> bool {
        self.in_step.load(Ordering::Acquire)
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// [`ReadError`]: it does not exist, or the API server does not return it.
    pub async fn read(&self, name: &SecretName) -> Result<Data, ReadError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        match api.get_opt(&name.name).await {
            Ok(Some(secret)) => {
                let data = secret.data.unwrap_or_default().into_iter();
                Ok(data.map(|(key, value)| (key, value.0)).collect())
            }
            Ok(None) => Err(ReadError::Missing(name.clone())),
            Err(kube::Error::Api(status)) => {
                Err(ReadError::Unavailable(name.clone(), status.message))
            }
            Err(_) => Err(ReadError::Unavailable(name.clone(), "no answer".to_owned())),
        }
    }

    /// Watches the metadata of all Secrets for as long as it is polled.
    pub async fn follow(&self, watching: Client, namespace: Option<&str>) {
        let api: Api<PartialObjectMeta<Secret>> = match namespace {
            Some(namespace) => Api::namespaced(watching, namespace),
            None => Api::all(watching),
        };
        let events = resumed("Secret", watcher(api, watcher::Config::default()));
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(secret) | watcher::Event::Delete(secret)) => {
                    let namespace = secret.namespace().unwrap_or_default();
                    let name = SecretName::new(&namespace, &secret.name_any());
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
