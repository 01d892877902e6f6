//! Bodies on their way from the source to the API server: read on a blocking thread, as fast as they are
//! applied, so that ten thousand objects are never in memory.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::memory::Trouble;
use crate::chain;
use crate::content::Tree;
use crate::desired::{BodyError, Desired};
use crate::manifest::Manifest;

/// Bodies that are read ahead of the applies.
const AHEAD: usize = 32;

/// Reads the manifests of `wanted`, in that order; each comes with its position in `wanted`. Ends early
/// when the receiver is dropped.
pub(super) fn read(
    tree: Arc<dyn Tree>,
    desired: Arc<Desired>,
    wanted: Vec<usize>,
) -> mpsc::Receiver<(usize, Result<Manifest, Trouble>)> {
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for (position, (_, body)) in desired.bodies(tree, wanted).enumerate() {
            if send
                .blocking_send((position, body.map_err(|error| trouble(&error))))
                .is_err()
            {
                return;
            }
        }
    });
    receive
}

fn trouble(error: &BodyError) -> Trouble {
    Trouble {
        reason: error.reason(),
        message: crate::text::redact(&chain(error)),
    }
}
