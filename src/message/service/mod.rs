//! The wire formats of services, by their public documentation. Each is a function from a message to the requests that
//! tell it. Pure.

mod app;
mod chat;
mod destination;
mod host;
mod incident;
mod mail;
mod mailbox;
mod secret;
mod webhook;

#[cfg(test)]
mod tests;

use http::Method;

pub use self::app::check_app;
pub use self::destination::{Address, Destination};
pub use self::host::{
    Comment, Deploying, InstallationToken, Labeller, NotReportable, PullRequest, PullRequests,
    Repository, Rights, status_request, token_of, token_request,
};
pub use self::secret::DestinationError;
use sha2::{Digest as _, Sha256};

use super::{Message, Problem};
use crate::intent::Service;
use crate::text::start;

/// A request that a service takes. For a mail server, the headers have the sender and the recipients, and the body is the
/// whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// POST for messages.
    pub method: Method,
    /// The whole URL. It may hold a secret.
    pub url: String,
    /// Names and values of headers. They may hold secrets.
    pub headers: Vec<(String, String)>,
    /// The body. A GET has none.
    pub body: Vec<u8>,
}

/// Shows no secret.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} bytes)", self.body.len())
    }
}

/// The requests that tell a message. None where the service takes problems only and the message is news.
pub fn requests(message: &Message, to: &Destination) -> Vec<Request> {
    match to.service {
        Service::Generic => vec![webhook::generic(message, to)],
        Service::GenericHmac => vec![webhook::signed(message, to)],
        Service::CloudEvents => vec![webhook::cloud_event(message, to)],
        Service::Grafana => vec![webhook::annotation(message, to)],
        Service::Email => mail::email(message, to).into_iter().collect(),
        Service::Slack => vec![chat::slack(message, to)],
        Service::Mattermost => vec![chat::mattermost(message, to)],
        Service::Rocket => vec![chat::rocket(message, to)],
        Service::Teams => vec![chat::teams(message, to)],
        Service::Discord => vec![chat::discord(message, to)],
        Service::GoogleChat => vec![chat::google(message, to)],
        Service::Telegram => vec![chat::telegram(message, to)],
        Service::Alertmanager => incident::alertmanager(message, to).into_iter().collect(),
        Service::PagerDuty => incident::pagerduty(message, to),
        Service::Opsgenie => incident::opsgenie(message, to),
        // They keep statuses, and take no messages.
        Service::GitHub
        | Service::GitLab
        | Service::Gitea
        | Service::Bitbucket
        | Service::BitbucketServer
        | Service::AzureDevOps => Vec::new(),
    }
}

/// The request that keeps open problems open, for a service that forgets them. `message` has them as its problems.
pub fn refresh(message: &Message, to: &Destination) -> Option<Request> {
    match to.service {
        Service::Alertmanager => incident::alertmanager(message, to),
        _ => None,
    }
}

/// The name of a problem that is the same when it ends, in at most so many bytes.
fn key(message: &Message, problem: &Problem, longest: usize) -> String {
    let name = format!(
        "towline/{}/{}/{}/{}",
        message.cluster,
        message.alert,
        problem.subject.to_string().replace(' ', "/"),
        problem.reason.as_str()
    );
    unique(&name, longest)
}

/// A name in at most so many bytes. One that is too long ends with a part of its hash, so that it stays unique.
pub(super) fn unique(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(name.as_bytes())[..8]);
    format!("{}-{hash}", start(name, longest.saturating_sub(17)))
}

/// A request with a JSON body and the headers of the destination.
fn json(url: String, to: &Destination, body: &serde_json::Value) -> Request {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(to.authorization());
    headers.extend(to.headers.iter().cloned());
    Request {
        method: Method::POST,
        url,
        headers,
        body: body.to_string().into_bytes(),
    }
}
