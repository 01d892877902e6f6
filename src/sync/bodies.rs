//! Bodies on their way from the object database to the API server: read one file at a time, on a
//! blocking thread, as fast as they are applied, so that ten thousand objects are never in memory.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::memory::Trouble;
use crate::api::Reason;
use crate::chain;
use crate::manifest::{Manifest, redact};
use crate::render::{self, Entry};
use crate::source::Snapshot;

/// Bodies that are read ahead of the applies.
const AHEAD: usize = 32;

/// Reads the manifests of `wanted`, which gives each a number, in that order. Ends early when the
/// receiver is dropped.
pub(super) fn read(
    snapshot: Arc<Snapshot>,
    wanted: Vec<(usize, Entry)>,
) -> mpsc::Receiver<(usize, Result<Manifest, Trouble>)> {
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for file in wanted.chunk_by(|(_, a), (_, b)| a.blob == b.blob) {
            for (index, manifest) in manifests(&snapshot, file) {
                if send.blocking_send((index, manifest)).is_err() {
                    return;
                }
            }
        }
    });
    receive
}

fn manifests(
    snapshot: &Snapshot,
    file: &[(usize, Entry)],
) -> Vec<(usize, Result<Manifest, Trouble>)> {
    let Some((_, first)) = file.first() else {
        return Vec::new();
    };
    let places: Vec<(u32, u32)> = file
        .iter()
        .map(|(_, entry)| (entry.document, entry.item))
        .collect();
    let trouble = |reason, error: &dyn std::error::Error| Trouble {
        reason,
        message: redact::text(&chain(error)),
    };
    let read = snapshot
        .read_blob(first.blob)
        .map_err(|error| trouble(error.reason(), &error))
        .and_then(|text| {
            let bodies = render::bodies(&text, &places);
            bodies.map_err(|error| trouble(Reason::InvalidManifest, &error))
        });
    let indexes = file.iter().map(|(index, _)| *index);
    match read {
        Ok(manifests) => indexes.zip(manifests.into_iter().map(Ok)).collect(),
        Err(trouble) => indexes.map(|index| (index, Err(trouble.clone()))).collect(),
    }
}
