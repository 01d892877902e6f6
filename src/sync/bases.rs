//! Remote bases of kustomizations: fetched beside the rounds of a Sync, and kept while its target names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use tokio::task::{AbortHandle, JoinSet};

use super::LONGEST_PAUSE;
use super::fetch::answered;
use crate::api::{FetchedBase, Reason};
use crate::backoff::Backoff;
use crate::content::Tree;
use crate::driver::Context;
use crate::intent::GitReference;
use crate::render::{Pin, RemoteBase, WantedBase};
use crate::source::{self, Access, Cache, FetchRequest, Reference, Snapshot};

/// The most remote bases that a Sync has: those of its target, and those of the revision after it.
const MAX_KNOWN: usize = 100;

/// Why a remote base is not there. Each error names the kustomization that names the base.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaseError {
    /// It cannot be fetched.
    #[error("{wanted}{}", hint(*.at_home, source))]
    Fetch {
        wanted: Box<WantedBase>,
        /// Whether it is on the source's own server.
        at_home: bool,
        source: Box<source::Error>,
    },
    /// Its server has no such tag.
    #[error(
        "{0}, and there is no tag of that name: a branch or a shortened commit id is not taken, since it may become another \
         commit; name a tag or the whole id of a commit"
    )]
    NoTag(Box<WantedBase>),
    /// A tag was moved, and what it was is gone.
    #[error(
        "{wanted}, a tag that was at commit {from} when it was fetched for this Sync, and is at {to} now; its server does not \
         send the former commit any more: name the commit that is meant"
    )]
    Moved {
        wanted: Box<WantedBase>,
        from: String,
        to: String,
    },
    /// Anybody who may push to the base could change what is live.
    #[error(
        "{0}, and spec.verify of the GitRepository asks for signatures, which a tag elsewhere does not have: name the base by \
         a whole commit id"
    )]
    Unsigned(Box<WantedBase>),
    /// There are too many.
    #[error(
        "more than {MAX_KNOWN} remote bases, with those of the live revision: split the path into several Syncs"
    )]
    TooMany,
}

/// What may help where a server refuses.
fn hint(at_home: bool, error: &source::Error) -> &'static str {
    let is_refused = matches!(error.reason(), Reason::AuthenticationFailed)
        || matches!(error, source::Error::RepositoryNotFound { .. });
    match is_refused && !at_home {
        true => {
            " (on another server than the GitRepository's, which is asked without credentials; a private base has to be on the \
             same one, named by the same scheme)"
        }
        false => "",
    }
}

impl BaseError {
    fn failed(wanted: &WantedBase, access: &Access, trouble: &Trouble) -> Self {
        let base = &wanted.base;
        let is_tag = matches!(base.pin, Pin::Tag(_));
        let wanted = Box::new(wanted.clone());
        match trouble {
            Trouble::Moved { from, to } => Self::Moved {
                wanted,
                from: from.clone(),
                to: to.clone(),
            },
            Trouble::Fetch(source::Error::RefNotFound { .. }) if is_tag => Self::NoTag(wanted),
            Trouble::Fetch(source) => Self::Fetch {
                at_home: access.is_at_home(&base.url),
                source: Box::new(source.clone()),
                wanted,
            },
        }
    }

    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Fetch { source, .. } => source.reason(),
            Self::NoTag(_) | Self::Moved { .. } => Reason::RefNotFound,
            Self::Unsigned(_) => Reason::RenderFailed,
            Self::TooMany => Reason::TooLarge,
        }
    }

    /// Whether only a person can help.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Unsigned(_) | Self::TooMany)
    }
}

/// The remote bases of a Sync.
#[derive(Default)]
pub(super) struct RemoteBases {
    /// Fetched ones. What a tag pointed at when it was fetched stays.
    known: BTreeMap<RemoteBase, Arc<Snapshot>>,
    /// The commits that tags had when they were fetched for the live revision: by URL and tag.
    fixed: BTreeMap<(String, String), String>,
    failed: BTreeMap<RemoteBase, Failure>,
    running: BTreeMap<RemoteBase, AbortHandle>,
    /// The revision that is tried, and what was fetched for it.
    attempt: (String, BTreeSet<RemoteBase>),
    fetches: JoinSet<(RemoteBase, Result<Arc<Snapshot>, Trouble>)>,
    /// Whether a fetch has ended since the last look.
    arrived: bool,
    pauses: Option<Backoff>,
}

/// Why a fetch failed.
enum Trouble {
    Fetch(source::Error),
    /// A tag is at another commit than it was, which cannot be fetched.
    Moved {
        from: String,
        to: String,
    },
}

impl From<source::Error> for Trouble {
    fn from(error: source::Error) -> Self {
        Self::Fetch(error)
    }
}

/// Why the last fetch of a base failed.
struct Failure {
    error: Trouble,
    /// Nobody has asked for the base since.
    is_news: bool,
}

impl RemoteBases {
    /// What the status of a Sync tells of them.
    pub(super) fn told(status: &[FetchedBase]) -> Self {
        let fixed = status.iter().cloned();
        let fixed = fixed.map(|base| ((base.url, base.reference), base.commit));
        Self {
            fixed: fixed.collect(),
            ..Self::default()
        }
    }

    /// The files of those that are fetched and may be used. A damaged copy is forgotten, so that it is fetched again.
    pub(super) fn trees(&mut self, access: &Access) -> BTreeMap<RemoteBase, Arc<dyn Tree>> {
        self.known.retain(|_, snapshot| !snapshot.is_damaged());
        let known = self.known.iter();
        known
            .filter(|(base, _)| is_usable(base, access))
            .map(|(base, snapshot)| (base.clone(), Arc::clone(snapshot) as Arc<dyn Tree>))
            .collect()
    }

    /// Fetches the bases that are not there, in the background. [`Self::arrival`] tells when one has ended.
    ///
    /// # Errors
    /// Why the last try of one of them failed. Asking once more is another try.
    pub(super) fn fetch(
        &mut self,
        context: &Context,
        namespace: &str,
        access: &Access,
        wanted: &[WantedBase],
        revision: &str,
        live: &[&RemoteBase],
    ) -> Result<(), BaseError> {
        if self.attempt.0 != revision {
            self.attempt = (revision.to_owned(), BTreeSet::new());
        }
        let attempt = &mut self.attempt.1;
        attempt.extend(wanted.iter().map(|wanted| wanted.base.clone()));
        let is_kept = |base: &RemoteBase| live.contains(&base) || attempt.contains(base);
        if !make_room(&mut self.known, wanted.len(), is_kept) {
            return Err(BaseError::TooMany);
        }
        self.forget_but(|base| wanted.iter().any(|wanted| wanted.base == *base));
        let mut outcome = Ok(());
        for wanted in wanted {
            let base = &wanted.base;
            if !is_usable(base, access) {
                return Err(BaseError::Unsigned(Box::new(wanted.clone())));
            }
            let failure = self.failed.get_mut(base);
            let is_news = failure.is_some_and(|failure| std::mem::take(&mut failure.is_news));
            if !is_news && !self.running.contains_key(base) {
                self.start(context, namespace, access, base.clone());
            }
            if let (Some(failure), Ok(())) = (self.failed.get(base), &outcome) {
                outcome = Err(BaseError::failed(wanted, access, &failure.error));
            }
        }
        outcome
    }

    fn start(&mut self, context: &Context, namespace: &str, access: &Access, base: RemoteBase) {
        let reference = GitReference::from(&base.pin);
        let mut request = access.beside(namespace, &base.url, reference);
        request.recurse_submodules = base.submodules;
        let cache = context.cache.clone();
        let fixed = self.fixed.get(&key(&base)).cloned();
        let key = base.clone();
        let fetch = async move { (key, answered(fetched(&cache, request, fixed)).await) };
        let fetch = self.fetches.spawn(fetch);
        self.running.insert(base, fetch);
    }

    /// Waits until a fetch has ended.
    pub(super) async fn arrival(&mut self) {
        loop {
            let (base, fetched) = match self.fetches.join_next().await {
                None => return pending().await,
                // It was not wanted any more.
                Some(Err(_)) => continue,
                Some(Ok(ended)) => ended,
            };
            self.running.remove(&base);
            self.arrived = true;
            match fetched {
                Ok(snapshot) => {
                    self.pauses = None;
                    self.failed.remove(&base);
                    self.known.insert(base, snapshot);
                }
                Err(error) => {
                    let is_news = true;
                    self.failed.insert(base, Failure { error, is_news });
                }
            }
            return;
        }
    }

    /// Whether a fetch has ended since the last call.
    pub(super) fn has_arrived(&mut self) -> bool {
        std::mem::take(&mut self.arrived)
    }

    /// The pause before another try.
    pub(super) fn pause(&mut self) -> Duration {
        let first = || Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
        self.pauses.get_or_insert_with(first).pause()
    }

    /// Forgets all but those that a new target is made of. Returns these, with their commits.
    pub(super) fn keep<'b>(
        &mut self,
        named: impl Iterator<Item = &'b RemoteBase>,
    ) -> Vec<FetchedBase> {
        let named: Vec<_> = named.collect();
        self.known.retain(|base, _| named.contains(&base));
        let commit = |snapshot: &Snapshot| snapshot.revision.commit.to_string();
        let known = self.known.iter();
        self.fixed = known
            .map(|(base, snapshot)| (key(base), commit(snapshot)))
            .collect();
        self.forget_but(|base| named.contains(&base));
        self.pauses = None;
        let fixed = self.fixed.iter();
        fixed
            .map(|((url, reference), commit)| FetchedBase {
                url: url.clone(),
                reference: reference.clone(),
                commit: commit.clone(),
            })
            .collect()
    }

    /// Ends the fetches of bases that nobody wants, and forgets why others failed.
    fn forget_but(&mut self, is_wanted: impl Fn(&RemoteBase) -> bool) {
        self.failed.retain(|base, _| is_wanted(base));
        self.running.retain(|base, fetch| {
            let stays = is_wanted(base);
            if !stays {
                fetch.abort();
            }
            stays
        });
    }
}

/// If there is no room for so many more, forgets what revisions that never became live have left. False if there is no
/// room all the same.
fn make_room<T>(
    known: &mut BTreeMap<RemoteBase, T>,
    more: usize,
    is_kept: impl Fn(&RemoteBase) -> bool,
) -> bool {
    if known.len() + more > MAX_KNOWN {
        known.retain(|base, _| is_kept(base));
    }
    known.len() + more <= MAX_KNOWN
}

impl From<&Pin> for GitReference {
    fn from(pin: &Pin) -> Self {
        match pin {
            Pin::Tag(name) => Self::Tag(name.clone()),
            Pin::Commit(id) => Self::Commit(id.clone()),
        }
    }
}

/// The names of a base in a status.
fn key(base: &RemoteBase) -> (String, String) {
    (base.url.clone(), base.pin.name().to_owned())
}

/// Fetches a base. A tag that has moved since it was `fixed` changes nothing, as long as the server sends the former commit.
async fn fetched(
    cache: &Cache,
    request: FetchRequest,
    fixed: Option<String>,
) -> Result<Arc<Snapshot>, Trouble> {
    let fetch = async |request: FetchRequest| {
        let fetched = cache.fetch(request).await;
        fetched.map(|fetched| Arc::clone(fetched.snapshot()))
    };
    let snapshot = fetch(request.clone()).await.map_err(Trouble::Fetch)?;
    let to = snapshot.revision.commit.to_string();
    let Some(from) = fixed.filter(|from| *from != to) else {
        return Ok(snapshot);
    };
    let request = FetchRequest {
        reference: Reference::Commit(from.clone()),
        ..request
    };
    fetch(request).await.map_err(|error| match error {
        source::Error::RefNotFound { .. } | source::Error::CommitRefused { .. } => {
            Trouble::Moved { from, to }
        }
        error => Trouble::Fetch(error),
    })
}

/// Whether a base may be part of what is live: where revisions have to be signed, a tag of another repository is not.
fn is_usable(base: &RemoteBase, access: &Access) -> bool {
    !access.is_verified || matches!(base.pin, Pin::Commit(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Credentials;

    fn access(is_verified: bool) -> Access {
        Access {
            url: "https://git.example/team/fleet".to_owned(),
            credentials: Credentials::None,
            proxy: None,
            timeout: Duration::from_secs(60),
            is_verified,
            full_history: false,
            recurse_submodules: false,
        }
    }

    fn base(url: &str) -> RemoteBase {
        RemoteBase::named(url).unwrap()
    }

    #[test]
    fn revisions_that_never_became_live_leave_room_for_the_next() {
        let all = |count: usize| {
            let bases = (0..count).map(|number| base(&format!("https://h/a/b?ref=v{number}")));
            bases.map(|base| (base, ())).collect::<BTreeMap<_, _>>()
        };
        let is_live = |one: &RemoteBase| *one == base("https://h/a/b?ref=v7");
        for (before, more, has_room, after) in [
            (0, MAX_KNOWN, true, 0),
            (MAX_KNOWN - 1, 1, true, MAX_KNOWN - 1),
            (MAX_KNOWN, 1, true, 1),
            (MAX_KNOWN, MAX_KNOWN - 1, true, 1),
            (MAX_KNOWN, MAX_KNOWN, false, 1),
        ] {
            let mut known = all(before);
            assert_eq!(make_room(&mut known, more, is_live), has_room);
            assert_eq!(known.len(), after, "{before} {more}");
        }
    }

    #[test]
    fn where_revisions_are_signed_a_tag_elsewhere_is_not_enough() {
        let commit = format!("https://git.example/a/b?ref={}", "a".repeat(40));
        for (url, verified, usable) in [
            ("https://git.example/a/b?ref=v1", false, true),
            ("https://git.example/a/b?ref=v1", true, false),
            (&*commit, false, true),
            (&*commit, true, true),
        ] {
            assert_eq!(is_usable(&base(url), &access(verified)), usable, "{url}");
        }
    }

    #[test]
    fn a_failure_names_the_kustomization_and_what_may_help() {
        let missing = source::Error::RefNotFound {
            url: "https://x".to_owned(),
            reference: "tag v1".to_owned(),
        };
        let refused = source::Error::WrongCredentials {
            url: "https://x".to_owned(),
            needed: "identity",
        };
        let commit = format!("https://h/a/b?ref={}", "a".repeat(40));
        for (url, error, reason, says) in [
            (
                "https://h/a/b?ref=main",
                &missing,
                Reason::RefNotFound,
                Some("no tag of that name"),
            ),
            (&commit, &missing, Reason::RefNotFound, None),
            (
                "https://h/a/b?ref=v1",
                &refused,
                Reason::AuthenticationFailed,
                Some("without credentials"),
            ),
            (
                "https://git.example/a/b?ref=v1",
                &refused,
                Reason::AuthenticationFailed,
                None,
            ),
        ] {
            let wanted = WantedBase {
                base: base(url),
                file: "apps/k.yaml".to_owned(),
            };
            let trouble = Trouble::Fetch(error.clone());
            let error = BaseError::failed(&wanted, &access(false), &trouble);
            let text = crate::chain(&error);
            assert_eq!(error.reason(), reason);
            assert!(text.starts_with("apps/k.yaml names https://"), "{text}");
            let hints = ["no tag of that name", "without credentials"];
            let found = hints.into_iter().find(|hint| text.contains(hint));
            assert_eq!(found, says, "{text}");
        }
    }
}
