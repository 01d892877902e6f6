//! A clone on the disk of a person or of a CI job, and what it knows of commits. Nothing is fetched.

use std::path::Path;

use git2::{Oid, Repository};

use super::url::host_and_path;

/// A clone on disk.
pub struct LocalClone {
    repository: Repository,
    /// The hosts and paths of its remotes.
    remotes: Vec<(String, String)>,
}

impl LocalClone {
    /// The clone that a folder is in. None if it is in none, or if it cannot be opened: what it knows is a help, and no
    /// condition.
    pub fn around(folder: &Path) -> Option<Self> {
        let repository = Repository::discover(folder).ok()?;
        let names = repository.remotes().ok()?;
        let mut remotes = Vec::new();
        for name in names.iter() {
            let remote = repository.find_remote(name.ok().flatten()?);
            let url = remote
                .ok()
                .and_then(|remote| Some(remote.url().ok()?.to_owned()));
            remotes.extend(url.and_then(|url| place(&url)));
        }
        Some(Self {
            repository,
            remotes,
        })
    }

    /// Whether it is a clone of the repository with this URL, by any of its remotes.
    #[must_use]
    pub fn is_of(&self, url: &str) -> bool {
        place(url).is_some_and(|place| self.remotes.contains(&place))
    }

    /// Whether it has a commit, which may be shortened.
    #[must_use]
    pub fn has(&self, commit: &str) -> bool {
        self.find(commit).is_some()
    }

    /// Whether `older` is an ancestor of `newer`. None if the clone does not know.
    #[must_use]
    pub fn is_ancestor(&self, older: &str, newer: &str) -> Option<bool> {
        let (older, newer) = (self.find(older)?, self.find(newer)?);
        match self.repository.graph_descendant_of(newer, older) {
            Ok(true) => Some(true),
            // What a shallow clone does not have may lie between.
            Ok(false) if !self.repository.is_shallow() => Some(false),
            _ => None,
        }
    }

    fn find(&self, commit: &str) -> Option<Oid> {
        let found = self.repository.revparse_single(commit).ok()?;
        // A branch may have a name of hexadecimal digits.
        let id = found.peel_to_commit().ok()?.id();
        id.to_string().starts_with(commit).then_some(id)
    }
}

/// The host and the path of a URL, whatever its scheme and user are.
fn place(url: &str) -> Option<(String, String)> {
    let (host, path) = host_and_path(url)?;
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some((host, path.to_owned()))
}
