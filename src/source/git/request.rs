//! What to fetch, and what a fetch found.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Credentials, Proxy};
use super::reference::Reference;
use super::snapshot::Snapshot;
use super::url;
use crate::source::error::Error;
use crate::text::redact_url;

/// What to fetch.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// `https://host/path`, `http://host/path`, `ssh://user@host:port/path` or `user@host:path`.
    pub url: String,
    /// Which commit of it.
    pub reference: Reference,
    /// The longest that the fetch may take, waiting for its turn included.
    pub timeout: Duration,
    /// What the caller has: if the reference still points there, nothing is downloaded.
    pub known: Option<Arc<Snapshot>>,
    /// What the remote is shown.
    pub credentials: Credentials,
    /// Whether the remote has accepted these credentials for what the caller has. If not, it is asked
    /// even where a commit is wanted that the caller has.
    pub proven: bool,
    /// What the remote is reached through; the environment says it where this does not.
    pub proxy: Option<Proxy>,
    /// Download all commits that lead to the wanted one, too.
    pub full_history: bool,
    /// Download submodules, and read through them.
    pub recurse_submodules: bool,
}

/// What a fetch found. Callers keep the snapshot in either case: an unchanged revision may have
/// moved to another folder on disk.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The revision is the one that the caller knows.
    Unchanged(Arc<Snapshot>),
    /// Another revision.
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
    /// A request for a public repository of which nothing is known, without history and submodules.
    pub fn new(url: impl Into<String>, reference: Reference, timeout: Duration) -> Self {
        Self {
            url: url.into(),
            reference,
            timeout,
            known: None,
            credentials: Credentials::None,
            proven: true,
            proxy: None,
            full_history: false,
            recurse_submodules: false,
        }
    }

    /// Refuses credentials that are not for the URL: they would be left unused in silence.
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

    pub(super) fn key(&self) -> String {
        url::cache_key(&self.url, self.full_history)
    }

    pub(super) fn late(&self) -> Error {
        Error::Timeout {
            url: redact_url(&self.url),
            after: self.timeout,
        }
    }
}
