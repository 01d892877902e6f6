//! Where requests go: a service's URL, redirects, and whether two URLs are of one server.

/// The URL of a service of the repository at `base`, whose query, if any, is kept.
pub(in crate::source::git) fn endpoint(base: &str, path: &str, query: &str) -> String {
    let (folder, own) = base.split_once('?').unwrap_or((base, ""));
    let folder = folder.trim_end_matches('/');
    let queries: Vec<&str> = [own, query].into_iter().filter(|q| !q.is_empty()).collect();
    if queries.is_empty() {
        format!("{folder}/{path}")
    } else {
        format!("{folder}/{path}?{}", queries.join("&"))
    }
}

/// The repository whose first request ended up at `url`, if that is such a request.
pub(in crate::source::git) fn base(url: &str) -> Option<String> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let base = path.strip_suffix("/info/refs")?;
    let query = query.replace("service=git-upload-pack", "");
    let query = query.trim_end_matches('&');
    Some(match query {
        "" => base.to_owned(),
        _ => format!("{base}?{query}"),
    })
}

/// Where `location` leads from `url` (RFC 3986, section 5.2, without `..`, which no server of Git
/// sends). Nothing but HTTP is followed, and nothing from https to http.
pub(in crate::source::git) fn follow(url: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://")?;
    let target = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let path = rest.split('?').next().unwrap_or_default();
        let root = path.find('/').unwrap_or(path.len());
        let folder = path.rfind('/').map_or(path.len(), |end| end.max(root));
        match location.strip_prefix('/') {
            Some(path) => format!("{scheme}://{}/{path}", &rest[..root]),
            None => format!("{scheme}://{}/{location}", &path[..folder]),
        }
    };
    let (next, _, _) = origin(&target)?;
    match (scheme.eq_ignore_ascii_case("https"), next.as_str()) {
        (_, "https") | (false, "http") => Some(target),
        _ => None,
    }
}

/// Whether requests for both go to one server: equal scheme, host and port.
pub(in crate::source::git) fn same_origin(one: &str, other: &str) -> bool {
    let one = origin(one);
    one.is_some() && one == origin(other)
}

/// Scheme, host (both in lower case) and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let authority = authority.rsplit('@').next()?;
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, "")) => (host, default),
        // `[::1]` has colons and no port.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    (!host.is_empty()).then(|| (scheme, host.to_ascii_lowercase(), port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
            assert_eq!(endpoint(base, path, query), url);
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
            assert_eq!(base(url).as_deref(), moved);
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
            assert_eq!(follow(url, location).as_deref(), target, "{url} {location}");
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
