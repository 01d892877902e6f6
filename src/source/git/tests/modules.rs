//! Submodules: fetched if the request asks for them, from the same server, and read as folders.

use git2::{Oid, Repository};

use super::*;

/// The text of a `.gitmodules`, from paths and URLs.
fn file(modules: &[(&str, &str)]) -> String {
    let modules = modules.iter();
    modules
        .map(|(path, url)| format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"))
        .collect()
}

/// Commits `repository` with one more file.
fn lib(repository: &Repository, name: &str, content: &str) -> Oid {
    commit(
        repository,
        "main",
        &[(name, NewEntry::File(content.as_bytes()))],
    )
}

/// Adds the submodule `module` at `apps/lib` to `repo.git`, with the URL `url`.
fn name(remote: &Remote, url: &str, module: Oid) {
    let modules = file(&[("apps/lib", url)]);
    remote.commit(
        "main",
        &[
            (".gitmodules", NewEntry::File(modules.as_bytes())),
            ("apps/lib", NewEntry::Module(module)),
            ("apps/a.yaml", FILE),
            ("other/b.yaml", FILE),
        ],
    );
}

fn recursive(remote: &Remote) -> FetchRequest {
    FetchRequest {
        recurse_submodules: true,
        ..remote.request(branch("main"))
    }
}

#[tokio::test]
async fn a_submodule_is_a_folder_where_it_is_asked_for() {
    let remote = Remote::start().await;
    let (library, inner) = (remote.beside("library"), remote.beside("inner"));
    let deep = lib(&inner, "deep.yaml", "deep: 1\n");
    let modules = file(&[("nested", "../inner.git"), ("gone", "../gone.git")]);
    let first = commit(
        &library,
        "main",
        &[
            ("x.yaml", FILE),
            (".gitmodules", NewEntry::File(modules.as_bytes())),
            ("nested", NewEntry::Module(deep)),
        ],
    );
    name(&remote, "../library.git", first);
    let (folder, cache) = cache();
    let request = recursive(&remote);
    let snapshot = fetch(&cache, request.clone()).await;
    let listing = snapshot.listing("apps").unwrap();
    assert_eq!(
        paths(&listing),
        [
            "apps/a.yaml",
            "apps/lib/.gitmodules",
            "apps/lib/nested/deep.yaml",
            "apps/lib/x.yaml"
        ]
    );
    assert!(listing.submodules.is_empty() && listing.self_contained);
    let deep = snapshot.listing("apps/lib/nested").unwrap();
    assert_eq!(snapshot.read(&deep.files[0]).unwrap(), b"deep: 1\n");

    // The submodule's commit is part of the tree around it, and of no other tree.
    let content = |snapshot: &Snapshot, path| {
        let key = snapshot.listing(path).unwrap().key;
        (snapshot.tree_id(path).unwrap(), key)
    };
    let before = ["apps", "other"].map(|path| content(&snapshot, path));
    let second = lib(&library, "y.yaml", "y: 1\n");
    remote.commit("main", &[("apps/lib", NewEntry::Module(second))]);
    let moved = fetch(&cache, request.clone()).await;
    let after = ["apps", "other"].map(|path| content(&moved, path));
    assert!(before[0].0 != after[0].0 && before[0].1 != after[0].1);
    assert_eq!(before[1], after[1]);
    assert!(paths(&moved.listing("apps").unwrap()).contains(&"apps/lib/y.yaml"));
    assert_eq!(generations(&folder), ["1"], "one object database");

    // A request without submodules does not see them, though they are in the cache.
    let without = fetch(&cache, remote.request(branch("main"))).await;
    let listing = without.listing("apps").unwrap();
    assert_eq!(paths(&listing), ["apps/a.yaml"]);
    assert_eq!(listing.submodules, ["apps/lib"]);
    assert_ne!(
        without.tree_id("apps").unwrap(),
        moved.tree_id("apps").unwrap()
    );
    let error = without.listing("apps/lib/nested").unwrap_err();
    assert!(
        error.to_string().contains("spec.recurseSubmodules"),
        "{error}"
    );

    // While nothing moves, the submodules' servers get no request.
    remote.requests();
    let known = FetchRequest {
        known: Some(moved),
        ..request
    };
    let again = cache.fetch(known.clone()).await.unwrap();
    assert!(matches!(again, Fetched::Unchanged(_)));
    assert_eq!(remote.requests().len(), 1);
    // Each server must accept other credentials.
    let other = FetchRequest {
        proven: false,
        ..known
    };
    let again = cache.fetch(other).await.unwrap();
    assert!(matches!(again, Fetched::Unchanged(_)));
    assert_eq!(remote.requests().len(), 3, "no download");
}

#[tokio::test]
async fn a_submodule_that_cannot_be_fetched_is_named() {
    let remote = Remote::start().await;
    let library = remote.beside("library");
    let first = lib(&library, "x.yaml", "x: 1\n");
    let (folder, cache) = cache();
    let host = "only submodules with the scheme, host and port of the repository itself";
    let port = remote.url().replace("127.0.0.1", "127.0.0.2");
    for (url, wanted) in [
        ("https://user:s3cret@elsewhere.example/x.git", host),
        (port.as_str(), host),
        ("/srv/x.git", "nor relative to the repository's"),
        ("file:///srv/x.git", "nor relative to the repository's"),
        ("ext::sh -c id", "nor relative to the repository's"),
        ("--upload-pack=id", "nor relative to the repository's"),
        ("../missing.git", "cannot fetch http://"),
    ] {
        name(&remote, url, first);
        let error = cache.fetch(recursive(&remote)).await.unwrap_err();
        let text = crate::chain(&error);
        assert!(text.starts_with("submodule apps/lib: "), "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(!format!("{text} {error:?}").contains("s3cret"), "{error:?}");
        // Other requests are not affected.
        fetch(&cache, remote.request(branch("main"))).await;
    }
    let missing = Oid::from_str(&"2".repeat(40)).unwrap();
    name(&remote, "../library.git", missing);
    let error = cache.fetch(recursive(&remote)).await.unwrap_err();
    assert!(
        error.reason() == crate::api::Reason::RefNotFound
            && crate::chain(&error).starts_with("submodule apps/lib: http://"),
        "{error:?}"
    );

    // A submodule that `.gitmodules` does not name is an ordinary unfetched one.
    remote.commit(
        "main",
        &[
            (".gitmodules", NewEntry::File(b"")),
            ("apps/lib", NewEntry::Module(first)),
        ],
    );
    let snapshot = fetch(&cache, recursive(&remote)).await;
    assert_eq!(snapshot.listing("apps").unwrap().submodules, ["apps/lib"]);
    name(&remote, "../library.git", first);
    let snapshot = fetch(&cache, recursive(&remote)).await;
    assert_eq!(snapshot.listing("apps").unwrap().files.len(), 2);
    assert_eq!(generations(&folder), ["1"]);
}

#[tokio::test]
async fn nested_submodules_have_a_limit() {
    let remote = Remote::start().await;
    let deep = remote.beside("deep");
    let mut inner = lib(&deep, "x.yaml", "x: 0\n");
    let modules = file(&[("m", "../deep.git")]);
    deep.config()
        .unwrap()
        .set_bool("uploadpack.allowReachableSHA1InWant", true)
        .unwrap();
    let entries = |inner| {
        [
            (".gitmodules", NewEntry::File(modules.as_bytes())),
            ("m", NewEntry::Module(inner)),
        ]
    };
    for _ in 0..5 {
        inner = commit(&deep, "main", &entries(inner));
    }
    let mut request = recursive(&remote);
    let (_folder, cache) = cache();
    remote.commit("main", &entries(inner));
    let error = cache.fetch(request.clone()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("submodule m/m/m/m/m/m: "),
        "{error}"
    );
    let parent = deep.find_commit(inner).unwrap().parent_id(0).unwrap();
    request.reference = branch("less");
    remote.commit("less", &entries(parent));
    let snapshot = fetch(&cache, request).await;
    assert_eq!(
        paths(&snapshot.listing("m/m/m/m/m").unwrap()),
        ["m/m/m/m/m/x.yaml"]
    );
}
