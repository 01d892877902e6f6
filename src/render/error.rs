//! Why a path cannot be rendered: always which file, and where in it.

use std::fmt;
use std::sync::Arc;

use crate::content::SourceFile;
use crate::manifest::{ObjectError, ObjectKey, YamlError};

/// How many broken files an error lists; it counts the rest.
const MAX_LISTED: usize = 10;

/// Why one blob is no set of manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It is neither YAML nor JSON.
    #[error("invalid yaml")]
    Yaml(#[source] YamlError),
    /// A document is no object.
    #[error("document {document}")]
    Object {
        /// The 1-based document.
        document: u32,
        /// What is wrong with it.
        #[source]
        source: ObjectError,
    },
    /// A kustomization would be half applied: its resources, without what it does to them.
    #[error(
        "document {document}: a Kustomization of kustomize: towline applies plain manifests; \
         commit the output of kustomize build, or list the file in .towlineignore"
    )]
    Kustomization {
        /// The 1-based document.
        document: u32,
    },
    /// Its content is elsewhere.
    #[error(
        "a Git LFS pointer, whose content is not in the repository: commit the file itself, or list \
         it in .towlineignore"
    )]
    LfsPointer,
    /// A place that was asked for holds no object.
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
    /// The file, from the repository's root.
    pub file: Arc<str>,
    /// Why.
    pub error: BlobError,
}

/// The file and all causes, on one line: a message has room for several files.
impl fmt::Display for BrokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.error)?;
        let mut cause = std::error::Error::source(&self.error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if matches!(
            self.error,
            BlobError::Object {
                source: ObjectError::Missing(_),
                ..
            }
        ) {
            f.write_str(hint(&self.file))?;
        }
        Ok(())
    }
}

/// What a file that is no manifest probably is.
fn hint(file: &str) -> &'static str {
    match file.rsplit('/').next().unwrap_or_default() {
        "Chart.yaml" | "values.yaml" => {
            " (part of a Helm chart? towline applies plain manifests: commit the output of helm template, \
             or list the folder in .towlineignore)"
        }
        "kustomization.yaml" | "kustomization.yml" => {
            " (for kustomize? towline applies plain manifests: commit the output of kustomize build)"
        }
        _ => " (not a manifest? list it in .towlineignore)",
    }
}

/// Why a path cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError<E> {
    /// Files that cannot be read as manifests.
    #[error("{}", listed(files, *more))]
    Broken {
        /// The first of them.
        files: Vec<BrokenFile>,
        /// How many more there are.
        more: usize,
    },
    /// The same object in two places.
    #[error("{object} is written twice: {} document {}, and {} document {}", first.0, first.1, second.0, second.1)]
    Duplicate {
        /// The object.
        object: ObjectKey,
        /// File and document of the one.
        first: (Arc<str>, u32),
        /// File and document of the other.
        second: (Arc<str>, u32),
    },
    /// No object at all; nothing is pruned then, for a path is more often wrong than empty.
    #[error(
        "no manifest found under {}, or .towlineignore leaves all out; nothing is pruned",
        shown(path)
    )]
    Empty {
        /// The path.
        path: String,
    },
    /// A blob could not be read from the repository.
    #[error("cannot read {file}")]
    Read {
        /// The file, from the repository's root.
        file: Arc<str>,
        /// The reader's error.
        #[source]
        source: E,
    },
}

fn shown(path: &str) -> &str {
    if path.is_empty() {
        "the repository's root"
    } else {
        path
    }
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

/// The broken files of one render.
#[derive(Default)]
pub(super) struct Broken {
    files: Vec<BrokenFile>,
    more: usize,
}

impl Broken {
    pub(super) fn push(&mut self, file: &SourceFile, error: BlobError) {
        if self.files.len() < MAX_LISTED {
            self.files.push(BrokenFile {
                file: file.path.clone(),
                error,
            });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_error<E>(self) -> Option<RenderError<E>> {
        let Self { files, more } = self;
        (!files.is_empty()).then_some(RenderError::Broken { files, more })
    }
}
