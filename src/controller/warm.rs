//! What a standby keeps filled, so that it goes on at once when it comes to lead: the watches of the
//! kinds that the Syncs have objects of, and the cache of repositories. Nothing here writes to the
//! API server, and nothing that is found is acted on: a driver that starts judges everything anew.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Context;
use super::login::{Login, PollError};
use super::repository;
use crate::api::{GitRepository, Reason, Sync};
use crate::backoff::Backoff;
use crate::chain;
use crate::plan::{CONTAINS, contained};

/// How long one kind's first list is waited for before the next kind's turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two tries of a remote that cannot be fetched from.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Watches the kinds that a Sync has objects of, which the leader writes on it before it applies the
/// first of a kind.
pub(super) async fn sync(context: Arc<Context>, mut object: watch::Receiver<Arc<Sync>>) {
    let cluster = &context.cluster;
    let mut kinds = cluster.kinds.changed();
    loop {
        kinds.mark_unchanged();
        let now = object.borrow_and_update().clone();
        let named = now.annotations().get(CONTAINS).map(String::as_str);
        for kind in contained(named.unwrap_or_default()) {
            let Some(served) = cluster.kinds.preferred(&kind) else {
                continue;
            };
            if let Err(why) = cluster.watched(&served, PATIENCE).await {
                tracing::debug!(%kind, why, "a standby cannot list a kind");
            }
        }
        tokio::select! {
            changed = object.changed() => if changed.is_err() { return },
            _ = kinds.changed() => (),
        }
    }
}

/// Fetches what the leader says that it has fetched: once for each revision, so that a standby costs the
/// Git server no polls.
pub(super) async fn repository(
    context: Arc<Context>,
    mut object: watch::Receiver<Arc<GitRepository>>,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);
    let mut fetched = None;
    loop {
        let now = object.borrow_and_update().clone();
        let revision = now.status.as_ref().and_then(|was| was.revision.clone());
        let idle = now.spec.suspend || now.metadata.deletion_timestamp.is_some();
        let mut retry = None;
        if revision.is_some() && revision != fetched && !idle {
            match fetch(&context, &now).await {
                Ok(()) => {
                    fetched = revision;
                    backoff.reset();
                }
                Err(error) => {
                    let error = crate::text::redact(&chain(&error));
                    let (namespace, name) = (now.namespace(), now.name_any());
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

async fn fetch(context: &Context, object: &GitRepository) -> Result<(), PollError> {
    let (credentials, proxy) = Login::default().read(context, object).await?;
    let started = Instant::now();
    let request = repository::request(object, credentials, proxy);
    let fetched = context.cache.fetch(request).await;
    let outcome = fetched
        .as_ref()
        .map_or_else(|error| error.reason(), |_| Reason::Fetched);
    let metrics = &context.metrics;
    metrics.fetch(outcome, started.elapsed());
    fetched?;
    Ok(())
}
