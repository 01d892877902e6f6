//! A repository of 20,000 commits and 200 MB. It is made once and kept beside the control plane's
//! programs.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    binaries::cache_folder,
    repo::{Repo, git},
};

/// Part of the folder's name. Raise it when the content below changes.
const VERSION: u32 = 1;

/// Commits of `main`. Each replaces one of [`FILES`] files with a new [`BLOB`].
const COMMITS: usize = 20_000;
const FILES: usize = 200;
/// Size of a file in bytes. The content cannot be compressed.
const BLOB: usize = 7 << 10;

/// Files of the branch `large`, which has one commit, and their size in bytes.
const LARGE_FILES: usize = 64;
const LARGE: usize = 1 << 20;

/// The manifest in the folder `app` of both branches.
const MANIFEST: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  value: bulk\n";

/// Adds the branches `main` and `large` to `repo`. Their objects are not copied: `repo` refers to them.
pub fn add_branches(repo: &Repo) -> io::Result<()> {
    let bulk = repository_folder()?;
    let alternates = repo.path().join("objects/info/alternates");
    fs::write(alternates, format!("{}\n", bulk.join("objects").display()))?;
    for branch in ["main", "large"] {
        let name = format!("refs/heads/{branch}");
        let commit = git(&bulk, &["rev-parse", &name], &[]);
        repo.update_ref(&name, commit.trim());
    }
    Ok(())
}

/// Size of all packs in bytes.
pub fn size() -> io::Result<u64> {
    let packs = fs::read_dir(repository_folder()?.join("objects/pack"))?;
    packs
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<io::Result<u64>>()
}

/// The bare repository. The first use makes it.
fn repository_folder() -> io::Result<PathBuf> {
    let folder = cache_folder()?.join(format!("bulk-{VERSION}"));
    if folder.exists() {
        return Ok(folder);
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let building = tempfile::Builder::new()
        .prefix("bulk-")
        .tempdir_in(parent)?;
    git(building.path(), &["init", "--quiet", "--bare", "."], &[]);
    let mut import = Command::new("git")
        .args(["-c", "core.compression=0", "-c", "core.fsync=none"])
        .args(["fast-import", "--quiet", "--done", "--depth=10"])
        .current_dir(building.path())
        .stdin(Stdio::piped())
        .spawn()?;
    let input = import.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    history(&mut BufWriter::new(input))?;
    if !import.wait()?.success() {
        return Err(io::Error::other("git fast-import failed"));
    }
    match fs::rename(building.keep(), &folder) {
        // Another process made it first. The unused folder is removed with the cache.
        Err(_) if folder.exists() => Ok(folder),
        renamed => renamed.map(|()| folder),
    }
}

fn history(stream: &mut impl Write) -> io::Result<()> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for number in 0..COMMITS {
        commit(stream, "main", number)?;
        let file = number % FILES;
        let path = format!("data/{:02}/{:02}.bin", file % 20, file / 20);
        write_file(stream, &path, &noise.bytes(BLOB))?;
        if number == 0 {
            write_file(stream, "app/map.yaml", MANIFEST.as_bytes())?;
        }
    }
    commit(stream, "large", COMMITS)?;
    write_file(stream, "app/map.yaml", MANIFEST.as_bytes())?;
    for number in 0..LARGE_FILES {
        write_file(stream, &format!("data/{number}.bin"), &noise.bytes(LARGE))?;
    }
    stream.write_all(b"done\n")?;
    stream.flush()
}

fn commit(stream: &mut impl Write, branch: &str, number: usize) -> io::Result<()> {
    let second = 1_700_000_000 + number;
    writeln!(
        stream,
        "commit refs/heads/{branch}\ncommitter T <t@example.com> {second} +0000\ndata 4\nbulk"
    )
}

fn write_file(stream: &mut impl Write, path: &str, content: &[u8]) -> io::Result<()> {
    writeln!(stream, "M 100644 inline {path}\ndata {}", content.len())?;
    stream.write_all(content)?;
    stream.write_all(b"\n")
}

/// Pseudorandom numbers, which cannot be compressed: xorshift64*, the same in every run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
            bytes.extend(number.to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
