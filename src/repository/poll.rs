//! One poll: log in, fetch, verify signatures.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::login::{Login, LoginError};
use crate::api::Reason;
use crate::chain;
use crate::driver::{Context, RefetchError, Verifier, VerifyError, needs_tag, refetched};
use crate::fleet::{FetchTimes, SourceName};
use crate::intent::{MAX_TIMEOUT, SourceIntent};
use crate::render::{PatternError, check_patterns};
use crate::source::{self, Access, Credentials, FetchRequest, Fetched, Proxy, Snapshot};

/// Why a poll found no revision that may go live.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Fetch(#[from] source::Error),
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Ignore(#[from] PatternError),
    #[error(transparent)]
    Refetch(#[from] RefetchError),
}

impl PollError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Unverified(error) => error.reason(),
            Self::Login(error) => error.reason(),
            Self::Ignore(_) => Reason::InvalidSpec,
            Self::Refetch(error) => error.reason(),
        }
    }

    /// The error with its causes, without secrets.
    pub(super) fn message(&self) -> String {
        crate::text::redact(&chain(self))
    }
}

/// A revision that may go live.
pub(super) struct PolledRevision {
    pub(super) snapshot: Arc<Snapshot>,
    /// How it was fetched.
    pub(super) access: Arc<Access>,
    /// The signer, as in "signed by …". None if no signature is required.
    pub(super) signer: Option<String>,
    /// When the poll began, and its steps ended.
    pub(super) times: FetchTimes,
}

impl PolledRevision {
    /// A revision whose signature was checked just now.
    fn new(
        snapshot: Arc<Snapshot>,
        access: Arc<Access>,
        (began, fetched): (Timestamp, Timestamp),
        signer: Option<String>,
    ) -> Self {
        Self {
            snapshot,
            access,
            times: FetchTimes {
                began,
                fetched,
                verified: signer.is_some().then(Timestamp::now),
            },
            signer,
        }
    }
}

/// Polls one repository, and keeps data for the next poll.
#[derive(Default)]
pub(super) struct Poller {
    pub(super) login: Login,
    pub(super) verifier: Verifier,
    /// The credentials that the remote accepted last.
    proven: Option<Credentials>,
    /// The last fetched revision. It may be one that was refused.
    fetched: Option<Arc<Snapshot>>,
}

impl Poller {
    /// Returns the remote's revision, and its signer if a signature is required. With `new_spec`,
    /// the last fetched revision is ignored, because the same commit under another URL or ref is
    /// another revision.
    pub(super) async fn poll(
        &mut self,
        context: &Context,
        intent: &SourceIntent,
        name: &SourceName,
        new_spec: bool,
    ) -> Result<PolledRevision, PollError> {
        let started = Instant::now();
        let found = self.find(context, intent, name, new_spec).await;
        let outcome = found
            .as_ref()
            .map_or_else(PollError::reason, |_| Reason::Fetched);
        context.metrics.fetch(outcome, started.elapsed());
        found
    }

    /// Returns a revision that was live before the start, while the ref is not asked for, or has a revision that may not go
    /// live. Its signature is checked again.
    pub(super) async fn restore(
        &mut self,
        context: &Context,
        intent: &SourceIntent,
        name: &SourceName,
        revision: &str,
    ) -> Result<PolledRevision, PollError> {
        let began = Timestamp::now();
        check_patterns("spec.ignore", &intent.ignore)?;
        let login = self.login.read(&context.secrets, intent, name);
        let (credentials, proxy) = login.await?;
        let access = Arc::new(access(intent, credentials, proxy));
        let by_tag = needs_tag(intent.verify.as_ref());
        let snapshot = refetched(&context.cache, name, (revision, by_tag), &access).await?;
        let fetched = Timestamp::now();
        // The other one keeps its answer about the newest revision.
        let mut verifier = Verifier::default();
        let signer = verifier.check(&context.secrets, intent.verify.as_ref(), name, &snapshot);
        let signer = signer.await?;
        Ok(PolledRevision::new(
            snapshot,
            access,
            (began, fetched),
            signer,
        ))
    }

    async fn find(
        &mut self,
        context: &Context,
        intent: &SourceIntent,
        name: &SourceName,
        new_spec: bool,
    ) -> Result<PolledRevision, PollError> {
        let began = Timestamp::now();
        check_patterns("spec.ignore", &intent.ignore)?;
        let login = self.login.read(&context.secrets, intent, name);
        let (credentials, proxy) = login.await?;
        let route = proxy.clone();
        let request = FetchRequest {
            known: self.fetched.clone().filter(|_| !new_spec),
            proven: self.proven.as_ref() == Some(&credentials),
            ..request(name, intent, credentials.clone(), proxy)
        };
        let fetched = context.cache.fetch(request).await?;
        let (Fetched::New(snapshot) | Fetched::Unchanged(snapshot)) = fetched;
        let access = Arc::new(access(intent, credentials.clone(), route));
        self.proven = Some(credentials);
        self.fetched = Some(Arc::clone(&snapshot));
        let fetched = Timestamp::now();
        let sources = &context.fleet.sources;
        sources.update(name, |view| view.fetched_at = Some(fetched));
        let verifier = &mut self.verifier;
        let signer = verifier.check(&context.secrets, intent.verify.as_ref(), name, &snapshot);
        let signer = signer.await?;
        Ok(PolledRevision::new(
            snapshot,
            access,
            (began, fetched),
            signer,
        ))
    }
}

/// How an intent's repository is fetched.
fn access(intent: &SourceIntent, credentials: Credentials, proxy: Option<Proxy>) -> Access {
    Access {
        url: intent.git.url.clone(),
        credentials,
        proxy,
        timeout: intent.timeout.min(MAX_TIMEOUT),
        is_verified: intent.verify.is_some(),
        full_history: intent.git.full_history,
        recurse_submodules: intent.git.recurse_submodules,
    }
}

/// The request for an intent, without a known snapshot and without proven access.
pub(crate) fn request(
    name: &SourceName,
    intent: &SourceIntent,
    credentials: Credentials,
    proxy: Option<Proxy>,
) -> FetchRequest {
    let git = &intent.git;
    FetchRequest {
        credentials,
        proven: false,
        proxy,
        full_history: git.full_history,
        recurse_submodules: git.recurse_submodules,
        ..FetchRequest::new(
            &*name.namespace,
            &git.url,
            git.reference.clone(),
            intent.timeout.min(MAX_TIMEOUT),
        )
    }
}
