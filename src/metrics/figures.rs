//! Figures of each Sync and repository: series for the first of them, and sums over all.
//!
//! The drivers store figures here when a status changes. Nothing is computed until a scrape. The
//! labels are `sync_namespace` and `sync`, and not `namespace` and `name`: Prometheus adds the
//! target's own `namespace` to every series, and renames a label of the same name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::api::{Condition, ConditionType, ObjectCounts, Reason};

/// How many Syncs and how many repositories have series: the first ones.
pub const SERIES: usize = 1000;

/// The state of the condition `Ready`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Whether it is true.
    pub is: bool,
    /// Its reason.
    pub reason: Reason,
    /// Since when it has not been true. None while it is true, and while the resource is suspended.
    pub not_since: Option<Timestamp>,
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            is: false,
            reason: Reason::Progressing,
            not_since: None,
        }
    }
}

impl Ready {
    /// Reads a status.
    pub fn of(conditions: &[Condition]) -> Self {
        let ready = ConditionType::Ready.as_str();
        let Some(ready) = conditions.iter().find(|one| one.type_ == ready) else {
            return Self::default();
        };
        let mut told = Self {
            not_since: Some(ready.last_transition_time.0),
            ..Self::default()
        };
        let reason = Reason::named(&ready.reason).unwrap_or(Reason::Progressing);
        told.turns(ready.status == "True", reason);
        told
    }

    /// Records the current state, which may be the same as before.
    pub fn turns(&mut self, is: bool, reason: Reason) {
        let since = self.not_since.unwrap_or_else(Timestamp::now);
        *self = Self {
            is,
            reason,
            not_since: (!is && reason != Reason::Suspended).then_some(since),
        };
    }
}

/// The figures of a Sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncFigures {
    /// Whether the cluster equals Git.
    pub ready: Ready,
    /// Its objects.
    pub counts: ObjectCounts,
    /// Objects whose correction is delayed because they keep being changed back.
    pub contested: u32,
    /// When the live revision converged.
    pub converged_at: Option<Timestamp>,
    /// When the last revision that changed an object converged.
    pub changed_at: Option<Timestamp>,
    /// The time from commit to converged of that revision.
    pub last_change: Option<Duration>,
    /// How many revisions that changed an object have converged since this replica began to lead. A
    /// Sync's first revision does not count.
    pub changes: u32,
    /// The sum of their times from commit to converged.
    pub changing: Duration,
}

impl SyncFigures {
    fn states(&self) -> [(&'static str, u32); 8] {
        let ObjectCounts {
            desired,
            applied,
            drifted,
            unhealthy,
            waiting,
            failed,
            unpruned,
        } = self.counts;
        [
            ("desired", desired),
            ("applied", applied),
            ("drifted", drifted),
            ("contested", self.contested),
            ("unhealthy", unhealthy),
            ("waiting", waiting),
            ("failed", failed),
            ("unpruned", unpruned),
        ]
    }
}

/// The figures of a repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepositoryFigures {
    /// Whether its newest revision is fetched, and may go live.
    pub ready: Ready,
    /// When it was last polled successfully.
    pub fetched_at: Option<Timestamp>,
}

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// The resources of one kind. Clones share them.
#[derive(Clone, Debug)]
pub struct Rows<F> {
    rows: Arc<Mutex<BTreeMap<Name, Row<F>>>>,
    leads: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
struct Row<F> {
    figures: F,
    /// It has series.
    shown: bool,
    /// Since when its driver is busy.
    at_work: Option<Instant>,
}

impl<F: Clone + Default> Rows<F> {
    fn new(leads: &Arc<AtomicBool>) -> Self {
        Self {
            rows: Arc::default(),
            leads: Arc::clone(leads),
        }
    }

    /// Adds a resource with its figures. If the resource is known, its figures stay, unless another
    /// replica drives it.
    pub fn add(&self, namespace: &str, name: &str, figures: impl FnOnce() -> F) {
        let (mut rows, name) = (self.lock(), (namespace.into(), name.into()));
        if let Some(row) = rows.get_mut(&name) {
            if !self.leads.load(Ordering::Relaxed) {
                row.figures = figures();
            }
            return;
        }
        let row = Row {
            figures: figures(),
            shown: rows.values().filter(|row| row.shown).count() < SERIES,
            at_work: None,
        };
        rows.insert(name, row);
    }

    /// Changes figures. Does nothing if the resource was removed, because its driver may end later.
    pub fn set(&self, namespace: &str, name: &str, change: impl FnOnce(&mut F)) {
        if let Some(row) = self.lock().get_mut(&(namespace.into(), name.into())) {
            change(&mut row.figures);
        }
    }

    /// Removes a resource. The next resource without series gets its place.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut rows = self.lock();
        let gone = rows.remove(&(namespace.into(), name.into()));
        if gone.is_some_and(|row| row.shown)
            && let Some(next) = rows.values_mut().find(|row| !row.shown)
        {
            next.shown = true;
        }
    }

    /// Marks a driver as busy until the returned value is dropped.
    pub fn at_work(&self, namespace: &str, name: &str) -> AtWork<F> {
        let name: Name = (namespace.into(), name.into());
        if let Some(row) = self.lock().get_mut(&name) {
            row.at_work = Some(Instant::now());
        }
        AtWork {
            rows: self.clone(),
            name,
        }
    }

    /// A copy, so that no driver waits while metrics are encoded.
    fn copied(&self) -> Vec<(Name, Row<F>)> {
        let rows = self.lock();
        let rows = rows.iter();
        rows.map(|(name, row)| (name.clone(), row.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Row<F>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A busy driver.
pub struct AtWork<F: Clone + Default> {
    rows: Rows<F>,
    name: Name,
}

impl<F: Clone + Default> Drop for AtWork<F> {
    fn drop(&mut self) {
        if let Some(row) = self.rows.lock().get_mut(&self.name) {
            row.at_work = None;
        }
    }
}

/// All Syncs and repositories.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The Syncs.
    pub syncs: Rows<SyncFigures>,
    /// The repositories.
    pub repositories: Rows<RepositoryFigures>,
    leads: Arc<AtomicBool>,
}

impl Default for Figures {
    fn default() -> Self {
        let leads = Arc::default();
        Self {
            syncs: Rows::new(&leads),
            repositories: Rows::new(&leads),
            leads,
        }
    }
}

impl Figures {
    /// Records whether this replica leads. A standby publishes no figures: they would repeat the
    /// leader's, and be older.
    pub(super) fn lead(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.leads.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (syncs, repositories) = (self.syncs.copied(), self.repositories.copied());
        let mut families = Families(&mut encoder);
        families.kinds(&syncs, &repositories)?;
        families.sums(&syncs, &repositories)?;
        families.syncs(&syncs)?;
        families.repositories(&repositories)
    }
}

/// The value of a Sync's series, if it has one.
type Value = fn(&SyncFigures) -> Option<f64>;

struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    /// The queues. A driver that is not busy has nothing to do, so the busy drivers are the queue.
    fn kinds(
        &mut self,
        syncs: &[(Name, Row<SyncFigures>)],
        repositories: &[(Name, Row<RepositoryFigures>)],
    ) -> fmt::Result {
        let by_kind = |of_syncs, of_repositories| {
            [("Sync", of_syncs), ("GitRepository", of_repositories)]
                .map(|(kind, value): (_, f64)| ([("kind", kind)], value))
        };
        let (depth, age) = queue(syncs);
        let (fetches, fetch_age) = queue(repositories);
        self.gauge(
            "queue_depth",
            "Syncs being reconciled and GitRepositories being fetched",
            None,
            by_kind(depth, fetches),
        )?;
        self.gauge(
            "queue_age",
            "How long the oldest running work has taken so far",
            Some(&Unit::Seconds),
            by_kind(age, fetch_age),
        )?;
        self.gauge(
            "series_dropped",
            "Syncs and GitRepositories that have no series of their own",
            None,
            by_kind(hidden(syncs), hidden(repositories)),
        )
    }

    fn sums(
        &mut self,
        syncs: &[(Name, Row<SyncFigures>)],
        repositories: &[(Name, Row<RepositoryFigures>)],
    ) -> fmt::Result {
        let mut objects = SyncFigures::default().states().map(|(state, _)| (state, 0));
        for (_, row) in syncs {
            for ((_, sum), (_, count)) in objects.iter_mut().zip(row.figures.states()) {
                *sum += u64::from(count);
            }
        }
        let objects = objects.map(|(state, sum)| ([("state", state)], sum as f64));
        self.gauge("objects", "Objects of all Syncs, by state", None, objects)?;
        let reasons = counted(syncs.iter().map(|(_, row)| row.figures.ready.reason));
        self.gauge("syncs", "Syncs, by the reason of Ready", None, reasons)?;
        let reasons = counted(repositories.iter().map(|(_, row)| row.figures.ready.reason));
        let help = "GitRepositories, by the reason of Ready";
        self.gauge("repositories", help, None, reasons)
    }

    fn syncs(&mut self, rows: &[(Name, Row<SyncFigures>)]) -> fmt::Result {
        let shown = || {
            let shown = rows.iter().filter(|(_, row)| row.shown);
            shown.map(|(name, row)| (of_sync(name), &row.figures))
        };
        self.gauge(
            "sync_ready",
            "1 if a Sync is ready, else 0, with the reason",
            None,
            shown().map(|([namespace, sync], figures)| {
                let reason = ("reason", figures.ready.reason.as_str());
                ([namespace, sync, reason], f64::from(figures.ready.is))
            }),
        )?;
        let seconds = Some(&Unit::Seconds);
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let more: [(&str, &str, Option<&Unit>, MetricType, Value); 6] = [
            (
                "sync_behind_since_timestamp",
                "Since when a Sync has not been ready; absent while it is ready or suspended",
                seconds,
                gauge,
                |figures| figures.ready.not_since.map(epoch),
            ),
            (
                "sync_last_converged_timestamp",
                "When the live revision of a Sync converged",
                seconds,
                gauge,
                |figures| figures.converged_at.map(epoch),
            ),
            (
                "sync_last_change_timestamp",
                "When the last revision of a Sync that changed something converged",
                seconds,
                gauge,
                |figures| figures.changed_at.map(epoch),
            ),
            (
                "sync_last_change_duration",
                "From commit to converged, for the last revision of a Sync that changed something",
                seconds,
                gauge,
                |figures| figures.last_change.map(|took| took.as_secs_f64()),
            ),
            (
                "sync_changes",
                "Revisions of a Sync that changed something and have converged; its first revision does not count",
                None,
                counter,
                |figures| Some(figures.changes.into()),
            ),
            (
                "sync_change",
                "From commit to converged, summed over the revisions in towline_sync_changes_total",
                seconds,
                counter,
                |figures| Some(figures.changing.as_secs_f64()),
            ),
        ];
        for (name, help, unit, kind, value) in more {
            let known = shown().filter_map(|(labels, figures)| Some((labels, value(figures)?)));
            self.family(name, help, unit, kind, known)?;
        }
        let states = shown().flat_map(|([namespace, sync], figures)| {
            figures.states().map(|(state, count)| {
                let labels = [namespace, sync, ("state", state)];
                (labels, f64::from(count))
            })
        });
        let help = "Objects of a Sync, by state";
        self.gauge("sync_objects", help, None, states)
    }

    fn repositories(&mut self, rows: &[(Name, Row<RepositoryFigures>)]) -> fmt::Result {
        let shown = || {
            let shown = rows.iter().filter(|(_, row)| row.shown);
            shown.map(|((namespace, name), row)| {
                let labels = [
                    ("repository_namespace", &**namespace),
                    ("repository", &**name),
                ];
                (labels, &row.figures)
            })
        };
        self.gauge(
            "repository_ready",
            "1 if a GitRepository is ready, else 0, with the reason",
            None,
            shown().map(|([namespace, repository], figures)| {
                let reason = ("reason", figures.ready.reason.as_str());
                ([namespace, repository, reason], f64::from(figures.ready.is))
            }),
        )?;
        self.gauge(
            "repository_not_ready_since_timestamp",
            "Since when a GitRepository has not been ready; absent while it is ready or suspended",
            Some(&Unit::Seconds),
            shown().filter_map(|(labels, figures)| {
                let since = figures.ready.not_since?;
                Some((labels, epoch(since)))
            }),
        )?;
        self.gauge(
            "repository_last_fetch_timestamp",
            "When a GitRepository was last polled successfully",
            Some(&Unit::Seconds),
            shown().filter_map(|(labels, figures)| Some((labels, epoch(figures.fetched_at?)))),
        )
    }

    fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, samples)
    }

    fn family<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in samples {
            let mut sample = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => sample.encode_counter::<NoLabelSet, _, u64>(&value, None),
                _ => sample.encode_gauge(&value),
            }?;
        }
        Ok(())
    }
}

fn of_sync((namespace, name): &Name) -> [(&'static str, &str); 2] {
    [("sync_namespace", namespace), ("sync", name)]
}

/// How many drivers are busy, and for how many seconds the longest has been.
fn queue<F>(rows: &[(Name, Row<F>)]) -> (f64, f64) {
    let since = rows.iter().filter_map(|(_, row)| row.at_work);
    let oldest = since.clone().min().map(|oldest| oldest.elapsed());
    let age = oldest.unwrap_or_default().as_secs_f64();
    (since.count() as f64, age)
}

fn hidden<F>(rows: &[(Name, Row<F>)]) -> f64 {
    rows.iter().filter(|(_, row)| !row.shown).count() as f64
}

fn counted(
    reasons: impl Iterator<Item = Reason>,
) -> impl Iterator<Item = ([(&'static str, &'static str); 1], f64)> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_insert(0.0) += 1.0;
    }
    let counts = counts.into_iter();
    counts.map(|(reason, count)| ([("reason", reason.as_str())], count))
}

/// Seconds since 1970.
fn epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
