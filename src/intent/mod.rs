//! What a driver was told to do, whichever API said so.

/// What the objects of a Sync are made of, beside the revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderIntent {
    /// The folder or file, relative to the root of the tree; empty for all of it.
    pub path: String,
    /// The namespace of every namespaced object, whatever its manifest says.
    pub target_namespace: Option<String>,
}
