//! How the driver of an `Alert` is started and ended.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::Driver;
use crate::api::Alert;
use crate::driver::{Context, Driven};
use crate::intent::AlertIntent;
use crate::message::Filter;
use crate::outbox::Name;

pub(super) fn name(object: &Alert) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Driven for Alert {
    /// From now on, notices are kept for the alert.
    fn announce(&self, context: &Context) {
        let name = name(self);
        let intent = AlertIntent::from(self);
        let own_only = context.policy.no_cross_namespace;
        context.outbox.register(&name, intent.generation, || {
            // The driver reports what is wrong with the spec.
            let filter = Filter::new(&intent, &name.0, own_only);
            filter.ok().filter(|_| !intent.suspend)
        });
    }

    fn reserve(context: &Context, namespace: &str, name: &str, _uid: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        context.outbox.remove(&name);
    }

    fn all_announced(context: &Context) {
        context.outbox.all_alerts_known();
    }

    async fn standby(_: Arc<Context>, _: watch::Receiver<Arc<Self>>) {
        // The queue of a standby stays empty. The supervisor ends this.
        std::future::pending::<()>().await;
    }

    fn drive(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send {
        Driver::new(context, object).run()
    }

    fn forget(context: &Context, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        context.outbox.remove(&name);
    }

    fn tidy(_: &Arc<Context>, _: Vec<Arc<Self>>) {}
}
