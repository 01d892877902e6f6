//! What the operator knows, published: every source and every Sync, with a feed of what changes.
//!
//! Drivers publish here; other drivers, the metrics and whatever shows the operator's knowledge to people
//! only read. Nothing here talks to the API server or reads a file.

mod registry;
mod source;
mod sync;

pub use self::registry::{Changes, Key, Registry, Subscription, View};
pub use self::source::{FetchedRevision, SourceName, SourceView};
pub use self::sync::SyncView;
use crate::plan::SyncName;

/// All sources and Syncs; clones share them.
#[derive(Clone, Default)]
pub struct Fleet {
    /// The sources.
    pub sources: Registry<SourceName, SourceView>,
    /// The Syncs. Views are published with [`Fleet::publish_sync`] and [`Fleet::update_sync`].
    pub syncs: Registry<SyncName, SyncView>,
}

impl Fleet {
    /// Publishes a Sync's view, also of one that is new.
    pub fn publish_sync(&self, sync: &SyncName, view: SyncView) {
        let depends_on = view.depends_on.clone();
        let before = self.syncs.publish(sync, view);
        if before.depends_on != depends_on {
            self.wake_dependents(sync);
        }
    }

    /// Publishes the view of a Sync, unless that is gone: its driver may end later.
    pub fn update_sync(&self, sync: &SyncName, view: SyncView) {
        let depends_on = view.depends_on.clone();
        let before = self
            .syncs
            .update(sync, |known| std::mem::replace(known, view));
        if before.is_some_and(|before| before.depends_on != depends_on) {
            self.wake_dependents(sync);
        }
    }

    /// Takes back the view of a Sync that is gone.
    pub fn remove_sync(&self, sync: &SyncName) {
        let rewired = !self.syncs.read(sync).depends_on.is_empty();
        self.syncs.remove(sync);
        if rewired {
            self.wake_dependents(sync);
        }
    }

    /// The circle of dependencies that `sync` is part of, if there is one: from it to itself.
    pub fn circle(&self, sync: &SyncName) -> Option<Vec<SyncName>> {
        sync::circle(sync, |name| self.syncs.read(name).depends_on)
    }

    /// Wakes those who follow a Sync that depends on `sync` by way of others: a circle concerns everyone
    /// in it, and none of them changes when another closes or opens it.
    fn wake_dependents(&self, sync: &SyncName) {
        for dependent in sync::dependents(sync, &self.syncs.views()) {
            self.syncs.touch(&dependent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_closes_a_circle_wakes_everyone_in_it() {
        let fleet = Fleet::default();
        let name = |name: &str| SyncName::new("ns", name);
        let publish = |from: &str, to: &[&str]| {
            let view = SyncView {
                depends_on: to.iter().map(|to| name(to)).collect(),
                ..SyncView::default()
            };
            fleet.publish_sync(&name(from), view);
        };
        publish("a", &["b"]);
        publish("b", &["c"]);
        let mut heard_by_a = fleet.syncs.subscribe(&name("b"));
        for to in [&["a"][..], &[]] {
            publish("c", to);
            assert!(heard_by_a.has_changed());
            heard_by_a.borrow_and_update();
        }
        publish("c", &["a"]);
        heard_by_a.borrow_and_update();
        fleet.remove_sync(&name("c"));
        assert!(heard_by_a.has_changed());
    }
}
