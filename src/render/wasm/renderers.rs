//! The project's own renderers, and what they made of late.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::chance::{Chance, compare};
use super::charts::{self, Cluster};
use super::inflated::Inflated;
use super::lookup::Noting;
use super::{
    Chart, Engine, EngineSettings, Failed, Folder, Job, Kustomization, Lookup, Module, ModuleError,
    Output, Reads, RenderFailure, Rendered,
};
use crate::allowance::Allowance;
use crate::content::{Tree, within};
use crate::render::{Bases, Patches};
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
        rendered.map_err(|failed| which_templates(failed, &request, &**tree))
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
        }
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
        let key = key(&opened.kustomize, &(request, cluster), private);
        self.once(&opened.kustomize, key, tree, private, |chance| {
            let inflated = Arc::new(Inflated::new(Arc::clone(tree), bases.clone()));
            let build = || {
                let job = job(&opened.kustomize, inflated.clone(), private);
                opened.engine.render(&job, request)
            };
            let helm = |chart: &Chart| opened.helm(tree, chart, private, chance);
            let built = charts::build(&inflated, cluster, build, helm);
            let patches = inflated.patches(request);
            match built {
                Ok(mut built) => {
                    built.patches = patches;
                    Ok(built)
                }
                Err(failed) => Err(where_to_look(failed, &patches)),
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
        let key = key(&opened.helm, request, private);
        let rendered = self.once(&opened.helm, key, tree, private, |chance| {
            opened.helm(tree, request, private, chance)
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
        let key = key(&module, request, private);
        self.once(&module, key, tree, private, |chance| {
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
        module: &Module,
        key: [u8; 32],
        tree: &Arc<dyn Tree>,
        private: Private<'_>,
        render: impl Fn(Chance) -> Result<Rendered, Box<Failed>>,
    ) -> Result<Arc<Output>, Box<Failed>> {
        if let Some(output) = self.known(&key, &**tree, private) {
            return Ok(output);
        }
        let chance = Chance::draw();
        let one = render(chance)?;
        let (generated, drawn) = match one.drew {
            true => compare(&one, &render(chance.other())?)?,
            false => Default::default(),
        };
        let mut output = Output::new(one, private.secrets);
        output.generated = generated;
        output.warnings.extend(drawn);
        let kept = self.remember(key, output, private.tenant);
        kept.ok_or_else(|| {
            Box::new(Failed {
                failure: RenderFailure::Full {
                    renderer: module.name().to_owned(),
                    namespace: private.tenant.to_string(),
                    limit_mib: KEPT_OF_TENANT >> 20,
                },
                reads: Reads::default(),
                last: None,
            })
        })
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
    fn known(&self, key: &[u8; 32], tree: &dyn Tree, private: Private<'_>) -> Option<Arc<Output>> {
        let outputs: Vec<Arc<Output>> = {
            let recent = self.recent();
            let outputs = recent.get(key).into_iter().flatten();
            outputs.filter_map(Weak::upgrade).collect()
        };
        let mut outputs = outputs.into_iter();
        let lookup = private.noting();
        outputs.find(|output| {
            output.reads.unchanged_in(tree).unwrap_or(false)
                && output.finds_the_same(lookup.as_deref())
        })
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the files that kustomize does not name: patches that its words are about, or the last file that it read.
fn where_to_look(mut failed: Box<Failed>, patches: &Patches) -> Box<Failed> {
    let RenderFailure::Refused { message, .. } = &failed.failure else {
        return failed;
    };
    let named = patches.named_in(message);
    let words = match (&*named, &failed.last) {
        ([], Some(last)) if !message.contains(&**last) => {
            format!("; the last file that it read is {}", printable(last))
        }
        ([one], _) if !message.contains(&**one) => format!("; the patch is in {one}"),
        ([_, _, ..], _) => format!("; the patch is in one of {}", named.join(", ")),
        _ => return failed,
    };
    failed.failure.add(&words);
    failed
}

/// The most templates that are named where one of a chart takes too much.
const MAX_NAMED: usize = 3;

/// Adds the templates that may go on without an end: those that count.
fn which_templates(mut failed: Box<Failed>, chart: &Chart, tree: &dyn Tree) -> Box<Failed> {
    if !failed.failure.is_excess() {
        return failed;
    }
    let counts = |line: &str| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        line.contains("{{")
            && words.any(|word| matches!(word, "until" | "untilStep" | "seq" | "repeat"))
    };
    let folder = within(&chart.path, "templates/");
    let templates = failed
        .reads
        .files()
        .filter(|(path, _)| path.starts_with(&folder));
    let named = templates.filter_map(|(path, blob)| {
        let text = tree.read(blob).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().position(counts)?;
        Some(format!("{} line {}", printable(path), line + 1))
    });
    let named: Vec<_> = named.take(MAX_NAMED).collect();
    let mut words = match chart.path.as_str() {
        "" => String::new(),
        path => format!("; the chart is {}", printable(path)),
    };
    if !named.is_empty() {
        words += &format!("; templates that count: {}", named.join(", "));
    }
    failed.failure.add(&words);
    failed
}

/// Adds where the values of a chart are.
fn which_values(mut failed: Box<Failed>, chart: &Chart) -> Box<Failed> {
    let names = chart
        .values
        .iter()
        .map(|values| match values.file.is_empty() {
            true => &*values.name,
            false => &*values.file,
        });
    let names: Vec<_> = names.collect();
    if let RenderFailure::Refused { message, .. } = &failed.failure
        && !names.is_empty()
        && !names.iter().any(|name| message.contains(name))
    {
        let words = format!("; with values of {}", printable(&names.join(", ")));
        failed.failure.add(&words);
    }
    failed
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
