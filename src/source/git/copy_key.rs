//! Where a copy of a repository is on disk, and who shares it.
//!
//! A copy is shared only by requests of one namespace, for one URL, on one route: the same proxy, and
//! the same authorities or host keys. A tenant that chooses the proxy or the authority can act as
//! the server. A server learns from a fetch which commits the copy has, and can claim to have any
//! commit. So such a fetch must not use a copy that another tenant filled.

use std::path::{Path, PathBuf};

/// The lengths of the two hexadecimal parts of a copy's folder.
const REPOSITORY: usize = 64;
const ROUTE: usize = 16;

/// Names one copy: `<namespace>/<repository>-<route>` below the cache's folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CopyKey {
    /// A namespace of Kubernetes, which is a valid name of a folder.
    pub(super) namespace: String,
    /// The digest of the URL, and of whether the full history is fetched.
    pub(super) repository: String,
    /// The digest of the proxy and of what vouches for the server.
    pub(super) route: String,
}

impl CopyKey {
    /// The folder of the copy.
    pub(super) fn folder(&self, cache: &Path) -> PathBuf {
        let Self {
            namespace,
            repository,
            route,
        } = self;
        namespace_folder(cache, namespace).join(format!("{repository}-{route}"))
    }

    /// Reads the name of a copy's folder. None if no [`CopyKey`] has this folder.
    pub(super) fn parse(namespace: &str, folder: &str) -> Option<Self> {
        let (repository, route) = folder.split_once('-')?;
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
        };
        (is_hex(repository, REPOSITORY) && is_hex(route, ROUTE)).then(|| Self {
            namespace: namespace.to_owned(),
            repository: repository.to_owned(),
            route: route.to_owned(),
        })
    }
}

/// The folder with all copies of a namespace. The name has a prefix, so that it is never a name that
/// earlier versions used for the copy of a URL.
fn namespace_folder(cache: &Path, namespace: &str) -> PathBuf {
    cache.join(format!("{PREFIX}{namespace}"))
}

const PREFIX: &str = "ns-";

/// The namespace of a folder in the cache. None for a folder that this version did not make.
pub(super) fn namespace_of(folder: &str) -> Option<&str> {
    folder.strip_prefix(PREFIX)
}

/// Whether an earlier version made the folder: it kept one copy for each URL, shared by all tenants.
pub(super) fn is_shared_copy(folder: &str) -> bool {
    folder.len() == REPOSITORY && folder.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_copy_names_it() {
        let key = CopyKey {
            namespace: "team-a".to_owned(),
            repository: "a".repeat(64),
            route: "b".repeat(16),
        };
        let folder = key.folder(Path::new("/cache"));
        let mut parts = folder.iter().rev().map(|part| part.to_str().unwrap());
        let (name, namespace) = (parts.next().unwrap(), parts.next().unwrap());
        let namespace = namespace_of(namespace).unwrap();
        assert_eq!(CopyKey::parse(namespace, name), Some(key));
        for other in [
            "1",
            "lost+found",
            &"a".repeat(64),
            &format!("{}-x", "a".repeat(64)),
        ] {
            assert_eq!(CopyKey::parse("team-a", other), None, "{other}");
        }
        assert!(is_shared_copy(&"a".repeat(64)));
        assert!(!is_shared_copy("ns-team-a"));
    }
}
