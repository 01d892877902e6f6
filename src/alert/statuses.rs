//! How an alert keeps the statuses of commits on a Git host, or their deployments. A commit whose status the host refuses
//! waits apart, so that those of other repositories go on.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::sending::{Job, Sending};
use super::standing::age;
use super::{Driver, LONGEST_TRY, Way};
use crate::api::Reason;
use crate::driver::UNNAMED;
use crate::message::{Deploying, Group, Item, NotReportable, Outcome, Subject};
use crate::message::{deployments, status_request, statuses};
use crate::outbox::{Endpoint, SendOutcome};

/// How long a status waits that the host refused: as long as it is tried already, but within these.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Driver {
    /// Begins to set the next status that is due.
    pub(super) fn begin_status(&mut self, endpoint: &Arc<Endpoint>) {
        let now = Timestamp::now();
        while let Some(Group { items, since, .. }) = self.take_status(now) {
            // A group of statuses has one item.
            let Some(item) = items.into_iter().next() else {
                continue;
            };
            if age(since, now) > LONGEST_TRY {
                self.give_up(&item);
                continue;
            }
            match self.jobs(&item, endpoint) {
                Ok(jobs) if jobs.is_empty() => self.ledger.told([&item]),
                // The Sync is gone, and its repository is not known any more.
                Err(NotReportable::NoHost) => self.give_up(&item),
                Err(error) => self.set_apart(item, since, error.to_string()),
                Ok(jobs) => {
                    let mut sending = Sending::statuses(item, since, jobs);
                    sending.go_on(endpoint);
                    self.sending = Some(sending);
                    return;
                }
            }
        }
    }

    /// Of deployments, the newest one is taken for the one that is live, so those of a Sync keep their order.
    fn take_status(&mut self, now: Timestamp) -> Option<Group> {
        match self.way {
            Some(Way::Deployments) => self.groups.take_due_in_order(now),
            _ => self.groups.take_due(now),
        }
    }

    fn jobs(&mut self, item: &Item, endpoint: &Endpoint) -> Result<Vec<Job>, NotReportable> {
        let cluster = self.intent.metadata.get("cluster").cloned();
        let cluster = cluster.as_deref().unwrap_or(UNNAMED);
        let home = self.home_of(&item.subject);
        let repository = home.as_ref().map(|home| &home.repository);
        let to = &endpoint.destination;
        if self.way == Some(Way::Deployments) {
            let mut setting = home.as_ref().ok_or(NotReportable::NoHost)?.setting.clone();
            let overtaken = self.overtaken.get(&item.subject);
            setting.is_overtaken = overtaken.is_some_and(|ids| ids.contains(&item.id));
            let all = deployments(item, cluster, &setting)?.into_iter();
            let all = all.map(|deployment| Deploying::new(deployment, repository, to));
            return all
                .map(|deploying| Ok(Job::Deployment(Box::new(deploying?))))
                .collect();
        }
        let docs = self.context.policy.docs_url.as_deref();
        let all = statuses(item, cluster, docs);
        let requests = all
            .iter()
            .map(|status| Ok(Job::Request(status_request(status, repository, to)?)));
        requests.collect()
    }

    /// Takes the result of a request.
    pub(super) fn status_sent(&mut self, outcome: Outcome) {
        let Some(mut sending) = self.sending.take() else {
            return;
        };
        let metrics = self.context.metrics.clone();
        let is_first = sending.is_at_its_first();
        let sent = match outcome {
            Outcome::Delivered => {
                self.failure = None;
                sending.next();
                SendOutcome::Delivered
            }
            Outcome::Later(why, _) => {
                self.failure = Some(why);
                sending.try_again();
                // A newer state may come before the host answers again.
                if is_first {
                    let (items, since) = sending.into_items();
                    self.put_back(items, since, Timestamp::now());
                    metrics.message(SendOutcome::Delayed.as_str());
                    return;
                }
                SendOutcome::Delayed
            }
            Outcome::NotThis(why) | Outcome::Refused(why) if is_first => {
                self.failure = None;
                let (items, since) = sending.into_items();
                for item in items {
                    self.set_apart(item, since, why.clone());
                }
                return;
            }
            // A commit that was superseded, and that the host does not know any more.
            Outcome::NotThis(_) | Outcome::Refused(_) => {
                sending.next();
                SendOutcome::Refused
            }
        };
        metrics.message(sent.as_str());
        match sending.is_done() {
            true => self.all_set(&sending),
            false => self.sending = Some(sending),
        }
    }

    fn all_set(&mut self, sending: &Sending) {
        self.ledger.told(sending.items());
        for item in sending.items() {
            self.refused.remove(&item.subject);
            let overtaken = self.overtaken.get_mut(&item.subject);
            let was_overtaken = overtaken.is_some_and(|ids| ids.remove(&item.id));
            if item.notice.reason == Reason::Converged && !was_overtaken {
                self.note_unreached(item);
                self.overtake(&item.subject, sending.began());
            }
            let syncs = &self.context.fleet.syncs;
            if !syncs.is_published(&sync_name(&item.subject)) {
                self.homes.remove(&item.subject);
                self.overtaken.remove(&item.subject);
            }
        }
    }

    /// Tries a status again later, and others meanwhile.
    fn set_apart(&mut self, item: Item, since: Timestamp, why: String) {
        self.context.metrics.message(SendOutcome::Delayed.as_str());
        self.refused.insert(item.subject.clone(), why);
        let now = Timestamp::now();
        let wait = age(since, now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let due = now.saturating_add(wait).unwrap_or(now);
        self.put_back(vec![item], since, due);
    }

    pub(super) fn put_back(&mut self, items: Vec<Item>, since: Timestamp, due: Timestamp) {
        for item in items {
            if let Some(replaced) = self.groups.put_back(item, since, due) {
                self.ledger.replaced(&replaced);
            }
        }
    }

    pub(super) fn give_up(&mut self, item: &Item) {
        self.context.metrics.message(SendOutcome::Dropped.as_str());
        self.refused.remove(&item.subject);
        self.ledger.told([item]);
    }

    /// Tries everything again at the host that the Provider names now.
    pub(super) fn readdress_statuses(&mut self) {
        let now = Timestamp::now();
        if let Some(sending) = self.sending.take() {
            let (items, since) = sending.into_items();
            self.put_back(items, since, now);
        }
        self.groups.hurry(now);
        self.refused.clear();
    }
}

fn sync_name(subject: &Subject) -> crate::plan::SyncName {
    crate::plan::SyncName::new(&subject.namespace, &subject.name)
}
