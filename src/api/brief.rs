//! Syncs and GitRepositories as far as a table shows them.
//!
//! Most of an object is its history, and who wrote which field. A list of a thousand is read in less than half the time
//! without them.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    Condition, GitRepository, GitRepositorySpec, GitRepositoryStatus, Sync, SyncSpec, SyncStatus,
    Time,
};

/// A kind of which less can be read than all.
pub trait Abridged: Sized {
    /// What is read of it.
    type Brief: DeserializeOwned + Clone + Into<Self>;
}

/// What is read of an object.
#[derive(Clone, Debug, Deserialize)]
pub struct Brief<S> {
    metadata: Metadata,
    spec: S,
    status: Option<Status>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    generation: Option<i64>,
    deletion_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    observed_generation: Option<i64>,
    #[serde(default)]
    conditions: Vec<Condition>,
    summary: Option<String>,
    reason_since: Option<Time>,
    short_revision: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(read: Metadata) -> Self {
        Self {
            name: read.name,
            namespace: read.namespace,
            generation: read.generation,
            deletion_timestamp: read.deletion_timestamp,
            annotations: read.annotations,
            ..Self::default()
        }
    }
}

impl Abridged for Sync {
    type Brief = Brief<SyncSpec>;
}

impl From<Brief<SyncSpec>> for Sync {
    fn from(read: Brief<SyncSpec>) -> Self {
        Self {
            metadata: read.metadata.into(),
            spec: read.spec,
            status: read.status.map(|status| SyncStatus {
                observed_generation: status.observed_generation,
                conditions: status.conditions,
                summary: status.summary,
                reason_since: status.reason_since,
                short_revision: status.short_revision,
                ..SyncStatus::default()
            }),
        }
    }
}

impl Abridged for GitRepository {
    type Brief = Brief<GitRepositorySpec>;
}

impl From<Brief<GitRepositorySpec>> for GitRepository {
    fn from(read: Brief<GitRepositorySpec>) -> Self {
        Self {
            metadata: read.metadata.into(),
            spec: read.spec,
            status: read.status.map(|status| GitRepositoryStatus {
                observed_generation: status.observed_generation,
                conditions: status.conditions,
                summary: status.summary,
                reason_since: status.reason_since,
                short_revision: status.short_revision,
                ..GitRepositoryStatus::default()
            }),
        }
    }
}
