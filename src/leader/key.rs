//! The key that proves which objects towline manages, in a Secret that all replicas share.
//!
//! The Secret is made where there is none, and never changed. So a standby may make it as well, without the Lease: of
//! two that try, the API server lets one through, and the other reads what that one made. A standby could not wait for
//! the leader instead: in an upgrade, the leader may be of a version that makes no key, and goes only when the new one
//! is ready.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Config};

use super::connection::for_lease;
use crate::backoff::Backoff;
use crate::metrics::Metrics;
use crate::plan::Key;

/// Where the bytes of the key are in the Secret.
const FIELD: &str = "key";

/// The namespace and name of the Secret.
#[derive(Clone, Debug)]
pub struct KeyName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("reading it")]
    Read(#[source] kube::Error),
    #[error("making it")]
    Make(#[source] kube::Error),
    #[error(
        "its field `{FIELD}` is not {} random bytes or more: delete the Secret, or correct it",
        Key::LEAST
    )]
    Unusable,
    #[error("reading random bytes")]
    Random(#[source] io::Error),
}

/// Returns the key of the Secret, which is made where there is none. Tries until it succeeds: without the key, nothing
/// may be applied, since nothing could be pruned.
///
/// # Errors
///
/// The client cannot be made from the configuration.
pub async fn key(config: &Config, name: &KeyName, metrics: &Metrics) -> Result<Key, kube::Error> {
    let client = for_lease(config.clone(), metrics)?;
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    loop {
        match read_or_make(&client, name).await {
            Ok(key) => return Ok(key),
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(secret = %name, error, "waiting for the key that proves what is managed");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn read_or_make(client: &Client, name: &KeyName) -> Result<Key, KeyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    if let Some(secret) = api.get_opt(&name.name).await.map_err(KeyError::Read)? {
        let data = secret.data.unwrap_or_default();
        let key = data.get(FIELD).and_then(|bytes| Key::new(&bytes.0));
        return key.ok_or(KeyError::Unusable);
    }
    let bytes = random().map_err(KeyError::Random)?;
    let made = Secret {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            ..ObjectMeta::default()
        },
        data: Some([(FIELD.to_owned(), ByteString(bytes.to_vec()))].into()),
        ..Secret::default()
    };
    // If another replica was first, the next try reads what that one made.
    api.create(&PostParams::default(), &made)
        .await
        .map_err(KeyError::Make)?;
    tracing::info!(
        secret = %name,
        "made a key that proves what is managed; what was applied with another key, or without one, is proven by its \
         next apply, and is not pruned before"
    );
    Key::new(&bytes).ok_or(KeyError::Unusable)
}

fn random() -> io::Result<[u8; Key::LEAST]> {
    let mut bytes = [0; Key::LEAST];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
