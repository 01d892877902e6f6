//! Objects that this Sync has applied, that leave it, and that something has taken towline's marks off: nothing proves that
//! they are the Sync's, so they stay. People are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::WriteError;
use crate::intent::SyncIntent;
use crate::manifest::ObjectKey;
use crate::plan::{Release, is_stray};
use crate::sync::Driver;
use crate::sync::assess::released_notice;
use crate::sync::report::Round;
use crate::sync::state::Look;
use crate::sync::target::Objects;

/// The most objects that are looked at in one round. Most often they are gone, with their namespace for example.
const MOST: usize = 100;

impl Driver {
    /// Takes note of the objects that leave this Sync without marks, before what is known of them is forgotten.
    pub(super) fn note_lost(&mut self, objects: &Objects) {
        let lost = self.unmarked(|key| !objects.items.contains_key(key));
        let memory = &mut self.state.memory;
        memory.lost.extend(lost);
        memory.strays.retain(|key| !objects.items.contains_key(key));
        memory
            .unmarked
            .retain(|key, _| objects.items.contains_key(key));
    }

    /// Those of the applied objects that no watch shows as managed, each with its uid where that is known.
    fn unmarked(
        &self,
        is_meant: impl Fn(&ObjectKey) -> bool,
    ) -> BTreeMap<ObjectKey, Option<Arc<str>>> {
        let (memory, inventory) = (&self.state.memory, &self.context.cluster.inventory);
        let records = memory.records.iter();
        let records = records.filter(|(_, record)| !record.is_left_alone());
        let records = records.map(|(key, record)| (key, Some(Arc::clone(&record.uid))));
        let unmarked = memory.unmarked.iter();
        let unmarked = unmarked.map(|(key, made)| (key, made.clone()));
        unmarked
            .chain(records)
            .filter(|(key, _)| is_meant(key) && inventory.get(key).is_none())
            .map(|(key, uid)| (key.clone(), uid))
            .collect()
    }

    /// Finds out which of the objects that left without marks are still there.
    pub(super) async fn find_strays(&mut self, intent: &SyncIntent, look: Look, round: &mut Round) {
        let mut lost = std::mem::take(&mut self.state.memory.lost);
        let known = match look {
            Look::Verify => std::mem::take(&mut self.state.memory.strays),
            _ => Default::default(),
        };
        lost.extend(known.iter().map(|key| (key.clone(), None)));
        for (key, uid) in lost.into_iter().take(MOST) {
            let is_wanted = self.state.objects.items.contains_key(&key);
            if is_wanted || !self.is_stray(intent, &key, uid.as_deref()).await {
                self.state.memory.strays.remove(&key);
                continue;
            }
            if self.state.memory.strays.insert(key.clone()) && !known.contains(&key) {
                tracing::warn!(sync = %self.name, object = %key, why = %Release::Unmarked, "left behind");
                round.released.push((key, Release::Unmarked));
            }
        }
    }

    /// Takes note, once, of the objects without marks when this Sync is deleted: before marks are taken off those that
    /// stay.
    pub(super) fn note_last_lost(&mut self) {
        if std::mem::replace(&mut self.state.memory.is_parting, true) {
            return;
        }
        let mut lost = self.unmarked(|_| true);
        let memory = &mut self.state.memory;
        let strays = memory.strays.iter();
        lost.extend(strays.map(|key| (key.clone(), None)));
        memory.lost = lost;
    }

    /// Tells of the objects that stay without marks when this Sync is deleted.
    pub(super) async fn tell_strays(&self, intent: &SyncIntent) {
        let lost = self.state.memory.lost.clone();
        let mut told = Vec::new();
        for (key, uid) in lost.into_iter().take(MOST) {
            if self.is_stray(intent, &key, uid.as_deref()).await {
                told.push((key, Release::Unmarked));
            }
        }
        if !told.is_empty() {
            let about = Arc::clone(&self.about);
            let notice = released_notice(about, None, &told, Timestamp::now());
            self.context.notifier.tell(notice);
        }
    }

    /// Whether an object is there, applied by towline and without marks. What cannot be read is none.
    async fn is_stray(&self, intent: &SyncIntent, key: &ObjectKey, uid: Option<&str>) -> bool {
        let cluster = &self.context.cluster;
        let Some(served) = cluster.kinds.preferred(&key.kind) else {
            return false;
        };
        let actor = self.actor(intent);
        match cluster.as_(&actor).metadata(&served, key).await {
            Ok(Some(meta)) => {
                let is_it = uid.is_none_or(|uid| meta.uid.as_deref() == Some(uid));
                is_it && is_stray(key, &meta)
            }
            Ok(None) | Err(WriteError::NotServed) => false,
            Err(error) => {
                let error = crate::chain(&error);
                tracing::debug!(sync = %self.name, object = %key, error, "left behind?");
                false
            }
        }
    }
}

/// What people are told of an object that left Git, and that something has taken towline's marks off.
pub(in crate::sync) fn stray_warning(key: &ObjectKey) -> String {
    format!(
        "{key} has left Git and stays: {}; delete it if it is not needed",
        Release::Unmarked
    )
}
