//! The revisions that a Sync is pinned to: fetched by their commits beside the rounds, and checked like any other revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

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
    /// The server sends no commit by its id.
    #[error("spec.fullHistory of the GitRepository makes towline keep earlier commits")]
    Refused(#[source] source::Error),
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(source::Error),
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
            Self::Refused(error) | Self::Fetch(error) => error.reason(),
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

/// A source, and a revision of it.
type Key = (SourceName, String);

/// The fetched revisions of a pin: that of the Sync's source, and that of its chart's.
#[derive(Default)]
pub(super) struct PinnedRevisions {
    known: BTreeMap<Key, Arc<Snapshot>>,
    /// Why the last fetch failed, and when the next may begin.
    failed: BTreeMap<Key, (Arc<PinError>, Instant)>,
    running: BTreeMap<Key, AbortHandle>,
    fetches: JoinSet<(Key, Result<Arc<Snapshot>, PinError>)>,
    pauses: Option<Backoff>,
}

impl PinnedRevisions {
    /// The files of a revision. None while they are fetched; [`Self::arrival`] tells when that has ended.
    ///
    /// # Errors
    /// Why the last try failed, until the time of the next one.
    pub(super) fn get(
        &mut self,
        context: &Arc<Context>,
        route: &Route<'_>,
        revision: &str,
    ) -> Result<Option<Arc<Snapshot>>, Arc<PinError>> {
        // A damaged copy is fetched again.
        self.known.retain(|_, snapshot| !snapshot.is_damaged());
        let key = (route.source.clone(), revision.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        if let Some((error, again)) = self.failed.get(&key) {
            if *again > Instant::now() {
                return Err(Arc::clone(error));
            }
            self.failed.remove(&key);
        }
        if !self.running.contains_key(&key) {
            let (context, access) = (Arc::clone(context), Arc::clone(route.access));
            let (verify, fetching) = (route.verify.clone(), key.clone());
            let fetch = async move {
                let fetched = fetched(&context, &fetching, &access, verify.as_deref()).await;
                (fetching, fetched)
            };
            let fetch = self.fetches.spawn(fetch);
            self.running.insert(key, fetch);
        }
        Ok(None)
    }

    /// When the next fetch of what failed may begin.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.failed.values().map(|(_, again)| *again).min()
    }

    /// Waits until a fetch has ended.
    pub(super) async fn arrival(&mut self) {
        loop {
            let (key, fetched) = match self.fetches.join_next().await {
                None => return pending().await,
                // It was not wanted any more.
                Some(Err(_)) => continue,
                Some(Ok(ended)) => ended,
            };
            self.running.remove(&key);
            match fetched {
                Ok(snapshot) => {
                    self.pauses = None;
                    self.known.insert(key, snapshot);
                }
                Err(error) => {
                    let first = || Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
                    let pause = self.pauses.get_or_insert_with(first).pause();
                    let again = Instant::now() + pause;
                    self.failed.insert(key, (Arc::new(error), again));
                }
            }
            return;
        }
    }

    /// Forgets everything but the revisions with these names.
    pub(super) fn keep(&mut self, revisions: &[&str]) {
        let is_kept = |(_, revision): &Key| revisions.contains(&revision.as_str());
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

/// Fetches a revision and checks its signatures. A commit is fetched by its id, for its branch has moved on. The signature
/// of a tag needs the tag.
async fn fetched(
    context: &Context,
    (source, revision): &Key,
    access: &Access,
    verify: Option<&VerifyIntent>,
) -> Result<Arc<Snapshot>, PinError> {
    let (name, commit) = parts(revision).ok_or(PinError::Malformed)?;
    let tag = verify.filter(|verify| verify.part != SignedPart::Commit);
    let reference = match name.filter(|_| tag.is_some()) {
        Some(name) if name.starts_with("refs/") => Reference::Name(name.to_owned()),
        Some(name) => Reference::Tag(name.to_owned()),
        None => Reference::Commit(commit.to_owned()),
    };
    let request = access.again(&source.namespace, reference);
    let fetched = context.cache.fetch(request).await;
    let fetched = fetched.map_err(|error| match error {
        source::Error::CommitRefused { .. } => PinError::Refused(error),
        error => PinError::Fetch(error),
    })?;
    let snapshot = fetched.snapshot();
    if snapshot.revision.commit.to_string() != commit {
        return Err(PinError::TagMoved(name.unwrap_or_default().to_owned()));
    }
    let snapshot = Arc::new(snapshot.named(name));
    let mut verifier = Verifier::default();
    let signed = verifier.check(&context.secrets, verify, source, &snapshot);
    signed.await?;
    Ok(snapshot)
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
