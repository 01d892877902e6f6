//! Which commit brought the content that a Sync was given last, and whether that content has been live. Pure.
//!
//! A commit that changes nothing for a Sync is not delivered to it: what is said of the Sync afterwards is still said of
//! the commit before.

use jiff::Timestamp;
use serde_json::json;

use super::steps::Steps;
use crate::api::{DeliveredContent, SyncStatus, Time};
use crate::desired::Desired;
use crate::manifest::Digest;

/// What is known of content that cannot be used: the identity of the path, where that is known, and the error. Both are
/// the same while no commit changes the content.
pub(super) type Refusal = (Option<String>, String);

/// The delivery of a Sync's newest content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Delivery {
    /// The revision that brought the content. None before the first.
    revision: Option<String>,
    /// What the objects are. None if the content cannot be read.
    digest: Option<String>,
    /// Whether the content has been live.
    is_live: bool,
    /// Since when, if that is known.
    since: Option<Time>,
    /// The revision whose content was live last.
    last_live: Option<String>,
    /// Why the content that was tried last cannot be used.
    refusal: Option<Refusal>,
    /// Whether its begin is still to be told.
    begins: bool,
    /// When its trace ended with a failure.
    failed: Option<Time>,
    /// The steps of its way, where traces are told.
    steps: Option<Box<Steps>>,
}

impl Delivery {
    /// The delivery that a status tells of.
    pub(super) fn restored(status: &SyncStatus) -> Self {
        let Some(content) = &status.content else {
            // An older towline wrote the status.
            return Self {
                revision: status.last_applied_revision.clone(),
                last_live: status.last_applied_revision.clone(),
                is_live: status.last_applied_revision.is_some(),
                ..Self::default()
            };
        };
        let mut history = status.history.iter();
        let before = history.find(|entry| entry.converged.is_some());
        let last_live = match content.live {
            true => Some(content.revision.clone()),
            false => before.map(|entry| entry.revision.clone()),
        };
        Self {
            last_live,
            revision: Some(content.revision.clone()),
            digest: content.digest.clone(),
            is_live: content.live,
            since: content.live_since.clone(),
            refusal: None,
            begins: !content.live,
            failed: content.failed.clone(),
            steps: None,
        }
    }

    /// The form for the status.
    pub(super) fn status(&self) -> Option<DeliveredContent> {
        Some(DeliveredContent {
            revision: self.revision.clone()?,
            digest: self.digest.clone(),
            live: self.is_live,
            live_since: self.since.clone(),
            failed: self.failed.clone(),
        })
    }

    /// From now on, the steps of the way are noted.
    pub(super) fn trace(&mut self) {
        self.steps = Some(Box::default());
    }

    /// The steps of the way, where traces are told.
    pub(super) fn steps(&mut self) -> Option<&mut Steps> {
        self.steps.as_deref_mut()
    }

    /// When its trace ended with a failure.
    pub(super) fn failed_at(&self) -> Option<Timestamp> {
        self.failed.as_ref().map(|at| at.0)
    }

    /// Its trace ends with a failure.
    pub(super) fn fails(&mut self, at: Timestamp) {
        self.failed = Some(Time(at));
    }

    /// The last read of files was of this content. `is_target`: what is known of the target.
    fn settle(&mut self, is_target: Option<bool>) {
        let is_under_way = self.under_way().is_some();
        if let Some(steps) = &mut self.steps {
            steps.settle(is_under_way);
            if let Some(is_target) = is_target {
                steps.aim(is_target);
            }
        }
    }

    /// A revision was read, whose content is not that of the target before it. After a restart there is no target, so
    /// the content may be the one that was live. Returns whether it is.
    pub(super) fn read(&mut self, revision: &str, digest: String) -> bool {
        let is_same = self.digest.as_ref() == Some(&digest);
        self.refusal = None;
        if !is_same {
            self.bring(revision);
        }
        self.digest = Some(digest);
        self.settle(None);
        is_same && self.is_live
    }

    /// A revision has the content of the target. It is news if the revision before it had other content, which could not
    /// be used or waited.
    pub(super) fn kept(&mut self, revision: &str, digest: String) {
        self.refusal = None;
        if self.digest.as_ref() != Some(&digest) {
            self.bring(revision);
            self.digest = Some(digest);
        }
        self.settle(Some(true));
    }

    /// The content of the delivery is the target.
    pub(super) fn aims(&mut self) {
        self.settle(Some(true));
    }

    /// A revision cannot be used.
    pub(super) fn refused(&mut self, revision: &str, refusal: Refusal) {
        if self.refusal.as_ref() == Some(&refusal) {
            return self.settle(None);
        }
        self.refusal = Some(refusal);
        if self.revision.as_deref() != Some(revision) {
            self.bring(revision);
            self.digest = None;
        }
        self.settle(Some(false));
    }

    /// From now on, the delivery is that of a revision, unless it is so already: then not a commit, but the Sync's own
    /// spec has changed the content.
    fn bring(&mut self, revision: &str) {
        if self.revision.as_deref() == Some(revision) {
            return;
        }
        let unfinished = self.under_way().filter(|_| self.failed.is_none()).cloned();
        if let Some(steps) = &mut self.steps {
            steps.begin(unfinished);
        }
        self.revision = Some(revision.to_owned());
        (self.is_live, self.since) = (false, None);
        (self.begins, self.failed) = (true, None);
    }

    /// What identifies the content, if this revision brought it, alone or with one of a chart.
    pub(super) fn content_of(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(self.revision.as_deref()?)?;
        let is_it = rest.is_empty() || rest.starts_with(' ');
        self.digest.clone().filter(|_| is_it)
    }

    /// A revision brings content, though it may be that of the target: the Sync was held there, away from the content of
    /// the revision before it.
    pub(super) fn brings(&mut self, revision: &str) {
        self.bring(revision);
    }

    /// Whether the delivery has begun and nobody was told. Says so once.
    pub(super) fn begins(&mut self) -> bool {
        std::mem::take(&mut self.begins)
    }

    /// The revision whose content has not been live yet.
    pub(super) fn under_way(&self) -> Option<&String> {
        self.revision.as_ref().filter(|_| !self.is_live)
    }

    /// The content is live.
    pub(super) fn arrives(&mut self, now: Timestamp) {
        if self.under_way().is_some() {
            (self.is_live, self.since) = (true, Some(Time(now)));
        }
        self.last_live.clone_from(&self.revision);
    }

    /// The revision that was live before, until that which is under way is live.
    pub(super) fn replaced(&self) -> Option<&String> {
        let last = self.last_live.as_ref();
        last.filter(|last| self.under_way().is_some_and(|next| next != *last))
    }

    /// A revision is not live any more, and nothing took its place so far.
    pub(super) fn leaves(&mut self, revision: Option<&str>) {
        self.last_live.take_if(|last| Some(&**last) == revision);
    }
}

/// What identifies the objects of a revision, in whatever order they were read. The spec may give them another namespace
/// than their manifests have.
pub(super) fn digest(desired: &Desired) -> String {
    let objects = desired.objects().iter();
    let sum = objects.fold(0_u128, |sum, object| {
        let digest = object.namespace.as_ref().map_or(object.digest, |name| {
            Digest::of(&json!([&**name, object.digest.to_string()]))
        });
        sum.wrapping_add(u128::from_be_bytes(digest.0))
    });
    format!("{sum:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_way(delivery: &Delivery) -> Option<&str> {
        delivery.under_way().map(String::as_str)
    }

    fn refusal(text: &str) -> Refusal {
        (Some("tree".to_owned()), text.to_owned())
    }

    fn live(revision: &str, digest: &str) -> Delivery {
        let mut delivery = Delivery::default();
        assert!(!delivery.read(revision, digest.to_owned()));
        assert!(delivery.begins() && !delivery.begins());
        delivery.arrives(Timestamp::UNIX_EPOCH);
        delivery
    }

    #[test]
    fn a_commit_is_under_way_until_its_content_is_live() {
        let mut delivery = Delivery::default();
        assert_eq!(under_way(&delivery), None);
        delivery.arrives(Timestamp::UNIX_EPOCH);
        assert_eq!(delivery.status(), None);
        delivery.read("a", "1".to_owned());
        assert_eq!(under_way(&delivery), Some("a"));
        delivery.kept("b", "1".to_owned());
        assert_eq!(under_way(&delivery), Some("a"), "b has the content of a");
        delivery.arrives(Timestamp::UNIX_EPOCH);
        assert_eq!(under_way(&delivery), None);
        delivery.kept("c", "1".to_owned());
        assert_eq!(under_way(&delivery), None, "c changes nothing");
    }

    #[test]
    fn a_commit_takes_the_place_of_the_one_that_was_live_last() {
        let mut delivery = live("a", "1");
        assert_eq!(delivery.replaced(), None);
        delivery.read("b", "2".to_owned());
        delivery.read("c", "3".to_owned());
        assert_eq!(delivery.replaced().map(String::as_str), Some("a"));
        delivery.arrives(Timestamp::UNIX_EPOCH);
        assert_eq!(delivery.replaced(), None);
        delivery.read("a", "1".to_owned());
        assert_eq!(delivery.replaced().map(String::as_str), Some("c"));
        delivery.leaves(Some("b"));
        assert_eq!(delivery.replaced().map(String::as_str), Some("c"));
        delivery.leaves(Some("c"));
        assert_eq!(delivery.replaced(), None, "a pin has said so");
    }

    #[test]
    fn a_spec_that_changes_the_content_delivers_no_commit() {
        let mut delivery = live("a", "1");
        delivery.read("a", "2".to_owned());
        delivery.refused("a", refusal("no such path"));
        assert_eq!(under_way(&delivery), None);
        delivery.refused("b", refusal("no such path"));
        assert_eq!(under_way(&delivery), None, "b is not at fault");
    }

    #[test]
    fn content_that_cannot_be_used_is_delivered_by_the_commit_that_brought_it() {
        let mut delivery = live("a", "1");
        delivery.refused("b", refusal("line 3"));
        assert_eq!(under_way(&delivery), Some("b"));
        delivery.refused("c", refusal("line 3"));
        assert_eq!(under_way(&delivery), Some("b"), "c changes another path");
        delivery.refused("d", refusal("line 4"));
        assert_eq!(under_way(&delivery), Some("d"));
        delivery.refused("e", (Some("other".to_owned()), "line 4".to_owned()));
        assert_eq!(
            under_way(&delivery),
            Some("e"),
            "another try, the same error"
        );
        delivery.kept("f", "1".to_owned());
        assert_eq!(under_way(&delivery), Some("f"), "the revert");
        assert!(delivery.begins());
    }

    #[test]
    fn a_revert_of_content_that_waits_is_a_delivery() {
        let mut delivery = live("a", "1");
        delivery.read("b", "2".to_owned());
        assert_eq!(under_way(&delivery), Some("b"), "its hooks run");
        delivery.read("b", "2".to_owned());
        assert_eq!(under_way(&delivery), Some("b"), "they have ended");
        delivery.kept("c", "1".to_owned());
        assert_eq!(under_way(&delivery), Some("c"), "the revert");
    }

    #[test]
    fn what_ends_a_pin_is_a_delivery() {
        let mut delivery = live("a", "1");
        delivery.read("b", "2".to_owned());
        assert_eq!(delivery.content_of("b").as_deref(), Some("2"));
        assert_eq!(delivery.content_of("b with chart c").as_deref(), Some("2"));
        assert_eq!(
            (delivery.content_of("bb"), delivery.content_of("a")),
            (None, None)
        );
        delivery.read("a", "1".to_owned());
        delivery.arrives(Timestamp::UNIX_EPOCH);
        delivery.brings("c");
        delivery.kept("c", "1".to_owned());
        assert_eq!(under_way(&delivery), Some("c"), "the revert");
    }

    #[test]
    fn after_a_restart_the_same_content_is_the_same_delivery() {
        let after = |delivery: &Delivery| SyncStatus {
            content: delivery.status(),
            ..SyncStatus::default()
        };
        let status = after(&live("a", "1"));
        let mut delivery = Delivery::restored(&status);
        assert!(delivery.read("b", "1".to_owned()), "it was live");
        assert_eq!(under_way(&delivery), None);
        let mut delivery = Delivery::restored(&status);
        assert!(!delivery.read("b", "2".to_owned()));
        assert_eq!(under_way(&delivery), Some("b"));
        let mut delivery = Delivery::restored(&after(&delivery));
        assert!(!delivery.read("c", "2".to_owned()), "it was not live");
        assert_eq!(under_way(&delivery), Some("b"));
        let old = SyncStatus {
            last_applied_revision: Some("a".to_owned()),
            ..SyncStatus::default()
        };
        let mut delivery = Delivery::restored(&old);
        delivery.read("a", "1".to_owned());
        assert_eq!(under_way(&delivery), None, "an older towline applied it");
    }
}
