//! The Secrets of a release's records.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Acting, WriteError};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{HelmRecord, SyncName, superseded};
use crate::sync::audit::{self, Action};
use crate::sync::newest::Newest;

/// The records of a release, read and written in an account's name.
pub(super) struct Records<'a> {
    pub(super) acting: Acting<'a>,
    pub(super) sync: &'a SyncName,
    pub(super) namespace: &'a str,
    /// The revision that asks for it.
    pub(super) asked: Option<&'a Newest>,
}

impl Records<'_> {
    pub(super) fn key(&self, name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", "Secret"),
            namespace: Some(self.namespace.into()),
            name: name.into(),
        }
    }

    /// The Secrets of records; without those that are gone.
    pub(super) async fn live(&self, records: &[HelmRecord]) -> Result<Vec<Value>, WriteError> {
        let served = self.acting.secrets()?;
        let mut live = Vec::new();
        for record in records {
            let secret = self.acting.live(&served, &self.key(&record.name)).await?;
            live.extend(secret);
        }
        Ok(live)
    }

    pub(super) async fn create(&self, key: &ObjectKey, secret: &Value) -> Result<(), WriteError> {
        let served = self.acting.secrets()?;
        let body = || secret.to_string().into_bytes();
        let made = self.acting.create(&served, key, body).await?;
        let uid = made.pointer("/metadata/uid").and_then(Value::as_str);
        self.log(Action::Created, key, uid.unwrap_or_default());
        Ok(())
    }

    /// Makes a record say that it is live no longer. One that cannot be read is left as it is.
    pub(super) async fn supersede(&self, secret: &Value) -> Result<(), WriteError> {
        let name = secret.pointer("/metadata/name").and_then(Value::as_str);
        let patch = superseded(secret, Timestamp::now().as_second());
        let Some((name, patch)) = name.zip(patch) else {
            return Ok(());
        };
        let (served, key) = (self.acting.secrets()?, self.key(name));
        self.acting.patch(&served, &key, &patch).await?;
        let uid = secret.pointer("/metadata/uid").and_then(Value::as_str);
        self.log(Action::Changed, &key, uid.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn delete(&self, records: &[HelmRecord]) -> Result<(), WriteError> {
        for HelmRecord { name, uid, .. } in records {
            let key = self.key(name);
            self.acting.delete(&key, uid).await?;
            self.log(Action::Deleted, &key, uid);
        }
        Ok(())
    }

    pub(super) fn log(&self, action: Action, key: &ObjectKey, uid: &str) {
        audit::log(self.sync, action, (key, uid), self.asked, None, None);
    }
}
