//! What a webhook wakes: the drivers of repositories, and the planners of their pull requests.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::fleet::{Registry, SourceName, Subscription, View};
use crate::webhook::{Follows, Push, RepositoryUrl, Secret};

/// A repository that has a webhook.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its URLs. A delivery may name any of them.
    pub urls: Vec<RepositoryUrl>,
    /// The refs that can change its commit.
    pub follows: Follows,
    /// The secret that it shares with the sender of its webhook.
    pub secret: Secret,
    /// Wakes its driver. A [`Notify`] keeps one permit, so any number of pushes during a fetch
    /// cause one more fetch.
    pub poke: Arc<Notify>,
}

impl PartialEq for Receiver {
    fn eq(&self, other: &Self) -> bool {
        self.urls == other.urls
            && self.follows == other.follows
            && self.secret == other.secret
            && Arc::ptr_eq(&self.poke, &other.poke)
    }
}

impl View<SourceName> for Option<Receiver> {
    fn absent(_: &SourceName) -> Self {
        None
    }
}

/// What a push woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// At least one repository, or the planner of its pull requests, was woken.
    Woken,
    /// The push is about a repository with this secret, but not about the ref that the repository
    /// follows.
    OtherRef,
    /// The push is about no repository with this secret.
    Unmatched,
}

/// The repositories that have a webhook. Clones share them.
#[derive(Clone, Default)]
pub struct Receivers {
    hooks: Registry<SourceName, Option<Receiver>>,
    /// Planners of pull requests subscribe to it. Any push may be to the branch of a request.
    requests: Registry<SourceName, ()>,
}

impl Receivers {
    /// Adds a repository's webhook, or replaces it.
    pub fn set(&self, repository: &SourceName, receiver: Receiver) {
        self.hooks.publish(repository, Some(receiver));
    }

    /// Removes a repository's webhook, if it has one.
    pub fn remove(&self, repository: &SourceName) {
        self.hooks.remove(repository);
    }

    /// Subscribes to the deliveries that may be about a repository's pull requests.
    pub fn requests(&self, repository: &SourceName) -> Subscription<SourceName, ()> {
        self.requests.subscribe(repository)
    }

    /// Every secret once. Most repositories of a cluster share a few secrets.
    pub fn secrets(&self) -> Vec<Secret> {
        let secrets = self.all().map(|(_, receiver)| receiver.secret);
        let secrets: HashSet<Secret> = secrets.collect();
        secrets.into_iter().collect()
    }

    /// Wakes every repository that has one of the secrets and that the push is about.
    pub fn wake(&self, proven: &[Secret], push: &Push) -> Reached {
        let mut reached = Reached::Unmatched;
        let behind = self
            .all()
            .filter(|(_, receiver)| proven.contains(&receiver.secret));
        for (name, receiver) in behind {
            if !receiver.urls.iter().any(|url| push.is_of(url)) {
                continue;
            }
            let moves = push.moves(&receiver.follows);
            if moves {
                receiver.poke.notify_one();
            }
            if self.requests.touch(&name) || moves {
                reached = Reached::Woken;
            } else if reached == Reached::Unmatched {
                reached = Reached::OtherRef;
            }
        }
        reached
    }

    fn all(&self) -> impl Iterator<Item = (SourceName, Receiver)> {
        let views = self.hooks.views().into_iter();
        views.filter_map(|(name, receiver)| Some((name, receiver?)))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::webhook::{Name, Refs};

    fn receiver(url: &str, branch: &str, secret: &str) -> Receiver {
        Receiver {
            urls: RepositoryUrl::parse(url).into_iter().collect(),
            follows: Follows::Branch(branch.to_owned()),
            secret: self::secret(secret),
            poke: Arc::default(),
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn push(url: &str, branch: &str) -> Push {
        Push {
            repository: vec![Name::Url(RepositoryUrl::parse(url).unwrap())],
            refs: Refs::Named(vec![format!("refs/heads/{branch}")]),
            default_branch: None,
        }
    }

    fn woken(receiver: &Receiver) -> bool {
        receiver.poke.notified().now_or_never().is_some()
    }

    #[test]
    fn only_matching_repositories_with_the_proven_secret_are_woken() {
        let receivers = Receivers::default();
        let mine = receiver("https://h/team/shop.git", "main", "mine");
        let same = receiver("git@h:team/shop.git", "main", "mine");
        let dev = receiver("https://h/team/shop", "dev", "mine");
        let theirs = receiver("https://h/team/shop.git", "main", "theirs");
        for (name, receiver) in [
            ("mine", &mine),
            ("same", &same),
            ("dev", &dev),
            ("theirs", &theirs),
        ] {
            receivers.set(&SourceName::new("ns", name), receiver.clone());
        }
        assert_eq!(receivers.secrets().len(), 2);

        let proven = [secret("mine")];
        let main = push("ssh://git@h:22/Team/Shop", "main");
        assert_eq!(receivers.wake(&proven, &main), Reached::Woken);
        assert!(woken(&mine) && woken(&same) && !woken(&dev) && !woken(&theirs));

        let other = push("https://h/team/shop", "other");
        assert_eq!(receivers.wake(&proven, &other), Reached::OtherRef);
        let nobody = push("https://h/team/else", "main");
        assert_eq!(receivers.wake(&proven, &nobody), Reached::Unmatched);
        assert_eq!(receivers.wake(&[], &main), Reached::Unmatched);
        assert!(!woken(&mine) && !woken(&same) && !woken(&dev) && !woken(&theirs));
    }

    #[test]
    fn planners_are_woken_by_every_push_and_by_requests() {
        let receivers = Receivers::default();
        let hook = receiver("https://h/team/shop.git", "main", "mine");
        let name = SourceName::new("ns", "a");
        receivers.set(&name, hook.clone());
        let proven = [secret("mine")];
        let request = Push {
            refs: Refs::OfRequest,
            ..push("https://h/team/shop", "")
        };
        assert_eq!(receivers.wake(&proven, &request), Reached::OtherRef);

        let mut planner = receivers.requests(&name);
        for delivery in [&request, &push("https://h/team/shop", "feature")] {
            assert_eq!(receivers.wake(&proven, delivery), Reached::Woken);
            assert!(planner.changed().now_or_never().is_some() && !woken(&hook));
        }
        assert_eq!(
            receivers.wake(&[secret("other")], &request),
            Reached::Unmatched
        );
        assert!(planner.changed().now_or_never().is_none());
        drop(planner);
        assert!(
            receivers.requests.is_empty(),
            "nothing of it is kept in memory"
        );
    }

    #[test]
    fn a_replaced_or_removed_webhook_is_gone() {
        let receivers = Receivers::default();
        receivers.set(
            &SourceName::new("ns", "a"),
            receiver("https://h/a/b", "main", "old"),
        );
        receivers.set(
            &SourceName::new("ns", "a"),
            receiver("https://h/a/b", "main", "new"),
        );
        receivers.set(
            &SourceName::new("other", "a"),
            receiver("https://h/a/b", "main", "new"),
        );
        assert_eq!(receivers.secrets(), [secret("new")]);
        receivers.remove(&SourceName::new("ns", "a"));
        receivers.remove(&SourceName::new("ns", "absent"));
        assert_eq!(receivers.secrets(), [secret("new")]);
        receivers.remove(&SourceName::new("other", "a"));
        assert!(receivers.secrets().is_empty());
        assert!(
            receivers.hooks.is_empty(),
            "nothing of them is kept in memory"
        );
    }

    #[test]
    fn many_pushes_are_one_more_fetch() {
        let receivers = Receivers::default();
        let only = receiver("https://h/a/b", "main", "s");
        receivers.set(&SourceName::new("ns", "a"), only.clone());
        for _ in 0..1000 {
            receivers.wake(&[secret("s")], &push("https://h/a/b", "main"));
        }
        assert!(woken(&only));
        assert!(!woken(&only));
    }
}
