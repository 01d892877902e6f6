//! The Kubernetes programs. They are built once from `tests/control-plane` and kept outside of `target`:
//! a rebuild after `cargo clean` would take five minutes.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::process::{Lifetime, Process};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../control-plane");

/// The version that the programs report. Kubernetes, Helm and others compare it, and a plain `go build`
/// sets none.
const LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

/// How often a running build reports its progress.
const PROGRESS: Duration = Duration::from_secs(15);

/// The names under which the one built program is called.
const NAMES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "kwok-stages",
];

/// The path of the program `name`: in `KUBEBUILDER_ASSETS` if that folder has it, otherwise in our own
/// build. The first use builds it.
pub async fn program(name: &'static str) -> io::Result<PathBuf> {
    if let Some(folder) = env::var_os("KUBEBUILDER_ASSETS") {
        let path = Path::new(&folder).join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let folder = tokio::task::spawn_blocking(build_once)
        .await
        .map_err(io::Error::other)??;
    Ok(folder.join(name))
}

/// Whether our own build exists.
pub fn is_built() -> bool {
    build_folder().is_ok_and(|folder| folder.is_dir())
}

fn build_folder() -> io::Result<PathBuf> {
    Ok(cache_folder()?.join(format!("control-plane-{}", control_plane()?)))
}

/// The folder of the built programs.
fn build_once() -> io::Result<PathBuf> {
    cached_folder(&format!("control-plane-{}", control_plane()?), build)
}

/// Returns the folder `name` of our cache. If the folder does not exist, calls `build` with a temporary
/// folder to fill and the path of a log file, then renames the temporary folder.
pub(super) fn cached_folder(
    name: &str,
    build: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let cache = cache_folder()?;
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    // Another process may have built it while we waited for the lock.
    if !folder.is_dir() {
        let unfinished = cache.join(format!("{name}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished)?;
        let log = cache.join(format!("{name}.log"));
        let _ = fs::remove_file(&log);
        build(&unfinished, &log)?;
        fs::rename(&unfinished, &folder)?;
    }
    Ok(folder)
}

fn build(folder: &Path, log: &Path) -> io::Result<()> {
    let target = folder.join("control-plane").display().to_string();
    let args = [
        "-C",
        SOURCES,
        "build",
        "-v",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        LDFLAGS,
        "-o",
        &target,
        ".",
    ];
    go(
        "etcd, Kubernetes and kwok, about five minutes",
        &args,
        &[],
        log,
    )?;
    for name in NAMES {
        symlink("control-plane", folder.join(name))?;
    }
    Ok(())
}

/// Runs Go. `what` names the product in the progress messages.
pub(super) fn go(
    what: &str,
    args: &[&str],
    env: &[(String, String)],
    log: &Path,
) -> io::Result<()> {
    // `eprintln!` would be captured by the test runner, and five minutes without output look like a hang.
    writeln!(io::stderr(), "building {what}, this once")?;
    let env = [&[("CGO_ENABLED".to_owned(), "0".to_owned())], env].concat();
    // A [`Process`] and not a plain child, so that the compiler ends when the run is interrupted.
    let mut go = Process::spawn("go", Path::new("go"), args, &env, log, Lifetime::Ours)?;
    let status = watch_build(&mut go)?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "building {what}: {status}\n{}",
        go.log_tail()
    )))
}

/// The files of the Go module `path@version`. Go downloads them at their first use and caches them.
pub fn module(name: &str) -> io::Result<PathBuf> {
    let mut go = Command::new("go");
    let output = go.args(["mod", "download", "-json", name]).output()?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let folder = told["Dir"].as_str().map(PathBuf::from);
    folder.ok_or_else(|| io::Error::other(format!("fetching {name}: {told}")))
}

/// Waits for the end of a Go build with `-v`, which logs every package that it compiles. Prints the
/// number of packages from time to time.
fn watch_build(go: &mut Process) -> io::Result<ExitStatus> {
    let started = Instant::now();
    let mut said = Instant::now();
    loop {
        if let Some(status) = go.exited() {
            return Ok(status);
        }
        if said.elapsed() > PROGRESS {
            said = Instant::now();
            let packages = fs::read_to_string(go.log())?.lines().count();
            writeln!(
                io::stderr(),
                "  {:3} s: {packages} packages compiled",
                started.elapsed().as_secs()
            )?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `$XDG_CACHE_HOME/towline`, or `~/.cache/towline`.
pub fn cache_folder() -> io::Result<PathBuf> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty());
    folder("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| Path::new(&home).join(".cache")))
        .map(|cache| cache.join("towline"))
        .ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))
}

fn control_plane() -> io::Result<String> {
    fingerprint(Path::new(SOURCES), LDFLAGS)
}

/// A hash of the sources in a folder and the build flags.
pub(super) fn fingerprint(sources: &Path, flags: &str) -> io::Result<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(sources)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    let mut hash = Sha256::new();
    hash.update(flags);
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
