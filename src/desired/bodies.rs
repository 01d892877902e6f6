//! Manifests on their way to the API server, one text at a time.

use std::ops::ControlFlow;
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

impl Desired {
    /// Calls `found` with the manifests of `wanted`, which are indexes into [`Self::objects`], and with the
    /// position of each in `wanted`, until it breaks. `tree` is the one that the objects were read from, or
    /// one with the same content.
    ///
    /// Blocks while it reads. A text is read once for all objects that stand in a row and come from it, in
    /// the order of the text. Only one document is in memory at a time, so that ten thousand never are.
    pub fn each_body(
        &self,
        tree: Arc<dyn Tree>,
        wanted: &[usize],
        mut found: impl FnMut(usize, Result<Manifest, BodyError>) -> ControlFlow<()>,
    ) {
        let tree = Decrypted::new(tree, Arc::clone(&self.inputs));
        let same_text = |a: &usize, b: &usize| {
            let text = |index: usize| self.text_of(index).map(|(text, _)| text);
            text(*a).is_some() && text(*a) == text(*b)
        };
        let mut start = 0;
        for row in wanted.chunk_by(same_text) {
            if self.row(&tree, row, start, &mut found).is_break() {
                return;
            }
            start += row.len();
        }
    }

    /// The manifests of objects that come from one text. `start`: the position of the first.
    fn row(
        &self,
        tree: &Decrypted,
        row: &[usize],
        start: usize,
        found: &mut impl FnMut(usize, Result<Manifest, BodyError>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let places = row.iter().map_while(|&index| {
            let (text, object) = self.text_of(index)?;
            Some((text, object.origin.place()))
        });
        let (texts, places): (Vec<TextId>, Vec<(u32, u32)>) = places.unzip();
        let mut given = vec![false; row.len()];
        let read = match texts.first() {
            None => Err(BodyError::NoSuchObject),
            Some(&text) => self.read(tree, text, &places, |position, manifest| {
                given[position] = true;
                found(start + position, Ok(manifest))
            }),
        };
        let error = match read {
            Ok(flow) => return flow,
            Err(error) => error,
        };
        for position in (0..row.len()).filter(|position| !given[*position]) {
            found(start + position, Err(error.clone()))?;
        }
        ControlFlow::Continue(())
    }

    fn read(
        &self,
        tree: &Decrypted,
        id: TextId,
        places: &[(u32, u32)],
        found: impl FnMut(usize, Manifest) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BodyError> {
        let source = Source {
            tree,
            rendered: &self.rendered,
        };
        let text = source
            .text(id)
            .map_err(|error| BodyError::Read(error.into()))?;
        let changes = changes(&self.intent, &self.inputs);
        render::manifests(&text, places, &changes, found)
            .map_err(|error| BodyError::Text(error.into()))
    }

    fn text_of(&self, index: usize) -> Option<(TextId, &DesiredObject)> {
        let object = self.objects.get(index)?;
        Some((self.origins.text(object.origin)?, object))
    }
}
