//! What renderers made, on disk: a restart does not render all again.
//!
//! Somebody else may be able to write to the volume. So a file counts only with a seal, an HMAC under a key that is
//! derived from the operator's, over the file's name and all of its bytes. A file with any fault is treated
//! as absent. Each Sync has one file for each folder or chart that it renders, and the newest output takes the
//! place of the one before. What is read back is then held against the tree, as an output in memory is.

mod known;

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use self::known::Known;
use super::Output;

/// The folder in the cache's folder. No copy of a repository has this name.
const FOLDER: &str = "rendered";

/// How the name of a file ends that is not complete yet, and how long it may be so.
const UNFINISHED: &str = ".tmp";
const UNFINISHED_FOR: Duration = Duration::from_secs(3600);

/// The form of the files. Those of another form, or of another version of towline, are removed.
const FORM: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));

/// The largest file that is written or read, in bytes. One is read at a time.
const LARGEST: u64 = 16 << 20;

/// How many outputs may wait to be written. More are not written.
const QUEUE: usize = 256;

/// The bytes of a name that are the same for all files of a Sync.
const OF_SYNC: usize = 3 * 16 + 2;

/// The bytes of a seal.
const SEAL: usize = 32;

/// Outputs on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Inner>);

struct Inner {
    cache: PathBuf,
    key: Hmac<Sha256>,
    /// How the names of all files begin.
    stamp: String,
    /// The most bytes of all files.
    limit: u64,
    /// At least the bytes of all files.
    used: AtomicU64,
    /// Held while a file is read, which takes twice its size of memory.
    reading: Mutex<()>,
    /// Whether the log has said that nothing can be written.
    has_warned: AtomicBool,
    /// The Syncs whose files stay, by namespace and name. Where there are any, a [`Work::Retain`] waits.
    live: Mutex<Option<Vec<(String, String)>>>,
    known: Known,
    worker: OnceLock<Option<SyncSender<Work>>>,
}

/// What is done beside the renders.
enum Work {
    Write(Waiting),
    /// Remove the files of all Syncs but those of `live`.
    Retain,
}

/// The name of a file: of the version and the key, the namespace, the Sync, and what is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName(String);

/// An output that waits to be written. If its Sync has another one meanwhile, it is gone.
struct Waiting {
    name: FileName,
    key: [u8; 32],
    output: Weak<Output>,
}

/// What a file holds after its seal.
#[derive(Serialize, Deserialize)]
struct Content<O> {
    /// The module and the request.
    key: [u8; 32],
    output: O,
}

/// A file in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CacheFile {
    name: CString,
    bytes: u64,
    /// When it was written or last read, since 1970.
    used: Duration,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.cache).finish()
    }
}

impl Disk {
    /// Outputs in the cache's folder `cache`, with at most `limit` bytes together. `key` is secret, and belongs to this
    /// purpose alone. Removes the files of other versions and of other keys. Blocks.
    #[must_use]
    pub fn open(cache: PathBuf, key: [u8; 32], limit: u64) -> Self {
        // HMAC fills a key with zeros as well.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(&key);
        let mut inner = Inner {
            cache,
            key: Hmac::new(&block.into()),
            stamp: String::new(),
            limit,
            used: AtomicU64::new(0),
            reading: Mutex::default(),
            has_warned: AtomicBool::new(false),
            live: Mutex::default(),
            known: Known::default(),
            worker: OnceLock::new(),
        };
        inner.stamp = hex::encode(&inner.digest(&["stamp", FORM])[..8]);
        inner.remove_foreign();
        Self(Arc::new(inner))
    }

    /// Names the file for what a renderer makes of a path for a Sync. Nobody can guess it without the key.
    pub(super) fn name(&self, namespace: &str, sync: &str, renderer: &str, path: &str) -> FileName {
        let whole = self.0.digest(&["output", namespace, sync, renderer, path]);
        let of_sync = self.0.of_sync(namespace, sync);
        FileName(format!("{of_sync}-{}", hex::encode(&whole[..16])))
    }

    /// The output that was kept, if it is that of `key`, and if this process knows nothing of the file yet: what it made
    /// itself is newer, and in memory as long as it is in use.
    pub(super) fn read(&self, name: &FileName, key: &[u8; 32]) -> Option<Output> {
        let is_new = self.0.known.is_new(name);
        is_new.then(|| self.0.read(name, key)).flatten()
    }

    /// Notes that a file that was read holds this output, so that it is not written again.
    pub(super) fn note(&self, name: &FileName, output: &Arc<Output>) {
        self.0.known.set(name, Arc::downgrade(output));
    }

    /// Writes an output soon, on a thread of its own. A failure is only logged.
    pub(super) fn write(&self, name: FileName, key: [u8; 32], output: &Arc<Output>) {
        let output = Arc::downgrade(output);
        if self.0.known.has(&name, &output) {
            return;
        }
        // Where too many wait, the next start renders this one again.
        self.give(Work::Write(Waiting { name, key, output }));
    }

    /// Removes soon what is not of one of these Syncs, by namespace and name.
    pub(super) fn retain(&self, live: Vec<(String, String)>) {
        // Many Syncs may be deleted at once, and each call names all others: only the newest list is kept.
        let mut newest = self.0.live();
        if newest.replace(live).is_none() && !self.give(Work::Retain) {
            // Too many wait. The next call does it.
            *newest = None;
        }
    }

    /// Has the thread do it. Whether it will.
    fn give(&self, work: Work) -> bool {
        let start = || {
            let (sender, waiting) = sync_channel(QUEUE);
            let inner = Arc::downgrade(&self.0);
            let work = move || {
                for next in waiting {
                    let Some(inner) = inner.upgrade() else { return };
                    match next {
                        Work::Write(waiting) => inner.write(waiting),
                        Work::Retain => inner.retain_newest(),
                    }
                }
            };
            let thread = thread::Builder::new().name("rendered".to_owned());
            thread.spawn(work).is_ok().then_some(sender)
        };
        let worker = self.0.worker.get_or_init(start).as_ref();
        worker.is_some_and(|worker| worker.try_send(work).is_ok())
    }
}

impl Inner {
    /// A digest that nobody makes without the key.
    fn digest(&self, parts: &[&str]) -> [u8; 32] {
        let mut hmac = self.key.clone();
        for part in parts {
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        hmac.finalize().into_bytes().into()
    }

    /// How the names of all files of a Sync begin.
    fn of_sync(&self, namespace: &str, sync: &str) -> String {
        let tenant = self.digest(&["namespace", namespace]);
        let whole = self.digest(&["sync", namespace, sync]);
        let (tenant, whole) = (hex::encode(&tenant[..8]), hex::encode(&whole[..8]));
        format!("{}-{tenant}-{whole}", self.stamp)
    }

    /// The digest over a file. All names have the same length, and none of the lists of parts begins like a seal.
    fn sealing(&self, name: &FileName, content: &[u8]) -> Hmac<Sha256> {
        let mut hmac = self.key.clone();
        hmac.update(b"seal");
        hmac.update(name.0.as_bytes());
        hmac.update(content);
        hmac
    }

    fn unsealed(&self, name: &FileName, bytes: &[u8]) -> Option<Content<Output>> {
        let (seal, content) = bytes.split_at_checked(SEAL)?;
        self.sealing(name, content).verify_slice(seal).ok()?;
        postcard::from_bytes(content).ok()
    }

    /// The folder. One that is a symbolic link is refused, so that nothing is removed elsewhere.
    fn folder(&self, make: bool) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cache = rustix::fs::open(&self.cache, flags, Mode::empty())?;
        let open = || rustix::fs::openat(&cache, FOLDER, flags | OFlags::NOFOLLOW, Mode::empty());
        match open() {
            Err(Errno::NOENT) if make => match rustix::fs::mkdirat(&cache, FOLDER, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(open()?),
                Err(error) => Err(error.into()),
            },
            folder => Ok(folder?),
        }
    }

    /// Opens a file to read it. A link is refused, and nothing else than a file keeps anybody waiting.
    fn open(&self, name: &FileName) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.folder(false)?, &*name.0, flags, Mode::empty())?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        match metadata.is_file() && metadata.len() <= LARGEST {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The output that was kept, if it is that of `key`. A file that is not right is removed. One that cannot be read now
    /// stays.
    fn read(&self, name: &FileName, key: &[u8; 32]) -> Option<Output> {
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let content = self.open(name).and_then(|file| {
            let content = self.unsealed(name, &whole(&file)?);
            // What is read is not removed soon. Where the time cannot be set, it may be.
            let _ = file.set_modified(SystemTime::now());
            Ok(content)
        });
        let output = match content {
            Ok(content) => content
                .filter(|content| content.key == *key)
                .map(|content| content.output),
            Err(error) if is_fault(&error) => None,
            Err(_) => return None,
        };
        if output.is_none() {
            let name = CString::new(name.0.as_str()).unwrap_or_default();
            let _ = self.folder(false).map(|folder| unlink(&folder, &name));
        }
        output
    }

    fn write(&self, waiting: Waiting) {
        let Waiting { name, key, output } = waiting;
        // It may have waited more than once.
        if self.known.has(&name, &output) {
            return;
        }
        let held = output.clone();
        let Some(output) = output.upgrade() else {
            return;
        };
        if output.bytes() as u64 > LARGEST {
            return;
        }
        let content = Content {
            key,
            output: &*output,
        };
        let written = match postcard::to_allocvec(&content) {
            Ok(content) => self.write_sealed(&name, &content),
            Err(error) => Err(io::Error::other(error)),
        };
        let written = written.map(|()| self.known.set(&name, held));
        if let Err(error) = written.and_then(|()| self.make_room()) {
            match self.has_warned.swap(true, Ordering::Relaxed) {
                false => tracing::warn!(
                    %error,
                    "what is rendered cannot be kept in the cache, so the next start renders it again"
                ),
                true => tracing::debug!(%error, "what is rendered cannot be kept in the cache"),
            }
        }
    }

    /// Writes a whole file or none: a reader never sees a part of it.
    fn write_sealed(&self, name: &FileName, content: &[u8]) -> io::Result<()> {
        let bytes = (SEAL + content.len()) as u64;
        if bytes > LARGEST.min(self.limit) {
            return Ok(());
        }
        let seal = self.sealing(name, content).finalize().into_bytes();
        let folder = self.folder(true)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let unfinished = format!("{}-{}{UNFINISHED}", name.0, hex::encode(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&folder, &*unfinished, flags, mode)?);
        let written = file.write_all(&seal).and_then(|()| file.write_all(content));
        let rename = || rustix::fs::renameat(&folder, &*unfinished, &folder, &*name.0);
        let written = written.and_then(|()| Ok(rename()?));
        match written {
            // One that it replaces counts until the next measurement.
            Ok(()) => self.used.fetch_add(bytes, Ordering::Relaxed),
            Err(error) => {
                let _ = rustix::fs::unlinkat(&folder, &*unfinished, AtFlags::empty());
                return Err(error);
            }
        };
        Ok(())
    }

    /// Removes files if there are too many bytes.
    fn make_room(&self) -> io::Result<()> {
        if self.used.load(Ordering::Relaxed) <= self.limit {
            return Ok(());
        }
        let folder = self.folder(true)?;
        let entries = entries(&folder)?;
        let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in surplus(entries, self.limit) {
            if unlink(&folder, &entry.name) {
                left -= entry.bytes;
                self.known.removed(&entry.name.to_string_lossy());
            }
        }
        self.used.store(left, Ordering::Relaxed);
        Ok(())
    }

    fn live(&self) -> MutexGuard<'_, Option<Vec<(String, String)>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retain_newest(&self) {
        // Nobody waits for the lock while files are removed.
        let live = self.live().take();
        if let Some(live) = live {
            self.retain(&live);
        }
    }

    fn retain(&self, live: &[(String, String)]) {
        let live = live.iter();
        let live: HashSet<String> = live.map(|(ns, name)| self.of_sync(ns, name)).collect();
        let is_live = |name: &str| name.get(..OF_SYNC).is_some_and(|of| live.contains(of));
        self.known.retain(is_live);
        let Ok(folder) = self.folder(false) else {
            return;
        };
        let mut used = 0;
        for entry in entries(&folder).unwrap_or_default() {
            if is_live(&entry.name.to_string_lossy()) || !unlink(&folder, &entry.name) {
                used += entry.bytes;
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }

    /// Removes what is not of this version and this key, and what nobody completes any more.
    fn remove_foreign(&self) {
        // Without a folder there is nothing.
        let Ok(folder) = self.folder(false) else {
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let old = now.unwrap_or_default().saturating_sub(UNFINISHED_FOR);
        let mut used = 0;
        for entry in entries(&folder).unwrap_or_default() {
            let name = entry.name.to_bytes();
            let is_ours = name.starts_with(self.stamp.as_bytes());
            let is_unfinished = name.ends_with(UNFINISHED.as_bytes());
            let stays = is_ours && (!is_unfinished || entry.used > old);
            if stays || !unlink(&folder, &entry.name) {
                used += entry.bytes;
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }
}

/// Whether an error shows that the file is not right: it is a link, no file at all, or too large. Other errors, as that too
/// many files are open, end by themselves.
fn is_fault(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// The content of a file that is not too large, also if it grows meanwhile.
fn whole(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes a file or a link. Whether there is none of that name now.
fn unlink(folder: &OwnedFd, name: &CStr) -> bool {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => true,
        Err(_) => false,
    }
}

/// What is in the folder. Folders count as well, but they cannot be removed.
fn entries(folder: &OwnedFd) -> io::Result<Vec<CacheFile>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // What vanishes meanwhile is not there.
        if let Ok(stat) = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
            let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
            found.push(CacheFile {
                name,
                bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                used: Duration::new(seconds, nanoseconds),
            });
        }
    }
    Ok(found)
}

/// What has to go, so that a tenth of the limit is free again: what was not used for the longest, first of namespaces that
/// have more than half.
fn surplus(mut entries: Vec<CacheFile>, limit: u64) -> Vec<CacheFile> {
    let namespace = |entry: &CacheFile| {
        let name = entry.name.to_string_lossy();
        name.split('-').nth(1).unwrap_or_default().to_owned()
    };
    entries.sort_by_key(|entry| entry.used);
    let mut of = HashMap::<String, u64>::new();
    for entry in &entries {
        *of.entry(namespace(entry)).or_default() += entry.bytes;
    }
    let mut left: u64 = of.values().sum();
    let (goal, share) = (limit / 10 * 9, limit / 2);
    let mut gone = Vec::new();
    for only_large in [true, false] {
        entries.retain(|entry| {
            let own = of.entry(namespace(entry)).or_default();
            let goes = left > goal && (!only_large || *own > share);
            if goes {
                left -= entry.bytes;
                *own -= entry.bytes;
                gone.push(entry.clone());
            }
            !goes
        });
    }
    gone
}

#[cfg(test)]
mod tests;
