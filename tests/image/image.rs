//! Checks of an image's content.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The user that the operator runs as.
const USER: u32 = 65532;

/// The only folder where the operator may write.
const CACHE: &str = "/var/cache/towline";

/// Panics if the image holds a file that the operator does not need, or a file that its user could
/// change.
pub fn holds_only_the_operator(root: &Path) {
    let files = files(root);
    let belongs = |path: &str| {
        matches!(
            path,
            "/usr/bin/towline"
                | "/etc/ssl/certs/ca-certificates.crt"
                | "/etc/passwd"
                | "/etc/group"
        ) || is_library(path)
            || is_renderer(path)
    };
    let foreign: Vec<&str> = files
        .iter()
        .filter(|(_, meta)| !meta.is_dir())
        .map(|(path, _)| path.as_str())
        .filter(|path| !belongs(path))
        .collect();
    assert!(
        foreign.is_empty(),
        "the image holds unneeded files: {foreign:?}"
    );
    assert!(files.iter().any(|(path, _)| path == "/usr/bin/towline"));
    let renderers = files.iter().filter(|(path, _)| is_renderer(path)).count();
    assert_eq!(
        renderers, 4,
        "expected kustomize, Helm, and a digest of each"
    );
    for (path, meta) in &files {
        let by_user = meta.uid() == USER && meta.mode() & 0o200 != 0;
        let by_others = !meta.is_symlink() && meta.mode() & 0o022 != 0;
        assert!(
            path == CACHE || !(by_user || by_others),
            "{path} is writable: mode {:o}, owner {}",
            meta.mode(),
            meta.uid()
        );
        assert_eq!(meta.mode() & 0o6000, 0, "{path} is setuid or setgid");
    }
}

/// A library of glibc or the compiler, as `ldd` lists them.
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let expected = [
        "libc.so",
        "libm.so",
        "libgcc_s.so",
        "libdl.so",
        "libpthread.so",
        "librt.so",
        "ld-linux",
    ];
    path.contains("/lib") && expected.iter().any(|known| name.starts_with(known))
}

/// A renderer, or its digest.
fn is_renderer(path: &str) -> bool {
    let name = path.strip_prefix("/usr/lib/towline/renderers/");
    name.is_some_and(|name| name.ends_with(".cwasm") || name.ends_with(".cwasm.sha256"))
}

/// Panics if the image or the program is larger than a node should have to pull. The limit of the program
/// is below its size with debug symbols, so that a build that keeps them fails.
pub fn is_small(root: &Path) {
    let files = files(root);
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let size_of = |is: &dyn Fn(&str) -> bool| -> u64 {
        let files = files
            .iter()
            .filter(|(path, meta)| meta.is_file() && is(path));
        files.map(|(_, meta)| meta.size()).sum()
    };
    let renderers = mebibytes(size_of(&is_renderer));
    let image = size_of(&|path| !is_renderer(path));
    let program = files
        .iter()
        .find(|(path, _)| path == "/usr/bin/towline")
        .map_or(0, |(_, meta)| meta.size());
    let (image, program) = (mebibytes(image), mebibytes(program));
    println!(
        "the image has {image:.1} MiB, the program {program:.1} MiB of it, and {renderers:.1} MiB of renderers"
    );
    assert!(image < 40.0 && program < 26.0 && renderers < 130.0);
}

/// All paths below `root`, as the container sees them.
fn files(root: &Path) -> Vec<(String, Metadata)> {
    let mut folders = vec![PathBuf::from(root)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder of the image") {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("what it is");
            if meta.is_dir() {
                folders.push(entry.path());
            }
            let inside = entry
                .path()
                .strip_prefix(root)
                .expect("below root")
                .display()
                .to_string();
            found.push((format!("/{inside}"), meta));
        }
    }
    found
}
