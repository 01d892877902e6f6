//! Git hosts that keep a status of each commit: GitHub, GitLab, Gitea and Forgejo. Pure.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Destination, Request};
use crate::intent::Service;
use crate::message::{CommitStatus, Course};
use crate::text::{shorten, start};

/// The longest name of a status, in bytes.
const LONGEST_NAME: usize = 255;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The host, in lower case and without a port.
    pub host: String,
    /// The path of its URL.
    pub path: String,
}

/// Why a commit cannot have a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The repository is on another host.
    #[error(
        "its repository is on {host}, and the Provider is for {known}: leave the Sync out of the Alert, or name the \
         host in spec.repositoryHosts of the Provider"
    )]
    OtherHost {
        /// The host of the repository.
        host: String,
        /// The hosts of the Provider.
        known: String,
    },
    /// The path is not one of a repository.
    #[error("the path of its repository is not of the form {form}")]
    Path {
        /// The form that the host has.
        form: &'static str,
    },
    /// The URL has no host.
    #[error("its repository is on no host")]
    NoHost,
}

/// The request that sets the status of a commit.
///
/// # Errors
///
/// [`Unfit`], if the repository is none of the host's.
pub fn status_request(
    status: &CommitStatus,
    repository: Option<&Repository>,
    to: &Destination,
) -> Result<Request, Unfit> {
    let repository = repository.ok_or(Unfit::NoHost)?;
    let known = hosts(to);
    if !known.contains(&repository.host) {
        return Err(Unfit::OtherHost {
            host: repository.host.clone(),
            known: known.join(", "),
        });
    }
    let place = Place::of(repository, to);
    let commit = &status.commit;
    let (url, body) = match to.service {
        Service::GitLab => {
            let project = place.project("group/project", |parts| parts.len() >= 2)?;
            let project = project.replace('/', "%2F");
            let url = format!("{}/projects/{project}/statuses/{commit}", place.api);
            (url, gitlab(status))
        }
        _ => {
            let project = place.project("owner/name", |parts| parts.len() == 2)?;
            let url = format!("{}/repos/{project}/statuses/{commit}", place.api);
            (url, github(status))
        }
    };
    let mut request = super::json(url, to, &body);
    let more = match to.service {
        Service::GitHub => vec![
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
        ],
        Service::GitLab => vec![("private-token", to.token().to_owned())],
        _ => Vec::new(),
    };
    let more = more
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    request.headers.extend(more);
    Ok(request)
}

/// GitHub's statuses, which Gitea and Forgejo have as well.
fn github(status: &CommitStatus) -> Value {
    json!({
        "state": match status.course {
            Course::Pending => "pending",
            Course::Live => "success",
            Course::Failed => "failure",
            Course::GivenUp => "error",
        },
        "context": key(&status.name, LONGEST_NAME),
        // GitHub takes 140 characters.
        "description": line(&status.text, 140),
    })
}

fn gitlab(status: &CommitStatus) -> Value {
    json!({
        "state": match status.course {
            Course::Pending => "pending",
            Course::Live => "success",
            Course::Failed => "failed",
            Course::GivenUp => "canceled",
        },
        "name": key(&status.name, LONGEST_NAME),
        "description": line(&status.text, 255),
    })
}

/// The text on one line of at most so many bytes. GitHub refuses characters beyond the first plane of Unicode.
fn line(text: &str, longest: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = words.chars().map(|c| match c as u32 {
        0x1_0000.. => '?',
        _ => c,
    });
    shorten(&plain.collect::<String>(), longest)
}

/// The name of a status. One that is too long ends with a part of its hash, so that it stays unique.
fn key(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(name.as_bytes())[..8]);
    format!("{}-{hash}", start(name, longest.saturating_sub(17)))
}

/// The hosts of the repositories of a Git host. Some have another one for SSH, or for their API.
fn hosts(to: &Destination) -> Vec<String> {
    let host = to.address.host();
    let public: &[&str] = match (to.service, host.as_str()) {
        (Service::GitHub, "github.com" | "api.github.com") => &["github.com", "ssh.github.com"],
        (Service::GitLab, "gitlab.com") => &["gitlab.com", "altssh.gitlab.com"],
        _ => &[],
    };
    let more = to.hosts.iter().map(|host| host.to_ascii_lowercase());
    let mut hosts: Vec<String> = public.iter().map(|&host| host.to_owned()).collect();
    if hosts.is_empty() {
        hosts.push(host);
    }
    hosts.extend(more);
    hosts
}

/// Where the API is, and where the repository is below the root of the host.
struct Place {
    api: String,
    path: String,
}

impl Place {
    /// The address of a Provider is that of the host's web pages, or of its API. Flux takes the URL of a repository; its
    /// path says nothing more here, because the path of the Sync's own repository counts.
    fn of(repository: &Repository, to: &Destination) -> Self {
        let suffix = match to.service {
            Service::GitHub => "api/v3",
            Service::GitLab => "api/v4",
            _ => "api/v1",
        };
        let path = repository.path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let address = to.address.path();
        let address = address.strip_suffix(".git").unwrap_or(address);
        let root = match address.strip_suffix(suffix) {
            Some(root) => root.trim_end_matches('/'),
            None if address == path => "",
            None => address,
        };
        let below = path
            .strip_prefix(root)
            .and_then(|path| path.strip_prefix('/'));
        let path = match root {
            "" => path,
            // A path of SSH does not begin with the root of the web pages.
            _ => below.unwrap_or(path),
        };
        let origin = to.address.origin();
        let api = match (to.service, to.address.host().as_str()) {
            (Service::GitHub, "github.com" | "api.github.com") => {
                "https://api.github.com".to_owned()
            }
            // GitHub Enterprise Cloud with data residency.
            (Service::GitHub, host) if host.ends_with(".ghe.com") => {
                let host = host.trim_start_matches("api.");
                format!("https://api.{host}")
            }
            _ => [&*origin, root, suffix]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("/"),
        };
        Self {
            api,
            path: path.to_owned(),
        }
    }

    /// The path of the repository, if it has the form that the host's repositories have.
    fn project(
        &self,
        form: &'static str,
        is_form: impl Fn(&[&str]) -> bool,
    ) -> Result<&str, Unfit> {
        let parts: Vec<&str> = self.path.split('/').collect();
        let is_plain = |part: &&str| {
            !matches!(*part, "" | "." | "..") && !part.contains(['?', '#', '\\', '%'])
        };
        match parts.iter().all(is_plain) && is_form(&parts) {
            true => Ok(&self.path),
            false => Err(Unfit::Path { form }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::tests::{intent, secret};
    use super::*;

    fn to(service: Service, address: Option<&str>, hosts: &[&str]) -> Destination {
        let mut intent = intent(service, address);
        intent.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Destination::new(&intent, Some(&secret(&[("token", "t0ken")]))).unwrap()
    }

    fn status(course: Course, text: &str) -> CommitStatus {
        CommitStatus {
            commit: "c0".to_owned(),
            course,
            name: "towline/eu-1/prod/shop".to_owned(),
            text: text.to_owned(),
        }
    }

    fn at(host: &str, path: &str) -> Repository {
        Repository {
            host: host.to_owned(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn the_address_of_the_api_follows_from_the_provider_and_the_repository() {
        use Service::{GitHub, GitLab, Gitea};
        for (service, address, (host, path), url) in [
            (
                GitHub,
                None,
                ("github.com", "/a/b.git"),
                "https://api.github.com/repos/a/b/statuses/c0",
            ),
            (
                GitHub,
                Some("https://api.github.com"),
                ("ssh.github.com", "a/b.git"),
                "https://api.github.com/repos/a/b/statuses/c0",
            ),
            (
                GitHub,
                Some("https://github.com/a/other"),
                ("github.com", "a/b"),
                "https://api.github.com/repos/a/b/statuses/c0",
            ),
            (
                GitHub,
                Some("https://corp.ghe.com"),
                ("corp.ghe.com", "a/b"),
                "https://api.corp.ghe.com/repos/a/b/statuses/c0",
            ),
            (
                GitHub,
                Some("https://git.corp:8443"),
                ("git.corp", "/a/b"),
                "https://git.corp:8443/api/v3/repos/a/b/statuses/c0",
            ),
            (
                GitHub,
                Some("https://git.corp/api/v3/"),
                ("git.corp", "/a/b"),
                "https://git.corp/api/v3/repos/a/b/statuses/c0",
            ),
            (
                GitLab,
                None,
                ("gitlab.com", "/g/s/b.git"),
                "https://gitlab.com/api/v4/projects/g%2Fs%2Fb/statuses/c0",
            ),
            (
                GitLab,
                Some("https://corp/gitlab"),
                ("corp", "/gitlab/g/b.git"),
                "https://corp/gitlab/api/v4/projects/g%2Fb/statuses/c0",
            ),
            (
                GitLab,
                Some("https://corp/gitlab"),
                ("corp", "g/b.git"),
                "https://corp/gitlab/api/v4/projects/g%2Fb/statuses/c0",
            ),
            (
                Gitea,
                Some("http://gitea:3000/a/b"),
                ("gitea", "/a/b.git"),
                "http://gitea:3000/api/v1/repos/a/b/statuses/c0",
            ),
        ] {
            let to = to(service, address, &[]);
            let request = status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
            assert_eq!(request.unwrap().url, url, "{address:?}");
        }
    }

    #[test]
    fn a_repository_of_another_host_gets_no_status() {
        let to = to(Service::GitHub, None, &["git.mirror"]);
        let try_at =
            |host, path| status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
        assert!(try_at("git.mirror", "a/b").is_ok());
        let error = try_at("github.com.evil", "a/b").unwrap_err().to_string();
        assert!(error.contains("on github.com.evil"), "{error}");
        for path in ["a", "a/b/c", "a/..", "a/b?x", "", "a//b"] {
            let error = try_at("github.com", path).unwrap_err();
            assert_eq!(error, Unfit::Path { form: "owner/name" }, "{path}");
        }
        let none = status_request(&status(Course::Live, ""), None, &to);
        assert_eq!(none, Err(Unfit::NoHost));
    }

    #[test]
    fn the_texts_are_within_the_limits_of_the_host() {
        let text = "a\nb\t\u{1f600} ".repeat(100);
        let body = github(&status(Course::Failed, &text));
        let description = body["description"].as_str().unwrap();
        assert!(description.chars().count() <= 140 && description.starts_with("a b ? a"));
        let long = format!("towline/eu/{}/{}", "n".repeat(63), "s".repeat(253));
        let (one, other) = (key(&long, 255), key(&format!("{long}x"), 255));
        assert!(one.len() == 255 && other.len() == 255 && one != other);
        assert_eq!(key("towline/a/b/c", 40), "towline/a/b/c");
    }
}
