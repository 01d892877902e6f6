//! A child process that ends when this process ends. Its output goes to a file.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Becomes the program that the arguments name, and leaves a shell beside it that kills the process group
/// when a pipe closes. Only our process holds the other end of that pipe. This works with any program and
/// keeps its pid. A parent-death signal would need unsafe code, and is tied to the thread that forked.
const TETHER: &str = r#"exec 3<&0; (read -r _ <&3; kill -9 0) & exec "$0" "$@" </dev/null 3<&-"#;

/// Whether a child process ends when this process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// The child is killed on drop, and when this process ends for any reason.
    #[default]
    Ours,
    /// The child goes on running, so that a person can look at it.
    Kept,
}

/// A running program. Its standard output and error are appended to [`Process::log`].
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    lifetime: Lifetime,
    child: Child,
}

impl Process {
    /// Starts `program` in a process group of its own, so that Ctrl-C at the terminal reaches only this
    /// process.
    pub fn spawn(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(String, String)],
        log: &Path,
        lifetime: Lifetime,
    ) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = match lifetime {
            Lifetime::Ours => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(TETHER).arg(program);
                shell.stdin(Stdio::piped());
                shell
            }
            Lifetime::Kept => {
                let mut direct = Command::new(program);
                direct.stdin(Stdio::null());
                direct
            }
        };
        let child = command
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .process_group(0)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            lifetime,
            child,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status, if the program has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // The shell beside the program is still in the group when the program has ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Sends SIGSTOP: the program pauses, and its connections stay open.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("stop a child");
    }

    /// Sends SIGCONT.
    pub fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("continue a child");
    }

    /// Sends SIGTERM. Returns the exit status, or none if the program has not ended after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.exited();
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of the log, for error messages.
    pub fn log_tail(&self) -> String {
        format!(
            "--- the end of {}'s log ({}):\n{}",
            self.name,
            self.log.display(),
            tail(&self.log, 30)
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Ours {
            self.kill();
        }
    }
}

/// The last `lines` lines of a file; empty if there is no such file.
pub fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = io::Read::read_to_end(&mut file, &mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
