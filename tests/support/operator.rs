//! The operator under test: the real program, as its own user.

use std::{
    env,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{
    control_plane::ControlPlane,
    in_repository,
    kubeconfig::User,
    process::{Lifetime, Process},
    scratch::Scratch,
};

/// How long it has to begin to serve.
const READY: Duration = Duration::from_secs(20);

/// How to start the operator.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The program, if not the one that Cargo builds from this package.
    pub program: Option<PathBuf>,
    /// As whom it talks to the cluster.
    pub kubeconfig: PathBuf,
    /// More arguments of `towline run`.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Whether it goes when we go.
    pub lifetime: Lifetime,
}

impl OperatorOptions {
    /// The whole cluster, as the user `towline`.
    pub fn new(control_plane: &ControlPlane) -> Self {
        Self {
            program: None,
            kubeconfig: control_plane.kubeconfig_for(User::Towline),
            args: Vec::new(),
            env: Vec::new(),
            lifetime: Lifetime::Ours,
        }
    }

    /// Only `namespace`, so that operators of other tests in one cluster are not in each other's way.
    pub fn watching(control_plane: &ControlPlane, namespace: &str) -> Self {
        let mut options = Self::new(control_plane);
        options.args.push(format!("--watch-namespace={namespace}"));
        options
    }
}

/// A running operator. It ends on drop, and shows the end of its log if that is because of a panic.
#[derive(Debug)]
pub struct Operator {
    options: OperatorOptions,
    program: PathBuf,
    process: Process,
    /// How much of the log is from earlier runs.
    earlier: usize,
    scratch: Scratch,
}

impl Operator {
    /// Starts it and waits until it serves. Panics with the end of its log.
    pub async fn start(options: OperatorOptions) -> Self {
        let mut scratch = Scratch::new().expect("a folder for the operator");
        if options.lifetime == Lifetime::Kept {
            scratch.keep();
        }
        let program = match options.program.clone() {
            Some(program) => program,
            None => tokio::task::spawn_blocking(built)
                .await
                .expect("build the operator"),
        };
        let process = spawn(&program, &options, scratch.path());
        let mut operator = Self {
            options,
            program,
            process,
            earlier: 0,
            scratch,
        };
        operator.serving().await;
        operator
    }

    /// Starts it again with other arguments than before.
    pub async fn restart_with(&mut self, args: &[&str]) {
        self.options.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.restart().await;
    }

    async fn serving(&mut self) {
        let deadline = Instant::now() + READY;
        while self.find_address("listening").is_none() {
            let ended = self.process.exited();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the operator does not serve ({ended:?})"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where it serves metrics and probes: it chose the port itself.
    pub fn address(&self) -> SocketAddr {
        self.find_address("listening")
            .expect("an operator that serves")
    }

    /// The address in the first line of the current run's log that has `message` and a field `address`.
    pub fn find_address(&self, message: &str) -> Option<SocketAddr> {
        let log = self.log();
        let line = log
            .lines()
            .find(|line| line.contains(message) && line.contains("address"))?;
        let value = line
            .split_once("address")?
            .1
            .trim_start_matches(['"', '=', ':']);
        let end = value.find(['"', ' ', ',']).unwrap_or(value.len());
        value[..end].parse().ok()
    }

    /// What the current run has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.earlier..).unwrap_or_default()).into_owned()
    }

    /// Where the log of this and earlier runs is.
    pub fn log_path(&self) -> &Path {
        self.process.log()
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// For measuring its memory and processor time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its repositories and whatever else it keeps there.
    pub fn cache_folder(&self) -> PathBuf {
        self.scratch.path().join("cache")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Status line, head and text of a page that it serves beside its metrics.
    pub async fn page(&self, path: &str) -> io::Result<String> {
        self.page_as(path, "*/*").await
    }

    /// The same in a form that `accept` asks for.
    pub async fn page_as(&self, path: &str, accept: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address()).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: towline\r\naccept: {accept}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// SIGTERM; panics if it has not ended after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        match self.process.terminate(timeout) {
            Some(status) => status,
            None => panic!("the operator goes on for {timeout:?} after SIGTERM"),
        }
    }

    /// Starts it again after a kill or an end, with the same cache folder.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.earlier = fs::metadata(self.process.log()).map_or(0, |log| log.len() as usize);
        self.process = spawn(&self.program, &self.options, self.scratch.path());
        self.serving().await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

fn spawn(program: &Path, options: &OperatorOptions, folder: &Path) -> Process {
    let mut args = vec![
        "run".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--webhook-listen=127.0.0.1:0".to_owned(),
        format!("--cache-dir={}", folder.join("cache").display()),
    ];
    args.extend(options.args.iter().cloned());
    let mut env = vec![
        (
            "KUBECONFIG".to_owned(),
            options.kubeconfig.display().to_string(),
        ),
        // Colours would be in the middle of the lines that we look for.
        ("NO_COLOR".to_owned(), "1".to_owned()),
    ];
    env.extend(options.env.iter().cloned());
    let log = folder.join("operator.log");
    Process::spawn("towline", program, args, &env, &log, options.lifetime)
        .expect("start the operator")
}

/// How the variables begin by which `cargo run` tells the example about its package. Passed on to another
/// Cargo, ring's build script takes them for a change of its own, and half of the dependencies are built
/// anew: minutes.
const LEAKED: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The built operator, which is two folders up from the test or example that runs. Cargo builds it before it
/// runs a test (which is in `deps`), and does not build it for an example: there, this function does.
pub fn built() -> PathBuf {
    let ours = env::current_exe().expect("our own path");
    let folder = ours.ancestors().nth(2).expect("a target folder");
    if ours.ancestors().nth(1) == Some(&folder.join("deps")) {
        return folder.join("towline");
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => panic!("not in a target folder: {}", folder.display()),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = in_repository("Cargo.toml").display().to_string();
    let build = [
        "build",
        "--package",
        "towline",
        "--manifest-path",
        &manifest,
    ];
    let build = [&build[..], &["--bin", "towline", "--profile", profile]].concat();
    let mut args: Vec<OsString> = Vec::new();
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if LEAKED.iter().any(|prefix| text.starts_with(prefix)) {
            args.extend(["-u".into(), name]);
        }
    }
    args.push(cargo);
    args.extend(build.into_iter().map(OsString::from));
    let log = folder.join("towline-build.log");
    let _ = fs::remove_file(&log);
    // Not a plain child: an interrupted run must not leave a compiler at work.
    let mut build = Process::spawn("cargo", Path::new("env"), args, &[], &log, Lifetime::Ours)
        .expect("start cargo");
    let status = loop {
        match build.exited() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(
        status.success(),
        "cargo build of the operator failed\n{}",
        build.log_tail()
    );
    folder.join("towline")
}
