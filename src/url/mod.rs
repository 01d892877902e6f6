//! URLs of repositories and of other servers, read by one parser: that of the HTTP client. Pure.
//!
//! [`RemoteUrl`] says which server a text names. What only compares, links or redacts asks here too, so that no part of the
//! program takes another host from a URL than the one that is connected to.

mod address;
mod ssh;
mod web;

pub(crate) use address::Address;
pub(crate) use ssh::{SSH_USER, SshUrl, split_scp};
pub(crate) use web::HttpUrl;

/// The URL of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RemoteUrl {
    /// `http://…` or `https://…`.
    Http(HttpUrl),
    /// `ssh://…` or `user@host:path`.
    Ssh(SshUrl),
}

impl RemoteUrl {
    /// Parses a URL. None for everything except an HTTP or SSH URL with a path below the server's root. A local path or
    /// `file://` would read the operator's own disk.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let http = HttpUrl::parse(url).filter(HttpUrl::has_path);
        http.map(Self::Http)
            .or_else(|| SshUrl::parse(url).map(Self::Ssh))
    }

    /// Whether both have the same scheme, host and port.
    pub(crate) fn same_server(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(one), Self::Http(other)) => one.same_origin(other),
            (Self::Ssh(one), Self::Ssh(other)) => {
                (&one.address.host, one.address.port) == (&other.address.host, other.address.port)
            }
            (Self::Http(_), Self::Ssh(_)) | (Self::Ssh(_), Self::Http(_)) => false,
        }
    }

    /// Equal for URLs of the same repository.
    pub(crate) fn normalised(&self) -> String {
        match self {
            Self::Http(url) => url.normalised(),
            Self::Ssh(url) => url.normalised(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_and_ssh_urls_are_allowed() {
        for good in [
            "https://h/p",
            "http://h:80/p.git",
            "HTTPS://h/p",
            "ssh://h/p",
            "git@h:p",
        ] {
            assert!(RemoteUrl::parse(good).is_some(), "{good}");
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
            assert_eq!(RemoteUrl::parse(bad), None, "{bad}");
        }
    }
}
