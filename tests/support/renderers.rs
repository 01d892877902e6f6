//! The renderers, built once by `renderers/build` and kept beside the control plane's programs.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The folder of kustomize.cwasm and helm.cwasm. `TOWLINE_RENDERERS` can name an existing one; otherwise
/// the first call builds the renderers and blocks until they are built.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("TOWLINE_RENDERERS") {
        Some(folder) => folder.into(),
        None => build(&[]),
    })
}

/// Runs `renderers/build` with `args`. Returns the folder that its last output line names.
pub fn build(args: &[&str]) -> PathBuf {
    let script = super::in_repository("renderers/build");
    let output = Command::new(script)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .expect("start renderers/build");
    assert!(
        output.status.success(),
        "renderers/build: {}",
        output.status
    );
    let folders = String::from_utf8(output.stdout).expect("a path");
    folders.lines().last().expect("a folder").into()
}
