//! Services of one commit that swap their cluster IPs. A Service keeps its address until it is deleted. So where `force`
//! allows it for all of a circle, one is deleted first, the others are replaced, and that one is made again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::apply::Object;
use crate::cluster::{Actor, Cluster, ServedKind};
use crate::intent::SyncIntent;
use crate::manifest::{Manifest, ObjectKey};
use crate::plan::{SyncName, without};
use crate::sync::Driver;
use crate::sync::job::Job;
use crate::sync::report::Round;

/// The most Services of a circle, and the most circles.
const MOST: usize = 64;

/// A Service of a circle.
struct Party<'a> {
    job: &'a Job,
    manifest: Manifest,
    served: ServedKind,
    live: Value,
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
}

impl Driver {
    /// Lets Services that wait for each other's address in a circle have it.
    pub(super) async fn swap(&mut self, intent: &SyncIntent, jobs: &[Job], round: &mut Round) {
        for _ in 0..MOST {
            let Some(circle) = circle(&self.state.memory.barred) else {
                return;
            };
            self.rotate(intent, jobs, &circle, round).await;
            // Each circle is tried once a round.
            let barred = &mut self.state.memory.barred;
            barred.retain(|key, _| !circle.contains(key));
        }
    }

    async fn rotate(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        circle: &[ObjectKey],
        round: &mut Round,
    ) {
        let context = Arc::clone(&self.context);
        let (cluster, actor) = (&context.cluster, self.actor(intent));
        let owner = self.name.clone();
        let within = (cluster, &actor, &owner);
        let mut parties = Vec::new();
        for key in circle {
            let Some(party) = self.party(intent, jobs, key).await else {
                return;
            };
            // Each new object has to be one that the API server takes, before anything goes.
            let bare = Manifest {
                body: anywhere(&party.manifest.body),
                ..party.manifest.clone()
            };
            if let Err(error) = party
                .object(within)
                .rehearse_create(&bare, &party.live)
                .await
            {
                self.add_to_trouble(key, &format!("a new one would be refused as well: {error}"));
                return;
            }
            parties.push(party);
        }
        let Some((first, before)) = parties
            .first()
            .and_then(|first| Some((first, first.job.before.as_ref()?)))
        else {
            return;
        };
        let key = &first.job.item.key;
        cluster.outlive(std::iter::once(before)).await;
        let deleted = cluster.as_(&actor).delete(key, &before.uid).await;
        if deleted.is_err() || !first.object(within).is_gone(before).await {
            // The next round makes it again.
            self.state.memory.again.insert(key.clone());
            return;
        }
        let left: HashSet<ObjectKey> = circle.iter().cloned().collect();
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

    async fn party<'a>(
        &self,
        intent: &SyncIntent,
        jobs: &'a [Job],
        key: &ObjectKey,
    ) -> Option<Party<'a>> {
        let job = jobs.iter().find(|job| job.item.key == *key)?;
        let manifest = self.manifest(job).await?;
        let cluster = &self.context.cluster;
        let served = cluster.kinds.get(&manifest.gvk)?;
        let actor = self.actor(intent);
        let live = cluster.as_(&actor).live(&served, key).await.ok()??;
        Some(Party {
            job,
            manifest,
            served,
            live,
        })
    }

    fn add_to_trouble(&mut self, key: &ObjectKey, why: &str) {
        if let Some(trouble) = self.state.memory.troubles.get_mut(key) {
            trouble.message = format!("{}; {why}", trouble.message);
        }
    }
}

/// Objects of which each waits for the next one, and the last one for the first. Each is named with the one that it
/// waits for.
fn circle(waiting: &HashMap<ObjectKey, ObjectKey>) -> Option<Vec<ObjectKey>> {
    let mut starts: Vec<&ObjectKey> = waiting.keys().collect();
    starts.sort_unstable();
    starts.into_iter().find_map(|start| {
        let mut path = vec![start];
        while path.len() <= MOST {
            let next = waiting.get(*path.last()?)?;
            if next == start {
                return Some(path.into_iter().cloned().collect());
            }
            if path.contains(&next) {
                return None;
            }
            path.push(next);
        }
        None
    })
}

/// A Service without its cluster IPs.
fn anywhere(service: &Value) -> Value {
    let fields = ["spec.clusterIP", "spec.clusterIPs"].into_iter();
    fields.fold(service.clone(), |service, field| without(&service, field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::GroupKind;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", "Service"),
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    #[test]
    fn only_a_circle_is_one() {
        for (waiting, found) in [
            (&[][..], None),
            (&[("a", "b")], None),
            (&[("a", "a")], Some("a")),
            (&[("a", "b"), ("b", "a")], Some("ab")),
            (&[("a", "b"), ("b", "c"), ("c", "b")], Some("bc")),
            (&[("a", "b"), ("b", "c"), ("c", "a")], Some("abc")),
            (&[("a", "b"), ("b", "c"), ("c", "d")], None),
        ] {
            let waiting = waiting.iter().map(|(one, other)| (key(one), key(other)));
            let names = circle(&waiting.collect())
                .map(|circle| circle.iter().map(|key| &*key.name).collect::<String>());
            assert_eq!(names.as_deref(), found);
        }
    }

    #[test]
    fn a_service_goes_anywhere_without_its_addresses() {
        let spec =
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP"});
        let bare = anywhere(&json!({"spec": spec}));
        assert_eq!(bare, json!({"spec": {"type": "ClusterIP"}}));
    }
}
