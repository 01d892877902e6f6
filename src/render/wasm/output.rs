//! What a render made, as it is kept: its documents compressed, its texts fit for people.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{About, Finding, Lookup, Reads, Rendered, Sought, lookup};
use crate::allowance::HeldBytes;
use crate::content::{ObjectId, Tree};
use crate::render::{Generated, Patches, RemoteBase, TextId};
use crate::text::{Secrets, redact};

/// What a render made, its documents compressed: ten thousand objects take a few MiB.
#[derive(Debug, Serialize, Deserialize)]
pub struct Output {
    /// In the renderer's order.
    pub documents: Vec<Kept>,
    /// What it looked at: as long as that is the same, so is the output.
    pub reads: Reads,
    /// What it asked the cluster for, and what it found: as long as that is the same, so is the output.
    #[serde(skip)]
    pub lookups: Vec<(Sought, Finding)>,
    /// What a person should know although it succeeded. Without secret values.
    pub warnings: Vec<String>,
    /// What a chart tells its users, where it is short. Without secret values.
    pub notes: Option<String>,
    /// Which values were drawn at random.
    #[serde(skip)]
    pub generated: Generated,
    /// The remote bases that it is made of.
    pub bases: Vec<RemoteBase>,
    /// The patches that it is made of.
    pub patches: Patches,
    /// The circumstances beside the request that it may depend on. None: it depends on none.
    pub(super) circumstances: Option<[u8; 32]>,
    /// Whether nothing of it was secret, drawn at random or looked up, so that it may be kept on disk.
    pub(super) is_public: bool,
    /// Its part of what its tenant may keep.
    #[serde(skip)]
    pub(super) held: Option<HeldBytes>,
}

/// The longest `NOTES.txt` that is passed on, in bytes.
const MAX_NOTES: usize = 2 << 10;

impl Output {
    pub(super) fn new(rendered: Rendered, secrets: &Secrets) -> Self {
        let documents = rendered.documents;
        let fit = |body: &[u8]| redact(&secrets.hide(&String::from_utf8_lossy(body)));
        let notes = documents
            .iter()
            .filter(|document| document.about.kind == "notes")
            .map(|document| fit(&document.body).trim().to_owned())
            .find(|notes| !notes.is_empty() && notes.len() <= MAX_NOTES);
        let mut warnings = rendered.warnings;
        warnings.extend(lookup::unanswered(&rendered.lookups));
        let lookups = rendered.lookups.into_iter();
        let lookups = lookups.filter(|asked| asked.seen != Finding::Unlisted);
        Self {
            documents: documents
                .into_iter()
                .map(|document| Kept::new(document.about, &document.body))
                .collect(),
            reads: rendered.reads,
            lookups: lookups
                .map(|asked| (asked.query.sought(), asked.seen))
                .collect(),
            warnings,
            notes,
            generated: Generated::default(),
            bases: rendered.bases,
            patches: rendered.patches,
            circumstances: None,
            is_public: false,
            held: None,
        }
    }

    /// Whether it is what a render in these circumstances would make of the same request. Blocks.
    pub(super) fn holds(
        &self,
        circumstances: &[u8; 32],
        tree: &dyn Tree,
        lookup: Option<&dyn Lookup>,
    ) -> bool {
        let mut depends = self.circumstances.iter();
        depends.all(|depends| depends == circumstances)
            && self.reads.unchanged_in(tree).unwrap_or(false)
            && self.finds_the_same(lookup)
    }

    /// Whether a chart's documents may show the number of its release.
    #[must_use]
    pub fn shows_number(&self) -> bool {
        self.circumstances.is_some()
    }

    /// Whether `lookup` finds the same as when it was rendered. Blocks.
    fn finds_the_same(&self, lookup: Option<&dyn Lookup>) -> bool {
        self.lookups.iter().all(|(sought, seen)| {
            let found = lookup.map(|lookup| lookup.find(&sought.query()));
            matches!(found, Some(Ok(found)) if found.seen == *seen)
        })
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let documents = self.documents.iter();
        let kept = documents.map(|kept| kept.packed.len() + kept.about.file.len() + DOCUMENT);
        kept.sum::<usize>() + self.reads.bytes() + self.patches.bytes()
    }
}

/// What a document takes beside its text and its file's name, in bytes.
const DOCUMENT: usize = 256;

/// A document that a renderer made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What the renderer says of it.
    pub about: About,
    /// Its content.
    pub id: TextId,
    size: usize,
    packed: Box<[u8]>,
}

impl Kept {
    /// Keeps a document.
    #[must_use]
    pub fn new(about: About, body: &[u8]) -> Self {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = packer.write_all(body);
        Self {
            about,
            id: Self::id(body),
            size: body.len(),
            packed: packer.finish().unwrap_or_default().into(),
        }
    }

    pub(super) fn id(body: &[u8]) -> TextId {
        TextId(ObjectId::new(&Sha256::digest(body)))
    }

    /// The length of the document, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many bytes it takes, compressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// The document itself.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size);
        // Reading what was packed here does not fail.
        let packed = DeflateDecoder::new(&*self.packed);
        let _ = packed.take(self.size as u64).read_to_end(&mut text);
        text
    }
}
