//! The adapter: makes the intents of alerts and their providers from towline's own custom resources.
//!
//! Specs are destructured without `..`, so that no new field is forgotten.

use kube::ResourceExt as _;

use super::alert::{
    Alert, AlertSpec, CommitsAs, EventSeverity, EventSource, EventSourceKind, MessageTemplate,
};
use super::provider::{Provider, ProviderSpec, ProviderType};
use crate::intent::{AlertIntent, NoticeSource, ProviderIntent, Service};

/// Stands for every name, or every namespace.
const ALL: &str = "*";

impl From<&Alert> for AlertIntent {
    fn from(object: &Alert) -> Self {
        let AlertSpec {
            provider_ref,
            event_sources,
            event_severity,
            reasons,
            inclusion_list,
            exclusion_list,
            event_metadata,
            group_wait,
            template,
            commits_as,
            suspend,
        } = &object.spec;
        let MessageTemplate { title, body } = template.clone().unwrap_or_default();
        let own = object.namespace().unwrap_or_default();
        Self {
            generation: object.metadata.generation,
            provider: provider_ref.name.clone(),
            warnings_only: match event_severity {
                EventSeverity::Info => false,
                EventSeverity::Error => true,
            },
            reasons: reasons.clone(),
            sources: event_sources
                .iter()
                .map(|of| notice_source(of, &own))
                .collect(),
            include: inclusion_list.clone(),
            exclude: exclusion_list.clone(),
            metadata: event_metadata.clone(),
            group_wait: (*group_wait).into(),
            title,
            body,
            deployments: *commits_as == CommitsAs::Deployments,
            suspend: *suspend,
        }
    }
}

fn notice_source(source: &EventSource, own: &str) -> NoticeSource {
    let EventSource {
        kind,
        name,
        namespace,
        match_labels,
    } = source;
    let named = |name: &str| (name != ALL).then(|| name.to_owned());
    NoticeSource {
        kind: match kind {
            EventSourceKind::Sync => "Sync",
            EventSourceKind::GitRepository => "GitRepository",
        }
        .to_owned(),
        name: named(name),
        namespace: named(namespace.as_deref().unwrap_or(own)),
        labels: match_labels.clone(),
    }
}

impl From<&Provider> for ProviderIntent {
    fn from(object: &Provider) -> Self {
        let ProviderSpec {
            service,
            address,
            channel,
            username,
            secret_ref,
            cert_secret_ref,
            proxy_secret_ref,
            repository_hosts,
            timeout,
            suspend,
        } = &object.spec;
        let name = |secret: &Option<super::SecretRef>| Some(secret.as_ref()?.name.clone());
        Self {
            generation: object.metadata.generation,
            service: (*service).into(),
            address: address.clone(),
            channel: channel.clone(),
            username: username.clone(),
            secret: name(secret_ref),
            certificates: name(cert_secret_ref),
            proxy: name(proxy_secret_ref),
            hosts: repository_hosts.clone(),
            timeout: (*timeout).into(),
            suspend: *suspend,
        }
    }
}

impl From<ProviderType> for Service {
    fn from(kind: ProviderType) -> Self {
        match kind {
            ProviderType::Generic => Self::Generic,
            ProviderType::GenericHmac => Self::GenericHmac,
            ProviderType::CloudEvents => Self::CloudEvents,
            ProviderType::Slack => Self::Slack,
            ProviderType::Mattermost => Self::Mattermost,
            ProviderType::Rocket => Self::Rocket,
            ProviderType::MsTeams => Self::Teams,
            ProviderType::Discord => Self::Discord,
            ProviderType::GoogleChat => Self::GoogleChat,
            ProviderType::Telegram => Self::Telegram,
            ProviderType::Alertmanager => Self::Alertmanager,
            ProviderType::PagerDuty => Self::PagerDuty,
            ProviderType::Opsgenie => Self::Opsgenie,
            ProviderType::Grafana => Self::Grafana,
            ProviderType::Email => Self::Email,
            ProviderType::GitHub => Self::GitHub,
            ProviderType::GitLab => Self::GitLab,
            ProviderType::Gitea => Self::Gitea,
            ProviderType::Bitbucket => Self::Bitbucket,
            ProviderType::BitbucketServer => Self::BitbucketServer,
            ProviderType::AzureDevOps => Self::AzureDevOps,
        }
    }
}
