//! Between drivers and services: notices for each alert, the services that Providers open, and the requests to them.
//!
//! Nothing here waits for a service in the task of a Sync: a notice is put into the queues of the alerts that tell it.

mod endpoint;
mod mail;
mod post;
mod traces;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub use self::endpoint::{Endpoint, Health};
pub use self::post::{Client, Transport};
pub use self::traces::{TraceReceiver, Traces};
use crate::fleet::{Fleet, Registry, SourceName, View};
use crate::intent::Service;
use crate::message::{Filter, Subject};
use crate::metrics::Metrics;
use crate::notify::{Notice, Sink};
use crate::plan::SyncName;

/// The most notices that wait for one alert to look at them, and for the first list of alerts.
const WAITING: usize = 10_000;

/// A namespace and a name: of an alert or of a provider.
pub type Name = (String, String);

/// What others know of a provider.
#[derive(Clone, Default)]
pub enum ProviderView {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It does not exist.
    Absent,
    /// It is suspended.
    Suspended(Service),
    /// It cannot be used, for this reason. Its service is not known if its spec cannot be read.
    Broken(Option<Service>, String),
    /// It takes messages.
    Open(Arc<Endpoint>),
}

impl PartialEq for ProviderView {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(one), Self::Open(other)) => Arc::ptr_eq(one, other),
            (Self::Broken(.., one), Self::Broken(.., other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl ProviderView {
    /// The service, where it is known.
    pub fn service(&self) -> Option<Service> {
        match self {
            Self::Unknown | Self::Absent => None,
            Self::Suspended(service) => Some(*service),
            Self::Broken(service, _) => *service,
            Self::Open(endpoint) => Some(endpoint.destination.service),
        }
    }
}

impl View<Name> for ProviderView {
    fn absent(_: &Name) -> Self {
        Self::Absent
    }
}

/// The kinds of resource that notices are about, and whether all of their resources are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Listed {
    syncs: bool,
    repositories: bool,
}

/// The queues of alerts, and the open providers. Clones share them.
#[derive(Clone)]
pub struct Outbox {
    table: Arc<Mutex<Table>>,
    listed: watch::Sender<Listed>,
    /// Whether the operator stops: no message waits for more notices.
    stopping: watch::Sender<bool>,
    fleet: Fleet,
    metrics: Metrics,
    /// The providers that drivers opened.
    pub providers: Registry<Name, ProviderView>,
    /// Sends requests.
    pub client: Client,
    /// The traces of commits.
    pub traces: Traces,
}

#[derive(Default)]
struct Table {
    alerts: BTreeMap<Name, Arc<Queue>>,
    /// Notices from the time before all alerts are known.
    early: VecDeque<Arc<Notice>>,
    all_known: bool,
    /// What the statuses of resources say that alerts may have to tell, from the time before this replica led.
    standing: BTreeMap<Subject, Vec<Arc<Notice>>>,
}

/// The notices that an alert has not looked at yet.
#[derive(Default)]
pub struct Queue {
    generation: Mutex<Option<i64>>,
    /// None while the alert tells nothing.
    filter: Mutex<Option<Arc<Filter>>>,
    waiting: Mutex<VecDeque<(Arc<Notice>, bool)>>,
    added: Notify,
    /// How many notices the service should have soon and does not have yet.
    untold: watch::Sender<usize>,
}

impl Queue {
    /// Waits until there are notices.
    pub async fn filled(&self) {
        while lock(&self.waiting).is_empty() {
            self.added.notified().await;
        }
    }

    /// Takes the notices, each with whether the alert asks for it.
    pub fn take(&self) -> VecDeque<(Arc<Notice>, bool)> {
        std::mem::take(&mut *lock(&self.waiting))
    }

    /// Records how many of the notices that were taken are not told yet. None: none will be soon.
    pub fn left(&self, taken: Option<usize>) {
        let waiting = lock(&self.waiting);
        let untold = taken.map_or(0, |taken| taken + waiting.len());
        self.untold.send_replace(untold);
    }

    /// Adds a notice, if the alert is about its resource. False if there is no room.
    fn offer(&self, notice: &Arc<Notice>, fleet: &Fleet) -> bool {
        let filter = lock(&self.filter).clone();
        let Some(filter) = filter else { return true };
        let subject = Subject::of(notice);
        if !filter.is_about(&subject, || labels(fleet, &subject)) {
            return true;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING {
            return false;
        }
        waiting.push_back((Arc::clone(notice), filter.selects(notice)));
        self.untold.send_modify(|untold| *untold += 1);
        drop(waiting);
        self.added.notify_one();
        true
    }
}

/// The labels of a resource.
fn labels(fleet: &Fleet, subject: &Subject) -> BTreeMap<String, String> {
    let Subject {
        kind,
        namespace,
        name,
    } = subject;
    let labels = match &**kind {
        "Sync" => fleet.syncs.read(&SyncName::new(namespace, name)).labels,
        _ => fleet.sources.read(&SourceName::new(namespace, name)).labels,
    };
    (*labels).clone()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for Outbox {
    fn take(&self, notice: &Arc<Notice>) {
        let mut table = lock(&self.table);
        if !table.all_known {
            if table.early.len() >= WAITING {
                table.early.pop_front();
                self.metrics.message(SendOutcome::Dropped.as_str());
            }
            table.early.push_back(Arc::clone(notice));
            return;
        }
        let queues: Vec<Arc<Queue>> = table.alerts.values().cloned().collect();
        drop(table);
        self.offer(&queues, notice);
    }
}

/// What became of a message, or of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The service has it.
    Delivered,
    /// The service does not take it now. It is tried again.
    Delayed,
    /// The service never takes it.
    Refused,
    /// It was too old, or there was no room for it.
    Dropped,
}

impl SendOutcome {
    /// The value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Delayed => "delayed",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

impl Outbox {
    /// An outbox without alerts.
    pub fn new(fleet: Fleet, metrics: Metrics) -> Self {
        Self {
            table: Arc::default(),
            listed: watch::Sender::default(),
            stopping: watch::Sender::default(),
            fleet,
            metrics,
            providers: Registry::default(),
            client: Client::default(),
            traces: Traces::default(),
        }
    }

    fn offer(&self, queues: &[Arc<Queue>], notice: &Arc<Notice>) {
        for queue in queues {
            if !queue.offer(notice, &self.fleet) {
                self.metrics.message(SendOutcome::Dropped.as_str());
            }
        }
    }

    /// Registers an alert, or changes what it asks for. `filter` is called only for a new generation. It returns none
    /// while the alert tells nothing.
    pub fn register(
        &self,
        alert: &Name,
        generation: Option<i64>,
        filter: impl FnOnce() -> Option<Filter>,
    ) {
        let queue = Arc::clone(lock(&self.table).alerts.entry(alert.clone()).or_default());
        let mut known = lock(&queue.generation);
        if known.is_some() && *known == generation {
            return;
        }
        *known = generation;
        *lock(&queue.filter) = filter().map(Arc::new);
    }

    /// Becomes true when the operator stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Asks all alerts to tell what they have without waiting for more, and waits for that. Returns how many notices
    /// are not told when `within` is over.
    pub async fn flush(&self, within: Duration) -> usize {
        self.stopping.send_replace(true);
        let queues: Vec<Arc<Queue>> = lock(&self.table).alerts.values().cloned().collect();
        let all_told = async {
            for queue in &queues {
                // The queue owns the sender, so the wait cannot fail.
                let _ = queue.untold.subscribe().wait_for(|left| *left == 0).await;
            }
        };
        let _ = timeout(within, all_told).await;
        queues.iter().map(|queue| *queue.untold.borrow()).sum()
    }

    /// The queue of an alert.
    pub fn queue(&self, alert: &Name) -> Arc<Queue> {
        Arc::clone(lock(&self.table).alerts.entry(alert.clone()).or_default())
    }

    /// Removes an alert.
    pub fn remove(&self, alert: &Name) {
        lock(&self.table).alerts.remove(alert);
    }

    /// Records that all alerts are known, and gives them the notices that came earlier.
    pub fn all_alerts_known(&self) {
        let mut table = lock(&self.table);
        table.all_known = true;
        let early = std::mem::take(&mut table.early);
        let queues: Vec<Arc<Queue>> = table.alerts.values().cloned().collect();
        drop(table);
        for notice in early {
            self.offer(&queues, &notice);
        }
    }

    /// Records what the status of a resource says that alerts may have to tell. Does nothing if `is_driven`: this
    /// replica tells it itself.
    pub fn stand(&self, subject: Subject, is_driven: bool, notices: impl FnOnce() -> Vec<Notice>) {
        let listed = *self.listed.borrow();
        let is_listed = match &*subject.kind {
            "Sync" => listed.syncs,
            _ => listed.repositories,
        };
        if is_driven && is_listed {
            return;
        }
        let notices: Vec<_> = notices().into_iter().map(Arc::new).collect();
        let standing = &mut lock(&self.table).standing;
        match notices.is_empty() {
            true => standing.remove(&subject),
            false => standing.insert(subject, notices),
        };
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, subject: &Subject) {
        lock(&self.table).standing.remove(subject);
    }

    /// Records that all Syncs are known.
    pub fn all_syncs_known(&self) {
        self.listed.send_modify(|listed| listed.syncs = true);
    }

    /// Records that all GitRepositories are known.
    pub fn all_repositories_known(&self) {
        self.listed.send_modify(|listed| listed.repositories = true);
    }

    /// What the statuses of resources say that an alert may have to tell, each with whether the alert asks for it, in the
    /// order of time. Waits until all resources are known.
    pub async fn standing(&self, alert: &Name) -> Vec<(Arc<Notice>, bool)> {
        let mut listed = self.listed.subscribe();
        // This value owns the sender, so the wait cannot fail.
        let _ = listed
            .wait_for(|listed| listed.syncs && listed.repositories)
            .await;
        let Some(filter) = lock(&self.queue(alert).filter).clone() else {
            return Vec::new();
        };
        let table = lock(&self.table);
        let theirs = table
            .standing
            .iter()
            .filter(|(subject, _)| filter.is_about(subject, || labels(&self.fleet, subject)));
        let mut notices: Vec<_> = theirs
            .flat_map(|(_, notices)| notices)
            .map(|notice| (Arc::clone(notice), filter.selects(notice)))
            .collect();
        // Those of a resource stand in their order, which a stable sort keeps where times are the same.
        notices.sort_by_key(|(notice, _)| notice.at);
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::intent::{AlertIntent, NoticeSource};
    use crate::message::testing::notice;

    fn filter() -> Filter {
        let intent = AlertIntent {
            generation: Some(1),
            provider: "slack".to_owned(),
            warnings_only: false,
            reasons: Vec::new(),
            sources: vec![NoticeSource {
                kind: "Sync".to_owned(),
                name: None,
                namespace: Some("prod".to_owned()),
                labels: BTreeMap::new(),
            }],
            include: Vec::new(),
            exclude: Vec::new(),
            metadata: BTreeMap::new(),
            group_wait: std::time::Duration::ZERO,
            title: None,
            body: None,
            deployments: false,
            suspend: false,
        };
        Filter::new(&intent, "prod", false).unwrap()
    }

    /// Far more notices than there is room for: the queue is bounded, and what is left out is counted.
    #[test]
    fn a_flood_of_notices_costs_bounded_memory() {
        let metrics = Metrics::default();
        let outbox = Outbox::new(Fleet::default(), metrics.clone());
        let name = ("prod".to_owned(), "chat".to_owned());
        for number in 0..WAITING + 5 {
            let notice = notice(&number.to_string(), Reason::Converged, 1);
            outbox.take(&Arc::new(notice));
        }
        outbox.register(&name, Some(1), || Some(filter()));
        outbox.all_alerts_known();
        for number in 0..5 {
            let notice = notice(&number.to_string(), Reason::Diff, 1);
            outbox.take(&Arc::new(notice));
        }
        let kept = outbox.queue(&name).take();
        assert_eq!(kept.len(), WAITING);
        assert_eq!(
            kept[0].0.about.name.as_deref(),
            Some("5"),
            "the oldest made room"
        );
        let dropped = r#"towline_messages_total{outcome="dropped"} 10"#;
        assert!(metrics.encode().contains(dropped));
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_will_be_told_soon_and_not_for_long() {
        let outbox = Outbox::new(Fleet::default(), Metrics::default());
        let name = ("prod".to_owned(), "chat".to_owned());
        outbox.register(&name, Some(1), || Some(filter()));
        outbox.all_alerts_known();
        outbox.take(&Arc::new(notice("shop", Reason::DriftCorrected, 1)));
        let queue = outbox.queue(&name);
        assert_eq!(outbox.flush(Duration::from_millis(1)).await, 1);
        assert!(*outbox.stopping().borrow());
        let driver = async {
            let taken = queue.take().len();
            outbox.take(&Arc::new(notice("cart", Reason::DriftCorrected, 1)));
            queue.left(Some(taken));
            tokio::task::yield_now().await;
            queue.left(Some(queue.take().len() - 1));
        };
        let (left, ()) = tokio::join!(outbox.flush(Duration::from_secs(60)), driver);
        assert_eq!(left, 0);
        outbox.take(&Arc::new(notice("shop", Reason::DriftCorrected, 1)));
        queue.left(None);
        assert_eq!(outbox.flush(Duration::from_secs(60)).await, 0, "no service");
    }

    #[tokio::test]
    async fn what_stands_in_statuses_is_read_when_all_are_known() {
        let outbox = Outbox::new(Fleet::default(), Metrics::default());
        let name = ("prod".to_owned(), "chat".to_owned());
        outbox.register(&name, Some(1), || Some(filter()));
        let shop = || vec![notice("shop", Reason::Converged, 1)];
        let subject = Subject::new("Sync", "prod", "shop");
        outbox.stand(subject.clone(), true, shop);
        outbox.stand(Subject::new("Sync", "prod", "gone"), true, shop);
        outbox.forget(&Subject::new("Sync", "prod", "gone"));
        outbox.all_syncs_known();
        let other = outbox.clone();
        let name = name.clone();
        let standing = tokio::spawn(async move { other.standing(&name).await.len() });
        outbox.all_repositories_known();
        outbox.stand(subject, true, Vec::new);
        assert_eq!(standing.await.unwrap(), 1, "its driver tells it now");
    }
}
