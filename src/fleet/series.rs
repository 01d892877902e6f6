//! The fleet as metrics: series for the first Syncs and sources, and sums over all.
//!
//! Nothing is computed until a scrape. The labels are `sync_namespace` and `sync`, and not `namespace`
//! and `name`: Prometheus adds the target's own `namespace` to every series, and renames a label of
//! the same name.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Fleet, SourceName, SourceView, SyncFigures, SyncView};
use crate::api::Reason;
use crate::leader::Leadership;
use crate::metrics::{computed, gauges};
use crate::plan::SyncName;

/// How many Syncs, sources and namespaces have series: the first ones.
pub const SERIES: usize = 1000;

/// Collects the metrics of a fleet. A standby collects none: they would repeat the leader's, and be
/// older.
pub struct Series {
    fleet: Fleet,
    leadership: Leadership,
    syncs: Mutex<Shown<SyncName>>,
    sources: Mutex<Shown<SourceName>>,
    namespaces: Mutex<Shown<Arc<str>>>,
}

impl Series {
    /// The metrics of this fleet.
    pub fn new(fleet: Fleet, leadership: Leadership) -> Self {
        Self {
            fleet,
            leadership,
            syncs: Mutex::default(),
            sources: Mutex::default(),
            namespaces: Mutex::default(),
        }
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.leadership.leads() {
            return Ok(());
        }
        let syncs = rows(self.fleet.syncs.views(), &self.syncs);
        let sources = rows(self.fleet.sources.views(), &self.sources);
        let namespaces = rows(self.fleet.deliveries.all(), &self.namespaces);
        let mut families = Families(&mut encoder);
        families.hidden([
            ("Sync", hidden(&syncs)),
            ("GitRepository", hidden(&sources)),
            ("Namespace", hidden(&namespaces)),
        ])?;
        families.keys(&namespaces)?;
        families.sums(&syncs, &sources)?;
        families.syncs(&syncs)?;
        families.sources(&sources)
    }
}

/// The resources that have series. A resource keeps its series until it is removed; the next one
/// without series then gets its place.
struct Shown<K>(BTreeSet<K>);

impl<K> Default for Shown<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

/// A resource, and whether it has series.
type Row<K, V> = (K, V, bool);

fn rows<K: Ord + Clone, V>(views: Vec<(K, V)>, shown: &Mutex<Shown<K>>) -> Vec<Row<K, V>> {
    let Shown(shown) = &mut *shown.lock().unwrap_or_else(PoisonError::into_inner);
    let existing: BTreeSet<&K> = views.iter().map(|(name, _)| name).collect();
    shown.retain(|name| existing.contains(name));
    let rows = views.into_iter().map(|(name, view)| {
        if shown.len() < SERIES {
            shown.insert(name.clone());
        }
        let is_shown = shown.contains(&name);
        (name, view, is_shown)
    });
    rows.collect()
}

/// The value of a Sync's series, if it has one.
type Value = fn(&SyncFigures) -> Option<f64>;

struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    fn hidden(&mut self, kinds: [(&'static str, f64); 3]) -> fmt::Result {
        gauges(
            self.0,
            "series_dropped",
            "Syncs, GitRepositories and namespaces of Syncs that have no series of their own",
            None,
            kinds.map(|(kind, count)| ([("kind", kind)], count)),
        )
    }

    fn sums(
        &mut self,
        syncs: &[Row<SyncName, SyncView>],
        sources: &[Row<SourceName, SourceView>],
    ) -> fmt::Result {
        let mut objects = SyncFigures::default().states().map(|(state, _)| (state, 0));
        for (_, view, _) in syncs {
            for ((_, sum), (_, count)) in objects.iter_mut().zip(view.figures.states()) {
                *sum += u64::from(count);
            }
        }
        let objects = objects.map(|(state, sum)| ([("state", state)], sum as f64));
        let help = "Objects of all Syncs, by state";
        gauges(self.0, "objects", help, None, objects)?;
        let reasons = counted(syncs.iter().map(|(_, view, _)| view.figures.ready.reason));
        let help = "Syncs, by the reason of Ready";
        gauges(self.0, "syncs", help, None, reasons)?;
        let reasons = counted(sources.iter().map(|(_, view, _)| view.ready.reason));
        let help = "GitRepositories, by the reason of Ready";
        gauges(self.0, "repositories", help, None, reasons)
    }

    fn syncs(&mut self, rows: &[Row<SyncName, SyncView>]) -> fmt::Result {
        let shown = || {
            let shown = rows.iter().filter(|(_, _, shown)| *shown);
            shown.map(|(name, view, _)| {
                let labels = [("sync_namespace", &*name.namespace), ("sync", &*name.name)];
                (labels, &view.figures)
            })
        };
        gauges(
            self.0,
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
            computed(self.0, name, help, unit, kind, known)?;
        }
        let states = shown().flat_map(|([namespace, sync], figures)| {
            figures.states().map(|(state, count)| {
                let labels = [namespace, sync, ("state", state)];
                (labels, f64::from(count))
            })
        });
        let help = "Objects of a Sync, by state";
        gauges(self.0, "sync_objects", help, None, states)
    }

    fn sources(&mut self, rows: &[Row<SourceName, SourceView>]) -> fmt::Result {
        let shown = || {
            let shown = rows.iter().filter(|(_, _, shown)| *shown);
            shown.map(|(SourceName { namespace, name }, view, _)| {
                let labels = [
                    ("repository_namespace", &**namespace),
                    ("repository", &**name),
                ];
                (labels, view)
            })
        };
        gauges(
            self.0,
            "repository_ready",
            "1 if a GitRepository is ready, else 0, with the reason",
            None,
            shown().map(|([namespace, repository], view)| {
                let reason = ("reason", view.ready.reason.as_str());
                ([namespace, repository, reason], f64::from(view.ready.is))
            }),
        )?;
        gauges(
            self.0,
            "repository_not_ready_since_timestamp",
            "Since when a GitRepository has not been ready; absent while it is ready or suspended",
            Some(&Unit::Seconds),
            shown().filter_map(|(labels, view)| Some((labels, epoch(view.ready.not_since?)))),
        )?;
        gauges(
            self.0,
            "repository_last_fetch_timestamp",
            "When a GitRepository was last polled successfully",
            Some(&Unit::Seconds),
            shown().filter_map(|(labels, view)| Some((labels, epoch(view.fetched_at?)))),
        )
    }
}

fn hidden<K, V>(rows: &[Row<K, V>]) -> f64 {
    rows.iter().filter(|(_, _, shown)| !shown).count() as f64
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
