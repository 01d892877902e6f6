//! How the cache handles the files on disk.

use futures::FutureExt as _;

use super::*;
use crate::content::{BlobId, ObjectId};

#[tokio::test]
async fn a_restart_uses_what_is_on_disk() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (folder, cache) = cache();
    fetch(&cache, remote.request(branch("main"))).await;
    drop(cache);
    let repository = copies(&folder).remove(0);
    for left in [
        "2.tmp/objects",
        "1/refs/towline/x.lock",
        "1/objects/pack/pack_git2_x",
        "1/shallow.lock",
    ] {
        std::fs::create_dir_all(repository.join(left).parent().unwrap()).unwrap();
        std::fs::write(repository.join(left), b"x").unwrap();
    }
    remote.requests();
    let cache = Cache::open(CacheSettings::new(folder.path())).unwrap();
    let snapshot = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(remote.requests().len(), 1);
    assert_eq!(snapshot.listing("").unwrap().files.len(), 1);
    assert_eq!(generations(&folder), ["1"]);
    remote.commit("main", &[("b.yaml", FILE)]);
    fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(generations(&folder), ["1"], "no lock file stood in the way");
}

#[tokio::test]
async fn damage_is_healed_by_the_next_fetch() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE), ("sub/b.yaml", FILE)]);
    for damage in ["truncate", "remove", "head"] {
        let (folder, cache) = cache();
        fetch(&cache, remote.request(branch("main"))).await;
        drop(cache);
        let generation = copies(&folder).remove(0).join("1");
        if damage == "head" {
            std::fs::remove_file(generation.join("HEAD")).unwrap();
        }
        for pack in std::fs::read_dir(generation.join("objects/pack")).unwrap() {
            let pack = pack.unwrap().path();
            if pack.extension().unwrap() == "pack" && damage != "head" {
                let content = std::fs::read(&pack).unwrap();
                std::fs::remove_file(&pack).unwrap();
                if damage == "truncate" {
                    std::fs::write(&pack, &content[..content.len() / 2]).unwrap();
                }
            }
        }
        let cache = Cache::open(CacheSettings::new(folder.path())).unwrap();
        let snapshot = fetch(&cache, remote.request(branch("main"))).await;
        assert_eq!(snapshot.listing("").unwrap().files.len(), 2, "{damage}");
        drop(snapshot);
        assert_ne!(generations(&folder), ["1"], "{damage}");
    }
}

#[tokio::test]
async fn damage_found_by_a_reader_is_healed_too() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    let snapshot = fetch(&cache, request.clone()).await;
    let missing = BlobId(ObjectId::new(&[7; 20]));
    let other = fetch(&cache, remote.request(Reference::Default)).await;
    assert!(other.until_damaged().now_or_never().is_none());
    let error = snapshot.read_blob(missing).unwrap_err();
    other.until_damaged().await;
    drop(other);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    request.known = Some(snapshot);
    let fetched = cache.fetch(request).await.unwrap();
    assert!(matches!(fetched, Fetched::Unchanged(_)));
    assert_eq!(generations(&folder), ["2"]);
    assert!(fetched.snapshot().listing("").is_ok());
}

#[tokio::test]
async fn too_many_packs_start_a_new_generation() {
    let remote = Remote::start().await;
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        max_packs: 4,
        ..CacheSettings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let mut held = Vec::new();
    for round in 0..12u8 {
        remote.commit("main", &[("a.yaml", NewEntry::File(&[round]))]);
        held.push(fetch(&cache, remote.request(branch("main"))).await);
    }
    assert!(generations(&folder).len() > 1);
    for (round, snapshot) in held.iter().enumerate() {
        let files = snapshot.listing("").unwrap().files;
        assert_eq!(
            snapshot.read(&files[0]).unwrap(),
            [u8::try_from(round).unwrap()]
        );
    }
    let last = held.pop().unwrap();
    held.clear();
    assert_eq!(generations(&folder).len(), 1);
    assert!(last.listing("").is_ok());
}

/// Bytes that do not compress, different for every `seed`.
fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

/// The files below a folder, with their sizes.
fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path(), entry.metadata().unwrap().len())),
        }
    }
    found
}

#[tokio::test]
async fn the_folder_is_bounded_by_the_limit_and_one_fetch() {
    const LIMIT: u64 = 1 << 20;
    const PUSH: usize = 300_000;
    let remote = Remote::start().await;
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        max_folder_bytes: LIMIT,
        ..CacheSettings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let mut request = remote.request(branch("main"));
    for round in 0..12 {
        let noise = noise(round, PUSH);
        // Each round forces an unrelated history over the one before.
        let branch = format!("history-{round}");
        let commit = remote.commit(&branch, &[("a.yaml", NewEntry::File(&noise))]);
        remote.set("refs/heads/main", commit);
        request.known = Some(fetch(&cache, request.clone()).await);
        let bytes: u64 = files(folder.path()).iter().map(|(_, bytes)| bytes).sum();
        // In addition to the noise, a pack has an index, and the folder has some files of its own.
        assert!(bytes < LIMIT + PUSH as u64 + 20_000, "{round}: {bytes}");
    }
    assert_ne!(generations(&folder), ["1"], "the bound was met");
}

#[tokio::test]
async fn tags_that_were_followed_once_do_not_count_as_in_use() {
    let remote = Remote::start().await;
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        max_packs: 4,
        ..CacheSettings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let mut request = remote.request(Reference::Semver("*".to_owned()));
    for round in 0..20u8 {
        let commit = remote.commit("main", &[("a.yaml", NewEntry::File(&[round]))]);
        remote.set(&format!("refs/tags/v1.{round}.0"), commit);
        request.known = Some(fetch(&cache, request.clone()).await);
        let is_pack = |path: &std::path::Path| path.extension().is_some_and(|e| e == "pack");
        let files = files(folder.path());
        let packs = files.iter().filter(|(path, _)| is_pack(path)).count();
        assert!(packs <= 5, "{round}: {packs}");
    }
}

#[tokio::test]
async fn unused_repositories_are_forgotten() {
    let (one, two) = (Remote::start().await, Remote::start().await);
    let (folder, cache) = cache();
    one.commit("main", &[("a.yaml", FILE)]);
    two.commit("main", &[("a.yaml", FILE)]);
    let held = fetch(&cache, one.request(branch("main"))).await;
    fetch(&cache, two.request(branch("main"))).await;
    cache.retain([]).await;
    assert_eq!(generations(&folder).len(), 1);
    assert!(held.listing("").is_ok());
    cache.retain([("test", one.url().as_str(), false)]).await;
    drop(held);
    assert_eq!(generations(&folder).len(), 1);
    cache.retain([]).await;
    assert!(generations(&folder).is_empty());
    fetch(&cache, one.request(branch("main"))).await;
}
