//! Repositories of one namespace neither read, stop nor crowd out those of another.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use towline::api::GitRepository;
use towline_testing::control_plane::Options;
use towline_testing::git::GitServer;
use towline_testing::impostor::{Body, Impostor, UNKNOWN, packet, references};
use towline_testing::repo::{Change, NewCommit, Repo, git};
use towline_testing::usage::Memory;
use towline_testing::wait::eventually;

use crate::world::login::set_secret;
use crate::world::verdict::{
    assert_says, named_repository_ready_becomes, repository_ready_becomes,
};
use crate::world::{Case, PATIENCE, World, world};

async fn proxy_secret(case: &Case<'_>, name: &str, address: &str) {
    let secret = json!({"metadata": {"name": name}, "stringData": {"address": address}});
    case.make::<Secret>(secret).await;
}

/// A private repository whose newest commit has a parent.
async fn private(case: &Case<'_>, server: &GitServer) -> (Repo, String) {
    server.allow("ann", "sesame");
    let repo = server.repo(&case.namespace);
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: private}\ndata: {value: secret}\n";
    repo.commit(&[("app/map.yaml", Some(map))], "first");
    let commit = repo.commit(&[("app/b.txt", Some("b"))], "second");
    set_secret(case, &json!({"username": "ann", "password": "sesame"})).await;
    case.repository(json!({
        "url": repo.url(), "secretRef": {"name": "git"}, "timeout": "10s",
    }))
    .await;
    repository_ready_becomes(case, "True", "Fetched").await;
    (repo, commit)
}

#[tokio::test]
async fn a_proxy_of_another_namespace_reads_and_stops_nothing() {
    let server = GitServer::start();
    let world = world().await;
    let (a, b) = (world.case("fair-a").await, world.case("fair-b").await);
    let (repo, commit) = private(&a, &server).await;

    let before = server.requests().len();
    for (name, shown) in [("blind", UNKNOWN), ("stolen", &commit)] {
        let proxy = Impostor::start(references(shown), Body::Bytes(b"0000".to_vec()));
        proxy_secret(&b, name, &proxy.url()).await;
        let sync = json!({"path": "app", "targetNamespace": b.namespace});
        b.repository_named(
            name,
            json!({"url": repo.url(), "proxySecretRef": {"name": name}, "sync": sync}),
        )
        .await;
        named_repository_ready_becomes(&b, name, "False", "FetchFailed").await;
        let asked = proxy.downloads().join("\n");
        assert!(asked.contains(&format!("want {shown}")), "{asked}");
        for word in ["have", "shallow"] {
            assert!(!asked.contains(&format!("{word} {commit}")), "{asked}");
        }
        b.delete::<GitRepository>(name).await;
    }
    assert_eq!(b.data("private").await, None);
    assert_eq!(
        server.requests().len(),
        before,
        "b never reached the server"
    );
    // Without credentials, the server itself says no.
    b.repository_named("plain", json!({"url": repo.url()}))
        .await;
    named_repository_ready_becomes(&b, "plain", "False", "AuthenticationFailed").await;

    // A proxy that freezes the fetch of one resource freezes no other one: neither that of another
    // namespace, nor one of its own.
    let frozen = Impostor::dripping(UNKNOWN, Duration::from_secs(10));
    for case in [&a, &b] {
        proxy_secret(case, "frozen", &frozen.url()).await;
        case.repository_named(
            "frozen",
            json!({"url": repo.url(), "timeout": "1h", "proxySecretRef": {"name": "frozen"}}),
        )
        .await;
    }
    eventually("both freeze", PATIENCE, async || {
        (frozen.downloads().len() >= 2).then_some(())
    })
    .await;
    let third = repo.commit(&[("app/c.txt", Some("c"))], "third");
    let start = Instant::now();
    a.announce().await;
    revision_becomes(&a, "repo", &third).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    // A fetch whose resource is gone, or whose spec changed, ends at once.
    a.delete::<GitRepository>("frozen").await;
    b.patch::<GitRepository>("frozen", json!({"spec": {"suspend": true}}))
        .await;
    let start = Instant::now();
    eventually("closed connections", PATIENCE, async || {
        (frozen.open() == 0).then_some(())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

async fn revision_becomes(case: &Case<'_>, name: &str, commit: &str) {
    eventually(&format!("{name} at {commit}"), PATIENCE, async || {
        let repository = case.api::<GitRepository>().get(name).await.unwrap();
        let revision = repository.status.and_then(|status| status.revision);
        match revision.is_some_and(|revision| revision.ends_with(commit)) {
            true => Ok(()),
            false => Err(name.to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn slow_servers_of_one_namespace_stop_no_others() {
    let world = World::own(Options::default(), &[]).await;
    let (slow, honest) = (world.case("slow").await, world.case("honest").await);
    let first = honest
        .repo
        .commit(&[("a.yaml", Some(honest.map("a", "one")))], "first");
    honest.repository(json!({"timeout": "15s"})).await;
    honest.sync("all", json!({})).await;
    honest.synced("all", &first).await;
    let server = Impostor::dripping(UNKNOWN, Duration::from_secs(10));
    for number in 0..8 {
        let url = format!("{}/r{number}", server.url());
        slow.repository_named(
            &format!("slow{number}"),
            json!({"url": url, "timeout": "1h"}),
        )
        .await;
    }
    eventually("8 slow downloads", PATIENCE, async || {
        (server.downloads().len() >= 8).then_some(())
    })
    .await;
    let start = Instant::now();
    let second = honest
        .push(&[("a.yaml", Some(&honest.map("a", "two")))], "second")
        .await;
    honest.synced("all", &second).await;
    honest
        .repository_named("late", json!({"timeout": "15s"}))
        .await;
    named_repository_ready_becomes(&honest, "late", "True", "Fetched").await;
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    // A slow server is given up long before the timeout, and the condition says why.
    let message = named_repository_ready_becomes(&slow, "slow0", "False", "FetchFailed").await;
    assert_says(
        &message,
        &["is too slow: it sent less than 30720 bytes in 30s"],
    );
}

#[tokio::test]
async fn a_namespace_cannot_fill_the_cache() {
    let world = World::own(Options::default(), &["--cache-size=64Mi"]).await;
    let (big, honest) = (world.case("big").await, world.case("honest").await);
    honest
        .repo
        .commit(&[("a.yaml", Some(honest.map("a", "one")))], "first");
    honest.repository(json!({})).await;
    repository_ready_becomes(&honest, "True", "Fetched").await;
    for (number, size) in [20 << 20, 20 << 20, 20 << 20, 3400 << 10, 260 << 10]
        .into_iter()
        .enumerate()
    {
        let repo = world.git.repo(&format!("{}-{number}", big.namespace));
        let content = noise(number as u64, size);
        repo.commit_with(NewCommit {
            changes: &[("a.bin", Change::Bytes(&content))],
            ..NewCommit::default()
        });
        let name = format!("big{number}");
        big.repository_named(&name, json!({"url": repo.url()}))
            .await;
    }
    // One of the large ones has room in the namespace's share, and the others have not.
    let message = eventually("a refusal", PATIENCE, async || {
        let mut messages = Vec::new();
        for number in 0..3 {
            let repository = big
                .api::<GitRepository>()
                .get(&format!("big{number}"))
                .await;
            let status = repository.unwrap().status.unwrap_or_default();
            let refused = status
                .conditions
                .into_iter()
                .find(|is| is.reason == "TooLarge");
            messages.extend(refused.map(|is| is.message));
        }
        messages.pop()
    })
    .await;
    assert_says(
        &message,
        &[
            "the cache has no room for http://",
            "the copies of this namespace may have 30198960 bytes (--cache-size-per-namespace)",
        ],
    );
    let content = noise(99, 200 << 10);
    let commit = honest.repo.commit_with(NewCommit {
        changes: &[("a.bin", Change::Bytes(&content))],
        ..NewCommit::default()
    });
    honest.announce().await;
    revision_becomes(&honest, "repo", &commit).await;
}

/// Bytes that no compression makes fewer.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| byte()).collect()
}

/// The most memory that the operator may ever have, in MiB. It
/// is a debug build's. Four hostile servers are retried meanwhile.
const PEAK: f64 = 256.0;

#[tokio::test]
async fn no_server_and_no_pack_takes_much_memory() {
    let world = World::own(Options::default(), &[]).await;
    let (case, honest) = (world.case("hostile").await, world.case("honest").await);
    let peak = |what: &str| {
        let peak = Memory::of(world.operator.pid()).peak;
        println!("{what}: {peak:.1} MiB at most so far");
        assert!(peak < PEAK, "{what}: {peak} MiB");
    };
    honest
        .repo
        .commit(&[("a.yaml", Some(honest.map("a", "one")))], "first");
    honest.repository(json!({})).await;
    honest.sync("all", json!({})).await;

    let service = [packet("# service=git-upload-pack\n"), b"0000".to_vec()].concat();
    let line = |number: usize| packet(format!("{UNKNOWN} refs/x/{number:x}\n"));
    let lines: Vec<u8> = (0..1000).flat_map(line).collect();
    let endless = Impostor::start(
        Body::Endless(service, lines, Duration::ZERO),
        Body::Bytes(Vec::new()),
    );
    // Several at a time: they take turns in using memory.
    for number in 0..4 {
        let name = format!("refs{number}");
        let url = format!("{}/r{number}", endless.url());
        case.repository_named(&name, json!({"url": url, "timeout": "10m"}))
            .await;
    }
    for number in 0..4 {
        let name = format!("refs{number}");
        let message = named_repository_ready_becomes(&case, &name, "False", "TooLarge").await;
        assert_says(&message, &["has more than 200000 references"]);
    }
    peak("references without end");

    let bomb = tokio::task::spawn_blocking({
        let repo = case.repo.clone();
        move || delta_bomb(&repo)
    });
    bomb.await.unwrap();
    case.repository(json!({"timeout": "10m"})).await;
    let message = repository_ready_becomes(&case, "False", "TooLarge").await;
    assert_says(
        &message,
        &["bytes as a difference to another one; the limit for both is 33554432"],
    );
    peak("a delta of a large file");

    let second = honest
        .push(&[("a.yaml", Some(&honest.map("a", "two")))], "second")
        .await;
    honest.synced("all", &second).await;
}

/// Two files of 200 MiB, of which one is stored as a difference to the other, in a pack of 200 KiB.
fn delta_bomb(repo: &Repo) {
    let zeros = vec![0; 200 << 20];
    let other = [&zeros[..], b"x\n"].concat();
    repo.commit_with(NewCommit {
        changes: &[
            ("big-a.bin", Change::Bytes(&zeros)),
            ("big-b.bin", Change::Bytes(&other)),
        ],
        ..NewCommit::default()
    });
    git(repo.path(), &["repack", "-adfq"], &[]);
}
