//! Paths, folders and symbolic links.

use super::*;

#[tokio::test]
async fn paths_and_links() {
    use NewEntry::{File, Link, Submodule};
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
        (
            "a\0b",
            "path a\\u{0}b has a NUL character (\\u{0}), which no name of a file can have",
        ),
        ("nothing/x", "path nothing/x is not in main@sha1:"),
        (
            "plain/a.yaml/b",
            "path plain/a.yaml/b is not a folder: plain/a.yaml is a file",
        ),
        (
            "modules/m",
            "path modules/m is not a folder: modules/m is a submodule, which is fetched only if \
             spec.recurseSubmodules of the GitRepository is true",
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
async fn the_target_of_a_link_is_part_of_the_key() {
    let remote = Remote::start().await;
    remote.commit(
        "main",
        &[
            ("app/l.yaml", NewEntry::Link("../base.yaml")),
            ("base.yaml", FILE),
        ],
    );
    let (_folder, cache) = cache();
    let one = fetch(&cache, remote.request(branch("main"))).await;
    remote.commit("main", &[("base.yaml", NewEntry::File(b"other"))]);
    let two = fetch(&cache, remote.request(branch("main"))).await;
    assert_eq!(one.tree_id("app").unwrap(), two.tree_id("app").unwrap());
    assert_ne!(
        one.listing("app").unwrap().key,
        two.listing("app").unwrap().key
    );
}

#[tokio::test]
async fn ignore_files_around_a_path_are_part_of_it() {
    let remote = Remote::start().await;
    let (_folder, cache) = cache();
    let content = async |entries: &[(&str, NewEntry<'_>)]| {
        remote.commit("main", entries);
        let snapshot = fetch(&cache, remote.request(branch("main"))).await;
        ["apps/prod", "apps", "prod", "apps/prod/a.yaml"].map(|path| {
            let listing = snapshot.listing(path).unwrap();
            let above: Vec<_> = listing.above.iter().map(|file| file.path.clone()).collect();
            (
                snapshot.tree_id(path).unwrap(),
                listing.key,
                above.join(" "),
            )
        })
    };
    let none = content(&[
        ("apps/prod/a.yaml", FILE),
        ("prod", NewEntry::Link("apps/prod")),
    ])
    .await;
    assert!(none.iter().all(|(_, _, above)| above.is_empty()));
    let root = content(&[(".towlineignore", FILE)]).await;
    for (before, after) in none.iter().zip(&root) {
        assert!(before.0 != after.0 && before.1 != after.1);
        assert_eq!(after.2, ".towlineignore");
    }
    let both = content(&[("apps/.towlineignore", FILE), ("b.yaml", FILE)]).await;
    let shown = both.clone().map(|(_, _, above)| above);
    let two = ".towlineignore apps/.towlineignore";
    // The folder's own file is in the listing. Files above it have the names of the requested path.
    assert_eq!(shown, [two, ".towlineignore", ".towlineignore", two]);
    assert_eq!(root[2], both[2], "the way through the link did not change");
    let same = content(&[("c.yaml", FILE)]).await;
    assert_eq!(both, same);
}
