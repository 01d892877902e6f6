//! Servers that refuse, hang, break off or send too much.

use super::*;

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
            url.replace("http:", "https:"),
            "cannot fetch https://127.0.0.1:",
        ),
        (
            Behaviour::Serve,
            "file:///etc".into(),
            "is not an https, http or ssh URL",
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
async fn a_failed_fetch_repeats_what_the_server_says() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let blob = git2::Oid::hash_object(git2::ObjectType::Blob, b"a: 1\n").unwrap();
    let (start, rest) = (&blob.to_string()[..2], &blob.to_string()[2..]);
    let object = remote.repository.path().join("objects").join(start);
    std::fs::remove_file(object.join(rest)).unwrap();
    let (_folder, cache) = cache();
    let request = remote.request(branch("main"));
    let error = crate::chain(&cache.fetch(request).await.unwrap_err());
    assert!(error.contains("the server says: "), "{error}");
    assert!(error.contains(&format!("unable to read {blob}")), "{error}");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let remote = Remote::start().await;
    let noise: Vec<u8> = (0..200_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    remote.commit(
        "main",
        &[("big/noise.yaml", NewEntry::File(&noise)), ("a.yaml", FILE)],
    );
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        max_fetch_bytes: 100_000,
        ..CacheSettings::new(folder.path())
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

    let settings = CacheSettings {
        max_file_bytes: 100_000,
        max_files: 3,
        ..CacheSettings::new(folder.path())
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
async fn a_download_that_stalls_frees_its_thread_in_time() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    remote.behave(Behaviour::Stall);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    request.timeout = Duration::from_millis(500);
    let error = cache.fetch(request.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    remote.behave(Behaviour::Serve);
    request.timeout = Duration::from_secs(2);
    cache.fetch(request).await.unwrap();
}
