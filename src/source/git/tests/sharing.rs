//! Who shares a copy, and who waits for whom.

use towline_testing::impostor::{Body, Impostor, UNKNOWN, packet, references};

use super::*;

fn proxy(url: &str, at: &str) -> Proxy {
    let data = [("address".to_owned(), at.as_bytes().to_vec())];
    Proxy::from_secret(url, &data.into()).unwrap()
}

fn of(namespace: &str, request: FetchRequest) -> FetchRequest {
    FetchRequest {
        namespace: namespace.to_owned(),
        ..request
    }
}

/// A remote whose newest commit has a parent.
async fn remote() -> (Remote, String) {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", NewEntry::File(b"a: 1\n"))]);
    let commit = remote.commit("main", &[("a.yaml", NewEntry::File(b"a: 2\n"))]);
    (remote, commit.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_neither_reads_nor_learns_what_others_have() {
    let (remote, commit) = remote().await;
    let (folder, cache) = cache();
    let honest = of("a", remote.request(branch("main")));
    fetch(&cache, honest.clone()).await;
    for namespace in ["a", "b"] {
        for shown in [UNKNOWN, &commit] {
            let server = Impostor::start(references(shown), Body::Bytes(b"0000".to_vec()));
            let request = FetchRequest {
                proxy: Some(proxy(&remote.url(), &server.url())),
                ..of(namespace, remote.request(branch("main")))
            };
            let refused = cache.fetch(request).await;
            assert!(refused.is_err(), "{namespace} {shown}: {refused:?}");
            let downloads = server.downloads().join("\n");
            assert!(downloads.contains(&format!("want {shown}")), "{downloads}");
            let has = |word| downloads.contains(&format!("{word} {commit}"));
            assert!(!has("have") && !has("shallow"), "{downloads}");
        }
    }
    // A namespace that reaches the server itself needs the server's word, and has a copy of its own.
    fetch(&cache, of("b", remote.request(branch("main")))).await;
    assert_eq!(generations(&folder).len(), 2);
    // The proxies were shown no more than that, and the copy is still whole.
    remote.behave(Behaviour::Status(401));
    let refused = cache.fetch(of("c", remote.request(branch("main")))).await;
    assert!(
        matches!(refused, Err(Error::Authentication { .. })),
        "{refused:?}"
    );
    remote.behave(Behaviour::Serve);
    remote.commit("main", &[("b.yaml", FILE)]);
    assert_eq!(
        fetch(&cache, honest).await.listing("").unwrap().files.len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_all_shared_are_removed_at_the_start() {
    let (remote, _) = remote().await;
    let (folder, cache) = cache();
    let request = of("a", remote.request(branch("main")));
    fetch(&cache, request.clone()).await;
    drop(cache);
    // The form of earlier versions: one folder for each URL.
    let old = folder.path().join("0123456789abcdef".repeat(4));
    std::fs::rename(copies(&folder).remove(0), &old).unwrap();
    let cache = Cache::open(CacheSettings::new(folder.path())).unwrap();
    assert!(!old.exists());
    fetch(&cache, request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_proxy_freezes_no_other_resource_of_its_namespace() {
    let (remote, _) = remote().await;
    let (_folder, cache) = cache();
    let server = Impostor::dripping(UNKNOWN, Duration::from_secs(10));
    let frozen = FetchRequest {
        proxy: Some(proxy(&remote.url(), &server.url())),
        timeout: Duration::from_secs(3600),
        ..of("a", remote.request(branch("main")))
    };
    let running = tokio::spawn({
        let cache = cache.clone();
        async move { cache.fetch(frozen).await }
    });
    until("the download", || !server.downloads().is_empty()).await;
    fetch(&cache, of("a", remote.request(branch("main")))).await;
    // Whoever gives the fetch up ends it: the connection is closed.
    running.abort();
    let start = Instant::now();
    until("a closed connection", || server.open() == 0).await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_servers_of_one_namespace_leave_the_turns_of_others() {
    let (remote, _) = remote().await;
    let (_folder, cache) = cache();
    let server = Impostor::dripping(UNKNOWN, Duration::from_secs(10));
    let max = CacheSettings::new("").max_downloads;
    let mut running = Vec::new();
    for index in 0..max {
        let request = FetchRequest {
            url: format!("{}/r{index}", server.url()),
            timeout: Duration::from_secs(3600),
            ..of("slow", remote.request(branch("main")))
        };
        let cache = cache.clone();
        running.push(tokio::spawn(async move { cache.fetch(request).await }));
    }
    until("all downloads", || server.downloads().len() == max).await;
    let start = Instant::now();
    fetch(&cache, of("honest", remote.request(branch("main")))).await;
    fetch(&cache, of("other", remote.request(Reference::Default))).await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    // The fetches that gave way are tried again.
    until("a second try", || server.downloads().len() > max).await;
    for task in running {
        task.abort();
    }
    until("closed connections", || server.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_too_slowly_is_given_up() {
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        floor: Floor {
            bytes: 1024,
            time: Duration::from_millis(500),
        },
        ..CacheSettings::new(folder.path())
    };
    let cache = Cache::open(settings).unwrap();
    let pause = Duration::from_millis(50);
    let service = [packet("# service=git-upload-pack\n"), b"0000".to_vec()].concat();
    // A packet of the greatest length, byte by byte.
    let byte = b"f".to_vec();
    let drip = Body::Endless(Vec::new(), byte.clone(), pause);
    let nothing = Body::Bytes(Vec::new());
    for (what, references, download) in [
        ("references", Body::Endless(service, byte, pause), nothing),
        ("a download", references(UNKNOWN), drip),
    ] {
        let server = Impostor::start(references, download);
        let request = FetchRequest::new(
            "test",
            format!("{}/r", server.url()),
            branch("main"),
            Duration::from_secs(20),
        );
        let error = cache.fetch(request).await.unwrap_err();
        assert!(matches!(error, Error::TooSlow { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("less than 1024 bytes in 0.5s"));
    }
    // A server that says that it works is not too slow.
    let works = Body::Endless(packet("NAK\n"), packet(b"\x02wait\n"), pause);
    let server = Impostor::start(references(UNKNOWN), Body::Late(Box::new(works)));
    let request = FetchRequest::new(
        "test",
        format!("{}/r", server.url()),
        branch("main"),
        Duration::from_secs(3),
    );
    let error = cache.fetch(request).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

/// Bytes that no compression makes fewer.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| byte()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_over_its_share_takes_no_room_from_others() {
    const MIB: u64 = 1 << 20;
    let folder = TempDir::new().unwrap();
    let settings = CacheSettings {
        volume_bytes: Some(10 * MIB),
        ..CacheSettings::new(folder.path())
    };
    let cache = Cache::open(settings.clone()).unwrap();
    let mut remotes = Vec::new();
    for number in 0..3 {
        let remote = Remote::start().await;
        let content = noise(number, 3 << 20);
        remote.commit("main", &[("a.bin", NewEntry::File(&content))]);
        remotes.push(remote);
    }
    let request = |number: usize| of("big", remotes[number].request(branch("main")));
    let first = fetch(&cache, request(0)).await;
    // The share is 4.5 MiB, and what is in use stays.
    let error = cache.fetch(request(1)).await.unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("the copies of this namespace may have 471"),
        "{text}"
    );
    assert!(text.contains("(--cache-size-per-namespace)"), "{text}");
    assert_eq!(generations(&folder).len(), 1);
    let other = fetch(&cache, of("other", remotes[1].request(branch("main")))).await;
    let error = cache
        .fetch(of("third", remotes[2].request(branch("main"))))
        .await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("all copies may have 943"), "{text}");
    assert!(text.contains("(--cache-size)"), "{text}");
    // A copy that nobody uses any longer gives way.
    drop(first);
    fetch(&cache, request(2)).await;
    assert!(other.listing("").is_ok());
    assert_eq!(generations(&folder).len(), 2);
    // After a restart, what is on disk counts.
    drop(cache);
    let cache = Cache::open(settings).unwrap();
    fetch(&cache, of("third", remotes[2].request(branch("main")))).await;
    assert!(generations(&folder).len() <= 2, "unused copies gave way");
}
