//! The Kubernetes programs: built once from `tests/control-plane`, then kept outside `target`, where
//! `cargo clean` would cost five minutes.

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

/// Kubernetes, Helm and others compare the server's version, and a plain `go build` sets none.
const LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

/// How often a build says how far it is.
const PROGRESS: Duration = Duration::from_secs(15);

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

/// Whether our own build is there already.
pub fn is_built() -> bool {
    build_folder().is_ok_and(|folder| folder.is_dir())
}

fn build_folder() -> io::Result<PathBuf> {
    Ok(cache_folder()?.join(format!("control-plane-{}", fingerprint()?)))
}

/// The folder of the built programs.
fn built() -> io::Result<PathBuf> {
    kept(&format!("control-plane-{}", fingerprint()?), build)
}

/// The folder `name` of our cache, which `build` fills at its first use: it is given a folder that takes
/// the name when all is in it, and where to log.
pub(super) fn kept(
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

/// Runs Go, which compiles `what`.
pub(super) fn go(
    what: &str,
    args: &[&str],
    env: &[(String, String)],
    log: &Path,
) -> io::Result<()> {
    // `eprintln!` would be captured by the test runner, and five silent minutes look like a hang.
    writeln!(io::stderr(), "building {what}, this once")?;
    let env = [&[("CGO_ENABLED".to_owned(), "0".to_owned())], env].concat();
    // Not a plain child: an interrupted run must not leave a compiler at work.
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

/// The files of a Go module, `path@version`, which Go fetches at their first use and keeps itself.
pub fn module(name: &str) -> io::Result<PathBuf> {
    let mut go = Command::new("go");
    let output = go.args(["mod", "download", "-json", name]).output()?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let folder = told["Dir"].as_str().map(PathBuf::from);
    folder.ok_or_else(|| io::Error::other(format!("fetching {name}: {told}")))
}

/// Waits for the end of a Go build with `-v`, which logs every package that it compiles, and says now and
/// then how far it is.
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
