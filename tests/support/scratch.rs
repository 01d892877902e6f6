//! Folders for a run's data. A run that was killed cannot remove its own, so each is locked for as
//! long as its process lives, and the next run removes those that nobody holds.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const PREFIX: &str = "towline-run-";

/// A temporary folder, removed on drop, or by a later run.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: PathBuf,
    kept: bool,
    _held: File,
}

impl Scratch {
    pub fn new() -> io::Result<Self> {
        sweep();
        // The lock comes first: a folder without one would look abandoned.
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(".lock")
            .tempfile()?;
        let (held, lock) = file.keep().map_err(|error| error.error)?;
        held.lock()?;
        let path = lock.with_extension("");
        fs::create_dir(&path)?;
        Ok(Self {
            path,
            lock,
            kept: false,
            _held: held,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder for a person to look at; nobody removes it any more.
    pub fn keep(&mut self) {
        self.kept = true;
        let _ = fs::remove_file(&self.lock);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
            let _ = fs::remove_file(&self.lock);
        }
    }
}

fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for lock in entries.flatten().map(|entry| entry.path()) {
        let name = lock.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(".lock") {
            continue;
        }
        if let Ok(file) = File::open(&lock)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(lock.with_extension(""));
            let _ = fs::remove_file(&lock);
        }
    }
}
