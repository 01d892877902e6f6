//! The objects of known texts, so that only a changed text is read and parsed again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::MAX_OBJECTS;
use super::text::{self, Changes, TextId, Texts};
use super::{TextError, generated};
use crate::content::ReadError;
use crate::decrypt::sealed_field;
use crate::manifest::{
    Digest, GroupVersionKind, MAX_OBJECT, Manifest, Modes, ObjectError, ScaleTarget,
};
use crate::text::{printable, shorten};

/// The longest path of a field in a message, in bytes: the keys of values may be long.
const LONGEST_FIELD: usize = 200;

/// One object of a text, without its body. It does not depend on the file's path.
#[derive(Clone, Debug)]
pub struct ParsedObject {
    /// Its kind, in the version of the manifest.
    pub gvk: Arc<GroupVersionKind>,
    /// The namespace that its manifest names.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// What its manifest says.
    pub digest: Digest,
    /// How its annotations want it to be treated.
    pub modes: Modes,
    /// The 1-based document in the text.
    pub document: u32,
    /// The 0-based position of the object in the document; above 0 only in a `List`. No text has more objects
    /// than this type can count.
    pub item: u16,
}

/// The objects of the texts of the last [`super::parse`]; one cache for each Sync.
#[derive(Debug, Default)]
pub struct Cache {
    texts: HashMap<TextId, Arc<[ParsedObject]>>,
    /// Of the texts with autoscalers: their positions among the objects of the text, and what they scale.
    scaled: HashMap<TextId, Vec<(usize, ScaleTarget)>>,
    /// Of the texts with objects that a variable without a value leaves without a namespace: their positions, and the
    /// variables.
    unset: HashMap<TextId, Vec<(usize, Box<str>)>>,
    used: HashSet<TextId>,
    kinds: HashSet<Arc<GroupVersionKind>>,
    namespaces: HashSet<Arc<str>>,
    made_for: Option<MadeFor>,
}

type Marks = BTreeMap<String, String>;

/// Labels and annotations that objects got, what identifies the variables in them, and what charts had found in the
/// cluster: the same text may be drawn at random, or be what was found.
type MadeFor = ((Marks, Marks), Option<Vec<u8>>, Vec<u8>);

impl Cache {
    /// The number of known texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether no text is known.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Forgets all texts if their objects were changed otherwise. `inputs` identifies the variables, and `found` what
    /// charts found in the cluster.
    pub fn keep_for(&mut self, changes: &Changes<'_>, inputs: &[u8], found: &[u8]) {
        let marks = (changes.labels.clone(), changes.annotations.clone());
        let variables = changes.variables.map(|_| inputs.to_vec());
        let made_for = Some((marks, variables, found.to_vec()));
        if self.made_for != made_for {
            self.texts.clear();
            self.scaled.clear();
            self.unset.clear();
            self.made_for = made_for;
        }
    }

    /// The autoscalers of a text, as positions among its objects, and what they scale.
    pub fn scaled(&self, text: TextId) -> &[(usize, ScaleTarget)] {
        self.scaled.get(&text).map_or(&[], Vec::as_slice)
    }

    /// The objects of a text that a variable without a value leaves without a namespace, as positions among its objects,
    /// and the variables.
    pub fn unset(&self, text: TextId) -> &[(usize, Box<str>)] {
        self.unset.get(&text).map_or(&[], Vec::as_slice)
    }

    pub(super) fn begin(&mut self) {
        self.used.clear();
    }

    /// Forgets what was not used since `begin`; after an error everything is kept for the next call.
    pub(super) fn end(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.texts.retain(|text, _| used.contains(text));
        self.scaled.retain(|text, _| used.contains(text));
        self.unset.retain(|text, _| used.contains(text));
        self.kinds.clear();
        self.namespaces.clear();
    }

    /// The objects of a text. A broken text is not kept, so that it is reported again.
    pub(super) fn get_or_parse(
        &mut self,
        id: TextId,
        changes: &Changes<'_>,
        texts: &dyn Texts,
    ) -> Result<Result<Arc<[ParsedObject]>, TextError>, ReadError> {
        self.used.insert(id);
        if let Some(objects) = self.texts.get(&id) {
            return Ok(Ok(objects.clone()));
        }
        let text = texts.text(id)?;
        let mut objects = Vec::new();
        let mut scaled = Vec::new();
        let mut unplaced = Vec::new();
        let parsed = text::each_object(&text, changes, |document, item, manifest| {
            let Manifest {
                gvk,
                namespace,
                name,
                body,
            } = manifest;
            let (digest, size) = Digest::and_size(&body);
            if size > MAX_OBJECT {
                let source = ObjectError::TooLarge { size };
                return Err(TextError::Object { document, source });
            }
            if let Some(field) = sealed_field(&body) {
                let source = ObjectError::Sealed(printable(&shorten(&field, LONGEST_FIELD)));
                return Err(TextError::Object { document, source });
            }
            if let Some(target) = ScaleTarget::of(&gvk, &body) {
                scaled.push((objects.len(), target));
            }
            if namespace.is_none() {
                unplaced.push((document, item));
            }
            let modes = Modes::of(&body).map_err(|error| TextError::Object {
                document,
                source: error.into(),
            })?;
            objects.push(ParsedObject {
                gvk: self.kind(gvk),
                namespace: namespace.map(|namespace| self.namespace(namespace)),
                name,
                modes,
                digest: match texts.generated(id, document, item) {
                    [] => digest,
                    paths => Digest::of(&generated::without(&body, paths)),
                },
                document,
                item: u16::try_from(item).unwrap_or(u16::MAX),
            });
            match objects.len() > MAX_OBJECTS {
                true => Err(TextError::TooManyObjects),
                false => Ok(ControlFlow::Continue(())),
            }
        });
        Ok(parsed.map(|_| {
            if !scaled.is_empty() {
                self.scaled.insert(id, scaled);
            }
            let unset = text::unset_namespaces(&text, &unplaced, changes);
            if !unset.is_empty() {
                let objects = objects.iter().enumerate();
                let unset = objects.filter_map(|(position, object)| {
                    let variable = unset.get(&(object.document, object.item.into()))?;
                    Some((position, variable.clone()))
                });
                self.unset.insert(id, unset.collect());
            }
            let objects: Arc<[ParsedObject]> = objects.into();
            self.texts.insert(id, objects.clone());
            objects
        }))
    }

    /// There are few kinds and namespaces, so the objects of one parse share them.
    fn kind(&mut self, gvk: GroupVersionKind) -> Arc<GroupVersionKind> {
        if let Some(known) = self.kinds.get(&gvk) {
            return known.clone();
        }
        let gvk = Arc::new(gvk);
        self.kinds.insert(gvk.clone());
        gvk
    }

    fn namespace(&mut self, namespace: Arc<str>) -> Arc<str> {
        if let Some(known) = self.namespaces.get(&namespace) {
            return known.clone();
        }
        self.namespaces.insert(namespace.clone());
        namespace
    }
}
