//! A Sync's driver's memory of its objects between two rounds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::causes::Causes;
use super::runs::Runs;
use super::verdict::Listed;
use crate::api::Reason;
use crate::desired::Item;
use crate::fleet::Laggard;
use crate::health::Health;
use crate::manifest::{Digest, GroupKind, ObjectKey};
use crate::plan::{
    AppliedRecord, ApplyCause, Contest, Observed, PrunePlan, Refusal, is_a_persons, is_scaled,
};
use crate::text::listing;

/// The problem of one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// How long a right is taken for granted, so that each commit does not ask again. If it was taken away meanwhile, the API
/// server refuses the apply.
const RIGHT_LASTS: Duration = Duration::from_secs(300);

/// The most objects of which a Sync asks one by one at a time. Of the others it is not known whether the account may write
/// them, so they are not claimed.
const MOST_NAMED: usize = 500;

/// What an account may write: a kind in a namespace, and one object of it where only that one is meant.
pub(super) type WriteScope = (GroupKind, Option<Arc<str>>, Option<Arc<str>>);

/// Where an account may write, and when the API server said so.
#[derive(Debug, Default)]
pub(super) struct Rights {
    account: String,
    since: HashMap<WriteScope, Instant>,
    /// What the account may not write of the commit that was read last. It is asked for again after the first use.
    denied: HashSet<ObjectKey>,
}

impl Rights {
    /// Forgets what is of another account, or old.
    pub(super) fn refresh(&mut self, account: &str, now: Instant) {
        if self.account != account {
            account.clone_into(&mut self.account);
            self.since.clear();
            self.denied.clear();
        }
        self.since
            .retain(|_, since| now.duration_since(*since) < RIGHT_LASTS);
    }

    /// Whether the account may write an object, or all of its kind there.
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        let (kind, namespace) = (key.kind.clone(), key.namespace.clone());
        let all = (kind.clone(), namespace.clone(), None);
        self.since.contains_key(&all)
            || self
                .since
                .contains_key(&(kind, namespace, Some(key.name.clone())))
    }

    pub(super) fn add(&mut self, scope: WriteScope, now: Instant) {
        self.since.insert(scope, now);
    }

    /// Remembers what may not be written until that was asked for once more.
    pub(super) fn deny(&mut self, denied: HashSet<ObjectKey>) {
        self.denied = denied;
    }

    /// What was remembered, and nothing the next time: the right may be given any moment.
    pub(super) fn take_denied(&mut self) -> HashSet<ObjectKey> {
        std::mem::take(&mut self.denied)
    }

    /// Those of these objects of which to ask one by one, and the rest.
    pub(super) fn ask(mut objects: Vec<ObjectKey>) -> (Vec<ObjectKey>, Vec<ObjectKey>) {
        objects.sort_unstable();
        let rest = objects.split_off(objects.len().min(MOST_NAMED));
        (objects, rest)
    }
}

/// The known state of the objects.
#[derive(Default)]
pub(super) struct Memory {
    /// Records of applied objects.
    pub(super) records: HashMap<ObjectKey, AppliedRecord>,
    /// Objects that could not be applied.
    pub(super) troubles: BTreeMap<ObjectKey, Trouble>,
    /// Why objects could not be made in this round.
    pub(super) refused: HashMap<ObjectKey, Refusal>,
    /// Objects that could not be applied in this round, since an object has a port or an address of theirs.
    pub(super) crowded: HashSet<ObjectKey>,
    /// Of these, those that may be replaced once another object has given that up.
    pub(super) barred: HashSet<ObjectKey>,
    /// Refused objects, and what had to be deleted for each of them, which is not gone yet.
    pub(super) vacating: HashMap<ObjectKey, ObjectKey>,
    /// Objects that were deleted to be replaced, with the manifest that was refused then, and why.
    pub(super) replaced_in_vain: HashMap<ObjectKey, (Digest, Arc<str>)>,
    /// Objects that could not be pruned.
    pub(super) unpruned: BTreeMap<ObjectKey, Trouble>,
    /// What was pruned and is not gone yet, and what holds it.
    pub(super) leaving: Listed<(ObjectKey, String)>,
    /// Objects that differ from Git and are not corrected yet, or not at all with `mode: Report`. Each
    /// with its last writer.
    pub(super) drifted: BTreeMap<ObjectKey, (ApplyCause, Option<Box<str>>)>,
    /// Drifted objects that the metrics have counted.
    pub(super) counted: HashSet<ObjectKey>,
    /// Objects that are not healthy.
    pub(super) unhealthy: BTreeMap<ObjectKey, Health>,
    /// Children that are not ready yet at the commit of this Sync, whatever their health says.
    pub(super) behind: BTreeMap<ObjectKey, Health>,
    /// What the pods of objects say that have failed.
    pub(super) causes: Causes,
    /// The recent corrections of each object.
    pub(super) corrections: HashMap<ObjectKey, CorrectionBackoff>,
    /// Of the objects that other controllers write as well: which of their fields.
    pub(super) contests: HashMap<ObjectKey, Contest>,
    /// Fields that a webhook or a policy of the cluster changes whenever the object is written.
    pub(super) rewritten: BTreeMap<ObjectKey, Vec<String>>,
    /// What the status said when the driver started, and was told then.
    pub(super) warned_before: HashSet<String>,
    /// Objects that annotations leave alone. Whether a person has put them on the live object.
    pub(super) left_alone: BTreeMap<ObjectKey, bool>,
    /// What was made to run once and has, with the manifest that it ran.
    pub(super) finished: BTreeMap<ObjectKey, Digest>,
    /// The Jobs that were made, whether they have run or not.
    pub(super) runs: Runs,
    /// Objects to check in the next round, even without an event.
    pub(super) again: HashSet<ObjectKey>,
    /// Objects that could not be applied because their namespace does not exist, or may not exist: to an account
    /// without a right there, the API server does not tell.
    pub(super) homeless: HashSet<ObjectKey>,
    /// Objects that are not claimed, since the account may not write them.
    pub(super) unclaimed: HashSet<ObjectKey>,
    /// Where the account may write, as far as it was asked.
    pub(super) rights: Rights,
    /// Kinds whose first list has not come, so that the owners of their objects are unknown.
    pub(super) unlisted: HashSet<GroupKind>,
    /// The number of our objects that left Git, but exist because `prune` is off.
    pub(super) surplus: usize,
    /// When the newest object was created that this Sync had at its last prune.
    pub(super) newest: Option<Timestamp>,
    /// The deletion that needs an approval.
    pub(super) held: Option<PruneHold>,
    /// Syncs of other sources that were waited for in vain, with what they had asked for then.
    pub(super) laggards: Vec<Laggard>,
    /// Syncs of the same source that were waited for in vain, and at which revisions of it.
    pub(super) silent: ([String; 2], Vec<Laggard>),
    /// What stays although it has left Git, since other Syncs may want it; for people.
    pub(super) awaiting: Vec<String>,
    /// Objects that were deleted or released, with their uids, while the inventory may still have them.
    pub(super) parted: HashMap<ObjectKey, Arc<str>>,
    /// Objects that left Git, and whose last manifest says that they are kept.
    pub(super) kept: HashSet<ObjectKey>,
    /// Objects that were written, and that something took towline's marks off at once; each with its uid, if this Sync has made
    /// it.
    pub(super) unmarked: HashMap<ObjectKey, Option<Arc<str>>>,
    /// Objects that left Git without marks, with their uids where these are known. It is not known yet whether they are
    /// still there.
    pub(super) lost: BTreeMap<ObjectKey, Option<Arc<str>>>,
    /// The Sync is being deleted, and `lost` says which of its objects have no marks.
    pub(super) is_parting: bool,
    /// Objects that left Git without marks, and stay.
    pub(super) strays: BTreeSet<ObjectKey>,
    /// How many objects carry this Sync's marks and have left Git, without the proof that towline marked them.
    pub(super) unproven: usize,
}

/// A deletion that needs an approval.
#[derive(Clone, Debug)]
pub(super) struct PruneHold {
    pub(super) plan: PrunePlan,
    /// A person approved it, and it is carried out.
    pub(super) approved: bool,
    /// The generation of the spec whose limit it exceeds. None after a restart.
    pub(super) generation: Option<i64>,
}

impl PruneHold {
    /// Whether it waits for a person, who has approved at most something else. After a restart it is not known yet that
    /// it was approved.
    pub(super) fn waits_for_other_than(&self, approval: Option<&str>) -> bool {
        !self.approved && approval.map(str::trim) != Some(&*self.plan.digest)
    }

    /// Whether this is the same deletion under the same limit.
    pub(super) fn is_still(&self, plan: &PrunePlan, generation: Option<i64>) -> bool {
        self.plan.digest == plan.digest
            && self.generation.is_some()
            && self.generation == generation
    }
}

impl Memory {
    /// Ends the pauses between two tries or corrections of an object.
    pub(super) fn end_pauses(&mut self) {
        self.corrections.clear();
        self.replaced_in_vain.clear();
    }

    /// The namespaces that objects wait for.
    pub(super) fn missing_namespaces(&self) -> HashSet<String> {
        let keys = self.homeless.iter();
        keys.filter_map(|key| Some(key.namespace.as_ref()?.to_string()))
            .collect()
    }

    /// What is known of the fields that others write, of an object that was seen so before an apply.
    pub(super) fn contest(&mut self, key: &ObjectKey, before: Option<&Observed>) -> Contest {
        let Some(before) = before else {
            // A new object has every value that Git has.
            self.contests.remove(key);
            return Contest::default();
        };
        let known = self.contests.get(key).cloned();
        known.unwrap_or_else(|| Contest::of(before))
    }

    /// Takes note that an object has run `digest`, and is not made again for that.
    pub(super) fn ran(&mut self, key: &ObjectKey, digest: Digest) {
        self.finished.insert(key.clone(), digest);
        self.runs.made(key, &digest);
        self.stand(key, AppliedRecord::left_alone(digest));
        // Of one that failed, that stays known.
        if !matches!(self.unhealthy.get(key), Some(Health::Failed(_))) {
            self.unhealthy.remove(key);
        }
    }

    /// Takes note that nothing is to be done about an object, whatever was known of it.
    pub(super) fn stand(&mut self, key: &ObjectKey, record: AppliedRecord) {
        self.records.insert(key.clone(), record);
        self.troubles.remove(key);
        self.homeless.remove(key);
        self.drifted.remove(key);
    }

    /// Takes note of the fields that a webhook or a policy of the cluster has changed. Returns what people are to be told.
    pub(super) fn rewritten(&mut self, key: &ObjectKey, fields: Vec<String>) -> Option<String> {
        if fields.is_empty() {
            self.rewritten.remove(key);
            return None;
        }
        let warning = rewritten_warning(key, &fields);
        let before = self.rewritten.insert(key.clone(), fields);
        let is_same = before.is_some_and(|before| self.rewritten.get(key) == Some(&before));
        let was_told = self.warned_before.remove(&warning);
        (!is_same && !was_told).then_some(warning)
    }

    /// Takes note that annotations keep an object as it is.
    pub(super) fn leave(&mut self, item: &Item, observed: Option<&Observed>) {
        let key = &item.key;
        let is_made_once = !item.modes.is_left_alone()
            && observed.is_none_or(|observed| !observed.modes.is_left_alone());
        // What is known of its last apply is needed again once the annotation is gone.
        let record = match (self.records.remove(key), observed) {
            (Some(record), _) => record,
            (None, Some(observed)) if is_made_once => AppliedRecord::of(item.digest, observed),
            (None, _) => AppliedRecord::left_alone(item.digest),
        };
        self.stand(key, record);
        if !is_made_once {
            self.unhealthy.remove(key);
            self.left_alone
                .insert(key.clone(), !item.modes.is_left_alone());
        }
    }

    /// Whether to find out who took a field before it is corrected: not for a first correction, unless it was
    /// taken by somebody who scales.
    pub(super) fn is_contested(
        &self,
        key: &ObjectKey,
        cause: ApplyCause,
        before: Option<&Observed>,
        now: Instant,
    ) -> bool {
        let was_corrected = || {
            let last = self.corrections.get(key).map(|backoff| backoff.last);
            last.is_some_and(|last| now.duration_since(last) < PEACE)
        };
        cause != ApplyCause::Changed
            && before
                .is_some_and(|before| is_scaled(before) || was_corrected() && !is_a_persons(before))
    }

    /// Removes everything about objects that are no longer desired.
    pub(super) fn retain(&mut self, desired: impl Fn(&ObjectKey) -> bool) {
        self.records.retain(|key, _| desired(key));
        self.troubles.retain(|key, _| desired(key));
        self.vacating.retain(|key, _| desired(key));
        self.drifted.retain(|key, _| desired(key));
        self.unhealthy.retain(|key, _| desired(key));
        self.corrections.retain(|key, _| desired(key));
        self.contests.retain(|key, _| desired(key));
        self.rewritten.retain(|key, _| desired(key));
        self.finished.retain(|key, _| desired(key));
        self.runs.retain(&desired);
        self.left_alone.retain(|key, _| desired(key));
        self.replaced_in_vain.retain(|key, _| desired(key));
        self.again.retain(|key| desired(key));
        self.homeless.retain(|key| desired(key));
    }
}

/// The fields of an object that a warning names.
const NAMED_FIELDS: usize = 5;

/// What people are told of an object that a webhook or a policy of the cluster changes.
pub(super) fn rewritten_warning(key: &ObjectKey, fields: &[String]) -> String {
    let named = listing(fields.iter().take(NAMED_FIELDS).cloned(), fields.len());
    format!(
        "a webhook or a policy of the cluster changes {named} of {key} whenever it is written, so Git's value is not \
         live: take the field out of Git, or put the value into Git that the object gets"
    )
}

/// Slows down the correction of an object that another controller or a person keeps changing.
#[derive(Clone, Copy, Debug)]
pub(super) struct CorrectionBackoff {
    rounds: u32,
    last: Instant,
}

/// The number of corrections without a pause. Later pauses grow.
const FREE_ROUNDS: u32 = 4;
/// The longest pause between two corrections of one object.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// After this time without drift, corrections are made at once again.
const PEACE: Duration = Duration::from_secs(300);

impl CorrectionBackoff {
    /// Counts a correction.
    pub(super) fn again(before: Option<&Self>, now: Instant) -> Self {
        let rounds = match before {
            Some(backoff) if now.duration_since(backoff.last) < PEACE => backoff.rounds + 1,
            _ => 1,
        };
        Self { rounds, last: now }
    }

    /// The time of the next correction. The first few are made at once.
    pub(super) fn next(&self) -> Instant {
        let Some(over) = self.rounds.checked_sub(FREE_ROUNDS) else {
            return self.last;
        };
        let pause = Duration::from_secs(1 << over.min(10)).min(LONGEST_PAUSE);
        self.last + pause
    }
}

/// What the driver knows of the record that is to be written.
#[derive(Debug, Default)]
pub(super) struct RecordState {
    /// Why there is none, for people.
    pub(super) warning: Option<String>,
    /// How often writing it has failed in a row.
    pub(super) failures: u32,
    /// It is not tried again before something changes.
    pub(super) held: bool,
    /// A person asks for a look at it, although it was written.
    pub(super) asked: bool,
    /// The content of which a record says that it has failed.
    pub(super) failed: Option<String>,
}

impl RecordState {
    /// Tries again what was held. `asked`: also looks whether the record that was written is there.
    pub(super) fn again(&mut self, asked: bool) {
        self.held = false;
        self.asked |= asked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_known_for_a_while_and_for_one_account() {
        let (start, kind) = (Instant::now(), GroupKind::new("", "ConfigMap"));
        let key = |namespace: &str, name: &str| ObjectKey {
            kind: kind.clone(),
            namespace: Some(namespace.into()),
            name: name.into(),
        };
        let (here, there) = (key("a", "x"), key("b", "x"));
        let all = |key: &ObjectKey| (key.kind.clone(), key.namespace.clone(), None);
        let mut rights = Rights::default();
        rights.refresh("one", start);
        rights.add(all(&here), start);
        rights.refresh("one", start + RIGHT_LASTS / 2);
        assert_eq!((rights.has(&here), rights.has(&there)), (true, false));
        let one = (kind.clone(), there.namespace.clone(), Some("x".into()));
        rights.add(one, start + RIGHT_LASTS / 2);
        rights.refresh("one", start + RIGHT_LASTS);
        assert_eq!((rights.has(&here), rights.has(&there)), (false, true));
        // The right to one object is none to another one.
        assert!(!rights.has(&key("b", "y")));
        rights.refresh("two", start + RIGHT_LASTS);
        assert!(!rights.has(&there));
    }

    #[test]
    fn what_is_denied_is_known_once_and_only_so_many_are_asked_for() {
        let key = |name: usize| ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            namespace: None,
            name: format!("{name:05}").into(),
        };
        let mut rights = Rights::default();
        for (before, then, known) in [("one", "one", 1), ("one", "two", 0)] {
            rights.refresh(before, Instant::now());
            rights.deny(HashSet::from([key(1)]));
            rights.refresh(then, Instant::now());
            assert_eq!(rights.take_denied().len(), known);
            assert!(rights.take_denied().is_empty());
        }
        for (count, asked) in [(0, 0), (MOST_NAMED, MOST_NAMED), (10_000, MOST_NAMED)] {
            let (named, rest) = Rights::ask((0..count).rev().map(key).collect());
            assert_eq!((named.len(), rest.len()), (asked, count - asked));
            assert!(named.first() <= rest.first() || rest.is_empty());
        }
    }

    #[tokio::test]
    async fn corrections_that_are_undone_slow_down_and_speed_up_again() {
        let start = Instant::now();
        let mut backoff = CorrectionBackoff::again(None, start);
        for _ in 0..2 {
            assert_eq!(
                backoff.next(),
                start,
                "the first corrections are made at once"
            );
            backoff = CorrectionBackoff::again(Some(&backoff), start);
        }
        for _ in 0..20 {
            backoff = CorrectionBackoff::again(Some(&backoff), start);
        }
        assert_eq!(backoff.next(), start + LONGEST_PAUSE);
        let later = CorrectionBackoff::again(Some(&backoff), start + PEACE);
        assert_eq!(later.next(), start + PEACE);
    }
}
