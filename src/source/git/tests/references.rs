//! The commit that each reference resolves to.

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

    remote.requests();
    request.known = Some(Arc::clone(&snapshot));
    let fetched = cache.fetch(request.clone()).await.unwrap();
    assert!(matches!(&fetched, Fetched::Unchanged(same) if Arc::ptr_eq(same, &snapshot)));
    assert_eq!(
        remote.requests().len(),
        1,
        "an unchanged branch takes one request"
    );

    let second = remote.commit("main", &[("b.yaml", NewEntry::File(b"b: 2\n"))]);
    let next = fetch(&cache, request).await;
    assert!(remote.requests().len() <= 3, "one connection fetches");
    assert_eq!(next.revision.to_string(), format!("main@sha1:{second}"));
    assert_eq!(snapshot.known_tree_id("apps"), None, "nobody has asked");
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

    let third = remote.commit("main", &[("apps/a.yaml", NewEntry::File(b"a: 3\n"))]);
    let last = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(last.known_tree_id("apps"), None, "it follows no other");
    let mut request = remote.request(branch("main"));
    request.known = Some(Arc::clone(&next));
    remote.commit("main", &[("b.yaml", NewEntry::File(b"b: 4\n"))]);
    let foreseen = fetch(&cache, request).await;
    assert_ne!(foreseen.revision.to_string(), format!("main@sha1:{third}"));
    assert_eq!(
        foreseen.known_tree_id("apps"),
        Some(last.tree_id("apps").unwrap()),
        "whoever follows a path is answered without a read"
    );
}

#[tokio::test]
async fn prefetched_tree_ids_equal_the_read_ones() {
    let remote = Remote::start().await;
    let file = |text: &'static [u8]| NewEntry::File(text);
    let first = [
        ("apps/a/x.yaml", file(b"a: 1\n")),
        ("apps/b/x.yaml", file(b"b: 1\n")),
        ("current", NewEntry::Link("apps/a")),
        ("next", NewEntry::Link("apps/b")),
    ];
    remote.commit("main", &first);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    let before = fetch(&cache, request.clone()).await;
    let paths = ["apps/a", "apps/b", "current", "next"];
    for path in paths {
        before.tree_id(path).unwrap();
    }
    let second = [
        ("apps/a/x.yaml", file(b"a: 2\n")),
        ("next", NewEntry::Link("apps/gone")),
    ];
    remote.commit("main", &second);
    request.known = Some(Arc::clone(&before));
    let foreseen = fetch(&cache, request).await;
    let read = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(paths.map(|path| read.known_tree_id(path)), [None; 4]);
    for path in paths {
        assert_eq!(foreseen.known_tree_id(path), read.tree_id(path).ok());
    }
    let has_moved = |path| foreseen.known_tree_id(path) != before.known_tree_id(path);
    assert_eq!(paths.map(has_moved), [true, false, true, true]);
    assert!(foreseen.tree_id("next").is_err(), "its link dangles now");
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
    // A commit that no reference points at is refused, unless the server allows it.
    let error = cache.fetch(remote.request(commit(two))).await.unwrap_err();
    assert!(matches!(error, Error::CommitRefused { .. }), "{error}");
    remote.configure("uploadpack.allowReachableSHA1InWant", true);
    let snapshot = fetch(&cache, remote.request(commit(two))).await;
    assert_eq!(paths(&snapshot.listing("").unwrap()), ["a.yaml", "b.yaml"]);
    // For a known commit, the server gets no request.
    remote.requests();
    let mut request = remote.request(commit(two));
    request.known = Some(snapshot);
    let known = cache.fetch(request.clone()).await.unwrap();
    assert!(matches!(known, Fetched::Unchanged(_)));
    assert_eq!(remote.requests().len(), 0);
    // The server must accept new credentials first.
    request.proven = false;
    let proven = cache.fetch(request.clone()).await.unwrap();
    assert!(matches!(proven, Fetched::Unchanged(_)));
    assert_eq!(remote.requests().len(), 1, "one look and no download");
    remote.behave(Behaviour::Status(401));
    let refused = cache.fetch(request).await.unwrap_err();
    assert!(matches!(refused, Error::Authentication { .. }), "{refused}");
    remote.behave(Behaviour::Serve);
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

#[tokio::test]
async fn a_range_follows_tags_and_a_name_follows_its_ref() {
    let remote = Remote::start().await;
    let one = remote.commit("main", &[("a.yaml", FILE)]);
    remote.set("refs/tags/v1.2.3", one);
    remote.set("refs/tags/nightly", one);
    let two = remote.commit("main", &[("b.yaml", FILE)]);
    remote.annotated_tag("1.10.0", two);
    let three = remote.commit("side", &[("c.yaml", FILE)]);
    remote.annotated_tag("v2.0.0-rc.1", three);
    remote.set("refs/pull/7/head", three);
    let (_folder, cache) = cache();
    let range = |range: &str| Reference::Semver(range.into());
    let name = |name: &str| Reference::Name(name.into());
    for (reference, revision) in [
        (range("1.x"), format!("1.10.0@sha1:{two}")),
        (range("~1.2"), format!("v1.2.3@sha1:{one}")),
        (range("*"), format!("1.10.0@sha1:{two}")),
        (range(">=1.0.0-0"), format!("v2.0.0-rc.1@sha1:{three}")),
        (
            name("refs/pull/7/head"),
            format!("refs/pull/7/head@sha1:{three}"),
        ),
        (
            name("refs/heads/main"),
            format!("refs/heads/main@sha1:{two}"),
        ),
        (
            name("refs/tags/1.10.0"),
            format!("refs/tags/1.10.0@sha1:{two}"),
        ),
    ] {
        let snapshot = fetch(&cache, remote.request(reference)).await;
        assert_eq!(snapshot.revision.to_string(), revision);
        snapshot.listing("").unwrap();
    }
    for (reference, end) in [
        (range(">=3"), "has no tag in the range >=3"),
        (name("refs/pull/8/head"), "has no ref refs/pull/8/head"),
        (range("main"), "main is not a range of versions"),
    ] {
        let error = cache.fetch(remote.request(reference)).await.unwrap_err();
        assert!(error.to_string().ends_with(end), "{error}");
    }
}

#[tokio::test]
async fn a_tag_that_moves_under_a_range_is_another_revision() {
    let remote = Remote::start().await;
    let one = remote.commit("main", &[("a.yaml", FILE)]);
    let two = remote.commit("main", &[("b.yaml", FILE)]);
    remote.set("refs/tags/v1.0.0", one);
    let (_folder, cache) = cache();
    let mut request = remote.request(Reference::Semver("^1".into()));
    let mut step = async |revision: String| {
        let fetched = cache.fetch(request.clone()).await.unwrap();
        assert_eq!(fetched.snapshot().revision.to_string(), revision);
        let unchanged = matches!(fetched, Fetched::Unchanged(_));
        request.known = Some(Arc::clone(fetched.snapshot()));
        unchanged
    };
    assert!(!step(format!("v1.0.0@sha1:{one}")).await);
    assert!(step(format!("v1.0.0@sha1:{one}")).await);
    remote.set("refs/tags/v1.0.0", two);
    assert!(!step(format!("v1.0.0@sha1:{two}")).await);
    // Another tag of the same commit; and the higher one withdrawn.
    remote.set("refs/tags/v1.1.0", two);
    assert!(!step(format!("v1.1.0@sha1:{two}")).await);
    remote.delete("refs/tags/v1.1.0");
    assert!(!step(format!("v1.0.0@sha1:{two}")).await);
}

#[tokio::test]
async fn an_annotated_tag_is_kept_with_its_commit() {
    let remote = Remote::start().await;
    let one = remote.commit("main", &[("a.yaml", FILE)]);
    let (_folder, cache) = cache();
    let by_branch = fetch(&cache, remote.request(branch("main"))).await;
    assert!(by_branch.tag_object().unwrap().is_none());
    let raw = by_branch.commit_object().unwrap();
    assert_eq!(raw.id, one.to_string());
    assert!(raw.raw.starts_with(b"tree "));
    // The commit is there already, but the tag is not.
    remote.annotated_tag("v1", one);
    remote.set("refs/tags/light", one);
    let mut request = remote.request(Reference::Name("refs/tags/v1".into()));
    let by_tag = fetch(&cache, request.clone()).await;
    let tag = by_tag.tag_object().unwrap().unwrap();
    assert_eq!(tag.name, "v1");
    assert!(tag.raw.starts_with(format!("object {one}\n").as_bytes()));
    let light = fetch(&cache, remote.request(Reference::Tag("light".into()))).await;
    assert!(light.tag_object().unwrap().is_none());
    // Another tag of the same name and commit is another snapshot.
    request.known = Some(Arc::clone(&by_tag));
    let same = fetch(&cache, request.clone()).await;
    assert!(Arc::ptr_eq(&same, &by_tag));
    remote.delete("refs/tags/v1");
    remote.set("refs/tags/v1", one);
    let moved = fetch(&cache, request).await;
    assert!(moved.tag_object().unwrap().is_none());
}

#[tokio::test]
async fn a_history_is_fetched_where_it_is_asked_for() {
    let remote = Remote::start().await;
    let commit = |round: u8| remote.commit("main", &[("a.yaml", NewEntry::File(&[round]))]);
    let first = commit(0).to_string();
    commit(1);
    commit(2);
    let (folder, cache) = cache();
    let shallow = remote.request(branch("main"));
    let mut full = FetchRequest {
        full_history: true,
        ..shallow.clone()
    };
    let commits = |snapshot: &Snapshot| {
        let copies = copies(&folder).into_iter().map(|copy| {
            let repository = git2::Repository::open_bare(copy.join("1")).unwrap();
            let mut walk = repository.revwalk().unwrap();
            let tip = snapshot.revision.commit.to_string();
            walk.push(git2::Oid::from_str(&tip).unwrap()).unwrap();
            walk.count()
        });
        let mut counts: Vec<usize> = copies.collect();
        counts.sort_unstable();
        counts
    };
    fetch(&cache, shallow.clone()).await;
    let snapshot = fetch(&cache, full.clone()).await;
    assert_eq!(commits(&snapshot), [1, 3]);
    // An ancestor is there, and nothing is downloaded for it.
    remote.behave(Behaviour::Cut);
    let ancestor = |request: &FetchRequest| FetchRequest {
        reference: Reference::Commit(first.clone()),
        ..request.clone()
    };
    let found = fetch(&cache, ancestor(&full)).await;
    assert_eq!(found.revision.commit.to_string(), first);
    assert_eq!(paths(&found.listing("").unwrap()), ["a.yaml"]);
    assert!(cache.fetch(ancestor(&shallow)).await.is_err());
    remote.behave(Behaviour::Serve);
    // The new commit is added.
    remote.commit("main", &[("b.yaml", FILE)]);
    fetch(&cache, shallow.clone()).await;
    full.known = Some(snapshot);
    let snapshot = fetch(&cache, full.clone()).await;
    assert_eq!(paths(&snapshot.listing("").unwrap()), ["a.yaml", "b.yaml"]);
    assert_eq!(*commits(&snapshot).last().unwrap(), 4);

    // A server without shallow downloads says so, and sends the full history.
    remote.commit("main", &[("c.yaml", FILE)]);
    remote.behave(Behaviour::Whole);
    let error = cache.fetch(shallow).await.unwrap_err();
    assert!(matches!(error, Error::ShallowRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("set spec.fullHistory to true"));
    let snapshot = fetch(&cache, full).await;
    assert_eq!(snapshot.listing("").unwrap().files.len(), 3);
}
