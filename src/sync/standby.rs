//! Keeps a standby prepared for a Sync, so that it continues at once when it becomes the leader: runs the
//! watches of the kinds of the Sync's objects. The standby does not act on their events.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::watch;

use crate::api::Sync;
use crate::driver::Context;
use crate::plan::{CONTAINS, contained};

/// How long to wait for the first list of a kind.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches the kinds of a Sync's objects. The leader writes these kinds on the Sync before it applies the
/// first object of a kind.
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
