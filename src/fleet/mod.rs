//! The operator's published knowledge: every source and every Sync, with a feed of changes.
//!
//! Drivers publish here. Other drivers, metrics and pages for people only read. Nothing here talks
//! to the API server or reads a file.

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
    /// Publishes the view of a Sync, which may be new.
    pub fn publish_sync(&self, sync: &SyncName, view: SyncView) {
        let depends_on = view.depends_on.clone();
        let before = self.syncs.publish(sync, view);
        if before.depends_on != depends_on {
            self.wake_dependents(sync);
        }
    }

    /// Publishes the view of a Sync that exists. Does nothing if the Sync is gone, because its
    /// driver may end later.
    pub fn update_sync(&self, sync: &SyncName, view: SyncView) {
        let depends_on = view.depends_on.clone();
        let before = self
            .syncs
            .update(sync, |known| std::mem::replace(known, view));
        if before.is_some_and(|before| before.depends_on != depends_on) {
            self.wake_dependents(sync);
        }
    }

    /// Removes the view of a Sync that is gone.
    pub fn remove_sync(&self, sync: &SyncName) {
        let rewired = !self.syncs.read(sync).depends_on.is_empty();
        self.syncs.remove(sync);
        if rewired {
            self.wake_dependents(sync);
        }
    }

    /// The circle of dependencies that contains `sync`, from it to itself. None if there is no such
    /// circle.
    pub fn circle(&self, sync: &SyncName) -> Option<Vec<SyncName>> {
        sync::circle(sync, |name| self.syncs.read(name).depends_on)
    }

    /// Wakes the subscribers of all Syncs that depend on `sync` through others. A circle concerns
    /// all its Syncs, but only one of them changes when the circle closes or opens.
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
