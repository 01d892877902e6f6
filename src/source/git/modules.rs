//! Submodules: their list, their URLs, and the commits that may be read.
//!
//! A submodule is a tree entry that names a commit of another repository; `.gitmodules` has the
//! repository's URL. A submodule is fetched with the parent's credentials, and therefore only from
//! the parent's server. Its commit is part of the tree around it, so equal trees have equal
//! submodules.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use git2::{Config, Oid, Repository};

use super::entry::kind_of;
use crate::content::within;
use crate::source::error::Error;
use crate::source::path::{EntryKind, TreePath};
use crate::url::{HttpUrl, RemoteUrl};

/// The file that names submodules.
const FILE: &str = ".gitmodules";
/// The largest `.gitmodules` that is read, in bytes.
const MAX_FILE: usize = 1 << 20;
/// The most submodules in a revision, and how deep they may nest.
pub(super) const MAX_COUNT: usize = 100;
pub(super) const MAX_DEPTH: usize = 5;

/// The fetched submodules of a revision: the tree of each commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Modules {
    trees: HashMap<Oid, Oid>,
    /// The revision's `.gitmodules`. A subfolder's tree does not contain it.
    file: Option<Oid>,
}

/// A repository whose submodules are wanted.
#[derive(Debug)]
pub(super) struct Owner {
    /// The tree of its commit.
    pub(super) tree: Oid,
    pub(super) url: String,
    /// Its path in the revision. Empty for the root.
    pub(super) path: String,
    /// How many repositories are around it.
    pub(super) depth: usize,
}

/// A submodule to fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Its path in the revision.
    pub(super) path: String,
    pub(super) url: String,
    pub(super) commit: Oid,
}

impl Modules {
    /// The submodules of the revision with the tree `root`, before any is fetched.
    pub(super) fn of(repository: &Repository, root: Oid) -> Result<Self, Error> {
        let tree = repository.find_tree(root);
        let tree = tree.map_err(|error| Error::from_database(&error))?;
        let file = tree.get_name(FILE).map(|entry| entry.id());
        Ok(Self {
            trees: HashMap::new(),
            file,
        })
    }

    pub(super) fn add(&mut self, commit: Oid, tree: Oid) {
        self.trees.insert(commit, tree);
    }

    pub(super) fn len(&self) -> usize {
        self.trees.len()
    }

    /// The tree of a submodule's commit, if the commit was fetched.
    pub(super) fn tree(&self, commit: Oid) -> Option<Oid> {
        self.trees.get(&commit).copied()
    }

    /// The id of the `.gitmodules` file.
    pub(super) fn file(&self) -> Option<Oid> {
        self.file
    }
}

/// The submodules of `owner`. `scratch` is a folder for a temporary file, because libgit2 reads
/// configuration only from files.
///
/// # Errors
///
/// A submodule that may not be fetched, or a file that cannot be read.
pub(super) fn named(
    repository: &Repository,
    owner: &Owner,
    scratch: &Path,
) -> Result<Vec<Module>, Error> {
    let database = |error: git2::Error| Error::from_database(&error);
    let tree = repository.find_tree(owner.tree).map_err(database)?;
    let Some(entry) = tree.get_name(FILE) else {
        return Ok(Vec::new());
    };
    let shown = |path: &str| within(&owner.path, path);
    let unreadable = |problem| Error::Submodule {
        path: shown(FILE),
        problem,
    };
    if kind_of(entry.filemode_raw()) != EntryKind::File {
        return Err(unreadable("it is not a file"));
    }
    let odb = repository.odb().map_err(database)?;
    if odb.read_header(entry.id()).map_err(database)?.0 > MAX_FILE {
        return Err(unreadable("it is too large"));
    }
    let text = odb.read(entry.id()).map_err(database)?;
    let mut modules = Vec::new();
    for ModuleEntry { path, url } in parse(text.data(), scratch, unreadable)? {
        let Ok(parts) = TreePath::parse(&path) else {
            return Err(unreadable("a path in it leaves the repository"));
        };
        let path = parts.joined();
        if path.is_empty() {
            continue;
        }
        // Skips an entry whose path is no longer in the tree, as Git does.
        let Ok(entry) = tree.get_path(Path::new(&path)) else {
            continue;
        };
        if kind_of(entry.filemode_raw()) != EntryKind::Submodule {
            continue;
        }
        let path = shown(&path);
        let url = match resolve(&owner.url, &url) {
            Ok(url) => url,
            Err(problem) => return Err(Error::Submodule { path, problem }),
        };
        modules.push(Module {
            path,
            url,
            commit: entry.id(),
        });
    }
    Ok(modules)
}

/// One section of `.gitmodules`.
#[derive(Debug, PartialEq, Eq)]
struct ModuleEntry {
    path: String,
    url: String,
}

fn parse(
    text: &[u8],
    scratch: &Path,
    unreadable: impl Fn(&'static str) -> Error,
) -> Result<Vec<ModuleEntry>, Error> {
    if includes(text) {
        return Err(unreadable("it includes another file"));
    }
    let file = scratch.join("gitmodules");
    let written = fs::write(&file, text);
    let read = match written {
        Ok(()) => entries(&file).map_err(|_| unreadable("it is not valid")),
        Err(error) => Err(Error::from_io("read .gitmodules", &error)),
    };
    let _ = fs::remove_file(&file);
    read
}

/// Whether the file may have an `include` or `includeIf` section. libgit2 would follow it out of
/// the repository.
fn includes(text: &[u8]) -> bool {
    let is_include = |rest: &[u8]| {
        let rest = rest.trim_ascii_start();
        rest.len() >= 7 && rest[..7].eq_ignore_ascii_case(b"include")
    };
    let mut sections = text.split(|byte| *byte == b'[').skip(1);
    sections.any(is_include)
}

/// The path and URL of each submodule, in the order of the file. Skips a section without either.
fn entries(file: &Path) -> Result<Vec<ModuleEntry>, git2::Error> {
    let config = Config::open(file)?;
    let mut found: Vec<(Option<String>, Option<String>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let entries = config.entries(None)?;
    entries.for_each(|entry| {
        let (Ok(name), Ok(value)) = (entry.name(), entry.value()) else {
            return;
        };
        let Some((name, key)) = name
            .strip_prefix("submodule.")
            .and_then(|name| name.rsplit_once('.'))
        else {
            return;
        };
        let at = *places.entry(name.to_owned()).or_insert(found.len());
        if at == found.len() {
            found.push((None, None));
        }
        match key {
            "path" => found[at].0 = Some(value.to_owned()),
            "url" => found[at].1 = Some(value.to_owned()),
            _ => (),
        }
    })?;
    let found = found.into_iter();
    Ok(found
        .filter_map(|(path, url)| {
            Some(ModuleEntry {
                path: path?,
                url: url?,
            })
        })
        .collect())
}

/// The URL of a submodule of the repository at `parent`. A relative `url` starts at the parent
/// (gitmodules(5)). The error says what is wrong.
fn resolve(parent: &str, url: &str) -> Result<String, &'static str> {
    let url = match url.starts_with("./") || url.starts_with("../") {
        true => relative(parent, url).ok_or("its URL in .gitmodules leaves the server")?,
        false => without_user(url),
    };
    let Some(server) = RemoteUrl::parse(&url) else {
        return Err(
            "its URL in .gitmodules is neither that of an https, http or ssh server nor relative to \
             the repository's",
        );
    };
    // Both have the same scheme, host and port.
    match RemoteUrl::parse(parent).is_some_and(|parent| parent.same_server(&server)) {
        true => Ok(url),
        false => Err(
            "its URL in .gitmodules is on another server; only submodules with the scheme, host and \
             port of the repository itself are fetched, since they are shown its credentials",
        ),
    }
}

/// Drops the user from a submodule's URL: credentials come only from the Secret.
fn without_user(url: &str) -> String {
    let bare = HttpUrl::parse(url).and_then(|url| url.without_user());
    bare.map_or_else(|| url.to_owned(), |url| url.to_string())
}

/// Git's `relative_url`: each `../` removes one part of the parent. Git cuts the text of the parent, which may be
/// `user@host:path` and no URL, so this does the same; the result is parsed like every other URL.
fn relative(parent: &str, url: &str) -> Option<String> {
    let mut base = parent.trim_end_matches('/').to_owned();
    let mut rest = url;
    let mut separator = '/';
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            // `user@host:repository` has no `/` left.
            let cut = base.rfind('/').or_else(|| base.rfind(':'))?;
            separator = char::from(base.as_bytes()[cut]);
            base.truncate(cut);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    let rest = rest.trim_end_matches('/');
    (!rest.is_empty()).then(|| format!("{base}{separator}{rest}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Error> {
        let scratch = tempfile::TempDir::new().unwrap();
        let unreadable = |problem| Error::Submodule {
            path: FILE.to_owned(),
            problem,
        };
        let read = parse(text.as_bytes(), scratch.path(), unreadable)?;
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        let read = read.into_iter();
        Ok(read.map(|ModuleEntry { path, url }| (path, url)).collect())
    }

    #[test]
    fn the_file_is_read_as_git_reads_it() {
        let text = concat!(
            "# a comment\n[submodule \"a.b c\"]\n\tpath = libs/a\n\turl = ../a.git ; why\n",
            "[core]\n\tpath = x\n[submodule \"q\"]\nurl=\"https://h/q\"\nPATH = q\n",
            "\tbranch = main\n[submodule \"half\"]\n\tpath = half\n",
        );
        let wanted = [("libs/a", "../a.git"), ("q", "https://h/q")];
        let wanted = wanted.map(|(path, url)| (path.to_owned(), url.to_owned()));
        assert_eq!(read(text).unwrap(), wanted);
        assert_eq!(read("").unwrap(), []);
        for bad in [
            "[include]\n\tpath = /etc/passwd\n",
            "[core] [ INCLUDE ]\npath = x\n",
            "[includeIf \"gitdir:/\"]\n\tpath = x\n",
            "[submodule \"a\"\npath = x\n",
            "[submodule \"a\"]\n\t= x\n",
        ] {
            assert!(matches!(read(bad), Err(Error::Submodule { .. })), "{bad}");
        }
    }

    #[test]
    fn relative_urls_start_at_the_parent() {
        for (parent, url, wanted) in [
            ("https://h/t/r.git", "../s.git", "https://h/t/s.git"),
            ("https://h/t/r.git/", "../../u/s/", "https://h/u/s"),
            ("https://h/t/r", "./s", "https://h/t/r/s"),
            ("https://h/t/r", "./../s", "https://h/t/s"),
            ("ssh://git@h:22/t/r", "../s", "ssh://git@h:22/t/s"),
            ("git@h:t/r.git", "../s.git", "git@h:t/s.git"),
            ("git@h:r.git", "../s.git", "git@h:s.git"),
        ] {
            assert_eq!(
                resolve(parent, url).as_deref(),
                Ok(wanted),
                "{parent} {url}"
            );
        }
    }

    #[test]
    fn only_the_parents_server_is_asked() {
        for (parent, url, wanted) in [
            ("https://h/r", "https://H:443/s", "https://H:443/s"),
            ("https://h/r", "https://user:secret@h/s", "https://h/s"),
            ("git@h:r", "ssh://other@h/s", "ssh://other@h/s"),
            ("ssh://git@h:2222/r", "ssh://h:2222/s", "ssh://h:2222/s"),
        ] {
            assert_eq!(resolve(parent, url).as_deref(), Ok(wanted), "{url}");
        }
        for (parent, url) in [
            ("https://h/r", "https://i/s"),
            ("https://h/r", "http://h/s"),
            ("https://h/r", "https://h:8443/s"),
            ("https://h/r", "https://h@i/s"),
            ("https://h/r", "git@h:s"),
            ("https://h/r", "../../../i/s"),
            ("https://h/r", "../../../../../s"),
            ("https://h/r", "../"),
            ("https://h/r", "//i/s"),
            ("https://h/r", "s.git"),
            ("https://h/r", "/srv/s.git"),
            ("https://h/r", "file:///srv/s.git"),
            ("https://h/r", "ext::sh -c id"),
            ("https://h/r", "--upload-pack=id"),
            ("https://h/r", "git://h/s"),
            ("git@h:r", "git@h:-oProxyCommand=id"),
            ("git@h:r", "-oProxyCommand=id:s"),
            ("git@h:r", "git@i:s"),
            ("git@h:r", "../../s"),
            ("ssh://git@h:2222/r", "git@h:s"),
        ] {
            let refused = resolve(parent, url);
            assert!(refused.is_err(), "{parent} {url}: {refused:?}");
            assert!(!refused.unwrap_err().contains("secret"));
        }
    }
}
