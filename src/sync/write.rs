//! Carries out an assessment: notices, metrics, timers, the published view, and the status.

use super::Driver;
use super::assess::{Assessment, Live, Observed, Phase, Round, assess};
use super::timers::{Due, Now};
use super::verdict::Facts;
use crate::api::{Sync, Time};
use crate::driver::write_status;
use crate::fleet::SyncView;
use crate::intent::SyncIntent;
use crate::plan::SyncName;

impl Driver {
    /// Assesses the round and publishes the result. After a round that applied nothing, waits until other
    /// Syncs have applied. With `gave_way`, it has waited already.
    pub(super) async fn report(
        &mut self,
        intent: &SyncIntent,
        phase: Phase,
        round: Round,
        due: Due,
    ) {
        let waits = phase == Phase::Done && !round.worked && !self.gave_way;
        let observed = self.observe(intent, phase, round, due);
        let assessment = assess(&self.state.report, observed);
        let is_news = self.take(intent, assessment);
        if waits && is_news {
            self.context.cluster.running_applies.wait_until_idle().await;
        }
        if is_news {
            self.write().await;
        }
    }

    /// The results of this round, as values.
    fn observe(&self, intent: &SyncIntent, phase: Phase, round: Round, due: Due) -> Observed {
        let state = &self.state;
        let target = state.target.as_ref();
        let suspended = intent.suspend && !intent.deleting;
        let drifted = state.memory.drifted.keys();
        let healed = round.healed.iter().map(|(key, _)| key);
        let met: std::collections::HashSet<_> = healed.chain(drifted).collect();
        let is_new = |key: &&_| !state.memory.counted.contains(*key);
        Observed {
            phase,
            now: Now::read(),
            due,
            about: std::sync::Arc::clone(&self.about),
            generation: intent.generation,
            handled: state.requests.handled.clone(),
            attempted: state.requests.attempted.clone(),
            live: target.map(|target| Live {
                revision: target.revision.clone(),
                author: target.seen.snapshot.author.clone(),
                committed: Time(target.seen.snapshot.committed_at),
                observed: Time(target.seen.at),
            }),
            facts: Facts {
                suspended,
                blocked: state.blocked.clone(),
                revision: target.map(|target| target.revision.clone()),
                counts: state.counts(),
                busy: false,
                problems: state.problems(|gvk| {
                    // A definition is still to be applied, was just created, or was served a moment ago.
                    let kinds = &self.context.cluster.kinds;
                    phase == Phase::Busy
                        || kinds.is_coming(&gvk.group_kind())
                        || kinds.get(gvk).is_some()
                }),
                drifts: state.drifts(),
                mode: intent.mode,
                unhealthy: state.unhealthy(),
                wait: intent.wait,
                overdue: false,
            },
            applied: state.is_applied(),
            needs_retry: state.needs_retry(),
            pause: state.backoff.next(),
            timers: state.timers.clone(),
            timeout: intent.timeout,
            diff_after: self.context.diff_after,
            brake: state.brake().filter(|_| intent.prune),
            contested: state.contested(intent.mode),
            newly_drifted: met.into_iter().filter(is_new).count(),
            round,
        }
    }

    /// Stores the assessment. Returns whether the status in the API server must change.
    fn take(&mut self, intent: &SyncIntent, assessment: Assessment) -> bool {
        let Assessment {
            report,
            notices,
            figures,
            timers,
            settled,
        } = assessment;
        let state = &mut self.state;
        if settled {
            state.backoff.reset();
        } else if state.timers.retry.is_none() && timers.retry.is_some() {
            state.backoff.advance();
        }
        let is_news = !state.written || state.report.status != report.status;
        (state.report, state.timers, state.written) = (report, timers, !is_news);
        state.memory.counted = state.memory.drifted.keys().cloned().collect();
        figures.count(&self.context.metrics);
        for notice in notices {
            self.context.notifier.tell(notice);
        }
        self.context.fleet.update_sync(&self.name, |view| {
            self.show(intent, view);
            figures.publish(&mut view.figures);
        });
        is_news
    }

    /// The published view of this Sync.
    pub(super) fn show(&self, intent: &SyncIntent, view: &mut SyncView) {
        view.ready = self.state.report.ready;
        view.source.clone_from(&intent.source);
        let applied = &self.state.report.status.last_applied_revision;
        view.applied.clone_from(applied);
        view.depends_on = self.inbox.depends_on();
    }

    async fn write(&mut self) {
        let SyncName { namespace, name } = &self.name;
        let status = &self.state.report.status;
        match write_status::<Sync>(&self.context, namespace, name, status).await {
            Ok(()) => self.state.written = true,
            Err(error) => {
                tracing::warn!(sync = %self.name, %error, "cannot write the status of a Sync");
                self.state.retry_later(Now::read().at);
            }
        }
    }
}
