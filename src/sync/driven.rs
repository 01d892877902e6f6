//! How the driver of a `Sync` is started and ended.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Driver, standby};
use crate::api::{Reason, Sync};
use crate::driver::{Context, Driven};
use crate::fleet::SyncView;
use crate::plan::SyncName;

impl Driven for Sync {
    /// Its objects are nobody else's, and it is as ready as it was when the operator stopped.
    fn announce(&self, context: &Context) {
        let name = SyncName::new(&self.namespace().unwrap_or_default(), &self.name_any());
        context.cluster.inventory.join(&name);
        let view = SyncView::of(&name, self);
        let fleet = &context.fleet;
        fleet.announce_sync(&name, view, context.leadership.leads());
    }

    /// Nobody knows what it is about, so it is not ready either.
    fn reserve(context: &Context, namespace: &str, name: &str) {
        let name = SyncName::new(namespace, name);
        context.cluster.inventory.join(&name);
        let mut view = SyncView {
            exists: true,
            ..SyncView::default()
        };
        view.figures.ready.set(false, Reason::InvalidSpec);
        context.fleet.announce_sync(&name, view, false);
    }

    fn all_announced(context: &Context) {
        context.fleet.syncs.complete();
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
        Driver::new(context, object).run()
    }

    /// What it claimed is free. The driver cannot do this itself: it may be ended at any point.
    fn forget(context: &Context, namespace: &str, name: &str) {
        let name = SyncName::new(namespace, name);
        context.cluster.inventory.leave(&name);
        context.fleet.remove_sync(&name);
    }

    fn tidy(_: &Arc<Context>, _: Vec<Arc<Self>>) {}
}
