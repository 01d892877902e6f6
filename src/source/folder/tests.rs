use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;
use crate::content::ReadFault;

/// Files by path; a content that begins with `->` makes a link.
fn folder(files: &[(&str, &str)]) -> (TempDir, Folder) {
    let root = TempDir::new().unwrap();
    for (path, content) in files {
        write(root.path(), path, content);
    }
    let opened = Folder::open(root.path(), 100, 100).unwrap();
    (root, opened)
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match content.strip_prefix("->") {
        Some(target) => symlink(target, path).unwrap(),
        None => fs::write(path, content).unwrap(),
    }
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| &*file.path).collect()
}

#[test]
fn paths_and_links_are_those_of_git() {
    let (root, tree) = folder(&[
        ("plain/a.yaml", "a"),
        ("plain/sub/b.yaml", "b"),
        ("plain/.git/config", "x"),
        ("plain/sub/.git", "gitdir: x"),
        (".towlineignore", "x"),
        ("file/link.yaml", "->../plain/a.yaml"),
        ("folder/all", "->../plain/./sub/"),
        ("current", "->plain"),
        ("outside/l", "->../../etc/passwd"),
        ("absolute/l", "->/etc/passwd"),
        ("dangling/l", "->../nothing"),
        ("internal/l", "->../plain/.git/config"),
        ("loop/a", "->b"),
        ("loop/b", "->a"),
        ("up/l", "->.."),
    ]);
    let _socket = UnixListener::bind(root.path().join("plain/socket")).unwrap();
    for (path, files, self_contained) in [
        ("plain", &["plain/a.yaml", "plain/sub/b.yaml"][..], true),
        ("./plain//sub/", &["plain/sub/b.yaml"], true),
        ("plain/a.yaml", &["plain/a.yaml"], true),
        ("current/sub", &["current/sub/b.yaml"], true),
        ("file", &["file/link.yaml"], false),
        ("folder", &["folder/all/b.yaml"], false),
    ] {
        let listing = tree.list(path).unwrap();
        assert_eq!(paths(&listing), files, "{path}");
        assert_eq!(listing.self_contained, self_contained, "{path}");
        assert_eq!(&*listing.above[0].path, ".towlineignore");
        let same = listing.key.0 == tree.identity(path).unwrap().0;
        assert_eq!(same, self_contained, "{path}");
    }
    let file = &tree.list("file").unwrap().files[0];
    assert_eq!(tree.read(file.blob).unwrap(), b"a");
    for (path, fault, message) in [
        ("../x", ReadFault::InvalidPath, "leaves"),
        ("/etc", ReadFault::InvalidPath, "leaves"),
        ("a\0b", ReadFault::InvalidPath, "NUL"),
        ("nothing/x", ReadFault::PathNotFound, "is not in"),
        ("plain/socket", ReadFault::PathNotFound, "is not in"),
        ("plain/.git", ReadFault::PathNotFound, "is not in"),
        ("plain/a.yaml/b", ReadFault::PathNotFound, "is a file"),
        ("outside", ReadFault::Unusable, "outside/l leaves"),
        ("absolute", ReadFault::Unusable, "absolute/l leaves"),
        ("dangling", ReadFault::Unusable, "points at ../nothing"),
        ("internal", ReadFault::Unusable, "points at ../plain/.git"),
        ("loop", ReadFault::Unusable, "part of a loop"),
        ("up", ReadFault::Unusable, "part of a loop"),
    ] {
        let error = tree.list(path).unwrap_err();
        assert_eq!(error.fault(), fault, "{path}: {error}");
        assert!(error.to_string().contains(message), "{path}: {error}");
    }
}

#[test]
fn an_identity_is_that_of_the_content() {
    let files = [("a/x.yaml", "x"), ("a/l", "->x.yaml"), ("b/y.yaml", "y")];
    let (root, tree) = folder(&files);
    let (_other, same) = folder(&files);
    let identity = tree.identity("a").unwrap();
    assert_eq!(same.identity("a").unwrap(), identity);
    let key = tree.list("a").unwrap().key;
    write(root.path(), "b/y.yaml", "other");
    assert_eq!(tree.identity("a").unwrap(), identity);
    write(root.path(), ".towlineignore", "x");
    assert_ne!(
        tree.identity("a").unwrap(),
        identity,
        "an ignore file above"
    );
    assert_ne!(tree.list("a").unwrap().key, key);
    fs::remove_file(root.path().join(".towlineignore")).unwrap();
    for (path, content) in [("a/x.yaml", "other"), ("a/new", "n"), ("a/deep/z", "z")] {
        let before = tree.identity("a").unwrap();
        write(root.path(), path, content);
        assert_ne!(tree.identity("a").unwrap(), before, "{path}");
    }
}

#[test]
fn files_over_a_limit_or_changed_during_a_read_are_refused() {
    let (root, tree) = folder(&[("large", &"x".repeat(101)), ("small", "x")]);
    let listing = tree.list("").unwrap();
    let [large, small] = [0, 1].map(|at| listing.files[at].blob);
    let error = tree.read(large).unwrap_err();
    assert_eq!(error.fault(), ReadFault::TooLarge);
    assert!(error.to_string().starts_with("large has 101 bytes"));
    write(root.path(), "small", "y");
    let error = tree.read(small).unwrap_err();
    assert_eq!(error.fault(), ReadFault::Damaged);
    assert_eq!(error.to_string(), "small changed while it was read");
    let unlisted = BlobId(ObjectId::new(&[7; 32]));
    assert_eq!(tree.read(unlisted).unwrap_err().fault(), ReadFault::Damaged);
    for number in 0..99 {
        write(root.path(), &format!("many/{number}"), "");
    }
    for error in [tree.list("").unwrap_err(), tree.identity("").unwrap_err()] {
        assert_eq!(error.fault(), ReadFault::TooLarge, "{error}");
    }
    write(root.path(), &format!("{}z", "d/".repeat(MAX_DEPTH + 1)), "");
    for error in [tree.list("d").unwrap_err(), tree.identity("d").unwrap_err()] {
        assert_eq!(error.fault(), ReadFault::TooLarge, "{error}");
    }
}

#[test]
fn a_path_that_is_not_a_folder_is_named() {
    let (root, _) = folder(&[("file", "x")]);
    let open = |path: &str| Folder::open(&root.path().join(path), 1, 1).unwrap_err();
    let error = open("file");
    assert!(error.to_string().ends_with("/file is not a folder"));
    let error = crate::chain(&open("nothing"));
    assert!(error.contains("/nothing: No such file"), "{error}");
}
