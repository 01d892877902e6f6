//! One render, from the host's side: the files that it may read, and its output.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasmtime::{ResourceLimiter, Result};

use super::prime;
use super::process::Process;
use super::reads::Reads;
use super::{Answer, Asked, Document, Finding, Limits, Lookup, LookupError, LookupQuery};
use crate::content::{ReadError, ReadFault, Tree};
use crate::text::printable;

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

/// The most requests to the cluster that are kept, and their bytes. Warnings name only some.
const MAX_LOOKUPS: usize = 1_000;
const MAX_LOOKUP_BYTES: usize = 1 << 20;

/// The most templates that are named where a request to the cluster has no answer.
const MAX_ASKING: usize = 3;

/// The most values of a list of a hook. More are known neither to Helm nor to towline.
const MAX_WORDS: usize = 32;

/// Why the host ends a render.
#[derive(Clone, Debug, Error)]
pub(super) enum Stop {
    #[error("{path} cannot be read")]
    Read { path: String, source: ReadError },
    #[error("{what} more than {limit}")]
    TooMuch { what: &'static str, limit: String },
    #[error("{place}")]
    Lookup { place: String, source: LookupError },
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
    pub(super) lookups: Vec<Asked>,
    lookup_bytes: usize,
    pub(super) documents: Vec<Document>,
    /// As the renderer writes them.
    pub(super) warnings: Vec<String>,
    /// It has seen a name of a random function that asks the host for nothing.
    chance: bool,
    /// The last file that it read.
    pub(super) last_file: Option<String>,
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
            lookup_bytes: 0,
            documents: Vec::new(),
            warnings: Vec::new(),
            chance: may_draw(&request),
            request,
            last_file: None,
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
        let found = self.reads.entry(&*self.tree, inside);
        match found.map_err(|source| unreadable(inside, source))? {
            Err(fault) => Ok(code(fault)),
            Ok(entry) => {
                let folder = i64::from(entry.file.is_none());
                Ok(self.answer(absolute(&entry.real).into_bytes()) << 1 | folder)
            }
        }
    }

    /// The content of a file.
    pub(super) fn read(&mut self, path: &str) -> Result<i64, Stop> {
        let Some(inside) = inside(path) else {
            return Ok(OUTSIDE);
        };
        self.count_look()?;
        let found = self.reads.entry(&*self.tree, inside);
        let entry = match found.map_err(|source| unreadable(inside, source))? {
            Err(fault) => return Ok(code(fault)),
            Ok(entry) => entry,
        };
        let Some(blob) = entry.file else {
            return Ok(IS_FOLDER);
        };
        self.last_file = Some(inside.to_owned());
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

    /// A random prime, big-endian. Blocks for about a second.
    pub(super) fn prime(&mut self, bits: i32) -> Result<i64> {
        let prime = prime::draw(&mut self.process, bits)?;
        Ok(self.answer(prime))
    }

    /// An object of the cluster.
    pub(super) fn look_up(&mut self, text: &str) -> Result<i64, Stop> {
        let Ok(query) = serde_json::from_str::<LookupQuery>(text) else {
            return Ok(0);
        };
        let found = match &self.lookup {
            None => Answer::UNLISTED,
            Some(lookup) => lookup.find(&query).map_err(|source| Stop::Lookup {
                place: looked_up_by(&query),
                source,
            })?,
        };
        let mut asked = Asked {
            query,
            seen: found.seen,
        };
        let has_room =
            self.lookups.len() < MAX_LOOKUPS && self.lookup_bytes + text.len() <= MAX_LOOKUP_BYTES;
        // What was found is the key of the render. Who answers has a limit.
        let is_key = asked.seen != Finding::Unlisted;
        if (has_room || is_key) && !self.lookups.contains(&asked) {
            match has_room {
                true => self.lookup_bytes += text.len(),
                false => asked.query.templates.clear(),
            }
            self.lookups.push(asked);
        }
        Ok(match found.text {
            None => 0,
            Some(object) => self.answer(object.as_bytes().to_vec()),
        })
    }

    /// A document.
    pub(super) fn emit(&mut self, about: &str, body: Vec<u8>) -> Result<(), Stop> {
        self.bytes_written += body.len() + about.len();
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
        let about: About = serde_json::from_str(about).unwrap_or_default();
        let about = About {
            hook: about.hook.map(Hook::distinct),
            ..about
        };
        self.documents.push(Document { about, body });
        Ok(())
    }

    fn count_look(&self) -> Result<(), Stop> {
        let Limits {
            looks, look_bytes, ..
        } = self.limits;
        if self.reads.bytes() >= look_bytes {
            return Err(too_much("reads paths of", look_bytes as u64));
        }
        if self.reads.len() < looks {
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

/// What is looked up, and the templates one of which asks.
fn looked_up_by(query: &LookupQuery) -> String {
    let templates = query.templates.iter().take(MAX_ASKING);
    let templates: Vec<_> = templates.map(|name| printable(name)).collect();
    format!("{}: lookup of {}", templates.join(", "), query.sought())
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct About {
    /// What it is: a manifest where this is empty; otherwise `manifest`, `hook`, `unknownHook`, `crd` or
    /// `notes`.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Hook {
    /// With each value once. An annotation may repeat one as often as it has room.
    fn distinct(self) -> Self {
        let once = |all: Vec<String>| {
            let mut kept: Vec<String> = Vec::new();
            for word in all {
                if kept.len() < MAX_WORDS && !kept.contains(&word) {
                    kept.push(word);
                }
            }
            kept
        };
        Self {
            events: once(self.events),
            weight: self.weight,
            delete_policies: once(self.delete_policies),
            output_log_policies: once(self.output_log_policies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::testing::Files;

    fn host(tree: Arc<dyn Tree>, limits: Limits) -> Host {
        let process = Process::new(0, [0; 32]);
        Host::new(tree, None, Vec::new(), limits, process)
    }

    /// A chart in a folder with a long name, of which every path repeats the name.
    #[test]
    fn long_paths_are_too_much() {
        let folder = "d".repeat(50_000);
        let files = (0..40).map(|number| (format!("{folder}/{number}.yaml"), b"a: b"));
        let limits = Limits {
            look_bytes: 1 << 20,
            ..Limits::default()
        };
        let mut host = host(Files::of(files), limits);
        let read = |host: &mut Host, number: usize| {
            host.read(&absolute(&format!("{folder}/{number}.yaml")))
        };
        let first = (0..40).find(|number| read(&mut host, *number).is_err());
        // The path, and the same path without links.
        assert_eq!(first, Some(11));
        let error = read(&mut host, 11).unwrap_err();
        assert_eq!(error.to_string(), "reads paths of more than 1 MiB");
        assert!(host.reads.bytes() < 2 << 20);
        // What is known already takes no more.
        let known = host.reads.clone();
        host.reads.extend(&known);
        assert_eq!(host.reads, known);
    }

    #[test]
    fn requests_to_the_cluster_and_words_about_documents_are_bounded() {
        let mut host = host(Files::of::<&str, &str>([]), Limits::default());
        let kind = "x".repeat(1_000);
        for number in 0..10_000 {
            let query = serde_json::json!({"apiVersion": "v1", "kind": format!("{kind}{number}")});
            assert_eq!(host.look_up(&query.to_string()).unwrap(), 0);
        }
        assert!(host.lookups.len() <= MAX_LOOKUPS);
        let kept: usize = host
            .lookups
            .iter()
            .map(|asked| asked.query.kind.len())
            .sum();
        assert!(kept <= MAX_LOOKUP_BYTES, "{kept}");

        let events = "\"test\",".repeat(100_000);
        let about = format!("{{\"hook\":{{\"events\":[{events}\"pre-install\"]}}}}");
        host.emit(&about, Vec::new()).unwrap();
        let hook = host.documents[0].about.hook.as_ref().unwrap();
        assert_eq!(hook.events, ["test", "pre-install"]);
        let name = serde_json::json!({"file": "n".repeat(1 << 20)}).to_string();
        let refused = (0..100).find_map(|_| host.emit(&name, Vec::new()).err());
        assert_eq!(refused.unwrap().to_string(), "writes more than 64 MiB");
    }
}
