//! The third step of a round: makes the newest revision the target.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::delivery::digest;
use super::newest::{AttemptedChart, FetchedChart, Newest};
use super::state::{Look, State};
use super::target::{self, Loaded, Refused, TargetError};
use super::verdict::Blocked;
use crate::cluster::{LookupScope, Lookups, RunningGuard};
use crate::content::Tree as _;
use crate::desired::{Inputs, Limit, Task};
use crate::intent::{RenderIntent, SyncIntent};
use crate::render::wasm::Lookup;
use crate::trace::Period;

/// The most remote bases that a message names.
const NAMED_BASES: usize = 3;

impl Driver {
    /// Makes the newest revision the target. If the revision cannot be read, the target stays as it
    /// is. Returns a guard that delays other Syncs' status writes while this Sync reads and applies.
    pub(super) async fn retarget(
        &mut self,
        intent: &SyncIntent,
        newest: Newest,
    ) -> Option<RunningGuard> {
        let scope = &*target::scope(intent, &newest);
        let inputs = self.inputs(intent, &newest).await?;
        if self.inbox.bases.has_arrived() {
            self.state.refused = None;
        }
        let returns = self.returns_to_target();
        if self.state.has_answered(&newest, scope, &inputs, returns) {
            return None;
        }
        let state = &mut self.state;
        state.requests.attempted = Some(newest.revision());
        state.requests.attempted_chart = newest.chart.as_ref().map(AttemptedChart::of);
        let target = state.target.as_ref();
        let is_still = target.is_some_and(|target| target.is_still(&newest, scope, &inputs));
        // Hooks that were begun for another revision have to be looked after.
        if is_still && !returns && state.ahead.awaits_hooks.is_none() {
            state.ahead.read = None;
            state.aim(newest, scope, inputs, Ok(Loaded::Same));
            return None;
        }
        let under_way = self.context.cluster.running_applies.begin();
        let awaits_hooks = state.ahead.awaits_hooks.take();
        if let Some(target) = awaits_hooks.filter(|target| target.is_of(&newest, scope, &inputs)) {
            let loaded = Ok(Loaded::New(target));
            return self
                .go_live(intent, (newest, inputs), loaded, under_way)
                .await;
        }
        let read_ahead = state.ahead.read.take();
        let loaded = match read_ahead.filter(|target| target.is_of(&newest, scope, &inputs)) {
            Some(target) => Ok(Loaded::New(target)),
            None => self.read(intent, &newest, &inputs, returns).await,
        };
        if let Ok(Loaded::New(target)) = &loaded
            && intent.validate
        {
            // What it wants is known, even if the cluster refuses it.
            self.reserve(intent, target).await;
            self.tell_plan(Some(newest.revision()));
        }
        let loaded = self.validated(intent, loaded).await;
        self.go_live(intent, (newest, inputs), loaded, under_way)
            .await
    }

    /// Reads what a revision asks for, for a chart as the release that it is. With `afresh`, nothing is known to be
    /// as it was.
    pub(super) async fn read(
        &mut self,
        intent: &SyncIntent,
        newest: &Newest,
        inputs: &Arc<Inputs>,
        afresh: bool,
    ) -> Result<Loaded, TargetError> {
        let began = Timestamp::now();
        let loaded = self.read_as_release(intent, newest, inputs, afresh).await;
        if let Some(steps) = self.state.report.delivery.steps() {
            let ended = Timestamp::now();
            steps.were_read(Period { began, ended });
        }
        loaded
    }

    async fn read_as_release(
        &mut self,
        intent: &SyncIntent,
        newest: &Newest,
        inputs: &Arc<Inputs>,
        afresh: bool,
    ) -> Result<Loaded, TargetError> {
        let loaded = self.read_once(intent, newest, inputs, afresh).await?;
        match &loaded {
            Loaded::New(target) if self.takes_over(intent, &target.desired).await? => {
                self.read_once(intent, newest, inputs, afresh).await
            }
            _ => Ok(loaded),
        }
    }

    pub(super) async fn read_once(
        &mut self,
        intent: &SyncIntent,
        newest: &Newest,
        inputs: &Arc<Inputs>,
        afresh: bool,
    ) -> Result<Loaded, TargetError> {
        let lookups = self.answers(intent);
        let task = Task {
            tree: newest.snapshot.clone(),
            chart: newest.chart_tree(),
            bases: self.inbox.bases.trees(&newest.access),
            intent: target::scope(intent, newest).into_owned(),
            inputs: Arc::clone(inputs),
            renderers: self.context.renderers.clone(),
            tenant: self.name.namespace.clone(),
            releases: self.releases(&newest.name()),
            lookup: lookups.clone().map(|lookups| lookups as Arc<dyn Lookup>),
            kept_for: Some(self.name.name.clone()),
        };
        let state = &mut self.state;
        let target = state.target.as_ref().filter(|_| !afresh);
        let loaded = target::load(newest, task, target, &mut state.cache).await;
        if !matches!(loaded, Ok(Loaded::Same)) {
            let live = state.target.iter();
            let live = live.flat_map(|target| target.desired.lookups());
            let asked = live.map(|(sought, _)| sought);
            match &lookups {
                Some(lookups) => self.inbox.lookups.adopt(lookups, asked),
                None => self.inbox.lookups.clear(),
            }
        }
        self.settle_bases(newest, loaded)
    }

    /// Answers what charts look up, with the rights of the Sync's account.
    /// None where it may look up nothing.
    pub(super) fn answers(&self, intent: &SyncIntent) -> Option<Arc<Lookups>> {
        let kinds = intent.render.helm.lookups.clone();
        if kinds.is_empty() {
            return None;
        }
        let within = self.limit(intent).map(|limit| match limit {
            Limit::Operator(only) => (only.to_owned(), "this towline works in no other"),
            Limit::Sync(only) => (
                only.to_owned(),
                "with --no-cross-namespace, set spec.serviceAccountName to an account that may read others",
            ),
        });
        let scope = LookupScope { kinds, within };
        let actor = self.actor(intent);
        Some(Arc::new(self.context.cluster.lookups(&actor, scope)))
    }

    /// Has the remote bases fetched that a revision lacks. Those that a new target does not name are forgotten.
    fn settle_bases(
        &mut self,
        newest: &Newest,
        mut loaded: Result<Loaded, TargetError>,
    ) -> Result<Loaded, TargetError> {
        let bases = &mut self.inbox.bases;
        let wanted = match &mut loaded {
            Ok(Loaded::New(target)) => {
                target.bases = bases.keep(target.desired.bases());
                None
            }
            Err(TargetError::Desired(error)) => error.wanted_bases(),
            Ok(Loaded::Same) | Err(_) => None,
        };
        let Some(wanted) = wanted else { return loaded };
        let (context, namespace) = (&self.context, &self.name.namespace);
        let live = self.state.target.as_ref();
        let live: Vec<_> = live.map_or_else(Vec::new, |live| live.desired.bases().collect());
        match bases.fetch(
            context,
            namespace,
            &newest.access,
            wanted,
            &newest.revision(),
            &live,
        ) {
            Ok(()) => {
                let named = wanted.iter().take(NAMED_BASES).map(ToString::to_string);
                Err(TargetError::Fetching(named.collect::<Vec<_>>().join("; ")))
            }
            Err(source) => Err(TargetError::Base {
                source,
                again: bases.pause(),
            }),
        }
    }

    /// Makes a revision that was read the target, once the hooks of its chart that stand before it have ended.
    async fn go_live(
        &mut self,
        intent: &SyncIntent,
        (newest, inputs): (Newest, Arc<Inputs>),
        loaded: Result<Loaded, TargetError>,
        under_way: RunningGuard,
    ) -> Option<RunningGuard> {
        let target = match &loaded {
            Ok(Loaded::New(target)) => Some(&**target),
            Ok(Loaded::Same) => self.state.target.as_ref(),
            Err(_) => None,
        };
        let desired = target.map(|target| Arc::clone(&target.desired));
        let revision = newest.revision();
        if let Some(desired) = desired
            && let Err(hold) = self.hooks_before(intent, &revision, &desired).await
        {
            self.state.blocked = Some(Box::new(Blocked {
                reason: hold.reason,
                message: format!("{} is not applied: {}", newest.name(), hold.message),
                stalled: false,
            }));
            if let Ok(Loaded::New(target)) = loaded {
                let content = digest(&target.desired);
                self.state.report.delivery.read(&revision, content);
                if self.state.ahead.planned.as_ref() != Some(&revision) {
                    let wanted = self.reserve(intent, &target).await;
                    self.give_up_all_but(&wanted);
                }
                self.state.ahead.awaits_hooks = Some(target);
            }
            self.tell_plan(Some(revision));
            return None;
        }
        let scope = target::scope(intent, &newest);
        self.state.aim(newest, &scope, inputs, loaded);
        Some(under_way)
    }

    /// Reads the ConfigMaps and Secrets that the Sync names. None if one of them cannot be read: the
    /// Sync is then blocked.
    pub(super) async fn inputs(
        &mut self,
        intent: &SyncIntent,
        newest: &Newest,
    ) -> Option<Arc<Inputs>> {
        if self.inbox.lookups.is_stale()
            && let Some(lookups) = self.answers(intent)
        {
            self.inbox.lookups.refresh(&lookups).await;
        }
        let lookups = self.inbox.lookups.version();
        let reader = &mut self.inbox.inputs;
        let inputs = reader
            .read(&self.context, &self.name.namespace, &intent.inputs, lookups)
            .await;
        match inputs {
            Ok(inputs) => Some(inputs),
            Err(error) => {
                if error.may_end() {
                    self.state.retry_later(Instant::now());
                }
                let revision = newest.name();
                self.state.blocked = Some(Box::new(Blocked {
                    reason: error.reason(),
                    message: format!("{revision} is not applied: {}", crate::chain(&error)),
                    stalled: false,
                }));
                None
            }
        }
    }
}

impl State {
    /// Whether a revision needs no reading: it is the target, or it was refused already. Reading it
    /// again may take seconds, and gives the same result. With `returns`, the target itself is a new release.
    fn has_answered(
        &mut self,
        newest: &Newest,
        scope: &RenderIntent,
        inputs: &Inputs,
        returns: bool,
    ) -> bool {
        let refused = self.refused.as_ref();
        if refused.is_some_and(|refused| refused.is(newest, scope, inputs)) {
            return true;
        }
        let Some(target) = self.target.as_ref().filter(|_| !returns) else {
            return false;
        };
        if target.seen.name() != newest.name() || !target.desired.is_for(scope, inputs) {
            return false;
        }
        if target.seen.is(newest) {
            self.blocked = None;
            return true;
        }
        // The revision was fetched again because the copy was damaged. Files that could not be read may
        // be readable now.
        self.look_at(Look::Everything);
        false
    }

    /// Takes over the result of reading a revision.
    fn aim(
        &mut self,
        newest: Newest,
        scope: &RenderIntent,
        inputs: Arc<Inputs>,
        loaded: Result<Loaded, TargetError>,
    ) {
        let revision = newest.revision();
        self.refused = None;
        match loaded {
            Ok(Loaded::Same) => {
                self.ahead.gives_up = false;
                if let Some(target) = &mut self.target {
                    let desired = &target.desired;
                    self.report.delivery.kept(&revision, digest(desired));
                    target.revision = revision;
                    target.seen = newest;
                }
                self.blocked = None;
            }
            Ok(Loaded::New(target)) => {
                self.ahead.gives_up = false;
                let digest = digest(&target.desired);
                let before = self.target.replace(*target);
                let before = before.map(|before| before.seen.snapshot);
                self.before = self.before.take().or(before);
                let before = std::mem::take(&mut self.objects);
                let kept = before.items.into_values();
                let kept = kept.filter(|item| item.modes.is_kept());
                self.memory.kept.extend(kept.map(|item| item.key));
                self.blocked = None;
                self.backoff.reset();
                self.timers.healthy_by = None;
                self.look_at(Look::Everything);
                let chart = newest.chart.as_ref().map(FetchedChart::revision);
                self.report
                    .retargeted((&revision, chart.as_deref()), digest);
                self.report.delivery.aims();
            }
            Err(error) => {
                let again = error.again_after();
                if let Some(pause) = again {
                    self.timers.retry = Some(Instant::now() + pause);
                }
                let identity = newest.snapshot.known_identity(&scope.path);
                let identity = identity.map(|identity| format!("{identity:?}"));
                let refusal = (identity, target::explain(&error));
                if !matches!(error, TargetError::Fetching(_)) {
                    self.report.delivery.refused(&revision, refusal);
                }
                if error.is_settled() {
                    let (scope, again) = (scope.clone(), again.is_some());
                    self.refused = Some(Box::new(Refused::new(&newest, scope, inputs, again)));
                }
                self.blocked = Some(Box::new(Blocked {
                    reason: error.reason(),
                    message: format!(
                        "{} is not applied: {}",
                        newest.name(),
                        target::explain(&error)
                    ),
                    stalled: error.is_lasting(),
                }));
            }
        }
    }
}
