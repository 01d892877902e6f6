//! URLs of repositories that are reached over SSH.

use super::address::Address;

/// The port of SSH.
const PORT: u16 = 22;

/// The user, if neither the Secret nor the URL has one.
pub(crate) const SSH_USER: &str = "git";

/// `ssh://[user@]host[:port]/path` or `[user@]host:path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshUrl {
    pub(crate) address: Address,
    /// The path that the server gets: absolute, or relative to the user's home.
    pub(crate) path: String,
}

impl SshUrl {
    /// Parses both forms. None if the URL has a password. None if the path begins with `-`, as in
    /// Git: the server's shell would take it as an option of `git-upload-pack`.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let (authority, path) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ssh") => {
                let (authority, path) = rest.split_at(rest.find('/')?);
                // Git's rule: `/~user/r` is below that user's home.
                let home = path.strip_prefix('/').filter(|path| path.starts_with('~'));
                (authority, home.unwrap_or(path))
            }
            Some(_) => return None,
            None => split_scp(url)?,
        };
        let address = Address::parse(authority, PORT)?;
        let user = address.user.as_deref();
        let is_user = user.is_none_or(|user| !user.is_empty() && !user.contains([':', '@']));
        let is_path = !matches!(path, "" | "/") && !path.starts_with(['-', ':']);
        (is_user && is_path).then(|| Self {
            path: path.to_owned(),
            address,
        })
    }

    /// The command for the server's shell. The path is quoted as Git quotes it, because some
    /// servers parse the line themselves.
    pub(crate) fn command(&self) -> String {
        let mut quoted = String::with_capacity(self.path.len() + 2);
        for c in self.path.chars() {
            match c {
                '\'' | '!' => quoted.extend(["'\\", c.encode_utf8(&mut [0; 4]), "'"]),
                c => quoted.push(c),
            }
        }
        format!("git-upload-pack '{quoted}'")
    }

    /// Equal for URLs of the same repository. Includes the user, because a path may be below the
    /// user's home.
    pub(crate) fn normalised(&self) -> String {
        let user = self.address.user.as_deref().unwrap_or(SSH_USER);
        let path = self.path.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let Address { host, port, .. } = &self.address;
        format!("ssh://{user}@{host}:{port}:{path}")
    }
}

/// Splits `[user@]host:path` into what is before and after the `:`. None for a text with a `/` before it, which is a local
/// path. The form is that of `scp` and no URL, so Git's rule is written here.
pub(crate) fn split_scp(url: &str) -> Option<(&str, &str)> {
    let colon = match url.find('[') {
        // `[::1]:path`
        Some(open) if !url[..open].contains(':') => url.find("]:")? + 1,
        _ => url.find(':')?,
    };
    let (authority, path) = (&url[..colon], &url[colon + 1..]);
    (!authority.contains('/')).then_some((authority, path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (url, user, host, port, path) in [
            ("ssh://git@h/t/r.git", Some("git"), "h", 22, "/t/r.git"),
            ("SSH://H:2222/t/r.git", None, "h", 2222, "/t/r.git"),
            ("ssh://u@h:/r", Some("u"), "h", 22, "/r"),
            ("ssh://u@h/~/r", Some("u"), "h", 22, "~/r"),
            ("ssh://u@[::1]:2222/r", Some("u"), "::1", 2222, "/r"),
            ("ssh://[::1]/r", None, "::1", 22, "/r"),
            ("git@h:t/r.git", Some("git"), "h", 22, "t/r.git"),
            ("git@h:/abs/r", Some("git"), "h", 22, "/abs/r"),
            ("h:r", None, "h", 22, "r"),
            ("u@[::1]:r", Some("u"), "::1", 22, "r"),
        ] {
            let SshUrl {
                address,
                path: read,
            } = SshUrl::parse(url).unwrap();
            assert_eq!(
                (
                    address.user.as_deref(),
                    &*address.host,
                    address.port,
                    &*read
                ),
                (user, host, port, path),
                "{url}"
            );
        }
        for bad in [
            "",
            "h",
            "/h:r",
            "./h:r",
            "ssh://h",
            "ssh://h/",
            "ssh:///r",
            "ssh://@h/r",
            "git@h:",
            "ssh://u:p@h/r",
            "ssh://h:0/r",
            "ssh://h:99999/r",
            "ssh://h:x/r",
            "https://h/r",
            "git@h:-x",
            "ext::sh",
            "git@h:a b",
            "u:p@h:r/x@y z",
            "@h:r",
        ] {
            assert_eq!(SshUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_path_stays_inside_its_quotes() {
        for (path, command) in [
            ("/t/r.git", "git-upload-pack '/t/r.git'"),
            ("it's", "git-upload-pack 'it'\\''s'"),
            ("a!b", "git-upload-pack 'a'\\!'b'"),
            ("';id;'", "git-upload-pack ''\\'';id;'\\'''"),
            ("$(id)`id`", "git-upload-pack '$(id)`id`'"),
        ] {
            let address = SshUrl {
                address: Address::parse("h", PORT).unwrap(),
                path: path.into(),
            };
            assert_eq!(address.command(), command);
        }
    }
}
