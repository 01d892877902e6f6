//! The resources that an alert names: whether they are there. One that is not may come later, or its name may be misspelt, and
//! then nobody would be told anything.

use futures::future::{pending, select_all};

use crate::fleet::{Fleet, SourceName, SourceView, Subscription, SyncView};
use crate::intent::AlertIntent;
use crate::plan::SyncName;
use crate::text::listing;

/// The most of them that a message names.
const NAMED: usize = 3;

/// A resource that an alert names.
enum Named {
    Sync(Subscription<SyncName, SyncView>),
    Repository(Subscription<SourceName, SourceView>),
}

/// The resources that an alert names, without patterns.
pub(super) struct NamedSources {
    fleet: Fleet,
    all: Vec<Named>,
}

impl NamedSources {
    pub(super) fn new(fleet: Fleet) -> Self {
        let all = Vec::new();
        Self { fleet, all }
    }

    /// Follows those that a spec names.
    pub(super) fn follow(&mut self, intent: &AlertIntent) {
        let sources = intent.sources.iter();
        let named = sources.filter_map(|source| {
            let (namespace, name) = (source.namespace.as_ref()?, source.name.as_ref()?);
            Some(match &*source.kind {
                "Sync" => {
                    let name = SyncName::new(namespace, name);
                    Named::Sync(self.fleet.syncs.subscribe(&name))
                }
                _ => {
                    let name = SourceName::new(namespace, name);
                    Named::Repository(self.fleet.sources.subscribe(&name))
                }
            })
        });
        self.all = named.collect();
    }

    /// What is to be said of those that do not exist; none if all are there.
    pub(super) fn absent(&self) -> Option<String> {
        let absent = self.all.iter().filter_map(|named| match named {
            Named::Sync(sync) if !self.fleet.syncs.is_published(sync.key()) => {
                Some(format!("Sync {}", sync.key()))
            }
            Named::Repository(source) if !self.fleet.sources.is_published(source.key()) => {
                Some(format!("GitRepository {}", source.key()))
            }
            Named::Sync(_) | Named::Repository(_) => None,
        });
        let absent: Vec<String> = absent.collect();
        let total = absent.len();
        let listed = listing(absent.into_iter().take(NAMED), total);
        (total > 0).then(|| format!("of eventSources, there is no {listed} yet"))
    }

    /// Waits until one of them changes, comes or goes.
    pub(super) async fn changed(&mut self) {
        let changes = self.all.iter_mut().map(|named| {
            Box::pin(async {
                match named {
                    Named::Sync(sync) => sync.changed().await,
                    Named::Repository(source) => source.changed().await,
                }
            })
        });
        let changes: Vec<_> = changes.collect();
        match changes.is_empty() {
            true => pending().await,
            false => drop(select_all(changes).await),
        }
    }
}
