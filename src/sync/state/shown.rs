//! What the state says to people: counts, lists, problems of single objects, and why nothing is pruned.

use super::State;
use crate::api::{ObjectCounts, Reason};
use crate::cluster::Unkept;
use crate::health::Health;
use crate::intent::Mode;
use crate::manifest::{GroupVersionKind, ObjectKey};
use crate::plan::belongs_to;
use crate::sync::memory::Memory;
use crate::sync::target::{Objects, Taken};
use crate::sync::timers::count;
use crate::sync::verdict::{Blocked, Drift, Listed, Problem, Unhealthy};

impl State {
    pub(in crate::sync) fn counts(&self, unhealthy: usize) -> ObjectCounts {
        let Some(target) = &self.target else {
            return ObjectCounts::default();
        };
        let memory = &self.memory;
        let drifted = memory
            .drifted
            .keys()
            .filter(|key| memory.records.contains_key(*key));
        ObjectCounts {
            desired: count(target.desired.objects().len()),
            applied: count(
                memory
                    .records
                    .len()
                    .saturating_sub(drifted.count() + memory.left_alone.len()),
            ),
            left_alone: count(memory.left_alone.len()),
            drifted: count(memory.drifted.len()),
            unhealthy: count(unhealthy),
            waiting: count(self.objects.waiting.values().map(Vec::len).sum()),
            failed: count(
                memory.troubles.len() + self.objects.misplaced.len() + self.objects.taken.len(),
            ),
            unpruned: count(
                memory.surplus
                    + memory.unproven
                    + memory.strays.len()
                    + memory.unpruned.len()
                    + memory.leaving.total,
            ),
        }
    }

    /// The objects that differ from Git.
    pub(in crate::sync) fn drifts(&self) -> Listed<Drift> {
        let drifted = self.memory.drifted.iter();
        Listed::of(drifted.map(|(key, (cause, writer))| Drift {
            key: key.clone(),
            cause: *cause,
            writer: writer.clone(),
        }))
    }

    /// What is not healthy: what has failed before what may still come. `counts`: whether an object's
    /// health counts.
    pub(in crate::sync) fn unhealthy(
        &self,
        counts: impl Fn(&ObjectKey) -> bool,
    ) -> Listed<Unhealthy> {
        let is_failed = |health: &&Health| matches!(health, Health::Failed(_));
        let all = || self.memory.unhealthy.iter().filter(|(key, _)| counts(key));
        let failed = all().filter(|(_, health)| is_failed(health));
        let others = all().filter(|(_, health)| !is_failed(health));
        let unhealthy = &self.memory.unhealthy;
        let behind = self.memory.behind.iter();
        let behind = behind.filter(|(key, _)| !unhealthy.contains_key(*key));
        let ordered = failed.chain(others).chain(behind);
        let mut listed = Listed::of(ordered.map(|(key, health)| Unhealthy {
            key: key.clone(),
            health: health.clone(),
            place: None,
            cause: self.memory.causes.of(key),
        }));
        for one in &mut listed.first {
            let item = self.objects.items.get(&one.key);
            let target = self.target.as_ref();
            one.place = item
                .zip(target)
                .and_then(|(item, target)| target.place(item.index));
        }
        listed
    }

    /// The number of objects that keep being changed, so that their correction is delayed.
    pub(in crate::sync) fn contested(&self, mode: Mode) -> usize {
        let drifted = self.memory.drifted.keys();
        match mode {
            Mode::Correct => drifted
                .filter(|key| self.memory.again.contains(*key))
                .count(),
            Mode::Report => 0,
        }
    }

    /// The problems of single objects, in the same order in every round. `is_coming` says whether a kind
    /// that is not served will be served soon, `unkept` whether it never has objects, and `instead` which one is served, or why
    /// none is.
    pub(in crate::sync) fn problems(
        &self,
        is_coming: impl Fn(&GroupVersionKind) -> bool,
        unkept: impl Fn(&GroupVersionKind) -> Option<Unkept>,
        instead: impl Fn(&GroupVersionKind) -> Option<String>,
    ) -> Listed<Problem> {
        let Some(target) = &self.target else {
            return Listed::default();
        };
        let desired = target.desired.objects();
        let at = |index: usize| target.place(index);
        let misplaced = self.objects.misplaced.iter().map(|(index, why)| Problem {
            object: desired[*index].key().to_string(),
            place: at(*index),
            reason: Reason::InvalidManifest,
            message: why.to_string(),
        });
        let mut taken: Vec<_> = self.objects.taken.iter().collect();
        taken.sort_by_key(|(_, index, _)| *index);
        let taken = taken.into_iter().map(|(key, index, by)| Problem {
            object: key.to_string(),
            place: at(*index),
            reason: by.reason(),
            message: match by {
                Taken::By(owner) => belongs_to(owner),
                Taken::Denied(why) => why.clone(),
            },
        });
        let troubles = self.memory.troubles.iter().map(|(key, trouble)| Problem {
            object: key.to_string(),
            place: self.objects.items.get(key).and_then(|item| at(item.index)),
            reason: trouble.reason,
            message: trouble.message.clone(),
        });
        let unpruned = self.memory.unpruned.iter().map(|(key, trouble)| Problem {
            object: key.to_string(),
            place: None,
            reason: trouble.reason,
            message: format!("it has left Git and cannot be deleted: {}", trouble.message),
        });
        let waiting = self.objects.waiting.values().filter_map(|indexes| {
            let first = *indexes.first()?;
            let gvk = &desired[first].gvk;
            if is_coming(gvk) {
                return None;
            }
            let (reason, message) = match unkept(gvk) {
                Some(why) => (
                    Reason::InvalidManifest,
                    format!("{} {} {why}", gvk.api_version(), gvk.group_kind().kind),
                ),
                None => (
                    Reason::KindNotServed,
                    not_served(gvk, indexes.len(), instead(gvk)),
                ),
            };
            Some(Problem {
                object: desired[first].key().to_string(),
                place: at(first),
                reason,
                message,
            })
        });
        let all = misplaced.chain(taken).chain(troubles);
        Listed::of(all.chain(unpruned).chain(waiting))
    }

    /// Why pruning is held back: a revision that cannot be rendered, or failed objects while others have
    /// left Git.
    pub(in crate::sync) fn brake(&self) -> Option<Reason> {
        brake(self.blocked.as_deref(), &self.memory, &self.objects)
    }
}

/// Why `count` objects of a kind wait. `instead` says which other version is served, or why none is.
fn not_served(gvk: &GroupVersionKind, count: usize, instead: Option<String>) -> String {
    let kind = gvk.group_kind();
    let waiting = match count {
        1 => format!("1 object of {kind} waits"),
        many => format!("{many} objects of {kind} wait"),
    };
    let instead = instead.map_or_else(String::new, |hint| format!("; {hint}"));
    format!(
        "the API server does not serve {} {}: {waiting} until it does{instead}",
        gvk.api_version(),
        kind.kind
    )
}

pub(super) fn brake(
    blocked: Option<&Blocked>,
    memory: &Memory,
    objects: &Objects,
) -> Option<Reason> {
    if let Some(blocked) = blocked {
        let unrendered = matches!(
            blocked.reason,
            Reason::EmptyRender | Reason::PathNotFound | Reason::InvalidManifest | Reason::TooLarge
        );
        return unrendered.then_some(blocked.reason);
    }
    if memory.surplus == 0 {
        return None;
    }
    if memory.held.as_ref().is_some_and(|held| !held.approved) {
        return Some(Reason::PruneHeld);
    }
    if let Some(trouble) = memory.troubles.values().next() {
        Some(trouble.reason)
    } else if let Some((.., by)) = objects.taken.first() {
        Some(by.reason())
    } else if !objects.misplaced.is_empty() {
        Some(Reason::InvalidManifest)
    } else if !objects.waiting.is_empty() {
        Some(Reason::KindNotServed)
    } else {
        (!memory.unlisted.is_empty()).then_some(Reason::ApiUnavailable)
    }
}
