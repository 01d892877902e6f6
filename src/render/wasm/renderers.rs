//! The project's own renderers, and what they made of late.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::chance::{Chance, compare};
use super::charts::{self, Cluster};
use super::counts::{Counts, Origin, RenderCounts};
use super::disk::FileName;
use super::hints::{what_it_means, where_to_look, which_lists, which_templates, which_values};
use super::inflated::Inflated;
use super::lookup::Noting;
use super::{
    Chart, Disk, Engine, EngineSettings, Failed, Folder, Job, Kustomization, Lookup, Module,
    ModuleError, Output, Reads, Release, RenderFailure, Rendered, number,
};
use crate::allowance::Allowance;
use crate::content::Tree;
use crate::render::{Bases, instructions};
use crate::text::{Secrets, printable};

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

/// kustomize, Helm, and the renderers that an administrator added, opened when one is first needed: a cluster of plain
/// manifests pays nothing for them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderers {
    folder: Arc<Path>,
    opened: Arc<OnceLock<Result<Opened, String>>>,
    /// Those that could be used.
    own: Arc<Mutex<HashMap<String, Module>>>,
    recent: Arc<Mutex<Recent>>,
    /// What all tenants may keep.
    kept: Allowance,
    disk: Option<Disk>,
    counts: Arc<Counts>,
}

/// How many bytes all outputs that are in use may take, and those of one tenant.
const KEPT: usize = 192 << 20;
const KEPT_OF_TENANT: usize = 96 << 20;

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

impl Opened {
    /// Renders a chart once.
    fn helm(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Chart,
        private: Private<'_>,
        chance: Chance,
    ) -> Result<Rendered, Box<Failed>> {
        let mut job = job(&self.helm, Arc::clone(tree), private);
        (job.seed, job.now) = (chance.seed, chance.now);
        job.lookup = private.noting();
        let request = Chart {
            seed: i64::from_le_bytes(chance.seed.first_chunk().copied().unwrap_or_default()),
            ..request.clone()
        };
        let rendered = self.engine.render(&job, &request);
        rendered
            .map_err(|failed| what_it_means(which_templates(failed, &request, &**tree), &**tree))
    }
}

fn job<'m>(module: &'m Module, tree: Arc<dyn Tree>, private: Private<'_>) -> Job<'m> {
    let mut job = Job::new(module, tree);
    job.secrets = private.secrets.clone();
    job.tenant = Arc::clone(private.tenant);
    job
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
    /// Answers `lookup` of charts; without it nothing is looked for.
    pub lookup: Option<&'a Arc<dyn Lookup>>,
    /// The Sync whose outputs may be kept on disk, as far as nothing of them is secret. None: nothing is kept there.
    pub kept_for: Option<&'a Arc<str>>,
}

/// What a renderer is asked.
struct Question<'a> {
    module: &'a Module,
    /// What is rendered, from the root of the tree.
    path: &'a str,
    /// The module and the request.
    key: [u8; 32],
    /// What else an output may depend on.
    circumstances: [u8; 32],
}

impl Private<'_> {
    /// Answers `lookup`, and takes note of values that are secret.
    fn noting(&self) -> Option<Arc<dyn Lookup>> {
        let inner = Arc::clone(self.lookup?);
        let secrets = self.secrets.clone();
        Some(Arc::new(Noting { inner, secrets }))
    }
}

/// What is still in use of what was rendered, by the request: Syncs that ask for the same share it.
type Recent = HashMap<[u8; 32], Vec<Weak<Output>>>;

impl Renderers {
    /// The renderers in `folder`: `kustomize.cwasm` and `helm.cwasm`, and below `own` those that an administrator added,
    /// with a digest beside each. Nothing is read yet.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder: folder.into(),
            opened: Arc::default(),
            own: Arc::default(),
            recent: Arc::default(),
            kept: Allowance::new(KEPT, KEPT_OF_TENANT),
            disk: None,
            counts: Arc::default(),
        }
    }

    /// Keeps outputs on disk as well.
    #[must_use]
    pub fn with(self, disk: Disk) -> Self {
        let disk = Some(disk);
        Self { disk, ..self }
    }

    /// Removes soon from the disk what is not of one of these Syncs, by namespace and name.
    pub fn retain(&self, live: Vec<(String, String)>) {
        if let Some(disk) = &self.disk {
            disk.retain(live);
        }
    }

    /// How often something was to be rendered.
    #[must_use]
    pub fn counts(&self) -> RenderCounts {
        self.counts.read()
    }

    fn opened(&self) -> Result<&Opened, Box<Failed>> {
        let open = || Opened::open(&self.folder).map_err(|error| crate::chain(&error));
        let opened = self.opened.get_or_init(open).as_ref();
        opened.map_err(|reason| {
            Box::new(Failed {
                failure: RenderFailure::Missing(reason.clone()),
                reads: Reads::default(),
                last: None,
            })
        })
    }

    /// `kustomize build`, with charts that are in the repository as with `--enable-helm`, and with the remote bases that
    /// `tree` has. What a chart draws at random is a value of its own each time; where that is, the output says.
    ///
    /// # Errors
    /// Why it failed, and what it looked at until then. Remote bases that `tree` lacks are
    /// [`RenderFailure::Bases`].
    pub fn kustomize(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Kustomization,
        cluster: Cluster<'_>,
        bases: &Bases,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        let opened = self.opened()?;
        instructions::count_overrides(&request.overrides).map_err(|error| {
            Box::new(Failed {
                failure: RenderFailure::TooLarge {
                    renderer: "kustomize".to_owned(),
                    message: error.to_string(),
                },
                reads: Reads::default(),
                last: None,
            })
        })?;
        let question = Question {
            module: &opened.kustomize,
            path: &request.path,
            key: key(&opened.kustomize, request, private),
            circumstances: digest(&cluster),
        };
        self.once(&question, tree, private, |chance| {
            // Only charts see the cluster.
            let has_charts = Cell::new(false);
            let inflated = Arc::new(Inflated::new(Arc::clone(tree), bases.clone()));
            let build = || {
                let job = job(&opened.kustomize, inflated.clone(), private);
                opened.engine.render(&job, request)
            };
            let helm = |chart: &Chart| {
                has_charts.set(true);
                opened.helm(tree, chart, private, chance)
            };
            let built = charts::build(&inflated, cluster, build, helm);
            let patches = inflated.patches(request);
            match built {
                Ok(mut built) => {
                    built.patches = patches;
                    built.depends = has_charts.get();
                    Ok(built)
                }
                Err(failed) => {
                    let failed = what_it_means(which_lists(failed, &**tree), &**tree);
                    Err(where_to_look(failed, &request.path, &patches))
                }
            }
        })
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
        let Release {
            revision,
            is_upgrade,
            ..
        } = request.release;
        let mut any = request.clone();
        (any.release.revision, any.release.is_upgrade) = (0, false);
        let question = Question {
            module: &opened.helm,
            path: &request.path,
            key: key(&opened.helm, &any, private),
            circumstances: digest(&(revision, is_upgrade)),
        };
        let rendered = self.once(&question, tree, private, |chance| {
            let mut rendered = opened.helm(tree, request, private, chance)?;
            rendered.depends =
                number::shows(&rendered.reads, &request.values, &**tree).unwrap_or(true);
            Ok(rendered)
        });
        rendered.map_err(|failed| which_values(failed, request))
    }

    /// Renders a folder with a renderer that an administrator added. What it draws at random is a value of its own each
    /// time; where that is, the output says.
    ///
    /// # Errors
    /// Why it failed, and what it looked at until then. One that is not there now is looked for again by the next call.
    pub fn own(
        &self,
        name: &str,
        tree: &Arc<dyn Tree>,
        request: &Folder,
        private: Private<'_>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        let opened = self.opened()?;
        let module = self.added(opened, name)?;
        let question = Question {
            module: &module,
            path: &request.path,
            key: key(&module, request, private),
            circumstances: digest(&()),
        };
        self.once(&question, tree, private, |chance| {
            let mut job = job(&module, Arc::clone(tree), private);
            (job.seed, job.now) = (chance.seed, chance.now);
            opened.engine.render(&job, request)
        })
    }

    /// A renderer that an administrator added.
    fn added(&self, opened: &Opened, name: &str) -> Result<Module, Box<Failed>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = own.get(name) {
            return Ok(module.clone());
        }
        let refused = |reason| {
            Box::new(Failed {
                failure: RenderFailure::NotMounted {
                    name: printable(name),
                    reason,
                },
                reads: Reads::default(),
                last: None,
            })
        };
        // The definition holds it too, but not for a Sync in a file.
        let is_name = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        if name.is_empty() || !name.chars().all(is_name) {
            let reason = "a name has the characters a to z, 0 to 9 and -";
            return Err(refused(reason.to_owned()));
        }
        let path = self.folder.join("own").join(format!("{name}.cwasm"));
        let module = Module::open(&opened.engine, name, &path);
        let module = module.map_err(|error| refused(crate::chain(&error)))?;
        own.insert(name.to_owned(), module.clone());
        Ok(module)
    }

    /// An output that is known, or a render. Where random numbers may have been drawn, a second render with others says
    /// what they made.
    fn once(
        &self,
        question: &Question<'_>,
        tree: &Arc<dyn Tree>,
        private: Private<'_>,
        render: impl Fn(Chance) -> Result<Rendered, Box<Failed>>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        let Question { key, module, .. } = question;
        if let Some(output) = self.known(question, &**tree, private) {
            self.counts.add(Origin::Memory);
            self.write(question, &output, private);
            return Ok(output);
        }
        let full = || {
            Box::new(Failed {
                failure: RenderFailure::Full {
                    renderer: module.name().to_owned(),
                    namespace: private.tenant.to_string(),
                    limit_mib: KEPT_OF_TENANT >> 20,
                },
                reads: Reads::default(),
                last: None,
            })
        };
        if let Some(output) = self.on_disk(question, &**tree, private) {
            self.counts.add(Origin::Disk);
            let output = self.remember(*key, output, private.tenant);
            let output = output.ok_or_else(full)?;
            if let Some((disk, name)) = self.file(question, private) {
                disk.note(&name, &output);
            }
            return Ok(output);
        }
        self.counts.add(Origin::Renderer);
        let chance = Chance::draw();
        let one = render(chance)?;
        let (generated, drawn, is_drawn) = match one.drew {
            true => {
                let other = render(chance.other())?;
                let (generated, drawn) = compare(&one, &other)?;
                // Notes are not compared, and may show what was drawn.
                (generated, drawn, one.documents != other.documents)
            }
            false => Default::default(),
        };
        let circumstances = one.depends.then_some(question.circumstances);
        let mut output = Output::new(one, private.secrets);
        output.is_public = !is_drawn && output.lookups.is_empty() && !private.secrets.had_any();
        output.circumstances = circumstances;
        output.generated = generated;
        output.warnings.extend(drawn);
        let output = self.remember(*key, output, private.tenant);
        let output = output.ok_or_else(full)?;
        self.write(question, &output, private);
        Ok(output)
    }

    /// The disk, and the file there, of what may be kept.
    fn file(&self, question: &Question<'_>, private: Private<'_>) -> Option<(&Disk, FileName)> {
        let (disk, sync) = (self.disk.as_ref()?, private.kept_for?);
        let renderer = question.module.name();
        Some((
            disk,
            disk.name(private.tenant, sync, renderer, question.path),
        ))
    }

    fn write(&self, question: &Question<'_>, output: &Arc<Output>, private: Private<'_>) {
        if output.is_public
            && let Some((disk, name)) = self.file(question, private)
        {
            disk.write(name, question.key, output);
        }
    }

    /// An output on disk that holds.
    fn on_disk(
        &self,
        question: &Question<'_>,
        tree: &dyn Tree,
        private: Private<'_>,
    ) -> Option<Output> {
        let (disk, name) = self.file(question, private)?;
        let output = disk.read(&name, &question.key)?;
        let lookup = private.noting();
        let holds = output.holds(&question.circumstances, tree, lookup.as_deref());
        holds.then_some(output)
    }

    /// Keeps an output for those who ask for the same while it is in use. None if its tenant may not keep so much.
    fn remember(
        &self,
        key: [u8; 32],
        mut output: Output,
        tenant: &Arc<str>,
    ) -> Option<Arc<Output>> {
        output.held = Some(self.kept.hold(tenant, output.bytes())?);
        let output = Arc::new(output);
        let mut recent = self.recent();
        recent.retain(|_, outputs| {
            outputs.retain(|output| output.strong_count() > 0);
            !outputs.is_empty()
        });
        recent.entry(key).or_default().push(Arc::downgrade(&output));
        Some(output)
    }

    /// An output of the same request that still holds in `tree` and in the cluster.
    fn known(
        &self,
        question: &Question<'_>,
        tree: &dyn Tree,
        private: Private<'_>,
    ) -> Option<Arc<Output>> {
        let outputs: Vec<Arc<Output>> = {
            let recent = self.recent();
            let outputs = recent.get(&question.key).into_iter().flatten();
            outputs.filter_map(Weak::upgrade).collect()
        };
        let mut outputs = outputs.into_iter();
        let lookup = private.noting();
        outputs.find(|output| output.holds(&question.circumstances, tree, lookup.as_deref()))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest<T: Serialize>(circumstances: &T) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(circumstances).unwrap_or_default()).into()
}

fn key<R: Serialize>(module: &Module, request: &R, private: Private<'_>) -> [u8; 32] {
    let scope = private.lookup.map_or("", |lookup| lookup.scope());
    let mut hash = Sha256::new();
    hash.update(module.digest());
    hash.update(Sha256::digest(private.identity));
    hash.update(Sha256::digest(scope));
    hash.update(serde_json::to_vec(request).unwrap_or_default());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::{About, Document};
    use super::*;
    use crate::render::Patches;

    /// Text that compression makes no smaller.
    fn output(bytes: usize) -> Output {
        let blocks = (0..bytes.div_ceil(32)).map(|number| Sha256::digest(number.to_le_bytes()));
        let document = Document {
            about: About::default(),
            body: blocks.flatten().collect(),
        };
        let rendered = Rendered {
            documents: vec![document],
            reads: Reads::default(),
            lookups: Vec::new(),
            bases: Vec::new(),
            patches: Patches::default(),
            warnings: Vec::new(),
            drew: false,
            depends: false,
            key: [0; 32],
        };
        Output::new(rendered, &Secrets::default())
    }

    #[test]
    fn what_a_tenant_keeps_rendered_is_bounded_and_others_have_room() {
        let renderers = Renderers {
            kept: Allowance::new(200_000, 100_000),
            ..Renderers::at(PathBuf::new())
        };
        let keep = |tenant: &str| renderers.remember([0; 32], output(60_000), &tenant.into());
        let first = keep("a").unwrap();
        assert!(keep("a").is_none());
        let other = keep("b").unwrap();
        drop(first);
        let again = keep("a").unwrap();
        assert_eq!((other.documents.len(), again.documents.len()), (1, 1));
    }
}
