//! The series of the four keys of delivery, by namespace. The lead time is in the series of each Sync.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Families, Row};
use crate::fleet::deliveries::Keys;
use crate::metrics::computed;

impl Families<'_, '_> {
    pub(super) fn keys(&mut self, rows: &[Row<Arc<str>, Keys>]) -> fmt::Result {
        let shown = || {
            let shown = rows.iter().filter(|(_, _, shown)| *shown);
            shown.map(|(namespace, keys, _)| (("sync_namespace", &**namespace), keys))
        };
        computed(
            self.0,
            "changes",
            "Revisions that changed something for a Sync and have converged, or failed before they did; the first revision of a Sync does not count",
            None,
            MetricType::Counter,
            shown().flat_map(|(namespace, keys)| {
                [("true", keys.converged), ("false", keys.unconverged)]
                    .map(|(is, count)| ([namespace, ("converged", is)], count as f64))
            }),
        )?;
        computed(
            self.0,
            "failed_changes",
            "Of the revisions in towline_changes_total, those that failed, by cause",
            None,
            MetricType::Counter,
            shown().flat_map(|(namespace, keys)| {
                let failed = keys.failed();
                failed.map(move |(cause, count)| {
                    ([namespace, ("cause", cause.as_str())], count as f64)
                })
            }),
        )?;
        let mut family = self.0.encode_descriptor(
            "time_to_restore",
            "From the failure of a change until its Sync is converged and healthy again",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (namespace, keys) in shown() {
            keys.restored.encode(family.encode_family(&[namespace])?)?;
        }
        Ok(())
    }
}
