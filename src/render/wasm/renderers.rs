//! The project's own renderers, and what they made of late.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::chance::{Chance, compare};
use super::{
    Chart, Engine, EngineSettings, Failed, Job, Kustomization, Module, ModuleError, Output, Reads,
    RenderFailure,
};
use crate::content::Tree;
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

/// Who renders, and what of it is secret.
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    /// Identifies keys and values: what is rendered with one key is not shared with those who have
    /// another.
    pub identity: &'a [u8],
    /// Values that no error and no warning may show.
    pub secrets: &'a Secrets,
    /// Who asks for it: the namespace of the Sync. Tenants take turns.
    pub tenant: &'a Arc<str>,
}

/// What is still in use of what was rendered, by the request: Syncs that ask for the same share it.
type Recent = HashMap<[u8; 32], Vec<Weak<Output>>>;

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

    /// `helm template`. What a template draws at random is a value of its own each time; where that is, the
    /// output says.
    ///
    /// # Errors
    /// Why it failed, and what it looked at until then.
    pub fn helm(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Chart,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        let opened = self.opened()?;
        let key = key(&opened.helm, request, private.identity);
        if let Some(output) = self.known(&key, &**tree) {
            return Ok(output);
        }
        let render = |chance: Chance| {
            let mut job = Job::new(&opened.helm, Arc::clone(tree));
            job.secrets = private.secrets.clone();
            job.tenant = Arc::clone(private.tenant);
            (job.seed, job.now) = (chance.seed, chance.now);
            let request = Chart {
                seed: i64::from_le_bytes(chance.seed.first_chunk().copied().unwrap_or_default()),
                ..request.clone()
            };
            opened.engine.render(&job, &request)
        };
        let chance = Chance::draw();
        let one = render(chance)?;
        let (generated, drawn) = match one.drew {
            true => compare(&one, &render(chance.other())?)?,
            false => Default::default(),
        };
        let mut output = Output::new(one, private.secrets);
        output.generated = generated;
        output.warnings.extend(drawn);
        Ok(self.remember(key, output))
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
        job.tenant = Arc::clone(private.tenant);
        let rendered = self.opened()?.engine.render(&job, request)?;
        Ok(self.remember(key, Output::new(rendered, private.secrets)))
    }

    /// Keeps an output for those who ask for the same while it is in use.
    fn remember(&self, key: [u8; 32], output: Output) -> Arc<Output> {
        let output = Arc::new(output);
        let mut recent = self.recent();
        recent.retain(|_, outputs| {
            outputs.retain(|output| output.strong_count() > 0);
            !outputs.is_empty()
        });
        recent.entry(key).or_default().push(Arc::downgrade(&output));
        output
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
