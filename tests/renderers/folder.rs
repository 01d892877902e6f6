//! Trees of folders on disk.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use towline::{
    content::Tree,
    desired::{Inputs, Releases, Task},
    intent::{HelmIntent, RenderIntent},
    render::wasm::Renderers,
    source::Folder,
};
use towline_testing::renderers;

static RENDERERS: LazyLock<Renderers> =
    LazyLock::new(|| Renderers::at(renderers::folder().to_path_buf()));

/// The render of a path; of a chart as the release `web`.
pub fn task(tree: Arc<dyn Tree>, path: &str, inputs: Inputs) -> Task {
    Task {
        chart: None,
        bases: Default::default(),
        tree,
        intent: RenderIntent {
            path: path.to_owned(),
            helm: HelmIntent {
                release_name: "web".to_owned(),
                release_namespace: "prod".to_owned(),
                ..HelmIntent::default()
            },
            ..RenderIntent::default()
        },
        inputs: Arc::new(inputs),
        renderers: RENDERERS.clone(),
        tenant: Arc::default(),
        releases: Releases::default(),
        lookup: None,
        kept_for: None,
    }
}

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
