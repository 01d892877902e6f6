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

/// The longest link of a status, in bytes.
const LONGEST_LINK: usize = 255;

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
    let link = match to.service {
        Service::Bitbucket | Service::BitbucketServer => "url",
        Service::AzureDevOps => "targetUrl",
        _ => "target_url",
    };
    let page = status.url.as_ref();
    Ok(request(
        url,
        to,
        &match page.filter(|page| page.len() <= LONGEST_LINK) {
            Some(page) => linked(body, link, page),
            None => body,
        },
    ))
}

fn linked(mut body: Value, field: &str, page: &str) -> Value {
    body[field] = page.into();
    body
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
            Course::Live => "success",
            Course::Failed | Course::Partial => "failure",
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
            Course::Live => "success",
            Course::Failed | Course::Partial => "failed",
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
            Course::Live => "SUCCESSFUL",
            Course::Failed | Course::Partial => "FAILED",
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
            Course::Live => "succeeded",
            Course::Failed | Course::Partial => "failed",
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
mod tests;
