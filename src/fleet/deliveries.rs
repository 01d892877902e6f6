//! What became of the changes of all Syncs, by namespace: the four keys of delivery, but for the lead time.
//!
//! A namespace is counted for as long as it has a Sync. Its counters begin at zero with its first Sync, so that the
//! first change shows as an increase.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use strum::VariantArray as _;

use crate::api::ChangeFailure;

/// 1 min to 3 days.
const SECONDS: [f64; 10] = [
    60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 86_400.0, 259_200.0,
];

/// What became of a change of a Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has converged.
    Converged,
    /// It has failed.
    Failed {
        /// Why.
        cause: ChangeFailure,
        /// Whether it had converged before.
        converged: bool,
    },
    /// The Sync is converged and healthy again.
    Restored {
        /// How long after the change had failed.
        took: Duration,
    },
}

/// The outcomes of each namespace since this process began to lead. Clones share them.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<BTreeMap<Arc<str>, Namespace>>>);

#[derive(Default)]
struct Namespace {
    syncs: usize,
    keys: Keys,
}

/// The outcomes of one namespace.
#[derive(Clone)]
pub(super) struct Keys {
    /// Changes that have converged.
    pub(super) converged: u64,
    /// Changes that failed and had not converged before.
    pub(super) unconverged: u64,
    failed: [u64; ChangeFailure::VARIANTS.len()],
    /// Seconds from the failure of a change until the Sync is converged and healthy again.
    pub(super) restored: Histogram,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            converged: 0,
            unconverged: 0,
            failed: [0; ChangeFailure::VARIANTS.len()],
            restored: Histogram::new(SECONDS),
        }
    }
}

impl Keys {
    /// The failed changes, by cause.
    pub(super) fn failed(&self) -> impl Iterator<Item = (ChangeFailure, u64)> {
        ChangeFailure::VARIANTS.iter().copied().zip(self.failed)
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Converged => self.converged += 1,
            Outcome::Failed { cause, converged } => {
                self.unconverged += u64::from(!converged);
                self.failed[cause as usize] += 1;
            }
            Outcome::Restored { took } => self.restored.observe(took.as_secs_f64()),
        }
    }
}

impl Deliveries {
    /// Counts an outcome of a Sync of a namespace. Does nothing if the namespace has no Sync: its driver may end later.
    pub fn count(&self, namespace: &str, outcome: Outcome) {
        if let Some(known) = self.lock().get_mut(namespace) {
            known.keys.count(outcome);
        }
    }

    /// There is one more Sync in a namespace.
    pub(super) fn add_sync(&self, namespace: &Arc<str>) {
        self.lock().entry(Arc::clone(namespace)).or_default().syncs += 1;
    }

    /// There is one Sync less in a namespace.
    pub(super) fn remove_sync(&self, namespace: &str) {
        let mut all = self.lock();
        let Some(known) = all.get_mut(namespace) else {
            return;
        };
        known.syncs = known.syncs.saturating_sub(1);
        if known.syncs == 0 {
            all.remove(namespace);
        }
    }

    /// The outcomes of all namespaces, in the order of their names.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Keys)> {
        let all = self.lock();
        let all = all.iter();
        all.map(|(name, known)| (Arc::clone(name), known.keys.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Namespace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
