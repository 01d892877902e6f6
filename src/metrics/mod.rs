//! The metrics for Prometheus. Label values come from closed sets (verbs, codes, reasons, states,
//! outcomes). The names of the first Syncs and repositories are the exception: the room that knows
//! them registers a collector, which gives these series of their own.

mod computed;
mod process;
mod queue;
mod renders;
mod requests;
mod text;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::computed::{computed, gauges};
use self::queue::Queues;
pub use self::queue::{AtWork, Work};
pub use self::renders::Renders;
pub use self::requests::{Answered, CountRequests};
use crate::api::Reason;

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    /// Other rooms add collectors while the operator starts.
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    requests_waiting: Gauge,
    fetches: Family<Outcome, Counter>,
    fetch_seconds: Histogram,
    syncs: Family<Outcome, Counter>,
    sync_seconds: Histogram,
    stretches: [Histogram; 4],
    corrections: Counter,
    drifts: Counter,
    delayed_corrections: Counter,
    prunes: Counter,
    brakes: Family<Outcome, Counter>,
    notices_dropped: Counter,
    messages: Family<MessageOutcome, Counter>,
    spans: Family<MessageOutcome, Counter>,
    webhooks: Family<Webhook, Counter>,
    driven: Family<KindLabel, Gauge>,
    leader: Gauge,
    queues: Queues,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    on: &'static str,
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    reason: &'static str,
}

/// What the names of all metrics of towline begin with.
const PREFIX: &str = "towline";

/// A part of a commit's way into the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// From the commit, by its committer's clock, to towline seeing it.
    CommitToObserved,
    /// From that time to the last applied object.
    ObservedToApplied,
    /// From that time until the cluster equals the commit and, with `wait`, is healthy.
    AppliedToConverged,
    /// The whole way.
    CommitToConverged,
}

const STRETCHES: [(&str, &str); 4] = [
    (
        "commit_to_observed",
        "From a commit, by its committer's clock, until towline saw it",
    ),
    (
        "observed_to_applied",
        "From the time when towline saw a commit to its last applied object",
    ),
    (
        "applied_to_converged",
        "From the last applied object of a commit until the cluster equals the commit and, with wait, is healthy",
    ),
    (
        "commit_to_converged",
        "From a commit until the cluster equals it and, with wait, is healthy: the time to production",
    ),
];

/// 10 ms to 1 h.
const SECONDS: [f64; 13] = [
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0,
];

/// The reasons whose counters start at zero, so that the first event of each shows as an increase.
const OF_FETCHES: [Reason; 8] = [
    Reason::Fetched,
    Reason::FetchFailed,
    Reason::AuthenticationFailed,
    Reason::CredentialsInvalid,
    Reason::RefNotFound,
    Reason::TooLarge,
    Reason::VerificationFailed,
    Reason::SignersInvalid,
];
const OF_RECONCILES: [Reason; 5] = [
    Reason::Converged,
    Reason::Progressing,
    Reason::DriftFound,
    Reason::ApplyFailed,
    Reason::InvalidManifest,
];
const OF_BRAKES: [Reason; 5] = [
    Reason::EmptyRender,
    Reason::PathNotFound,
    Reason::InvalidManifest,
    Reason::ApplyFailed,
    Reason::PruneHeld,
];

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(process::Process::now()));
        let registry = all.sub_registry_with_prefix(PREFIX);
        let queues = Queues::default();
        registry.register_collector(Box::new(queues.clone()));
        registry.register(
            "build",
            "The version of towline that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let inner = Inner {
            requests: family(
                registry,
                "api_requests",
                "Requests to the API server; code 0 means no answer",
            ),
            requests_waiting: gauge(
                registry,
                "api_requests_waiting",
                "Requests on managed objects that wait for one of the connections",
            ),
            fetches: by_reason(
                registry,
                "fetches",
                "Polls of a remote, including those without a usable Secret",
                &OF_FETCHES,
            ),
            fetch_seconds: seconds(registry, "fetch_duration", "Duration of one poll"),
            syncs: by_reason(
                registry,
                "reconciles",
                "Reconciles of a Sync",
                &OF_RECONCILES,
            ),
            sync_seconds: seconds(
                registry,
                "reconcile_duration",
                "Duration of one reconcile of a Sync",
            ),
            stretches: STRETCHES.map(|(name, help)| seconds(registry, name, help)),
            corrections: counter(registry, "corrections", "Drifted objects that were healed"),
            drifts: counter(registry, "drifts", "Drifted objects that were found"),
            delayed_corrections: counter(
                registry,
                "delayed_corrections",
                "Corrections that were delayed because the object keeps being changed back",
            ),
            prunes: counter(registry, "prunes", "Objects deleted because they left Git"),
            brakes: by_reason(
                registry,
                "prune_brakes",
                "Times that pruning was held back because a revision cannot be rendered, objects fail, or a person has to approve it",
                &OF_BRAKES,
            ),
            notices_dropped: counter(registry, "events_dropped", "Events that were not written"),
            messages: family(
                registry,
                "messages",
                "Messages of alerts: delivered, delayed (and tried again), refused by the service, or dropped",
            ),
            spans: family(
                registry,
                "trace_spans",
                "Spans of traces: delivered, delayed (and tried again), refused by the receiver, or dropped",
            ),
            webhooks: family(
                registry,
                "webhooks",
                "Calls of the webhook endpoint, by provider and outcome",
            ),
            driven: family(
                registry,
                "resources",
                "GitRepositories and Syncs that this replica drives; a standby counts those that it would drive",
            ),
            leader: gauge(
                registry,
                "leader",
                "1 if this replica leads, 0 if it is a standby",
            ),
            queues,
            registry: Mutex::new(all),
        };
        for code in [200, 201] {
            let labels = Request {
                on: "managed",
                verb: "apply",
                code,
            };
            drop(inner.requests.get_or_create(&labels));
        }
        Self {
            inner: Arc::new(inner),
        }
    }
}

fn family<M: Default + Clone, L: Clone + std::hash::Hash + Eq>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<L, M>
where
    Family<L, M>: prometheus_client::registry::Metric,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn by_reason(
    registry: &mut Registry,
    name: &str,
    help: &str,
    known: &[Reason],
) -> Family<Outcome, Counter> {
    let family: Family<Outcome, Counter> = family(registry, name, &format!("{help}, by reason"));
    for reason in known {
        drop(family.get_or_create(&Outcome::of(*reason)));
    }
    family
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter: Counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge: Gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

impl Outcome {
    fn of(reason: Reason) -> Self {
        Self {
            reason: reason.as_str(),
        }
    }
}

impl Metrics {
    /// The metrics in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }

    /// The metrics in Prometheus text format (version 0.0.4), which is older than OpenMetrics.
    pub fn encode_plain(&self) -> String {
        text::plain(&self.encode())
    }

    /// Adds metrics that are computed at each scrape.
    pub fn register(&self, collector: impl Collector) {
        let mut registry = self.registry();
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register_collector(Box::new(collector));
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        let registry = self.inner.registry.lock();
        registry.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a driver as busy until the returned value is dropped.
    pub fn at_work(&self, work: Work) -> AtWork {
        self.inner.queues.begin(work)
    }

    /// A layer for clients of the API server, which counts their requests.
    pub fn requests(&self) -> CountRequests {
        CountRequests::new(self.clone())
    }

    fn request(&self, on: &'static str, verb: &'static str, code: u16) {
        let labels = Request { on, verb, code };
        self.inner.requests.get_or_create(&labels).inc();
    }

    /// Counts a request on a managed object as waiting, until the returned value is dropped.
    pub fn request_waits(&self) -> Waiting {
        self.inner.requests_waiting.inc();
        Waiting(self.inner.requests_waiting.clone())
    }

    /// Counts a poll of a remote.
    pub fn fetch(&self, reason: Reason, took: Duration) {
        self.inner.fetches.get_or_create(&Outcome::of(reason)).inc();
        self.inner.fetch_seconds.observe(took.as_secs_f64());
    }

    /// Counts a reconcile of a Sync.
    pub fn sync(&self, reason: Reason, took: Duration) {
        self.inner.syncs.get_or_create(&Outcome::of(reason)).inc();
        self.inner.sync_seconds.observe(took.as_secs_f64());
    }

    /// Observes the duration of a part of a commit's way. A negative duration, from clocks that
    /// disagree, counts as zero.
    pub fn stretch(&self, stretch: Stretch, from: Timestamp, to: Timestamp) {
        let took = to.duration_since(from).as_secs_f64().max(0.0);
        self.inner.stretches[stretch as usize].observe(took);
    }

    /// Counts drifted objects that were found.
    pub fn drifted(&self, count: usize) {
        self.inner.drifts.inc_by(count as u64);
    }

    /// Counts drifted objects that were healed.
    pub fn corrected(&self, count: usize) {
        self.inner.corrections.inc_by(count as u64);
    }

    /// Counts corrections that were delayed because the object keeps being changed back.
    pub fn corrections_delayed(&self, count: usize) {
        self.inner.delayed_corrections.inc_by(count as u64);
    }

    /// Counts objects that were pruned.
    pub fn pruned(&self, count: usize) {
        self.inner.prunes.inc_by(count as u64);
    }

    /// Counts the times that pruning was held back.
    pub fn braked(&self, reason: Reason) {
        self.inner.brakes.get_or_create(&Outcome::of(reason)).inc();
    }

    /// Counts an event that was not written.
    pub fn notice_dropped(&self) {
        self.inner.notices_dropped.inc();
    }

    /// Counts a message of an alert, or a notice that was dropped before it became one.
    pub fn message(&self, outcome: &'static str) {
        let labels = MessageOutcome { outcome };
        self.inner.messages.get_or_create(&labels).inc();
    }

    /// Counts spans of traces.
    pub fn spans(&self, outcome: &'static str, count: usize) {
        let labels = MessageOutcome { outcome };
        self.inner.spans.get_or_create(&labels).inc_by(count as u64);
    }

    /// Counts a request to the webhook endpoint.
    pub fn webhook(&self, provider: &'static str, outcome: &'static str) {
        let labels = Webhook { provider, outcome };
        self.inner.webhooks.get_or_create(&labels).inc();
    }

    /// Records whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.inner.leader.set(leads.into());
    }

    /// Records how many resources of a kind have a driver.
    pub fn driven(&self, kind: &str, count: usize) {
        let kind = KindLabel {
            kind: kind.to_owned(),
        };
        self.inner.driven.get_or_create(&kind).set(count as i64);
    }
}

/// A request that waits.
pub struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
