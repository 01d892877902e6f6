//! What wakes a Sync's driver.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Driver;
use crate::api::SyncSpec;
use crate::backoff::jittered;
use crate::cluster::Mailbox;
use crate::controller::Context;
use crate::fleet::{FetchedRevision, SourceName, SourceView, Subscription, SyncView};
use crate::plan::SyncName;

/// The events that a driver listens to, beside its own object.
pub(super) struct Sources {
    pub(super) mailbox: Arc<Mailbox>,
    source: Option<(String, Subscription<SourceName, SourceView>)>,
    pub(super) dependencies: Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    kinds: watch::Receiver<u64>,
    released: watch::Receiver<u64>,
}

impl Sources {
    pub(super) fn new(context: &Context, name: &SyncName) -> Self {
        Self {
            mailbox: context.cluster.inventory.join(name),
            source: None,
            dependencies: Vec::new(),
            kinds: context.cluster.kinds.changed(),
            released: context.cluster.inventory.released(),
        }
    }

    /// Listens to what `spec` names.
    pub(super) fn follow(&mut self, context: &Context, name: &SyncName, spec: &SyncSpec) {
        let source = &spec.source_ref.name;
        if self
            .source
            .as_ref()
            .is_none_or(|(followed, _)| followed != source)
        {
            let name = SourceName::new(&name.namespace, source);
            let state = context.fleet.sources.subscribe(&name);
            self.source = Some((source.clone(), state));
        }
        let wanted = spec.settings.depends_on.iter();
        let wanted: Vec<SyncName> = wanted
            .map(|dependency| SyncName::new(&name.namespace, &dependency.name))
            .collect();
        if !self.dependencies.iter().map(|(name, _)| name).eq(&wanted) {
            self.dependencies = wanted
                .into_iter()
                .map(|name| (name.clone(), context.fleet.syncs.subscribe(&name)))
                .collect();
        }
    }

    /// A receiver of its own that has seen what this one has.
    pub(super) fn source_receiver(&self) -> Option<Subscription<SourceName, SourceView>> {
        self.source.as_ref().map(|(_, state)| state.clone())
    }

    pub(super) fn source_changed(&self) -> bool {
        self.source
            .as_ref()
            .is_some_and(|(_, state)| state.has_changed())
    }

    pub(super) fn source(&mut self) -> SourceView {
        match &mut self.source {
            Some((_, state)) => state.borrow_and_update().clone(),
            None => SourceView::default(),
        }
    }

    /// What the source has now, which may have been seen.
    fn newest(&self) -> Option<FetchedRevision> {
        let (_, state) = self.source.as_ref()?;
        state.borrow().latest.clone()
    }

    /// Whether nothing is known of the source yet.
    pub(super) fn source_is_unknown(&self) -> bool {
        self.source
            .as_ref()
            .is_some_and(|(_, state)| state.borrow().is_unknown())
    }

    /// Whether a kind came or went since the last call.
    pub(super) fn kinds_changed(&mut self) -> bool {
        let changed = self.kinds.has_changed().unwrap_or(false);
        self.kinds.mark_unchanged();
        changed
    }

    /// Whether other Syncs released objects since the last call.
    pub(super) fn released(&mut self) -> bool {
        let released = self.released.has_changed().unwrap_or(false);
        self.released.mark_unchanged();
        released
    }
}

/// The Sync's object is gone.
pub(super) struct Gone;

impl Driver {
    /// Waits for whatever concerns this Sync; whether it then gave way to others.
    pub(super) async fn wait(&mut self) -> Result<bool, Gone> {
        let waits_for_kinds = !self.objects.waiting.is_empty();
        let waits_for_objects = !self.objects.taken.is_empty();
        let waits_for_others = self.blocked.is_some();
        let deadline = self.timers.next();
        let Sources {
            mailbox,
            source,
            dependencies,
            kinds,
            released,
        } = &mut self.wake;
        let source = async {
            match source {
                Some((_, state)) => state.changed().await,
                None => std::future::pending().await,
            }
        };
        let dependencies = dependencies
            .iter_mut()
            .map(|(_, standing)| Box::pin(standing.changed()));
        let dependencies: Vec<_> = dependencies.collect();
        let any_dependency = async {
            match dependencies.is_empty() {
                true => std::future::pending().await,
                false => drop(futures::future::select_all(dependencies).await),
            }
        };
        let mut by_source = false;
        tokio::select! {
            changed = self.object.changed() => changed.map_err(|_| Gone)?,
            () = source => by_source = true,
            () = mailbox.changed() => (),
            () = any_dependency, if waits_for_others => (),
            _ = kinds.changed(), if waits_for_kinds => kinds.mark_changed(),
            _ = released.changed(), if waits_for_objects => released.mark_changed(),
            () = tokio::time::sleep_until(deadline) => (),
        }
        let gives_way = by_source && self.is_unconcerned();
        if gives_way {
            self.give_way().await;
        }
        Ok(gives_way)
    }

    /// Whether the newest revision is another one, with the content that is the target already.
    fn is_unconcerned(&self) -> bool {
        let (Some(target), Some(seen)) = (&self.target, self.wake.newest()) else {
            return false;
        };
        !Arc::ptr_eq(&seen.snapshot, &target.seen.snapshot)
            && target.is_still(&seen, target.desired.intent())
    }

    /// Of all Syncs that a commit wakes, those that it concerns go first; the others have a status to
    /// write, and wait for a quiet moment unless something of their own happens.
    async fn give_way(&mut self) {
        tokio::select! {
            () = self.context.cluster.applies.quiet() => (),
            () = self.wake.mailbox.changed() => (),
            // The driver looks at it next, and sees by itself when it is gone.
            _ = self.object.changed() => (),
        }
    }
}

/// Which timers ran out.
#[derive(Clone, Copy, Default)]
pub(super) struct Due {
    pub(super) retry: bool,
    pub(super) verify: bool,
    pub(super) healthy: bool,
    pub(super) diff: bool,
}

impl super::Timers {
    /// The first of them.
    fn next(&self) -> Instant {
        [self.retry, self.healthy_by, self.diff, self.correct]
            .into_iter()
            .flatten()
            .fold(self.verify, Instant::min)
    }

    /// Which have run out. They are cleared, so that none wakes the driver twice; the next full
    /// verification is in `interval`.
    pub(super) fn take_due(&mut self, interval: std::time::Duration) -> Due {
        let now = Instant::now();
        let take = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        take(&mut self.correct);
        let verify = self.verify <= now;
        if verify {
            self.verify = now + jittered(interval);
        }
        Due {
            retry: take(&mut self.retry),
            verify,
            healthy: take(&mut self.healthy_by),
            diff: take(&mut self.diff),
        }
    }
}
