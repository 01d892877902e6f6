//! Why the pods of an object do not run that is not healthy. The status of a workload counts its pods, and they know why. They
//! are looked at once, when the object has failed or is overdue, and again when a person or the interval asks for it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::Driver;
use super::report::Phase;
use super::timers::Due;
use crate::health::{self, Health};
use crate::intent::SyncIntent;
use crate::manifest::ObjectKey;

/// The most objects that are looked at in a round, and how long all of that may take. A message names no more.
const OBJECTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);

/// What the pods of objects say. None for an object whose pods say nothing, or may not be read.
#[derive(Debug, Default)]
pub(super) struct Causes(HashMap<ObjectKey, Option<String>>);

impl Causes {
    /// What an object's pods said.
    pub(super) fn of(&self, key: &ObjectKey) -> Option<String> {
        self.0.get(key).cloned().flatten()
    }

    /// Forgets all but the objects that have failed. Returns of which of these the pods are to be looked at.
    fn wanted<'k>(&mut self, failed: impl Iterator<Item = &'k ObjectKey>) -> Vec<ObjectKey> {
        let mut before = std::mem::take(&mut self.0);
        let mut wanted = Vec::new();
        for key in failed {
            match before.remove_entry(key) {
                Some((key, cause)) => drop(self.0.insert(key, cause)),
                None if wanted.len() < OBJECTS && health::has_pods(&key.kind) => {
                    wanted.push(key.clone());
                }
                None => (),
            }
        }
        wanted.truncate(OBJECTS.saturating_sub(self.0.len()));
        wanted
    }
}

impl Driver {
    /// Looks at the pods of the first objects that have failed or are overdue, unless that was done.
    pub(super) async fn find_causes(&mut self, intent: &SyncIntent, phase: Phase, due: Due) {
        if phase != Phase::Done {
            return;
        }
        let is_overdue = self.state.report.overdue || due.healthy;
        let memory = &mut self.state.memory;
        // In the order in which they are shown.
        let failed = memory.unhealthy.iter();
        let failed = failed.filter(|(_, health)| matches!(health, Health::Failed(_)));
        let late = memory.unhealthy.iter().filter(|(_, health)| {
            is_overdue && matches!(health, Health::InProgress(_) | Health::Terminating(_))
        });
        let failed = failed.chain(late);
        let wanted = memory.causes.wanted(failed.map(|(key, _)| key));
        if wanted.is_empty() {
            return;
        }
        let look = async {
            let mut found = Vec::new();
            for key in &wanted {
                found.push((key.clone(), self.cause_of(intent, key).await));
            }
            found
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        let found = found.unwrap_or_default();
        let causes = &mut self.state.memory.causes.0;
        // What could not be answered in time is not asked for in each round.
        causes.extend(wanted.into_iter().map(|key| (key, None)));
        causes.extend(found);
    }

    /// What the pods of an object say. Nothing where they cannot be read: that needs rights of its own.
    async fn cause_of(&self, intent: &SyncIntent, key: &ObjectKey) -> Option<String> {
        let served = self.context.cluster.kinds.preferred(&key.kind)?;
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let live = acting.live(&served, key).await.ok().flatten()?;
        if (&*key.kind.group, &*key.kind.kind) == ("", "Pod") {
            return said(std::slice::from_ref(&live));
        }
        let selector = health::pod_selector(&live)?;
        let pods = acting.pods_with(key, &selector).await.ok()?;
        said(&pods)
    }
}

/// Without the pod's name: the next pod has another one, and would be told as another failure.
fn said(pods: &[Value]) -> Option<String> {
    health::cause(pods).map(|cause| cause.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_objects_with_pods_are_looked_at_once() {
        let key = |text: &str| ObjectKey::parse(text).unwrap();
        let [map, job, web, db, set] = [
            "ConfigMap a/m",
            "Job.batch a/j",
            "Deployment.apps a/web",
            "StatefulSet.apps a/db",
            "DaemonSet.apps a/d",
        ]
        .map(key);
        let mut causes = Causes::default();
        let all = [&map, &job, &web, &db, &set];
        let first = causes.wanted(all.into_iter());
        assert_eq!(first, [job.clone(), web.clone(), db.clone()]);
        let said = |key: ObjectKey| (key, Some("why".to_owned()));
        causes.0.extend(first.into_iter().map(said));
        assert!(causes.wanted(all.into_iter()).is_empty());
        assert_eq!(causes.of(&web).as_deref(), Some("why"));
        // What is well again makes room, and is looked at anew when it fails again.
        assert_eq!(
            causes.wanted([&web, &set].into_iter()),
            std::slice::from_ref(&set)
        );
        assert_eq!(causes.of(&job), None);
        assert_eq!(
            causes.wanted([&job].into_iter()),
            std::slice::from_ref(&job)
        );
    }
}
