//! Services of one commit that swap what a Service keeps until it is deleted: cluster IPs, and ports for health checks. So
//! where `force` allows it, one of a circle is deleted first, the others are changed or replaced, and that one is made again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::apply::Object;
use crate::cluster::{Actor, Cluster, ServedKind};
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, Manifest, ObjectKey};
use crate::plan::{Exchange, Exclusive, SyncName, knot, node_ports, stamped, without_exclusive};
use crate::sync::Driver;
use crate::sync::job::Job;
use crate::sync::report::Round;

/// The most Services among which circles are looked for, and the most circles.
const MOST: usize = 64;

/// A Service that waits for what another one has.
struct Party<'a> {
    job: &'a Job,
    manifest: Manifest,
    served: ServedKind,
    live: Value,
    exchange: Exchange,
    /// It is changed by its deletion, and may be deleted.
    may_go: bool,
}

impl Party<'_> {
    fn object<'a>(
        &'a self,
        (cluster, actor, owner): (&'a Cluster, &'a Actor, &SyncName),
    ) -> Object<'a> {
        Object {
            cluster,
            acting: cluster.as_(actor),
            seal: cluster.inventory.seal(owner, &self.job.item.key),
            served: &self.served,
            job: self.job,
            may_be_replaced: true,
            whole: None,
        }
    }

    fn key(&self) -> &ObjectKey {
        &self.job.item.key
    }
}

impl Driver {
    /// Lets Services that wait in a circle for what others have get it. `left`: what was refused since something is
    /// taken.
    pub(super) async fn swap(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        mut left: HashSet<ObjectKey>,
        round: &mut Round,
    ) {
        for _ in 0..MOST {
            let mut parties = self.parties(intent, jobs, &left).await;
            let all: Vec<Exchange> = parties.iter().map(|one| one.exchange.clone()).collect();
            let Some(knot) = knot(&all) else {
                return;
            };
            // Each circle is tried once a round.
            for place in &knot.all {
                left.remove(parties[*place].key());
            }
            let mut place = 0..;
            parties.retain(|_| place.next().is_some_and(|place| knot.all.contains(&place)));
            let before = knot.all.range(..knot.first).count();
            parties.swap(0, before);
            self.rotate(intent, jobs, &parties, round).await;
        }
    }

    /// The Services among what is `left`.
    async fn parties<'a>(
        &self,
        intent: &SyncIntent,
        jobs: &'a [Job],
        left: &HashSet<ObjectKey>,
    ) -> Vec<Party<'a>> {
        let services = GroupKind::new("", "Service");
        let is_one = |job: &&Job| job.item.key.kind == services && left.contains(&job.item.key);
        let mut parties = Vec::new();
        for job in jobs.iter().filter(is_one).take(MOST) {
            parties.extend(self.party(intent, job).await);
        }
        parties
    }

    /// Deletes the first Service of a circle, has the others get what they need, and makes it again.
    async fn rotate(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        parties: &[Party<'_>],
        round: &mut Round,
    ) {
        let context = Arc::clone(&self.context);
        let (cluster, actor) = (&context.cluster, self.actor(intent));
        let owner = self.name.clone();
        let within = (cluster, &actor, &owner);
        // Each new object has to be one that the API server takes, before anything goes.
        for party in parties.iter().filter(|party| party.may_go) {
            let bare = Manifest {
                body: without_exclusive(&party.manifest.body, &held(parties)),
                ..party.manifest.clone()
            };
            let object = party.object(within);
            // A dry run does not say that something else has an address.
            let why = match object.rehearse_create(&bare, &party.live).await {
                Ok(()) => object.barred(&bare).await.map(|barred| barred.words),
                Err(error) => Some(format!("a new one would be refused as well: {error}")),
            };
            if let Some(why) = why {
                self.add_to_trouble(party.key(), &why);
                return;
            }
        }
        let Some((first, before)) = parties
            .first()
            .and_then(|first| Some((first, first.job.before.as_ref()?)))
        else {
            return;
        };
        let key = first.key();
        cluster.outlive(std::iter::once(before)).await;
        let deleted = cluster.as_(&actor).delete(key, &before.uid).await;
        if deleted.is_err() || !first.object(within).is_gone(before).await {
            // The next round makes it again.
            self.state.memory.again.insert(key.clone());
            return;
        }
        let left = parties.iter().map(|party| party.key().clone()).collect();
        self.try_again(intent, jobs, left, round).await;
        if !self.state.memory.troubles.contains_key(key) {
            return;
        }
        let why = match first
            .object(within)
            .restore(first.live.clone(), before)
            .await
        {
            Ok(()) => "the others could not be replaced, so it was made again as it was".to_owned(),
            Err(lost) => format!("nor could the old one be made again: {lost}"),
        };
        self.add_to_trouble(key, &why);
        let memory = &mut self.state.memory;
        let refused = (first.job.item.digest, why.into());
        memory.replaced_in_vain.insert(key.clone(), refused);
        memory.again.insert(key.clone());
    }

    async fn party<'a>(&self, intent: &SyncIntent, job: &'a Job) -> Option<Party<'a>> {
        let manifest = self.manifest(job).await?;
        let key = &job.item.key;
        let cluster = &self.context.cluster;
        let served = cluster.kinds.get(&manifest.gvk)?;
        let actor = self.actor(intent);
        let acting = cluster.as_(&actor);
        let live = acting.live(&served, key).await.ok()??;
        let mut may_go = self.state.memory.barred.contains(key);
        if !may_go {
            // That a node port is taken is said first. Without it, the rest is checked.
            let bare = Manifest {
                body: without_exclusive(&manifest.body, &node_ports(&manifest.body)),
                ..manifest.clone()
            };
            let seal = cluster.inventory.seal(&self.name, key);
            let body = stamped(bare, &seal, &job.item.digest, None);
            if let Err(error) = acting.rehearse(&served, &seal, &body).await {
                let before = job.before.as_ref();
                let is_ours =
                    before.is_some_and(|it| cluster.inventory.is_proven(&self.name, key, it));
                may_go = job.may_be_replaced && is_ours && job.replaced_in_vain.is_none();
                if !may_go || !acting.is_immutable(&served, &error).await {
                    return None;
                }
            }
        }
        Some(Party {
            job,
            exchange: Exchange::of(&live, &manifest.body, may_go),
            manifest,
            served,
            live,
            may_go,
        })
    }

    fn add_to_trouble(&mut self, key: &ObjectKey, why: &str) {
        if let Some(trouble) = self.state.memory.troubles.get_mut(key) {
            trouble.message = format!("{}; {why}", trouble.message);
        }
    }
}

/// What these Services have.
fn held(parties: &[Party<'_>]) -> BTreeSet<Exclusive> {
    let all = parties.iter().flat_map(|party| party.exchange.has());
    all.cloned().collect()
}
