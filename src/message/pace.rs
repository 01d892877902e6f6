//! How quickly a service takes messages, by its public documentation. Pure.

use std::time::Duration;

use crate::intent::Service;

/// How quickly requests may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The requests that may be sent at once after a pause.
    pub burst: u32,
    /// The time in which one more becomes possible.
    pub each: Duration,
}

/// The pace of a service. Chats take about one message in a second.
pub fn pace(service: Service) -> Pace {
    let (burst, each) = match service {
        // 20 a minute to one group.
        Service::Telegram => (5, Duration::from_secs(3)),
        // 30 in a minute for a webhook.
        Service::Discord => (5, Duration::from_secs(2)),
        Service::Slack
        | Service::Mattermost
        | Service::Rocket
        | Service::Teams
        | Service::GoogleChat
        | Service::Email => (3, Duration::from_secs(1)),
        // GitHub asks for a second between requests that write. Bitbucket Cloud takes a thousand in an hour.
        Service::GitHub | Service::Bitbucket => (10, Duration::from_secs(1)),
        Service::GitLab | Service::Gitea | Service::BitbucketServer | Service::AzureDevOps => {
            (10, Duration::from_millis(200))
        }
        Service::Generic
        | Service::GenericHmac
        | Service::CloudEvents
        | Service::Alertmanager
        | Service::PagerDuty
        | Service::Opsgenie
        | Service::Grafana => (20, Duration::from_millis(100)),
    };
    Pace { burst, each }
}
