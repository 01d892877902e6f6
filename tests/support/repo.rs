//! A bare repository, and quick ways to put commits into it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A change of one path.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Write(&'a str),
    /// A file with any bytes.
    Bytes(&'a [u8]),
    Executable(&'a str),
    /// A symbolic link to this target.
    Symlink(&'a str),
    /// A submodule at this commit.
    Submodule(&'a str),
    Delete,
}

/// The parent of a new commit.
#[derive(Clone, Copy, Debug, Default)]
pub enum Parent<'a> {
    /// The tip of the branch, or no parent if the branch does not exist.
    #[default]
    Tip,
    /// No parent: an unrelated history.
    None,
    /// This commit. The branch is force-pushed if this is not its tip.
    Commit(&'a str),
}

/// A commit to make.
#[derive(Clone, Copy, Debug)]
pub struct NewCommit<'a> {
    pub branch: &'a str,
    pub parent: Parent<'a>,
    pub message: &'a str,
    pub changes: &'a [(&'a str, Change<'a>)],
    /// Seconds since 1970. None: the current time.
    pub time: Option<i64>,
}

impl Default for NewCommit<'_> {
    fn default() -> Self {
        Self {
            branch: "main",
            parent: Parent::Tip,
            message: "a change",
            changes: &[],
            time: None,
        }
    }
}

/// A repository of a [`super::git::GitServer`]. It can also be used without a server, by its path.
#[derive(Clone, Debug)]
pub struct Repo {
    path: PathBuf,
    url: String,
}

impl Repo {
    /// Creates a bare repository at `path`. A server at `base` serves it under its file name.
    pub fn create(path: &Path, base: &str) -> Self {
        fs::create_dir_all(path).expect("a folder for a repository");
        git(
            path,
            &["init", "--quiet", "--bare", "--initial-branch=main", "."],
            &[],
        );
        for (key, value) in [
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("uploadpack.allowFilter", "true"),
            ("http.receivepack", "true"),
            ("gc.auto", "0"),
            ("receive.autogc", "false"),
            // The data need not survive a power cut, and a sync of the disk is slow.
            ("core.fsync", "none"),
        ] {
            git(path, &["config", key, value], &[]);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: path.to_owned(),
            url: format!("{base}/{name}"),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Commits files on top of `main` (`None` deletes a file). Returns the commit's id.
    pub fn commit<P: AsRef<str>, C: AsRef<str>>(
        &self,
        files: &[(P, Option<C>)],
        message: &str,
    ) -> String {
        let changes: Vec<_> = files
            .iter()
            .map(|(path, content)| {
                let change = content
                    .as_ref()
                    .map_or(Change::Delete, |text| Change::Write(text.as_ref()));
                (path.as_ref(), change)
            })
            .collect();
        self.commit_with(NewCommit {
            message,
            changes: &changes,
            ..NewCommit::default()
        })
    }

    /// Makes a commit with one subprocess. Returns the commit's id.
    pub fn commit_with(&self, commit: NewCommit<'_>) -> String {
        let branch = format!("refs/heads/{}", commit.branch);
        let from = match commit.parent {
            Parent::Tip => self.resolve(&branch),
            Parent::None => None,
            Parent::Commit(id) => Some(id.to_owned()),
        };
        let when = commit
            .time
            .map_or("now".to_owned(), |seconds| format!("{seconds} +0000"));
        let mut stream =
            format!("feature done\nreset {branch}\n\ncommit {branch}\nmark :1\n").into_bytes();
        let _ = writeln!(stream, "committer Tester <tester@example.com> {when}");
        push_data(&mut stream, commit.message.as_bytes());
        if let Some(id) = from {
            let _ = writeln!(stream, "from {id}");
        }
        for (path, change) in commit.changes {
            push_change(&mut stream, path, *change);
        }
        stream.extend(b"\nget-mark :1\ndone\n");
        let args = ["fast-import", "--quiet", "--force", "--date-format=now"];
        let args = if commit.time.is_some() {
            &args[..3]
        } else {
            &args[..]
        };
        git(&self.path, args, &stream).trim().to_owned()
    }

    /// The commit that a reference or another revision names. None if it does not exist.
    pub fn resolve(&self, revision: &str) -> Option<String> {
        let commit = format!("{revision}^{{commit}}");
        let id = try_git(
            &self.path,
            &["rev-parse", "--verify", "--quiet", &commit],
            &[],
        )
        .ok()?;
        Some(id.trim().to_owned())
    }

    /// The id of the tree or blob at a path of a commit.
    pub fn object_at(&self, commit: &str, path: &str) -> String {
        let object = format!("{commit}:{path}");
        git(&self.path, &["rev-parse", "--verify", &object], &[])
            .trim()
            .to_owned()
    }

    /// Points a branch to a commit, as a forced push does.
    pub fn force_push(&self, branch: &str, commit: &str) {
        self.update_ref(&format!("refs/heads/{branch}"), commit);
    }

    pub fn tag(&self, name: &str, commit: &str) {
        self.update_ref(&format!("refs/tags/{name}"), commit);
    }

    pub fn annotated_tag(&self, name: &str, commit: &str, message: &str) {
        git(
            &self.path,
            &[
                "tag",
                "--force",
                "--annotate",
                "--message",
                message,
                name,
                commit,
            ],
            &[],
        );
    }

    pub fn delete_branch(&self, branch: &str) {
        self.delete_ref(&format!("refs/heads/{branch}"));
    }

    pub fn delete_tag(&self, name: &str) {
        self.delete_ref(&format!("refs/tags/{name}"));
    }

    /// Points a reference, given by its full name, to a commit.
    pub fn update_ref(&self, name: &str, commit: &str) {
        git(&self.path, &["update-ref", name, commit], &[]);
    }

    fn delete_ref(&self, name: &str) {
        git(&self.path, &["update-ref", "-d", name], &[]);
    }
}

fn push_change(stream: &mut Vec<u8>, path: &str, change: Change<'_>) {
    let (mode, content) = match change {
        Change::Write(text) => ("100644", text.as_bytes()),
        Change::Bytes(bytes) => ("100644", bytes),
        Change::Executable(text) => ("100755", text.as_bytes()),
        Change::Symlink(target) => ("120000", target.as_bytes()),
        Change::Submodule(commit) => {
            let _ = writeln!(stream, "M 160000 {commit} {}", quoted(path));
            return;
        }
        Change::Delete => {
            let _ = writeln!(stream, "D {}", quoted(path));
            return;
        }
    };
    let _ = writeln!(stream, "M {mode} inline {}", quoted(path));
    push_data(stream, content);
}

fn push_data(stream: &mut Vec<u8>, data: &[u8]) {
    let _ = writeln!(stream, "data {}", data.len());
    stream.extend(data);
    stream.push(b'\n');
}

fn quoted(path: &str) -> String {
    let escaped = path
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// Runs Git in `folder` without the user's configuration. Returns its output, or panics with its error.
pub fn git(folder: &Path, args: &[&str], input: &[u8]) -> String {
    try_git(folder, args, input).unwrap_or_else(|error| panic!("git {args:?}: {error}"))
}

/// Like [`git`], but returns the error.
pub fn try_git(folder: &Path, args: &[&str], input: &[u8]) -> Result<String, String> {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Tester")
        .env("GIT_AUTHOR_EMAIL", "tester@example.com")
        .env("GIT_COMMITTER_NAME", "Tester")
        .env("GIT_COMMITTER_EMAIL", "tester@example.com")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // A thread writes the input while we read the output, so that neither side blocks on a full pipe.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
}
