//! The memory of a Sync's driver between two rounds. Plain data: no client, no runtime.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST_PAUSE;
use super::memory::{CorrectionBackoff, Memory, PruneHold, RecordState};
use super::newest::AttemptedChart;
use super::pin::Pin;
use super::report::ReportState;
use super::runs::Runs;
use super::target::{Objects, Refused, Taken, Target, Untaken};
use super::timers::{Due, Timers, count};
use super::verdict::{Blocked, Drift, HookHold, Listed, Problem, Unhealthy};
use crate::api::{FinishedRun, HeldPrune, ObjectCounts, PruneStatus, Reason, Sync};
use crate::backoff::{Backoff, jittered};
use crate::cluster::Unkept;
use crate::desired::ReleaseNumber;
use crate::driver::{StatusBackoff, StatusRefusal, contained_kinds};
use crate::fleet::Outcome;
use crate::health::Health;
use crate::intent::{Mode, SyncIntent};
use crate::manifest::{Digest, GroupKind, GroupVersionKind, ObjectKey};
use crate::plan::PrunePlan;
use crate::render;
use crate::source::Snapshot;
use crate::trace::Way;

/// Runs, and objects without marks, that the status remembers, so that its size has a bound.
const FINISHED: usize = 300;
const LEFT_BEHIND: usize = 50;

/// How much of the target the next round compares with the cluster. Each value includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// The objects that the inbox names, possibly none.
    #[default]
    Changed,
    /// Every object. An object whose record equals the observed state is not applied.
    Everything,
    /// Every object is applied again, even if nothing changed.
    Verify,
}

/// The memory of a driver.
pub(super) struct State {
    /// The desired objects. None before the first render.
    pub(super) target: Option<Target>,
    pub(super) objects: Objects,
    pub(super) cache: render::Cache,
    pub(super) look: Look,
    /// The last refused revision. Forgotten when a person requests another try.
    pub(super) refused: Option<Box<Refused>>,
    /// The files from before the target, until nothing of theirs is left to prune.
    pub(super) before: Option<Arc<Snapshot>>,
    /// Why the newest revision is not the target.
    pub(super) blocked: Option<Box<Blocked>>,
    /// Why what was live before the start cannot be the target again.
    pub(super) unresumed: Option<Untaken>,
    /// Why the hooks after the applies hold up the target.
    pub(super) hook_hold: Option<Box<HookHold>>,
    /// The release of Helm that the first release of a chart takes over; the inner one is none where there is no such.
    pub(super) takes_over: Option<Option<ReleaseNumber>>,
    /// The record of the target's release.
    pub(super) record: RecordState,
    /// Hooks that failed run again in this round.
    pub(super) runs_hooks_again: bool,
    /// The pin that holds the Sync at an earlier revision.
    pub(super) pin: Option<Box<Pin>>,
    pub(super) memory: Memory,
    pub(super) parent: Parent,
    /// The revision for which others know which objects this Sync wants.
    pub(super) planned: Option<String>,
    /// The revision of which others know that this Sync cannot say what it wants.
    pub(super) unread: Option<String>,
    /// What the newest revision asks for, read while something holds it up.
    pub(super) read_ahead: Option<Box<Target>>,
    /// The newest revision, if it could not be read ahead.
    pub(super) unread_ahead: Option<Box<Refused>>,
    /// The newest revision, read and tried out, while hooks run that stand before it.
    pub(super) awaits_hooks: Option<Box<Target>>,
    pub(super) requests: Requests,
    pub(super) timers: Timers,
    pub(super) backoff: Backoff,
    pub(super) report: ReportState,
    /// Whether the API server has the status in `report`.
    pub(super) written: bool,
    /// The Sync's resource version when it was written last.
    pub(super) version: u64,
    /// Pauses between tries to write it.
    pub(super) status_backoff: StatusBackoff,
    /// What became of changes, until the status that says so is written.
    pub(super) outcomes: Vec<Outcome>,
    /// What traces have to tell, until the status that says so is written.
    pub(super) ways: VecDeque<Way>,
    /// Why the API server refused the last status as it was.
    pub(super) status_refusal: StatusRefusal,
}

/// The marks of an ApplySet's parent that the Sync has to have.
pub(super) struct Parent {
    /// The kinds that the annotation names.
    pub(super) contained: BTreeSet<GroupKind>,
    /// Whether finalizer and marks were written, or seen, since the driver started.
    pub(super) marked: bool,
    /// The Sync's resource version when they were written last.
    pub(super) version: u64,
    /// How often they were written again lately.
    pub(super) restored: Option<CorrectionBackoff>,
}

impl Parent {
    pub(super) fn of(object: &Sync) -> Self {
        Self {
            contained: contained_kinds(object),
            marked: false,
            version: 0,
            restored: None,
        }
    }
}

/// The requests by people and commits that were handled.
#[derive(Default)]
pub(super) struct Requests {
    /// The generation of the spec.
    pub(super) generation: Option<i64>,
    /// `towline.dev/requested-at` of the Sync.
    pub(super) handled: Option<String>,
    /// The newest revision for which the gate was open.
    pub(super) attempted: Option<String>,
    /// That of the source of the chart, if it is another one.
    pub(super) attempted_chart: Option<AttemptedChart>,
    /// `towline.dev/requested-at` of the source; none before anything was known of the source.
    pub(super) source: Option<Option<String>>,
}

impl State {
    /// The initial state, from the Sync's object. `interval` is the time between two verifications.
    pub(super) fn new(object: &Sync, ready: bool, interval: Duration, now: Instant) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let strays = status.prune.as_ref().map(strays).unwrap_or_default();
        Self {
            target: None,
            objects: Objects::default(),
            cache: render::Cache::default(),
            look: Look::Everything,
            refused: None,
            before: None,
            blocked: None,
            unresumed: None,
            hook_hold: None,
            takes_over: None,
            record: RecordState::default(),
            runs_hooks_again: false,
            pin: status.pin.clone().map(|pin| Box::new(Pin::restored(pin))),
            memory: Memory {
                finished: restored(&status.finished),
                warned_before: status.warnings.iter().cloned().collect(),
                runs: Runs::restored(&status.made_jobs),
                held: status.prune.as_ref().and_then(held),
                // It is not known whether they are still there.
                lost: strays.iter().map(|key| (key.clone(), None)).collect(),
                strays,
                ..Memory::default()
            },
            parent: Parent::of(object),
            planned: None,
            unread: None,
            read_ahead: None,
            unread_ahead: None,
            awaits_hooks: None,
            requests: Requests {
                generation: status.observed_generation,
                handled: status.last_handled_reconcile_at.clone(),
                attempted: status.last_attempted_revision.clone(),
                attempted_chart: status.chart.as_ref().and_then(AttemptedChart::told),
                source: None,
            },
            timers: Timers::new(now + jittered(interval)),
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            written: object.status.is_some(),
            version: 0,
            status_backoff: StatusBackoff::default(),
            outcomes: Vec::new(),
            ways: VecDeque::new(),
            status_refusal: StatusRefusal::default(),
            report: ReportState::restored(status, ready),
        }
    }

    /// Makes the next round look at this much, or more.
    pub(super) fn look_at(&mut self, look: Look) {
        self.look = self.look.max(look);
    }

    /// Sets the timer for another try of what failed.
    pub(super) fn retry_later(&mut self, now: Instant) {
        self.timers.retry = Some(now + self.backoff.pause());
    }

    /// Tries the objects without a namespace again, now that one of those exists. The right to write there may
    /// follow within seconds, so that the pauses are short again.
    pub(super) fn try_homeless(&mut self) {
        let memory = &mut self.memory;
        memory.again.extend(memory.homeless.iter().cloned());
        self.backoff.reset();
    }

    /// Handles new requests, and timers that ran out.
    pub(super) fn note_requests(&mut self, intent: &SyncIntent, due: Due, now: Instant) {
        let requested = intent.requested_at.as_ref();
        let new_spec = self.requests.generation != intent.generation;
        let asked = requested.is_some() && requested != self.requests.handled.as_ref();
        if new_spec || asked {
            self.backoff.reset();
            self.report.ready = false;
            self.takes_over = None;
        }
        if new_spec {
            self.timers.verify = self.timers.verify.min(now + intent.interval);
            // It may want other objects by this one.
            self.planned = None;
            self.unread = None;
        }
        if asked {
            self.memory.end_pauses();
        }
        let again = |refused: &Refused| due.retry && refused.is_tried_again;
        let is_asked = asked || new_spec || due.verify;
        for refused in [&mut self.refused, &mut self.unread_ahead] {
            refused.take_if(|refused| is_asked || again(refused));
        }
        if let Some(pin) = self
            .pin
            .as_mut()
            .filter(|_| asked || new_spec || due.verify || due.retry)
        {
            pin.try_again();
        }
        if asked || due.verify {
            self.look_at(Look::Verify);
        } else if new_spec || due.retry {
            self.look_at(Look::Everything);
        }
        self.runs_hooks_again = asked || new_spec || due.hook;
        if asked || new_spec || due.verify || due.record {
            self.record.again(asked);
        }
        self.requests.generation = intent.generation;
        if let Some(requested) = requested {
            self.requests.handled = Some(requested.clone());
        }
    }

    /// Takes note of what people asked of the source. It ends every pause, and what has none is not
    /// looked at again: a request to a repository of 250 Syncs must not verify them all.
    pub(super) fn note_source_request(&mut self, requested: Option<Option<String>>) {
        let Some(requested) = requested else { return };
        let before = self.requests.source.replace(requested.clone());
        if requested.is_none() || before.is_none_or(|before| before == requested) {
            return;
        }
        self.backoff.reset();
        self.refused = None;
        self.unread_ahead = None;
        self.runs_hooks_again = true;
        self.memory.end_pauses();
        if self.needs_retry() || self.timers.retry.is_some() {
            self.look_at(Look::Everything);
        }
        self.timers.retry = None;
    }

    /// Whether everything that Git asks for has been applied.
    pub(super) fn is_applied(&self) -> bool {
        let memory = &self.memory;
        let unknown = memory
            .drifted
            .keys()
            .filter(|key| !memory.records.contains_key(*key));
        self.look == Look::Changed
            && !self.has_trouble()
            && self.objects.waiting.is_empty()
            && memory.records.len() + unknown.count() == self.objects.items.len()
    }

    /// Whether something can only be fixed by another try.
    pub(super) fn needs_retry(&self) -> bool {
        // Not every new kind is reported: not those of an aggregated API server, and none to an account
        // that may not watch definitions.
        self.has_trouble() || !self.objects.waiting.is_empty()
    }

    fn has_trouble(&self) -> bool {
        !self.memory.troubles.is_empty()
            || !self.memory.unpruned.is_empty()
            || !self.objects.misplaced.is_empty()
            || !self.objects.taken.is_empty()
    }

    pub(super) fn counts(&self, unhealthy: usize) -> ObjectCounts {
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

    /// What was made to run once and has, as the status tells it.
    pub(super) fn finished(&self) -> Vec<FinishedRun> {
        let finished = self.memory.finished.iter().take(FINISHED);
        finished
            .map(|(key, digest)| FinishedRun {
                object: key.to_string(),
                digest: digest.to_string(),
            })
            .collect()
    }

    /// The objects that left Git and stay without marks, as the status tells them.
    pub(super) fn left_behind(&self) -> Vec<String> {
        let strays = self.memory.strays.iter().take(LEFT_BEHIND);
        strays.map(ToString::to_string).collect()
    }

    /// The objects that differ from Git.
    pub(super) fn drifts(&self) -> Listed<Drift> {
        let drifted = self.memory.drifted.iter();
        Listed::of(drifted.map(|(key, (cause, writer))| Drift {
            key: key.clone(),
            cause: *cause,
            writer: writer.clone(),
        }))
    }

    /// What is not healthy: what has failed before what may still come. `counts`: whether an object's
    /// health counts.
    pub(super) fn unhealthy(&self, counts: impl Fn(&ObjectKey) -> bool) -> Listed<Unhealthy> {
        let is_failed = |health: &&Health| matches!(health, Health::Failed(_));
        let all = || self.memory.unhealthy.iter().filter(|(key, _)| counts(key));
        let failed = all().filter(|(_, health)| is_failed(health));
        let others = all().filter(|(_, health)| !is_failed(health));
        let ordered = failed.chain(others);
        let mut listed = Listed::of(ordered.map(|(key, health)| Unhealthy {
            key: key.clone(),
            health: health.clone(),
            place: None,
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
    pub(super) fn contested(&self, mode: Mode) -> usize {
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
    pub(super) fn problems(
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
                Taken::By(owner) => {
                    format!("it belongs to Sync {owner}; remove it from one of the two")
                }
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
            let object = &desired[*indexes.first()?];
            if is_coming(&object.gvk) {
                return None;
            }
            let kind = object.gvk.group_kind();
            let version = object.gvk.api_version();
            if let Some(why) = unkept(&object.gvk) {
                return Some(Problem {
                    object: object.key().to_string(),
                    place: at(*indexes.first()?),
                    reason: Reason::InvalidManifest,
                    message: format!("{version} {} {why}", kind.kind),
                });
            }
            Some(Problem {
                object: object.key().to_string(),
                place: at(*indexes.first()?),
                reason: Reason::KindNotServed,
                message: format!(
                    "the API server does not serve {version} {}: {} until it does{}",
                    kind.kind,
                    match indexes.len() {
                        1 => format!("1 object of {kind} waits"),
                        many => format!("{many} objects of {kind} wait"),
                    },
                    instead(&object.gvk).map_or_else(String::new, |hint| format!("; {hint}"))
                ),
            })
        });
        let all = misplaced.chain(taken).chain(troubles);
        Listed::of(all.chain(unpruned).chain(waiting))
    }

    /// Why pruning is held back: a revision that cannot be rendered, or failed objects while others have
    /// left Git.
    pub(super) fn brake(&self) -> Option<Reason> {
        brake(self.blocked.as_deref(), &self.memory, &self.objects)
    }
}

/// The deletion that needed an approval before the operator started.
fn held(status: &PruneStatus) -> Option<PruneHold> {
    let HeldPrune {
        digest,
        deletes,
        of,
        kinds,
        because,
        keeps,
    } = status.held.clone()?;
    Some(PruneHold {
        plan: PrunePlan {
            digest,
            deletes: usize::try_from(deletes).ok()?,
            of: usize::try_from(of).ok()?,
            kinds,
            because,
            keeps,
        },
        approved: false,
        generation: None,
    })
}

/// The form of a deletion in the status.
pub(super) fn told(plan: &PrunePlan) -> HeldPrune {
    let PrunePlan {
        digest,
        deletes,
        of,
        kinds,
        because,
        keeps,
    } = plan.clone();
    HeldPrune {
        digest,
        deletes: count(deletes),
        of: count(of),
        kinds,
        because,
        keeps,
    }
}

fn restored(finished: &[FinishedRun]) -> BTreeMap<ObjectKey, Digest> {
    let runs = finished.iter();
    runs.filter_map(|run| Some((ObjectKey::parse(&run.object)?, run.digest.parse().ok()?)))
        .collect()
}

fn strays(prune: &PruneStatus) -> BTreeSet<ObjectKey> {
    let left_behind = prune.left_behind.iter().take(LEFT_BEHIND);
    let keys = left_behind.filter_map(|text| ObjectKey::parse(text));
    keys.collect()
}

fn brake(blocked: Option<&Blocked>, memory: &Memory, objects: &Objects) -> Option<Reason> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::CONTAINS;
    use crate::sync::memory::Trouble;

    const INTERVAL: Duration = Duration::from_secs(600);

    fn sync() -> Sync {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "all"},
            "spec": {"sourceRef": {"name": "repo"}},
        }))
        .unwrap()
    }

    fn state() -> State {
        State::new(&sync(), false, INTERVAL, Instant::now())
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            namespace: Some("prod".into()),
            name: name.into(),
        }
    }

    fn trouble(reason: Reason) -> Trouble {
        Trouble {
            reason,
            message: "refused".to_owned(),
        }
    }

    #[test]
    fn a_persons_request_decides_how_much_is_compared() {
        let now = Instant::now();
        let (asked, none) = ("now".to_owned(), Due::default());
        let retry = Due {
            retry: true,
            ..none
        };
        let verify = Due {
            verify: true,
            ..none
        };
        for (generation, requested, due, look) in [
            (None, None, none, Look::Changed),
            (Some(2), None, none, Look::Everything),
            (None, None, retry, Look::Everything),
            (None, None, verify, Look::Verify),
            (None, Some(&asked), none, Look::Verify),
        ] {
            let mut state = state();
            state.look = Look::Changed;
            let intent = SyncIntent {
                generation,
                requested_at: requested.cloned(),
                ..SyncIntent::from(&sync())
            };
            state.note_requests(&intent, due, now);
            assert_eq!(state.look, look, "{generation:?} {requested:?} {due:?}");
            state.look = Look::Changed;
            state.note_requests(&intent, none, now);
            assert_eq!(state.look, Look::Changed, "nothing is acted on twice");
        }
    }

    #[test]
    fn a_request_to_the_source_ends_pauses_and_looks_at_nothing_else() {
        let asked = |at: &str| Some(Some(at.to_owned()));
        let mut state = state();
        state.look = Look::Changed;
        // What was asked before this driver started was acted on by its start.
        for known in [None, asked("1"), asked("1"), asked("2")] {
            state.note_source_request(known);
            assert_eq!(state.look, Look::Changed, "there is no pause to end");
        }
        state
            .memory
            .troubles
            .insert(key("a"), trouble(Reason::ApplyFailed));
        for _ in 0..10 {
            state.retry_later(Instant::now());
        }
        state.note_source_request(asked("2"));
        assert_eq!(state.look, Look::Changed, "it was acted on");
        state.note_source_request(Some(None));
        assert_eq!(state.look, Look::Changed, "nobody asks");
        state.note_source_request(asked("3"));
        assert_eq!(state.look, Look::Everything);
        assert_eq!(state.timers.retry, None);
        state.retry_later(Instant::now());
        assert!(state.timers.next() <= Instant::now() + Duration::from_secs(1));
    }

    #[test]
    fn pruning_is_held_back_by_what_cannot_be_rendered_or_applied() {
        let blocked = |reason| Blocked {
            reason,
            message: String::new(),
            stalled: true,
        };
        let (mut memory, mut objects) = (Memory::default(), Objects::default());
        for (reason, held) in [
            (Reason::EmptyRender, true),
            (Reason::PathNotFound, true),
            (Reason::InvalidManifest, true),
            (Reason::TooLarge, true),
            (Reason::DependencyNotReady, false),
        ] {
            let found = brake(Some(&blocked(reason)), &memory, &objects);
            assert_eq!(found, held.then_some(reason));
        }
        memory.unlisted.insert(GroupKind::new("", "ConfigMap"));
        assert_eq!(brake(None, &memory, &objects), None, "nothing has left Git");
        memory.surplus = 1;
        let held = |memory: &Memory, objects: &Objects| brake(None, memory, objects).unwrap();
        assert_eq!(held(&memory, &objects), Reason::ApiUnavailable);
        let kind = GroupKind::new("example.com", "Widget");
        objects.waiting.insert(kind, vec![0]);
        assert_eq!(held(&memory, &objects), Reason::KindNotServed);
        objects
            .misplaced
            .push((0, crate::desired::Misplaced::NoNamespace));
        assert_eq!(held(&memory, &objects), Reason::InvalidManifest);
        let other = crate::plan::SyncName::new("ns", "other");
        objects.taken.push((key("a"), 0, Taken::By(other)));
        assert_eq!(held(&memory, &objects), Reason::OwnershipConflict);
        memory
            .troubles
            .insert(key("a"), trouble(Reason::ApplyFailed));
        assert_eq!(held(&memory, &objects), Reason::ApplyFailed);
    }

    #[test]
    fn failed_objects_are_tried_again_and_applied_ones_are_not() {
        let mut state = state();
        assert!(!state.is_applied(), "nothing was looked at yet");
        state.look = Look::Changed;
        assert!(state.is_applied() && !state.needs_retry());
        state
            .memory
            .troubles
            .insert(key("a"), trouble(Reason::ApplyFailed));
        assert!(!state.is_applied() && state.needs_retry());
        state.retry_later(Instant::now());
        assert!(state.timers.next() <= Instant::now() + Duration::from_secs(1));
    }

    #[test]
    fn kinds_come_from_the_annotation_and_from_the_status() {
        let mut sync = sync();
        let named = |sync: &Sync| {
            let parent = Parent::of(sync);
            let kinds = parent.contained.iter().map(ToString::to_string);
            kinds.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(&sync), "");
        let annotations = [(CONTAINS.to_owned(), "ConfigMap,Secret".to_owned())];
        sync.metadata.annotations = Some(annotations.into());
        assert_eq!(named(&sync), "ConfigMap Secret");
        sync.status.get_or_insert_default().kinds =
            ["Secret", "Deployment.apps"].map(str::to_owned).to_vec();
        assert_eq!(named(&sync), "ConfigMap Secret Deployment.apps");
        sync.metadata.annotations = None;
        assert_eq!(named(&sync), "Secret Deployment.apps");
    }

    #[test]
    fn a_timer_that_ran_out_is_due_once() {
        let now = Instant::now();
        let mut timers = Timers::new(now + Duration::from_secs(60));
        timers.diff = Some(now);
        timers.correct = Some(now + Duration::from_secs(5));
        assert!(timers.take_due(now, Duration::from_secs(60)).diff);
        assert_eq!(timers.next(), now + Duration::from_secs(5));
        let later = now + Duration::from_secs(60);
        let due = timers.take_due(later, Duration::from_secs(60));
        assert!(due.verify && !due.diff && timers.correct.is_none());
        assert!(timers.verify > later);
    }
}
