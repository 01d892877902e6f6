//! Trees of folders on disk.

use std::{fs, path::Path, sync::Arc};

use towline::source::Folder;

/// The folder at `root`.
pub fn tree(root: &Path) -> Arc<Folder> {
    Arc::new(Folder::open(root, 100 << 20, 10_000).unwrap())
}

/// A temporary folder with `files`. It is removed on drop.
pub fn with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}
