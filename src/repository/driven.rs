//! How the driver of a `GitRepository` is started and ended.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Driver, standby};
use crate::alert;
use crate::api::{GitRepository, Reason};
use crate::driver::{Context, Driven};
use crate::fleet::{SourceName, SourceView};
use crate::intent::SourceIntent;
use crate::message::Subject;

impl Driven for GitRepository {
    fn announce(&self, context: &Context) {
        let source = SourceName::new(&self.namespace().unwrap_or_default(), &self.name_any());
        let view = SourceView::of(self);
        let (fleet, leads) = (&context.fleet, context.leadership.leads());
        fleet.announce_source(&source, view, leads);
        let subject = Subject::new("GitRepository", &source.namespace, &source.name);
        let standing = || alert::of_repository(self);
        context.outbox.stand(subject, leads, standing);
    }

    fn reserve(context: &Context, namespace: &str, name: &str, _uid: &str) {
        let source = SourceName::new(namespace, name);
        let sources = &context.fleet.sources;
        sources.add(&source, SourceView::default);
        sources.update(&source, |view| view.ready.set(false, Reason::InvalidSpec));
    }

    fn all_announced(context: &Context) {
        context.fleet.sources.complete();
        context.outbox.all_repositories_known();
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

    fn forget(context: &Context, namespace: &str, name: &str) {
        let source = SourceName::new(namespace, name);
        context.fleet.sources.remove(&source);
        context.fleet.plans.remove(&source);
        context.fleet.hurries.remove(&source);
        context.receivers.remove(&source);
        let subject = Subject::new("GitRepository", &source.namespace, &source.name);
        context.outbox.forget(&subject);
    }

    fn tidy(context: &Arc<Context>, left: Vec<Arc<Self>>) {
        let context = Arc::clone(context);
        tokio::spawn(async move {
            let live: Vec<_> = left
                .iter()
                .map(|source| {
                    let namespace = source.namespace().unwrap_or_default();
                    (namespace, SourceIntent::from(&**source).git)
                })
                .collect();
            let live = live
                .iter()
                .map(|(namespace, git)| (&**namespace, git.url.as_str(), git.full_history));
            context.cache.retain(live).await;
        });
    }
}
