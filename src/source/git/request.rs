//! What to fetch, and the result of a fetch.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{self, Credentials, Proxy};
use super::copy_key::CopyKey;
use super::reference::Reference;
use super::snapshot::Snapshot;
use super::stop::StopReason;
use super::url;
use crate::source::error::Error;
use crate::text::redact_url;

/// What to fetch.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The namespace of the resource that asks. Namespaces share no copies, and take turns.
    pub namespace: String,
    /// `https://host/path`, `http://host/path`, `ssh://user@host:port/path` or `user@host:path`.
    pub url: String,
    /// The commit to fetch.
    pub reference: Reference,
    /// The time limit of the fetch, including the wait for its turn.
    pub timeout: Duration,
    /// The snapshot that the caller has. If the reference still points at its commit, nothing is
    /// downloaded.
    pub known: Option<Arc<Snapshot>>,
    /// The credentials for the remote.
    pub credentials: Credentials,
    /// Whether the remote has accepted these credentials for the caller's snapshot. If not, the
    /// remote is asked even if the caller already has the wanted commit.
    pub proven: bool,
    /// The proxy for the remote. Without one, the environment's proxy is used.
    pub proxy: Option<Proxy>,
    /// Also download all ancestors of the wanted commit.
    pub full_history: bool,
    /// Also download submodules, and include them in the tree.
    pub recurse_submodules: bool,
    /// Use a copy of its own on disk, so that no fetch of the same URL for Syncs waits for this one, or reads what it
    /// brought.
    pub apart: bool,
}

/// The result of a fetch. Callers must keep the new snapshot in both cases, because an unchanged
/// revision may have moved to another folder on disk.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The revision is the caller's.
    Unchanged(Arc<Snapshot>),
    /// The revision is another one.
    New(Arc<Snapshot>),
}

impl Fetched {
    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        match self {
            Self::Unchanged(snapshot) | Self::New(snapshot) => snapshot,
        }
    }
}

impl FetchRequest {
    /// A request for a public repository, without a known snapshot, history and submodules.
    pub fn new(
        namespace: impl Into<String>,
        url: impl Into<String>,
        reference: Reference,
        timeout: Duration,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            url: url.into(),
            reference,
            timeout,
            known: None,
            credentials: Credentials::None,
            proven: true,
            proxy: None,
            full_history: false,
            recurse_submodules: false,
            apart: false,
        }
    }

    /// Refuses credentials that do not fit the URL. Otherwise they would be ignored without a
    /// message.
    pub(super) fn check_credentials(&self, is_ssh: bool) -> Result<(), Error> {
        let needed = match (is_ssh, &self.credentials) {
            (true, Credentials::None | Credentials::Https(_)) => "identity and known_hosts",
            (false, Credentials::Ssh(_)) => "credentials for HTTP",
            (true, Credentials::Ssh(_)) | (false, Credentials::None | Credentials::Https(_)) => {
                return Ok(());
            }
        };
        Err(Error::WrongCredentials {
            url: redact_url(&self.url),
            needed,
        })
    }

    /// Names the copy on disk that the request uses.
    pub(super) fn copy_key(&self) -> CopyKey {
        let key = url::cache_key(&self.url, self.full_history);
        CopyKey {
            namespace: self.namespace.clone(),
            repository: match self.apart {
                true => url::apart(&key),
                false => key,
            },
            route: auth::route(&self.credentials, self.proxy.as_ref()),
        }
    }

    /// The error for a fetch that had to end.
    pub(super) fn stopped(&self, reason: StopReason) -> Error {
        match reason {
            StopReason::Abandoned => Error::Interrupted,
            StopReason::GaveWay => Error::GaveWay {
                url: redact_url(&self.url),
            },
        }
    }

    pub(super) fn late(&self) -> Error {
        Error::Timeout {
            url: redact_url(&self.url),
            after: self.timeout,
        }
    }
}
