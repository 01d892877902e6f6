//! What most Syncs of a monorepo ask at most of its commits: whether a commit concerns what was rendered. The answer needs
//! no look at single files where no folder differs that the render looked into.

use std::{fs, path::Path, sync::Arc};

use towline::{
    content::{BlobId, Listing, Name, PathEntry, ReadError, Tree, TreeId},
    desired::{Desired, Inputs, Reading, Task, read},
    render::Cache,
    source::Folder,
};

use super::folder::{tree, with};

const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}}";

const FILES: &[(&str, &str)] = &[
    ("base/kustomization.yaml", "resources: [map.yaml]"),
    ("base/map.yaml", MAP),
    ("base/README.md", "about"),
    (
        "overlays/one/kustomization.yaml",
        "resources: [../../base]\nnamePrefix: one-",
    ),
    ("overlays/two/kustomization.yaml", "resources: [../../base]"),
    (
        "chart/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0",
    ),
    ("chart/templates/map.yaml", MAP),
    ("plain/map.yaml", MAP),
    (
        "plain/below/kustomization.yaml",
        "namePrefix: b-\nresources: [../../base]",
    ),
    ("README.md", "about"),
];

/// A folder on disk that knows all identities, as a revision of a Git repository does that was asked before.
#[derive(Debug)]
struct Known(Arc<Folder>);

impl Tree for Known {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        self.0.identity(path)
    }
    fn known_identity(&self, path: &str) -> Option<TreeId> {
        self.0.identity(path).ok()
    }
    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        self.0.list(path)
    }
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        self.0.read(blob)
    }
    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        self.0.entry(path)
    }
    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        self.0.names(path)
    }
}

fn task(folder: &Path, path: &str) -> Task {
    super::folder::task(Arc::new(Known(tree(folder))), path, Inputs::default())
}

fn is_known(before: &Desired, task: &Task) -> bool {
    before.is_known_in(&*task.tree, &task.intent, &Inputs::default())
}

#[test]
fn a_commit_elsewhere_is_known_not_to_matter() {
    /// What a change of a file is to a path.
    #[derive(Debug, PartialEq)]
    enum Is {
        Elsewhere,
        /// In a folder that was looked into, and not one of the files that matter.
        Near,
        Other,
    }
    for (path, file, is) in [
        ("overlays/one", "README.md", Is::Elsewhere),
        ("overlays/one", "new/kustomization.yaml", Is::Elsewhere),
        (
            "overlays/one",
            "overlays/two/kustomization.yaml",
            Is::Elsewhere,
        ),
        ("overlays/one", "overlays/kustomization.yaml", Is::Elsewhere),
        ("overlays/one", "base/README.md", Is::Near),
        ("overlays/one", "overlays/one/notes.md", Is::Near),
        ("overlays/one", "base/map.yaml", Is::Other),
        ("overlays/one", "overlays/one/kustomization.yaml", Is::Other),
        ("chart", "base/map.yaml", Is::Elsewhere),
        ("chart", "chart/templates/map.yaml", Is::Other),
        ("chart", "chart/values.yaml", Is::Other),
        ("plain", "overlays/one/kustomization.yaml", Is::Elsewhere),
        ("plain", "base/README.md", Is::Near),
        ("plain", "base/map.yaml", Is::Other),
        ("plain", "plain/map.yaml", Is::Other),
    ] {
        let folder = with(FILES);
        let mut cache = Cache::default();
        let first = task(folder.path(), path);
        let Reading::Changed(before) = read(&first, None, &mut cache).unwrap() else {
            panic!("nothing was there before");
        };
        assert!(is_known(&before, &first), "{path}");
        let changed = folder.path().join(file);
        fs::create_dir_all(changed.parent().unwrap()).unwrap();
        let text = match file.ends_with("map.yaml") {
            true => MAP.replace("name: a", "name: changed"),
            false => "namePrefix: changed-\nresources: [../../base]".to_owned(),
        };
        fs::write(changed, text).unwrap();
        let second = task(folder.path(), path);
        assert_eq!(
            is_known(&before, &second),
            is == Is::Elsewhere,
            "{path}: {file}"
        );
        let reading = read(&second, Some(&before), &mut cache).unwrap();
        let is_same = matches!(reading, Reading::Unchanged);
        assert_eq!(is_same, is != Is::Other, "{path}: {file}");
        // The next commit is compared with this one.
        assert_eq!(is_known(&before, &second), is_same, "{path}: {file}");
    }
}
