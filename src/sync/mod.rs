//! The driver of one `Sync`. A round has six steps, and each has a file:
//!
//! 1. [`inbox`]: what woke the driver, and what people asked for.
//! 2. [`gate`] (pure): whether the Sync may go on to the newest revision; [`choose`]: or is pinned to another.
//! 3. [`retarget`]: what that revision asks for becomes the [`target`].
//! 4. [`work`]: plan, apply and prune, until the cluster equals it or something newer comes.
//! 5. [`assess`] (pure): status, notices, figures and timers that follow.
//! 6. [`write`]: carries these out.
//!
//! Between two rounds the driver waits for an event and holds no worker; what it remembers is the plain
//! data of [`state`].

mod assess;
mod audit;
mod bases;
mod bodies;
mod causes;
mod children;
mod choose;
mod delivery;
mod driven;
mod fetch;
mod figures;
mod gate;
mod history;
mod inbox;
mod inputs;
mod job;
mod lookups;
mod marks;
mod memory;
mod newest;
mod outcome;
mod pin;
mod pinned;
mod report;
mod reserve;
mod resume;
mod retarget;
mod runs;
mod standby;
mod state;
mod steps;
mod target;
mod timers;
mod verdict;
mod work;
mod write;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::audit::AUDIT;
use self::gate::{Gate, gate};
use self::inbox::{Inbox, WaitsFor, Woken};
use self::newest::Newest;
use self::report::{Phase, Round};
use self::standby::standby;
use self::state::{Look, State};
use self::timers::Due;
use self::work::Stopped;
pub use self::work::{had, releases};
use crate::api::{Reason, Sync};
use crate::cluster::Actor;
use crate::driver::{Context, Turn};
use crate::fleet::SyncView;
use crate::intent::SyncIntent;
use crate::metrics::Work;
use crate::plan::SyncName;

/// The longest pause between two tries of what failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Drives one Sync until its object is gone.
struct Driver {
    context: Arc<Context>,
    name: SyncName,
    about: Arc<ObjectReference>,
    inbox: Inbox,
    state: State,
    /// The last wait ended only after others had applied.
    gave_way: bool,
}

impl Driver {
    pub(crate) fn new(context: Arc<Context>, object: watch::Receiver<Arc<Sync>>) -> Self {
        let first = object.borrow().clone();
        let name = SyncName::new(&first.namespace().unwrap_or_default(), &first.name_any());
        let ready = SyncView::of(&name, &first).ready;
        let interval = context.policy.bounded(SyncIntent::from(&*first).interval);
        let mut state = State::new(&first, ready, interval, Instant::now());
        if context.outbox.traces.are_told() {
            state.report.delivery.trace();
        }
        Self {
            about: Arc::new(first.object_ref(&())),
            inbox: Inbox::new(&context, &name, object),
            state,
            context,
            name,
            gave_way: false,
        }
    }

    /// `self` is in a box, for a future would have room for it twice.
    pub(crate) async fn run(mut self: Box<Self>) {
        loop {
            // In a box, so that a driver that waits does not keep the memory of a round.
            if Box::pin(self.round()).await {
                return;
            }
            let waits_for = self.waits_for();
            let woken = self.inbox.wait(&self.context.cluster, waits_for).await;
            self.gave_way = woken == Woken::BySource && self.is_unconcerned();
            if self.gave_way {
                self.tell_plan(self.inbox.newest_revision());
                self.inbox.give_way(&self.context).await;
            }
            match woken {
                Woken::Gone => return,
                Woken::ByNamespace => self.state.try_homeless(),
                Woken::BySource | Woken::Otherwise => (),
            }
        }
    }

    /// What the Sync asks for, within what the operator's arguments allow.
    fn intent(&mut self) -> SyncIntent {
        let intent = self.inbox.intent();
        SyncIntent {
            interval: self.context.policy.bounded(intent.interval),
            ..intent
        }
    }

    /// One round; whether it was the last.
    async fn round(&mut self) -> bool {
        let intent = self.intent();
        let due = self.state.timers.take_due(Instant::now(), intent.interval);
        if intent.deleting {
            self.state.hooks.run_again = due.hook;
            let (context, name) = (Arc::clone(&self.context), self.name.clone());
            return context
                .turns
                .take(&name, |_| Box::pin(self.finalize(&intent)))
                .await;
        }
        let started = Instant::now();
        let at_work = self.context.metrics.at_work(Work::Reconcile);
        if self.reconcile(&intent, due).await {
            drop(at_work);
            let reason = self.state.report.reason;
            self.context.metrics.sync(reason, started.elapsed());
        }
        false
    }

    /// The steps of a round; whether anything was tried.
    async fn reconcile(&mut self, intent: &SyncIntent, due: Due) -> bool {
        self.listen(intent, due);
        self.keep_marks().await;
        let (context, name) = (Arc::clone(&self.context), self.name.clone());
        let advanced = context
            .turns
            .take(&name, |turn| Box::pin(self.advance(intent, turn)));
        let Some((phase, round)) = advanced.await else {
            return false;
        };
        self.report(intent, phase, round, due).await;
        self.keep_failed(intent).await;
        phase == Phase::Done
    }

    /// The steps of a round that need a turn: gate, target and work. None while too little is known.
    async fn advance(&mut self, intent: &SyncIntent, turn: Arc<Turn>) -> Option<(Phase, Round)> {
        let mut round = Round::default();
        let (passage, newest) = self.gate(intent);
        // Until the end, so that other Syncs' status writes wait.
        let under_way = match (passage, newest) {
            (Gate::Unknown, _) => return None,
            (Gate::Suspended, newest) => {
                match newest {
                    Some(newest) => self.reserve_objects(intent, &newest).await,
                    None => self.tell_unread(),
                }
                self.state.blocked = None;
                return Some((Phase::Held, round));
            }
            (Gate::Open, Some(newest)) => match self.choose(intent, newest).await {
                Some(chosen) => self.retarget(intent, chosen).await,
                // After a start, the status stays as it is until more is known.
                None if self.state.awaits_pinned() => return None,
                None => None,
            },
            (Gate::Open, None) => None,
            (Gate::Blocked(blocked), newest) => {
                let is_about_others = matches!(
                    blocked.reason,
                    Reason::DependencyNotReady | Reason::DependencyCycle
                );
                if let Some(newest) = newest.filter(|_| is_about_others) {
                    self.reserve_objects(intent, &newest).await;
                }
                self.state.blocked = Some(Box::new(blocked));
                None
            }
        };
        self.tell_refused();
        // Also in the round that has just refused the newest revision: no other one may come for long.
        let resumed = self.resume(intent).await;
        let _under_way = under_way.or(resumed);
        if let Err(stopped) = self.work(intent, &mut round, &turn).await {
            // What is left undone is judged again: at once, for what superseded the work also wakes
            // the driver, or when the API server may be back.
            self.state.look_at(Look::Everything);
            if stopped == Stopped::Unavailable {
                self.state.retry_later(Instant::now());
            }
        }
        Some((Phase::Done, round))
    }

    /// Listens to what the spec names, and takes note of what people asked for.
    fn listen(&mut self, intent: &SyncIntent, due: Due) {
        self.inbox.follow(&self.context, &self.name, intent);
        self.state.note_requests(intent, due, Instant::now());
        if self.state.look == Look::Verify {
            self.inbox.lookups.distrust();
            self.state.resume_again();
        }
        self.state.note_pin(intent.pin.as_ref());
        let of_source = self.inbox.source_request();
        self.state.note_source_request(of_source);
    }

    /// Whether the newest revision may become the target, and that revision.
    fn gate(&mut self, intent: &SyncIntent) -> (Gate, Option<Newest>) {
        let fleet = &self.context.fleet;
        fleet.update_sync(&self.name, |view| self.show(intent, view));
        let has_status = !self.state.report.status.conditions.is_empty();
        let (context, name) = (&self.context, &self.name);
        let (around, newest) = self.inbox.surroundings(context, name, intent, has_status);
        (gate(&around), newest)
    }

    /// By whose rights this Sync's objects are read and written.
    fn actor(&self, intent: &SyncIntent) -> Actor {
        self.context.policy.actor(&self.name, intent)
    }

    fn waits_for(&self) -> WaitsFor {
        // What would let the work go on is nothing to one that leaves.
        let works = !self.inbox.is_deleting();
        WaitsFor {
            kinds: works && !self.state.objects.waiting.is_empty(),
            objects: works && !self.state.objects.taken.is_empty(),
            dependencies: works && self.state.blocked.is_some(),
            namespaces: self.state.memory.missing_namespaces(),
            deadline: self.state.timers.next(),
        }
    }

    /// Whether the newest revision is another one, with the content that is the target already. Of all
    /// Syncs that a commit wakes, those that it concerns go first; the others only have a status to
    /// write.
    fn is_unconcerned(&self) -> bool {
        let (Some(target), Some(newest)) = (&self.state.target, self.inbox.newest()) else {
            return false;
        };
        !newest.is(&target.seen)
            && newest.ignore == target.seen.ignore
            && target.is_still(&newest, target.desired.intent(), target.desired.inputs())
    }
}
