//! Texts of documents, and their objects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TextError;
use crate::content::{ObjectId, ReadError};
use crate::manifest::{self, FieldPath, Manifest, UnreadObject, YamlError};
use crate::substitute::{self, Variables};

/// The content of a text: a file's blob, or the key of what a renderer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TextId(pub ObjectId);

/// A text of YAML or JSON documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its content.
    pub id: TextId,
    /// What messages about it name: the file that it is, from the root of the tree.
    pub file: Arc<str>,
}

/// Where texts are read, and read again when their objects are applied.
///
/// Plain manifests are read from their tree. What a renderer wrote is read from where that is kept.
pub trait Texts {
    /// The text with this id.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn text(&self, id: TextId) -> Result<Vec<u8>, ReadError>;

    /// Whether a renderer wrote the text, so that its lines are not those of a file.
    fn is_rendered(&self, id: TextId) -> bool {
        let _ = id;
        false
    }

    /// Which values of an object were drawn at random, so that they are not what Git says.
    fn generated(&self, id: TextId, document: u32, item: u32) -> &[FieldPath] {
        let _ = (id, document, item);
        &[]
    }
}

/// The changes of each object after rendering.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'c> {
    /// The variables. None if nothing is substituted.
    pub variables: Option<&'c Variables>,
    /// Labels to add.
    pub labels: &'c BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: &'c BTreeMap<String, String>,
}

impl Changes<'_> {
    /// No change.
    #[must_use]
    pub fn none() -> Self {
        static EMPTY: BTreeMap<String, String> = BTreeMap::new();
        Self {
            variables: None,
            labels: &EMPTY,
            annotations: &EMPTY,
        }
    }

    /// The object, changed. Variables come first, before anything of the object is read: its name may
    /// be one, and a text of a Secret is encoded when it is read.
    fn apply(&self, document: u32, mut object: UnreadObject) -> Result<Manifest, TextError> {
        let mut unset = None;
        if let Some(variables) = self.variables {
            unset = substitute::unset_in_name(&object.body, variables);
            substitute::substitute(&mut object.body, variables)
                .map_err(|source| TextError::Variable { document, source })?;
        }
        let mut manifest = object.read().map_err(|error| match unset {
            Some(source) => TextError::Variable { document, source },
            None => TextError::Object {
                document,
                source: error,
            },
        })?;
        for (field, marks) in [("labels", self.labels), ("annotations", self.annotations)] {
            if !marks.is_empty() {
                mark(&mut manifest.body, field, marks);
            }
        }
        Ok(manifest)
    }
}

/// Sets labels or annotations.
fn mark(body: &mut Value, field: &str, marks: &BTreeMap<String, String>) {
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let values = metadata
        .entry(field)
        .or_insert_with(|| Value::Object(Map::new()));
    if values.is_null() {
        *values = Value::Object(Map::new());
    }
    if let Some(values) = values.as_object_mut() {
        let marks = marks.iter();
        values.extend(marks.map(|(name, value)| (name.clone(), Value::String(value.clone()))));
    }
}

/// Calls `found` with the objects of `text` at `wanted` (document, item), in the order of the text, to apply
/// them. The number is the position in `wanted`. Only one document is in memory at a time.
///
/// # Errors
/// What [`super::parse`] says of the text; also [`TextError::NoSuchObject`], which happens only if `text`
/// is not the text that was parsed.
pub fn manifests(
    text: &[u8],
    wanted: &[(u32, u32)],
    changes: &Changes<'_>,
    mut found: impl FnMut(usize, Manifest) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, TextError> {
    let places = wanted.iter().enumerate();
    let mut places: HashMap<(u32, u32), usize> =
        places.map(|(position, place)| (*place, position)).collect();
    let flow = each_object(text, changes, |document, item, manifest| {
        match places.remove(&(document, item)) {
            Some(position) => Ok(found(position, manifest)),
            None => Ok(ControlFlow::Continue(())),
        }
    })?;
    match places.keys().min() {
        Some(&(document, item)) if flow.is_continue() => {
            Err(TextError::NoSuchObject { document, item })
        }
        _ => Ok(flow),
    }
}

/// Why reading a text has ended early.
enum Stop {
    Yaml(YamlError),
    Asked,
}

impl From<YamlError> for Stop {
    fn from(error: YamlError) -> Self {
        Self::Yaml(error)
    }
}

/// Calls `found` with document, item and manifest of every object of a text, until it breaks.
///
/// # Errors
/// What [`super::parse`] says of the text, or what `found` says.
pub fn each_object(
    text: &[u8],
    changes: &Changes<'_>,
    mut found: impl FnMut(u32, u32, Manifest) -> Result<ControlFlow<()>, TextError>,
) -> Result<ControlFlow<()>, TextError> {
    if is_lfs_pointer(text) {
        return Err(TextError::LfsPointer);
    }
    // What is no YAML is told before what is no object, wherever in the text the two are.
    let mut broken = None;
    let read = manifest::each_document(text, |document| {
        if broken.is_some() {
            return Ok(());
        }
        match objects_of(document, changes, &mut found) {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(Stop::Asked),
            Err(error) => {
                broken = Some(error);
                Ok(())
            }
        }
    });
    match (read, broken) {
        (Err(Stop::Yaml(error)), _) => Err(TextError::Yaml(error)),
        (Err(Stop::Asked), _) => Ok(ControlFlow::Break(())),
        (Ok(()), Some(error)) => Err(error),
        (Ok(()), None) => Ok(ControlFlow::Continue(())),
    }
}

/// The objects of a text without a namespace, by document and item, that would have one if a variable had a value: the
/// variables. `unplaced`: the objects without a namespace. The text is read once more, which few texts need.
pub(super) fn unset_namespaces(
    text: &[u8],
    unplaced: &[(u32, u32)],
    changes: &Changes<'_>,
) -> HashMap<(u32, u32), Box<str>> {
    let mut found = HashMap::new();
    let is_candidate = !unplaced.is_empty() && text.windows(2).any(|part| part == b"${");
    let Some(variables) = changes.variables.filter(|_| is_candidate) else {
        return found;
    };
    let unplaced: HashSet<_> = unplaced.iter().collect();
    // The text was read already, so there is no error.
    let _ = manifest::each_document(text, |document| {
        let objects = Manifest::unread(document.value).unwrap_or_default();
        for (item, object) in (0..).zip(objects) {
            let place = (document.number, item);
            if unplaced.contains(&place)
                && let Some(variable) = substitute::unset_in_namespace(&object.body, variables)
            {
                found.insert(place, variable.into());
            }
        }
        Ok::<(), YamlError>(())
    });
    found
}

/// Calls `found` with the objects of one document.
fn objects_of(
    document: manifest::Document,
    changes: &Changes<'_>,
    found: &mut impl FnMut(u32, u32, Manifest) -> Result<ControlFlow<()>, TextError>,
) -> Result<ControlFlow<()>, TextError> {
    let manifest::Document {
        number: document,
        value,
    } = document;
    if is_kustomization(&value) {
        return Err(TextError::Kustomization { document });
    }
    let objects =
        Manifest::unread(value).map_err(|source| TextError::Object { document, source })?;
    for (item, object) in (0..).zip(objects) {
        let manifest = changes.apply(document, object)?;
        if found(document, item, manifest)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Whether a text stands in for a file on a Git LFS server: its first line has the key `version`, and one
/// of the values that the specification of Git LFS names.
fn is_lfs_pointer(text: &[u8]) -> bool {
    [
        &b"version https://git-lfs.github.com/spec/"[..],
        b"version https://hawser.github.com/spec/",
        b"version http://git-media.io/v/",
    ]
    .iter()
    .any(|start| text.starts_with(start))
}

fn is_kustomization(value: &Value) -> bool {
    let api_version = value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    api_version.split('/').next() == Some("kustomize.config.k8s.io")
}
