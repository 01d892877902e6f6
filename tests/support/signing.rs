//! Committers who sign with ssh-keygen or gpg.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::repo::{Repo, git};
use super::scratch::Scratch;

/// A committer with a key.
pub struct Person {
    /// The Git configuration that signs with the key.
    config: Vec<String>,
    /// The entry in a Secret: a line of allowed signers, or an armoured public key.
    pub public: String,
    /// The fingerprint, in the form that towline's messages use.
    pub fingerprint: String,
    gnupg: Option<PathBuf>,
    _scratch: Scratch,
}

impl Person {
    /// Makes a person with an SSH key.
    pub fn with_ssh(name: &str) -> Self {
        let scratch = Scratch::new().expect("a folder for a key");
        let file = scratch.path().join("key");
        let path = file.to_str().expect("a path");
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path];
        run(Command::new("ssh-keygen").args(args));
        let listed = run(Command::new("ssh-keygen").args(["-l", "-f", path]));
        let key = fs::read_to_string(file.with_extension("pub")).expect("a public key");
        Self {
            config: vec![
                "gpg.format=ssh".to_owned(),
                format!("user.signingKey={path}"),
            ],
            public: format!("{name} {key}"),
            fingerprint: listed.split(' ').nth(1).expect("a fingerprint").to_owned(),
            gnupg: None,
            _scratch: scratch,
        }
    }

    /// Makes a person with an OpenPGP key.
    pub fn with_openpgp(name: &str) -> Self {
        let scratch = Scratch::new().expect("a folder for a key");
        let home = scratch.path().join("g");
        fs::create_dir(&home).expect("a folder for gpg");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("a private one");
        let make = [
            "--quick-generate-key",
            name,
            "ed25519",
            "cert,sign",
            "never",
        ];
        run(gpg(&home).args(["--passphrase", ""]).args(make));
        let listed = run(gpg(&home).args(["--with-colons", "--list-keys"]));
        let line = listed.lines().find(|line| line.starts_with("fpr"));
        let fingerprint = line
            .and_then(|line| line.split(':').nth(9))
            .expect("a fingerprint");
        // Git has no setting for gpg's home folder, so a script sets it.
        let script = scratch.path().join("gpg");
        let text = format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", home.display());
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("one that runs");
        Self {
            config: vec![
                format!("gpg.program={}", script.display()),
                format!("user.signingKey={fingerprint}"),
            ],
            public: run(gpg(&home).args(["--armor", "--export"])),
            fingerprint: fingerprint.to_owned(),
            gnupg: Some(home),
            _scratch: scratch,
        }
    }

    /// Commits files on top of `main` with a signature. Returns the commit's id.
    pub fn commit(&self, repo: &Repo, files: &[(&str, Option<&str>)], message: &str) -> String {
        // Makes the commit unsigned first, then makes it again with a signature and moves the branch.
        let parent = repo.resolve("main");
        let unsigned = repo.commit(files, message);
        let tree = format!("{unsigned}^{{tree}}");
        let mut args = vec!["commit-tree", "-S", "-m", message, &tree];
        if let Some(parent) = &parent {
            args.extend(["-p", parent]);
        }
        let signed = self.git(repo, &args).trim().to_owned();
        repo.force_push("main", &signed);
        signed
    }

    /// Makes a signed tag of a commit.
    pub fn tag(&self, repo: &Repo, name: &str, commit: &str) {
        self.git(
            repo,
            &["tag", "--force", "--sign", "--message", name, name, commit],
        );
    }

    fn git(&self, repo: &Repo, args: &[&str]) -> String {
        let config = self
            .config
            .iter()
            .flat_map(|setting| ["-c", setting.as_str()]);
        git(
            repo.path(),
            &config.chain(args.iter().copied()).collect::<Vec<_>>(),
            &[],
        )
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(home) = &self.gnupg {
            // Ends the agent that gpg started.
            let kill = ["--kill", "all"];
            let _ = Command::new("gpgconf")
                .arg("--homedir")
                .arg(home)
                .args(kill)
                .status();
        }
    }
}

fn gpg(home: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.arg("--homedir").arg(home).args(["--batch", "--quiet"]);
    gpg
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
