//! The driver of one `Sync`: target → resolve → plan → apply → prune → assess → status. It holds no
//! worker while it waits: every wait is a wake-up by an event.

mod apply;
mod audit;
mod bodies;
mod finalize;
mod memory;
mod parent;
mod prune;
mod report;
mod standby;
mod step;
mod target;
mod track;
mod verdict;
mod wake;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::audit::AUDIT;
use self::memory::Memory;
pub(crate) use self::standby::standby;
use self::target::{Objects, Target};
pub(crate) use self::track::figures;
use self::verdict::Blocked;
use crate::api::{Reason, Sync, SyncStatus};
use crate::backoff::{Backoff, jittered};
use crate::cluster::{Actor, Mailbox};
use crate::controller::Context;
use crate::fleet::{SourceView, SyncView};
use crate::manifest::GroupKind;
use crate::plan::{CONTAINS, SyncName, contained};
use crate::render;

/// The longest pause between two tries of what failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Drives one Sync until its object is gone.
pub(crate) struct Driver {
    context: Arc<Context>,
    name: SyncName,
    object: watch::Receiver<Arc<Sync>>,
    wake: wake::Sources,
    /// What the objects' state is measured against; none before the first render.
    target: Option<Target>,
    objects: Objects,
    /// Why the newest revision is not the target.
    blocked: Option<Blocked>,
    memory: Memory,
    cache: render::Cache,
    /// The kinds that the parent's annotation names.
    contained: BTreeSet<GroupKind>,
    /// Whether finalizer and marks are known to be on the Sync.
    marked: bool,
    status: SyncStatus,
    /// What the status that was written last says, to write it only when it changes.
    written: Option<SyncStatus>,
    timers: Timers,
    backoff: Backoff,
    report: report::Told,
    /// Why pruning is held back.
    brake: Option<Reason>,
    /// Look at every object, not only at those that changed.
    full: bool,
    /// The requested-at that a full verification was made for.
    handled: Option<String>,
    /// The generation and the settings that were acted on last.
    generation: Option<i64>,
    /// This revision had been applied in full before the operator started.
    settled: Option<String>,
}

/// When to wake up without an event.
struct Timers {
    /// Try again what failed.
    retry: Option<Instant>,
    /// Verify everything.
    verify: Instant,
    /// Objects must be healthy by then.
    healthy_by: Option<Instant>,
    /// Tell that desired and observed differ.
    diff: Option<Instant>,
    /// Correct an object that is fought over.
    correct: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(context: Arc<Context>, object: watch::Receiver<Arc<Sync>>) -> Self {
        let first = object.borrow().clone();
        let name = SyncName::new(&first.namespace().unwrap_or_default(), &first.name_any());
        let status = first.status.clone().unwrap_or_default();
        let contains = first.annotations().get(CONTAINS);
        Self {
            wake: wake::Sources::new(&context, &name),
            target: None,
            objects: Objects::default(),
            blocked: None,
            memory: Memory::default(),
            cache: render::Cache::default(),
            contained: contains
                .map(|kinds| contained(kinds).collect())
                .unwrap_or_default(),
            marked: false,
            settled: status.last_applied_revision.clone(),
            handled: status.last_handled_reconcile_at.clone(),
            generation: status.observed_generation,
            report: report::Told::from(&status, SyncView::of(&name, &first).ready),
            brake: None,
            written: first.status.clone(),
            status,
            timers: Timers {
                retry: None,
                verify: Instant::now() + jittered(first.spec.settings.interval.into()),
                healthy_by: None,
                diff: None,
                correct: None,
            },
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            full: true,
            context,
            name,
            object,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut gave_way = false;
        loop {
            let object = self.object.borrow_and_update().clone();
            let due = self.timers.take_due(object.spec.settings.interval.into());
            if object.metadata.deletion_timestamp.is_some() {
                if self.finalize(&object).await {
                    return;
                }
            } else {
                self.step(&object, due, gave_way).await;
            }
            match self.wait().await {
                Ok(gave) => gave_way = gave,
                Err(wake::Gone) => return,
            }
        }
    }

    /// Whether a newer spec or revision makes the work at hand pointless.
    fn superseded(&self) -> bool {
        self.object.has_changed().unwrap_or(true) || self.wake.source_changed()
    }

    fn retry_later(&mut self) {
        self.timers.retry = Some(Instant::now() + self.backoff.pause());
    }

    /// The source's state, marked as seen.
    fn source(&mut self) -> SourceView {
        self.wake.source()
    }

    /// By whose rights this Sync's objects are read and written.
    fn actor(&self) -> Actor {
        Actor::Operator
    }

    fn mailbox(&self) -> &Mailbox {
        &self.wake.mailbox
    }
}
