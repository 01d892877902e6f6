//! A deletion is over when the object is gone. Until then it is named, with what holds it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::WriteError;
use crate::health;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::Observed;
use crate::sync::Driver;
use crate::sync::verdict::Listed;

/// Most objects are gone a moment after they were deleted; to report on them would only be one more request.
const MOMENT: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(5);

/// Objects that are looked at for what holds them.
const NAMED: usize = 3;

impl Driver {
    /// What is still there a moment later of the objects that `pick` picks of this Sync's own, and what holds it.
    pub(super) async fn leaving(
        &self,
        intent: &SyncIntent,
        pick: impl Fn(&ObjectKey, &Observed) -> bool + Send,
    ) -> Listed<(ObjectKey, String)> {
        let inventory = &self.context.cluster.inventory;
        let is_mine = |key: &ObjectKey, observed: &Observed| {
            observed.is_ours(&self.name) && inventory.is_proven(&self.name, key, observed)
        };
        let until = Instant::now() + MOMENT;
        let mut left = loop {
            let mut left = inventory.owned(&self.name);
            left.retain(|(key, observed)| is_mine(key, observed) && pick(key, observed));
            if left.is_empty() || Instant::now() >= until || self.inbox.superseded() {
                break left;
            }
            tokio::time::sleep(STEP).await;
        };
        let unserved = self.unserved(intent, &left).await;
        left.retain(|(key, _)| !unserved.contains(&key.kind));
        let total = left.len();
        let mut first = Vec::new();
        for (key, observed) in left.into_iter().take(NAMED) {
            let why = self.what_holds(intent, &key, &observed).await;
            first.push((key, why));
        }
        Listed { first, total }
    }

    /// The kinds of these objects that the API server does not serve any longer: their objects are gone with them.
    async fn unserved(
        &self,
        intent: &SyncIntent,
        left: &[(ObjectKey, Observed)],
    ) -> HashSet<GroupKind> {
        let cluster = &self.context.cluster;
        let actor = self.actor(intent);
        let one_of_each: HashMap<&GroupKind, &ObjectKey> =
            left.iter().map(|(key, _)| (&key.kind, key)).collect();
        let mut unserved = HashSet::new();
        for (kind, key) in one_of_each {
            let is_served = match cluster.kinds.preferred(kind) {
                Some(served) => {
                    let seen = cluster.as_(&actor).metadata(&served, key).await;
                    !matches!(seen, Err(WriteError::NotServed))
                }
                None => false,
            };
            if !is_served {
                unserved.insert(kind.clone());
            }
        }
        if !unserved.is_empty()
            && let Err(error) = cluster.discover().await
        {
            tracing::debug!(sync = %self.name, %error, "discovery");
        }
        unserved
    }

    async fn what_holds(
        &self,
        intent: &SyncIntent,
        key: &ObjectKey,
        observed: &Observed,
    ) -> String {
        let cluster = &self.context.cluster;
        let actor = self.actor(intent);
        let acting = cluster.as_(&actor);
        if says_more(&key.kind)
            && let Some(served) = cluster.kinds.preferred(&key.kind)
            && let Ok(Some(live)) = acting.live(&served, key).await
        {
            let said = health::what_holds(&live);
            let inside = match &*key.kind.kind {
                "CustomResourceDefinition" => acting.held_with(key, &live).await,
                _ => None,
            };
            return inside.map_or(said.clone(), |inside| format!("{said}: {inside}"));
        }
        match &observed.held_by {
            Some(finalizers) => format!("held by {finalizers}"),
            None => "being deleted".to_owned(),
        }
    }
}

/// Kinds that wait for what is in them, and say so in their conditions.
fn says_more(kind: &GroupKind) -> bool {
    ["Namespace", "CustomResourceDefinition"].contains(&&*kind.kind)
}
