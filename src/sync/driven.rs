//! How the driver of a `Sync` is started and ended.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Driver, figures, standby};
use crate::api::{ObjectCounts, Reason, Sync};
use crate::driver::{Context, Driven};
use crate::fleet::SyncView;
use crate::metrics::SyncFigures;
use crate::plan::SyncName;

impl Driven for Sync {
    /// Its objects are nobody else's, and it is as ready as it was when the operator stopped.
    fn announce(&self, context: &Context) {
        let name = SyncName::new(&self.namespace().unwrap_or_default(), &self.name_any());
        context.cluster.inventory.join(&name);
        context.fleet.publish_sync(&name, SyncView::of(&name, self));
        let rows = &context.metrics.figures().syncs;
        rows.add(&name.namespace, &name.name, || figures(self));
    }

    /// Nobody knows what it is about, so it is not ready either.
    fn reserve(context: &Context, namespace: &str, name: &str) {
        let name = SyncName::new(namespace, name);
        context.cluster.inventory.join(&name);
        let view = SyncView {
            exists: true,
            ..SyncView::default()
        };
        context.fleet.publish_sync(&name, view);
        let rows = &context.metrics.figures().syncs;
        rows.add(&name.namespace, &name.name, SyncFigures::default);
        rows.set(&name.namespace, &name.name, |row| {
            row.ready.turns(false, Reason::InvalidSpec);
            (row.counts, row.contested) = (ObjectCounts::default(), 0);
        });
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
        let rows = &context.metrics.figures().syncs;
        rows.remove(&name.namespace, &name.name);
    }

    fn tidy(_: &Arc<Context>, _: Vec<Arc<Self>>) {}
}
