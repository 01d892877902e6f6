//! What a round tells: one small function for each kind of notice.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::{Next, judge};
use crate::api::{HeldPrune, PinStatus, Reason, Verdict};
use crate::manifest::ObjectKey;
use crate::notify::{Level, Notice};
use crate::plan::{Release, Relinquished};
use crate::sync::newest::both;
use crate::sync::report::{Live, NAMED};
use crate::text::listing;

impl Next {
    pub(super) fn tell_healed(&mut self) {
        let healed = &self.seen.round.healed;
        if healed.is_empty() {
            return;
        }
        let first = || healed.iter().take(NAMED);
        let named = first().map(|(key, writer)| match writer {
            Some(writer) => format!("{key} (changed by {writer})"),
            None => key.to_string(),
        });
        let message = format!("healed {}", listing(named, healed.len()));
        let objects = first().map(|(key, _)| key.to_string()).collect();
        self.tell(Level::Normal, Reason::DriftCorrected, message, objects);
    }

    pub(super) fn tell_left(&mut self) {
        let left = &self.seen.round.left;
        if left.is_empty() {
            return;
        }
        let named = left.iter().take(NAMED).map(|(key, left)| {
            let Relinquished { field, manager } = left;
            format!("{field} of {key} to {manager}, which keeps writing it")
        });
        let list = listing(named, left.len());
        let message = format!(
            "left {list}; take the field out of Git, or change its value there to have it tried again"
        );
        let objects = left.iter().take(NAMED).map(|(key, _)| key.to_string());
        let objects = objects.collect();
        self.tell(Level::Normal, Reason::FieldLeft, message, objects);
    }

    pub(super) fn tell_rewritten(&mut self) {
        let new = &self.seen.round.rewritten;
        let Some((_, first)) = new.first() else {
            return;
        };
        let more = match new.len() {
            1 => String::new(),
            all => format!("; and it changes {} more objects", all - 1),
        };
        let message = format!("{first}{more}");
        let objects = new.iter().take(NAMED).map(|(key, _)| key.to_string());
        let objects = objects.collect();
        self.tell(Level::Warning, Reason::FieldRewritten, message, objects);
    }

    pub(super) fn tell_vanished(&mut self) {
        let vanished = &self.seen.round.vanished;
        if vanished.is_empty() {
            return;
        }
        let first = || vanished.iter().take(NAMED).map(ToString::to_string);
        let list = listing(first(), vanished.len());
        let message = format!(
            "{list} was made and is gone, and towline did not see how it ended: it is not run again; change its \
             manifest to have it run again"
        );
        let objects = first().collect();
        self.tell(Level::Normal, Reason::NotRunAgain, message, objects);
    }

    pub(super) fn tell_released(&mut self) {
        if self.seen.round.released.is_empty() {
            return;
        }
        let about = Arc::clone(&self.seen.about);
        let revision = self.seen.live.as_ref().map(|live| live.revision.clone());
        let released = &self.seen.round.released;
        let notice = released_notice(about, revision, released, self.seen.now.time);
        self.notices.push(notice);
    }

    /// Tells that the Sync is pinned to another revision than before, or is so no more.
    pub(super) fn tell_pin(&mut self) {
        let pin = self.seen.pin.clone();
        let before = std::mem::replace(&mut self.report.status.pin, pin.clone());
        let name = |pin: &PinStatus| both(&pin.revision, pin.chart_revision.as_deref());
        match (before, pin) {
            (Some(before), None) => {
                let by = self.seen.unpinned_by.as_deref().unwrap_or("unpinned");
                let message = format!("{by}; it was held at {}", name(&before));
                self.tell(Level::Normal, Reason::Unpinned, message, Vec::new());
            }
            (before, Some(pin)) if before.as_ref().is_none_or(|before| !before.is_like(&pin)) => {
                let words = self.seen.facts.pinned.as_deref().unwrap_or("pinned");
                let message = format!("held at {}: {words}", name(&pin));
                self.tell(Level::Normal, Reason::Pinned, message, Vec::new());
                judge(&mut self.report.status, &mut self.figures, &self.seen).pinned(&pin);
                let away = pin.away.filter(|away| *away != pin.revision);
                // With a chart of another repository, the commit of the Sync's own comes first.
                let away = away.as_deref().and_then(|away| away.split(' ').next());
                // This notice says that it is not live any more.
                self.report.delivery.leaves(away);
                if let Some(notice) = self.notices.last_mut() {
                    notice.delivers = away.map(str::to_owned);
                }
            }
            _ => (),
        }
    }

    /// Tells once of each deletion that waits for a person.
    pub(super) fn tell_held(&mut self) {
        let Some(message) = self.seen.facts.held.clone() else {
            return;
        };
        let digest = |held: &HeldPrune| held.digest.clone();
        let told = self.report.status.prune.as_ref();
        let told = told.and_then(|prune| prune.held.as_ref()).map(digest);
        if told != self.seen.held.as_ref().map(digest) {
            self.tell(Level::Warning, Reason::PruneHeld, message, Vec::new());
        }
    }

    /// A problem that was told ends when a person suspends the Sync, since nobody works on it any more. It is told again
    /// if it is still there afterwards.
    pub(super) fn tell_suspended(&mut self) {
        let Some(by_whom) = self.seen.facts.suspended.clone() else {
            return;
        };
        let had_warned = self.report.warned.take().is_some();
        let had_differed = std::mem::take(&mut self.report.diff);
        if had_warned || had_differed {
            self.tell(Level::Normal, Reason::Suspended, by_whom, Vec::new());
        }
    }

    /// Tells commit statuses that work on a commit began.
    pub(super) fn tell_begin(&mut self, ready: &Verdict) {
        let message = ready.message.clone();
        self.tell(Level::Normal, Reason::Progressing, message, Vec::new());
    }

    /// The first objects with a problem.
    pub(super) fn concerned(&self) -> Vec<String> {
        let facts = &self.seen.facts;
        let problems = facts.problems.first.iter();
        let drifts = facts.drifts.first.iter().map(|drift| drift.key.to_string());
        let all = problems.map(|problem| problem.object.clone()).chain(drifts);
        all.take(NAMED).collect()
    }

    /// Tells something of the target.
    pub(super) fn tell(
        &mut self,
        level: Level,
        reason: Reason,
        message: String,
        objects: Vec<String>,
    ) {
        let live = self.seen.live.clone();
        self.tell_of(live.as_ref(), level, reason, message, objects);
    }

    /// Tells a problem of the revision that was tried last.
    pub(super) fn tell_problem(&mut self, reason: Reason, message: String) {
        let (tried, objects) = (self.seen.tried.clone(), self.concerned());
        self.tell_of(tried.as_ref(), Level::Warning, reason, message, objects);
    }

    pub(super) fn tell_of(
        &mut self,
        live: Option<&Live>,
        level: Level,
        reason: Reason,
        message: String,
        objects: Vec<String>,
    ) {
        let notice = Notice {
            about: Arc::clone(&self.seen.about),
            revision: live.map(|live| live.revision.clone()),
            reason,
            level,
            delivers: self.report.delivery.under_way().cloned(),
            replaces: None,
            change: None,
            objects,
            message,
            at: self.seen.now.time,
        };
        self.notices.push(match live {
            Some(live) => notice.with_change(&live.author, &live.subject),
            None => notice,
        });
    }
}

/// The notice of objects that left their Sync and stay.
pub(in crate::sync) fn released_notice(
    about: Arc<ObjectReference>,
    revision: Option<String>,
    released: &[(ObjectKey, Release)],
    at: Timestamp,
) -> Notice {
    let first = || released.iter().take(NAMED);
    let named = first().map(|(key, why)| format!("{key} ({why})"));
    Notice {
        about,
        revision,
        reason: Reason::Released,
        level: Level::Normal,
        delivers: None,
        replaces: None,
        change: None,
        objects: first().map(|(key, _)| key.to_string()).collect(),
        message: format!("released {}", listing(named, released.len())),
        at,
    }
}
