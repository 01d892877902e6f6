//! Temporary folders. A process that was killed cannot remove its folders. So each process locks its
//! folders while it lives, and the next run removes those that are not locked.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const PREFIX: &str = "towline-run-";

/// A temporary folder. It is removed on drop, or by a later run.
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
        // The lock comes first: a later run removes folders that have no lock.
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

    /// Keeps the folder for a person to look at. No run removes it.
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
