//! The page of a commit on the web, from the URL of its repository. Pure.

use crate::url::{RemoteUrl, SshUrl};

/// The page of a commit. None if the URL names no server that has web pages. No part of the URL that may be secret is in
/// the link.
pub fn commit_link(repository: &str, commit: &str) -> Option<String> {
    let is_commit = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (scheme, host, path) = parts(repository)?;
    let path = path.trim_matches('/');
    if !is_commit || path.is_empty() || path.contains(|c: char| c.is_whitespace()) {
        return None;
    }
    let path = path.strip_suffix(".git").unwrap_or(path);
    let name = host.split(':').next().unwrap_or_default();
    // Azure DevOps has another host for SSH, with another path.
    if name == "ssh.dev.azure.com" || name == "vs-ssh.visualstudio.com" {
        let mut parts = path.trim_start_matches("v3/").splitn(3, '/');
        let (organisation, project, repository) = (parts.next()?, parts.next()?, parts.next()?);
        return Some(format!(
            "https://dev.azure.com/{organisation}/{project}/_git/{repository}/commit/{commit}"
        ));
    }
    let base = format!("{scheme}://{host}");
    // Bitbucket Data Center clones from /scm/PROJECT/repo.git.
    if let Some(at) = path
        .find("scm/")
        .filter(|at| *at == 0 || path[..*at].ends_with('/'))
        && let Some((project, repository)) = path[at + "scm/".len()..].split_once('/')
    {
        let context = &path[..at];
        return Some(format!(
            "{base}/{context}projects/{project}/repos/{repository}/commits/{commit}"
        ));
    }
    let way = match name {
        "bitbucket.org" => "commits",
        _ if name.contains("gitlab") => "-/commit",
        // GitHub, Gitea, Forgejo and Azure DevOps; GitLab redirects this to its own.
        _ => "commit",
    };
    Some(format!("{base}/{path}/{way}/{commit}"))
}

/// The scheme, host (with the port, if it is one for the web) and path of a repository's web page. No user and no query,
/// which may be secret, is among them.
fn parts(url: &str) -> Option<(&'static str, String, String)> {
    Some(match RemoteUrl::parse(url)? {
        RemoteUrl::Http(url) => (url.scheme(), url.server(), url.uri().path().to_owned()),
        // A port is one for SSH.
        RemoteUrl::Ssh(SshUrl { address, path }) => ("https", address.server(address.port), path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_own_form() {
        for (repository, link) in [
            ("https://github.com/a/b", "https://github.com/a/b/commit/c0"),
            (
                "https://github.com/a/b.git",
                "https://github.com/a/b/commit/c0",
            ),
            (
                "https://me:pw@github.com/a/b?t=1",
                "https://github.com/a/b/commit/c0",
            ),
            ("git@github.com:a/b.git", "https://github.com/a/b/commit/c0"),
            (
                "ssh://git@github.com/a/b.git",
                "https://github.com/a/b/commit/c0",
            ),
            (
                "https://gitlab.com/g/s/b.git",
                "https://gitlab.com/g/s/b/-/commit/c0",
            ),
            (
                "https://gitlab.corp:8443/g/b",
                "https://gitlab.corp:8443/g/b/-/commit/c0",
            ),
            (
                "ssh://git@gitlab.corp:2222/g/b.git",
                "https://gitlab.corp/g/b/-/commit/c0",
            ),
            (
                "https://codeberg.org/a/b.git",
                "https://codeberg.org/a/b/commit/c0",
            ),
            (
                "http://gitea.local:3000/a/b.git",
                "http://gitea.local:3000/a/b/commit/c0",
            ),
            (
                "HTTPS://Git.Corp:443/a/b.git",
                "https://git.corp/a/b/commit/c0",
            ),
            (
                "https://[2001:db8::1]:8443/a/b.git",
                "https://[2001:db8::1]:8443/a/b/commit/c0",
            ),
            (
                "git@[2001:db8::1]:a/b.git",
                "https://[2001:db8::1]/a/b/commit/c0",
            ),
            (
                "https://bitbucket.org/a/b.git",
                "https://bitbucket.org/a/b/commits/c0",
            ),
            (
                "https://git.corp/scm/PRJ/b.git",
                "https://git.corp/projects/PRJ/repos/b/commits/c0",
            ),
            (
                "https://corp/bitbucket/scm/PRJ/b.git",
                "https://corp/bitbucket/projects/PRJ/repos/b/commits/c0",
            ),
            (
                "https://dev.azure.com/o/p/_git/b",
                "https://dev.azure.com/o/p/_git/b/commit/c0",
            ),
            (
                "git@ssh.dev.azure.com:v3/o/p/b",
                "https://dev.azure.com/o/p/_git/b/commit/c0",
            ),
        ] {
            assert_eq!(
                commit_link(repository, "c0").as_deref(),
                Some(link),
                "{repository}"
            );
        }
        for nothing in [
            "",
            "/srv/git/a",
            "file:///srv/a",
            "https://github.com",
            "https://h/",
        ] {
            assert_eq!(commit_link(nothing, "c0"), None, "{nothing}");
        }
        assert_eq!(commit_link("https://github.com/a/b", "../x"), None);
    }
}
