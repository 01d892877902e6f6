//! The revisions that a Sync is made of: that of its source, and that of the source of its chart.

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::ChartRevisions;
use crate::content::Tree;
use crate::fleet::{FetchTimes, FetchedRevision};
use crate::intent::VerifyIntent;
use crate::source::{Access, Snapshot};

/// The revisions that a Sync is made of.
#[derive(Clone)]
pub(super) struct Newest {
    /// The files of the Sync's own source.
    pub(super) snapshot: Arc<Snapshot>,
    /// When towline first saw that revision.
    pub(super) at: Timestamp,
    /// The poll that found it.
    pub(super) fetch: Option<FetchTimes>,
    /// What that source leaves out.
    pub(super) ignore: Arc<str>,
    /// How that source was fetched.
    pub(super) access: Arc<Access>,
    /// The signatures that its revisions need.
    pub(super) verify: Option<Arc<VerifyIntent>>,
    /// The name of that source.
    pub(super) source: String,
    /// The chart, if it is in another source.
    pub(super) chart: Option<FetchedChart>,
}

/// A revision of the source of a chart.
#[derive(Clone)]
pub(super) struct FetchedChart {
    /// The source's name.
    pub(super) source: String,
    pub(super) seen: FetchedRevision,
}

impl FetchedChart {
    /// Its revision.
    pub(super) fn revision(&self) -> String {
        self.seen.snapshot.revision.to_string()
    }
}

impl Newest {
    pub(super) fn new(source: &str, own: FetchedRevision, chart: Option<FetchedChart>) -> Self {
        let FetchedRevision {
            snapshot,
            at,
            fetch,
            ignore,
            access,
            verify,
        } = own;
        Self {
            snapshot,
            at,
            fetch,
            ignore,
            access,
            verify,
            source: source.to_owned(),
            chart,
        }
    }

    /// The files of a source.
    pub(super) fn snapshot_of(&self, source: &str) -> Option<&Arc<Snapshot>> {
        if self.source == source {
            return Some(&self.snapshot);
        }
        let chart = self.chart.as_ref().filter(|chart| chart.source == source);
        chart.map(|chart| &chart.seen.snapshot)
    }

    /// The revision of the Sync's own source.
    pub(super) fn revision(&self) -> String {
        self.snapshot.revision.to_string()
    }

    /// Both revisions, for messages.
    pub(super) fn name(&self) -> String {
        let chart = self.chart.as_ref().map(FetchedChart::revision);
        both(&self.revision(), chart.as_deref())
    }

    /// The files of the chart's source.
    pub(super) fn chart_tree(&self) -> Option<Arc<dyn Tree>> {
        let chart = self.chart.as_ref()?;
        Some(chart.seen.snapshot.clone())
    }

    /// Whether these are the same copies of the same revisions.
    pub(super) fn is(&self, other: &Self) -> bool {
        let chart = |newest: &Self| {
            let chart = newest.chart.as_ref();
            chart.map(|chart| Arc::as_ptr(&chart.seen.snapshot))
        };
        Arc::ptr_eq(&self.snapshot, &other.snapshot) && chart(self) == chart(other)
    }
}

/// A revision of the source of a chart, as the status names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttemptedChart {
    pub(super) source: String,
    pub(super) revision: String,
}

impl AttemptedChart {
    pub(super) fn of(chart: &FetchedChart) -> Self {
        Self {
            source: chart.source.clone(),
            revision: chart.revision(),
        }
    }

    pub(super) fn told(status: &ChartRevisions) -> Option<Self> {
        Some(Self {
            source: status.source.clone(),
            revision: status.last_attempted_revision.clone()?,
        })
    }
}

/// Two revisions in one text.
pub(super) fn both(revision: &str, chart: Option<&str>) -> String {
    match chart {
        None => revision.to_owned(),
        Some(chart) => format!("{revision} with chart {chart}"),
    }
}
