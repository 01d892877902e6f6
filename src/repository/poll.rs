//! One poll: log in, fetch, verify.

use std::sync::Arc;
use std::time::Instant;

use super::login::{Login, LoginError};
use super::verifier::{self, Verifier};
use crate::api::{GitRepository, Reason};
use crate::chain;
use crate::driver::Context;
use crate::fleet::SourceName;
use crate::source::{self, Credentials, FetchRequest, Fetched, Proxy, Reference, Snapshot};

/// Why a poll found nothing that may go live.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Fetch(#[from] source::Error),
    #[error(transparent)]
    Unverified(#[from] verifier::Error),
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl PollError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Unverified(error) => error.reason(),
            Self::Login(error) => error.reason(),
        }
    }

    /// The error with its causes, without secrets.
    pub(super) fn message(&self) -> String {
        crate::text::redact(&chain(self))
    }
}

/// A revision that may go live.
pub(super) struct Found {
    pub(super) snapshot: Arc<Snapshot>,
    /// Who signed it, as in "signed by …"; none where no signature is asked for.
    pub(super) signer: Option<String>,
}

/// Polls one repository, and keeps what the next poll can use.
#[derive(Default)]
pub(super) struct Poller {
    pub(super) login: Login,
    pub(super) verifier: Verifier,
    /// The credentials that the remote has accepted last.
    proven: Option<Credentials>,
    /// What the last poll fetched, whether it may go live or not.
    fetched: Option<Arc<Snapshot>>,
}

impl Poller {
    /// What the remote has, and who signed it where a signature is asked for. With `new_spec`, what was
    /// fetched before does not count: another URL or ref may name the same commit, and it is another
    /// revision all the same.
    pub(super) async fn poll(
        &mut self,
        context: &Context,
        object: &GitRepository,
        name: &SourceName,
        new_spec: bool,
    ) -> Result<Found, PollError> {
        let started = Instant::now();
        let found = self.find(context, object, name, new_spec).await;
        let outcome = found
            .as_ref()
            .map_or_else(PollError::reason, |_| Reason::Fetched);
        context.metrics.fetch(outcome, started.elapsed());
        found
    }

    async fn find(
        &mut self,
        context: &Context,
        object: &GitRepository,
        name: &SourceName,
        new_spec: bool,
    ) -> Result<Found, PollError> {
        let login = self.login.read(&context.secrets, object, name);
        let (credentials, proxy) = login.await?;
        let request = FetchRequest {
            known: self.fetched.clone().filter(|_| !new_spec),
            proven: self.proven.as_ref() == Some(&credentials),
            ..request(object, credentials.clone(), proxy)
        };
        let fetched = context.cache.fetch(request).await?;
        let (Fetched::New(snapshot) | Fetched::Unchanged(snapshot)) = fetched;
        self.proven = Some(credentials);
        self.fetched = Some(Arc::clone(&snapshot));
        let repositories = &context.metrics.figures().repositories;
        repositories.set(&name.namespace, &name.name, |row| {
            row.fetched_at = Some(jiff::Timestamp::now());
        });
        let verifier = &mut self.verifier;
        let signer = verifier.check(&context.secrets, object, name, &snapshot);
        let signer = signer.await?;
        Ok(Found { snapshot, signer })
    }
}

/// What a spec asks to fetch, without anything known or proven before.
pub(super) fn request(
    object: &GitRepository,
    credentials: Credentials,
    proxy: Option<Proxy>,
) -> FetchRequest {
    let spec = &object.spec;
    let reference = Reference::from(spec.reference.as_ref());
    FetchRequest {
        credentials,
        proven: false,
        proxy,
        full_history: spec.full_history,
        recurse_submodules: spec.recurse_submodules,
        ..FetchRequest::new(&spec.url, reference, spec.timeout.into())
    }
}
