//! What a clone on disk knows of commits.

use std::process::Command;

use tempfile::TempDir;

use super::*;

/// Runs git in a folder, and returns what it says.
fn git(folder: &std::path::Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(folder: &std::path::Path, subject: &str) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@example"];
    let what = ["commit", "-q", "--allow-empty", "-m", subject];
    git(folder, &[&who[..], &what].concat());
    git(folder, &["rev-parse", "HEAD"])
}

#[test]
fn a_clone_knows_which_commit_came_first() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    assert!(LocalClone::around(path).is_none());
    git(path, &["init", "-q", "-b", "main"]);
    let [first, second, third] = ["one", "two", "three"].map(|subject| commit(path, subject));
    git(path, &["checkout", "-q", "-b", "side", &first]);
    let side = commit(path, "side");
    // Names of branches are no commits.
    git(path, &["branch", "eeeeeeeee", &first]);
    git(
        path,
        &["remote", "add", "origin", "git@git.example:team/shop.git"],
    );
    let below = path.join("below");
    std::fs::create_dir(&below).unwrap();
    let clone = LocalClone::around(&below).unwrap();
    assert!(clone.has(&first) && clone.has(&second[..9]) && !clone.has("eeeeeeeee"));
    for (older, newer, is) in [
        (&*first, &*third, Some(true)),
        (&second[..9], &third, Some(true)),
        (&third, &first, Some(false)),
        (&third, &third, Some(false)),
        (&side, &third, Some(false)),
        (&"e".repeat(40), &third, None),
        (&first, &"e".repeat(40), None),
    ] {
        assert_eq!(clone.is_ancestor(older, newer), is, "{older} {newer}");
    }
    for (url, is) in [
        ("https://git.example/team/shop", true),
        ("https://ci:token@git.example/team/shop.git", true),
        ("https://git.example/team/other", false),
        ("/team/shop", false),
    ] {
        assert_eq!(clone.is_of(url), is, "{url}");
    }
    // A shallow clone does not know what it does not have.
    let shallow = TempDir::new().unwrap();
    let url = format!("file://{}", path.display());
    git(
        shallow.path(),
        &["clone", "-q", "--depth=1", "--branch=main", &url, "."],
    );
    let shallow = LocalClone::around(shallow.path()).unwrap();
    assert!(shallow.has(&third) && !shallow.has(&second));
    assert_eq!(shallow.is_ancestor(&second, &third), None);
}
