//! The memory of a Sync's driver between two rounds. Plain data: no client, no runtime.

mod saved;
mod shown;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::saved::told;
use super::LONGEST_PAUSE;
use super::causes::Causes;
use super::memory::{CorrectionBackoff, Memory, RecordState};
use super::newest::AttemptedChart;
use super::pin::Pin;
use super::report::ReportState;
use super::target::{Objects, Refused, Target, Untaken};
use super::timers::{Due, Timers};
use super::verdict::{Blocked, HookHold};
use crate::api::Sync;
use crate::backoff::{Backoff, jittered};
use crate::desired::ReleaseNumber;
use crate::driver::{StatusBackoff, StatusRefusal, contained_kinds};
use crate::fleet::Outcome;
use crate::intent::SyncIntent;
use crate::manifest::GroupKind;
use crate::render;
use crate::source::Snapshot;
use crate::trace::Way;

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
    pub(super) hooks: HookState,
    pub(super) release: ReleaseState,
    /// The pin that holds the Sync at an earlier revision.
    pub(super) pin: Option<Box<Pin>>,
    pub(super) memory: Memory,
    pub(super) parent: Parent,
    pub(super) ahead: Ahead,
    pub(super) requests: Requests,
    pub(super) timers: Timers,
    pub(super) backoff: Backoff,
    pub(super) report: ReportState,
    pub(super) writing: StatusWriting,
}

/// What is known of the newest revision before it is the target.
#[derive(Default)]
pub(super) struct Ahead {
    /// The revision for which others know which objects this Sync wants.
    pub(super) planned: Option<String>,
    /// The revision of which others know that this Sync cannot say what it wants.
    pub(super) unread: Option<String>,
    /// What the newest revision asks for, read while something holds it up.
    pub(super) read: Option<Box<Target>>,
    /// Whether other Syncs may have what the target asks for and the newest revision does not.
    pub(super) gives_up: bool,
    /// Of a Sync that is being deleted: whether others have had time to say what they want.
    pub(super) has_heard: bool,
    /// The newest revision, if it could not be read.
    pub(super) refused: Option<Box<Refused>>,
    /// The revision that ended a pin, until the Sync is seen without it.
    pub(super) ends_pin: Option<String>,
    /// The newest revision, read and tried out, while hooks run that stand before it.
    pub(super) awaits_hooks: Option<Box<Target>>,
}

/// The hooks of the target.
#[derive(Default)]
pub(super) struct HookState {
    /// Why those after the applies hold up the target.
    pub(super) hold: Option<Box<HookHold>>,
    /// Those that failed run again in this round.
    pub(super) run_again: bool,
}

/// The target's release, where it is a chart.
#[derive(Default)]
pub(super) struct ReleaseState {
    /// The release of Helm that the first release takes over; the inner one is none where there is no such.
    pub(super) takes_over: Option<Option<ReleaseNumber>>,
    /// Its record for Helm.
    pub(super) record: RecordState,
}

/// How the status in [`State::report`] gets to the API server, and what is told once it is there.
#[derive(Default)]
pub(super) struct StatusWriting {
    /// Whether the API server has it.
    pub(super) written: bool,
    /// The Sync's resource version when it was written last.
    pub(super) version: u64,
    /// Pauses between tries to write it.
    pub(super) backoff: StatusBackoff,
    /// Why the API server refused the last status as it was.
    pub(super) refusal: StatusRefusal,
    /// What became of changes, until the status that says so is written.
    pub(super) outcomes: Vec<Outcome>,
    /// What traces have to tell, until the status that says so is written.
    pub(super) ways: VecDeque<Way>,
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
        Self {
            target: None,
            objects: Objects::default(),
            cache: render::Cache::default(),
            look: Look::Everything,
            refused: None,
            before: None,
            blocked: None,
            unresumed: None,
            hooks: HookState::default(),
            release: ReleaseState::default(),
            pin: status.pin.clone().map(|pin| Box::new(Pin::restored(pin))),
            memory: saved::memory(&status),
            parent: Parent::of(object),
            ahead: Ahead::default(),
            requests: Requests {
                generation: status.observed_generation,
                handled: status.last_handled_reconcile_at.clone(),
                attempted: status.last_attempted_revision.clone(),
                attempted_chart: status.chart.as_ref().and_then(AttemptedChart::told),
                source: None,
            },
            timers: Timers::new(now + jittered(interval)),
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            writing: StatusWriting {
                written: object.status.is_some(),
                ..StatusWriting::default()
            },
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
            self.release.takes_over = None;
        }
        if new_spec {
            self.timers.verify = self.timers.verify.min(now + intent.interval);
            // It may want other objects by this one.
            self.ahead.planned = None;
            self.ahead.unread = None;
        }
        if asked {
            self.memory.end_pauses();
        }
        let again = |refused: &Refused| due.retry && refused.is_tried_again;
        let is_asked = asked || new_spec || due.verify;
        for refused in [&mut self.refused, &mut self.ahead.refused] {
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
        if asked || due.verify {
            self.memory.causes = Causes::default();
        }
        self.hooks.run_again = asked || new_spec || due.hook;
        if asked || new_spec || due.verify || due.record {
            self.release.record.again(asked);
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
        self.ahead.refused = None;
        self.hooks.run_again = true;
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
}

#[cfg(test)]
mod tests;
