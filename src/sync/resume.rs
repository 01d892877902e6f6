//! After a start: what was live before it, while the newest revision cannot take its place.
//!
//! An operator that goes on without a break keeps its target when a newer revision is refused, or waits. A new process has
//! no target, so it reads again what was live: otherwise it would correct no drift until somebody mends the newest
//! revision. It is used only if it asks for exactly the objects that were live.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::delivery::digest;
use super::newest::{Newest, both};
use super::report::applied_chart;
use super::state::{Look, State};
use super::target::{self, Loaded, Objects, Refused, Target, TargetError, Untaken};
use crate::api::Reason;
use crate::cluster::RunningGuard;
use crate::desired::{Inputs, Item};
use crate::intent::SyncIntent;
use crate::manifest::ApplyMode;
use crate::plan::Observed;

/// Why what was live is not the target again where a later revision has changed a part of it.
const HALF_APPLIED: &str = "what it was applying then was not applied to its end";

/// What was live before the start.
#[derive(Clone, Debug)]
struct LiveBefore {
    /// The revision of the Sync's source, and that of the chart's, if it has one of its own.
    revisions: (String, Option<String>),
    /// When that was applied.
    applied: Timestamp,
    /// What its objects are.
    digest: String,
}

/// Why what was live is not the target again.
#[derive(Debug, thiserror::Error)]
enum Unresumed {
    #[error("with the present spec, it asks for other objects than those that were live")]
    Differs,
    /// The last process ended before it could say so in the status.
    #[error("{0}")]
    Overtaken(&'static str),
    #[error("it cannot be read again: {0}")]
    Unread(String),
    /// Another try may succeed without a change.
    #[error("it cannot be read again: {0}")]
    Unfetched(String),
}

impl State {
    /// The revisions that are live, of which this process has no target yet.
    pub(super) fn live_before(&self) -> Option<String> {
        let status = &self.report.status;
        let revision = status.last_applied_revision.as_deref();
        let revision = revision.filter(|_| self.target.is_none())?;
        Some(both(revision, applied_chart(status)))
    }

    /// Why these are not the target again, where that is known.
    pub(super) fn why_unresumed(&self) -> Option<String> {
        let times = self.report.status.times.as_ref();
        if times.is_none_or(|times| times.applied.is_none()) {
            return Some(HALF_APPLIED.to_owned());
        }
        Some(self.unresumed.as_ref()?.why.clone())
    }

    /// What could not be the target again is tried once more.
    pub(super) fn resume_again(&mut self) {
        if let Some(unresumed) = &mut self.unresumed {
            unresumed.of = None;
        }
    }

    /// What of the sources has to stay for it.
    pub(super) fn kept_to_resume(&self) -> Vec<String> {
        let status = &self.report.status;
        let revisions = [
            status.last_applied_revision.as_deref(),
            applied_chart(status),
        ];
        let revisions = revisions.into_iter().flatten();
        let revisions = revisions.filter(|_| self.target.is_none());
        revisions.map(str::to_owned).collect()
    }

    /// What is to be the target again: the newest revision is held up, and nothing else was aimed at since.
    fn to_resume(&self, intent: &SyncIntent) -> Option<LiveBefore> {
        let is_held_up = self
            .blocked
            .as_ref()
            .is_some_and(|blocked| blocked.reason != Reason::Progressing);
        let has_own_way = intent.pin.is_some() || intent.invalid.is_some();
        if self.target.is_some() || has_own_way || !is_held_up {
            return None;
        }
        let status = &self.report.status;
        // Without the time, another revision was being applied when the last process ended.
        status.times.as_ref()?.applied.as_ref()?;
        let last = status.history.first()?;
        Some(LiveBefore {
            revisions: (
                status.last_applied_revision.clone()?,
                applied_chart(status).map(str::to_owned),
            ),
            applied: last.applied.0,
            digest: last.digest.clone()?,
        })
    }
}

impl Driver {
    /// Makes what was live before the start the target again, if the newest revision is held up. Returns a guard that
    /// delays other Syncs' status writes meanwhile.
    pub(super) async fn resume(&mut self, intent: &SyncIntent) -> Option<RunningGuard> {
        let live = self.state.to_resume(intent)?;
        let newest = self.inbox.newest()?;
        // What is said of the newest revision stays.
        let blocked = self.state.blocked.clone();
        let inputs = self.inputs(intent, &newest).await;
        self.state.blocked.clone_from(&blocked);
        let inputs = inputs?;
        let scope = target::scope(intent, &newest);
        let known = self.state.unresumed.as_ref();
        let known = known.and_then(|known| known.of.as_ref());
        if known.is_some_and(|of| of.is(&newest, &scope, &inputs)) {
            return None;
        }
        let of = Refused::new(&newest, scope.into_owned(), Arc::clone(&inputs), false);
        let under_way = self.context.cluster.running_applies.begin();
        let read = self.read_live(intent, (&newest, &inputs), &live).await;
        self.state.blocked = blocked;
        match read {
            Ok(target) => {
                let state = &mut self.state;
                state.target = Some(target?);
                state.unresumed = None;
                state.report.digest = Some(live.digest);
                state.look_at(Look::Everything);
                Some(under_way)
            }
            Err(error) => {
                let is_tried_again = matches!(error, Unresumed::Unfetched(_));
                self.state.unresumed = Some(Untaken {
                    of: (!is_tried_again).then_some(of),
                    why: error.to_string(),
                });
                None
            }
        }
    }

    /// Reads what was live. None until it is fetched.
    async fn read_live(
        &mut self,
        intent: &SyncIntent,
        (newest, inputs): (&Newest, &Arc<Inputs>),
        live: &LiveBefore,
    ) -> Result<Option<Target>, Unresumed> {
        let LiveBefore {
            revisions: (own, chart),
            applied,
            digest: live,
        } = live;
        let revisions = (own.as_str(), chart.as_deref());
        let seen = match self.revisions_of(revisions, *applied, newest).await {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(None),
            Err(error) => {
                let why = crate::text::redact(&crate::chain(&*error));
                // Nobody waits for it as for a pin: a server that said no is not asked again and again.
                let is_asked = self.inbox.pinned.is_fetching();
                if error.is_lasting() || error.is_answer() && !is_asked {
                    return Err(Unresumed::Unread(why));
                }
                if let Some(again) = self.inbox.pinned.again_at() {
                    let retry = &mut self.state.timers.retry;
                    *retry = Some(retry.map_or(again, |retry| retry.min(again)));
                }
                return Err(Unresumed::Unfetched(why));
            }
        };
        match self.read_once(intent, &seen, inputs, false).await {
            Ok(Loaded::New(target)) if digest(&target.desired) == *live => {
                match self.is_overtaken(intent, &target).await {
                    true => Err(Unresumed::Overtaken(HALF_APPLIED)),
                    false => Ok(Some(*target)),
                }
            }
            Ok(_) => Err(Unresumed::Differs),
            // It is read again once they are there.
            Err(TargetError::Fetching(_)) => Ok(None),
            Err(error) if error.is_settled() && error.again_after().is_none() => {
                Err(Unresumed::Unread(target::explain(&error)))
            }
            Err(error) => {
                if let Some(pause) = error.again_after() {
                    self.state.timers.retry = Some(Instant::now() + pause);
                }
                Ok(None)
            }
        }
    }

    /// Whether a later revision has been applied to an object of this target. A status tells that with its first report, and
    /// the process may have ended before.
    async fn is_overtaken(&mut self, intent: &SyncIntent, target: &Target) -> bool {
        let kinds = self.state.parent.contained.clone();
        self.watch(&kinds).await;
        let (within, rules) = (self.limit(intent), &intent.ignore_fields);
        let cluster = &self.context.cluster;
        let objects = Objects::resolve(target, &cluster.kinds, within, rules);
        let inventory = &cluster.inventory;
        objects.items.iter().any(|(key, item)| {
            let known = inventory.get(key);
            let known = known.filter(|known| inventory.is_proven(&self.name, key, known));
            known.is_some_and(|known| is_of_another(&known, item))
        })
    }
}

/// Whether the manifest that was applied last to an object is another one than this.
fn is_of_another(known: &Observed, item: &Item) -> bool {
    // What is made once, or is left alone, keeps the digest of that time.
    let is_kept = item.modes.apply == ApplyMode::IfNotPresent
        || item.modes.is_left_alone()
        || known.modes.is_left_alone();
    !is_kept && known.digest.is_some() && !known.is_of(&item.digest)
}
