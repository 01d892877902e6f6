//! What is to be done about one object.

use std::sync::Arc;

use crate::desired::Item;
use crate::plan::{ApplyCause, Contest, Observed, Refusal};

/// One object to work on.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) item: Item,
    pub(super) task: Task,
    /// The known state of the object when the job was created.
    pub(super) before: Option<Observed>,
    /// The fields that others write.
    pub(super) contest: Contest,
    /// Find out first who took a field.
    pub(super) contested: bool,
    /// This revision had been applied in full before the operator started.
    pub(super) restored: bool,
    /// Whether it may be deleted and made again where it cannot be changed.
    pub(super) may_be_replaced: bool,
    /// It was deleted for this manifest, which the API server refused after all. Why.
    pub(super) replaced_in_vain: Option<Arc<str>>,
    /// The uid of the object that this Sync made.
    pub(super) made: Option<Arc<str>>,
}

/// Another object has what an object is to get, so that this one was not replaced.
#[derive(Clone)]
pub(super) struct Barred {
    /// What the API server would say to a new object.
    pub(super) refusal: Refusal,
    /// Who has what, for people.
    pub(super) words: String,
}

/// The work on the object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Task {
    /// Apply it.
    Apply(ApplyCause),
    /// Find out whether the object differs, without changing a value.
    Compare,
}
