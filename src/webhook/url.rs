//! Whether two URLs name the same repository.

use percent_encoding::percent_decode_str;

use crate::url::{Address, split_scp};

/// The longest URL that is read, in bytes.
const MAX_LENGTH: usize = 4096;

const SCHEMES: [&str; 6] = ["https", "http", "ssh", "git", "git+ssh", "ssh+git"];

/// A repository's URL in a normal form. The `https`, `ssh` and scp form of one repository are
/// equal.
///
/// Scheme, user, port, query, the case of letters and a trailing `/` or `.git` do not matter. Each
/// hosting service's several forms become one. This may treat two repositories as equal, for
/// example on a server that has both `Shop` and `shop`. That mistake is harmless: the URL only
/// chooses which repositories to wake after the secret matched, and costs one poll. It never
/// chooses what is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryUrl {
    host: String,
    path: String,
}

impl RepositoryUrl {
    /// None if the text names no repository on a host.
    pub fn parse(url: &str) -> Option<Self> {
        if url.len() > MAX_LENGTH {
            return None;
        }
        // Senders write blanks into paths and schemes that nobody fetches, which no parser of URLs takes. So only the
        // server is parsed, as everywhere.
        let (authority, path) = match url.split_once("://") {
            Some((scheme, rest)) if SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme)) => {
                let path = rest.find('/')?;
                let end = rest.find(['?', '#']).unwrap_or(rest.len());
                (&rest[..path], rest.get(path..end)?)
            }
            Some(_) => return None,
            None => split_scp(url)?,
        };
        let host = host(authority)?;
        let (host, path) = one_form(host, segments(path));
        let path = path.join("/");
        let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        (plain(&host) && plain(&path)).then_some(Self { host, path })
    }

    /// Whether the path is `path`, such as `team/shop`, on any host.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.path == path.to_lowercase()
    }
}

/// The host in lower case, without user and port.
fn host(authority: &str) -> Option<String> {
    let Address { host, .. } = Address::parse(authority, 0)?;
    Some(host.trim_end_matches('.').to_owned())
}

/// The parts of a path in lower case, the last one without `.git`.
fn segments(path: &str) -> Vec<String> {
    let path = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Turns the several forms of a hosting service into one.
fn one_form(host: String, path: Vec<String>) -> (String, Vec<String>) {
    match host.as_str() {
        // SSH on the HTTPS port, for firewalls that block port 22.
        "ssh.github.com" | "www.github.com" => ("github.com".to_owned(), path),
        "altssh.gitlab.com" => ("gitlab.com".to_owned(), path),
        "altssh.bitbucket.org" => ("bitbucket.org".to_owned(), path),
        "dev.azure.com" | "ssh.dev.azure.com" | "vs-ssh.visualstudio.com" => azure(path),
        _ => match host.strip_suffix(".visualstudio.com") {
            Some(organisation) => {
                let organisation = organisation.to_owned();
                azure([organisation].into_iter().chain(path).collect())
            }
            None => (host, bitbucket_server(path)),
        },
    }
}

/// `org/project/_git/repo`, `org/_git/repo` (in the project of that name) or, over SSH,
/// `v3/org/project/repo`.
fn azure(path: Vec<String>) -> (String, Vec<String>) {
    let mut parts: Vec<String> = path
        .into_iter()
        .filter(|part| part != "defaultcollection")
        .collect();
    if parts.len() == 4 && parts[0] == "v3" {
        parts.remove(0);
    }
    if let Some(at) = parts.iter().position(|part| part == "_git") {
        parts.remove(at);
        if let (1, [_, repository]) = (at, parts.as_slice()) {
            parts.push(repository.clone());
        }
    }
    ("dev.azure.com".to_owned(), parts)
}

/// `scm/project/repo` over HTTPS, `projects/project/repos/repo/browse` in a browser, and
/// `project/repo` over SSH. The first two may be below a path of the server.
fn bitbucket_server(path: Vec<String>) -> Vec<String> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let short = match parts.as_slice() {
        [.., "scm", project, repository] => [(*project).to_owned(), (*repository).to_owned()],
        [.., "projects", project, "repos", repository]
        | [.., "projects", project, "repos", repository, "browse"] => {
            [(*project).to_owned(), (*repository).to_owned()]
        }
        [.., "users", user, "repos", repository]
        | [.., "users", user, "repos", repository, "browse"] => {
            [format!("~{user}"), (*repository).to_owned()]
        }
        _ => return path,
    };
    short.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_one_repository_agree() {
        let tables: [&[&str]; 9] = [
            &[
                "https://git.example/team/shop.git",
                "https://git.example/team/shop",
                "https://git.example/team/shop/",
                "https://git.example/team/shop.git/",
                "https://git.example//team/shop.git?x=y#z",
                "https://git.example:8443/team/shop.git",
                "https://user:pass@git.example/team/shop.git",
                "https://user:p@ss@git.example/team/shop.git",
                "HTTPS://Git.Example./Team/Shop.git",
                "http://git.example/team/shop",
                "git://git.example/team/shop",
                "ssh://git@git.example/team/shop.git",
                "ssh://git@git.example:2222/team/shop.git",
                "git+ssh://git@git.example/team/shop.git",
                "git@git.example:team/shop.git",
                "git@git.example:/team/shop.git",
                "git.example:team/shop",
                "git@git.example:team/%73hop.git",
            ],
            &[
                "https://[2001:DB8::1]:8443/team/shop.git",
                "ssh://git@[2001:db8::1]/team/shop",
                "git@[2001:db8::1]:team/shop.git",
                "[2001:db8::1]:team/shop.git",
            ],
            &[
                "https://github.com/Octo/Hello.git",
                "git@github.com:octo/hello.git",
                "ssh://git@ssh.github.com:443/Octo/Hello.git",
            ],
            &[
                "https://bitbucket.org/team/shop",
                "git@bitbucket.org:team/shop.git",
                "ssh://git@altssh.bitbucket.org:443/team/shop.git",
            ],
            &[
                "https://gitlab.com/group/sub/shop.git",
                "git@gitlab.com:group/sub/shop.git",
                "ssh://git@altssh.gitlab.com:443/group/sub/shop.git",
            ],
            &[
                "https://org@dev.azure.com/org/My%20Project/_git/shop",
                "https://dev.azure.com/org/my project/_git/shop",
                "git@ssh.dev.azure.com:v3/org/My%20Project/shop",
                "https://org.visualstudio.com/My%20Project/_git/shop",
                "https://org.visualstudio.com/DefaultCollection/My%20Project/_git/shop",
                "org@vs-ssh.visualstudio.com:v3/org/My%20Project/shop",
            ],
            &[
                "https://dev.azure.com/org/_git/shop",
                "https://dev.azure.com/org/shop/_git/shop",
                "git@ssh.dev.azure.com:v3/org/shop/shop",
            ],
            &[
                "https://bb.example/scm/proj/shop.git",
                "https://bb.example/bitbucket/scm/PROJ/shop.git",
                "ssh://git@bb.example:7999/proj/shop.git",
                "https://bb.example/projects/PROJ/repos/shop/browse",
                "https://bb.example/bitbucket/projects/PROJ/repos/shop",
            ],
            &[
                "https://bb.example/scm/~jane/shop.git",
                "ssh://git@bb.example:7999/~jane/shop.git",
                "https://bb.example/users/jane/repos/shop/browse",
            ],
        ];
        for table in tables {
            let first = RepositoryUrl::parse(table[0]);
            assert!(first.is_some(), "{}", table[0]);
            for url in table {
                assert_eq!(RepositoryUrl::parse(url), first, "{url}");
            }
        }
    }

    #[test]
    fn other_repositories_differ() {
        let one = RepositoryUrl::parse("https://git.example/team/shop.git");
        for other in [
            "https://git.example/team/shop2",
            "https://git.example/other/shop",
            "https://git.example/team/shop/more",
            "https://git.example/team",
            "https://git.example.org/team/shop",
            "https://evil.example/git.example/team/shop",
            "https://git.example@evil.example/team/shop",
            "git@evil.example:git.example/team/shop",
            "https://git.example/team/shop.github",
            "https://git.example/team/../team/shop",
        ] {
            let other_url = RepositoryUrl::parse(other);
            assert!(other_url.is_some(), "{other}");
            assert_ne!(other_url, one, "{other}");
        }
    }

    #[test]
    fn a_text_that_names_no_repository_is_none() {
        for bad in [
            "",
            "shop",
            "/srv/git/shop.git",
            "./a:b",
            "file:///srv/git/shop.git",
            "javascript://git.example/team/shop",
            "https://",
            "https://git.example",
            "https://git.example/",
            "https://git.example/.git",
            "https://git.example?/team/shop",
            "https:///team/shop",
            "https://user@/team/shop",
            "https://[::1/team/shop",
            "git@:team/shop",
            "git@git.example:",
            "https://git.example/team/\nshop",
            "https://git.example/team/%00shop",
        ] {
            assert_eq!(RepositoryUrl::parse(bad), None, "{bad}");
        }
        let long = format!("https://git.example/{}", "a".repeat(MAX_LENGTH));
        assert_eq!(RepositoryUrl::parse(&long), None);
    }
}
