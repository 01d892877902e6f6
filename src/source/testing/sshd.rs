//! OpenSSH's own server, as an ordinary process on a free port of the loopback interface.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SERVER: &str = "/usr/sbin/sshd";

/// A server that lets the machine's user in with any key of [`Sshd::identity`].
pub(in crate::source) struct Sshd {
    folder: TempDir,
    pub(in crate::source) port: u16,
    process: Child,
}

impl Sshd {
    /// With one host key of each of `kinds` (`ed25519`, `ecdsa`, `rsa`).
    pub(in crate::source) fn start(kinds: &[&str]) -> Self {
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
             AuthorizedKeysFile {}\n",
            folder.path().join("authorized_keys").display()
        );
        fs::write(folder.path().join("authorized_keys"), "").unwrap();
        for kind in kinds {
            let file = folder.path().join(format!("host_{kind}"));
            keygen(kind, &file, "");
            config += &format!("HostKey {}\n", file.display());
        }
        let file = folder.path().join("config");
        fs::write(&file, config).unwrap();
        // Where a root's server keeps its unprivileged half; others need none.
        let _ = fs::create_dir_all("/run/sshd");
        let process = Command::new(SERVER)
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "sshd does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            folder,
            port,
            process,
        }
    }

    /// A new private key that is let in.
    pub(in crate::source) fn identity(&self, kind: &str, passphrase: &str) -> String {
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

    /// A new private key that is not.
    pub(in crate::source) fn stranger(&self) -> String {
        let file = self.folder.path().join("stranger");
        keygen("ed25519", &file, "");
        fs::read_to_string(file).unwrap()
    }

    /// A line of `known_hosts` for one of the host keys.
    pub(in crate::source) fn known_host(&self, kind: &str) -> String {
        let file = self.folder.path().join(format!("host_{kind}.pub"));
        let key = fs::read_to_string(file).unwrap();
        format!("[localhost]:{} {key}", self.port)
    }

    /// The same with the host hashed, by OpenSSH itself.
    pub(in crate::source) fn hashed_host(&self, kind: &str) -> String {
        let file = self.folder.path().join("known_hosts");
        fs::write(&file, self.known_host(kind)).unwrap();
        run(Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(&file));
        fs::read_to_string(file).unwrap()
    }

    pub(in crate::source) fn url(&self, path: &Path) -> String {
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

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
    command.args(["-q", "-t", kind, "-C", "test", "-N", passphrase]);
    // One round of the slow hash is enough here.
    run(command.args(["-a", "1", "-f"]).arg(file));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
