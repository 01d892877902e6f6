//! Objects of one commit that trade a port or an address: each is refused while another one still has it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::StreamExt as _;

use crate::cluster::Applying;
use crate::intent::SyncIntent;
use crate::manifest::{Digest, GroupKind, Manifest, ObjectKey};
use crate::plan::{Ports, circle, stamped, with_ports};
use crate::sync::Driver;
use crate::sync::job::Job;
use crate::sync::report::Round;

/// The most Services among which a circle is looked for: each is read, and every one is compared with all others.
const MOST_IN_CIRCLE: usize = 64;

impl Driver {
    /// Tries again what was refused since an object had its port or address, as long as others of the commit give some
    /// up. Of Services that wait for each other in a circle, one takes another port for a moment.
    pub(super) async fn trade(&mut self, intent: &SyncIntent, jobs: &[Job], round: &mut Round) {
        let crowded = std::mem::take(&mut self.state.memory.crowded);
        if crowded.is_empty() {
            return;
        }
        let is_kind = |job: &Job| crowded.iter().any(|key| key.kind == job.item.key.kind);
        let others = jobs.iter().filter(|job| is_kind(job)).count() > crowded.len();
        // What was refused alone waits for something outside of this commit.
        let left = match others {
            true => self.try_again(intent, jobs, crowded, round).await,
            false => crowded,
        };
        if left.len() > 1 {
            let left = self.untie(intent, jobs, left, round).await;
            self.swap(intent, jobs, left, round).await;
        }
    }

    /// Applies what is `left` until none of it succeeds any more. Returns that.
    pub(super) async fn try_again(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        mut left: HashSet<ObjectKey>,
        round: &mut Round,
    ) -> HashSet<ObjectKey> {
        loop {
            let again = jobs.iter().filter(|job| left.contains(&job.item.key));
            let again: Vec<Job> = again.cloned().collect();
            let memory = &mut self.state.memory;
            memory.refused.retain(|key, _| !left.contains(key));
            memory.barred.retain(|key| !left.contains(key));
            let mut results = std::pin::pin!(self.results(intent, &again));
            while let Some((index, done)) = results.next().await {
                self.settle(&again[index], done, round);
            }
            let still = std::mem::take(&mut self.state.memory.crowded);
            if still.is_empty() || still.len() >= left.len() {
                return still;
            }
            left = still;
        }
    }

    /// Moves Services of a circle to other ports, one after the other until no circle is left, so that the others get theirs,
    /// and then they their own. Returns what is left.
    async fn untie(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        mut left: HashSet<ObjectKey>,
        round: &mut Round,
    ) -> HashSet<ObjectKey> {
        let services = GroupKind::new("", "Service");
        let is_one = |job: &&Job| left.contains(&job.item.key) && job.item.key.kind == services;
        let (mut crowded, mut ports) = (Vec::new(), Vec::new());
        for job in jobs.iter().filter(is_one).take(MOST_IN_CIRCLE) {
            if let Some((manifest, has)) = self.ports(intent, job).await {
                crowded.push((job, manifest));
                ports.push(has);
            }
        }
        let count = left.len();
        let mut aside = BTreeSet::new();
        loop {
            let waits = |place: &usize| left.contains(&crowded[*place].0.item.key);
            let waiting = (0..ports.len()).filter(|place| waits(place) && !aside.contains(place));
            let waiting: Vec<usize> = waiting.collect();
            let of_waiting: Vec<Ports> =
                waiting.iter().map(|place| ports[*place].clone()).collect();
            let Some(place) = circle(&of_waiting).map(|place| waiting[place]) else {
                break;
            };
            let (job, manifest) = &crowded[place];
            let mut is_moved = false;
            for values in ports[place].aside(&ports) {
                is_moved = self.renumber(intent, job, manifest, &values).await;
                if is_moved {
                    break;
                }
            }
            if !is_moved {
                break;
            }
            aside.insert(place);
            left = self.try_again(intent, jobs, left, round).await;
        }
        // Nobody took what they gave up.
        if left.len() == count {
            for place in aside {
                let (job, manifest) = &crowded[place];
                let before = ports[place].as_before();
                self.renumber(intent, job, manifest, &before).await;
            }
        }
        left
    }

    async fn ports(&self, intent: &SyncIntent, job: &Job) -> Option<(Manifest, Ports)> {
        let manifest = self.manifest(job).await?;
        let cluster = &self.context.cluster;
        let served = cluster.kinds.get(&manifest.gvk)?;
        let actor = self.actor(intent);
        let live = cluster.as_(&actor).live(&served, &job.item.key).await;
        let ports = Ports::of(&live.ok()??, &manifest.body);
        Some((manifest, ports))
    }

    /// Applies a Service with other values for its node ports; whether the API server took it.
    async fn renumber(
        &self,
        intent: &SyncIntent,
        job: &Job,
        manifest: &Manifest,
        values: &BTreeMap<u64, u64>,
    ) -> bool {
        let cluster = &self.context.cluster;
        let Some(served) = cluster.kinds.get(&manifest.gvk) else {
            return false;
        };
        let body = with_ports(&manifest.body, values);
        // Not the digest of Git's manifest: if the operator ends here, the next one goes on.
        let digest = Digest::of(&body);
        let manifest = Manifest {
            body,
            ..manifest.clone()
        };
        let seal = cluster.inventory.seal(&self.name, &job.item.key);
        let body = stamped(manifest, &seal, &digest, None);
        let actor = self.actor(intent);
        let acting = cluster.as_(&actor);
        let applied = acting.apply(&served, &seal, &body, None, Applying::Whole);
        if applied.await.is_err() {
            return false;
        }
        // It is applied again at once.
        acting.catch_up(&served, &job.item.key).await;
        true
    }
}
