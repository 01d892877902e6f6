//! The published view of a source.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Ready, View};
use crate::api::{GitRepository, Reason, Verdict};
use crate::intent::{SourceIntent, VerifyIntent};
use crate::source::{Access, Snapshot};
use crate::text::redact_url;

/// The namespace and name of a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl SourceName {
    /// The name from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What others may know of a source. The default means that nothing is known yet.
#[derive(Clone, Default, PartialEq)]
pub struct SourceView {
    /// The newest revision that may go live. It stays when a later fetch fails.
    pub latest: Option<FetchedRevision>,
    /// Why there is no revision, or why the last fetch failed.
    pub problem: Option<(Reason, String)>,
    /// Its condition `Ready`. A change of it wakes no Sync.
    pub ready: Ready,
    /// When it was last polled successfully.
    pub fetched_at: Option<Timestamp>,
    /// The `towline.dev/requested-at` that the last poll answered.
    pub requested_at: Option<String>,
    /// Its URL, without what may be secret. A change of it wakes no Sync.
    pub url: Arc<str>,
    /// Whether it follows tags. A change of it wakes no Sync.
    pub follows_tags: bool,
    /// Its labels, by which alerts select it. A change of them wakes no Sync.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What is asked for, if its pull requests are to be planned. A change of it wakes no Sync.
    pub planning: Option<Arc<SourceIntent>>,
}

/// What became of the plans of a source's pull requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlansView {
    /// The condition that says it. None until something is known.
    pub verdict: Option<Verdict>,
}

impl View<SourceName> for PlansView {
    fn absent(_: &SourceName) -> Self {
        Self::default()
    }
}

/// How often Syncs that follow the same URL elsewhere had to know what this source has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hurries(pub u64);

impl View<SourceName> for Hurries {
    fn absent(_: &SourceName) -> Self {
        Self::default()
    }
}

/// When a poll began that found a revision, and its steps ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimes {
    /// When the poll began.
    pub began: Timestamp,
    /// When the revision had been downloaded.
    pub fetched: Timestamp,
    /// When its signature had been checked. None if it needs none.
    pub verified: Option<Timestamp>,
}

/// A revision, when towline first saw it, and what is left out of it.
#[derive(Clone)]
pub struct FetchedRevision {
    /// Its files.
    pub snapshot: Arc<Snapshot>,
    /// When towline first saw it.
    pub at: Timestamp,
    /// The poll that found it. None if an earlier process did.
    pub fetch: Option<FetchTimes>,
    /// The files that the source leaves out, in the syntax of gitignore.
    pub ignore: Arc<str>,
    /// How it was fetched.
    pub access: Arc<Access>,
    /// The signatures that its revisions need.
    pub verify: Option<Arc<VerifyIntent>>,
}

impl SourceView {
    /// The view that the status of a GitRepository gives, until its driver begins.
    pub fn of(object: &GitRepository) -> Self {
        let status = object.status.as_ref();
        let conditions = status.map(|status| status.conditions.as_slice());
        let mut ready = Ready::of(conditions.unwrap_or_default());
        let intent = SourceIntent::from(object);
        if intent.suspended.is_some() {
            ready.set(false, Reason::Suspended);
        }
        let plans = intent.pull_requests.is_some() && intent.suspended.is_none();
        Self {
            ready,
            url: redact_url(&intent.git.url).into(),
            follows_tags: intent.git.reference.is_tag(),
            planning: (plans && !intent.deleting).then(|| Arc::new(intent)),
            labels: Arc::new(object.metadata.labels.clone().unwrap_or_default()),
            ..Self::default()
        }
    }

    /// What Syncs act on.
    fn content(&self) -> (&Option<FetchedRevision>, &Option<(Reason, String)>) {
        (&self.latest, &self.problem)
    }

    /// Whether the state is unknown because the first fetch still runs.
    pub fn is_unknown(&self) -> bool {
        self.latest.is_none() && self.problem.is_none()
    }
}

/// Two snapshots of one revision differ if it was fetched again, because its objects may have moved
/// in the cache.
impl PartialEq for FetchedRevision {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
            && self.at == other.at
            && self.ignore == other.ignore
    }
}

impl View<SourceName> for SourceView {
    fn absent(name: &SourceName) -> Self {
        let why = format!("GitRepository {name} does not exist");
        Self {
            problem: Some((Reason::SourceNotReady, why)),
            ..Self::default()
        }
    }

    /// A problem concerns Syncs only while there is no revision. The end of a problem wakes them as
    /// well, and so does a request by a person.
    fn wakes(&self, before: &Self) -> bool {
        if self.requested_at != before.requested_at {
            return true;
        }
        match (&self.latest, &self.problem) {
            (Some(_), Some(_)) => self.latest != before.latest,
            _ => self.content() != before.content(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn a_source_is_unknown_until_all_are_known() {
        let sources = Registry::<SourceName, SourceView>::default();
        let name = |name| SourceName::new("ns", name);
        let early = sources.subscribe(&name("absent"));
        assert!(early.borrow().is_unknown());
        sources.add(&name("present"), SourceView::default);
        sources.complete();
        assert!(early.borrow().problem.is_some());
        assert!(sources.read(&name("present")).is_unknown());
        assert!(sources.read(&name("late")).problem.is_some());
        sources.add(&name("absent"), SourceView::default);
        assert!(early.borrow().is_unknown());
        sources.remove(&name("absent"));
        assert!(early.borrow().problem.is_some());
    }
}
