use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::super::{About, Hook, Kept, Reads};
use super::*;
use crate::content::testing::Files;
use crate::intent::Overrides;
use crate::render::patches::Layer;
use crate::render::{Generated, Patches, Pin, RemoteBase};

const KEY: [u8; 32] = [7; 32];
const REQUEST: [u8; 32] = [1; 32];
const LIMIT: u64 = 1 << 20;

fn disk(cache: &TempDir) -> Disk {
    Disk::open(cache.path().to_owned(), KEY, LIMIT)
}

/// Numbers that look random, the same ones each time.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % below
    }

    fn text(&mut self) -> String {
        let letters = ['a', '/', '"', '\0', '\n', 'é', '🙂', '{', ' ', '.'];
        let length = self.next(30);
        (0..length)
            .map(|_| letters[self.next(letters.len())])
            .collect()
    }
}

fn reads(numbers: &mut Numbers) -> Reads {
    let tree = Files::of([("a/b.yaml", "x"), ("c.yaml", "y")]);
    let mut reads = Reads::default();
    for path in ["a/b.yaml", "c.yaml", "a", &numbers.text()] {
        let _ = reads.entry(&*tree, path);
        let _ = reads.names(&*tree, path);
    }
    reads
}

pub(super) fn output(numbers: &mut Numbers) -> Output {
    let document = |numbers: &mut Numbers| {
        let hook = Hook {
            events: vec![numbers.text()],
            weight: -3,
            ..Hook::default()
        };
        let about = About {
            kind: numbers.text(),
            file: numbers.text(),
            generated: numbers.text(),
            hook: (numbers.next(2) == 1).then_some(hook),
        };
        let body: Vec<u8> = (0..numbers.next(3000))
            .map(|_| numbers.next(7) as u8)
            .collect();
        Kept::new(about, &body)
    };
    Output {
        documents: (0..numbers.next(4)).map(|_| document(numbers)).collect(),
        reads: reads(numbers),
        lookups: Vec::new(),
        warnings: vec![numbers.text()],
        notes: (numbers.next(2) == 1).then(|| numbers.text()),
        generated: Generated::default(),
        bases: vec![RemoteBase {
            url: numbers.text(),
            pin: Pin::Tag(numbers.text()),
            submodules: true,
        }],
        patches: Patches::default(),
        circumstances: (numbers.next(2) == 1).then_some([9; 32]),
        is_public: true,
        held: None,
    }
}

/// Writes at once what a thread would write soon.
fn write(disk: &Disk, name: &FileName, output: Output) {
    let output = Arc::new(output);
    disk.0.write(Waiting {
        name: name.clone(),
        key: REQUEST,
        output: Arc::downgrade(&output),
    });
}

fn one(disk: &Disk) -> FileName {
    disk.name("team-a", "shop", "helm", "apps/shop")
}

/// A disk with one output.
fn written(cache: &TempDir) -> (Disk, FileName) {
    let disk = disk(cache);
    let name = one(&disk);
    write(&disk, &name, output(&mut Numbers(1)));
    (disk, name)
}

fn names(cache: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(cache.join(FOLDER)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn what_is_written_is_read_back() {
    let cache = TempDir::new().unwrap();
    let disk = disk(&cache);
    let mut numbers = Numbers(3);
    for round in 0..300 {
        let name = disk.name("team-a", &format!("sync-{}", round % 7), "kustomize", "");
        let made = output(&mut numbers);
        let shown = format!("{made:?}");
        let texts: Vec<_> = made.documents.iter().map(Kept::text).collect();
        write(&disk, &name, made);
        // Another process finds it as well.
        let other = Disk::open(cache.path().to_owned(), KEY, LIMIT);
        let read = other.0.read(&name, &REQUEST).unwrap();
        assert_eq!(format!("{read:?}"), shown);
        let again: Vec<_> = read.documents.iter().map(Kept::text).collect();
        assert_eq!(again, texts);
    }
    assert_eq!(names(cache.path()).len(), 7);
}

#[test]
fn patches_name_the_same_files_after_they_were_on_disk() {
    let text =
        "resources: [map.yaml]\npatches:\n- path: p.yaml\n  target: {kind: 'Config.*', name: m}\n";
    let layer = Layer {
        file: "app/kustomization.yaml".to_owned(),
        folder: "app".to_owned(),
        text: text.as_bytes().into(),
    };
    let patches = Patches::of([layer], "app", &Overrides::default(), |_| Some(Vec::new()));
    assert!(patches.bytes() > 0, "{patches:?}");
    let cache = TempDir::new().unwrap();
    let disk = disk(&cache);
    let made = Output {
        patches: patches.clone(),
        ..output(&mut Numbers(1))
    };
    write(&disk, &one(&disk), made);
    let read = disk.0.read(&one(&disk), &REQUEST).unwrap().patches;
    assert_eq!(read.bytes(), patches.bytes());
    let level = |patches: &Patches| format!("{patches:?}").contains("^(?:Config.*)$");
    assert!(level(&read) && level(&patches), "{read:?}");
}

#[test]
fn a_file_that_is_not_right_is_as_if_it_were_absent_and_is_removed() {
    type Spoil = fn(&Path, Vec<u8>);
    let spoils: [(&str, Spoil); 11] = [
        ("empty", |path, _| fs::write(path, []).unwrap()),
        ("a seal alone", |path, whole| {
            fs::write(path, &whole[..SEAL]).unwrap();
        }),
        ("cut in the seal", |path, whole| {
            fs::write(path, &whole[..9]).unwrap();
        }),
        ("cut at the end", |path, whole| {
            fs::write(path, &whole[..whole.len() - 1]).unwrap();
        }),
        ("longer", |path, whole| {
            fs::write(path, [&whole[..], b"x"].concat()).unwrap();
        }),
        ("another seal", |path, mut whole| {
            whole[0] ^= 1;
            fs::write(path, whole).unwrap();
        }),
        ("another byte", |path, mut whole| {
            let middle = whole.len() / 2;
            whole[middle] ^= 1;
            fs::write(path, whole).unwrap();
        }),
        ("no seal", |path, whole| {
            fs::write(path, &whole[SEAL..]).unwrap();
        }),
        ("too large", |path, _| {
            fs::File::create(path)
                .unwrap()
                .set_len(LARGEST + 1)
                .unwrap();
        }),
        ("a link to a right one", |path, whole| {
            let aside = path.with_file_name("aside");
            fs::write(&aside, whole).unwrap();
            fs::remove_file(path).unwrap();
            symlink(aside, path).unwrap();
        }),
        ("a pipe that nobody writes to", |path, _| {
            fs::remove_file(path).unwrap();
            mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let cache = TempDir::new().unwrap();
        let (disk, name) = written(&cache);
        let path = cache.path().join(FOLDER).join(&name.0);
        spoil(&path, fs::read(&path).unwrap());
        assert!(disk.0.read(&name, &REQUEST).is_none(), "{what}");
        assert!(fs::symlink_metadata(&path).is_err(), "{what}");
        write(&disk, &name, output(&mut Numbers(1)));
        assert!(disk.0.read(&name, &REQUEST).is_some(), "{what}");
    }
}

#[test]
fn a_file_that_cannot_be_read_now_is_not_one_that_is_not_right() {
    for fault in [Errno::LOOP.into(), io::ErrorKind::InvalidData.into()] {
        assert!(is_fault(&fault), "{fault}");
    }
    for passing in [
        Errno::NOENT,
        Errno::ACCESS,
        Errno::MFILE,
        Errno::NFILE,
        Errno::IO,
        Errno::NOMEM,
        Errno::STALE,
    ] {
        assert!(!is_fault(&passing.into()), "{passing}");
    }
}

#[test]
fn a_file_counts_for_its_own_sync_request_and_key_alone() {
    let cache = TempDir::new().unwrap();
    let (disk, name) = written(&cache);
    let folder = cache.path().join(FOLDER);
    for [namespace, sync, renderer, path] in [
        ["team-b", "shop", "helm", "apps/shop"],
        ["team-a", "shop2", "helm", "apps/shop"],
        ["team-a", "shop", "kustomize", "apps/shop"],
        ["team-a", "shop", "helm", "apps/shop/"],
        ["team-a", "shophelm", "", "apps/shop"],
    ] {
        let other = disk.name(namespace, sync, renderer, path);
        assert_ne!(other, name);
        fs::copy(folder.join(&name.0), folder.join(&other.0)).unwrap();
        assert!(disk.0.read(&other, &REQUEST).is_none(), "{other:?}");
    }
    // A right file stays until another request is asked for.
    assert!(disk.0.read(&name, &REQUEST).is_some());
    assert!(disk.0.read(&name, &[2; 32]).is_none());
    assert!(disk.0.read(&name, &REQUEST).is_none());
    // Whoever does not have the key makes no file that counts, also with the program itself.
    let strangers = Disk::open(TempDir::new().unwrap().keep(), [8; 32], LIMIT);
    let body = postcard::to_allocvec(&Content {
        key: REQUEST,
        output: output(&mut Numbers(1)),
    });
    let body = body.unwrap();
    let seal = strangers.0.sealing(&name, &body).finalize().into_bytes();
    fs::write(folder.join(&name.0), [&seal[..], &body].concat()).unwrap();
    assert!(disk.0.read(&name, &REQUEST).is_none());
}

#[test]
fn a_start_removes_what_another_version_or_key_wrote_and_what_nobody_completes() {
    let cache = TempDir::new().unwrap();
    let (_, name) = written(&cache);
    let folder = cache.path().join(FOLDER);
    let unfinished = format!("{}-0011{UNFINISHED}", name.0);
    let old = format!("{}-0022{UNFINISHED}", name.0);
    let foreign = ["README", "..hidden", "0011223344556677-a-b", "\u{1b}[31m"];
    for file in foreign.iter().chain(&[&*unfinished, &*old]) {
        fs::write(folder.join(file), "x").unwrap();
    }
    let hours_ago = SystemTime::now() - UNFINISHED_FOR * 2;
    let file = fs::File::options().append(true).open(folder.join(&old));
    file.unwrap().set_modified(hours_ago).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let again = disk(&cache);
    let left = [name.0.clone(), unfinished, "folder".to_owned()];
    assert_eq!(names(cache.path()), BTreeSet::from(left));
    assert!(again.0.read(&name, &REQUEST).is_some());

    let _other = Disk::open(cache.path().to_owned(), [8; 32], LIMIT);
    assert_eq!(names(cache.path()), BTreeSet::from(["folder".to_owned()]));
}

#[test]
fn a_folder_that_is_a_link_is_left_alone() {
    let (cache, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "x").unwrap();
    symlink(elsewhere.path(), cache.path().join(FOLDER)).unwrap();
    let (disk, name) = written(&cache);
    assert!(disk.0.read(&name, &REQUEST).is_none());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    assert!(disk.0.has_warned.load(Ordering::Relaxed));
}

#[test]
fn a_disk_that_takes_nothing_is_told_once_and_nothing_fails() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("gone");
    let disk = Disk::open(cache.clone(), KEY, LIMIT);
    let name = one(&disk);
    write(&disk, &name, output(&mut Numbers(1)));
    assert!(disk.0.read(&name, &REQUEST).is_none());
    assert!(disk.0.has_warned.load(Ordering::Relaxed));
    // It is there again, and a folder is in the place of the file.
    fs::create_dir_all(cache.join(FOLDER).join(&name.0)).unwrap();
    write(&disk, &name, output(&mut Numbers(1)));
    assert!(disk.0.read(&name, &REQUEST).is_none());
    // No file is left that nobody completes.
    assert_eq!(names(&cache), BTreeSet::from([name.0.clone()]));
    fs::remove_dir(cache.join(FOLDER).join(&name.0)).unwrap();
    write(&disk, &name, output(&mut Numbers(1)));
    assert!(disk.0.read(&name, &REQUEST).is_some());
}

#[test]
fn two_processes_that_write_the_same_file_never_leave_a_part_of_one() {
    let cache = TempDir::new().unwrap();
    let name = one(&disk(&cache));
    write(&disk(&cache), &name, output(&mut Numbers(1)));
    thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, name) = (&cache, &name);
            scope.spawn(move || {
                let disk = disk(cache);
                let mut numbers = Numbers(seed);
                for _ in 0..50 {
                    write(&disk, name, output(&mut numbers));
                    assert!(disk.0.read(name, &REQUEST).is_some());
                }
            });
        }
    });
    assert_eq!(names(cache.path()).len(), 1);
}

#[test]
fn the_thread_writes_what_is_still_in_use() {
    let cache = TempDir::new().unwrap();
    let disk = disk(&cache);
    let gone = Arc::new(output(&mut Numbers(1)));
    let stays = Arc::new(output(&mut Numbers(2)));
    let other = disk.name("team-a", "other", "helm", "");
    let late = Arc::downgrade(&gone);
    drop(gone);
    disk.0.write(Waiting {
        name: other.clone(),
        key: REQUEST,
        output: late,
    });
    disk.write(one(&disk), REQUEST, &stays);
    let ends = SystemTime::now() + Duration::from_secs(60);
    while disk.0.read(&one(&disk), &REQUEST).is_none() {
        assert!(SystemTime::now() < ends, "it is not written");
        thread::sleep(Duration::from_millis(2));
    }
    assert!(disk.0.read(&other, &REQUEST).is_none());
}

#[test]
fn what_was_rendered_for_a_sync_that_is_gone_is_removed() {
    let cache = TempDir::new().unwrap();
    let disk = disk(&cache);
    let of = |namespace: &str, sync: &str, path: &str| disk.name(namespace, sync, "helm", path);
    let stays = [of("a", "shop", ""), of("a", "shop", "apps")];
    let goes = [of("a", "web", ""), of("b", "shop", "")];
    for name in stays.iter().chain(&goes) {
        write(&disk, name, output(&mut Numbers(1)));
    }
    disk.0.retain(&[("a".to_owned(), "shop".to_owned())]);
    let left = stays.map(|name| name.0);
    assert_eq!(names(cache.path()), BTreeSet::from(left));
    disk.0.retain(&[]);
    assert!(names(cache.path()).is_empty());
    assert_eq!(disk.0.used.load(Ordering::Relaxed), 0);
}

#[test]
fn many_deleted_syncs_wait_as_one_list_the_newest() {
    let cache = TempDir::new().unwrap();
    let disk = disk(&cache);
    let shops = ["stays", "goes"].map(|sync| disk.name("a", sync, "helm", ""));
    for name in &shops {
        write(&disk, name, output(&mut Numbers(1)));
    }
    // The thread does nothing meanwhile.
    let (sender, waiting) = sync_channel(QUEUE);
    assert!(disk.0.worker.set(Some(sender)).is_ok());
    let of = |sync: &str| ("a".to_owned(), sync.to_owned());
    for _ in 0..2 * QUEUE {
        disk.retain(vec![of("stays"), of("goes")]);
    }
    disk.retain(vec![of("stays")]);
    assert!(matches!(waiting.try_recv(), Ok(Work::Retain)));
    assert!(waiting.try_recv().is_err());
    disk.0.retain_newest();
    assert_eq!(names(cache.path()), BTreeSet::from([shops[0].0.clone()]));
    // The next one waits again, but not where too many outputs wait.
    disk.retain(Vec::new());
    assert!(matches!(waiting.try_recv(), Ok(Work::Retain)));
    disk.0.retain_newest();
    let unread = Arc::new(output(&mut Numbers(1)));
    for _ in 0..QUEUE {
        disk.write(shops[0].clone(), REQUEST, &unread);
    }
    disk.retain(Vec::new());
    assert!(disk.0.live().is_none());
}

#[test]
fn a_process_asks_for_a_file_once_and_writes_an_output_once() {
    let cache = TempDir::new().unwrap();
    let (earlier, name) = written(&cache);
    let disk = disk(&cache);
    let (sender, waiting) = sync_channel(QUEUE);
    assert!(disk.0.worker.set(Some(sender)).is_ok());
    // Does what waits next, and returns whether something waited.
    let written = || {
        let Ok(Work::Write(next)) = waiting.try_recv() else {
            return false;
        };
        disk.0.write(next);
        true
    };
    let read = Arc::new(disk.read(&name, &REQUEST).unwrap());
    assert!(disk.read(&name, &REQUEST).is_none());
    // What was read is there.
    disk.note(&name, &read);
    disk.write(name.clone(), REQUEST, &read);
    assert!(!written());
    // Another output of the same request, for a newer commit. It waits twice, and is written once.
    let newer = Arc::new(output(&mut Numbers(2)));
    disk.write(name.clone(), REQUEST, &newer);
    disk.write(name.clone(), REQUEST, &newer);
    assert!(written());
    let path = cache.path().join(FOLDER).join(&name.0);
    fs::remove_file(&path).unwrap();
    assert!(written() && !path.exists());
    disk.write(name.clone(), REQUEST, &newer);
    assert!(!written());
    // The one before again.
    disk.write(name.clone(), REQUEST, &read);
    assert!(written() && path.exists());
    // It had to go because there was no room.
    disk.0.used.store(LIMIT + 1, Ordering::Relaxed);
    fs::write(&path, vec![0; LIMIT as usize + 1]).unwrap();
    disk.0.make_room().unwrap();
    assert!(!path.exists());
    disk.write(name.clone(), REQUEST, &read);
    assert!(written() && path.exists());
    // Its Sync is deleted, and there is one of that name again.
    disk.0.retain(&[]);
    assert!(!path.exists() && disk.read(&name, &REQUEST).is_none());
    write(&earlier, &name, output(&mut Numbers(1)));
    disk.0.retain(&[]);
    write(&earlier, &name, output(&mut Numbers(1)));
    assert!(disk.read(&name, &REQUEST).is_some());
}

fn entry(namespace: &str, sync: u32, bytes: u64, used: u64) -> CacheFile {
    CacheFile {
        name: CString::new(format!("0011-{namespace}-{sync}")).unwrap(),
        bytes,
        used: Duration::from_secs(used),
    }
}

#[test]
fn what_was_not_used_for_the_longest_goes_first_and_first_of_a_namespace_with_more_than_half() {
    let gone = |entries: &[CacheFile], limit| -> Vec<u64> {
        let gone = surplus(entries.to_vec(), limit);
        gone.iter().map(|entry| entry.used.as_secs()).collect()
    };
    let mut entries: Vec<_> = (0..6)
        .map(|at| entry("a", at as u32, 100, 10 + at))
        .collect();
    entries.push(entry("b", 0, 100, 1));
    // There is room.
    assert_eq!(gone(&entries, 800), [0; 0]);
    // 540 bytes may stay, and 300 of a namespace: the oldest of all is another namespace's.
    assert_eq!(gone(&entries, 600), [10, 11]);
    // 180 may stay, and 100 of a namespace.
    assert_eq!(gone(&entries, 200), [10, 11, 12, 13, 14, 1]);
}

#[test]
fn all_files_keep_to_the_limit() {
    let cache = TempDir::new().unwrap();
    let limit = 50_000;
    let disk = Disk::open(cache.path().to_owned(), KEY, limit);
    let mut numbers = Numbers(1);
    let first = disk.name("team-a", "first", "helm", "");
    write(&disk, &first, output(&mut numbers));
    let on_disk = || -> u64 {
        let entries = fs::read_dir(cache.path().join(FOLDER)).unwrap();
        let sizes = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.sum()
    };
    for sync in 0..200 {
        let name = disk.name(
            ["team-a", "team-b"][sync % 2],
            &sync.to_string(),
            "helm",
            "",
        );
        write(&disk, &name, output(&mut numbers));
        assert!(on_disk() <= limit);
        // What is in use stays.
        assert!(disk.0.read(&first, &REQUEST).is_some(), "{sync}");
    }
    assert!(on_disk() > limit / 2);
    // A start with a smaller limit removes the others, and what is larger than all may be is not written.
    let small = Disk::open(cache.path().to_owned(), KEY, 100);
    write(&small, &first, output(&mut Numbers(1)));
    assert_eq!(on_disk(), 0);
}
