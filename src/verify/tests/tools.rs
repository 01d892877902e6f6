//! Keys, commits and tags as people make them, with ssh-keygen, gpg and git.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

/// A folder with a repository, keys, and a home folder for every tool.
pub(super) struct Desk {
    folder: TempDir,
}

/// An SSH key.
pub(super) struct SshKey {
    pub(super) file: PathBuf,
    /// `ssh-ed25519 AAAA…`
    pub(super) public: String,
    /// As `ssh-keygen -l` shows it.
    pub(super) fingerprint: String,
}

/// The time that `git` gets for a commit.
const COMMITTED: &str = "2024-06-15T12:00:00Z";

impl Desk {
    pub(super) fn new() -> Self {
        let desk = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(desk.gnupg()).unwrap();
        fs::set_permissions(
            desk.gnupg(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        desk.git(&["init", "--quiet", "--initial-branch=main", "."]);
        desk
    }

    fn gnupg(&self) -> PathBuf {
        self.folder.path().join("gnupg")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("GNUPGHOME", self.gnupg())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "Ann")
                .env(format!("GIT_{who}_EMAIL"), "ann@example.com")
                .env(format!("GIT_{who}_DATE"), COMMITTED);
        }
        command
    }

    /// Runs a program with `input` and returns its output.
    pub(super) fn run(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let (success, output, error) = self.attempt(program, args, input);
        assert!(success, "{program} {args:?}: {error}");
        output
    }

    fn attempt(&self, program: &str, args: &[&str], input: &[u8]) -> (bool, Vec<u8>, String) {
        let mut child = self
            .command(program, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), output.stdout, error)
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        let output = self.run("git", args, b"");
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    pub(super) fn gpg(&self, args: &[&str]) -> String {
        self.gpg_on(args, b"")
    }

    fn gpg_on(&self, args: &[&str], input: &[u8]) -> String {
        let args = [&["--batch", "--yes", "--passphrase", ""], args].concat();
        String::from_utf8(self.run("gpg", &args, input)).unwrap()
    }

    /// Answers the questions of `gpg --edit-key`.
    pub(super) fn edit_key(&self, key: &str, answers: &str) {
        let args = [
            "--no-tty",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            "--yes",
        ];
        let args = [&args[..], &["--command-fd", "0", "--edit-key", key]].concat();
        self.run("gpg", &args, answers.as_bytes());
    }

    pub(super) fn ssh_key(&self, name: &str, kind: &str, bits: &str) -> SshKey {
        let file = self.folder.path().join(name);
        let path = file.to_str().unwrap();
        let bits: &[&str] = if bits.is_empty() { &[] } else { &["-b", bits] };
        let args = ["-q", "-t", kind, "-N", "", "-C", "", "-f", path];
        self.run("ssh-keygen", &[&args[..], bits].concat(), b"");
        let public = fs::read_to_string(file.with_extension("pub")).unwrap();
        let listed = self.run("ssh-keygen", &["-l", "-f", path], b"");
        let listed = String::from_utf8(listed).unwrap();
        SshKey {
            public: public.trim().to_owned(),
            fingerprint: listed.split(' ').nth(1).unwrap().to_owned(),
            file,
        }
    }

    /// Makes an OpenPGP key for signing and certifying, and returns its fingerprint.
    pub(super) fn gpg_key(&self, user: &str, algorithm: &str) -> String {
        self.gpg_key_at(
            user,
            &[
                "--quick-generate-key",
                user,
                algorithm,
                "cert,sign",
                "never",
            ],
        )
    }

    /// Makes an OpenPGP key with `args`, and returns its fingerprint.
    pub(super) fn gpg_key_at(&self, user: &str, args: &[&str]) -> String {
        self.gpg(args);
        let listed = self.gpg(&["--with-colons", "--list-keys", user]);
        let line = listed.lines().find(|line| line.starts_with("fpr")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    pub(super) fn export(&self, key: &str) -> String {
        self.gpg(&["--armor", "--export", key])
    }

    /// The revocation that gpg makes along with a key, without the colon that keeps it from use.
    pub(super) fn revocation(&self, key: &str) -> String {
        let file = self.gnupg().join(format!("openpgp-revocs.d/{key}.rev"));
        fs::read_to_string(file)
            .unwrap()
            .replace(":-----BEGIN", "-----BEGIN")
    }

    /// Makes a commit with the options `sign`, and returns the stored object.
    pub(super) fn commit(&self, sign: &[&str]) -> CommitObject {
        let commit = [
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "subject\n\nbody",
        ];
        self.git(&[sign, &commit].concat());
        self.object("HEAD")
    }

    /// The stored object of a commit.
    pub(super) fn object(&self, revision: &str) -> CommitObject {
        CommitObject {
            id: self.git(&["rev-parse", revision]),
            raw: self.run("git", &["cat-file", "commit", revision], b""),
        }
    }

    /// Makes a tag of HEAD with the options `sign`, and returns the stored object.
    pub(super) fn tag(&self, name: &str, sign: &[&str]) -> TagObject {
        self.git(&[sign, &["tag", "-a", "-m", "a tag", name]].concat());
        TagObject {
            name: name.to_owned(),
            raw: self.run("git", &["cat-file", "tag", name], b""),
        }
    }

    /// Whether Git accepts the signature of a commit or a tag with these allowed signers.
    pub(super) fn git_takes(&self, verify: &str, object: &str, allowed: &str) -> bool {
        let file = self.folder.path().join("allowed");
        fs::write(&file, allowed).unwrap();
        let config = format!("gpg.ssh.allowedSignersFile={}", file.to_str().unwrap());
        self.attempt("git", &["-c", &config, verify, object], b"").0
    }

    /// A script for `gpg.program` that runs gpg with more arguments.
    pub(super) fn gpg_with(&self, args: &str) -> String {
        let file = self.folder.path().join("gpg.sh");
        fs::write(&file, format!("#!/bin/sh\nexec gpg {args} \"$@\"\n")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        format!("gpg.program={}", file.to_str().unwrap())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Stops the agent that gpg started.
        let _ = self.command("gpgconf", &["--kill", "all"]).output();
    }
}

impl SshKey {
    /// The configuration that makes git sign with this key.
    pub(super) fn config(&self) -> [String; 3] {
        [
            "gpg.format=ssh".to_owned(),
            "commit.gpgSign=true".to_owned(),
            format!("user.signingKey={}", self.file.to_str().unwrap()),
        ]
    }
}

/// `-c` before each setting.
pub(super) fn set<T: AsRef<str>>(settings: &[T]) -> Vec<&str> {
    settings.iter().flat_map(|s| ["-c", s.as_ref()]).collect()
}

/// A commit with an added signature.
pub(super) fn with_signature(commit: &CommitObject, header: &str, armour: &str) -> CommitObject {
    let text = String::from_utf8(commit.raw.clone()).unwrap();
    let (headers, body) = text.split_once("\n\n").unwrap();
    let armour = armour.trim_end().replace('\n', "\n ");
    CommitObject {
        id: commit.id.clone(),
        raw: format!("{headers}\n{header} {armour}\n\n{body}").into_bytes(),
    }
}

pub(super) fn secret(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let values = values.iter();
    values
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// The signers of a Secret `team-a/signers`.
pub(super) fn signers(values: &[(&str, &str)]) -> Signers {
    Signers::from_secret("team-a/signers", &secret(values)).unwrap()
}

pub(super) fn now() -> Timestamp {
    std::time::SystemTime::now().try_into().unwrap()
}
