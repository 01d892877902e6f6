//! The project's own renderers, and what they made of late.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    About, Chart, Engine, EngineSettings, Failed, Job, Kustomization, Module, ModuleError, Reads,
    RenderFailure, Rendered,
};
use crate::content::{ObjectId, Tree};
use crate::render::TextId;
use crate::text::Secrets;

/// Why the renderers are not there.
#[derive(Debug, thiserror::Error)]
pub enum RenderersError {
    /// A module cannot be used.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The machine has not enough address space, in wasmtime's words.
    #[error("starting the sandbox of renderers: {0}")]
    Engine(String),
}

/// kustomize and Helm, opened when one is first needed: a cluster of plain manifests pays nothing for them.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderers {
    folder: Arc<Path>,
    opened: Arc<OnceLock<Result<Opened, String>>>,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug)]
struct Opened {
    engine: Engine,
    kustomize: Module,
    helm: Module,
}

impl Opened {
    fn open(folder: &Path) -> Result<Self, RenderersError> {
        let engine = Engine::new(EngineSettings::default()).map_err(RenderersError::Engine)?;
        let open = |name: &str| Module::open(&engine, name, &folder.join(format!("{name}.cwasm")));
        Ok(Self {
            kustomize: open("kustomize")?,
            helm: open("helm")?,
            engine,
        })
    }
}

/// What is secret about a render.
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    /// Identifies keys and values: what is rendered with one key is not shared with those who have
    /// another.
    pub identity: &'a [u8],
    /// Values that no error and no warning may show.
    pub secrets: &'a Secrets,
}

/// What is still in use of what was rendered, by the request: Syncs that ask for the same share it.
type Recent = HashMap<[u8; 32], Vec<Weak<Output>>>;

/// What a render made, its documents compressed: ten thousand objects take a few MiB.
#[derive(Debug)]
pub struct Output {
    /// In the renderer's order.
    pub documents: Vec<Kept>,
    /// What it looked at: as long as that is the same, so is the output.
    pub reads: Reads,
    /// Warnings for users.
    pub warnings: Vec<String>,
}

/// A document that a renderer made.
#[derive(Debug)]
pub struct Kept {
    /// What the renderer says of it.
    pub about: About,
    /// Its content.
    pub id: TextId,
    size: usize,
    packed: Box<[u8]>,
}

impl Kept {
    fn new(about: About, body: &[u8]) -> Self {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = packer.write_all(body);
        Self {
            about,
            id: TextId(ObjectId::new(&Sha256::digest(body))),
            size: body.len(),
            packed: packer.finish().unwrap_or_default().into(),
        }
    }

    /// The document itself.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size);
        // Reading what was packed here does not fail.
        let _ = DeflateDecoder::new(&*self.packed).read_to_end(&mut text);
        text
    }
}

impl Renderers {
    /// The renderers in `folder`: `kustomize.cwasm` and `helm.cwasm`, with a digest beside each. Nothing is
    /// read yet.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder: folder.into(),
            opened: Arc::default(),
            recent: Arc::default(),
        }
    }

    fn opened(&self) -> Result<&Opened, Box<Failed>> {
        let open = || Opened::open(&self.folder).map_err(|error| crate::chain(&error));
        let opened = self.opened.get_or_init(open).as_ref();
        opened.map_err(|reason| {
            Box::new(Failed {
                failure: RenderFailure::Missing(reason.clone()),
                reads: Reads::default(),
            })
        })
    }

    /// `kustomize build`.
    ///
    /// # Errors
    /// Why it failed, and what it looked at until then.
    pub fn kustomize(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Kustomization,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        self.render(&self.opened()?.kustomize, tree, request, private)
    }

    /// `helm template`. `seed` is what random functions draw from.
    ///
    /// # Errors
    /// Why it failed, and what it looked at until then.
    pub fn helm(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Chart,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        self.render(&self.opened()?.helm, tree, request, private)
    }

    /// What a chart makes with other random numbers: where that differs, a template draws some.
    ///
    /// # Errors
    /// As [`Self::helm`].
    pub fn helm_again(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Chart,
        private: Private<'_>,
    ) -> Result<Rendered, Box<Failed>> {
        let opened = self.opened()?;
        let mut job = Job::new(&opened.helm, Arc::clone(tree));
        job.secrets = private.secrets.clone();
        job.seed = [0xa5; 32];
        job.now = 1_000_000_000;
        let other = Chart {
            seed: request.seed.wrapping_add(1),
            ..request.clone()
        };
        opened.engine.render(&job, &other)
    }

    fn render<R: Serialize>(
        &self,
        module: &Module,
        tree: &Arc<dyn Tree>,
        request: &R,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        let key = key(module, request, private.identity);
        if let Some(output) = self.known(&key, &**tree) {
            return Ok(output);
        }
        let mut job = Job::new(module, Arc::clone(tree));
        job.secrets = private.secrets.clone();
        let rendered = self.opened()?.engine.render(&job, request)?;
        let documents = rendered.documents.into_iter();
        let output = Arc::new(Output {
            documents: documents
                .map(|document| Kept::new(document.about, &document.body))
                .collect(),
            reads: rendered.reads,
            warnings: rendered.warnings,
        });
        let mut recent = self.recent();
        recent.retain(|_, outputs| {
            outputs.retain(|output| output.strong_count() > 0);
            !outputs.is_empty()
        });
        recent.entry(key).or_default().push(Arc::downgrade(&output));
        Ok(output)
    }

    /// An output of the same request that still holds in `tree`.
    fn known(&self, key: &[u8; 32], tree: &dyn Tree) -> Option<Arc<Output>> {
        let outputs: Vec<Arc<Output>> = {
            let recent = self.recent();
            let outputs = recent.get(key).into_iter().flatten();
            outputs.filter_map(Weak::upgrade).collect()
        };
        let mut outputs = outputs.into_iter();
        outputs.find(|output| output.reads.unchanged_in(tree).unwrap_or(false))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<R: Serialize>(module: &Module, request: &R, identity: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(module.digest());
    hash.update(Sha256::digest(identity));
    hash.update(serde_json::to_vec(request).unwrap_or_default());
    hash.finalize().into()
}
