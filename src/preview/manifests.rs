//! The manifests of desired objects, and what is wrong with one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::content::Tree;
use crate::desired::Desired;
use crate::manifest::Manifest;

/// Manifests by the index of their object.
pub type Manifests = BTreeMap<usize, Manifest>;

/// The manifests of objects by their index, and why others cannot be read. Blocks.
pub fn manifests_of(
    desired: &Desired,
    tree: Arc<dyn Tree>,
    wanted: &[usize],
) -> (Manifests, Vec<String>) {
    let (mut manifests, mut failures) = (Manifests::new(), Vec::new());
    desired.each_body(tree, wanted, |position, manifest| {
        let index = wanted[position];
        match manifest {
            Ok(manifest) => drop(manifests.insert(index, manifest)),
            Err(error) => failures.push(describe(desired, index, &error)),
        }
        ControlFlow::Continue(())
    });
    (manifests, failures)
}

/// What is wrong with a desired object, with its name and its file.
pub fn describe(
    desired: &Desired,
    index: usize,
    why: &(dyn std::error::Error + 'static),
) -> String {
    let object = desired.objects().get(index);
    let name = object.map(|object| object.key().to_string());
    let place = desired.provenance(index).map(|place| place.to_string());
    let (name, place) = (name.unwrap_or_default(), place.unwrap_or_default());
    format!("{name} ({place}): {}", crate::chain(why))
}
