//! Translates entries of a Git tree into the kinds that all sources share.

use git2::Oid;

use crate::content::ObjectId;
use crate::source::path::EntryKind;

/// File modes of tree entries.
const MODE_TREE: i32 = 0o040_000;
const MODE_LINK: i32 = 0o120_000;
const MODE_COMMIT: i32 = 0o160_000;

/// What a tree entry is, by its file mode.
pub(super) fn kind_of(mode: i32) -> EntryKind {
    match mode {
        MODE_TREE => EntryKind::Folder,
        MODE_LINK => EntryKind::Link,
        MODE_COMMIT => EntryKind::Submodule,
        // 0644, 0755, and other modes that old versions of Git wrote.
        _ => EntryKind::File,
    }
}

/// A Git id as a content id.
pub(super) fn object_id(id: Oid) -> ObjectId {
    ObjectId::new(id.as_bytes())
}
