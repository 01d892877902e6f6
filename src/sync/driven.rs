//! The start and the end of a `Sync`'s driver.

use std::sync::Arc;

use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use tokio::sync::watch;

use super::marks::Marks;
use super::{Driver, standby};
use crate::alert;
use crate::api::{Reason, Sync};
use crate::driver::{Context, Driven};
use crate::fleet::SyncView;
use crate::message::Subject;
use crate::plan::SyncName;

impl Driven for Sync {
    /// Registers the Sync, so that no other Sync takes its objects. Its readiness is that from before the
    /// restart.
    fn announce(&self, context: &Context) {
        let name = SyncName::new(&self.namespace().unwrap_or_default(), &self.name_any());
        let uid = self.uid().unwrap_or_default();
        context.cluster.inventory.join(&name, &uid);
        let view = SyncView::of(&name, self);
        let (fleet, leads) = (&context.fleet, context.leadership.leads());
        fleet.announce_sync(&name, view, leads);
        let subject = Subject::new("Sync", &name.namespace, &name.name);
        let standing = || alert::of_sync(self);
        context.outbox.stand(subject, leads, standing);
    }

    /// The spec cannot be read, so the Sync is not ready.
    fn reserve(context: &Context, namespace: &str, name: &str, uid: &str) {
        let name = SyncName::new(namespace, name);
        context.cluster.inventory.join(&name, uid);
        let mut view = SyncView {
            exists: true,
            // It wants nothing, whatever was applied.
            version: u64::MAX,
            ..SyncView::default()
        };
        view.figures.ready.set(false, Reason::InvalidSpec);
        context.fleet.announce_sync(&name, view, false);
    }

    fn all_announced(context: &Context) {
        context.fleet.syncs.complete();
        context.outbox.all_syncs_known();
    }

    fn standby(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send {
        standby(context, object)
    }

    fn drive(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send {
        Box::new(Driver::new(context, object)).run()
    }

    fn lost_marks(known: &ObjectMeta, new: &ObjectMeta) -> bool {
        Marks::of(known).is_more_than(&Marks::of(new))
    }

    /// Releases the Sync's claims. The driver cannot do this, because it may be stopped at any point.
    fn forget(context: &Context, namespace: &str, name: &str) {
        let name = SyncName::new(namespace, name);
        context.cluster.inventory.leave(&name);
        context.fleet.remove_sync(&name);
        let subject = Subject::new("Sync", &name.namespace, &name.name);
        context.outbox.forget(&subject);
    }

    /// Removes what was rendered for Syncs that are gone.
    fn tidy(context: &Arc<Context>, left: Vec<Arc<Self>>) {
        let named = |sync: &Arc<Self>| (sync.namespace().unwrap_or_default(), sync.name_any());
        context.renderers.retain(left.iter().map(named).collect());
    }
}
