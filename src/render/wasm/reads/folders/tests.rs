use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use towline_testing::random::Random;

use super::*;
use crate::source::Folder;

/// A path of up to three names.
fn path(numbers: &mut Random) -> String {
    let names = (0..=numbers.below(3)).map(|_| *numbers.pick(&["a", "b", "c"]).unwrap());
    names.collect::<Vec<_>>().join("/")
}

/// Makes, changes or removes something.
fn change(numbers: &mut Random, root: &Path) {
    let path = root.join(self::path(numbers));
    match numbers.below(8) {
        0 => drop(fs::remove_file(&path)),
        1 => drop(fs::remove_dir_all(&path)),
        2 => {
            let up = numbers.pick(&["", "../", "../../"]).unwrap();
            drop(symlink(format!("{up}{}", self::path(numbers)), &path));
        }
        _ => {
            let parent = path.parent().unwrap();
            if fs::create_dir_all(parent).is_ok() {
                drop(fs::write(&path, numbers.below(3).to_string()));
            }
        }
    }
}

fn tree(files: &[&str]) -> (tempfile::TempDir, Folder) {
    let disk = tempfile::tempdir().unwrap();
    for file in files {
        let path = disk.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.split_once(" -> ") {
            Some((link, target)) => symlink(target, disk.path().join(link)).unwrap(),
            None if file.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, file).unwrap(),
        }
    }
    let folder = Folder::open(disk.path(), 1 << 20, 1_000).unwrap();
    (disk, folder)
}

#[test]
fn a_render_stays_in_the_folders_of_what_it_looked_at() {
    let files = [
        "base/a.yaml",
        "base/b/c.yaml",
        "overlays/x/k.yaml",
        "top.yaml",
    ];
    let whole: &[&str] = &["overlays/x"];
    for (what, links, places, listed, expected) in [
        (
            "files",
            &[][..],
            &["overlays/x/k.yaml"][..],
            &[][..],
            Some(whole),
        ),
        (
            "two folders",
            &[],
            &["base/a.yaml", "overlays/x/k.yaml"],
            &[],
            Some(&["base", "overlays/x"]),
        ),
        (
            "one in another",
            &[],
            &["base/b/c.yaml", "base/a.yaml"],
            &[],
            Some(&["base", "overlays/x"]),
        ),
        (
            "folders on the way",
            &[],
            &["base", "overlays", "base/b/c.yaml"],
            &[],
            Some(&["base/b", "overlays/x"]),
        ),
        (
            "only a folder",
            &[],
            &["base"],
            &[],
            Some(&["base", "overlays/x"]),
        ),
        (
            "absent in it",
            &[],
            &["overlays/x/K.yaml"],
            &[],
            Some(whole),
        ),
        (
            "absent beside it",
            &[],
            &["overlays/y/k.yaml"],
            &[],
            Some(&["overlays"]),
        ),
        ("absent at the top", &[], &["y"], &[], None),
        ("a file at the top", &[], &["top.yaml"], &[], None),
        ("behind a file", &[], &["base/a.yaml/x"], &[], None),
        ("listed", &[], &[], &["base"], Some(&["base", "overlays/x"])),
        ("a listed file", &[], &[], &["base/a.yaml"], None),
        ("a link", &["base/l -> a.yaml"], &["base/l"], &[], None),
        (
            "a link beside it",
            &["base/l -> ../top.yaml"],
            &["base/a.yaml"],
            &[],
            Some(&["base", "overlays/x"]),
        ),
        (
            "a link in a list",
            &["base/l -> ../top.yaml"],
            &[],
            &["base"],
            None,
        ),
        (
            "an empty folder behind a link",
            &["base/l -> ../empty", "empty/"],
            &["base/a.yaml"],
            &["base/l"],
            None,
        ),
        (
            "a link to nowhere",
            &["base/l -> ../later.yaml"],
            &["base/l"],
            &[],
            None,
        ),
        (
            "behind a link to nowhere",
            &["base/l -> ../later"],
            &["base/l/x"],
            &[],
            None,
        ),
    ] {
        let all: Vec<&str> = files.iter().chain(links).copied().collect();
        let (_disk, tree) = tree(&all);
        let mut reads = Reads::default();
        for path in places {
            drop(reads.record(&tree, path));
        }
        for path in listed {
            drop(reads.record_names(&tree, path));
        }
        let folders = reads.folders(&tree, "./overlays/x/");
        let expected = expected.map(|all| all.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(folders, expected, "{what}");
        assert_eq!(reads.folders(&tree, "."), None, "{what}: the root");
    }
}

#[test]
fn where_no_folder_differs_no_answer_does() {
    let (mut known, mut unknown) = (0, 0);
    for seed in 0..400 {
        let mut numbers = Random::of(seed);
        let disk = tempfile::tempdir().unwrap();
        let open = || Folder::open(disk.path(), 1 << 20, 1_000).unwrap();
        for _ in 0..30 {
            change(&mut numbers, disk.path());
        }
        let before = open();
        let mut reads = Reads::default();
        let mut path = self::path(&mut numbers);
        for _ in 0..numbers.below(6) {
            match numbers.below(3) {
                0 => drop(reads.record_names(&before, &path)),
                _ => drop(reads.record(&before, &path)),
            }
            path = self::path(&mut numbers);
        }
        let Some(folders) = reads.folders(&before, &path) else {
            continue;
        };
        let identities = |tree: &Folder| -> Vec<_> {
            let all = folders.iter();
            all.map(|folder| tree.identity(folder).ok()).collect()
        };
        let first = identities(&before);
        assert!(first.iter().all(Option::is_some), "{seed}: {folders:?}");
        for _ in 0..20 {
            change(&mut numbers, disk.path());
            let after = open();
            match identities(&after) == first {
                true => {
                    assert!(
                        reads.unchanged_in(&after).unwrap(),
                        "{seed}: {reads:?} in {folders:?}"
                    );
                    known += 1;
                }
                false => unknown += 1,
            }
        }
    }
    assert!(known > 300 && unknown > 300, "{known} known, {unknown} not");
}
