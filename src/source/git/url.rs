//! URLs of repositories, as keys of copies, and as what errors and messages may show.

use sha2::{Digest, Sha256};

use crate::source::error::Error;
use crate::text::redact_url;
use crate::url::RemoteUrl;

/// Parses the URL of a repository.
pub(super) fn parse(url: &str) -> Result<RemoteUrl, Error> {
    RemoteUrl::parse(url).ok_or_else(|| Error::InvalidUrl {
        url: redact_url(url),
    })
}

/// The name of the folder for `url`, fetched with or without its history. The name is equal for
/// URLs that differ only in the case of scheme and host, a default port, user information, or a
/// trailing `/` or `.git`.
pub(super) fn cache_key(url: &str, full_history: bool) -> String {
    let parsed = RemoteUrl::parse(url);
    let mut normalised = parsed.map_or_else(|| url.to_owned(), |url| url.normalised());
    if full_history {
        // The line break keeps the two apart: no URL has one.
        normalised.push_str("\nfull history");
    }
    hex::encode(Sha256::digest(normalised.as_bytes()))
}

/// The name of the folder for a copy that is kept apart from the one of the same URL that Syncs read.
pub(super) fn apart(cache_key: &str) -> String {
    hex::encode(Sha256::digest(format!("{cache_key}\napart").as_bytes()))
}

/// The host, in lower case and without a port, and the path of a repository's URL. None if the URL is not one of a
/// repository.
pub fn host_and_path(url: &str) -> Option<(String, String)> {
    Some(match RemoteUrl::parse(url)? {
        RemoteUrl::Http(url) => (url.address().host.clone(), url.uri().path().to_owned()),
        RemoteUrl::Ssh(url) => (url.address.host, url.path),
    })
}

/// The parts of `url` that may hold secrets: the user information, the query, and the query's
/// values.
pub(super) fn secrets(url: &str) -> impl Iterator<Item = &str> {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map(|(user, _)| user);
    let pairs = query.split('&');
    let values = pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    user.into_iter().chain([query]).chain(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_repository_share_a_key() {
        let url = "https://git.example/team/shop.git";
        let key = cache_key(url, false);
        assert_ne!(cache_key(url, true), key, "with its history it is another");
        for same in [
            "https://git.example/team/shop",
            "https://git.example/team/shop/",
            "https://git.example/team/shop.git/",
            "HTTPS://Git.Example:443/team/shop.git",
            "https://user:pass@git.example/team/shop.git",
        ] {
            assert_eq!(cache_key(same, false), key, "{same}");
        }
        for other in [
            "http://git.example/team/shop",
            "https://git.example/team/Shop",
            "https://git.example:8443/team/shop",
            "https://git.example/team/shop.github",
        ] {
            assert_ne!(cache_key(other, false), key, "{other}");
        }
    }

    #[test]
    fn a_repository_has_a_host_and_a_path() {
        for (url, host, path) in [
            (
                "https://u:p@Git.Example:8443/a/b.git?x=1",
                "git.example",
                "/a/b.git",
            ),
            ("ssh://git@git.example:2222/a/b", "git.example", "/a/b"),
            ("git@git.example:a/b.git", "git.example", "a/b.git"),
        ] {
            let found = host_and_path(url);
            assert_eq!(found, Some((host.to_owned(), path.to_owned())), "{url}");
        }
        assert_eq!(host_and_path("file:///srv/a"), None);
    }
}
