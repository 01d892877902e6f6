//! Reads bodies of objects from the source. A blocking thread reads them only a little ahead of the
//! applies, so that ten thousand objects are never in memory at once.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::memory::Trouble;
use crate::chain;
use crate::content::Tree;
use crate::desired::{BodyError, Desired};
use crate::manifest::{self, Manifest};

/// The number of bodies that are read ahead.
const AHEAD: usize = 32;

/// The memory of all bodies that are on their way, over all Syncs, in KiB. A body that takes more has to be
/// the only one.
const IN_MEMORY: u32 = 64 << 10;

static ROOM: Semaphore = Semaphore::const_new(IN_MEMORY as usize);

/// A body, with the memory that it may take until it is dropped.
pub(super) struct LoadedBody {
    /// Its position in what was wanted.
    pub(super) position: usize,
    pub(super) manifest: Result<Manifest, Trouble>,
    pub(super) room: Option<SemaphorePermit<'static>>,
}

/// Reads the manifests of `wanted`, those of one file in the order of the file. Ends when the receiver is
/// dropped.
pub(super) fn read(
    tree: Arc<dyn Tree>,
    desired: Arc<Desired>,
    wanted: Vec<usize>,
) -> mpsc::Receiver<LoadedBody> {
    let (send, receive) = mpsc::channel(AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        desired.each_body(tree, &wanted, |position, body| {
            let manifest = body.map_err(|error| trouble(&error));
            // The semaphore is never closed.
            let taken = manifest.as_ref().map_or(0, room);
            let room = runtime.block_on(ROOM.acquire_many(taken)).ok();
            let loaded = LoadedBody {
                position,
                manifest,
                room,
            };
            match send.blocking_send(loaded) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
    });
    receive
}

/// The memory of a manifest and of the request that is made of it, in KiB.
fn room(manifest: &Manifest) -> u32 {
    let bytes = manifest::memory(&manifest.body);
    u32::try_from(bytes >> 10).map_or(IN_MEMORY, |room| room.min(IN_MEMORY))
}

fn trouble(error: &BodyError) -> Trouble {
    Trouble {
        reason: error.reason(),
        message: crate::text::redact(&chain(error)),
    }
}
