//! Fetches from a real smart HTTP server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::testing::{Behaviour, Entry, Remote};
use super::*;

const FILE: Entry<'static> = Entry::File(b"a: 1\n");

fn branch(name: &str) -> Reference {
    Reference::Branch(name.to_owned())
}

fn cache() -> (TempDir, Cache) {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(Settings::new(folder.path())).unwrap();
    (folder, cache)
}

async fn fetch(cache: &Cache, request: FetchRequest) -> Arc<Snapshot> {
    Arc::clone(cache.fetch(request).await.unwrap().snapshot())
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| &*file.path).collect()
}

/// The repositories' folders, and the generations in each.
fn generations(cache: &TempDir) -> Vec<String> {
    let mut names = Vec::new();
    for repository in std::fs::read_dir(cache.path()).unwrap() {
        for entry in std::fs::read_dir(repository.unwrap().path()).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn first_unchanged_and_incremental() {
    let remote = Remote::start().await;
    let first = remote.commit("main", &[("apps/a.yaml", FILE), ("b.yaml", FILE)]);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    let fetched = cache.fetch(request.clone()).await.unwrap();
    assert!(matches!(fetched, Fetched::New(_)));
    let snapshot = Arc::clone(fetched.snapshot());
    assert_eq!(snapshot.revision.to_string(), format!("main@sha1:{first}"));
    assert_eq!(snapshot.committed_at.as_second(), 1_700_000_000);
    assert_eq!(
        (snapshot.author.as_str(), snapshot.subject.as_str()),
        ("A. Author", "Subject line")
    );
    let listing = snapshot.listing("").unwrap();
    assert_eq!(paths(&listing), ["apps/a.yaml", "b.yaml"]);
    assert_eq!(listing.key.0, snapshot.tree_id("").unwrap().0);
    assert_eq!(snapshot.read(&listing.files[0]).unwrap(), b"a: 1\n");
    assert_eq!(listing.files[0].size, 5);

    remote.requests();
    request.known = Some(Arc::clone(&snapshot));
    let fetched = cache.fetch(request.clone()).await.unwrap();
    assert!(matches!(&fetched, Fetched::Unchanged(same) if Arc::ptr_eq(same, &snapshot)));
    assert_eq!(
        remote.requests().len(),
        1,
        "an unchanged branch takes one request"
    );

    let second = remote.commit("main", &[("b.yaml", Entry::File(b"b: 2\n"))]);
    let next = fetch(&cache, request).await;
    assert!(remote.requests().len() <= 3, "one connection fetches");
    assert_eq!(next.revision.to_string(), format!("main@sha1:{second}"));
    assert_eq!(
        next.tree_id("apps").unwrap(),
        snapshot.tree_id("apps").unwrap()
    );
    assert_ne!(next.tree_id("").unwrap(), snapshot.tree_id("").unwrap());
    assert_eq!(
        snapshot.listing("").unwrap().files.len(),
        2,
        "the old one is readable"
    );
}

#[tokio::test]
async fn every_kind_of_reference() {
    let remote = Remote::start().await;
    let one = remote.commit("main", &[("a.yaml", FILE)]);
    remote.set("refs/tags/light", one);
    remote.annotated_tag("full", one);
    let two = remote.commit("main", &[("b.yaml", FILE)]);
    let three = remote.commit("main", &[("c.yaml", FILE)]);
    let (_folder, cache) = cache();
    let commit = |id: git2::Oid| Reference::Commit(id.to_string());
    for (reference, revision) in [
        (Reference::Default, format!("main@sha1:{three}")),
        (branch("main"), format!("main@sha1:{three}")),
        (Reference::Tag("light".into()), format!("light@sha1:{one}")),
        (Reference::Tag("full".into()), format!("full@sha1:{one}")),
        (commit(three), format!("sha1:{three}")),
        (commit(one), format!("sha1:{one}")),
    ] {
        let snapshot = fetch(&cache, remote.request(reference)).await;
        assert_eq!(snapshot.revision.to_string(), revision);
        snapshot.listing("").unwrap();
    }
    // A commit that nothing points at: refused, unless the server allows it.
    let error = cache.fetch(remote.request(commit(two))).await.unwrap_err();
    assert!(matches!(error, Error::CommitRefused { .. }), "{error}");
    remote.configure("uploadpack.allowReachableSHA1InWant", true);
    let snapshot = fetch(&cache, remote.request(commit(two))).await;
    assert_eq!(paths(&snapshot.listing("").unwrap()), ["a.yaml", "b.yaml"]);
    // A known commit asks the server nothing.
    remote.requests();
    let mut request = remote.request(commit(two));
    request.known = Some(snapshot);
    assert!(matches!(
        cache.fetch(request).await.unwrap(),
        Fetched::Unchanged(_)
    ));
    assert_eq!(remote.requests().len(), 0);
    let missing = Reference::Commit("1".repeat(40));
    let error = cache.fetch(remote.request(missing)).await.unwrap_err();
    assert!(matches!(error, Error::RefNotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn references_that_move_away() {
    let remote = Remote::start().await;
    let one = remote.commit("main", &[("a.yaml", FILE)]);
    remote.commit("main", &[("b.yaml", FILE)]);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    request.known = Some(fetch(&cache, request.clone()).await);
    // A force-push back, and one to an unrelated history.
    remote.set("refs/heads/main", one);
    let back = fetch(&cache, request.clone()).await;
    assert_eq!(paths(&back.listing("").unwrap()), ["a.yaml"]);
    let other = remote.commit("other", &[("c.yaml", FILE)]);
    remote.set("refs/heads/main", other);
    let moved = fetch(&cache, request.clone()).await;
    assert_eq!(paths(&moved.listing("").unwrap()), ["c.yaml"]);
    // Both names for one commit.
    let named = fetch(&cache, remote.request(branch("other"))).await;
    assert_eq!(named.revision.to_string(), format!("other@sha1:{other}"));
    remote.delete("refs/heads/main");
    let error = cache.fetch(request).await.unwrap_err();
    assert!(error.to_string().ends_with("has no branch main"), "{error}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let remote = Remote::start().await;
    let (_folder, cache) = cache();
    let ask = async |behaviour, url: String| {
        remote.behave(behaviour);
        let request = FetchRequest {
            url,
            ..remote.request(branch("main"))
        };
        cache.fetch(request).await.unwrap_err()
    };
    let url = remote.url();
    for (behaviour, url, wanted) in [
        (Behaviour::Serve, url.clone(), "has no branch main"),
        (
            Behaviour::Status(401),
            url.clone(),
            "refuses the credentials",
        ),
        (
            Behaviour::Status(403),
            url.clone(),
            "refuses the credentials",
        ),
        (Behaviour::Status(404), url.clone(), "no repository at"),
        (Behaviour::Status(500), url.clone(), "cannot fetch"),
        (
            Behaviour::Serve,
            "http://user:secret@127.0.0.1:1/r?token=secret".into(),
            "cannot fetch http://127.0.0.1:1/r",
        ),
        (
            Behaviour::Serve,
            "file:///etc".into(),
            "is not an http or https URL",
        ),
    ] {
        let error = ask(behaviour, url).await;
        assert!(error.to_string().contains(wanted), "{behaviour:?}: {error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    for bad in [
        branch("a b"),
        branch("*"),
        branch(""),
        Reference::Commit("abc".into()),
    ] {
        let error = cache.fetch(remote.request(bad)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidReference { .. }));
    }
}

#[tokio::test]
async fn a_tag_of_a_blob_is_not_a_commit() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let blob = remote.repository.blob(b"x").unwrap();
    remote.set("refs/tags/blob", blob);
    let (_folder, cache) = cache();
    let error = cache
        .fetch(remote.request(Reference::Tag("blob".into())))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotACommit { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let remote = Remote::start().await;
    remote.behave(Behaviour::Hang);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    request.timeout = Duration::from_millis(300);
    let start = Instant::now();
    let error = cache.fetch(request).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_millis(800));
}

#[tokio::test]
async fn a_broken_transfer_leaves_nothing_and_can_be_repeated() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (folder, cache) = cache();
    remote.behave(Behaviour::Cut);
    let error = cache
        .fetch(remote.request(branch("main")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(generations(&folder).is_empty());
    remote.behave(Behaviour::Serve);
    let first = fetch(&cache, remote.request(branch("main"))).await;
    remote.commit("main", &[("b.yaml", FILE)]);
    remote.behave(Behaviour::Cut);
    let error = cache
        .fetch(remote.request(branch("main")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(first.listing("").unwrap().files.len(), 1);
    remote.behave(Behaviour::Serve);
    let second = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(second.listing("").unwrap().files.len(), 2);
}

#[tokio::test]
async fn sizes_are_bounded() {
    let remote = Remote::start().await;
    let noise: Vec<u8> = (0..200_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    remote.commit(
        "main",
        &[("big/noise.yaml", Entry::File(&noise)), ("a.yaml", FILE)],
    );
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        max_fetch_bytes: 100_000,
        ..Settings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let error = cache
        .fetch(remote.request(branch("main")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::RepositoryTooLarge { limit: 100_000, .. }),
        "{error:?}"
    );

    let settings = Settings {
        max_file_bytes: 100_000,
        max_files: 3,
        ..Settings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let snapshot = fetch(&cache, remote.request(branch("main"))).await;
    let files = snapshot.listing("").unwrap().files;
    assert_eq!(files.len(), 2);
    let error = snapshot.read(&files[1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "big/noise.yaml has 800000 bytes, more than the limit of 100000"
    );
    assert!(snapshot.read(&files[0]).is_ok());
    remote.commit("main", &[("c.yaml", FILE), ("d.yaml", FILE)]);
    let snapshot = fetch(&cache, remote.request(branch("main"))).await;
    let error = snapshot.listing(".").unwrap_err();
    assert!(
        matches!(error, Error::TooManyFiles { limit: 3, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn paths_and_links() {
    use Entry::{File, Link, Submodule};
    let remote = Remote::start().await;
    remote.commit(
        "main",
        &[
            ("plain/a.yaml", FILE),
            ("plain/sub/.towlineignore", FILE),
            ("plain/sub/b.yaml", File(b"b")),
            ("file/link.yaml", Link("../plain/a.yaml")),
            ("folder/all", Link("../plain/./sub/")),
            ("folder/twice", Link("all")),
            ("current", Link("plain")),
            ("outside/l", Link("../../etc/passwd")),
            ("absolute/l", Link("/etc/passwd")),
            ("dangling/l", Link("../nothing")),
            ("loop/a", Link("b")),
            ("loop/b", Link("a")),
            ("up/l", Link("..")),
            ("round/a/l", Link("../b")),
            ("round/b/l", Link("../a")),
            ("modules/m", Submodule),
            ("modules/a.yaml", FILE),
        ],
    );
    let (_folder, cache) = cache();
    let snapshot = fetch(&cache, remote.request(branch("main"))).await;
    for (path, files, self_contained) in [
        (
            "plain",
            &[
                "plain/a.yaml",
                "plain/sub/.towlineignore",
                "plain/sub/b.yaml",
            ][..],
            true,
        ),
        (
            "./plain//sub/",
            &["plain/sub/.towlineignore", "plain/sub/b.yaml"],
            true,
        ),
        ("plain/a.yaml", &["plain/a.yaml"], true),
        (
            "current/sub",
            &["current/sub/.towlineignore", "current/sub/b.yaml"],
            true,
        ),
        ("file", &["file/link.yaml"], false),
        (
            "folder",
            &[
                "folder/all/.towlineignore",
                "folder/all/b.yaml",
                "folder/twice/.towlineignore",
                "folder/twice/b.yaml",
            ],
            false,
        ),
        ("modules", &["modules/a.yaml"], true),
    ] {
        let listing = snapshot.listing(path).unwrap();
        assert_eq!(paths(&listing), files, "{path}");
        assert_eq!(listing.self_contained, self_contained, "{path}");
        let same = listing.key.0 == snapshot.tree_id(path).unwrap().0;
        assert_eq!(same, self_contained, "{path}");
    }
    assert_eq!(
        snapshot.listing("modules").unwrap().submodules,
        ["modules/m"]
    );
    assert_eq!(
        snapshot.tree_id("current").unwrap(),
        snapshot.tree_id("plain").unwrap()
    );
    for (path, message) in [
        ("../x", "path ../x leaves the repository"),
        ("nothing/x", "path nothing/x is not in main@sha1:"),
        (
            "plain/a.yaml/b",
            "path plain/a.yaml/b is not a folder: plain/a.yaml is a file",
        ),
        (
            "modules/m",
            "path modules/m is not a folder: modules/m is a submodule",
        ),
        ("outside", "symbolic link outside/l leaves the repository"),
        ("outside/l", "symbolic link outside/l leaves the repository"),
        ("absolute", "symbolic link absolute/l leaves the repository"),
        (
            "absolute/l",
            "symbolic link absolute/l leaves the repository",
        ),
        (
            "dangling",
            "symbolic link dangling/l points at ../nothing, which",
        ),
        (
            "dangling/l",
            "symbolic link dangling/l points at ../nothing, which",
        ),
        ("loop", "is part of a loop"),
        ("loop/a", "is part of a loop"),
        ("up", "symbolic link up/l is part of a loop"),
        ("round", "is part of a loop"),
    ] {
        let error = snapshot.listing(path).unwrap_err();
        assert!(error.to_string().contains(message), "{path}: {error}");
    }
}

#[tokio::test]
async fn what_is_behind_a_link_is_in_the_key() {
    let remote = Remote::start().await;
    remote.commit(
        "main",
        &[
            ("app/l.yaml", Entry::Link("../base.yaml")),
            ("base.yaml", FILE),
        ],
    );
    let (_folder, cache) = cache();
    let one = fetch(&cache, remote.request(branch("main"))).await;
    remote.commit("main", &[("base.yaml", Entry::File(b"other"))]);
    let two = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(one.tree_id("app").unwrap(), two.tree_id("app").unwrap());
    assert_ne!(
        one.listing("app").unwrap().key,
        two.listing("app").unwrap().key
    );
}

#[tokio::test]
async fn a_restart_uses_what_is_on_disk() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (folder, cache) = cache();
    fetch(&cache, remote.request(branch("main"))).await;
    drop(cache);
    let repository = std::fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
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
    let cache = Cache::open(Settings::new(folder.path())).unwrap();
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
        let generation = std::fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
            .join("1");
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
        let cache = Cache::open(Settings::new(folder.path())).unwrap();
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
    let missing = crate::render::BlobId([7; 20]);
    let error = snapshot.read_blob(missing).unwrap_err();
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
    let settings = Settings {
        max_packs: 4,
        ..Settings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let mut held = Vec::new();
    for round in 0..12u8 {
        remote.commit("main", &[("a.yaml", Entry::File(&[round]))]);
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

#[tokio::test(flavor = "multi_thread")]
async fn waiting_callers_share_an_answer() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (_folder, cache) = cache();
    fetch(&cache, remote.request(branch("main"))).await;
    remote.requests();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, request) = (cache.clone(), remote.request(branch("main")));
            tokio::spawn(async move { cache.fetch(request).await.unwrap() })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(remote.requests().len() < 10);
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
    cache.retain([one.url().as_str()]).await;
    drop(held);
    assert_eq!(generations(&folder).len(), 1);
    cache.retain([]).await;
    assert!(generations(&folder).is_empty());
    fetch(&cache, one.request(branch("main"))).await;
}

/// Not a check but a measurement: `cargo test --lib source::tests::measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure() {
    let remote = Remote::start().await;
    let names: Vec<String> = (0..1010)
        .map(|i| format!("apps/{}/{i}.yaml", i / 50))
        .collect();
    let contents: Vec<String> = (0..1010)
        .map(|i| format!("kind: ConfigMap\nname: c{i}\n"))
        .collect();
    let entries: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| (name.as_str(), Entry::File(content.as_bytes())))
        .collect();
    remote.commit("main", &entries);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    let start = Instant::now();
    let snapshot = fetch(&cache, request.clone()).await;
    println!("first fetch, 1010 files: {:?}", start.elapsed());
    let start = Instant::now();
    let listing = snapshot.listing("").unwrap();
    println!("listing: {:?}", start.elapsed());
    let start = Instant::now();
    for file in &listing.files {
        snapshot.read(file).unwrap();
    }
    println!("reading all: {:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..250 {
        snapshot.tree_id("apps/7").unwrap();
    }
    println!("250 tree ids: {:?}", start.elapsed());
    request.known = Some(snapshot);
    for round in 0..10u8 {
        let start = Instant::now();
        cache.fetch(request.clone()).await.unwrap();
        print!("ls-remote {:?}, ", start.elapsed());
        remote.commit("main", &[("apps/1/50.yaml", Entry::File(&[b'a' + round]))]);
        let start = Instant::now();
        request.known = Some(fetch(&cache, request.clone()).await);
        println!("incremental {:?}", start.elapsed());
    }
    println!("{:?}", remote.requests().len());
}
