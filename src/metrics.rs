//! What Prometheus scrapes. Label sets are closed: verbs, codes, reasons and outcomes, never names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The metrics; clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    requests: Family<Request, Counter>,
    fetches: Family<Outcome, Counter>,
    fetch_seconds: Histogram,
    syncs: Family<Outcome, Counter>,
    sync_seconds: Histogram,
    live_seconds: Histogram,
    corrections: Counter,
    drifts: Counter,
    prunes: Counter,
    notices_dropped: Counter,
    webhooks: Family<Webhook, Counter>,
    driven: Family<Kind, Gauge>,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    reason: &'static str,
}

/// 10 ms to 1 h.
const SECONDS: [f64; 13] = [
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0,
];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("towline");
        let seconds = || Histogram::new(SECONDS);
        let requests = Family::default();
        registry.register(
            "api_requests",
            "Requests on managed objects, by verb and HTTP code (0: no answer)",
            requests.clone(),
        );
        let fetches = Family::default();
        registry.register("fetches", "Polls of a remote, by outcome", fetches.clone());
        let fetch_seconds = seconds();
        registry.register_with_unit(
            "fetch_duration",
            "Duration of one poll",
            Unit::Seconds,
            fetch_seconds.clone(),
        );
        let syncs = Family::default();
        registry.register(
            "reconciles",
            "Reconciles of a Sync, by outcome",
            syncs.clone(),
        );
        let sync_seconds = seconds();
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of one reconcile of a Sync",
            Unit::Seconds,
            sync_seconds.clone(),
        );
        let live_seconds = seconds();
        registry.register_with_unit(
            "commit_to_converged",
            "Time from a commit to the cluster being equal to it",
            Unit::Seconds,
            live_seconds.clone(),
        );
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter: Counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let corrections = counter(
            &mut registry,
            "corrections",
            "Drifted objects that were healed",
        );
        let drifts = counter(&mut registry, "drifts", "Drifted objects that were found");
        let prunes = counter(
            &mut registry,
            "prunes",
            "Objects deleted because they left Git",
        );
        let notices_dropped = counter(&mut registry, "events_dropped", "Events not written");
        let webhooks = Family::default();
        registry.register(
            "webhooks",
            "Requests to the webhook endpoint, by provider and outcome",
            webhooks.clone(),
        );
        let driven = Family::default();
        registry.register(
            "resources",
            "Resources that are driven, by kind",
            driven.clone(),
        );
        let leader: Gauge = Gauge::default();
        registry.register(
            "leader",
            "1 if this replica does the work, 0 if it stands by",
            leader.clone(),
        );
        registry.register(
            "build",
            "The version that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            inner: Arc::new(Inner {
                registry,
                requests,
                fetches,
                fetch_seconds,
                syncs,
                sync_seconds,
                live_seconds,
                corrections,
                drifts,
                prunes,
                notices_dropped,
                webhooks,
                driven,
                leader,
            }),
        }
    }
}

impl Metrics {
    /// The metrics in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.inner.registry);
        text
    }

    /// Counts an answer of the API server about a managed object.
    pub fn request<T>(&self, verb: &'static str, answer: &Result<T, kube::Error>) {
        let code = match answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(_) => 0,
        };
        self.inner
            .requests
            .get_or_create(&Request { verb, code })
            .inc();
    }

    /// Counts a poll of a remote.
    pub fn fetch(&self, reason: &'static str, took: Duration) {
        self.inner.fetches.get_or_create(&Outcome { reason }).inc();
        self.inner.fetch_seconds.observe(took.as_secs_f64());
    }

    /// Counts a reconcile of a Sync.
    pub fn sync(&self, reason: &'static str, took: Duration) {
        self.inner.syncs.get_or_create(&Outcome { reason }).inc();
        self.inner.sync_seconds.observe(took.as_secs_f64());
    }

    /// Observes how long a commit took to be live.
    pub fn live(&self, took: Duration) {
        self.inner.live_seconds.observe(took.as_secs_f64());
    }

    /// Counts drifted objects that were found.
    pub fn drifted(&self, count: usize) {
        self.inner.drifts.inc_by(count as u64);
    }

    /// Counts drifted objects that were healed.
    pub fn corrected(&self, count: usize) {
        self.inner.corrections.inc_by(count as u64);
    }

    /// Counts objects that were pruned.
    pub fn pruned(&self, count: usize) {
        self.inner.prunes.inc_by(count as u64);
    }

    /// Counts an event that was not written.
    pub fn notice_dropped(&self) {
        self.inner.notices_dropped.inc();
    }

    /// Counts a request to the webhook endpoint.
    pub fn webhook(&self, provider: &'static str, outcome: &'static str) {
        let labels = Webhook { provider, outcome };
        self.inner.webhooks.get_or_create(&labels).inc();
    }

    /// Says whether this replica does the work.
    pub fn leads(&self, leads: bool) {
        self.inner.leader.set(leads.into());
    }

    /// Says how many resources of a kind are driven.
    pub fn driven(&self, kind: &str, count: usize) {
        let kind = Kind {
            kind: kind.to_owned(),
        };
        self.inner.driven.get_or_create(&kind).set(count as i64);
    }
}
