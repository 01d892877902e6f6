//! The operator under test: the real program with a user of its own.

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

/// How long the operator may take until it serves requests.
const READY: Duration = Duration::from_secs(20);

/// How to start the operator.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The program. None: the one that Cargo builds from this package.
    pub program: Option<PathBuf>,
    /// The kubeconfig, which decides the operator's user.
    pub kubeconfig: PathBuf,
    /// More arguments of `towline run`.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Whether the operator ends when this process ends.
    pub lifetime: Lifetime,
}

impl OperatorOptions {
    /// Watches the whole cluster as the user `towline`.
    pub fn new(control_plane: &ControlPlane) -> Self {
        Self {
            program: None,
            kubeconfig: control_plane.kubeconfig_for(User::Towline),
            args: Vec::new(),
            env: Vec::new(),
            lifetime: Lifetime::Ours,
        }
    }

    /// Watches only `namespace`, so that operators of several tests can share a cluster.
    pub fn watching(control_plane: &ControlPlane, namespace: &str) -> Self {
        let mut options = Self::new(control_plane);
        options.args.push(format!("--watch-namespace={namespace}"));
        options
    }
}

/// A running operator. It ends on drop. If the test panics, the drop prints the end of the log.
#[derive(Debug)]
pub struct Operator {
    options: OperatorOptions,
    program: PathBuf,
    process: Process,
    /// The length in bytes of the log of earlier runs.
    earlier: usize,
    scratch: Scratch,
}

impl Operator {
    /// Starts the operator and waits until it serves requests. Panics with the end of its log.
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

    /// Starts the operator again with other arguments.
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

    /// The address of metrics and probes, on a port that the operator chose.
    pub fn address(&self) -> SocketAddr {
        self.find_address("listening")
            .expect("an operator that serves")
    }

    /// The address in the current run's log: that of the first line with `message` and a field `address`.
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

    /// The log of the current run.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.earlier..).unwrap_or_default()).into_owned()
    }

    /// The path of the log of this and earlier runs.
    pub fn log_path(&self) -> &Path {
        self.process.log()
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// The process id, to measure memory and processor time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The folder in which it keeps repositories and other data.
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

    /// The exit status, if the operator has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// A page that the operator serves beside its metrics: status line, headers and body.
    pub async fn page(&self, path: &str) -> io::Result<String> {
        self.page_as(path, "*/*").await
    }

    /// The same, with an `Accept` header.
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

    /// Sends SIGTERM. Panics if the operator has not ended after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        match self.process.terminate(timeout) {
            Some(status) => status,
            None => panic!("the operator goes on for {timeout:?} after SIGTERM"),
        }
    }

    /// Starts the operator again after it ended, with the same cache folder.
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
        // Colour codes would be inside the text that the tests look for.
        ("NO_COLOR".to_owned(), "1".to_owned()),
    ];
    env.extend(options.env.iter().cloned());
    let log = folder.join("operator.log");
    Process::spawn("towline", program, args, &env, &log, options.lifetime)
        .expect("start the operator")
}

/// The prefixes of the variables by which `cargo run` describes the package to an example. If Cargo
/// inherits them, ring's build script sees a change and half of the dependencies are rebuilt, which takes
/// minutes.
const LEAKED: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The path of the built operator: two folders above the running test or example. Cargo builds the
/// operator before it runs a test (a program in `deps`). For an example Cargo does not, so this function
/// does.
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
    let mut build = [&build[..], &["--bin", "towline", "--profile", profile]].concat();
    if profile == "dev" {
        // With the example, Cargo takes the features of what the example has compiled already. Alone, the
        // program needs fewer, and half of the dependencies would be compiled a second time.
        let name = ours.file_name().and_then(|name| name.to_str());
        build.extend(["--example", name.expect("the name of an example")]);
    }
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
    // A [`Process`] and not a plain child, so that the compiler ends when the run is interrupted.
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
