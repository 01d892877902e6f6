//! Git hosts that keep a status of each commit, by their public documentation. Pure.

mod deploy;
mod labels;
mod list;
mod project;
mod pulls;
mod token;

use http::Method;
use serde_json::{Value, json};

pub use self::deploy::Deploying;
pub use self::labels::Labeller;
pub use self::project::Repository;
use self::project::{HostProject, hosts};
pub use self::pulls::{Comment, PullRequest, PullRequests};
pub use self::token::{InstallationToken, Rights, token_of, token_request};
use super::{Destination, Request, unique};
use crate::intent::Service;
use crate::message::{CommitStatus, Course};
use crate::text::shorten;

/// The longest name of a status, in bytes.
const LONGEST_NAME: usize = 255;

/// Why nothing can be reported on a commit: no status, no deployment, no comment on its pull request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReportable {
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
    /// The service has no deployments.
    #[error("spec.commitsAs: Deployments needs a Provider of the type github or gitlab")]
    NoDeployments,
    /// The annotation with the environment.
    #[error(
        "the annotation towline.dev/environment cannot be used: it must have 1 to 255 letters, digits, blanks, and -_./, \
         and neither / nor a blank at its ends"
    )]
    Environment,
    /// The annotation with the URL.
    #[error(
        "the annotation towline.dev/environment-url cannot be used: it must be https://host/path or http://host/path, \
         without a user or a password, of at most 255 characters"
    )]
    Url,
}

/// The request that sets the status of a commit.
///
/// # Errors
///
/// [`NotReportable`], if the repository is none of the host's.
pub fn status_request(
    status: &CommitStatus,
    repository: Option<&Repository>,
    to: &Destination,
) -> Result<Request, NotReportable> {
    let project = project(repository, to)?;
    let url = project.statuses(to, &status.commit);
    let body = match to.service {
        Service::GitLab => gitlab(status),
        Service::Bitbucket | Service::BitbucketServer => {
            bitbucket(status, to.service, &project.page(to, &status.commit))
        }
        Service::AzureDevOps => azure(status),
        service => github(status, service),
    };
    Ok(request(url, to, &body))
}

/// Where the repository is on the host.
fn project(
    repository: Option<&Repository>,
    to: &Destination,
) -> Result<HostProject, NotReportable> {
    let repository = repository.ok_or(NotReportable::NoHost)?;
    let known = hosts(to);
    if known.iter().any(|known| known.is(&repository.host)) {
        return HostProject::of(repository, to);
    }
    Err(NotReportable::OtherHost {
        host: repository.host.clone(),
        known: known
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// A request with a JSON body and the headers that the host wants.
fn request(url: String, to: &Destination, body: &Value) -> Request {
    let mut request = super::json(url, to, body);
    match to.service {
        Service::GitHub => request.headers.extend(github_headers()),
        Service::GitLab => {
            let token = ("private-token".to_owned(), to.token().to_owned());
            request.headers.push(token);
        }
        _ => (),
    }
    request
}

/// A request that asks.
fn get(url: &str, to: &Destination) -> Request {
    Request {
        method: Method::GET,
        body: Vec::new(),
        ..request(url.to_owned(), to, &Value::Null)
    }
}

/// The headers that the API of GitHub wants.
fn github_headers() -> [(String, String); 2] {
    [
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// GitHub's statuses, which Gitea and Forgejo have as well. Only these two have one that is neither good nor bad.
fn github(status: &CommitStatus, service: Service) -> Value {
    json!({
        "state": match status.course {
            Course::Pending => "pending",
            Course::Partial if service == Service::Gitea => "warning",
            Course::Live | Course::Partial => "success",
            Course::Failed => "failure",
            Course::GivenUp => "error",
        },
        "context": unique(&status.name, LONGEST_NAME),
        // GitHub takes 140 characters.
        "description": line(&status.text, 140),
    })
}

fn gitlab(status: &CommitStatus) -> Value {
    json!({
        "state": match status.course {
            Course::Pending => "pending",
            Course::Live | Course::Partial => "success",
            Course::Failed => "failed",
            Course::GivenUp => "canceled",
        },
        "name": unique(&status.name, LONGEST_NAME),
        "description": line(&status.text, 255),
    })
}

/// Both need a link: it leads to the commit.
fn bitbucket(status: &CommitStatus, service: Service, page: &str) -> Value {
    let is_cloud = service == Service::Bitbucket;
    json!({
        "state": match status.course {
            Course::Pending => "INPROGRESS",
            Course::Live | Course::Partial => "SUCCESSFUL",
            Course::Failed => "FAILED",
            Course::GivenUp if is_cloud => "STOPPED",
            Course::GivenUp => "CANCELLED",
        },
        // Bitbucket Cloud takes 40 characters.
        "key": unique(&status.name, if is_cloud { 40 } else { LONGEST_NAME }),
        "name": unique(&status.name, LONGEST_NAME),
        "description": line(&status.text, 255),
        "url": page,
    })
}

fn azure(status: &CommitStatus) -> Value {
    // Azure DevOps shows `genre/name`.
    let (genre, name) = status.name.split_once('/').unwrap_or(("", &status.name));
    json!({
        "state": match status.course {
            Course::Pending => "pending",
            Course::Live | Course::Partial => "succeeded",
            Course::Failed => "failed",
            Course::GivenUp => "notApplicable",
        },
        "context": {"genre": genre, "name": unique(name, LONGEST_NAME)},
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
        use Service::{AzureDevOps, Bitbucket, BitbucketServer, GitHub, GitLab, Gitea};
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
            (
                Bitbucket,
                None,
                ("altssh.bitbucket.org", "w/b.git"),
                "https://api.bitbucket.org/2.0/repositories/w/b/commit/c0/statuses/build",
            ),
            (
                Bitbucket,
                Some("https://bitbucket.org/w/other"),
                ("bitbucket.org", "/w/b"),
                "https://api.bitbucket.org/2.0/repositories/w/b/commit/c0/statuses/build",
            ),
            (
                BitbucketServer,
                Some("https://corp/bitbucket"),
                ("corp", "/bitbucket/scm/PRJ/b.git"),
                "https://corp/bitbucket/rest/api/latest/projects/PRJ/repos/b/commits/c0/builds",
            ),
            (
                BitbucketServer,
                Some("https://corp"),
                ("corp", "/scm/scm/b.git"),
                "https://corp/rest/api/latest/projects/scm/repos/b/commits/c0/builds",
            ),
            (
                BitbucketServer,
                Some("https://corp"),
                ("corp", "/scm/b.git"),
                "https://corp/rest/api/latest/projects/scm/repos/b/commits/c0/builds",
            ),
            (
                BitbucketServer,
                Some("https://corp:8443"),
                ("corp", "/~me/b.git"),
                "https://corp:8443/rest/api/latest/projects/~me/repos/b/commits/c0/builds",
            ),
            (
                AzureDevOps,
                None,
                ("dev.azure.com", "/o/My%20P/_git/b"),
                "https://dev.azure.com/o/My%20P/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                Some("https://dev.azure.com/o/p/_git/other"),
                ("ssh.dev.azure.com", "v3/o/p/b"),
                "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                None,
                ("ssh.dev.azure.com", "v3/o/P\u{fc} 1/b"),
                "https://dev.azure.com/o/P%C3%BC%201/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                None,
                ("dev.azure.com", "/o/_git/b"),
                "https://dev.azure.com/o/b/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                None,
                ("o.visualstudio.com", "/DefaultCollection/p/_git/b"),
                "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                None,
                ("o.visualstudio.com", "/DefaultCollections/_git/b"),
                "https://dev.azure.com/o/DefaultCollections/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                None,
                ("vs-ssh.visualstudio.com", "v3/o/p/b"),
                "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
            ),
            (
                AzureDevOps,
                Some("https://tfs.corp/tfs"),
                ("tfs.corp", "/tfs/c/p/_git/b"),
                "https://tfs.corp/tfs/c/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
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
        for path in [
            "a",
            "a/b/c",
            "a/..",
            "a/b?x",
            "",
            "a//b",
            "a/b c",
            "a/b\u{e9}",
            "a/b\n",
            "a/<b>",
            "a/b|c",
            "a/b\"",
        ] {
            let error = try_at("github.com", path).unwrap_err();
            assert_eq!(error, NotReportable::Path { form: "owner/name" }, "{path}");
        }
        let none = status_request(&status(Course::Live, ""), None, &to);
        assert_eq!(none, Err(NotReportable::NoHost));
    }

    #[test]
    fn a_path_of_another_form_is_refused() {
        for (service, host, path) in [
            (Service::GitLab, "gitlab.com", "b"),
            (Service::Bitbucket, "bitbucket.org", "a/b/c"),
            (Service::AzureDevOps, "dev.azure.com", "o/p/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/p/_git/a/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/p%2F/_git/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/../_git/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/%2e%2E/_git/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/p%5cq/_git/b"),
            (Service::AzureDevOps, "dev.azure.com", "o/p%0a/_git/b"),
        ] {
            let to = to(service, None, &[]);
            let request = status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
            assert!(matches!(request, Err(NotReportable::Path { .. })), "{path}");
        }
        let to = to(Service::AzureDevOps, None, &[]);
        let evil = at("evil-visualstudio.com", "o/p/_git/b");
        let request = status_request(&status(Course::Live, ""), Some(&evil), &to);
        assert!(matches!(request, Err(NotReportable::OtherHost { .. })));
    }

    /// What was looked at in part is neither good nor bad, where the host has a word for that.
    #[test]
    fn each_host_has_a_state_for_each_course() {
        use Service::{AzureDevOps, Bitbucket, BitbucketServer, GitHub, GitLab, Gitea};
        let courses = [
            Course::Pending,
            Course::Live,
            Course::Partial,
            Course::Failed,
        ];
        for (service, (host, path), states) in [
            (
                GitHub,
                ("github.com", "/a/b"),
                ["pending", "success", "success", "failure"],
            ),
            (
                GitLab,
                ("gitlab.com", "/a/b"),
                ["pending", "success", "success", "failed"],
            ),
            (
                Gitea,
                ("gitea", "/a/b"),
                ["pending", "success", "warning", "failure"],
            ),
            (
                Bitbucket,
                ("bitbucket.org", "/a/b"),
                ["INPROGRESS", "SUCCESSFUL", "SUCCESSFUL", "FAILED"],
            ),
            (
                BitbucketServer,
                ("corp", "/scm/a/b"),
                ["INPROGRESS", "SUCCESSFUL", "SUCCESSFUL", "FAILED"],
            ),
            (
                AzureDevOps,
                ("dev.azure.com", "/o/p/_git/b"),
                ["pending", "succeeded", "succeeded", "failed"],
            ),
        ] {
            let address = match service {
                Gitea => Some("https://gitea"),
                BitbucketServer => Some("https://corp"),
                _ => None,
            };
            let to = to(service, address, &[]);
            for (course, state) in courses.into_iter().zip(states) {
                let request = status_request(&status(course, ""), Some(&at(host, path)), &to);
                let body: Value = serde_json::from_slice(&request.unwrap().body).unwrap();
                assert_eq!(body["state"], state, "{service:?} {course:?}");
            }
        }
    }

    #[test]
    fn the_texts_are_within_the_limits_of_the_host() {
        let text = "a\nb\t\u{1f600} ".repeat(100);
        let body = github(&status(Course::Failed, &text), Service::GitHub);
        let description = body["description"].as_str().unwrap();
        assert!(description.chars().count() <= 140 && description.starts_with("a b ? a"));
        let long = format!("towline/eu/{}/{}", "n".repeat(63), "s".repeat(253));
        let (one, other) = (unique(&long, 255), unique(&format!("{long}x"), 255));
        assert!(one.len() == 255 && other.len() == 255 && one != other);
        assert_eq!(unique("towline/a/b/c", 40), "towline/a/b/c");
        let mut long = status(Course::GivenUp, "");
        long.name = format!("towline/eu/prod/{}", "s".repeat(60));
        let body = bitbucket(&long, Service::Bitbucket, "https://page");
        assert_eq!(body["key"].as_str().unwrap().len(), 40);
        assert_eq!(body["name"], json!(long.name));
        assert_eq!(body["state"], "STOPPED");
        let body = bitbucket(&long, Service::BitbucketServer, "https://page");
        assert_eq!(body["key"], json!(long.name));
        let body = azure(&long);
        assert_eq!(body["context"]["genre"], "towline");
    }
}
