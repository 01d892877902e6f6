//! What a standby keeps filled for a Sync, so that it goes on at once when it comes to lead: the watches of
//! the kinds that the Sync has objects of. Nothing that is seen here is acted on.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::watch;

use crate::api::Sync;
use crate::driver::Context;
use crate::plan::{CONTAINS, contained};

/// How long one kind's first list is waited for before the next kind's turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches the kinds that a Sync has objects of, which the leader writes on it before it applies the
/// first of a kind.
pub(super) async fn standby(context: Arc<Context>, mut object: watch::Receiver<Arc<Sync>>) {
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
