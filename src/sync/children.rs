//! The Syncs among the objects of a Sync that follow the same source. The health of such a child may be that of the commit
//! before: it is not known that it goes on to the parent's commit too, until it has. So for a parent that waits for health, it
//! is in progress until it is ready at that commit.

use super::Driver;
use super::target::sync_of;
use crate::api::short_commits;
use crate::fleet::SyncView;
use crate::health::Health;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::SyncName;

/// Where a parent is.
#[derive(Clone, Copy)]
struct Parent<'a> {
    name: &'a SyncName,
    /// Its source, in its own namespace.
    source: &'a str,
    /// The revision of its target.
    revision: &'a str,
    /// The newest revision of its source.
    newest: &'a str,
}

/// Whether a Sync will go on to the parent's revision and is not ready there yet. Pure.
///
/// It will not where it follows something else, is pinned, or is driven by nobody here. One that is suspended is not ready, which
/// its own condition says. Where the source is ahead of the parent, the child goes on to what is newer, and its own condition
/// counts.
fn is_behind(parent: Parent<'_>, child: &SyncName, view: &SyncView) -> bool {
    let follows = view.exists
        && !view.pinned
        && child.namespace == parent.name.namespace
        && view.source == parent.source;
    let is_there = view.ready && view.applied.as_deref() == Some(parent.revision);
    follows && parent.revision == parent.newest && !is_there
}

impl Driver {
    /// Takes note of the children that are behind, and is woken by one of them. With each that is there, another one is waited
    /// for: to be woken by all of a thousand would be a thousand rounds.
    pub(super) fn note_behind(&mut self, intent: &SyncIntent) {
        let mut behind = match intent.wait && !intent.deleting {
            true => self.behind(intent),
            false => Vec::new(),
        };
        loop {
            let last = behind.last().and_then(|(key, _)| sync_of(key));
            self.inbox.await_child(&self.context, last);
            // One that has arrived since it was looked at wakes nobody.
            let is_still = |key: &ObjectKey| self.health_of_child(intent, key).is_some();
            match behind.last() {
                Some((key, _)) if !is_still(key) => drop(behind.pop()),
                _ => break,
            }
        }
        self.state.memory.behind = behind.into_iter().collect();
    }

    fn behind(&self, intent: &SyncIntent) -> Vec<(ObjectKey, Health)> {
        let children = self.state.objects.syncs.iter().map(|child| ObjectKey {
            kind: GroupKind::new("towline.dev", "Sync"),
            namespace: Some((&*child.namespace).into()),
            name: (&*child.name).into(),
        });
        let behind = children.filter_map(|key| {
            let health = self.health_of_child(intent, &key)?;
            Some((key, health))
        });
        behind.collect()
    }

    /// The health of a child that is behind.
    fn health_of_child(&self, intent: &SyncIntent, key: &ObjectKey) -> Option<Health> {
        let child = sync_of(key)?;
        let target = self.state.target.as_ref()?;
        let (revision, newest) = (target.seen.revision(), self.inbox.newest_revision()?);
        let parent = Parent {
            name: &self.name,
            source: &intent.source,
            revision: &revision,
            newest: &newest,
        };
        let view = self.context.fleet.syncs.read(&child);
        let is_behind = is_behind(parent, &child, &view) && self.health_counts(key);
        is_behind.then(|| {
            let at = short_commits(&revision);
            Health::InProgress(format!("not ready at {at} yet, which it follows too"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_the_same_source_is_behind_until_it_is_ready_at_the_commit() {
        let (name, child) = (SyncName::new("a", "all"), SyncName::new("a", "shop"));
        let elsewhere = SyncName::new("b", "shop");
        let view = |change: &dyn Fn(&mut SyncView)| {
            let mut view = SyncView {
                exists: true,
                ready: true,
                source: "repo".to_owned(),
                applied: Some("main@sha1:1".to_owned()),
                ..SyncView::default()
            };
            change(&mut view);
            view
        };
        let before = view(&|_| ());
        let there = view(&|view| view.applied = Some("main@sha1:2".to_owned()));
        let case = |child, view: &SyncView, newest| {
            let parent = Parent {
                name: &name,
                source: "repo",
                revision: "main@sha1:2",
                newest,
            };
            is_behind(parent, child, view)
        };
        let now = "main@sha1:2";
        for (what, child, view, newest, behind) in [
            ("at the commit before", &child, &before, now, true),
            ("there", &child, &there, now, false),
            (
                "applied and not healthy",
                &child,
                &view(&|view| {
                    view.applied = there.applied.clone();
                    view.ready = false;
                }),
                now,
                true,
            ),
            (
                "new",
                &child,
                &view(&|view| {
                    view.applied = None;
                    view.ready = false;
                }),
                now,
                true,
            ),
            (
                "the source is ahead of the parent",
                &child,
                &before,
                "main@sha1:3",
                false,
            ),
            ("of another namespace", &elsewhere, &before, now, false),
            (
                "of another source",
                &child,
                &view(&|view| view.source = "other".to_owned()),
                now,
                false,
            ),
            (
                "pinned",
                &child,
                &view(&|view| view.pinned = true),
                now,
                false,
            ),
            ("driven by nobody", &child, &SyncView::default(), now, false),
        ] {
            assert_eq!(case(child, view, newest), behind, "{what}");
        }
    }
}
