//! Room for what Git wants: what has left Git goes first where a refused create or change proves that it has to.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::brake::Judging;
use crate::cluster::WriteError;
use crate::intent::SyncIntent;
use crate::manifest::{Manifest, ObjectKey};
use crate::plan::{Contested, Observed, Refusal, contested, is_rule, stamped, without};
use crate::sync::job::Job;
use crate::sync::report::Round;
use crate::sync::{Driver, bodies};
use crate::text::shorten;

/// How long the old object may take to go before the new one is left to a later round, and how often is looked.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);

/// How much of a refusal is told beside what has to be gone first, in bytes.
const LONGEST_REFUSAL: usize = 512;

impl Driver {
    /// Deletes what a refused write proves to hold what another object needs, and writes that one at once.
    pub(super) async fn make_room(&mut self, intent: &SyncIntent, jobs: &[Job], round: &mut Round) {
        let mut refused = std::mem::take(&mut self.state.memory.refused);
        // Each later try of the same object is refused as well, and would say less.
        let mut vacating = std::mem::take(&mut self.state.memory.vacating);
        vacating.retain(|new, old| !refused.contains_key(new) || self.tell_holder(new, old));
        self.state.memory.vacating = vacating;
        if !intent.prune || self.state.blocked.is_some() || refused.is_empty() {
            return;
        }
        let surplus = self.surplus().0;
        if surplus.is_empty() {
            return;
        }
        if !self.hear_others(intent, &surplus).await.is_empty() {
            return;
        }
        // What is only released goes on to hold what it holds.
        let mut surplus = self.parting(self.surplus().0, intent.prune_adopted).going;
        let whole = surplus.clone();
        let mut is_allowed = false;
        for job in jobs {
            while let Some(refusal) = refused.remove(&job.item.key) {
                let Some((place, contested)) = self.holder(intent, job, &refusal, &surplus).await
                else {
                    break;
                };
                is_allowed = is_allowed || !self.is_braked(intent, &whole, Judging::Whole).await;
                if !is_allowed {
                    return;
                }
                let (old, observed) = surplus.swap_remove(place);
                if !self.vacate(intent, &old, &observed, round).await {
                    if self.tell_holder(&job.item.key, &old) {
                        let vacating = &mut self.state.memory.vacating;
                        vacating.insert(job.item.key.clone(), old);
                    }
                    break;
                }
                let mut results = std::pin::pin!(self.results(intent, std::slice::from_ref(job)));
                if let Some((_, done)) = results.next().await {
                    self.settle(job, done, round);
                }
                // Two values may have been two objects'. Of a quota, and of a rule, it takes a moment until it is known
                // that something went.
                let again = std::mem::take(&mut self.state.memory.refused);
                if !contested.is_freed_later() {
                    refused.extend(again);
                }
            }
        }
    }

    /// The place in `surplus` of the object that holds what a job's object needs, and what that is.
    async fn holder(
        &self,
        intent: &SyncIntent,
        job: &Job,
        refusal: &Refusal,
        surplus: &[(ObjectKey, Observed)],
    ) -> Option<(usize, Contested)> {
        let new = &job.item.key;
        let cluster = &self.context.cluster;
        let may_hold = |old: &ObjectKey| {
            old.kind == new.kind && refusal.is_about_something_taken()
                || is_rule(&old.kind) && refusal.is_by_a_rule()
        };
        if !surplus.iter().any(|(old, _)| may_hold(old)) {
            return None;
        }
        let manifest = self.manifest(job).await?;
        let served = cluster.kinds.get(&manifest.gvk)?;
        let actor = self.actor(intent);
        let acting = cluster.as_(&actor);
        let is_barred = self.state.memory.barred.contains(new);
        for (place, (old, _)) in surplus.iter().enumerate() {
            if !may_hold(old) || !cluster.inventory.is_owned(old, &self.name) {
                continue;
            }
            let kind = match old.kind == new.kind {
                true => Some(served.clone()),
                false => cluster.kinds.preferred(&old.kind),
            };
            let Some(kind) = kind else { continue };
            let Ok(Some(live)) = acting.live(&kind, old).await else {
                continue;
            };
            let Some(contested) = contested(refusal, (new, &manifest.body), (old, &live)) else {
                continue;
            };
            if let Contested::Value(field) = &contested {
                // Would it be refused without that value as well, nothing would be won.
                let seal = cluster.inventory.seal(&self.name, new);
                let rest = Manifest {
                    body: without(&manifest.body, field),
                    ..manifest.clone()
                };
                let body = stamped(rest, &seal, &job.item.digest, None);
                let tried = match is_barred {
                    true => acting.rehearse_create(&served, &seal, &body).await,
                    false => acting.rehearse(&served, &seal, &body).await,
                };
                // Ports of its own are free once it is deleted. What else is missing is found before that.
                let is_fine = |error: &WriteError| {
                    is_about(error, field) || is_barred && error.is_only_allocated()
                };
                if tried.is_err_and(|error| !is_fine(&error)) {
                    continue;
                }
            }
            return Some((place, contested));
        }
        None
    }

    pub(super) async fn manifest(&self, job: &Job) -> Option<Manifest> {
        let target = self.state.target.as_ref()?;
        let tree = target.seen.snapshot.clone();
        let wanted = vec![job.item.index];
        let mut read = bodies::read(tree, Arc::clone(&target.desired), wanted);
        read.recv().await?.manifest.ok()
    }

    /// Says of a refused object what has to be gone first, and what holds that. False if it is gone.
    fn tell_holder(&mut self, new: &ObjectKey, old: &ObjectKey) -> bool {
        let seen = self.context.cluster.inventory.get(old);
        let Some(old_one) = seen.filter(|seen| seen.deleting) else {
            return false;
        };
        if let Some(trouble) = self.state.memory.troubles.get_mut(new) {
            let held_by = old_one.held_by.as_deref();
            let held_by = held_by.map_or_else(String::new, |by| format!(", held by {by}"));
            let said = shorten(&trouble.message, LONGEST_REFUSAL);
            trouble.message = format!(
                "{said}; {old} has left Git and has it until it is gone: it is being deleted{held_by}"
            );
        }
        true
    }

    /// Deletes what has left Git; whether it is gone.
    async fn vacate(
        &mut self,
        intent: &SyncIntent,
        old: &ObjectKey,
        observed: &Observed,
        round: &mut Round,
    ) -> bool {
        let cluster = &self.context.cluster;
        let deleted = cluster
            .as_(&self.actor(intent))
            .delete(old, &observed.uid)
            .await;
        if deleted.is_err() {
            return false;
        }
        self.pruned(old.clone(), observed.uid.clone(), round);
        let inventory = &self.context.cluster.inventory;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let seen = inventory.get(old);
            if seen.is_none_or(|seen| seen.uid != observed.uid) {
                return true;
            }
            tokio::time::sleep(STEP).await;
        }
        false
    }
}

/// Whether a refused rehearsal without a field says nothing about the rest: the field is required, or the server
/// cannot rehearse.
fn is_about(error: &WriteError, field: &str) -> bool {
    let Some(refusal) = error.refusal() else {
        return false;
    };
    let name: &str = field.rsplit(['.', ']']).next().unwrap_or(field);
    let said = &refusal.said;
    said.contains(name) && said.contains("equired")
        || said.contains("dry run")
        || said.contains("dryRun")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_required_is_no_other_fault() {
        let refused = |message: &str| WriteError::refused(422, message);
        let host = "spec.hosts[].name";
        assert!(is_about(
            &refused("spec.hosts[0].name: Required value"),
            host
        ));
        assert!(is_about(
            &refused("webhook \"w\" does not support dry run"),
            host
        ));
        assert!(!is_about(&refused("spec.tier: Required value"), host));
        assert!(!is_about(
            &refused("spec.hosts[0].name: Invalid value"),
            host
        ));
    }
}
