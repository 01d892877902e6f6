//! The sender of a delivery, recognised by the names of its headers.

use http::{HeaderMap, header};

use super::proof::Proof;
use super::{Error, Push, payload};

/// Who sent a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// GitHub, also Enterprise: `X-Hub-Signature-256`.
    GitHub,
    /// GitLab: `X-Gitlab-Token`.
    GitLab,
    /// Bitbucket Cloud: `X-Hub-Signature` with SHA-256.
    Bitbucket,
    /// Bitbucket Server and Data Center: `X-Hub-Signature` with SHA-256.
    BitbucketServer,
    /// Gitea and Forgejo: `X-Forgejo-Signature` or `X-Gitea-Signature`.
    Gitea,
    /// Azure DevOps service hooks: basic authentication with the secret as password.
    AzureDevOps,
    /// Any CI: `X-Towline-Signature: sha256=<hex>` and `{"url": …, "ref": …}`.
    Generic,
}

impl Provider {
    /// Recognises the provider by its headers. Gitea and Forgejo also send GitHub's headers, so
    /// they come first.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let has = |name| headers.contains_key(name);
        if has("x-towline-signature") {
            Some(Self::Generic)
        } else if has("x-forgejo-event") || has("x-gitea-event") {
            Some(Self::Gitea)
        } else if has("x-gitlab-event") {
            Some(Self::GitLab)
        } else if has("x-github-event") {
            Some(Self::GitHub)
        } else if let Some(key) = single(headers, "x-event-key") {
            // Both name the event in this header, and only Cloud says `repo:push`. An event that is
            // not a push, such as `diagnostics:ping`, is ignored for both.
            match key {
                "repo:push" => Some(Self::Bitbucket),
                _ => Some(Self::BitbucketServer),
            }
        } else if has(header::AUTHORIZATION.as_str()) {
            Some(Self::AzureDevOps)
        } else {
            None
        }
    }

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::BitbucketServer => "bitbucket_server",
            Self::Gitea => "gitea",
            Self::AzureDevOps => "azure_devops",
            Self::Generic => "generic",
        }
    }

    /// The proof that the sender offers. SHA-1 signatures are not accepted.
    ///
    /// # Errors
    ///
    /// [`Error::Unsigned`]: there is no proof, there are two, or its form is wrong.
    pub fn proof(self, headers: &HeaderMap) -> Result<Proof, Error> {
        let named = |name| single(headers, name);
        let proof = match self {
            Self::Generic => named("x-towline-signature").and_then(Proof::sha256),
            Self::GitHub => named("x-hub-signature-256").and_then(Proof::sha256),
            Self::Bitbucket | Self::BitbucketServer => {
                named("x-hub-signature").and_then(Proof::sha256)
            }
            Self::Gitea => named("x-forgejo-signature")
                .or_else(|| named("x-gitea-signature"))
                .and_then(Proof::hex),
            Self::GitLab => bytes(headers, "x-gitlab-token").map(Proof::token),
            Self::AzureDevOps => named(header::AUTHORIZATION.as_str()).and_then(Proof::basic),
        };
        proof.ok_or(Error::Unsigned)
    }

    /// The push, or the change of a pull request, that a proven delivery reports. None for any other event.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]: the body does not have this provider's format.
    pub fn push(self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Push>, Error> {
        let event = |name| single(headers, name).unwrap_or_default();
        let form = payload::unwrapped(headers.get(header::CONTENT_TYPE), body);
        let body = form.as_deref().unwrap_or(body);
        match self {
            Self::Generic => payload::generic(body),
            Self::GitHub => payload::github(event("x-github-event"), body),
            Self::Gitea => {
                let event = match single(headers, "x-forgejo-event") {
                    Some(event) => event,
                    None => event("x-gitea-event"),
                };
                payload::github(event, body)
            }
            Self::GitLab => payload::gitlab(event("x-gitlab-event"), body),
            Self::Bitbucket => payload::bitbucket(body),
            Self::BitbucketServer => payload::bitbucket_server(event("x-event-key"), body),
            Self::AzureDevOps => payload::azure(body),
        }
    }
}

/// The text of a header that occurs once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    std::str::from_utf8(bytes(headers, name)?).ok()
}

/// The value of a header that occurs once. With two values, the sender's intent is unknown.
fn bytes<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}
