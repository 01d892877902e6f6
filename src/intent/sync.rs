//! What the driver of a Sync is told to do.

use std::time::Duration;

use super::{InputsIntent, RenderIntent};

/// What to do about drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Undo it at once.
    #[default]
    Correct,
    /// Count and report it, and leave it. What a commit changes is still written.
    Report,
}

/// What becomes of the objects when their Sync is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeletion {
    /// Delete them.
    Delete,
    /// Leave them, and take towline's label and annotations off them.
    Orphan,
}

/// What the driver of a Sync is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncIntent {
    /// Counts the changes of what is asked for.
    pub generation: Option<i64>,
    /// Changes when somebody asks for a reconcile now.
    pub requested_at: Option<String>,
    /// The Sync is to be deleted.
    pub deleting: bool,
    /// The source that the files come from, in the Sync's namespace.
    pub source: String,
    /// What the objects are made of.
    pub render: RenderIntent,
    /// What that needs of the cluster.
    pub inputs: InputsIntent,
    /// The ServiceAccount of the Sync's namespace that objects are applied as. None: what the operator's arguments
    /// say.
    pub service_account: Option<String>,
    /// Delete objects that left the source.
    pub prune: bool,
    /// What to do about drift.
    pub mode: Mode,
    /// Syncs of the same namespace that must be ready before a new revision is applied.
    pub depends_on: Vec<String>,
    /// Be ready only when every object is healthy.
    pub wait: bool,
    /// How long objects may be unhealthy before that counts as a failure.
    pub timeout: Duration,
    /// Time between two full verifications.
    pub interval: Duration,
    /// Do nothing; what is applied stays.
    pub suspend: bool,
    /// What becomes of the objects when the Sync is deleted.
    pub on_deletion: OnDeletion,
}
