//! Manifests on their way to the API server, one text at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::decrypted::Decrypted;
use super::{Desired, DesiredObject};
use super::{Source, changes};
use crate::content::{ReadError, Tree};
use crate::manifest::Manifest;
use crate::render::{self, TextError, TextId, Texts as _};

/// Why a manifest cannot be read again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    /// Its text cannot be read.
    #[error(transparent)]
    Read(Arc<ReadError>),
    /// Its text does not hold it.
    #[error(transparent)]
    Text(Arc<TextError>),
    /// There is no object with this index.
    #[error("no such object")]
    NoSuchObject,
}

/// The manifests of chosen objects, in the order in which they were chosen. Made by [`Desired::bodies`].
///
/// Blocks while it reads. A text is read once for all objects that stand in a row and come from it, and
/// only the manifests of one such row are in memory, so that ten thousand never are.
pub struct Bodies<'a> {
    desired: &'a Desired,
    tree: Decrypted,
    wanted: std::vec::IntoIter<usize>,
    ready: VecDeque<(usize, Result<Manifest, BodyError>)>,
}

impl Desired {
    /// The manifests of `wanted`, which are indexes into [`Self::objects`]. `tree` is the one that the
    /// objects were read from, or one with the same content.
    pub fn bodies(&self, tree: Arc<dyn Tree>, wanted: Vec<usize>) -> Bodies<'_> {
        Bodies {
            desired: self,
            tree: Decrypted::new(tree, Arc::clone(&self.inputs)),
            wanted: wanted.into_iter(),
            ready: VecDeque::new(),
        }
    }

    fn text_of(&self, index: usize) -> Option<(TextId, &DesiredObject)> {
        let object = self.objects.get(index)?;
        Some((self.origins.text(object.origin)?, object))
    }
}

impl Iterator for Bodies<'_> {
    type Item = (usize, Result<Manifest, BodyError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.ready = self.read_row();
        }
        self.ready.pop_front()
    }
}

impl Bodies<'_> {
    /// The manifests of the next objects that come from one text.
    fn read_row(&mut self) -> VecDeque<(usize, Result<Manifest, BodyError>)> {
        let desired = self.desired;
        let Some(&first) = self.wanted.as_slice().first() else {
            return VecDeque::new();
        };
        let Some((text, _)) = desired.text_of(first) else {
            self.wanted.next();
            return [(first, Err(BodyError::NoSuchObject))].into();
        };
        let row = self.wanted.as_slice().iter().map_while(|&index| {
            let (of, object) = desired.text_of(index)?;
            (of == text).then(|| (index, object.origin.place()))
        });
        let (row, places): (Vec<usize>, Vec<(u32, u32)>) = row.unzip();
        self.wanted.by_ref().take(row.len()).for_each(drop);
        match self.manifests(text, &places) {
            Ok(manifests) => row.into_iter().zip(manifests.into_iter().map(Ok)).collect(),
            Err(error) => row
                .into_iter()
                .map(|index| (index, Err(error.clone())))
                .collect(),
        }
    }

    fn manifests(&self, id: TextId, places: &[(u32, u32)]) -> Result<Vec<Manifest>, BodyError> {
        let desired = self.desired;
        let source = Source {
            tree: &self.tree,
            rendered: &desired.rendered,
        };
        let text = source
            .text(id)
            .map_err(|error| BodyError::Read(error.into()))?;
        let changes = changes(&desired.intent, &desired.inputs);
        render::manifests(&text, places, &changes).map_err(|error| BodyError::Text(error.into()))
    }
}
