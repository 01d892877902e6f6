//! The drivers of `Alert` and `Provider`. An Alert's round: take notices → group → compose → send → record → write.
//!
//! # What is promised
//!
//! A message is sent first, and recorded in the Alert's status then. So each notice is told at least once, and twice only if
//! the operator ends between the two; the message then has the same id. A replica that begins to lead reads the record, and
//! what the statuses of Syncs and GitRepositories say: commits, converged revisions, present failures and, where commits have a
//! status, the commit that is under way are told, if the record does not have them. An operator that is asked to stop tells first
//! what waits. Notices that are in no status by the next start (`DriftCorrected`, `FieldLeft`, `StatusRefused`, what a newer commit
//! replaced) are lost if it ends in another way, or if the service does not take them in time.

mod deployments;
mod driven;
mod news;
mod provider;
mod report;
mod sending;
mod sources;
mod standing;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use tokio::sync::watch;
use tokio::time::Instant;

use self::deployments::Home;
use self::sending::Sending;
use self::sources::NamedSources;
pub(crate) use self::standing::{of_repository, of_sync};
use crate::api::{Alert, AlertStatus, Reason};
use crate::driver::{Context, StatusBackoff, StatusRefusal};
use crate::fleet::{SourceName, Subscription};
use crate::intent::{AlertIntent, Service};
use crate::message::{
    self, Filter, Groups, Id, Item, Ledger, Origin, Saved, Subject, Templates, about_commit,
    compose, example, reminder,
};
use crate::notify::Notice;
use crate::outbox::{Name, ProviderView, Queue, SendOutcome};
use crate::plan::SyncName;

/// How often is looked whether problems that were told are over, beside the notices that say so, and how often a service
/// that forgets problems is told again.
const LOOK: Duration = Duration::from_secs(30);
const REMIND: Duration = Duration::from_secs(60);

/// How old a problem must be until it is looked after: its Sync publishes its state after the notice.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a message is tried.
const LONGEST_TRY: Duration = Duration::from_secs(6 * 3600);

/// An hour is as good as never: the wait simply starts again.
const HOUR: Duration = Duration::from_secs(3600);

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It takes messages.
    Messages,
    /// It keeps the statuses of commits.
    Statuses,
    /// It keeps the deployments of commits.
    Deployments,
}

impl Way {
    fn of(service: Service, intent: &AlertIntent) -> Self {
        match service.keeps_statuses() {
            _ if intent.deployments => Self::Deployments,
            true => Self::Statuses,
            false => Self::Messages,
        }
    }
}

/// Drives one alert until its object is gone.
struct Driver {
    context: Arc<Context>,
    name: Name,
    /// What no other installation of towline has.
    installation: String,
    object: watch::Receiver<Arc<Alert>>,
    queue: Arc<Queue>,
    intent: AlertIntent,
    /// Why the spec cannot be used.
    problem: Option<String>,
    templates: Templates,
    provider: Subscription<Name, ProviderView>,
    /// The resources that the spec names.
    named: NamedSources,
    /// Becomes true when the operator stops.
    stopping: watch::Receiver<bool>,
    ledger: Ledger,
    groups: Groups,
    /// How the service is spoken to. None until it is known; notices wait until then.
    way: Option<Way>,
    /// What statuses of resources say that was not told yet, perhaps.
    standing: Vec<(Arc<Notice>, bool)>,
    sending: Option<Sending>,
    /// Why the last message could not be sent.
    failure: Option<String>,
    /// The Syncs of whose commits the service takes no status, and why.
    refused: BTreeMap<Subject, String>,
    /// Where the repositories of Syncs are, and where the Syncs deploy, for Syncs that are gone.
    homes: BTreeMap<Subject, Home>,
    /// What waits although the host knows that a newer commit is live.
    overtaken: BTreeMap<Subject, BTreeSet<Id>>,
    /// Commits that are live in deployments without a URL, and since when.
    unreached: BTreeMap<Subject, (Item, Timestamp)>,
    look_at: Instant,
    remind_at: Instant,
    status: AlertStatus,
    write_again: Option<Instant>,
    status_backoff: StatusBackoff,
    status_refusal: StatusRefusal,
}

impl Driver {
    fn new(context: Arc<Context>, object: watch::Receiver<Arc<Alert>>) -> Self {
        let first = object.borrow().clone();
        let name = driven::name(&first);
        let intent = AlertIntent::from(&*first);
        let provider = (name.0.clone(), intent.provider.clone());
        Self {
            queue: context.outbox.queue(&name),
            provider: context.outbox.providers.subscribe(&provider),
            named: NamedSources::new(context.fleet.clone()),
            stopping: context.outbox.stopping(),
            installation: hex::encode(&context.key.digest_for("messages", "")[..8]),
            context,
            object,
            templates: Templates::default(),
            problem: None,
            ledger: Ledger::new(Timestamp::now()),
            groups: Groups::default(),
            way: None,
            standing: Vec::new(),
            sending: None,
            failure: None,
            refused: BTreeMap::new(),
            homes: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            unreached: BTreeMap::new(),
            look_at: Instant::now(),
            remind_at: Instant::now(),
            status: first.status.clone().unwrap_or_default(),
            write_again: None,
            status_backoff: StatusBackoff::default(),
            status_refusal: StatusRefusal::default(),
            intent,
            name,
        }
    }

    async fn run(mut self) {
        self.recover().await;
        let mut generation = None;
        loop {
            let object = self.object.borrow_and_update().clone();
            if generation != Some(object.metadata.generation) {
                generation = Some(object.metadata.generation);
                self.adopt(&object);
            }
            self.choose_way();
            self.collect();
            self.look();
            if *self.stopping.borrow_and_update() {
                self.groups.hurry(Timestamp::now());
            }
            self.begin_next();
            self.report().await;
            self.queue.left(self.untold());
            if self.wait().await.is_err() {
                return;
            }
        }
    }

    /// Takes up where the last leader stopped. The watch may not have seen its last record yet, so the record is read.
    async fn recover(&mut self) {
        let (namespace, name) = &self.name;
        let api: Api<Alert> = Api::namespaced(self.context.client.clone(), namespace);
        if let Ok(Some(object)) = api.get_opt(name).await {
            self.status = object.status.unwrap_or_default();
        }
        let now = Timestamp::now();
        let saved = Saved::of(&self.status);
        if saved.until.is_none() {
            self.ledger = Ledger::new(now);
            return;
        }
        self.ledger = Ledger::restored(&saved, now);
        self.standing = self.context.outbox.standing(&self.name).await;
    }

    /// Takes over a changed spec.
    fn adopt(&mut self, object: &Alert) {
        let was_suspended = self.intent.suspend;
        self.intent = AlertIntent::from(object);
        if let Some(cluster) = &self.context.policy.cluster_name {
            let metadata = &mut self.intent.metadata;
            let known = metadata.entry("cluster".to_owned());
            known.or_insert_with(|| cluster.clone());
        }
        let provider = (self.name.0.clone(), self.intent.provider.clone());
        if *self.provider.key() != provider {
            self.provider = self.context.outbox.providers.subscribe(&provider);
            self.readdress();
        }
        self.named.follow(&self.intent);
        let (namespace, name) = &self.name;
        let own_only = self.context.policy.no_cross_namespace;
        let filter = Filter::new(&self.intent, namespace, own_only);
        let (title, body) = (self.intent.title.as_deref(), self.intent.body.as_deref());
        let templates = Templates::new(title, body, &example((namespace, name), None));
        let problems = [
            filter.err().map(|error| error.to_string()),
            templates.as_ref().err().map(ToString::to_string),
        ];
        self.problem = problems.into_iter().flatten().next();
        // With a template that cannot be used, the default words are better than none.
        self.templates = templates.unwrap_or_default();
        if self.intent.suspend {
            self.groups.take_all();
            self.sending = None;
            self.standing.clear();
            self.refused.clear();
            self.unreached.clear();
            self.overtaken.clear();
        }
        if self.intent.suspend || was_suspended {
            self.queue.take();
            self.ledger.skip_to(Timestamp::now());
        }
    }

    /// Finds out how the service is spoken to. What waits for a service of the other kind is of no use to this one.
    fn choose_way(&mut self) {
        let Some(service) = self.provider.borrow().service() else {
            return;
        };
        let way = Some(Way::of(service, &self.intent));
        if self.way.is_some() && self.way != way {
            let sending = self.sending.take();
            let sending = sending.iter().flat_map(|sending| sending.items());
            self.ledger.told(sending);
            for group in self.groups.take_all() {
                self.ledger.told(&group.items);
            }
            self.refused.clear();
            self.unreached.clear();
            self.overtaken.clear();
        }
        self.way = way;
        // The deployment of a commit may become active again.
        self.ledger.repeats_converged(way == Some(Way::Deployments));
    }

    /// Puts new notices into groups.
    fn collect(&mut self) {
        let Some(way) = self.way else {
            return;
        };
        for (notice, selected) in std::mem::take(&mut self.standing) {
            self.offer(&notice, selected, Origin::Status, way);
        }
        for (notice, selected) in self.queue.take() {
            self.offer(&notice, selected, Origin::Driver, way);
        }
    }

    fn offer(&mut self, notice: &Arc<Notice>, selected: bool, origin: Origin, way: Way) {
        match way {
            Way::Messages if notice.is_progress() => (),
            Way::Messages => self.file(notice, selected, origin, way),
            Way::Statuses | Way::Deployments => {
                if let Some(notice) = about_commit(notice) {
                    self.file(&Arc::new(notice), selected, origin, way);
                }
            }
        }
    }

    /// Puts a notice into a group, if it is to be told.
    fn file(&mut self, notice: &Arc<Notice>, selected: bool, origin: Origin, way: Way) {
        if self.intent.suspend {
            return;
        }
        let Some(item) = self.ledger.offer(notice, selected, origin) else {
            let is_live = origin == Origin::Status && notice.reason == Reason::Converged;
            if is_live && self.ledger.has_told(notice) {
                self.overtake(&Subject::of(notice), Timestamp::now());
            }
            return;
        };
        let (now, wait) = (Timestamp::now(), self.intent.group_wait);
        match way {
            Way::Messages => self.groups.add(item, now, wait),
            Way::Statuses | Way::Deployments => {
                self.unreached.remove(&item.subject);
                for replaced in self.groups.set(item, now, wait) {
                    self.ledger.replaced(&replaced);
                }
                if let Some(oldest) = self.groups.overflow() {
                    self.give_up(&oldest);
                }
            }
        }
    }

    /// Ends problems whose resource is ready, suspended or gone, although no notice said so.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
        self.look_for_urls();
        let settled = Timestamp::now().saturating_sub(SETTLED);
        for subject in self
            .ledger
            .troubled(settled.unwrap_or(Timestamp::UNIX_EPOCH))
        {
            if let Some(notice) = standing::over(&self.context.fleet, &subject)
                && let Some(way) = self.way
            {
                self.file(&Arc::new(notice), false, Origin::Driver, way);
            }
        }
    }

    /// Whether the service keeps something of each commit, in the place of messages.
    fn keeps_commits(&self) -> bool {
        matches!(self.way, Some(Way::Statuses | Way::Deployments))
    }

    /// Begins to send the next message, if one is due and none is under way.
    fn begin_next(&mut self) {
        let ProviderView::Open(endpoint) = self.provider.borrow().clone() else {
            return;
        };
        if let Some(sending) = &mut self.sending {
            sending.go_on(&endpoint);
            return;
        }
        if self.keeps_commits() {
            self.begin_status(&endpoint);
            return;
        }
        let (namespace, name) = &self.name;
        let fleet = self.context.fleet.clone();
        let context = message::Context {
            alert: (namespace, name),
            metadata: &self.intent.metadata,
            installation: &self.installation,
            docs: self.context.policy.docs_url.as_deref(),
            repository: &move |subject| repository(&fleet, subject),
        };
        while let Some(group) = self.groups.take_due(Timestamp::now()) {
            let Some(message) = compose(&group, &self.templates, context) else {
                continue;
            };
            if let Some(error) = &message.misworded {
                self.problem = Some(format!("{error} (for a message about {})", message.reason));
            }
            let mut sending = Sending::new(group.items, message, &endpoint);
            if sending.is_done() {
                // The service takes problems only.
                self.ledger.told(sending.items());
                continue;
            }
            sending.go_on(&endpoint);
            self.sending = Some(sending);
            return;
        }
        let now = Instant::now();
        if now >= self.remind_at {
            self.remind_at = now + REMIND;
            let reminder = reminder(self.ledger.open(), context, Timestamp::now());
            if let Some(request) = message::refresh(&reminder, &endpoint.destination) {
                let mut sending = Sending::reminder(request);
                sending.go_on(&endpoint);
                self.sending = Some(sending);
            }
        }
    }

    /// Sends what is on its way to the service that the Provider names now.
    fn readdress(&mut self) {
        self.failure = None;
        if self.keeps_commits() {
            self.readdress_statuses();
            return;
        }
        let Some(sending) = &mut self.sending else {
            return;
        };
        match self.provider.borrow().clone() {
            ProviderView::Open(endpoint) => sending.readdress(&endpoint),
            // It is called again once the service is open.
            _ => sending.try_again(),
        }
        if sending.is_done() {
            self.ledger.told(sending.items());
            self.sending = None;
        }
    }

    /// Takes the result of a request.
    fn sent(&mut self, outcome: message::Outcome) {
        if self.keeps_commits() {
            self.status_sent(outcome);
            return;
        }
        let Some(sending) = &mut self.sending else {
            return;
        };
        let metrics = &self.context.metrics;
        let sent = match outcome {
            message::Outcome::Delivered => {
                self.failure = None;
                sending.next();
                SendOutcome::Delivered
            }
            // Only what keeps statuses says the latter.
            message::Outcome::Refused(why) | message::Outcome::NotThis(why) => {
                self.failure = Some(why);
                sending.next();
                SendOutcome::Refused
            }
            message::Outcome::Later(why, _) => {
                self.failure = Some(why);
                sending.try_again();
                match sending.age() > LONGEST_TRY || sending.is_reminder() {
                    true => {
                        sending.give_up();
                        SendOutcome::Dropped
                    }
                    false => SendOutcome::Delayed,
                }
            }
        };
        metrics.message(sent.as_str());
        if sending.is_done() {
            self.ledger.told(sending.items());
            self.sending = None;
        }
    }

    /// How many of the notices that were taken are not told yet. None if the service cannot be reached.
    fn untold(&self) -> Option<usize> {
        match (&*self.provider.borrow(), &self.failure) {
            (ProviderView::Open(_), None) => {
                let sending = self.sending.as_ref();
                let sending = sending.map_or(0, |sending| sending.items().len());
                Some(self.groups.len() + sending)
            }
            _ => None,
        }
    }

    /// Waits for the next event about this alert.
    async fn wait(&mut self) -> Result<(), ()> {
        let now = Timestamp::now();
        let due = self.groups.next_due().filter(|_| {
            // A group waits for the message before it, and for its service.
            self.sending.is_none() && matches!(*self.provider.borrow(), ProviderView::Open(_))
        });
        let due = due.map(|due| due.duration_since(now).try_into().unwrap_or_default());
        let mut pause: Duration = due.unwrap_or(HOUR);
        if self.ledger.open().next().is_some() || !self.unreached.is_empty() {
            pause = pause.min(self.look_at.saturating_duration_since(Instant::now()));
        }
        let write_again = self.write_again.unwrap_or_else(|| Instant::now() + HOUR);
        let sending = &mut self.sending;
        let sent = async {
            match sending {
                Some(sending) => sending.outcome().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.object.changed() => return changed.map_err(drop),
            outcome = sent => self.sent(outcome),
            () = self.queue.filled(), if self.way.is_some() => (),
            Ok(()) = self.stopping.changed() => (),
            () = self.provider.changed() => self.readdress(),
            () = self.named.changed() => (),
            () = tokio::time::sleep(pause) => (),
            () = tokio::time::sleep_until(write_again) => (),
        }
        Ok(())
    }
}

/// The URL of the repository that a resource comes from.
fn repository(fleet: &crate::fleet::Fleet, subject: &Subject) -> Option<String> {
    let Subject {
        kind,
        namespace,
        name,
    } = subject;
    let source = match &**kind {
        "Sync" => fleet.syncs.read(&SyncName::new(namespace, name)).source,
        _ => name.to_string(),
    };
    let url = fleet.sources.read(&SourceName::new(namespace, &source)).url;
    (!url.is_empty()).then(|| url.to_string())
}
