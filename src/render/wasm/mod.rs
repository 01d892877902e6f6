//! Runs renderers: upstream's own programs, compiled to WebAssembly, in a sandbox.
//!
//! A renderer sees the files of one tree and nothing else. Every render gets a fresh instance, made from a
//! snapshot that was taken after Go's start; nothing is left of it. Time, memory, input and output are
//! bounded. What a renderer looked at is recorded: that is the key of what it made.
//!
//! This is the only room that names wasmtime. Unlike the rest of `render` it is not pure: it starts
//! threads and maps files.

mod chance;
mod charts;
mod counts;
mod culprits;
mod disk;
mod engine;
mod error;
mod hints;
mod host;
mod imports;
mod inflated;
mod lookup;
mod map;
mod memory;
mod module;
mod number;
mod output;
mod prime;
mod process;
mod reads;
mod renderers;
mod request;
mod settings;
mod wasi;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmtime::{Store, Trap, UpdateDeadline};

pub use charts::Cluster;
pub use counts::RenderCounts;
pub use disk::Disk;
pub use engine::{Engine, EngineSettings};
pub use error::RenderFailure;
pub use host::{About, Hook};
pub use lookup::{Answer, Asked, Finding, Lookup, LookupError, LookupQuery, Sought};
pub use module::{Module, ModuleError};
pub use output::{Kept, Output};
pub use reads::Reads;
pub use renderers::{Private, Renderers, RenderersError};
pub use request::{Chart, Folder, Kustomization, Release, Values};

use crate::content::Tree;
use crate::render::{Patches, RemoteBase};
use crate::text::{Secrets, printable, redact, shorten};
use host::{Host, Stop};
use process::Process;

/// The longest warning of a renderer, in bytes.
const MAX_WARNING: usize = 1 << 10;

/// The longest error text of a renderer that is kept, in bytes.
const MAX_MESSAGE: usize = 4 << 10;

/// The limits of one render.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory in bytes, the module's own 30 MiB included.
    pub memory: usize,
    /// Processor time. [`Clock`] says how long it may last.
    pub time: Duration,
    /// Bytes of all files together.
    pub input: u64,
    /// Bytes of all documents together.
    pub output: usize,
    /// Documents.
    pub documents: usize,
    /// Paths that the renderer looks up.
    pub looks: usize,
    /// Bytes of all these paths together.
    pub look_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 384 << 20,
            time: Duration::from_secs(30),
            input: 128 << 20,
            output: 64 << 20,
            documents: 20_000,
            looks: 100_000,
            look_bytes: 16 << 20,
        }
    }
}

/// The inputs and limits of a render.
#[derive(Clone)]
pub struct Job<'a> {
    /// The renderer.
    pub module: &'a Module,
    /// The files.
    pub tree: Arc<dyn Tree>,
    /// The limits.
    pub limits: Limits,
    /// The seed of all random bytes.
    pub seed: [u8; 32],
    /// The renderer's time, in seconds since 1970.
    pub now: u64,
    /// Answers `lookup`; without it every answer is empty.
    pub lookup: Option<Arc<dyn Lookup>>,
    /// Values that no error and no warning may show.
    pub secrets: Secrets,
    /// Who asks for it. Tenants take turns.
    pub tenant: Arc<str>,
}

impl<'a> Job<'a> {
    /// A render within the usual limits, without `lookup`.
    #[must_use]
    pub fn new(module: &'a Module, tree: Arc<dyn Tree>) -> Self {
        Self {
            module,
            tree,
            limits: Limits::default(),
            seed: [0; 32],
            now: 0,
            lookup: None,
            secrets: Secrets::default(),
            tenant: Arc::default(),
        }
    }

    /// A text of the renderer without credentials and secret values. Cut it afterwards: half of a value is
    /// not recognised.
    #[must_use]
    pub fn fit(&self, text: &str) -> String {
        redact(&self.secrets.hide(text))
    }
}

/// One document that a renderer made.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// What the renderer says of it.
    pub about: About,
    /// YAML, or text of notes.
    pub body: Vec<u8>,
}

/// Without the body, which may hold a secret.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.about).finish()
    }
}

/// The result of a render.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// In the renderer's order.
    pub documents: Vec<Document>,
    /// The files and folders that it looked up.
    pub reads: Reads,
    /// Its requests to the cluster, each once.
    pub lookups: Vec<Asked>,
    /// The remote bases that it is made of.
    pub bases: Vec<RemoteBase>,
    /// The patches that it is made of.
    pub patches: Patches,
    /// Warnings for users.
    pub warnings: Vec<String>,
    /// It may have drawn random numbers, or looked at the time.
    pub drew: bool,
    /// It may be another one for the same request in other circumstances.
    pub depends: bool,
    /// Equal keys are equal documents, as far as `lookup` answers the same: the module, the request and all that it
    /// looked at.
    pub key: [u8; 32],
}

/// The lookups of a failed render. A change of one of them may repair it.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub failure: RenderFailure,
    /// Its lookups until then.
    pub reads: Reads,
    /// The last file that it read, from the root of the tree.
    pub last: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'r, R> {
    limits: GuestLimits,
    #[serde(flatten)]
    request: &'r R,
}

#[derive(Serialize)]
struct GuestLimits {
    memory: usize,
}

/// The stack of a thread that runs a module: the module's own, and room for the host's calls.
const THREAD_STACK: usize = 4 * settings::STACK;

impl Engine {
    /// Renders. Blocks until a slot is free, and while it renders.
    ///
    /// `request` is what the module understands: [`Kustomization`], [`Chart`], or what a module of one's
    /// own documents.
    ///
    /// # Errors
    /// [`RenderFailure`], with what was looked at until then.
    pub fn render<R: Serialize>(
        &self,
        job: &Job<'_>,
        request: &R,
    ) -> Result<Rendered, Box<Failed>> {
        let crashed = |reason: String| {
            Box::new(Failed {
                failure: RenderFailure::Crashed {
                    renderer: job.module.name().to_owned(),
                    reason,
                },
                reads: Reads::default(),
                last: None,
            })
        };
        let limits = GuestLimits {
            // The rest is for memory that the garbage collector has not freed yet.
            memory: job.limits.memory / 100 * 85,
        };
        let envelope = Envelope { limits, request };
        let request = serde_json::to_vec(&envelope).map_err(|error| crashed(error.to_string()))?;
        let _slot = self.slot(&job.tenant);
        thread::scope(|scope| {
            thread::Builder::new()
                .name("renderer".to_owned())
                .stack_size(THREAD_STACK)
                .spawn_scoped(scope, || self.run(job, &request))
                .map_err(|error| crashed(error.to_string()))?
                .join()
                .unwrap_or_else(|_| Err(crashed("the host panicked".to_owned())))
        })
    }

    fn run(&self, job: &Job<'_>, request: &[u8]) -> Result<Rendered, Box<Failed>> {
        let process = Process::new(job.now.saturating_mul(1_000_000_000), job.seed);
        let host = Host::new(
            job.tree.clone(),
            job.lookup.clone(),
            request.to_vec(),
            job.limits,
            process,
        );
        let mut store = Store::new(self.wasmtime(), host);
        store.limiter(|host| host);
        let mut clock = Clock::start(job.limits.time);
        store.set_epoch_deadline(clock.ticks().unwrap_or(0));
        store.epoch_deadline_callback(move |_| {
            let ticks = clock.ticks();
            Ok(ticks.map_or(UpdateDeadline::Interrupt, UpdateDeadline::Continue))
        });
        let ended = job
            .module
            .start()
            .instantiate(&mut store)
            .and_then(|instance| {
                let render = instance.get_typed_func::<(), ()>(&mut store, "render")?;
                render.call(&mut store, ())
            });
        let host = store.into_data();
        if let Some(failure) = failure(job, &host, ended.err()) {
            return Err(Box::new(Failed {
                failure,
                reads: host.reads,
                last: host.last_file,
            }));
        }
        let key = host.reads.key(&job.module.digest(), request);
        let drew = host.drew();
        let printed = host.process.warnings();
        let warnings = host.warnings.iter().chain(&printed);
        let warnings = warnings.map(|text| shorten(&job.fit(text), MAX_WARNING));
        Ok(Rendered {
            documents: host.documents,
            reads: host.reads,
            drew,
            depends: true,
            lookups: host.lookups,
            bases: Vec::new(),
            patches: Patches::default(),
            warnings: warnings.collect(),
            key,
        })
    }
}

/// How long a render may still take. What counts is the processor time of its thread: on a busy machine, a render that
/// is given little of it does nothing wrong.
struct Clock {
    limit: Duration,
    processor: Duration,
    began: Instant,
}

impl Clock {
    /// A render may take so many times its limit if it is given no processor, since others wait for their turn.
    const PATIENCE: u32 = 4;

    fn start(limit: Duration) -> Self {
        Self {
            limit,
            processor: processor_time(),
            began: Instant::now(),
        }
    }

    /// The ticks until this has to be asked again, if time is left.
    fn ticks(&mut self) -> Option<u64> {
        let used = processor_time().saturating_sub(self.processor);
        let waited = self.began.elapsed() / Self::PATIENCE;
        let left = self.limit.checked_sub(used.max(waited))?;
        let ticks = left.as_millis() / engine::TICK.as_millis();
        Some(u64::try_from(ticks).unwrap_or(u64::MAX).max(1))
    }
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Why a render failed, if it did.
fn failure(job: &Job<'_>, host: &Host, ended: Option<wasmtime::Error>) -> Option<RenderFailure> {
    let renderer = job.module.name().to_owned();
    let place = || match &host.last_file {
        Some(file) => format!("; the last file that it read is {}", printable(file)),
        None => String::new(),
    };
    if let Some(error) = ended {
        return Some(
            match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>()) {
                (Some(Stop::Read { path, source }), _) => RenderFailure::Read {
                    renderer,
                    path: path.clone(),
                    source: source.clone(),
                },
                (Some(Stop::TooMuch { what, limit }), _) => RenderFailure::TooMuch {
                    renderer,
                    place: place(),
                    what,
                    limit: limit.clone(),
                },
                (Some(Stop::Lookup { place, source }), _) => RenderFailure::Lookup {
                    renderer,
                    place: place.clone(),
                    source: source.clone(),
                },
                (_, Some(Trap::Interrupt)) => RenderFailure::OutOfTime {
                    renderer,
                    place: place(),
                    seconds: job.limits.time.as_secs(),
                    most: (job.limits.time * Clock::PATIENCE).as_secs(),
                },
                (_, Some(Trap::StackOverflow)) => RenderFailure::OutOfStack {
                    renderer,
                    place: place(),
                },
                _ if host.wanted_memory.is_some() => RenderFailure::OutOfMemory {
                    renderer,
                    place: place(),
                    limit_mib: job.limits.memory >> 20,
                },
                _ => RenderFailure::Crashed {
                    renderer,
                    reason: crash(job, host, &error),
                },
            },
        );
    }
    let message = host.failure.as_ref()?;
    let message = hints::without_entries(message);
    let message = both_ends(&job.fit(&message));
    Some(RenderFailure::Refused { renderer, message })
}

/// A long text without its middle: Go's errors say where at the beginning, and why at the end.
fn both_ends(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let head = shorten(text, MAX_MESSAGE / 2);
    let from = text.len() - MAX_MESSAGE / 2;
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at));
    format!("{head} {}", &text[from.unwrap_or(text.len())..])
}

/// What is known of a crash: Go writes why before it ends.
fn crash(job: &Job<'_>, host: &Host, error: &wasmtime::Error) -> String {
    let errors = String::from_utf8_lossy(host.process.errors());
    let lines: Vec<&str> = errors
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(3)
        .collect();
    let text = if lines.is_empty() {
        format!("{error:#}")
    } else {
        lines.join(" ")
    };
    shorten(&job.fit(&text), MAX_MESSAGE)
}
