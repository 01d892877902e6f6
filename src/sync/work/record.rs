//! Records that Helm reads of a chart's releases: one for each content that has converged.
//!
//! A record is a trace, and no state: its Secret is no member of the ApplySet, so it is neither corrected nor counted.
//! The status says which content it is of, so that a restart and a commit that changes nothing ask for none.

mod error;
mod secrets;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{self, HookStage, Reason, ReleaseRecord, SyncStatus};
use crate::cluster::WriteError;
use crate::content::Tree;
use crate::desired::{Desired, Misplaced, Release, misplaced};
use crate::fair::Permits;
use crate::intent::{HelmIntent, SyncIntent};
use crate::plan::{
    HelmRecord, LiveRelease, RecordStatus, ReleaseEnd, SyncName, first_deployed, hook_pause,
    record_key, records_that_go, succeed, taken_over,
};
use crate::sync::Driver;
use crate::sync::memory::RecordState;
use crate::sync::newest::Newest;
use crate::sync::report::{Phase, Round};
use crate::sync::target::Target;
use crate::sync::timers::Due;
use crate::text::shorten;
use error::{RecordError, not_shown};
use secrets::Records;

/// Records that are made at one time: over all Syncs, and over those of one namespace. One may take some dozen MiB of memory
/// while it is made and written.
static MAKING: LazyLock<Arc<Permits>> = LazyLock::new(|| Permits::new(3, 2));

/// The longest description of a release that has failed, in bytes.
const LONGEST_FAILURE: usize = 1 << 10;

/// A record that was written.
#[derive(Clone, Copy, Debug)]
struct Written {
    version: u32,
    /// Whether it takes the place of one of Helm.
    of_helm: bool,
}

impl Driver {
    /// Writes the record of the target, once it has converged.
    pub(super) async fn keep_record(&mut self, intent: &SyncIntent) {
        self.leave_chart(intent).await;
        let Some(release) = self.awaits_record(intent) else {
            return;
        };
        let number = release.number.revision;
        let Some(target) = &self.state.target else {
            return;
        };
        let wanted = Wanted {
            content: &release.content,
            number,
            status: RecordStatus::Deployed,
            desired: Arc::clone(&target.desired),
            seen: &target.seen,
            description: format!("Sync {}: {}", self.name, target.seen.name()),
        };
        match self.write_record(intent, wanted).await {
            Ok(Written { version, of_helm }) => {
                self.state.release.record = RecordState::default();
                self.state.release.record.warning =
                    self.other_applier(&intent.render.helm, of_helm);
                self.state.timers.record = None;
                let HelmIntent {
                    release_name,
                    release_namespace,
                    ..
                } = &intent.render.helm;
                let record = ReleaseRecord {
                    namespace: release_namespace.clone(),
                    release: release_name.clone(),
                    version,
                    revision: number,
                };
                self.note_record(intent, record).await;
            }
            Err(error) => {
                let warning = error.warning(&intent.render.helm);
                tracing::warn!(sync = %self.name, warning, "writing a record for Helm");
                let state = &mut self.state.release.record;
                state.failures = state.failures.saturating_add(1);
                state.held = true;
                state.warning = Some(warning);
                let again = error.passes().then(|| hook_pause(state.failures));
                self.state.timers.record = again.map(|pause| Instant::now() + pause);
            }
        }
    }

    /// That something else upgrades the release too: the record that is now superseded was one of Helm, although the Sync had
    /// written one before.
    fn other_applier(&self, helm: &HelmIntent, of_helm: bool) -> Option<String> {
        let status = &self.state.report.status;
        let record = status.release.as_ref()?.record.as_ref()?;
        let HelmIntent {
            release_name,
            release_namespace,
            ..
        } = helm;
        let is_same = (&record.namespace, &record.release) == (release_namespace, release_name);
        (of_helm && is_same && record.revision > 0).then(|| {
            format!(
                "Helm changed release {release_name} in namespace {release_namespace} after this Sync, which has put back what \
                 Git has: something else upgrades it too, such as a HelmRelease of Flux or a pipeline; suspend and delete that, \
                 or delete this Sync"
            )
        })
    }

    /// The release whose record is to be written now.
    fn awaits_record(&mut self, intent: &SyncIntent) -> Option<Release> {
        let target = self.state.target.as_ref();
        let release = target.and_then(|target| target.desired.release());
        let Some(release) = release.filter(|_| intent.keeps_record) else {
            self.state.release.record.warning = None;
            return None;
        };
        let known = self.state.report.status.release.as_ref()?;
        let is_done = known.stage == HookStage::Done && known.content == release.content;
        let record = known.record.as_ref();
        let is_there =
            record.is_some_and(|record| is_of(record, &intent.render.helm, known.revision));
        let (is_held, is_asked) = (
            self.state.release.record.held,
            self.state.release.record.asked,
        );
        if !is_done || is_held || is_there && !is_asked {
            return None;
        }
        if let Some(why) = self.record_misplaced(intent) {
            let helm = &intent.render.helm;
            self.state.release.record.warning = Some(not_shown(helm, &why.to_string()));
            return None;
        }
        let mut release = release.clone();
        release.number.revision = known.revision;
        self.has_converged(intent).then_some(release)
    }

    /// Why the record of the release has no place in the cluster, as an object in its namespace would have none. A chart
    /// may have all of its objects elsewhere.
    pub(super) fn record_misplaced(&self, intent: &SyncIntent) -> Option<Misplaced> {
        let namespace = intent.render.helm.release_namespace.as_str().into();
        misplaced(true, Some(&namespace), self.limit(intent))
    }

    /// Whether this round will say that the Sync is ready.
    fn has_converged(&self, intent: &SyncIntent) -> bool {
        let seen = self.observe(intent, Phase::Done, Round::default(), Due::default());
        seen.applied && seen.facts.ready().status == Some(true)
    }

    /// Puts the record into the status. The records of a former name of the release go.
    async fn note_record(&mut self, intent: &SyncIntent, record: ReleaseRecord) {
        let Some(release) = &mut self.state.report.status.release else {
            return;
        };
        let before = release.record.replace(record.clone());
        if before.as_ref() == Some(&record) {
            return;
        }
        self.state.writing.written = false;
        let renamed = before.filter(|before| {
            (&before.namespace, &before.release) != (&record.namespace, &record.release)
        });
        if let Some(before) = renamed {
            self.leave_release(intent, &before).await;
        }
    }

    /// Where the path holds no chart any longer, the records of the last one go.
    async fn leave_chart(&mut self, intent: &SyncIntent) {
        let target = self.state.target.as_ref();
        let is_chart = target.is_none_or(|target| target.desired.release().is_some());
        let release = self.state.report.status.release.as_ref();
        let has_record = release.is_some_and(|release| release.record.is_some());
        if is_chart || !has_record || !intent.keeps_record || !self.has_converged(intent) {
            return;
        }
        let release = self.state.report.status.release.as_mut();
        if let Some(record) = release.and_then(|release| release.record.take()) {
            self.state.writing.written = false;
            self.leave_release(intent, &record).await;
        }
    }

    /// Deletes the records of a release that the Sync has no longer.
    async fn leave_release(&self, intent: &SyncIntent, record: &ReleaseRecord) {
        let removed = self.remove_records(intent, record, ReleaseEnd::Left);
        if let Err(error) = removed.await {
            let error = crate::chain(&error);
            tracing::warn!(sync = %self.name, error, "deleting records of a former release");
        }
    }

    /// Writes a record of a release that has failed, once: its status is written already, and says so.
    pub(in crate::sync) async fn keep_failed(&mut self, intent: &SyncIntent) {
        let status = &self.state.report.status;
        // Before anything is applied, a Sync has no finalizer, and its record would stay behind.
        let keeps = intent.keeps_record && self.inbox.is_finalized();
        let Some(known) = status.release.as_ref().filter(|_| keeps) else {
            return;
        };
        let helm = &intent.render.helm;
        let record = known.record.as_ref();
        let was_live = record.is_some_and(|record| is_of(record, helm, known.revision));
        let Some(why) = failure(status) else { return };
        if self.record_misplaced(intent).is_some() {
            return;
        }
        if was_live
            || intent.deleting
            || self.state.release.record.failed.as_ref() == Some(&known.content)
        {
            return;
        }
        let (content, number, upgrade) = (known.content.clone(), known.revision, known.upgrade);
        let targets = [
            self.state.ahead.awaits_hooks.as_deref(),
            self.state.target.as_ref(),
        ];
        let is_it = |target: &&Target| {
            let release = target.desired.release();
            release.is_some_and(|release| release.content == content)
        };
        let Some(target) = targets.into_iter().flatten().find(is_it) else {
            return;
        };
        let what = if upgrade { "Upgrade" } else { "Release" };
        let why = format!("{what} {:?} failed: {why}", helm.release_name);
        let wanted = Wanted {
            content: &content,
            number,
            status: RecordStatus::Failed,
            desired: Arc::clone(&target.desired),
            seen: &target.seen,
            description: shorten(&why, LONGEST_FAILURE),
        };
        let written = self.write_record(intent, wanted).await;
        self.state.release.record.failed = Some(content);
        match written {
            Ok(Written { version, .. }) => self.note_failed(intent, version).await,
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(sync = %self.name, error, "writing a record for Helm of a release that has failed");
            }
        }
    }

    /// Where no content has converged yet, the status says that there are records all the same.
    async fn note_failed(&mut self, intent: &SyncIntent, version: u32) {
        let HelmIntent {
            release_name,
            release_namespace,
            ..
        } = &intent.render.helm;
        let release = self.state.report.status.release.as_mut();
        if let Some(release) = release.filter(|release| release.record.is_none()) {
            release.record = Some(ReleaseRecord {
                namespace: release_namespace.clone(),
                release: release_name.clone(),
                version,
                revision: 0,
            });
            self.state.writing.written = false;
            self.write().await;
        }
    }

    /// Writes the record, and makes those before it say that they are live no longer.
    async fn write_record(
        &self,
        intent: &SyncIntent,
        wanted: Wanted<'_>,
    ) -> Result<Written, RecordError> {
        let helm = &intent.render.helm;
        let (namespace, name) = (&*helm.release_namespace, &*helm.release_name);
        let seen = wanted.seen;
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let known = acting.helm_records(namespace, name).await?;
        let exists = |sync: &SyncName| self.context.fleet.syncs.read(sync).exists;
        let Wanted {
            content,
            number,
            status,
            ..
        } = wanted;
        let next = succeed(&known, &self.name, content, number, status, exists)?;
        let records = Records {
            acting,
            sync: &self.name,
            namespace,
            asked: Some(seen),
        };
        let _permit = MAKING.take(&self.name.namespace, &self.name.name).await;
        let before = records.live(&next.superseded).await?;
        let mut written = Written {
            version: next.version,
            of_helm: false,
        };
        if !next.is_there {
            let former = Former {
                first_deployed: before.iter().find_map(first_deployed),
                of_helm: of_helm(&next.superseded, &before),
            };
            written.of_helm = former.of_helm.is_some();
            let secret = self.record_of(intent, wanted, next.version, former).await?;
            let key = record_key(namespace, name, next.version);
            records.create(&key, &secret).await?;
        }
        for record in &before {
            records.supersede(record).await?;
        }
        records.delete(&next.surplus).await?;
        Ok(written)
    }

    /// The Secret of a record.
    async fn record_of(
        &self,
        intent: &SyncIntent,
        wanted: Wanted<'_>,
        version: u32,
        former: Former,
    ) -> Result<Value, RecordError> {
        let Wanted {
            status,
            desired,
            seen,
            description,
            ..
        } = wanted;
        let live = self.drawn(intent, &desired).await?;
        let tree: Arc<dyn Tree> = seen.snapshot.clone();
        let chart = seen.chart_tree();
        let (sync, content) = (self.name.clone(), wanted.content.to_owned());
        let helm = intent.render.helm.clone();
        let now = Timestamp::now();
        let made = tokio::task::spawn_blocking(move || {
            let body = desired.release_body(&tree, chart.as_ref(), &live)?;
            let of_helm = former.of_helm.as_ref();
            let difference = of_helm
                .and_then(|secret| taken_over(secret, &body.manifest, &helm.release_namespace));
            let description = match difference {
                Some(difference) => format!("{description}; {difference}"),
                None => description,
            };
            let live = LiveRelease {
                status,
                sync: &sync,
                name: &helm.release_name,
                namespace: &helm.release_namespace,
                content: &content,
                version,
                description: &description,
                first_deployed: former.first_deployed.as_deref(),
                now: (&now.to_string(), now.as_second()),
            };
            Ok(live.secret(body)?)
        });
        made.await.unwrap_or(Err(RecordError::Interrupted))
    }

    /// The live objects that hold values drawn at random, by their index. Of what is not the target, none is known.
    async fn drawn(
        &self,
        intent: &SyncIntent,
        desired: &Arc<Desired>,
    ) -> Result<HashMap<usize, Value>, WriteError> {
        let target = self.state.target.as_ref();
        if !target.is_some_and(|target| Arc::ptr_eq(&target.desired, desired)) {
            return Ok(HashMap::new());
        }
        let cluster = &self.context.cluster;
        let actor = self.actor(intent);
        let mut live = HashMap::new();
        for (key, item) in &self.state.objects.items {
            if desired.generated(item.index).is_empty() {
                continue;
            }
            if let Some(served) = cluster.kinds.preferred(&key.kind)
                && let Some(object) = cluster.as_(&actor).live(&served, key).await?
            {
                live.insert(item.index, object);
            }
        }
        Ok(live)
    }

    /// What stays of a release that was taken over is a release still: its records stay.
    pub(super) async fn leave_records(&mut self) {
        let release = self.state.report.status.release.as_mut();
        if release.and_then(|release| release.record.take()).is_some() {
            self.state.writing.written = false;
            self.write().await;
        }
    }

    /// Deletes the records of a release that is gone.
    pub(super) async fn remove_records(
        &self,
        intent: &SyncIntent,
        record: &ReleaseRecord,
        end: ReleaseEnd,
    ) -> Result<(), WriteError> {
        let ReleaseRecord {
            namespace, release, ..
        } = record;
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let known = match acting.helm_records(namespace, release).await {
            // A person who took the account's rights away lets go of the Sync in this way.
            Err(WriteError::Refused { code: 403, .. }) => return Ok(()),
            known => known?,
        };
        let target = self.state.target.as_ref().filter(|_| !intent.deleting);
        let records = Records {
            acting,
            sync: &self.name,
            namespace,
            asked: target.map(|target| &target.seen),
        };
        match records
            .delete(&records_that_go(&known, &self.name, end))
            .await
        {
            Err(WriteError::Refused { code: 403, .. }) => Ok(()),
            answer => answer,
        }
    }
}

/// A record that is to be written.
struct Wanted<'a> {
    content: &'a str,
    /// The number that templates saw.
    number: u32,
    status: RecordStatus,
    desired: Arc<Desired>,
    seen: &'a Newest,
    /// What `helm history` shows.
    description: String,
}

/// What is known of the release before.
struct Former {
    /// When it was first installed.
    first_deployed: Option<String>,
    /// The Secret of its record, if Helm wrote that.
    of_helm: Option<Value>,
}

/// The Secret of the record that Helm wrote, of those that say that they are live.
fn of_helm(records: &[HelmRecord], secrets: &[Value]) -> Option<Value> {
    let record = records.iter().find(|record| record.written.is_none())?;
    let mut secrets = secrets.iter();
    let is_it = |secret: &&Value| secret.pointer("/metadata/name") == Some(&json!(record.name));
    secrets.find(is_it).cloned()
}

/// Why the release of a Sync has failed, if it has.
fn failure(status: &SyncStatus) -> Option<&str> {
    let failed = [Reason::HookFailed, Reason::HealthFailed].map(Reason::as_str);
    let ready = api::ready(&status.conditions)
        .filter(|ready| ready.status == "False" && failed.contains(&&*ready.reason));
    ready.map(|ready| &*ready.message)
}

/// Whether a record is that of a content, under the name that the release has.
fn is_of(record: &ReleaseRecord, helm: &HelmIntent, revision: u32) -> bool {
    let ReleaseRecord {
        namespace, release, ..
    } = record;
    record.revision == revision
        && (namespace, release) == (&helm.release_namespace, &helm.release_name)
}
