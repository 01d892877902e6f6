//! The revisions that a Sync is pinned to: fetched by their commits beside the rounds, and checked like any other revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{pending, select_all};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::fetch::answered;
use crate::api::Reason;
use crate::backoff::Backoff;
use crate::driver::{Context, Verifier, VerifyError};
use crate::fleet::SourceName;
use crate::intent::{SignedPart, VerifyIntent};
use crate::source::{self, Access, Reference, Snapshot};

/// The longest pause between two tries: somebody waits who has just pinned the Sync.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a Sync cannot be held at a revision.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    /// Nothing proves that the followed ref ever had this commit.
    #[error(
        "status.history of the Sync does not have it, and only a revision that was live can be returned to: \
         towline history {0}"
    )]
    NeverLive(String),
    /// It is written wrongly.
    #[error("it is not of the form BRANCH@sha1:COMMIT")]
    Malformed,
    /// The tag whose signature is needed is at another commit now.
    #[error(
        "spec.verify of the GitRepository asks for a signed tag, and tag {0} is at another commit now"
    )]
    TagMoved(String),
    /// The server does not have it, or sends no commit by its id.
    #[error(
        "GitRepository {repository} cannot give it: spec.fullHistory there makes towline keep earlier commits, unless \
         spec.sourceRef named another GitRepository when this revision was live"
    )]
    Refused {
        /// The GitRepository that the Sync follows now.
        repository: String,
        /// What the server said.
        source: source::Error,
    },
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] source::Error),
    /// Its signature is not good.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
}

impl PinError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NeverLive(_) | Self::Malformed => Reason::PinRefused,
            Self::TagMoved(_) => Reason::VerificationFailed,
            Self::Refused { source, .. } | Self::Fetch(source) => source.reason(),
            Self::Unverified(error) => error.reason(),
        }
    }

    /// Whether only a person can help.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::NeverLive(_) | Self::Malformed)
    }
}

/// How a source is fetched, and the signatures that it needs.
pub(super) struct Route<'a> {
    pub(super) source: SourceName,
    pub(super) access: &'a Arc<Access>,
    pub(super) verify: &'a Option<Arc<VerifyIntent>>,
}

/// A source, a revision of it, and whether it is fetched by its tag, whose signature is needed.
type Key = (SourceName, String, bool);

/// The fetched revisions of a pin: that of the Sync's source, and that of its chart's.
#[derive(Default)]
pub(super) struct PinnedRevisions {
    known: BTreeMap<Key, Arc<Snapshot>>,
    /// Why the last fetch failed, and when the next may begin.
    failed: BTreeMap<Key, (Arc<PinError>, Instant)>,
    running: BTreeMap<Key, AbortHandle>,
    fetches: JoinSet<(Key, Result<Arc<Snapshot>, PinError>)>,
    pauses: Option<Backoff>,
    /// What checks the signatures of the sources' revisions, also of what is live: a key may be taken away.
    verifiers: BTreeMap<SourceName, Verifier>,
}

impl PinnedRevisions {
    /// The files of a revision, of which `live` is a copy, if there is one. None while they are fetched; [`Self::arrival`]
    /// tells when that has ended, or when the signatures have to be checked again.
    ///
    /// # Errors
    /// Why the last try failed, until another one succeeds; or why the signatures are not good.
    pub(super) async fn get(
        &mut self,
        context: &Arc<Context>,
        route: &Route<'_>,
        revision: &str,
        live: Option<&Arc<Snapshot>>,
    ) -> Result<Option<Arc<Snapshot>>, Arc<PinError>> {
        if let Some(live) = live {
            let signed = self.check(context, route, live).await;
            let error = signed.err();
            // Where the keys cannot be read now, what is live was signed when they could be.
            if error.is_none_or(|error| error.reason() == Reason::ApiUnavailable) {
                return Ok(Some(Arc::clone(live)));
            }
        }
        // A damaged copy is fetched again.
        self.known.retain(|_, snapshot| !snapshot.is_damaged());
        let by_tag = tag_counts(route.verify.as_deref());
        let key = (route.source.clone(), revision.to_owned(), by_tag);
        if let Some(known) = self.known.get(&key).cloned() {
            let signed = self.check(context, route, &known).await;
            return match signed {
                Ok(()) => Ok(Some(known)),
                Err(error) => Err(Arc::new(error.into())),
            };
        }
        let failed = self.failed.get(&key);
        let waits = failed.is_some_and(|(_, again)| *again > Instant::now());
        if !waits && !self.running.contains_key(&key) {
            self.start(context, route, key.clone());
        }
        match self.failed.get(&key) {
            Some((error, _)) => Err(Arc::clone(error)),
            None => Ok(None),
        }
    }

    fn start(&mut self, context: &Arc<Context>, route: &Route<'_>, key: Key) {
        let (context, access) = (Arc::clone(context), Arc::clone(route.access));
        let fetching = key.clone();
        let fetch = async move {
            let fetched = answered(fetched(&context, &fetching, &access)).await;
            (fetching, fetched)
        };
        let fetch = self.fetches.spawn(fetch);
        self.running.insert(key, fetch);
    }

    /// Whether the signatures of a revision are good. One that was checked before is only checked again after a change.
    async fn check(
        &mut self,
        context: &Context,
        route: &Route<'_>,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), VerifyError> {
        let verifier = self.verifiers.entry(route.source.clone()).or_default();
        let (secrets, wanted) = (&context.secrets, route.verify.as_deref());
        verifier
            .check(secrets, wanted, &route.source, snapshot)
            .await?;
        Ok(())
    }

    /// When the next fetch of what failed may begin.
    pub(super) fn again_at(&self) -> Option<Instant> {
        let failed = self.failed.iter();
        let failed = failed.filter(|(key, _)| !self.running.contains_key(*key));
        failed.map(|(_, (_, again))| *again).min()
    }

    /// Waits until a fetch has ended, or a Secret with keys has changed.
    pub(super) async fn arrival(&mut self) {
        let Self {
            fetches, verifiers, ..
        } = self;
        let changes: Vec<_> = verifiers
            .values_mut()
            .map(|verifier| Box::pin(verifier.changed()))
            .collect();
        let changed = async {
            match changes.is_empty() {
                true => pending().await,
                false => drop(select_all(changes).await),
            }
        };
        let ended = async {
            loop {
                match fetches.join_next().await {
                    None => return pending().await,
                    // It was not wanted any more.
                    Some(Err(_)) => (),
                    Some(Ok(ended)) => return ended,
                }
            }
        };
        let (key, fetched) = tokio::select! {
            ended = ended => ended,
            () = changed => return,
        };
        self.running.remove(&key);
        match fetched {
            Ok(snapshot) => {
                self.pauses = None;
                self.failed.remove(&key);
                self.known.insert(key, snapshot);
            }
            Err(error) => {
                let first = || Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
                let pause = self.pauses.get_or_insert_with(first).pause();
                let again = Instant::now() + pause;
                self.failed.insert(key, (Arc::new(error), again));
            }
        }
    }

    /// Forgets everything but the revisions with these names.
    pub(super) fn keep(&mut self, revisions: &[&str]) {
        if revisions.is_empty() {
            self.verifiers.clear();
        }
        let is_kept = |(_, revision, _): &Key| revisions.contains(&revision.as_str());
        self.known.retain(|key, _| is_kept(key));
        self.failed.retain(|key, _| is_kept(key));
        self.running.retain(|key, fetch| {
            let stays = is_kept(key);
            if !stays {
                fetch.abort();
            }
            stays
        });
    }
}

/// The name and the commit of a revision: `main@sha1:…` or `sha1:…`.
fn parts(revision: &str) -> Option<(Option<&str>, &str)> {
    let (name, commit) = match revision.rsplit_once('@') {
        Some((name, commit)) => (Some(name), commit),
        None => (None, revision),
    };
    let commit = commit.strip_prefix("sha1:")?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (commit.len() == 40 && commit.bytes().all(is_digit)).then_some((name, commit))
}

/// Whether the signature of a tag is needed, and so the tag.
fn tag_counts(verify: Option<&VerifyIntent>) -> bool {
    verify.is_some_and(|verify| verify.part != SignedPart::Commit)
}

/// Fetches a revision. A commit is fetched by its id, for its branch has moved on. The signature of a tag needs the tag.
async fn fetched(
    context: &Context,
    (source, revision, by_tag): &Key,
    access: &Access,
) -> Result<Arc<Snapshot>, PinError> {
    let (name, commit) = parts(revision).ok_or(PinError::Malformed)?;
    let reference = match name.filter(|_| *by_tag) {
        Some(name) if name.starts_with("refs/") => Reference::Name(name.to_owned()),
        Some(name) => Reference::Tag(name.to_owned()),
        None => Reference::Commit(commit.to_owned()),
    };
    let by_id = matches!(reference, Reference::Commit(_));
    let request = access.again(&source.namespace, reference);
    let fetched = context.cache.fetch(request).await;
    let fetched = fetched.map_err(|source_error| match source_error {
        source::Error::CommitRefused { .. } | source::Error::RefNotFound { .. } if by_id => {
            PinError::Refused {
                repository: source.name.to_string(),
                source: source_error,
            }
        }
        error => PinError::Fetch(error),
    })?;
    let snapshot = fetched.snapshot();
    if snapshot.revision.commit.to_string() != commit {
        return Err(PinError::TagMoved(name.unwrap_or_default().to_owned()));
    }
    Ok(Arc::new(snapshot.named(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_has_a_name_and_a_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let revision = |name: &str| format!("{name}sha1:{commit}");
        for (text, found) in [
            (revision("main@"), Some((Some("main"), commit))),
            (revision("feature@2@"), Some((Some("feature@2"), commit))),
            (
                revision("refs/pull/7/head@"),
                Some((Some("refs/pull/7/head"), commit)),
            ),
            (revision(""), Some((None, commit))),
            (commit.to_owned(), None),
            ("main".to_owned(), None),
            ("main@sha1:0123".to_owned(), None),
            (format!("main@sha1:{}", commit.to_uppercase()), None),
            (format!("main@sha256:{commit}"), None),
        ] {
            assert_eq!(parts(&text), found, "{text}");
        }
    }
}
