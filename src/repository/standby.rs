//! Keeps a repository's cache filled on a standby, so that the standby can continue at once when it
//! begins to lead. Nothing here writes to the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::assess::LONGEST_PAUSE;
use super::login::Login;
use super::poll::{self, PollError};
use crate::api::{GitRepository, Reason};
use crate::backoff::Backoff;
use crate::driver::Context;
use crate::fleet::SourceName;
use crate::intent::SourceIntent;

/// Fetches each revision from the leader's status once. So a standby sends no polls to the Git
/// server.
pub(super) async fn standby(
    context: Arc<Context>,
    mut object: watch::Receiver<Arc<GitRepository>>,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
    let mut fetched = None;
    loop {
        let now = object.borrow_and_update().clone();
        let revision = now.status.as_ref().and_then(|was| was.revision.clone());
        let intent = SourceIntent::from(&*now);
        let idle = intent.suspended.is_some() || intent.deleting;
        let mut retry = None;
        if revision.is_some() && revision != fetched && !idle {
            let name = SourceName::new(&now.namespace().unwrap_or_default(), &now.name_any());
            match fetch(&context, &intent, &name).await {
                Ok(()) => {
                    fetched = revision;
                    backoff.reset();
                }
                Err(error) => {
                    let error = error.message();
                    let (namespace, name) = (&*name.namespace, &*name.name);
                    tracing::debug!(namespace, name, error, "a standby cannot fetch");
                    retry = Some(Instant::now() + backoff.pause());
                }
            }
        }
        let pause = async {
            match retry {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = object.changed() => if changed.is_err() { return },
            () = pause => (),
        }
    }
}

async fn fetch(
    context: &Context,
    intent: &SourceIntent,
    name: &SourceName,
) -> Result<(), PollError> {
    let mut login = Login::default();
    let (credentials, proxy) = login.read(&context.secrets, intent, name).await?;
    let started = Instant::now();
    let request = poll::request(name, intent, credentials, proxy);
    let fetched = context.cache.fetch(request).await;
    let outcome = fetched
        .as_ref()
        .map_or_else(|error| error.reason(), |_| Reason::Fetched);
    let metrics = &context.metrics;
    metrics.fetch(outcome, started.elapsed());
    fetched?;
    Ok(())
}
