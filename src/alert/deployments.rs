//! What an alert knows of the places where Syncs deploy, for the deployments that it keeps on a Git host.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::standing::age;
use super::{Driver, Way, repository};
use crate::fleet::SourceName;
use crate::health;
use crate::message::{Id, Item, Repository, Setting, Subject};
use crate::plan::SyncName;
use crate::source::host_and_path;

/// A load balancer gets its address after the objects are healthy. For so long, a deployment without a URL is given one that
/// is found later, and the first look is so soon.
const FOUND_WITHIN: Duration = Duration::from_secs(600);
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Where the repository of a Sync is, and where the Sync deploys.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) repository: Repository,
    pub(super) setting: Setting,
}

impl Driver {
    /// The home of a Sync, or the last that is known of it if it is gone.
    pub(super) fn home_of(&mut self, subject: &Subject) -> Option<Home> {
        let known = repository(&self.context.fleet, subject)
            .and_then(|url| host_and_path(&url))
            .map(|(host, path)| Home {
                repository: Repository { host, path },
                setting: self.setting_of(subject),
            });
        match known {
            Some(known) => {
                self.homes.insert(subject.clone(), known.clone());
                Some(known)
            }
            None => self.homes.get(subject).cloned(),
        }
    }

    fn setting_of(&self, subject: &Subject) -> Setting {
        if self.way != Some(Way::Deployments) {
            return Setting::default();
        }
        let name = SyncName::new(&subject.namespace, &subject.name);
        let fleet = &self.context.fleet;
        let sync = fleet.syncs.read(&name);
        let source = SourceName::new(&subject.namespace, &sync.source);
        let said = sync.environment.as_deref().cloned().unwrap_or_default();
        let exposed = self.context.cluster.inventory.exposed(&name);
        Setting {
            environment: said.name,
            url: said.url,
            found: health::url(exposed.iter().map(|exposed| &**exposed)),
            follows_tags: fleet.sources.read(&source).follows_tags,
            is_overtaken: false,
        }
    }

    /// The host knows that a commit is live. What still waits to be told of the commits before it does not make them live
    /// again.
    pub(super) fn overtake(&mut self, subject: &Subject, before: Timestamp) {
        let older: BTreeSet<Id> = self.groups.older(subject, before).collect();
        match older.is_empty() {
            true => self.overtaken.remove(subject),
            false => self.overtaken.insert(subject.clone(), older),
        };
    }

    /// Keeps in mind that a commit is live, and that its deployment has no URL yet.
    pub(super) fn note_unreached(&mut self, item: &Item) {
        let now = Timestamp::now();
        // Of a Sync that went on, the next commit is told.
        let is_last = || self.groups.older(&item.subject, now).next().is_none();
        if self.way != Some(Way::Deployments) || !is_last() {
            return;
        }
        let setting = self.homes.get(&item.subject).map(|home| &home.setting);
        if setting.is_some_and(|setting| setting.url.is_none() && setting.found.is_none()) {
            let since = self.unreached.get(&item.subject).map(|(_, since)| *since);
            let since = since.unwrap_or(now);
            self.unreached
                .insert(item.subject.clone(), (item.clone(), since));
            self.look_at = self.look_at.min(Instant::now() + FIRST_LOOK);
        }
    }

    /// Tells deployments again whose URL is known now.
    pub(super) fn look_for_urls(&mut self) {
        let now = Timestamp::now();
        self.unreached
            .retain(|_, (_, since)| age(*since, now) < FOUND_WITHIN);
        let subjects: Vec<Subject> = self.unreached.keys().cloned().collect();
        for subject in subjects {
            let setting = self.setting_of(&subject);
            if setting.url.is_none() && setting.found.is_none() {
                continue;
            }
            if let Some((item, _)) = self.unreached.remove(&subject) {
                self.put_back(vec![item], now, now);
            }
        }
    }
}
