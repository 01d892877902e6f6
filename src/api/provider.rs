//! `Provider`: a service that takes messages, and how it is reached.

// Clippy mistakes the columns of one definition for duplicated attributes.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;
use super::{Condition, Duration};

/// A service that takes the messages of Alerts, and how it is reached.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "Provider",
    plural = "providers",
    category = "gitops",
    namespaced,
    status = "ProviderStatus",
    derive = "PartialEq",
    doc = "A service that takes the messages of Alerts, such as Slack or Alertmanager, and how it is reached.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether messages are delivered"
    ),
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = ".spec.type",
        description = "The service"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary",
        description = "What happened last"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.address) || has(self.secretRef) || self.type in ['telegram', 'pagerduty', 'opsgenie', 'github', 'gitlab', 'bitbucket', 'azuredevops']").message("name the address in spec.address, or a Secret with the key address in spec.secretRef"))]
#[x_kube(validation = Rule::new("!has(self.address) || self.address.startsWith('smtp') == (self.type == 'email')").message("only the type email takes an address with smtp:// or smtps://, and it takes no other"))]
#[x_kube(validation = Rule::new("self.type != 'email' || (has(self.channel) && has(self.username))").message("email needs the recipients in spec.channel and the sender in spec.username"))]
#[x_kube(validation = Rule::new("self.type != 'email' || !has(self.proxySecretRef)").message("email knows no proxy"))]
#[x_kube(validation = Rule::new("self.type != 'telegram' || has(self.channel)").message("telegram needs the chat in spec.channel"))]
pub struct ProviderSpec {
    /// The service.
    #[serde(rename = "type")]
    pub service: ProviderType,

    /// The URL that takes messages. For `email` the mail server: `smtps://host:465`, or `smtp://host:587`, where the
    /// connection is encrypted if the server can (STARTTLS). An address with a token belongs into the Secret. The key
    /// `address` of the Secret stands before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^(https?|smtps?)://[^/?#\\\\s@]+(/\\\\S*)?$')").message("address must be https://host/path or http://host/path, and for email smtps://host:port or smtp://host:port, without a user or a password"))]
    #[schemars(length(max = 2048))]
    pub address: Option<String>,

    /// The channel (Slack, Mattermost, Rocket.Chat) or the chat (Telegram). For `email` the recipients, separated by
    /// commas. For PagerDuty the integration key, unless the Secret has it as `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub channel: Option<String>,

    /// The name under which messages appear, where the service lets one choose it. For `email` the sender, such as
    /// `towline <towline@example.com>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,

    /// The Secret with what must stay secret. Its keys: `address`; `token`, which is a bearer token, a bot's token, an
    /// API key, or the key of `generic-hmac`; `username` with `password` for basic authentication, or for the mail server; `headers`, with lines
    /// of the form `Name: value`; for GitHub as an App `githubAppID`, `githubAppInstallationID` and
    /// `githubAppPrivateKey`. A changed Secret is used at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// The Secret with the certificates for `https` and for mail servers: `ca.crt`, in addition to the platform's authorities, and `tls.crt`
    /// with `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretRef>,

    /// The Secret with the proxy. Its keys: `address`, such as `http://host:port`, and `username` with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretRef>,

    /// More hosts of repositories whose commits have their statuses on this Git host, such as `ssh.git.example.com`.
    /// The host of the address is always one of them. Only for Git hosts, such as `github`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "hosts_schema")]
    pub repository_hosts: Vec<String>,

    /// The longest time that one request may take. A failed request is tried again after a growing pause of at most
    /// 5 minutes.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1m')").message("timeout must be 1s to 1m"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub timeout: Duration,

    /// Send nothing. Messages wait, and are sent when this ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Names of hosts, without a port.
fn hosts_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[A-Za-z0-9.:\\[\\]-]+$"}
    })
}

fn default_timeout() -> Duration {
    Duration::from(std::time::Duration::from_secs(15))
}

/// A service that takes messages.
#[derive(JsonSchema, Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ProviderType {
    /// A webhook of one's own, with a JSON body.
    Generic,
    /// The same, with a signature.
    #[serde(rename = "generic-hmac")]
    GenericHmac,
    /// `CloudEvents` over HTTP.
    CloudEvents,
    /// Slack.
    Slack,
    /// Mattermost.
    Mattermost,
    /// Rocket.Chat.
    Rocket,
    /// Microsoft Teams.
    MsTeams,
    /// Discord.
    Discord,
    /// Google Chat.
    GoogleChat,
    /// Telegram.
    Telegram,
    /// Prometheus' Alertmanager.
    Alertmanager,
    /// `PagerDuty`.
    PagerDuty,
    /// Opsgenie.
    Opsgenie,
    /// Annotations of Grafana.
    Grafana,
    /// E-mail, over SMTP.
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

/// The state of the Provider.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` and `Stalled` only while true (kstatus).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The message of the condition `Ready`, on one line of at most 200 characters.
    #[serde(default)]
    pub summary: Option<String>,
}
