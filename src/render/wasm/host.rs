//! One render, from the host's side: the files that it may read, and its output.

use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;
use wasmtime::{ResourceLimiter, Result};

use super::process::Process;
use super::reads::Reads;
use super::{Document, Limits, Lookup, LookupQuery};
use crate::content::{ReadError, ReadFault, Tree};

/// The tree's root for the renderer. It is not `/`, because `..` of `/` is `/` again.
const ROOT: &str = "/repository";

/// Error codes in place of a size.
const ABSENT: i64 = -1;
const OUTSIDE: i64 = -2;
const IS_FOLDER: i64 = -3;
const IS_FILE: i64 = -4;

/// Go has one function table, with every function in it: 20,000 in Helm.
pub(super) const MAX_FUNCTIONS: usize = 1 << 18;

/// The most warnings that are kept.
const MAX_WARNINGS: usize = 20;

/// Why the host ends a render.
#[derive(Clone, Debug, Error)]
pub(super) enum Stop {
    #[error("{path} cannot be read")]
    Read { path: String, source: ReadError },
    #[error("{what} more than {limit}")]
    TooMuch { what: &'static str, limit: String },
    #[error("ended with code {0}")]
    Exit(i32),
}

/// One render, from the host's side.
pub(super) struct Host {
    tree: Arc<dyn Tree>,
    lookup: Option<Arc<dyn Lookup>>,
    request: Vec<u8>,
    limits: Limits,
    /// The answer that the renderer takes next.
    answer: Vec<u8>,
    bytes_read: u64,
    bytes_written: usize,
    /// The memory that it asked for beyond its limit.
    pub(super) wanted_memory: Option<usize>,
    pub(super) process: Process,
    pub(super) reads: Reads,
    pub(super) lookups: Vec<LookupQuery>,
    pub(super) documents: Vec<Document>,
    /// As the renderer writes them.
    pub(super) warnings: Vec<String>,
    /// It has seen a name of a random function that asks the host for nothing.
    chance: bool,
    /// What the renderer says is wrong.
    pub(super) failure: Option<String>,
}

impl Host {
    pub(super) fn new(
        tree: Arc<dyn Tree>,
        lookup: Option<Arc<dyn Lookup>>,
        request: Vec<u8>,
        limits: Limits,
        process: Process,
    ) -> Self {
        Self {
            tree,
            lookup,
            limits,
            answer: Vec::new(),
            bytes_read: 0,
            bytes_written: 0,
            wanted_memory: None,
            process,
            reads: Reads::default(),
            lookups: Vec::new(),
            documents: Vec::new(),
            warnings: Vec::new(),
            chance: may_draw(&request),
            request,
            failure: None,
        }
    }

    /// Stores `answer` for the renderer to take.
    fn answer(&mut self, answer: Vec<u8>) -> i64 {
        self.answer = answer;
        i64::try_from(self.answer.len()).unwrap_or(i64::MAX)
    }

    /// The request.
    pub(super) fn request(&mut self) -> i64 {
        let request = std::mem::take(&mut self.request);
        self.answer(request)
    }

    /// The last answer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    /// Whether another seed or time may make other documents.
    pub(super) fn drew(&self) -> bool {
        self.chance || self.process.drew()
    }

    /// Keeps a warning.
    pub(super) fn warn(&mut self, text: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(text.to_owned());
        }
    }

    /// What is at a path: the size of its real path, shifted by one, and 1 for a folder.
    pub(super) fn stat(&mut self, path: &str) -> Result<i64, Stop> {
        let Some(inside) = inside(path) else {
            return Ok(OUTSIDE);
        };
        self.count_look()?;
        let found = self.reads.place(&*self.tree, inside);
        match found.map_err(|source| unreadable(inside, source))? {
            Err(fault) => Ok(code(fault)),
            Ok(place) => {
                let folder = i64::from(place.file.is_none());
                Ok(self.answer(absolute(&place.real).into_bytes()) << 1 | folder)
            }
        }
    }

    /// The content of a file.
    pub(super) fn read(&mut self, path: &str) -> Result<i64, Stop> {
        let Some(inside) = inside(path) else {
            return Ok(OUTSIDE);
        };
        self.count_look()?;
        let found = self.reads.place(&*self.tree, inside);
        let place = match found.map_err(|source| unreadable(inside, source))? {
            Err(fault) => return Ok(code(fault)),
            Ok(place) => place,
        };
        let Some(blob) = place.file else {
            return Ok(IS_FOLDER);
        };
        let text = self.tree.read(blob);
        let text = text.map_err(|source| unreadable(inside, source))?;
        self.chance = self.chance || may_draw(&text);
        self.bytes_read += text.len() as u64;
        if self.bytes_read > self.limits.input {
            return Err(too_much("reads", self.limits.input));
        }
        Ok(self.answer(text))
    }

    /// The names in a folder, each ended by a zero, folders with a slash.
    pub(super) fn list(&mut self, path: &str) -> Result<i64, Stop> {
        let Some(inside) = inside(path) else {
            return Ok(OUTSIDE);
        };
        self.count_look()?;
        let found = self.reads.names(&*self.tree, inside);
        match found.map_err(|source| unreadable(inside, source))? {
            Err(ReadFault::Unusable) => Ok(IS_FILE),
            Err(fault) => Ok(code(fault)),
            Ok(names) => {
                let mut text = String::new();
                for name in names {
                    text.push_str(&name.name);
                    text.push_str(if name.is_folder { "/\0" } else { "\0" });
                }
                Ok(self.answer(text.into_bytes()))
            }
        }
    }

    /// An object of the cluster.
    pub(super) fn look_up(&mut self, query: &str) -> i64 {
        let Ok(query) = serde_json::from_str::<LookupQuery>(query) else {
            return 0;
        };
        let found = self.lookup.as_ref().and_then(|lookup| lookup.find(&query));
        if !self.lookups.contains(&query) && self.lookups.len() < self.limits.looks {
            self.lookups.push(query);
        }
        match found {
            None => 0,
            Some(object) => self.answer(object.to_string().into_bytes()),
        }
    }

    /// A document.
    pub(super) fn emit(&mut self, about: &str, body: Vec<u8>) -> Result<(), Stop> {
        self.bytes_written += body.len();
        if self.bytes_written > self.limits.output {
            return Err(too_much("writes", self.limits.output as u64));
        }
        if self.documents.len() == self.limits.documents {
            let limit = format!("{} documents", self.limits.documents);
            return Err(Stop::TooMuch {
                what: "writes",
                limit,
            });
        }
        let about = serde_json::from_str(about).unwrap_or_default();
        self.documents.push(Document { about, body });
        Ok(())
    }

    fn count_look(&self) -> Result<(), Stop> {
        if self.reads.len() < self.limits.looks {
            return Ok(());
        }
        let limit = format!("{} paths", self.limits.looks);
        Err(Stop::TooMuch {
            what: "reads",
            limit,
        })
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, wanted: usize, _: Option<usize>) -> Result<bool> {
        let fits = wanted <= self.limits.memory;
        if !fits {
            self.wanted_memory = Some(wanted);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, wanted: usize, _: Option<usize>) -> Result<bool> {
        Ok(wanted <= MAX_FUNCTIONS)
    }
}

/// Whether a text names one of Sprig's functions that draw from a generator of their own, or is an archive, which
/// may.
fn may_draw(text: &[u8]) -> bool {
    let is_function = |word: &[u8]| word == b"randInt" || word == b"shuffle";
    text.starts_with(&[0x1f, 0x8b]) || text.windows(7).any(is_function)
}

/// The path from the tree's root, where it is in the tree. The renderer has cleaned it.
fn inside(path: &str) -> Option<&str> {
    match path.strip_prefix(ROOT)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn absolute(path: &str) -> String {
    if path.is_empty() {
        ROOT.to_owned()
    } else {
        format!("{ROOT}/{path}")
    }
}

fn code(fault: ReadFault) -> i64 {
    match fault {
        ReadFault::Unusable | ReadFault::InvalidPath => OUTSIDE,
        _ => ABSENT,
    }
}

fn unreadable(path: &str, source: ReadError) -> Stop {
    let path = path.to_owned();
    Stop::Read { path, source }
}

fn too_much(what: &'static str, limit: u64) -> Stop {
    let limit = format!("{} MiB", limit >> 20);
    Stop::TooMuch { what, limit }
}

/// What a renderer says of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct About {
    /// What it is: a manifest where this is empty; otherwise `manifest`, `hook`, `crd` or `notes`.
    pub kind: String,
    /// The file that it comes from: a resource, the kustomization whose generator made it, or a template
    /// with the chart's name before it.
    pub file: String,
    /// The kind of generator that made it.
    pub generated: String,
    /// Of a hook.
    pub hook: Option<Hook>,
}

/// When a hook of Helm runs, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hook {
    /// `pre-install`, `post-upgrade`, `test` and so on.
    pub events: Vec<String>,
    /// Lower ones run first.
    pub weight: i64,
    /// `before-hook-creation`, `hook-succeeded`, `hook-failed`.
    pub delete_policies: Vec<String>,
    /// When to show the output of its pods.
    pub output_log_policies: Vec<String>,
}
