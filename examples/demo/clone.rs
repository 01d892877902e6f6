//! A user's working copy of the shop's repository.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The shop's manifests.
pub const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo/repo");

/// A clone made by Git. It pushes over HTTP, as every user would.
#[derive(Clone)]
pub struct WorkingCopy {
    folder: PathBuf,
}

impl WorkingCopy {
    pub fn of(url: &str, folder: &Path) -> Result<Self, String> {
        let clone = Self {
            folder: folder.to_owned(),
        };
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        clone.git(&["init", "--quiet", "--initial-branch=main", "."])?;
        clone.git(&["remote", "add", "origin", url])?;
        Ok(clone)
    }

    /// Copies a file or a folder of [`MANIFESTS`].
    pub fn take(&self, path: &str) -> Result<(), String> {
        let (from, to) = (Path::new(MANIFESTS).join(path), self.folder.join(path));
        copy(&from, &to).map_err(|error| format!("copy {path}: {error}"))
    }

    /// Replaces text in a file. Fails if the file does not contain the text.
    pub fn replace(&self, path: &str, old: &str, new: &str) -> Result<(), String> {
        let file = self.folder.join(path);
        let text = fs::read_to_string(&file).map_err(|error| format!("{path}: {error}"))?;
        if !text.contains(old) {
            return Err(format!("{path} does not contain {old:?}"));
        }
        fs::write(&file, text.replacen(old, new, 1)).map_err(|error| format!("{path}: {error}"))
    }

    pub fn append(&self, path: &str, more: &str) -> Result<(), String> {
        let file = self.folder.join(path);
        let text = fs::read_to_string(&file).map_err(|error| format!("{path}: {error}"))?;
        fs::write(&file, text + more).map_err(|error| format!("{path}: {error}"))
    }

    /// Commits all changes. Returns the commit's id.
    pub fn commit(&self, message: &str) -> Result<String, String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])?;
        self.head()
    }

    pub fn head(&self) -> Result<String, String> {
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    pub fn push(&self) -> Result<(), String> {
        self.git(&["push", "--quiet", "origin", "main"]).map(drop)
    }

    /// Runs Git here without the user's configuration. Returns its output or its error.
    pub fn git(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("git")
            .args(args)
            .current_dir(&self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@shop.example")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@shop.example")
            .output()
            .map_err(|error| format!("cannot run git, which the demo needs: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(format!("git {}: {}", args.join(" "), complaint.trim()))
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        return fs::copy(from, to).map(drop);
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
