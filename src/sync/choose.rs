//! Between the gate and the retarget: which revision a Sync goes on to. The newest, unless a person pinned the Sync.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::Driver;
use super::delivery::digest;
use super::newest::{FetchedChart, Newest};
use super::pin::{Pin, ended_by, was_ended_by};
use super::pinned::{PinError, Route};
use super::state::State;
use super::target::{self, Loaded, Refused, Target, TargetError};
use super::verdict::Blocked;
use crate::api::{
    FIELD_MANAGER, PIN, PIN_CHART, PIN_HOLD, PIN_REASON, PINNED_AT, PINNED_AWAY, PINNED_BY,
    PinStatus, Reason, Sync, UNPINNED_AT, UNPINNED_BY,
};
use crate::desired::Inputs;
use crate::fleet::{FetchedRevision, SourceName};
use crate::intent::{PinIntent, RenderIntent, SyncIntent};
use crate::source::Snapshot;

impl State {
    /// Whether a pinned revision is fetched, and no other was live since the start.
    pub(super) fn awaits_pinned(&self) -> bool {
        let blocked = self.blocked.as_ref();
        self.target.is_none()
            && self.report.status.observed_generation.is_some()
            && blocked.is_some_and(|blocked| blocked.reason == Reason::Progressing)
    }

    /// Takes note of the pin that is asked for.
    pub(super) fn note_pin(&mut self, wanted: Option<&PinIntent>) {
        let Some(wanted) = wanted else {
            self.pin = None;
            return;
        };
        let asked = PinStatus {
            revision: wanted.revision.clone(),
            chart_revision: wanted.chart.clone(),
            away: wanted.away.clone(),
            away_digest: None,
            seen: None,
            hold: wanted.holds,
        };
        if let Some(pin) = &self.pin
            && pin.status.is_like(&asked)
        {
            return;
        }
        let before = self.pin.take();
        // Pinned to yet another revision: what is not wanted is the same.
        let before = before.filter(|before| before.status.away == wanted.away);
        let away = wanted.away.as_deref();
        let (away_digest, seen, judged) = match before {
            Some(before) => (before.status.away_digest, before.status.seen, before.judged),
            None => (
                away.and_then(|away| self.report.delivery.content_of(away)),
                None,
                None,
            ),
        };
        self.pin = Some(Box::new(Pin {
            judged,
            ..Pin::restored(PinStatus {
                away_digest,
                seen,
                ..asked
            })
        }));
    }
}

impl Driver {
    /// The revisions that the Sync goes on to: the newest, or those that it is pinned to. None while these are not there:
    /// the Sync stays where it is.
    pub(super) async fn choose(&mut self, intent: &SyncIntent, newest: Newest) -> Option<Newest> {
        let Some(wanted) = &intent.pin else {
            // The process that ended it may have ended too.
            let pin = self.state.report.status.pin.as_ref();
            let was_ended = was_ended_by(pin, intent.unpinned_by.as_deref(), &newest.name());
            let ended = self.state.ahead.ends_pin.take();
            if let Some(revision) = ended.or_else(|| was_ended.then(|| newest.revision())) {
                // It may ask for what the pin held, which is live already.
                self.state.report.delivery.brings(&revision);
            }
            let kept = self.state.kept_to_resume();
            let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
            self.inbox.pinned.keep(&kept);
            return Some(newest);
        };
        if !wanted.holds && self.is_ended(intent, &newest).await {
            match self.unpin(wanted, &newest).await {
                // The watch delivers the Sync without its pin.
                Ok(()) => return None,
                Err(error) => {
                    self.state.retry_later(Instant::now());
                    tracing::warn!(sync = %self.name, error = crate::chain(&error), "ending the pin of a Sync");
                }
            }
        }
        self.reserve_objects(intent, &newest).await;
        let kept: Vec<&str> = [Some(&wanted.revision), wanted.chart.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        self.inbox.pinned.keep(&kept);
        let (reason, why, stalled) = match self.held(wanted, &newest).await {
            Ok(Some(held)) => {
                if let Some(pin) = &mut self.state.pin {
                    pin.held = Some(held.clone());
                }
                return Some(held);
            }
            Ok(None) => (Reason::Progressing, "it is fetched first".to_owned(), false),
            Err(error) => {
                match self.inbox.pinned.again_at() {
                    Some(again) => self.state.timers.retry = Some(again),
                    None if !error.is_lasting() => self.state.retry_later(Instant::now()),
                    None => (),
                }
                let why = crate::text::redact(&crate::chain(&*error));
                (error.reason(), why, error.is_lasting())
            }
        };
        let live = self.state.target.as_ref();
        let is_live = live.is_some_and(|live| live.revision == wanted.revision);
        let message = match is_live {
            true => format!("{} would not be applied now: {why}", wanted.revision),
            false => format!("{} is not applied: {why}", wanted.revision),
        };
        self.state.blocked = Some(Box::new(Blocked {
            reason,
            message,
            stalled,
        }));
        None
    }

    /// Whether the newest revision ends the pin: it asks for other objects than the one that was pinned away.
    async fn is_ended(&mut self, intent: &SyncIntent, newest: &Newest) -> bool {
        let scope = &*target::scope(intent, newest);
        let Some(inputs) = self.inputs(intent, newest).await else {
            return false;
        };
        let pin = &mut self.state.pin;
        if pin
            .as_mut()
            .is_none_or(|pin| pin.knows(newest, scope, &inputs))
        {
            return false;
        }
        let is_live = |target: &Target| target.is_still(newest, scope, &inputs);
        let loaded = match self.state.target.as_ref().is_some_and(is_live) {
            true => Ok(Loaded::Same),
            false => self.read_once(intent, newest, &inputs, false).await,
        };
        let read = match loaded {
            Ok(Loaded::New(target)) => Ok(Some(*target)),
            Ok(Loaded::Same) => Ok(self.state.target.as_ref().map(|live| live.at(newest))),
            Err(error) => Err(error),
        };
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(error) => {
                self.note_unread(newest, (scope, inputs), &error);
                return false;
            }
        };
        let content = digest(&read.desired);
        let Some(pin) = &mut self.state.pin else {
            return false;
        };
        pin.unread = None;
        if pin.status.is_ended_by(&newest.name(), &content) {
            return true;
        }
        pin.judged = Some(read);
        false
    }

    /// A revision that cannot be read fixes nothing.
    fn note_unread(
        &mut self,
        newest: &Newest,
        (scope, inputs): (&RenderIntent, Arc<Inputs>),
        error: &TargetError,
    ) {
        let again = error.again_after();
        if let Some(pause) = again {
            self.state.timers.retry = Some(Instant::now() + pause);
        }
        if !error.is_settled() || matches!(error, TargetError::Fetching(_)) {
            return;
        }
        let why = format!(
            "{} does not end the pin, for it cannot be applied: {}",
            newest.name(),
            target::explain(error)
        );
        let refused = Refused::new(newest, scope.clone(), inputs, again.is_some());
        if let Some(pin) = &mut self.state.pin {
            pin.unread = Some((refused, why));
        }
    }

    /// Takes the pin off the Sync, and records which commit ended it. If somebody has changed the Sync meanwhile, the API
    /// server refuses that.
    async fn unpin(&mut self, wanted: &PinIntent, newest: &Newest) -> Result<(), kube::Error> {
        let away = wanted.away.as_deref().unwrap_or_default();
        let by = ended_by(&newest.name(), away);
        let annotations = json!({
            PIN: null, PIN_CHART: null, PINNED_AWAY: null, PIN_HOLD: null,
            PINNED_BY: null, PINNED_AT: null, PIN_REASON: null,
            UNPINNED_BY: by, UNPINNED_AT: Timestamp::now().to_string(),
        });
        let state = &self.state;
        let versions = [
            self.inbox.version(),
            state.parent.version,
            state.writing.version,
        ];
        let version = versions.into_iter().max().unwrap_or_default().to_string();
        let patch = json!({"metadata": {"resourceVersion": version, "annotations": annotations}});
        let api: Api<Sync> = Api::namespaced(self.context.client.clone(), &self.name.namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        api.patch_metadata(&self.name.name, &params, &patch).await?;
        self.state.ahead.ends_pin = Some(newest.revision());
        Ok(())
    }

    /// The revisions that a pin names. None while they are fetched.
    async fn held(
        &mut self,
        wanted: &PinIntent,
        newest: &Newest,
    ) -> Result<Option<Newest>, Arc<PinError>> {
        let mut history = self.state.report.status.history.iter();
        let was_live = history.find(|entry| {
            (&entry.revision, &entry.chart_revision) == (&wanted.revision, &wanted.chart)
        });
        let Some(at) = was_live.map(|entry| entry.applied.0) else {
            return Err(Arc::new(PinError::NeverLive(self.name.name.to_string())));
        };
        let revisions = (&*wanted.revision, wanted.chart.as_deref());
        self.revisions_of(revisions, at, newest).await
    }

    /// The revision of the Sync's source and that of the chart's, which were live at a time. None while they are fetched.
    pub(super) async fn revisions_of(
        &mut self,
        (revision, chart): (&str, Option<&str>),
        at: Timestamp,
        newest: &Newest,
    ) -> Result<Option<Newest>, Arc<PinError>> {
        let own = FetchedRevision {
            snapshot: Arc::clone(&newest.snapshot),
            at,
            fetch: None,
            ignore: Arc::clone(&newest.ignore),
            access: Arc::clone(&newest.access),
            verify: newest.verify.clone(),
        };
        let source = &newest.source;
        let own = self.revision_of(source, revision, own).await?;
        let chart = match (&newest.chart, chart) {
            (Some(chart), Some(revision)) => {
                let seen = FetchedRevision {
                    at,
                    fetch: None,
                    ..chart.seen.clone()
                };
                let seen = self.revision_of(&chart.source, revision, seen).await?;
                let source = chart.source.clone();
                seen.map(|seen| Some(FetchedChart { source, seen }))
            }
            // The chart was, or is, in the Sync's own source.
            (chart, _) => Some(chart.clone()),
        };
        Ok(own
            .zip(chart)
            .map(|(own, chart)| Newest::new(source, own, chart)))
    }

    /// A revision of a source, of which `latest` is the newest.
    async fn revision_of(
        &mut self,
        source: &str,
        revision: &str,
        latest: FetchedRevision,
    ) -> Result<Option<FetchedRevision>, Arc<PinError>> {
        if latest.snapshot.revision.to_string() == revision {
            return Ok(Some(latest));
        }
        let live = self.state.target.as_ref();
        let live = live.and_then(|live| live.seen.snapshot_of(source));
        let is_live =
            |live: &&Arc<Snapshot>| live.revision.to_string() == revision && !live.is_damaged();
        let live = live.filter(is_live).cloned();
        let route = Route {
            source: SourceName::new(&self.name.namespace, source),
            access: &latest.access,
            verify: &latest.verify,
        };
        let pinned = &mut self.inbox.pinned;
        let found = pinned.get(&self.context, &route, revision, live.as_ref());
        Ok(found
            .await?
            .map(|snapshot| FetchedRevision { snapshot, ..latest }))
    }
}
