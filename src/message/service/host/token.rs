//! The token of a GitHub App's installation. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::app::App;
use super::super::{Destination, Request};
use super::project::api_of;
use crate::intent::Service;
use crate::message::{Answer, Outcome, judge};

/// How long before its end a token is not used any more, and how long one holds that does not say so.
const SPARE: SignedDuration = SignedDuration::from_mins(5);
const USUAL: SignedDuration = SignedDuration::from_mins(30);

/// What a token of an App may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Set statuses of commits.
    Statuses,
    /// Make deployments, and say how they go.
    Deployments,
    /// Read a repository and its pull requests, comment on them, and set statuses of commits.
    PullRequests,
}

impl Rights {
    fn permissions(self) -> serde_json::Value {
        match self {
            Self::Statuses => json!({"statuses": "write"}),
            Self::Deployments => json!({"deployments": "write"}),
            Self::PullRequests => {
                json!({"statuses": "write", "pull_requests": "write", "contents": "read"})
            }
        }
    }

    /// The rights in words.
    fn in_words(self) -> &'static str {
        match self {
            Self::Statuses => "to write commit statuses",
            Self::Deployments => "to write deployments",
            Self::PullRequests => {
                "to write commit statuses and pull requests, and to read contents"
            }
        }
    }
}

/// A token of an installation.
#[derive(Clone)]
pub struct InstallationToken {
    /// The token.
    pub token: String,
    /// From when on it is not used any more.
    pub until: Timestamp,
}

/// The request for a token with no more than these rights. None if the key cannot sign.
pub fn token_request(
    app: &App,
    to: &Destination,
    rights: Rights,
    now: Timestamp,
) -> Option<Request> {
    let url = format!(
        "{}/app/installations/{}/access_tokens",
        api_of(to),
        app.installation()
    );
    let body = json!({"permissions": rights.permissions()});
    let mut request = super::super::json(url, to, &body);
    let proof = format!("Bearer {}", app.proof(now)?);
    request.headers.push(("authorization".to_owned(), proof));
    request.headers.extend(super::github_headers());
    Some(request)
}

/// The token in an answer, or what the answer means. All of its meanings are about the whole Provider.
///
/// # Errors
///
/// [`Outcome::Later`].
pub fn token_of(
    answer: &Answer,
    rights: Rights,
    now: Timestamp,
) -> Result<InstallationToken, Outcome> {
    let status = answer.status;
    let later = |why: &str| Outcome::Later(format!("{why} (HTTP status {status})"), None);
    match status {
        200..=299 => (),
        401 => {
            return Err(later(
                "it does not take the proof of the App: correct githubAppID and githubAppPrivateKey of the Secret",
            ));
        }
        404 => {
            return Err(later(
                "it knows no such installation of the App: correct githubAppInstallationID of the Secret",
            ));
        }
        422 => {
            return Err(later(&format!(
                "the App has no right {}: give it that, and accept it for the installation",
                rights.in_words()
            )));
        }
        _ => {
            return Err(match judge(Service::GitHub, answer, now) {
                Outcome::NotThis(_) if status == 403 => {
                    later("it does not let the App in: its installation may be suspended")
                }
                Outcome::NotThis(why) | Outcome::Refused(why) => Outcome::Later(why, None),
                outcome => outcome,
            });
        }
    }
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let token = body["token"].as_str().filter(|token| is_token(token));
    let token = token.ok_or_else(|| later("its answer has no token of the App"))?;
    let until = body["expires_at"].as_str();
    let until = until.and_then(|at| at.parse::<Timestamp>().ok());
    let until = until.and_then(|at| at.checked_sub(SPARE).ok());
    Ok(InstallationToken {
        token: token.to_owned(),
        until: until.or(now.checked_add(USUAL).ok()).unwrap_or(now),
    })
}

fn is_token(text: &str) -> bool {
    (1..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_github_says_to_an_app_concerns_the_whole_provider() {
        let now = Timestamp::UNIX_EPOCH;
        let limit = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        for (status, body, says, is_limit) in [
            (401, "", "does not take the proof of the App", false),
            (403, "", "its installation may be suspended", false),
            (403, limit, "takes no more requests now", true),
            (404, "", "no such installation", false),
            (422, "", "no right to write deployments", false),
            (500, "", "a problem of its own", false),
            (201, "{}", "no token of the App", false),
        ] {
            let answer = Answer {
                status,
                body: body.to_owned(),
                ..Answer::default()
            };
            let found = token_of(&answer, Rights::Deployments, now).err();
            let is_said =
                |why: &str, pause: Option<_>| why.contains(says) && pause.is_some() == is_limit;
            let is_it = matches!(&found, Some(Outcome::Later(why, pause)) if is_said(why, *pause));
            assert!(is_it, "{status}: {found:?}");
        }
    }
}
