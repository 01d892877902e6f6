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
use crate::driver::{Context, RefetchError, Verifier, VerifyError, needs_tag, refetched};
use crate::fleet::SourceName;
use crate::intent::VerifyIntent;
use crate::source::{Access, Snapshot};

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
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] RefetchError),
    /// Its signature is not good.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
}

impl PinError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NeverLive(_) | Self::Fetch(RefetchError::Malformed) => Reason::PinRefused,
            Self::Fetch(error) => error.reason(),
            Self::Unverified(error) => error.reason(),
        }
    }

    /// Whether only a person can help.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::NeverLive(_) | Self::Fetch(RefetchError::Malformed)
        )
    }

    /// Whether the server was reached, and does not give it.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Fetch(RefetchError::Refused { .. } | RefetchError::TagMoved(_))
        )
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
        let by_tag = needs_tag(route.verify.as_deref());
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
            let (source, revision, by_tag) = &fetching;
            let fetched = refetched(&context.cache, source, (revision, *by_tag), &access);
            let fetched = answered(fetched).await;
            (fetching, fetched.map_err(PinError::Fetch))
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

    /// Whether something is being fetched.
    pub(super) fn is_fetching(&self) -> bool {
        !self.running.is_empty()
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
