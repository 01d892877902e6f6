//! The key that proves which objects towline manages, in a Secret that all replicas share.
//!
//! The leader makes the Secret if there is none. Nothing ever changes it. A standby waits for it, and counts as ready
//! until then: in an upgrade, the leader may be of a version that makes no key, and it ends only when the new replica is
//! ready.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::Leadership;
use crate::backoff::Backoff;
use crate::plan::Key;

/// Where the bytes of the key are in the Secret.
const FIELD: &str = "key";

/// The pause between two looks of a standby for the Secret.
const STANDBY_PAUSE: Duration = Duration::from_millis(500);

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

/// Returns the key of the Secret. The leader makes the Secret if there is none, and a standby waits for it and calls
/// `absent`. Tries until it succeeds: without the key, nothing may be applied, because nothing could be pruned.
pub async fn key(
    client: &Client,
    name: &KeyName,
    leadership: &Leadership,
    absent: impl Fn(),
) -> Key {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    loop {
        let found = match read(&api, name).await {
            Ok(None) if leadership.leads() => make(&api, name).await.map(Some),
            found => found,
        };
        match found {
            Ok(Some(key)) => return key,
            Ok(None) => {
                absent();
                let made = tokio::time::sleep(STANDBY_PAUSE);
                tokio::select! {
                    () = made => (),
                    () = leadership.begun() => (),
                }
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(secret = %name, error, "waiting for the key that proves what is managed");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn read(api: &Api<Secret>, name: &KeyName) -> Result<Option<Key>, KeyError> {
    let Some(secret) = api.get_opt(&name.name).await.map_err(KeyError::Read)? else {
        return Ok(None);
    };
    let data = secret.data.unwrap_or_default();
    let key = data.get(FIELD).and_then(|bytes| Key::new(&bytes.0));
    key.map(Some).ok_or(KeyError::Unusable)
}

/// If another replica was first, this fails, and the next try reads what that one made.
async fn make(api: &Api<Secret>, name: &KeyName) -> Result<Key, KeyError> {
    let bytes = random().map_err(KeyError::Random)?;
    let made = Secret {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            ..ObjectMeta::default()
        },
        data: Some([(FIELD.to_owned(), ByteString(bytes.to_vec()))].into()),
        ..Secret::default()
    };
    let created = api.create(&PostParams::default(), &made).await;
    created.map_err(KeyError::Make)?;
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
