//! Which commit a reference leads to.

use super::*;

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
async fn redirects_are_followed_and_connections_kept() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    request.url = request.url.replace("repo.git", "moved.git");
    let snapshot = fetch(&cache, request.clone()).await;
    assert_eq!(paths(&snapshot.listing("").unwrap()), ["a.yaml"]);
    remote.commit("main", &[("b.yaml", FILE)]);
    fetch(&cache, request).await;
    let requests = remote.requests();
    assert!(
        requests
            .iter()
            .all(|r| r.starts_with("GET") || r.starts_with("POST /repo.git/"))
    );
    assert_eq!(remote.connections(), 1, "{requests:?}");
}
