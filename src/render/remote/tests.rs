use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn urls_are_read_as_kustomize_reads_them() {
    let github = "https://github.com/org/repo";
    for (reference, url, path) in [
        ("https://github.com/org/repo//a/b?ref=v1", github, "a/b"),
        ("https://github.com/org/repo/a/b/?ref=v1", github, "a/b"),
        ("https://github.com/org/repo?ref=v1", github, ""),
        ("github.com/org/repo/a?ref=v1", github, "a"),
        ("git::https://github.com/org/repo?ref=v1", github, ""),
        ("https://me@github.com/org/repo//a?ref=v1", github, "a"),
        (
            "https://github.com/org/repo.git/a?ref=v1",
            "https://github.com/org/repo.git",
            "a",
        ),
        (
            "https://github.com/org/repo.git//a?ref=v1",
            "https://github.com/org/repo.git",
            "a",
        ),
        (
            "https://github.com/org/.github/a?ref=v1",
            "https://github.com/org/.github",
            "a",
        ),
        (
            "GitHub.com/org/repo//a?version=v1",
            "https://GitHub.com/org/repo",
            "a",
        ),
        (
            "git@github.com:org/repo.git/a?ref=v1",
            "git@github.com:org/repo.git",
            "a",
        ),
        (
            "git@github.com/org/repo//a?ref=v1",
            "git@github.com:org/repo",
            "a",
        ),
        (
            "ssh://git@github.com/org/repo//a?ref=v1",
            "git@github.com:org/repo",
            "a",
        ),
        (
            "ssh://github.com/org/repo//a?ref=v1",
            "git@github.com:org/repo",
            "a",
        ),
        (
            "ssh://git@h:2222/t/r.git//a?ref=v1",
            "ssh://git@h:2222/t/r.git",
            "a",
        ),
        ("https://github.com:443/org/repo//a?ref=v1", github, "a"),
        (
            "ssh://git@github.com:22/org/repo//a?ref=v1",
            "git@github.com:org/repo",
            "a",
        ),
        (
            "ssh://git@github.com:org/repo//a?ref=v1",
            "git@github.com:org/repo",
            "a",
        ),
        (
            "https://[::1]:8443/t/r//a?ref=v1",
            "https://[::1]:8443/t/r",
            "a",
        ),
        ("git@[::1]:t/r//a?ref=v1", "git@[::1]:t/r", "a"),
        ("ssh://a_b@h/t/r//a?ref=v1", "ssh://a_b@h/t/r", "a"),
        ("git@h:g/s/r.git//a?ref=v1", "git@h:g/s/r.git", "a"),
        ("https://h/g/s/r//a?ref=v1", "https://h/g/s/r", "a"),
        ("https://h/g/s/r.git?ref=v1", "https://h/g/s/r.git", ""),
        (
            "https://h:8443/r//a?timeout=90s&ref=v1",
            "https://h:8443/r",
            "a",
        ),
        (
            "http://127.0.0.1:80/r.git//./a/../b?ref=v1",
            "http://127.0.0.1:80/r.git",
            "b",
        ),
        (
            "https://me@dev.azure.com/org/proj/_git/repo/a/b?ref=v1",
            "https://dev.azure.com/org/proj/_git/repo",
            "a/b",
        ),
        (
            "https://raw.githubusercontent.com/org/repo/v1/a/b.yaml",
            github,
            "a/b.yaml",
        ),
        (
            "https://raw.githubusercontent.com/org/repo/refs/tags/v1/b.yaml",
            github,
            "b.yaml",
        ),
        ("https://github.com/org/repo/raw/v1/b.yml", github, "b.yml"),
        (
            "https://h/g/s/r/-/raw/v1/a/b.yaml?inline=false",
            "https://h/g/s/r",
            "a/b.yaml",
        ),
    ] {
        let found = remote(reference).unwrap().unwrap();
        assert_eq!((&*found.base.url, &*found.path), (url, path), "{reference}");
        assert_eq!(found.base.pin, Pin::Tag("v1".to_owned()), "{reference}");
    }
    for local in [
        "",
        "base",
        "../base",
        "./a.yaml",
        "/repository/a",
        "a@b.yaml",
        "a@b/c.yaml",
        "a:b.yaml",
        "gitlab.com/org/repo",
        "github.company/org/repo",
        "apps@v1/web:2",
        "kind: ConfigMap\nurl: https://github.com/org/repo",
    ] {
        assert_eq!(remote(local), None, "{local}");
    }
}

#[test]
fn a_base_is_pinned_to_a_tag_or_a_whole_commit() {
    let pin = |name: &str| {
        let found = remote(&format!("https://h/org/repo?ref={name}")).unwrap();
        found.map(|found| found.base.pin)
    };
    let commit = Pin::Commit(COMMIT.to_owned());
    assert_eq!(pin(COMMIT), Ok(commit.clone()));
    assert_eq!(pin(&COMMIT.to_uppercase()), Ok(commit));
    for (name, tag) in [
        ("v1.2.3", "v1.2.3"),
        ("refs/tags/v1", "v1"),
        ("kustomize%2Fv5.0.0", "kustomize/v5.0.0"),
        ("kustomize/v5.0.0", "kustomize/v5.0.0"),
        // Whether a tag has this name, only the server knows.
        ("20240131", "20240131"),
        (&COMMIT[..7], &COMMIT[..7]),
    ] {
        assert_eq!(pin(name), Ok(Pin::Tag(tag.to_owned())), "{name}");
    }
    for moving in ["HEAD", "refs/heads/main", "refs/pull/7/head"] {
        assert!(
            matches!(pin(moving), Err(RemoteError::Moving(_))),
            "{moving}"
        );
    }
    assert_eq!(pin(""), Err(RemoteError::Unpinned));
    for bad in ["a%20b", "a/../b", "../b", "a//b", "a%0Ab"] {
        assert_eq!(pin(bad), Err(RemoteError::NoRepository), "{bad}");
    }
}

#[test]
fn what_cannot_be_pinned_says_what_to_do() {
    for (reference, why) in [
        ("https://github.com/org/repo//a", RemoteError::Unpinned),
        (
            "https://github.com/org/repo?timeout=9s",
            RemoteError::Unpinned,
        ),
        ("git@github.com:org/repo", RemoteError::Unpinned),
        (
            "https://github.com/org/repo/releases/download/v1/a.yaml",
            RemoteError::File,
        ),
        ("https://h/some/a.YAML", RemoteError::File),
        (
            "https://raw.githubusercontent.com/org/repo/refs/heads/main/a.yaml",
            RemoteError::Moving("branch main".to_owned()),
        ),
        ("file:///srv/repo?ref=v1", RemoteError::Disk),
        ("file://srv/repo?ref=v1", RemoteError::Disk),
        (
            "https://a:hunter2@h/org/repo?ref=v1",
            RemoteError::Credentials,
        ),
        (
            "ssh://a:hunter2@h/org/repo?ref=v1",
            RemoteError::Credentials,
        ),
        ("a:hunter2@h:org/repo?ref=v1", RemoteError::Credentials),
        ("a:hunter2@github.com:org/repo", RemoteError::Credentials),
        ("git://h/org/repo?ref=v1", RemoteError::Scheme),
        ("git+ssh://git@h/org/repo?ref=v1", RemoteError::Scheme),
        ("s3::https://h/org/repo?ref=v1", RemoteError::Scheme),
        ("oci://h/org/repo?ref=v1", RemoteError::Scheme),
        ("https://h?ref=v1", RemoteError::NoRepository),
        ("https:///org/repo?ref=v1", RemoteError::NoRepository),
        ("https://h/repo?ref=v1", RemoteError::NoRepository),
        ("https://h/a/../b//c?ref=v1", RemoteError::NoRepository),
        ("https://h/org/repo//../x?ref=v1", RemoteError::Leaves),
    ] {
        assert_eq!(remote(reference), Some(Err(why)), "{reference}");
    }
}

#[test]
fn a_long_url_is_refused_and_a_long_path_is_none() {
    let long = "a".repeat(MAX_URL);
    let url = format!("https://h/org/repo//{long}?ref=v1");
    assert_eq!(remote(&url), Some(Err(RemoteError::TooLong)));
    assert_eq!(remote(&long), None);
}

#[test]
fn each_base_has_a_folder_of_its_own() {
    let base = |reference: &str| remote(reference).unwrap().unwrap().base;
    let all = [
        "https://h/a/b?ref=v1",
        "http://h/a/b?ref=v1",
        "ssh://h/a/b?ref=v1",
        "git@h:a/b?ref=v1",
        "https://h/a/b?ref=v2",
        "https://h/a/c?ref=v1",
        "https://h/a/b?ref=v1&submodules=true",
        "https://h/a/b?ref=v1%2B2",
        "https://h/a/b?ref=v1%26submodules%3Dtrue",
        "https://h/a/b?ref=v1%25",
        "https://h/a/_git/b?ref=%D0%B2%231",
        "https://[::1]_git/a/b//c?ref=v1",
    ]
    .map(base);
    assert_eq!(all[0].folder(), "remote base h/a/b at v1");
    let folders: std::collections::HashSet<_> = all.iter().map(RemoteBase::folder).collect();
    assert_eq!(folders.len(), all.len());
    for base in &all {
        let inside = format!("{}/deep/er", base.folder());
        assert_eq!(RemoteBase::around(&inside, all.iter()), Some(base));
        assert_eq!(RemoteBase::named(&base.named_url()).as_ref(), Some(base));
    }
    assert_eq!(RemoteBase::around("apps/prod", all.iter()), None);
    assert_eq!(all[0].to_string(), "https://h/a/b at v1");
}
