//! Reads bodies of objects from the source. A blocking thread reads them only a little ahead of the
//! applies, so that ten thousand objects are never in memory at once.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::memory::Trouble;
use crate::chain;
use crate::content::Tree;
use crate::desired::{BodyError, Desired};
use crate::manifest::Manifest;

/// The number of bodies that are read ahead.
const AHEAD: usize = 32;

/// Reads the manifests of `wanted` in that order. Each result has its position in `wanted`. Ends when the
/// receiver is dropped.
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
