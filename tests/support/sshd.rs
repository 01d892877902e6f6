//! OpenSSH's own server as an ordinary process on a free loopback port. The unit tests of `source` use it
//! too.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Lifetime, Process};

const SERVER: &str = "/usr/sbin/sshd";

/// The comment in every private key.
pub const COMMENT: &str = "comment-of-a-test-key";

/// A running server. It accepts the machine's user with any key of [`Sshd::identity`].
pub struct Sshd {
    pub port: u16,
    kinds: Vec<String>,
    // Before its folder, so that a drop ends the program first.
    process: Process,
    folder: TempDir,
}

impl Sshd {
    /// Starts a server with one host key of each of `kinds` (`ed25519`, `ecdsa`, `rsa`).
    pub fn start(kinds: &[&str]) -> Self {
        Self::start_with(kinds, "")
    }

    /// The same, with more lines of `sshd_config`.
    pub fn start_with(kinds: &[&str], settings: &str) -> Self {
        install();
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             AuthorizedKeysFile {}\n{settings}\n",
            folder.path().join("authorized_keys").display()
        );
        fs::write(folder.path().join("authorized_keys"), "").unwrap();
        for kind in kinds {
            let file = folder.path().join(format!("host_{kind}"));
            keygen(kind, &file, "");
            config += &format!("HostKey {}\n", file.display());
        }
        fs::write(folder.path().join("config"), config).unwrap();
        // The folder for the unprivileged process of a server that runs as root. Other servers do not
        // need it.
        let _ = fs::create_dir_all("/run/sshd");
        Self {
            port,
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            process: serve(folder.path(), port),
            folder,
        }
    }

    /// Restarts the server on the same port with new host keys.
    pub fn change_host_keys(&mut self) {
        self.process.kill();
        for kind in &self.kinds {
            let file = self.folder.path().join(format!("host_{kind}"));
            fs::remove_file(&file).unwrap();
            keygen(kind, &file, "");
        }
        self.process = serve(self.folder.path(), self.port);
    }

    /// Makes a private key that the server accepts.
    pub fn identity(&self, kind: &str, passphrase: &str) -> String {
        let file = self
            .folder
            .path()
            .join(format!("user_{kind}_{}", passphrase.len()));
        keygen(kind, &file, passphrase);
        let list = self.folder.path().join("authorized_keys");
        let known = fs::read_to_string(&list).unwrap();
        let public = fs::read_to_string(file.with_extension("pub")).unwrap();
        fs::write(list, known + &public).unwrap();
        fs::read_to_string(file).unwrap()
    }

    /// Makes a private key that the server does not accept.
    pub fn unknown_identity(&self) -> String {
        let file = self.folder.path().join("stranger");
        keygen("ed25519", &file, "");
        fs::read_to_string(file).unwrap()
    }

    /// A line of `known_hosts` for one of the host keys.
    pub fn known_host(&self, kind: &str) -> String {
        let file = self.folder.path().join(format!("host_{kind}.pub"));
        let key = fs::read_to_string(file).unwrap();
        format!("[localhost]:{} {key}", self.port)
    }

    /// The same, with the host name hashed by OpenSSH.
    pub fn hashed_host(&self, kind: &str) -> String {
        let file = self.folder.path().join("known_hosts");
        fs::write(&file, self.known_host(kind)).unwrap();
        run(Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(&file));
        fs::read_to_string(file).unwrap()
    }

    pub fn url(&self, path: &Path) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        format!(
            "ssh://{}@localhost:{}{}",
            user.trim(),
            self.port,
            path.display()
        )
    }
}

/// Starts the server, and waits until it listens.
fn serve(folder: &Path, port: u16) -> Process {
    let config = folder.join("config").display().to_string();
    let process = Process::spawn(
        "sshd",
        Path::new(SERVER),
        ["-D", "-e", "-f", &config],
        &[],
        &folder.join("log"),
        Lifetime::Ours,
    )
    .unwrap();
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let late = start.elapsed() > Duration::from_secs(10);
        assert!(!late, "sshd does not start\n{}", process.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if !Path::new(SERVER).exists() {
            run(Command::new("apt-get").args(["install", "-y", "openssh-server"]));
        }
    });
}

fn keygen(kind: &str, file: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-C", COMMENT, "-N", passphrase]);
    // One round of the key derivation is enough for a test, and fast.
    run(command.args(["-a", "1", "-f"]).arg(file));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
