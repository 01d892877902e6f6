//! URLs of HTTP servers: the URLs of services, redirects, and the comparison of servers.

use std::fmt;

use ::http::Uri;
use ::http::uri::Scheme;

use super::address::Address;

/// `http://…` or `https://…`, parsed with the HTTP client's own type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    uri: Uri,
    tls: bool,
    address: Address,
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uri, f)
    }
}

impl HttpUrl {
    /// None if the text is not an absolute HTTP URL with a host.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let default_port = if tls { 443 } else { 80 };
        let address = Address::parse(uri.authority()?.as_str(), default_port)?;
        Some(Self { uri, tls, address })
    }

    /// The URL in the form that the HTTP client takes.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The server: its user information, if there is any, host and port.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// `host`, or `host:port` if the port is not that of the scheme. An IPv6 address has brackets.
    pub(crate) fn server(&self) -> String {
        self.address.server(if self.tls { 443 } else { 80 })
    }

    /// The same URL without user information.
    pub(crate) fn without_user(&self) -> Option<Self> {
        let authority = self.uri.authority()?.as_str();
        let server = authority
            .rsplit_once('@')
            .map_or(authority, |(_, server)| server);
        let path = self.uri.path_and_query()?;
        Self::parse(&format!("{}://{server}{path}", self.scheme()))
    }

    /// Whether the URL is `https`.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether the URL has a path below the root, so it can name a repository.
    pub(crate) fn has_path(&self) -> bool {
        self.uri.path().len() > 1
    }

    /// Whether both have the same scheme, host and port.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        let origin = |url: &Self| (url.tls, url.address.host.clone(), url.address.port);
        origin(self) == origin(other)
    }

    /// Equal for URLs of the same repository.
    pub(crate) fn normalised(&self) -> String {
        let path = self.uri.path().trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let query = self.uri.query().map(|query| format!("?{query}"));
        let query = query.unwrap_or_default();
        format!("{}://{}{path}{query}", self.scheme(), self.server())
    }

    /// The URL of a service of the repository. Keeps the repository's query.
    pub(crate) fn endpoint(&self, service: &str, query: &str) -> Option<Self> {
        let folder = self.uri.path().trim_end_matches('/');
        let own = self.uri.query().unwrap_or_default();
        let queries = [own, query].into_iter().filter(|query| !query.is_empty());
        self.at(&format!("{folder}/{service}"), queries)
    }

    /// The repository's URL, if this is the URL of a repository's first request.
    pub(crate) fn base(&self) -> Option<Self> {
        let folder = self.uri.path().strip_suffix("/info/refs")?;
        let query = self.uri.query().unwrap_or_default();
        let query = query.replace("service=git-upload-pack", "");
        let query = query.trim_end_matches('&');
        self.at(folder, Some(query).filter(|query| !query.is_empty()))
    }

    /// The URL that a redirect to `location` leads to (RFC 3986, section 5.2, without `..`, because
    /// no Git server sends it). None for a redirect to another protocol than HTTP, or from https to
    /// http.
    pub(crate) fn follow(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let authority = self.uri.authority()?;
        let target = if location.contains("://") && !location.starts_with('/') {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{}://{rest}", self.scheme())
        } else if location.starts_with('/') {
            format!("{}://{authority}{location}", self.scheme())
        } else {
            let path = self.uri.path();
            let folder = &path[..path.rfind('/').unwrap_or(0)];
            format!("{}://{authority}{folder}/{location}", self.scheme())
        };
        Self::parse(&target).filter(|next| next.tls || !self.tls)
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The URL of another path on the same server.
    fn at<'a>(&self, path: &str, queries: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let queries: Vec<&str> = queries.into_iter().collect();
        let mark = if queries.is_empty() { "" } else { "?" };
        let authority = self.uri.authority()?;
        let query = queries.join("&");
        Self::parse(&format!(
            "{}://{authority}{path}{mark}{query}",
            self.scheme()
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(url: &str) -> HttpUrl {
        HttpUrl::parse(url).unwrap()
    }

    fn same_origin(one: &str, other: &str) -> bool {
        HttpUrl::parse(other).is_some_and(|other| parse(one).same_origin(&other))
    }

    #[test]
    fn services_have_their_urls() {
        for (base, path, query, url) in [
            (
                "http://h/r.git",
                "git-upload-pack",
                "",
                "http://h/r.git/git-upload-pack",
            ),
            (
                "http://h/r/",
                "info/refs",
                "service=x",
                "http://h/r/info/refs?service=x",
            ),
            (
                "http://h/r?t=1",
                "info/refs",
                "service=x",
                "http://h/r/info/refs?t=1&service=x",
            ),
            (
                "http://h/r?t=1",
                "git-upload-pack",
                "",
                "http://h/r/git-upload-pack?t=1",
            ),
        ] {
            let endpoint = parse(base).endpoint(path, query).unwrap();
            assert_eq!(endpoint.to_string(), url);
        }
    }

    #[test]
    fn a_redirect_moves_the_base() {
        for (url, moved) in [
            (
                "https://i/s.git/info/refs?service=git-upload-pack",
                Some("https://i/s.git"),
            ),
            (
                "https://i/s/info/refs?t=1&service=git-upload-pack",
                Some("https://i/s?t=1"),
            ),
            ("https://i/login", None),
        ] {
            let base = parse(url).base();
            assert_eq!(base.map(|base| base.to_string()).as_deref(), moved);
        }
    }

    #[test]
    fn redirects_lead_where_the_rfc_says() {
        for (url, location, target) in [
            ("http://h/a/b?q", "http://i/c", Some("http://i/c")),
            ("http://h/a/b?q", "https://i/c?d#e", Some("https://i/c?d")),
            ("http://h:1/a/b?q", "/c?d", Some("http://h:1/c?d")),
            ("http://h/a/b?q=/x", "c", Some("http://h/a/c")),
            ("http://h", "c", Some("http://h/c")),
            ("https://h/a", "//i/c", Some("https://i/c")),
            (
                "https://h/a",
                "/x?to=http://i",
                Some("https://h/x?to=http://i"),
            ),
            ("https://h/a", "http://h/a", None),
            ("https://h/a", "file:///etc/passwd", None),
            ("https://h/a", "ssh://h/a", None),
            ("http://h/a", "http:///a", None),
        ] {
            let next = parse(url).follow(location).map(|next| next.to_string());
            assert_eq!(next.as_deref(), target, "{url} {location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for same in [
            "https://git.example/other",
            "HTTPS://GIT.example:443/r",
            "https://user@git.example",
            "https://git.example:/r",
        ] {
            assert!(same_origin("https://git.example/r", same), "{same}");
        }
        for other in [
            "http://git.example/r",
            "https://git.example:8443/r",
            "https://git.example.evil/r",
            "https://git.example@evil/r",
            "https://evil/?@git.example/r",
            "https://evil\\@git.example/r",
            "https://git.example:x/r",
        ] {
            assert!(!same_origin("https://git.example/r", other), "{other}");
        }
        assert!(same_origin("http://[::1]/r", "http://[::1]:80/"));
        assert!(!same_origin("http://[::1]/r", "http://[::1]:81/"));
    }
}
