//! What the drivers of alerts and of their providers are told to do.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the driver of an alert is told to do: which notices it tells, to whom, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertIntent {
    /// Counts the changes of what is asked for.
    pub generation: Option<i64>,
    /// The provider, of the same namespace.
    pub provider: String,
    /// Tell only what a person may have to act on, and the end of it.
    pub warnings_only: bool,
    /// The names of the reasons that are told. Empty means all.
    pub reasons: Vec<String>,
    /// What the notices must be about. A notice is told if one of these selects it.
    pub sources: Vec<NoticeSource>,
    /// If there is one: only notices whose message matches one of these patterns.
    pub include: Vec<String>,
    /// Never notices whose message matches one of these patterns.
    pub exclude: Vec<String>,
    /// Added to every message.
    pub metadata: BTreeMap<String, String>,
    /// How long a message waits for more notices of the same commit and reason.
    pub group_wait: Duration,
    /// The template of the message's title. None means the default.
    pub title: Option<String>,
    /// The template of the message's body. None means the default.
    pub body: Option<String>,
    /// Keep deployments of commits on a Git host, in the place of their statuses.
    pub deployments: bool,
    /// Tell nothing.
    pub suspend: bool,
}

/// Which resources' notices are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeSource {
    /// The kind of the resources.
    pub kind: String,
    /// Their name. None means all.
    pub name: Option<String>,
    /// Their namespace. None means all.
    pub namespace: Option<String>,
    /// Labels that they must have.
    pub labels: BTreeMap<String, String>,
}

/// What the driver of a provider is told to do: how a service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIntent {
    /// Counts the changes of what is asked for.
    pub generation: Option<i64>,
    /// The service.
    pub service: Service,
    /// The address, unless the Secret has it.
    pub address: Option<String>,
    /// The channel, chat, room or dashboard.
    pub channel: Option<String>,
    /// The name under which messages appear.
    pub username: Option<String>,
    /// The Secret with the address and the credentials.
    pub secret: Option<String>,
    /// The Secret with authorities and a client certificate.
    pub certificates: Option<String>,
    /// The Secret with the proxy.
    pub proxy: Option<String>,
    /// More hosts of repositories, for a service that keeps the statuses of commits.
    pub hosts: Vec<String>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// Send nothing. Messages wait.
    pub suspend: bool,
}

/// A service that takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// A webhook of one's own.
    Generic,
    /// A webhook of one's own, with a signature.
    GenericHmac,
    /// `CloudEvents` over HTTP.
    CloudEvents,
    /// Slack: an incoming webhook, or its API with a bot's token.
    Slack,
    /// Mattermost: an incoming webhook.
    Mattermost,
    /// Rocket.Chat: an incoming webhook.
    Rocket,
    /// Microsoft Teams: a webhook of Workflows.
    Teams,
    /// Discord: a webhook.
    Discord,
    /// Google Chat: a webhook of a space.
    GoogleChat,
    /// Telegram: a bot.
    Telegram,
    /// Prometheus' Alertmanager.
    Alertmanager,
    /// `PagerDuty`: Events API version 2.
    PagerDuty,
    /// Opsgenie: the Alert API.
    Opsgenie,
    /// Annotations of Grafana.
    Grafana,
    /// E-mail.
    Email,
    /// Statuses of commits on GitHub.
    GitHub,
    /// Statuses of commits on GitLab.
    GitLab,
    /// Statuses of commits on Gitea or Forgejo.
    Gitea,
    /// Statuses of commits on Bitbucket Cloud.
    Bitbucket,
    /// Statuses of commits on Bitbucket Data Center.
    BitbucketServer,
    /// Statuses of commits on Azure DevOps.
    AzureDevOps,
}

impl Service {
    /// Whether the service is a Git host, which keeps a status of each commit instead of taking messages.
    pub fn keeps_statuses(self) -> bool {
        matches!(
            self,
            Self::GitHub
                | Self::GitLab
                | Self::Gitea
                | Self::Bitbucket
                | Self::BitbucketServer
                | Self::AzureDevOps
        )
    }

    /// Whether the service is a Git host that keeps deployments, in environments with a URL.
    pub fn keeps_deployments(self) -> bool {
        matches!(self, Self::GitHub | Self::GitLab)
    }
}
