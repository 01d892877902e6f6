//! URLs: which are allowed, which are the same repository, and how they are shown.

pub(super) mod http;
mod ssh;

use sha2::{Digest, Sha256};

use crate::source::error::Error;
use crate::text::redact_url;
pub(super) use ssh::SshUrl;

/// Who logs in over SSH where neither the Secret nor the URL says.
pub(super) const SSH_USER: &str = "git";

/// Refuses what is neither an HTTP nor an SSH URL; a local path or `file://` would read the
/// operator's own disk.
pub(super) fn check(url: &str) -> Result<(), Error> {
    let valid = split(url).is_some_and(|(scheme, authority, path)| {
        matches!(scheme.as_str(), "http" | "https")
            && !host_of(authority).is_empty()
            && path.len() > 1
            && !url.chars().any(|c| c.is_whitespace() || c.is_control())
    });
    if valid || is_ssh(url) {
        Ok(())
    } else {
        Err(Error::InvalidUrl {
            url: redact_url(url),
        })
    }
}

/// Whether `url` is reached over SSH: `ssh://…` or `user@host:path`.
pub(super) fn is_ssh(url: &str) -> bool {
    SshUrl::parse(url).is_some()
}

/// The name of the folder for `url`, fetched with or without its history: equal for URLs that differ
/// only in the case of scheme and host, a default port, user information, or a trailing `/` or
/// `.git`.
pub(super) fn cache_key(url: &str, full_history: bool) -> String {
    let mut normalised = match SshUrl::parse(url) {
        Some(address) => address.normalised(),
        None => normalised(url),
    };
    if full_history {
        // No URL has a line break.
        normalised.push_str("\nfull history");
    }
    hex::encode(Sha256::digest(normalised.as_bytes()))
}

fn normalised(url: &str) -> String {
    match split(url) {
        Some((scheme, authority, path)) => {
            let host = host_of(authority).to_ascii_lowercase();
            let default_port = if scheme == "https" { ":443" } else { ":80" };
            let host = host.strip_suffix(default_port).unwrap_or(&host);
            let path = path.trim_end_matches('/');
            let path = path.strip_suffix(".git").unwrap_or(path);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The parts of `url` in which secrets hide: the user information, the query and its values.
pub(super) fn secrets(url: &str) -> impl Iterator<Item = &str> {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map(|(user, _)| user);
    let pairs = query.split('&');
    let values = pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    user.into_iter().chain([query]).chain(values)
}

/// Scheme in lower case, authority, and the path from its `/`.
fn split(url: &str) -> Option<(String, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme.to_ascii_lowercase(), authority, path))
}

fn host_of(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
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
    fn only_http_and_ssh_urls_are_allowed() {
        for good in [
            "https://h/p",
            "http://h:80/p.git",
            "HTTPS://h/p",
            "ssh://h/p",
            "git@h:p",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h/p",
            "/etc",
            "file:///etc",
            "ssh://u:p@h/p",
            "ext::sh",
            "https://",
            "https://h",
            "https://h/",
            "https:///p",
            "https://u@/p",
            "https://h/p q",
            "https://h/p\n",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
