//! Redacts texts: removes user, password, query and fragment of URLs, and values that are secret.

/// `url` without user, password, query and fragment. Takes `scheme://…` and `user@host:path`.
pub fn redact_url(url: &str) -> String {
    match url.split_once("://") {
        // The path may hold another URL.
        Some((scheme, rest)) => format!("{scheme}://{}", redact(end(after_login(rest)))),
        None => end(after_scp_login(url)).to_owned(),
    }
}

/// Redacts every URL in `text`, such as a libgit2 error, with the rules of [`redact_url`].
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let scheme = rest[..at].trim_end_matches(is_scheme).len();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = rest[at..].find(is_end).map_or(rest.len(), |end| at + end);
        let word = &rest[scheme..end];
        // The sentence's own punctuation.
        let url = word.trim_end_matches([',', ';', '.', ':', ')', ']']);
        out.push_str(&rest[..scheme]);
        out.push_str(&redact_url(url));
        out.push_str(&word[url.len()..]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// `rest` up to its query or fragment.
fn end(rest: &str) -> &str {
    &rest[..rest.find(['?', '#']).unwrap_or(rest.len())]
}

/// The text after `://`, a user and a password. A password that is not escaped may hold `/`, `?`,
/// `#` and `@`.
fn after_login(rest: &str) -> &str {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let is_host = port.is_none_or(|port| port.ends_with(']') || is_number(port));
    if !authority.contains('@') && is_host {
        return rest;
    }
    let Some((login, rest)) = rest.split_once('@') else {
        return rest;
    };
    // With a password, the login ends at the last `@`, because everything before it may be the
    // password. Without a password, a later `@` after the host belongs to the path.
    let ends = match login.contains(':') {
        true => end(rest),
        false => &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())],
    };
    ends.rfind('@').map_or(rest, |at| &rest[at + 1..])
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text after the user and password of `user@host:path`.
fn after_scp_login(url: &str) -> &str {
    let mut kept = url;
    for (at, _) in url.match_indices('@') {
        let before = &url[url.len() - kept.len()..at];
        // An `@` after `host:path/` belongs to the path.
        if before.contains(['/', '?', '#']) && kept.len() < url.len() {
            break;
        }
        kept = &url[at + 1..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secret_parts() {
        for (from, to) in [
            ("https://host/a/b.git", "https://host/a/b.git"),
            ("https://user:pw@host:8443/a", "https://host:8443/a"),
            ("https://token@host/a?x=secret#y", "https://host/a"),
            ("https://token@host/a@b", "https://host/a@b"),
            ("https://tok@en@host/a", "https://host/a"),
            ("https://host/@scope/a", "https://host/@scope/a"),
            ("https://host:80/a@b/c", "https://host:80/a@b/c"),
            ("https://[::1]/a@b", "https://[::1]/a@b"),
            ("https://user:p/w@host/a", "https://host/a"),
            ("https://user:p@w@host/a", "https://host/a"),
            ("https://user:p?w@host/a", "https://host/a"),
            ("https://user:p#w@host/a", "https://host/a"),
            ("https://u:p@ss/w@h/x?token=1#f", "https://h/x"),
            ("https://h/http://u:p@i/x", "https://h/http://i/x"),
            ("ssh://git@host:22/a", "ssh://host:22/a"),
            ("ssh://u:p@h:1/r", "ssh://h:1/r"),
            ("git@host:team/a.git", "host:team/a.git"),
            ("user:pw@host:a.git", "host:a.git"),
            ("git@host:team/a@b.git", "host:team/a@b.git"),
            ("git@h:t/r.git", "h:t/r.git"),
            ("", ""),
        ] {
            assert_eq!(redact_url(from), to, "{from}");
        }
    }

    #[test]
    fn urls_in_a_text_lose_their_user() {
        for (text, shown) in [
            (
                "failed to resolve 'https://u:p@host/a': no; see (ssh://git@h/b), é://x@y and https://t@z.",
                "failed to resolve 'https://host/a': no; see (ssh://h/b), é://y and https://z.",
            ),
            (
                "failed 'https://u:p@h/x?k=v' and http://t@i/y.",
                "failed 'https://h/x' and http://i/y.",
            ),
            ("https://u:p@ss/w@h/x?token=1#f", "https://h/x"),
            ("no '//u:p@h' url", "no '//u:p@h' url"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
