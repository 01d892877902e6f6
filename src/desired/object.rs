//! One desired object, and where it comes from.

use std::fmt;
use std::sync::Arc;

use crate::manifest::{Digest, GroupVersionKind, Modes, ObjectKey};
use crate::render::TextId;

/// One object that Git asks for. Small: a Sync may have ten thousand, so texts are shared, and files and
/// bodies are indexes into tables of the [`super::Desired`].
#[derive(Clone, Debug)]
pub struct DesiredObject {
    /// Its kind, in the version of the manifest.
    pub gvk: Arc<GroupVersionKind>,
    /// Its namespace: the target namespace, if one was given, otherwise the manifest's. Whether the kind
    /// is namespaced at all is not known here.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// What its manifest says, without the target namespace.
    pub digest: Digest,
    /// How its annotations want it to be treated.
    pub modes: Modes,
    pub(super) origin: Origin,
}

impl DesiredObject {
    /// What names the object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.gvk.group_kind(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Where an object comes from: the files that made it, and its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// The files that made it, from the root of the tree: the manifest, or what a renderer made it of (a
    /// resource and its patches, say). The first one is the one to look into first. Never empty.
    pub files: &'a [Arc<str>],
    /// Those of them with patches for it, the last one first.
    pub patches: &'a [Arc<str>],
    /// Those of them with the values of its chart, the last one last: also ConfigMaps, Secrets and fields of the Sync.
    pub values: &'a [Arc<str>],
    /// The 1-based document in the file. None for what a renderer made: it does not say which document of a template or
    /// of a resource an object was.
    pub document: Option<u32>,
}

impl<'a> Provenance<'a> {
    /// The most likely file for a mistake.
    #[must_use]
    pub fn file(&self) -> &'a str {
        self.files.first().map_or("", |file| file)
    }

    /// As part of a sentence: `apps/web.yaml document 2`.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.document {
            Some(document) => format!("{} document {document}", self.file()),
            None => self.file().to_owned(),
        }
    }
}

/// `apps/web.yaml (document 2)`, or `base/web.yaml, patched by overlays/prod/patch.yaml`.
impl fmt::Display for Provenance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())?;
        if let Some(document) = self.document {
            write!(f, " (document {document})")?;
        }
        for (words, files) in [
            ("patched by", self.patches),
            ("with values of", self.values),
        ] {
            for (number, file) in files.iter().take(MAX_SHOWN).enumerate() {
                match number {
                    0 => write!(f, ", {words} {file}")?,
                    _ => write!(f, " and {file}")?,
                }
            }
            if files.len() > MAX_SHOWN {
                write!(f, " and others")?;
            }
        }
        Ok(())
    }
}

/// The most patches, and the most values, that a sentence names.
const MAX_SHOWN: usize = 4;

/// An object's index in the [`Origins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    text: u32,
    /// The index of its first file in the table, and the number of its files.
    file: u32,
    files: u16,
    /// How many of them have patches. Those with values are after these.
    patches: u16,
    document: u32,
    item: u32,
}

impl Origin {
    /// The same text and files, at another document and item.
    pub(super) fn at(self, document: u32, item: u32) -> Self {
        Self {
            document,
            item,
            ..self
        }
    }

    /// Document and item in the text.
    pub(super) fn place(self) -> (u32, u32) {
        (self.document, self.item)
    }
}

/// What an object is made of, beside the file of its resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// Whether a renderer made it.
    pub(super) is_rendered: bool,
    /// Files with patches, the last one first.
    pub(super) patches: Vec<Arc<str>>,
    /// Where values of its chart are.
    pub(super) values: Arc<[Arc<str>]>,
}

/// The texts that hold the bodies, and the files that the objects are made of. Plain manifests have one
/// file a text; a renderer writes one text and names the files of each object.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Each with whether a renderer made it.
    texts: Vec<(TextId, bool)>,
    files: Vec<Arc<str>>,
}

impl Origins {
    /// Adds a text, its file, and what else it is made of. Returns the place of its first document.
    pub(super) fn add(&mut self, text: TextId, file: Arc<str>, parts: Parts) -> Origin {
        let first = self.files.len();
        let patches = number(parts.patches.len());
        self.files.push(file);
        self.files.extend(parts.patches);
        self.files.extend(parts.values.iter().cloned());
        self.texts.push((text, parts.is_rendered));
        Origin {
            text: index(self.texts.len() - 1),
            file: index(first),
            files: number(self.files.len() - first),
            patches,
            document: 1,
            item: 0,
        }
    }

    pub(super) fn provenance(&self, origin: Origin) -> Provenance<'_> {
        let first = origin.file as usize;
        let files = self.files.get(first..first + origin.files as usize);
        let files = files.unwrap_or_default();
        let others = files.get(1..).unwrap_or_default();
        let (patches, values) = others.split_at((origin.patches as usize).min(others.len()));
        let text = self.texts.get(origin.text as usize);
        let is_file = text.is_some_and(|(_, is_rendered)| !is_rendered);
        Provenance {
            files,
            patches,
            values,
            document: is_file.then_some(origin.document),
        }
    }

    /// The text with an object's body.
    pub(super) fn text(&self, origin: Origin) -> Option<TextId> {
        Some(self.texts.get(origin.text as usize)?.0)
    }
}

/// Of more, only the first ones are known: messages name a few.
fn number(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Sources are limited to far fewer files than this type can count.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
