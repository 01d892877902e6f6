//! From texts to objects.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::DesiredError;
use super::form::Form;
use super::object::{DesiredObject, Origins};
use super::rendered::Rendered;
use crate::intent::RenderIntent;
use crate::manifest::ScaleTarget;
use crate::render::{Cache, ParsedObject, Steps, Text};

/// The objects of all texts, with their namespaces, and where they come from.
pub(super) fn collect(
    texts: &[Text],
    parsed: &[Arc<[ParsedObject]>],
    rendered: &Rendered,
    intent: &RenderIntent,
    form: Form,
) -> (Vec<DesiredObject>, Origins) {
    // As with Helm, an object of a chart goes into the namespace of the release only if it names no other one: charts
    // name `kube-system` for what must be there.
    let (namespace, release) = match form {
        Form::Chart => (None, Some(&*intent.helm.release_namespace)),
        _ => (intent.target_namespace.as_deref(), None),
    };
    let namespace: Option<Arc<str>> = namespace.map(Arc::from);
    let release: Option<Arc<str>> = release.filter(|name| !name.is_empty()).map(Arc::from);
    let mut objects = Vec::with_capacity(parsed.iter().map(|objects| objects.len()).sum());
    let mut origins = Origins::default();
    let steps = Steps::default();
    for (text, parsed) in texts.iter().zip(parsed) {
        let parts = rendered.parts(text, parsed.first(), &steps);
        let place = origins.add(text.id, Arc::clone(&text.file), parts);
        objects.extend(parsed.iter().map(|object| {
            DesiredObject {
                gvk: object.gvk.clone(),
                namespace: namespace
                    .as_ref()
                    .or(object.namespace.as_ref())
                    .or(release.as_ref())
                    .cloned(),
                name: object.name.clone(),
                digest: object.digest,
                modes: object.modes,
                origin: place.at(object.document, object.item.into()),
            }
        }));
    }
    (objects, origins)
}

/// What the autoscalers of all texts scale, with their positions among all objects.
pub(super) fn scaled(
    texts: &[Text],
    parsed: &[Arc<[ParsedObject]>],
    cache: &Cache,
) -> Vec<(usize, ScaleTarget)> {
    at_positions(texts, parsed, |text| cache.scaled(text.id))
}

/// The variables without a value that leave objects without a namespace, with their positions among all objects.
pub(super) fn unset(
    texts: &[Text],
    parsed: &[Arc<[ParsedObject]>],
    cache: &Cache,
) -> HashMap<usize, Box<str>> {
    let all = at_positions(texts, parsed, |text| cache.unset(text.id));
    all.into_iter().collect()
}

/// What is known of single objects, whose positions in their text become those among all objects.
fn at_positions<'c, T: Clone + 'c>(
    texts: &[Text],
    parsed: &[Arc<[ParsedObject]>],
    known: impl Fn(&Text) -> &'c [(usize, T)],
) -> Vec<(usize, T)> {
    let mut all = Vec::new();
    let mut first = 0;
    for (text, objects) in texts.iter().zip(parsed) {
        let found = known(text).iter();
        all.extend(found.map(|(position, what)| (first + position, what.clone())));
        first += objects.len();
    }
    all
}

/// Returns an error if there is no object, or the same object twice.
pub(super) fn check(objects: &[DesiredObject], origins: &Origins) -> Result<(), DesiredError> {
    type Identity<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);
    let mut seen: HashMap<Identity<'_>, &DesiredObject> = HashMap::with_capacity(objects.len());
    for object in objects {
        let identity = (
            &*object.gvk.group,
            &*object.gvk.kind,
            object.namespace.as_deref(),
            &*object.name,
        );
        if let Some(first) = seen.insert(identity, object) {
            let place = |object: &DesiredObject| origins.provenance(object.origin).in_words();
            return Err(DesiredError::Duplicate {
                object: object.key(),
                first: place(first),
                second: place(object),
            });
        }
    }
    Ok(())
}
