//! `spec.validate`: a revision is tried out as a whole before anything of it is written.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::apply::PARALLEL;
use crate::cluster::WriteError;
use crate::desired::Item;
use crate::intent::SyncIntent;
use crate::manifest::{ApplyMode, GroupKind, Manifest, ObjectKey};
use crate::plan::stamped;
use crate::sync::memory::Trouble;
use crate::sync::target::{Loaded, Objects, Target, TargetError};
use crate::sync::{Driver, bodies};
use crate::text::{listing, shorten};

/// The number of refused objects that a message names, and the longest message about one.
const NAMED: usize = 3;
const LONGEST: usize = 400;

impl Driver {
    /// What was loaded, unless it is a revision that has to be tried out and has an object that the API server
    /// refuses.
    pub(in crate::sync) async fn validated(
        &self,
        intent: &SyncIntent,
        loaded: Result<Loaded, TargetError>,
    ) -> Result<Loaded, TargetError> {
        match loaded {
            Ok(Loaded::New(target))
                if intent.validate && !self.state.report.is_restored(&target.revision) =>
            {
                self.validate(intent, &target).await?;
                Ok(Loaded::New(target))
            }
            loaded => loaded,
        }
    }

    /// Tries out every object of a revision that differs from what was applied last.
    async fn validate(&self, intent: &SyncIntent, target: &Target) -> Result<(), TargetError> {
        let cluster = &self.context.cluster;
        let (within, rules) = (self.limit(intent), &intent.ignore_fields);
        let mut objects = Objects::resolve(target, &cluster.kinds, within, rules);
        if !objects.waiting.is_empty() {
            if let Err(error) = cluster.discover().await {
                tracing::debug!(sync = %self.name, %error, "discovery");
            }
            objects = Objects::resolve(target, &cluster.kinds, within, rules);
        }
        let desired = target.desired.objects();
        let mut changed: Vec<&Item> = objects
            .items
            .values()
            .filter(|item| self.is_to_be_tried(item))
            .collect();
        changed.sort_unstable_by_key(|item| item.index);
        let defined = defined_groups(&changed);
        let mut refused: Vec<(usize, String)> = Vec::new();
        for (index, why) in &objects.misplaced {
            refused.push((*index, format!("{}: {why}", desired[*index].key())));
        }
        for (kind, indexes) in &objects.waiting {
            // Objects of a definition that comes with the revision cannot be tried out before that is there.
            if let Some(first) = indexes.first().filter(|_| !defined.contains(&*kind.group)) {
                let why = "the API server does not serve this kind, and no CustomResourceDefinition of the revision \
                           brings it";
                refused.push((*first, format!("{}: {why}", desired[*first].key())));
            }
        }
        changed.retain(|item| !defined.contains(&*item.key.kind.group));
        refused.extend(
            self.rehearse_all(intent, target, &objects, &changed)
                .await?,
        );
        if refused.is_empty() {
            return Ok(());
        }
        refused.sort_unstable();
        let total = refused.len();
        let named = refused.into_iter().take(NAMED).map(|(index, why)| {
            let place = target.place(index).unwrap_or_default();
            format!("{} (in {place})", shorten(&why, LONGEST))
        });
        Err(TargetError::Refused {
            objects: listing(named, total),
        })
    }

    /// Whether an object has to be tried out: not if the same manifest was applied last, or none will be.
    fn is_to_be_tried(&self, item: &Item) -> bool {
        // What others have says nothing about this one's manifest.
        let observed = self.context.cluster.inventory.get(&item.key);
        let Some(observed) = observed.filter(|observed| observed.owner == self.name) else {
            return !item.modes.is_left_alone();
        };
        let is_same = observed.is_of(&item.digest);
        let is_left = item.modes.is_left_alone() || observed.modes.is_left_alone();
        !is_same && !is_left && item.modes.apply != ApplyMode::IfNotPresent
    }

    /// The refusals of these objects, by index.
    async fn rehearse_all(
        &self,
        intent: &SyncIntent,
        target: &Target,
        objects: &Objects,
        changed: &[&Item],
    ) -> Result<Vec<(usize, String)>, TargetError> {
        let wanted: Vec<usize> = changed.iter().map(|item| item.index).collect();
        let mut read = bodies::read(
            target.seen.snapshot.clone(),
            Arc::clone(&target.desired),
            wanted,
        );
        let manifests = stream::poll_fn(move |context| read.poll_recv(context));
        let superseded = self.inbox.superseded_later();
        let answers: Vec<(usize, Result<(), Trouble>)> = manifests
            .take_while(move |_| std::future::ready(!superseded()))
            .map(|held| async move {
                let item = changed[held.position];
                let tried = match held.manifest {
                    Ok(manifest) => self.rehearse(intent, objects, item, manifest).await,
                    Err(trouble) => Err(trouble),
                };
                (item.index, tried)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        if answers.len() < changed.len() {
            return Err(TargetError::Interrupted);
        }
        let mut refused = Vec::new();
        for (index, answer) in answers {
            match answer {
                Ok(()) => (),
                Err(trouble) if trouble.reason == crate::api::Reason::ApiUnavailable => {
                    return Err(TargetError::Untried {
                        why: trouble.message,
                    });
                }
                Err(trouble) => {
                    let object = target.desired.objects()[index].key();
                    refused.push((index, format!("{object}: {}", trouble.message)));
                }
            }
        }
        Ok(refused)
    }

    /// Tries out one object. Nothing is written.
    async fn rehearse(
        &self,
        intent: &SyncIntent,
        objects: &Objects,
        item: &Item,
        mut manifest: Manifest,
    ) -> Result<(), Trouble> {
        let cluster = &self.context.cluster;
        let actor = self.actor(intent);
        let acting = cluster.as_(&actor);
        let Some(served) = cluster.kinds.get(&manifest.gvk) else {
            return Err(Trouble::from(&WriteError::NotServed));
        };
        for field in item.fixed.iter().flat_map(|fixed| fixed.iter()) {
            field.strip(&mut manifest.body);
        }
        let seal = cluster.inventory.seal(&self.name, &item.key);
        let body = stamped(manifest, &seal, &item.digest, None);
        let may_be_replaced =
            || super::replace::may_be(intent, item, cluster.inventory.get(&item.key).as_ref());
        let tried = acting.rehearse(&served, &seal, &body).await;
        if let Err(error) = &tried
            && acting.is_immutable(&served, error).await
        {
            return match may_be_replaced() {
                true => Ok(()),
                false => Err(Trouble::from(error)),
            };
        }
        match tried {
            // Its namespace comes with the revision.
            Err(WriteError::NoNamespace { .. }) if has_namespace(objects, &item.key) => Ok(()),
            // What stands against it may be a default that nobody has declared, which an apply removes: a new object
            // has none.
            Err(WriteError::Refused {
                code: 400 | 422 | 500,
                ..
            }) => match acting.rehearse_create(&served, &seal, &body).await {
                Err(error) if error.is_only_allocated() => Ok(()),
                tried => tried.map_err(|error| Trouble::from(&error)),
            },
            tried => tried.map_err(|error| Trouble::from(&error)),
        }
    }
}

/// The groups whose definitions are among the changed objects: `widgets.example.com` defines a kind of
/// `example.com`. What the API server says of their objects now may be other than what it says with the definition.
fn defined_groups(changed: &[&Item]) -> HashSet<String> {
    let definitions = changed.iter().filter(|item| is_definition(&item.key.kind));
    let groups = definitions.filter_map(|item| item.key.name.split_once('.'));
    groups.map(|(_, group)| group.to_owned()).collect()
}

fn is_definition(kind: &GroupKind) -> bool {
    (&*kind.group, &*kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn has_namespace(objects: &Objects, key: &ObjectKey) -> bool {
    let namespace = key.namespace.as_ref().map(|name| ObjectKey {
        kind: GroupKind::new("", "Namespace"),
        namespace: None,
        name: name.clone(),
    });
    namespace.is_some_and(|key| objects.items.contains_key(&key))
}
