//! Files in, documents out: what a renderer makes of the files of a path. Pure.
//!
//! A plain manifest is a text of documents as it is, so plain files need no step of their own: the text's
//! id is the file's, and [`parse`] reads only texts that its [`Cache`] does not know.

mod bases;
mod cache;
mod error;
mod generated;
mod inflate;
mod instructions;
mod kustomization_error;
mod lists;
mod patches;
mod remote;
mod select;
mod text;
pub mod wasm;
mod written;

use std::sync::Arc;

pub use bases::{Bases, WantedBase};
pub use cache::{Cache, ParsedObject};
pub use error::{BrokenFile, MAX_OBJECTS, PatternError, RenderError, TextError};
pub use generated::{Drawn, Generated, digest, keep};
pub use patches::{Outcome, Patches, Steps};
pub use remote::{Pin, RemoteBase};
pub use select::{IgnoreBudget, Ignores, check_patterns, select};
pub use text::{Changes, Text, TextId, Texts, each_object, manifests};
pub use written::written;

use crate::content::SourceFile;

/// The texts of plain manifests: each file as it is.
pub fn plain(files: Vec<SourceFile>) -> Vec<Text> {
    let files = files.into_iter();
    files
        .map(|SourceFile { path, blob }| Text {
            id: TextId(blob.0),
            file: path,
        })
        .collect()
}

/// The objects of each text, in the order of `texts`. Reads and parses only what `cache` does not know;
/// what these texts did not use leaves the cache.
///
/// # Errors
/// Every broken text up to a bound, or why a text cannot be read.
pub fn parse(
    texts: &[Text],
    cache: &mut Cache,
    read: &dyn Texts,
    changes: &Changes<'_>,
) -> Result<Vec<Arc<[ParsedObject]>>, RenderError> {
    cache.begin();
    let mut parsed = Vec::with_capacity(texts.len());
    let mut broken = error::Broken::default();
    let mut total = 0;
    for text in texts {
        let objects = cache
            .get_or_parse(text.id, changes, read)
            .map_err(|source| RenderError::Read {
                file: text.file.clone(),
                source,
            })?;
        match objects {
            Ok(objects) => {
                total += objects.len();
                if total > error::MAX_OBJECTS {
                    let file = text.file.clone();
                    return Err(RenderError::TooManyObjects { file });
                }
                parsed.push(objects);
            }
            Err(source) => {
                let rendered = read.is_rendered(text.id).then(|| read.text(text.id));
                let rendered = rendered.and_then(Result::ok);
                broken.push(&text.file, source, rendered.as_deref());
            }
        }
    }
    match broken.into_error() {
        Some(error) => Err(error),
        None => {
            cache.end();
            Ok(parsed)
        }
    }
}

#[cfg(test)]
mod tests;
