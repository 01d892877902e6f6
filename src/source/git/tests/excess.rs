//! Servers that send too much are refused before it takes much memory.

use towline_testing::impostor::{Body, Impostor, UNKNOWN, download, packet, references};

use super::*;
use crate::api::Reason;
use crate::source::git::pack::tests::{Pack, id};

/// Kinds of entries in a pack.
const TREE: u8 = 2;
const BLOB: u8 = 3;

async fn refusal(listed: Body, sent: Body) -> Error {
    let server = Impostor::start(listed, sent);
    let (folder, cache) = cache();
    let url = format!("{}/r", server.url());
    let request = FetchRequest::new("test", url, branch("main"), Duration::from_secs(60));
    let error = cache.fetch(request).await.unwrap_err();
    assert!(generations(&folder).is_empty(), "nothing stays");
    error
}

fn pack<T>(fill: impl FnOnce(&mut Pack) -> T) -> Vec<u8> {
    let mut pack = Pack::new();
    fill(&mut pack);
    pack.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_sends_has_limits() {
    let service = [packet("# service=git-upload-pack\n"), b"0000".to_vec()].concat();
    let line = |name: &str| packet(format!("{UNKNOWN} refs/heads/{name}\n"));
    let endless = |line: Vec<u8>| {
        let lines = line.repeat(1000);
        Body::Endless(service.clone(), lines, Duration::ZERO)
    };
    let zeros = vec![0; 40 << 20];
    let words = |packet: Vec<u8>| {
        let start = b"0008NAK\n".to_vec();
        let endless = Body::Endless(start, packet.repeat(1000), Duration::ZERO);
        Body::Late(Box::new(endless))
    };
    for (what, listed, sent, says) in [
        (
            "short references",
            endless(line("a")),
            None,
            "has more than 200000 references",
        ),
        (
            "long references",
            endless(line(&"a".repeat(60_000))),
            None,
            "has a list of references of more than 16777216 bytes",
        ),
        (
            "messages",
            references(UNKNOWN),
            Some(words(packet(b"\x02Counting objects\n"))),
            "sends messages of more than 4194304 bytes",
        ),
        (
            "signs of life",
            references(UNKNOWN),
            Some(words(packet(b"\x01"))),
            "sends messages of more than",
        ),
        (
            "the base of a delta",
            references(UNKNOWN),
            Some(download(&pack(|pack| {
                let base = pack.object(BLOB, &zeros);
                pack.delta(base, (zeros.len() as u64, 1));
            }))),
            "sends a file of 41943040 bytes as a difference to another one; the limit for both is \
             33554432 bytes",
        ),
        (
            "the result of a delta",
            references(UNKNOWN),
            Some(download(&pack(|pack| {
                let base = pack.object(BLOB, &zeros[..1 << 20]);
                pack.delta(base, (1 << 20, 40 << 20));
            }))),
            "sends a file of 41943040 bytes",
        ),
        (
            "a tree",
            references(UNKNOWN),
            Some(download(&pack(|pack| pack.object(TREE, &zeros)))),
            "sends a tree of 41943040 bytes, more than the limit of 8388608",
        ),
    ] {
        let error = refusal(listed, sent.unwrap_or(Body::Bytes(Vec::new()))).await;
        let text = error.to_string();
        assert!(text.contains(says), "{what}: {error:?}");
        assert_eq!(error.reason(), Reason::TooLarge, "{what}");
    }
}

/// A chain of differences, each of which stands before the one that it differs from: libgit2 looks at all of them for each. In
/// the other order it is no work.
#[tokio::test(flavor = "multi_thread")]
async fn differences_in_the_worst_order_are_refused() {
    const LINKS: usize = 8000;
    let zeros = vec![0; LINKS + 1];
    let chain = |is_reversed: bool| {
        let mut links: Vec<usize> = (1..=LINKS).collect();
        if is_reversed {
            links.reverse();
        }
        download(&pack(|pack| {
            pack.object(BLOB, &zeros);
            // Each object has one byte less than the one before.
            for link in links {
                let base = &zeros[link - 1..];
                let sizes = (base.len() as u64, base.len() as u64 - 1);
                pack.delta_to(id("blob", base), sizes);
            }
        }))
    };
    for (is_reversed, reason) in [(true, Reason::TooLarge), (false, Reason::FetchFailed)] {
        let server = Impostor::start(references(UNKNOWN), chain(is_reversed));
        let folder = tempfile::TempDir::new().unwrap();
        let mut settings = CacheSettings::new(folder.path());
        settings.wire.pack.search = Duration::ZERO;
        let cache = Cache::open(settings).unwrap();
        let url = format!("{}/r", server.url());
        let request = FetchRequest::new("test", url, branch("main"), Duration::from_secs(60));
        let error = cache.fetch(request).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error:?}");
        let says = error.to_string().contains("sends objects as differences");
        assert_eq!(says, is_reversed, "{error}");
    }
}

/// libgit2 keeps what it has not read of one answer, and reads the next answer as its continuation.
#[tokio::test(flavor = "multi_thread")]
async fn no_pack_hides_in_two_answers() {
    let start = pack(|pack| pack.object(BLOB, b"a"));
    let data = packet([&[1], &start[..20]].concat());
    for early in [
        [b"00000008NAK\n".to_vec(), data].concat(),
        b"00000008NAK\n0fff\x01".to_vec(),
        b"00000008NAK\n00".to_vec(),
    ] {
        let error = refusal(references(UNKNOWN), Body::Bytes(early.clone())).await;
        let text = crate::chain(&error);
        assert!(
            text.contains("does not follow Git's protocol"),
            "{early:?}: {text}"
        );
    }
}

/// A path repeats the names of its folders: a small repository can have gigabytes of paths.
#[tokio::test(flavor = "multi_thread")]
async fn paths_have_a_limit_in_bytes() {
    let remote = Remote::start().await;
    let repository = &remote.repository;
    let name = "a".repeat(255);
    let blob = repository.blob(b"x").unwrap();
    let mut files = repository.treebuilder(None).unwrap();
    for number in 0..1600 {
        files.insert(format!("{number}"), blob, 0o100_644).unwrap();
    }
    let mut tree = files.write().unwrap();
    for _ in 0..90 {
        let mut folder = repository.treebuilder(None).unwrap();
        folder.insert(&name, tree, 0o040_000).unwrap();
        tree = folder.write().unwrap();
    }
    let tree = repository.find_tree(tree).unwrap();
    let author = git2::Signature::now("A", "a@example.com").unwrap();
    let commit = repository.commit(None, &author, &author, "deep", &tree, &[]);
    remote.set("refs/heads/main", commit.unwrap());
    let (_folder, cache) = cache();
    let snapshot = fetch(&cache, remote.request(branch("main"))).await;
    let error = snapshot.listing("").unwrap_err();
    assert!(matches!(error, Error::PathsTooLong { .. }), "{error:?}");
    assert_eq!(error.reason(), Reason::TooLarge);
}
