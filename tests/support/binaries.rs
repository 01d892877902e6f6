//! The Kubernetes programs: built once from `tests/control-plane`, then kept outside `target`, where
//! `cargo clean` would cost five minutes.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::process::tail;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/control-plane");

/// Kubernetes, Helm and others compare the server's version, and a plain `go build` sets none.
const LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

/// The names that the one built program answers to.
const NAMES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "kwok-stages",
];

/// Where `name` is: in `KUBEBUILDER_ASSETS` where that has it, otherwise in our own build, which is
/// made now if this is its first use.
pub async fn program(name: &'static str) -> io::Result<PathBuf> {
    if let Some(folder) = env::var_os("KUBEBUILDER_ASSETS") {
        let path = Path::new(&folder).join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let folder = tokio::task::spawn_blocking(built)
        .await
        .map_err(io::Error::other)??;
    Ok(folder.join(name))
}

/// The folder of the built programs.
fn built() -> io::Result<PathBuf> {
    let cache = cache_folder()?;
    let folder = cache.join(format!("control-plane-{}", fingerprint()?));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    // Another process may have built it while we waited for the lock.
    if !folder.is_dir() {
        build(&folder)?;
    }
    Ok(folder)
}

fn build(folder: &Path) -> io::Result<()> {
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    // `eprintln!` would be captured by the test runner, and five silent minutes look like a hang.
    writeln!(
        io::stderr(),
        "building etcd, Kubernetes and kwok for the tests, about five minutes this once: {}",
        folder.display()
    )?;
    let log = folder.with_extension("log");
    let output = File::create(&log)?;
    let status = Command::new("go")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            LDFLAGS,
            "-o",
        ])
        .arg(unfinished.join("control-plane"))
        .arg(".")
        .current_dir(SOURCES)
        .env("CGO_ENABLED", "0")
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .map_err(|error| {
            io::Error::other(format!("go, which builds the control plane: {error}"))
        })?;
    if !status.success() {
        let reason = tail(&log, 30);
        return Err(io::Error::other(format!(
            "go build of the control plane: {status}\n{reason}"
        )));
    }
    for name in NAMES {
        symlink("control-plane", unfinished.join(name))?;
    }
    fs::rename(&unfinished, folder)
}

/// `$XDG_CACHE_HOME/towline`, or `~/.cache/towline`.
fn cache_folder() -> io::Result<PathBuf> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty());
    folder("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| Path::new(&home).join(".cache")))
        .map(|cache| cache.join("towline"))
        .ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))
}

/// Names one content of the sources and the build flags.
fn fingerprint() -> io::Result<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(SOURCES)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    let mut hash = Sha256::new();
    hash.update(LDFLAGS);
    for path in paths {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(fs::read(&path)?));
    }
    let mut text = String::new();
    for byte in &hash.finalize()[..8] {
        write!(text, "{byte:02x}").map_err(io::Error::other)?;
    }
    Ok(text)
}
