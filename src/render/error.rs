//! Why files cannot be read as manifests. Every error names the file and the position.

use std::fmt;
use std::sync::Arc;

use crate::content::ReadError;
use crate::manifest::{ObjectError, YamlCause, YamlError};
use crate::substitute::SubstituteError;

/// How many broken files an error lists; it counts the rest.
const MAX_LISTED: usize = 10;

/// The most objects of one Sync. Each takes about a kilobyte of memory while it is managed.
pub const MAX_OBJECTS: usize = 50_000;

/// The most bytes and lines of all ignore files of a path. Each line becomes a pattern.
pub(super) const MAX_IGNORED_BYTES: usize = 256 << 10;
pub(super) const MAX_IGNORED_LINES: usize = 2_000;
/// How many wildcards they may have together: each takes about a kilobyte while patterns are read.
pub(super) const MAX_WILDCARDS: usize = 16_384;

/// Why one text holds no manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is neither YAML nor JSON.
    #[error("invalid yaml")]
    Yaml(#[source] YamlError),
    /// A document is not an object.
    #[error("document {document}")]
    Object {
        /// The 1-based document.
        document: u32,
        /// What is wrong with it.
        #[source]
        source: ObjectError,
    },
    /// A variable that cannot be replaced.
    #[error("document {document}")]
    Variable {
        /// The 1-based document.
        document: u32,
        /// Where in it, and why.
        #[source]
        source: SubstituteError,
    },
    /// A kustomization. The hint never says to ignore the file: its resources would be applied without its
    /// changes, and its patches as whole objects.
    #[error(
        "document {document}: a Kustomization of kustomize in a file of another name: call the file \
         kustomization.yaml, in a folder of its own"
    )]
    Kustomization {
        /// The 1-based document.
        document: u32,
    },
    /// A pointer to a file on a Git LFS server.
    #[error(
        "a Git LFS pointer, and its content is not in the repository: commit the file itself, or list it \
         in .towlineignore or spec.ignore"
    )]
    LfsPointer,
    /// More than [`MAX_OBJECTS`].
    #[error("more than {MAX_OBJECTS} objects, which is the most that one Sync may have")]
    TooManyObjects,
    /// A requested position holds no object.
    #[error("document {document}: no object {item}")]
    NoSuchObject {
        /// The 1-based document.
        document: u32,
        /// The 0-based object in it.
        item: u32,
    },
}

/// A file that cannot be read as manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenFile {
    /// The file, from the root of the tree.
    pub file: Arc<str>,
    /// Why.
    pub error: TextError,
    /// Of a text that a renderer wrote: which object it seems to be, for people. None of a file.
    pub rendered: Option<Box<str>>,
}

impl BrokenFile {
    /// A text that a renderer wrote of a file.
    pub(crate) fn rendered(file: Arc<str>, error: TextError, text: &[u8]) -> Self {
        let rendered = seems(part(text, error.document().unwrap_or(1)));
        Self {
            file,
            error,
            rendered: Some(rendered.into()),
        }
    }
}

/// The file and all causes on one line, so that a message can list several files.
impl fmt::Display for BrokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        let what = match self.rendered.as_deref() {
            None => return self.error.of_file(f, &self.file),
            Some("") => "what is rendered".to_owned(),
            Some(object) => format!("the rendered {object}"),
        };
        self.error.of_rendered(f, &what)
    }
}

impl TextError {
    /// The 1-based document that is wrong, where it is one.
    fn document(&self) -> Option<u32> {
        match self {
            Self::Yaml(YamlError { document, .. })
            | Self::Object { document, .. }
            | Self::Variable { document, .. }
            | Self::Kustomization { document }
            | Self::NoSuchObject { document, .. } => Some(*document),
            Self::LfsPointer | Self::TooManyObjects => None,
        }
    }

    /// The error with its causes, for somebody who looks into the file.
    fn of_file(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        f.write_str(&crate::chain(self))?;
        match self {
            Self::Object {
                source: ObjectError::Missing(_),
                ..
            } => f.write_str(hint(file)),
            Self::Yaml(YamlError {
                cause: YamlCause::Template,
                ..
            }) => f.write_str(OF_CHART),
            Self::Object { source, .. } if source.is_template() => f.write_str(OF_CHART),
            _ => Ok(()),
        }
    }

    /// The error with its causes, for somebody who cannot see the text: a number of a document would be of no use, and no
    /// file is there to be ignored.
    fn of_rendered(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        match self {
            Self::Yaml(YamlError { line, cause, .. }) => {
                write!(f, "invalid yaml: line {line} of {what}: {cause}")
            }
            Self::Object { source, .. } => write!(f, "{what}: {}", crate::chain(source)),
            Self::Variable { source, .. } => write!(f, "{what}: {}", crate::chain(source)),
            Self::Kustomization { .. } => write!(
                f,
                "{what}: a Kustomization of kustomize, which no cluster has: name its folder among the resources of a \
                 kustomization, or take it out"
            ),
            Self::LfsPointer | Self::TooManyObjects | Self::NoSuchObject { .. } => {
                write!(f, "{what}: {self}")
            }
        }
    }
}

/// The hint for a file of a chart.
const OF_CHART: &str = " (part of a Helm chart? a Sync whose spec.path is the chart's folder installs it; list the folder in \
                        .towlineignore or spec.ignore to leave it out here)";

/// Guesses from the file's name what it is, if it is not a manifest.
fn hint(file: &str) -> &'static str {
    match file.rsplit('/').next().unwrap_or_default() {
        "Chart.yaml" | "values.yaml" => OF_CHART,
        "kustomization.yaml" | "kustomization.yml" => {
            " (for kustomize? it lacks apiVersion and kind)"
        }
        _ => " (not a manifest? list it in .towlineignore or spec.ignore)",
    }
}

/// A pattern that Git does not understand, in a field of a spec. In a file, such a line is skipped, as Git does it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}, line {line}: {pattern:?} is no pattern of .gitignore: {why}")]
pub struct PatternError {
    /// The field.
    pub field: &'static str,
    /// The 1-based line.
    pub line: usize,
    /// The line's text.
    pub pattern: String,
    /// The cause.
    pub why: String,
}

/// Why the manifests of a path cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Files that cannot be read as manifests.
    #[error("{}", listed(files, *more))]
    Broken {
        /// The first of them.
        files: Vec<BrokenFile>,
        /// How many more there are.
        more: usize,
    },
    /// A text cannot be read at all.
    #[error("cannot read {file}")]
    Read {
        /// The file, from the root of the tree.
        file: Arc<str>,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The files together hold more objects than one Sync may have.
    #[error(
        "too large: more than {MAX_OBJECTS} objects up to {file}; split the path between several Syncs"
    )]
    TooManyObjects {
        /// The file that goes over the limit.
        file: Arc<str>,
    },
    /// More patterns than an ignore file can have.
    #[error("{}", too_much_ignored(file))]
    TooMuchIgnored {
        /// The file or the field that goes over the limit.
        file: String,
    },
    /// An ignore file or a field whose patterns are too large together.
    #[error("too large: the patterns of {name} cannot be read")]
    Patterns {
        /// The file or the field.
        name: String,
    },
    /// A field with a line that is no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

fn too_much_ignored(file: &str) -> String {
    format!(
        "too large: with {file}, the ignore files and fields have more than {} KiB, {MAX_IGNORED_LINES} lines or \
         {MAX_WILDCARDS} wildcards",
        MAX_IGNORED_BYTES >> 10
    )
}

fn listed(files: &[BrokenFile], more: usize) -> String {
    let mut text = files
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more broken files"));
    }
    text
}

/// The 1-based document of a text that may be no YAML. Documents are counted as YAML is read: nothing before the first
/// `---` is none.
fn part(text: &[u8], document: u32) -> &[u8] {
    let (mut begin, mut at, mut count) = (0, 0, 1);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let start = at;
        at += line.len();
        if line.starts_with(b"---") && start > begin {
            if count == document {
                return &text[begin..start];
            }
            (begin, count) = (at, count + 1);
        }
    }
    &text[begin..]
}

/// The kind and the name of an object in a text that may be no YAML, for people: empty if they are not where most write them.
fn seems(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let word = |rest: &str| {
        let word = rest.trim().trim_matches(['"', '\'']);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        let is_name = (1..=LONGEST_NAME).contains(&word.len()) && word.chars().all(fits);
        is_name.then(|| word.to_owned())
    };
    let after = |line: &str, key: &str| line.strip_prefix(key).and_then(word);
    let kind = text.lines().find_map(|line| after(line, "kind:"));
    let metadata = |line: &str| Some(line.strip_prefix("metadata:")?.trim().to_owned());
    let mut lines = text.lines();
    let name = match lines.find_map(metadata) {
        Some(inline) if inline.starts_with('{') => inline
            .trim_start_matches('{')
            .split([',', '}'])
            .find_map(|field| after(field.trim(), "name:")),
        _ => lines
            .take_while(|line| line.starts_with(' '))
            .find_map(|line| after(line.trim_start(), "name:")),
    };
    match (kind, name) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (kind, _) => kind.unwrap_or_default(),
    }
}

/// The longest kind or name that is shown, in bytes.
const LONGEST_NAME: usize = 253;

/// The broken files of one path.
#[derive(Default)]
pub(super) struct Broken {
    files: Vec<BrokenFile>,
    more: usize,
}

impl Broken {
    /// `rendered`: what a renderer wrote, if it is not a file.
    pub(super) fn push(&mut self, file: &Arc<str>, error: TextError, rendered: Option<&[u8]>) {
        if self.files.len() < MAX_LISTED {
            let file = Arc::clone(file);
            self.files.push(match rendered {
                Some(text) => BrokenFile::rendered(file, error, text),
                None => BrokenFile {
                    file,
                    error,
                    rendered: None,
                },
            });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_error(self) -> Option<RenderError> {
        let Self { files, more } = self;
        (!files.is_empty()).then_some(RenderError::Broken { files, more })
    }
}
