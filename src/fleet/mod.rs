//! The operator's published knowledge: every source and every Sync, with a feed of changes.
//!
//! Drivers publish here. Other drivers, metrics and pages for people only read. Nothing here talks
//! to the API server or reads a file.

mod deliveries;
mod figures;
mod registry;
mod series;
mod source;
mod sync;

pub use self::deliveries::{Deliveries, Outcome};
pub use self::figures::{Ready, SyncFigures};
pub use self::registry::{Changes, Key, Registry, Subscription, View};
pub use self::series::{SERIES, Series};
pub use self::source::{FetchTimes, FetchedRevision, Hurries, PlansView, SourceName, SourceView};
pub use self::sync::{Environment, SyncObject, SyncView};
use std::collections::{BTreeMap, BTreeSet};

use crate::plan::SyncName;

/// A Sync that has not said yet what it wants of a revision, with the revision of which it has; empty if of none.
pub type Laggard = (SyncName, String);

/// All sources and Syncs; clones share them.
#[derive(Clone, Default)]
pub struct Fleet {
    /// The sources.
    pub sources: Registry<SourceName, SourceView>,
    /// The Syncs. Views are published with [`Fleet::announce_sync`] and [`Fleet::update_sync`].
    pub syncs: Registry<SyncName, SyncView>,
    /// What became of the plans of pull requests, by source.
    pub plans: Registry<SourceName, PlansView>,
    /// The sources that are to look for a new revision soon.
    pub hurries: Registry<SourceName, Hurries>,
    /// What became of the changes of the Syncs.
    pub deliveries: Deliveries,
}

impl Fleet {
    /// Publishes the view that the resource of a source gives. If it is published and this replica
    /// drives it, the view stays: its driver knows a newer one.
    pub fn announce_source(&self, source: &SourceName, view: SourceView, is_driven: bool) {
        self.sources
            .publish_with(source, |known| match known.filter(|_| is_driven) {
                Some(known) => SourceView {
                    url: view.url,
                    follows_tags: view.follows_tags,
                    labels: view.labels,
                    planning: view.planning,
                    ..known.clone()
                },
                None => view,
            });
        self.plans.add(source, PlansView::default);
        self.hurries.add(source, Hurries::default);
    }

    /// Publishes the view that the resource of a Sync gives. If this replica drives the Sync
    /// already, the figures and what it waits for stay: its driver knows newer ones.
    pub fn announce_sync(&self, sync: &SyncName, view: SyncView, is_driven: bool) {
        let depends_on = view.depends_on.clone();
        let mut is_first = false;
        let before = self.syncs.publish_with(sync, |known| {
            is_first = known.is_none();
            match known {
                Some(known) if is_driven => SyncView {
                    figures: known.figures.clone(),
                    waits_for: known.waits_for.clone(),
                    // What it wanted by another spec is not what it wants.
                    planned: known
                        .planned
                        .clone()
                        .filter(|_| known.object.generation == view.object.generation),
                    unread: known
                        .unread
                        .clone()
                        .filter(|_| known.object.generation == view.object.generation),
                    brings: known.brings.clone(),
                    ..view
                },
                _ => view,
            }
        });
        if is_first {
            self.deliveries.add_sync(&sync.namespace);
        }
        if before.depends_on != depends_on {
            self.wake_dependents(sync);
        }
    }

    /// Changes the view of a Sync that exists. Does nothing if the Sync is gone, because its driver
    /// may end later.
    pub fn update_sync(&self, sync: &SyncName, change: impl FnOnce(&mut SyncView)) {
        let rewired = self.syncs.update(sync, |view| {
            let before = view.depends_on.clone();
            change(view);
            before != view.depends_on
        });
        if rewired == Some(true) {
            self.wake_dependents(sync);
        }
    }

    /// Removes the view of a Sync that is gone.
    pub fn remove_sync(&self, sync: &SyncName) {
        let rewired = !self.syncs.read(sync).depends_on.is_empty();
        if self.syncs.remove(sync) {
            self.deliveries.remove_sync(&sync.namespace);
        }
        if rewired {
            self.wake_dependents(sync);
        }
    }

    /// The Syncs of the same source that may still ask for objects at one of these revisions of it, each with what it has
    /// asked for: nothing, where it has said nothing yet. A Sync that another one has just made, or changed, is one of
    /// them before it is known. One that cannot say it is none of them, but of [`Self::unread`].
    pub fn planning(&self, sync: &SyncName, source: &str, revisions: &[&str]) -> Vec<Laggard> {
        // Of each Sync beside, which version is known; and of those of the source, what they have said.
        let beside = self.syncs.pick(|other, view| {
            let is_beside = other.namespace == sync.namespace && view.exists;
            let is_of_source = view.source == source;
            is_beside.then(|| {
                let is_unread = is_one_of(revisions, view.unread.as_ref());
                let said =
                    is_of_source.then(|| (view.planned.clone(), view.brings.clone(), is_unread));
                (other.clone(), (view.version, said))
            })
        });
        let beside: BTreeMap<SyncName, _> = beside.into_iter().collect();
        let is_known = |other: &SyncName, version: u64| {
            let known = beside.get(other);
            known.is_some_and(|(known, _)| *known >= version)
        };
        let mut lags = Vec::new();
        for (other, (_, said)) in &beside {
            let Some((planned, brings, is_unread)) = said else {
                continue;
            };
            if is_one_of(revisions, planned.as_ref()) {
                let brings = brings.iter();
                let unknown = brings.filter(|(other, version)| !is_known(other, *version));
                lags.extend(unknown.map(|(other, _)| (other.clone(), String::new())));
            } else if other != sync && !is_unread {
                lags.push((other.clone(), planned.clone().unwrap_or_default()));
            }
        }
        lags
    }

    /// The other Syncs of the namespace that have said that they do not know what they want of one of these revisions: those
    /// of the same source, and those of another one with its URL.
    pub fn unread(&self, sync: &SyncName, source: &str, revisions: &[&str]) -> Vec<SyncName> {
        let mine = SourceName::new(&sync.namespace, source);
        let alike = self.alike(&mine, false);
        self.syncs.pick(|other, view| {
            let is_beside = other.namespace == sync.namespace && other != sync && view.exists;
            let of = || SourceName::new(&other.namespace, &view.source);
            let is_unread = is_beside
                && (view.source == source || alike.contains(&of()))
                && is_one_of(revisions, view.unread.as_ref())
                && !is_one_of(revisions, view.planned.as_ref());
            is_unread.then(|| other.clone())
        })
    }

    /// The other Syncs of the same source that have said nothing yet: they are new, or towline has just started.
    pub fn silent(&self, sync: &SyncName, source: &str) -> Vec<SyncName> {
        self.syncs.pick(|other, view| {
            let is_beside = other.namespace == sync.namespace && other != sync && view.exists;
            let is_silent = view.planned.is_none() && view.unread.is_none();
            (is_beside && view.source == source && is_silent).then(|| other.clone())
        })
    }

    /// The other sources with the URL of this one. `everywhere`: also those of other namespaces.
    fn alike(&self, mine: &SourceName, everywhere: bool) -> BTreeSet<SourceName> {
        if !self.sources.is_published(mine) {
            return BTreeSet::new();
        }
        let url = self.sources.read(mine).url;
        let alike = self.sources.pick(|name, view| {
            let is_near = everywhere || name.namespace == mine.namespace;
            (name != mine && is_near && view.url == url).then(|| name.clone())
        });
        alike.into_iter().collect()
    }

    /// The Syncs of other sources that follow the same URL and ref as this one, and may still ask for objects at one of
    /// these revisions. `everywhere`: also those of other namespaces.
    pub fn planning_elsewhere(
        &self,
        sync: &SyncName,
        source: &str,
        revisions: &[&str],
        everywhere: bool,
    ) -> Vec<Laggard> {
        let mine = SourceName::new(&sync.namespace, source);
        let beside = self.alike(&mine, everywhere);
        if beside.is_empty() {
            return Vec::new();
        }
        let followed = |revision: &str| revision.split_once('@').map(|(name, _)| name.to_owned());
        let refs: Vec<_> = revisions.iter().map(|one| followed(one)).collect();
        self.syncs.pick(|other, view| {
            let known = view.planned.as_deref().or(view.applied.as_deref())?;
            let lags = view.exists
                && !revisions.contains(&known)
                && !is_one_of(revisions, view.unread.as_ref())
                && refs.contains(&followed(known))
                && beside.contains(&SourceName::new(&other.namespace, &view.source));
            lags.then(|| (other.clone(), known.to_owned()))
        })
    }

    /// Has the sources of these Syncs look for a new revision soon: another source with their URL and ref has one.
    pub fn hurry<'a>(&self, laggards: impl Iterator<Item = &'a SyncName>) {
        let source = |sync: &SyncName| {
            let source = self.syncs.read(sync).source;
            SourceName::new(&sync.namespace, &source)
        };
        let sources: BTreeSet<SourceName> = laggards.map(source).collect();
        for source in sources {
            self.hurries.update(&source, |hurries| hurries.0 += 1);
        }
    }

    /// The circle of dependencies that contains `sync`, from it to itself. None if there is no such
    /// circle.
    pub fn circle(&self, sync: &SyncName) -> Option<Vec<SyncName>> {
        sync::circle(sync, |name| self.syncs.read(name).depends_on)
    }

    /// Whether `from` waits for `to`: for its health, as a dependency, or through other Syncs.
    pub fn waits(&self, from: &SyncName, to: &SyncName) -> bool {
        sync::waits(from, to, |name| self.syncs.read(name))
    }

    /// Wakes the subscribers of all Syncs that depend on `sync` through others. A circle concerns
    /// all its Syncs, but only one of them changes when the circle closes or opens.
    fn wake_dependents(&self, sync: &SyncName) {
        for dependent in sync::dependents(sync, &self.syncs.views()) {
            self.syncs.touch(&dependent);
        }
    }
}

fn is_one_of(revisions: &[&str], revision: Option<&String>) -> bool {
    revision.is_some_and(|revision| revisions.contains(&&**revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_a_circle_wakes_every_sync_in_it() {
        let fleet = Fleet::default();
        let name = |name: &str| SyncName::new("ns", name);
        let publish = |from: &str, to: &[&str]| {
            let view = SyncView {
                depends_on: to.iter().map(|to| name(to)).collect(),
                ..SyncView::default()
            };
            fleet.announce_sync(&name(from), view, true);
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

    /// A Sync of the same source lags until it has said what it wants of a revision; one that says nothing is named once.
    #[test]
    fn a_sync_beside_lags_until_it_has_said_what_it_wants() {
        let fleet = Fleet::default();
        let mine = SyncName::new("a", "mine");
        let lags = |namespace: &str, source: &str, planned: Option<&str>| {
            let name = SyncName::new(namespace, "all");
            let view = SyncView {
                exists: true,
                source: source.to_owned(),
                planned: planned.map(str::to_owned),
                ..SyncView::default()
            };
            fleet.syncs.publish(&name, view);
            let lags = fleet.planning(&mine, "repo", &["2", ""]);
            fleet.syncs.remove(&name);
            let known = lags.into_iter().map(|(_, known)| known);
            known.collect::<Vec<_>>()
        };
        assert_eq!(lags("a", "repo", Some("1")), ["1"]);
        assert_eq!(lags("a", "repo", None), [""], "it has said nothing");
        assert_eq!(lags("a", "repo", Some("2")), [""; 0]);
        assert_eq!(lags("a", "other", Some("1")), [""; 0]);
        assert_eq!(lags("b", "repo", Some("1")), [""; 0]);
    }

    /// A Sync that cannot read a revision is not waited for, but named, until it has said what it wants of it.
    #[test]
    fn a_sync_beside_that_cannot_read_a_revision_is_named() {
        let fleet = Fleet::default();
        let mine = SyncName::new("a", "mine");
        for (namespace, source, url) in [
            ("a", "repo", "u"),
            ("a", "other", "v"),
            ("a", "alike", "u"),
            ("b", "alike", "u"),
        ] {
            let view = SourceView {
                url: url.into(),
                ..SourceView::default()
            };
            let source = SourceName::new(namespace, source);
            fleet.announce_source(&source, view, false);
        }
        let of = |namespace: &str, source: &str, planned: &str, unread: &str| {
            let name = SyncName::new(namespace, "all");
            let view = SyncView {
                exists: true,
                source: source.to_owned(),
                planned: Some(planned.to_owned()),
                unread: Some(unread.to_owned()),
                ..SyncView::default()
            };
            fleet.syncs.publish(&name, view);
            let lags = fleet.planning(&mine, "repo", &["2", ""]).len();
            let unread = fleet.unread(&mine, "repo", &["2", ""]).len();
            fleet.syncs.remove(&name);
            (lags, unread)
        };
        assert_eq!(of("a", "repo", "1", "2"), (0, 1));
        assert_eq!(of("a", "repo", "1", "1"), (1, 0), "it lags");
        assert_eq!(of("a", "repo", "2", "2"), (0, 0), "it has said it before");
        assert_eq!(of("a", "other", "1", "2"), (0, 0));
        assert_eq!(of("b", "repo", "1", "2"), (0, 0));
        assert_eq!(of("a", "alike", "1", "2"), (0, 1), "it has the same URL");
        assert_eq!(of("b", "alike", "1", "2"), (0, 0), "another namespace");
    }

    /// A Sync that another one has applied is waited for until it is known as it was applied, and has said what it wants.
    #[test]
    fn a_sync_that_is_made_in_the_same_commit_lags() {
        let fleet = Fleet::default();
        let name = |name: &str| SyncName::new("a", name);
        let publish = |sync: &str, view: SyncView| {
            let view = SyncView {
                exists: true,
                source: "repo".to_owned(),
                ..view
            };
            fleet.announce_sync(&name(sync), view, true);
        };
        let of = |generation: i64, version: u64| SyncView {
            object: SyncObject {
                generation: Some(generation),
                ..SyncObject::default()
            },
            version,
            ..SyncView::default()
        };
        let lags = |sync: &str| {
            let lags = fleet.planning(&name(sync), "repo", &["2"; 2]);
            let lags = lags.into_iter().map(|(sync, _)| sync.name.to_string());
            lags.collect::<Vec<_>>()
        };
        let plans = |sync: &str, brings: Vec<(SyncName, u64)>| {
            fleet.update_sync(&name(sync), |view| {
                view.planned = Some("2".to_owned());
                view.brings = brings;
            });
        };
        for sync in ["mine", "root"] {
            publish(sync, of(1, 1));
        }
        plans("mine", Vec::new());
        assert_eq!(lags("mine"), ["root"]);
        plans("root", vec![(name("new"), 7)]);
        assert_eq!(
            (lags("mine"), lags("root")),
            (vec!["new".to_owned()], vec!["new".to_owned()])
        );
        publish("new", of(1, 7));
        assert_eq!(lags("mine"), ["new"], "it has said nothing");
        plans("new", Vec::new());
        assert_eq!(lags("mine"), [""; 0]);
        // Its spec changes.
        plans("root", vec![(name("new"), 9)]);
        assert_eq!(lags("mine"), ["new"]);
        publish("new", of(2, 9));
        assert_eq!(
            lags("mine"),
            ["new"],
            "it has said what it wanted by another spec"
        );
        plans("new", Vec::new());
        // Its status changes.
        publish("new", of(2, 10));
        assert_eq!(lags("mine"), [""; 0]);
    }

    /// A Sync that another namespace has of the same branch is waited for; one of another branch or URL is not.
    #[test]
    fn a_sync_elsewhere_lags_until_it_has_said_what_it_wants() {
        let source = |namespace: &str, url: &str| {
            let view = SourceView {
                url: url.into(),
                ..SourceView::default()
            };
            (SourceName::new(namespace, "repo"), view)
        };
        let fleet = Fleet::default();
        for (name, view) in [source("a", "x"), source("b", "x"), source("c", "y")] {
            fleet.sources.publish(&name, view);
        }
        let other = SourceName::new("a", "other");
        fleet.sources.publish(&other, source("a", "x").1);
        let view = |planned: Option<&str>, applied: Option<&str>| SyncView {
            exists: true,
            source: "repo".to_owned(),
            planned: planned.map(str::to_owned),
            applied: applied.map(str::to_owned),
            ..SyncView::default()
        };
        let lags = |namespace: &str, view: SyncView| {
            let name = SyncName::new(namespace, "all");
            fleet.syncs.publish(&name, view);
            let mine = SyncName::new("a", "mine");
            let lags = [true, false].map(|everywhere| {
                fleet
                    .planning_elsewhere(&mine, "repo", &["main@sha1:2"; 2], everywhere)
                    .len()
            });
            fleet.syncs.remove(&name);
            lags
        };
        for (namespace, planned, applied, expected) in [
            ("b", Some("main@sha1:1"), None, 1),
            ("b", None, Some("main@sha1:1"), 1),
            ("b", Some("main@sha1:2"), Some("main@sha1:1"), 0),
            ("b", None, None, 0),
            ("b", Some("stable@sha1:1"), None, 0),
            ("c", Some("main@sha1:1"), None, 0),
            ("a", Some("main@sha1:1"), None, 0),
        ] {
            let found = lags(namespace, view(planned, applied));
            assert_eq!(found, [expected, 0], "{namespace} {planned:?} {applied:?}");
        }
        let beside = SyncView {
            source: "other".to_owned(),
            ..view(Some("main@sha1:1"), None)
        };
        assert_eq!(lags("a", beside), [1, 1]);
    }
}
