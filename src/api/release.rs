//! The release of a chart in the status of a Sync.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// The release of a chart: which content of it was begun last, and how far its hooks are.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartRelease {
    /// Counts the contents of the chart, from 1. Templates see it as `.Release.Revision`.
    pub revision: u32,
    /// Whether something was installed before. Templates see it as `.Release.IsUpgrade`.
    pub upgrade: bool,
    /// Identifies the chart's objects and hooks, without values that are drawn at random. Hooks run once for each
    /// content.
    pub content: String,
    /// The step that is due.
    pub stage: HookStage,
    /// Hooks of this step that have run.
    pub done: u32,
    /// The hook that runs.
    pub running: Option<RunningHook>,
    /// How often hooks of this content have failed.
    pub failures: u32,
    /// Why the last one failed, until all hooks of the step have succeeded. They run again after a pause.
    pub failure: Option<String>,
    /// Whether the chart has hooks that run when the Sync is deleted.
    pub on_deletion: bool,
    /// The record that Helm reads of the content that converged last (of one that failed, until one has converged), if `spec.helm.releaseRecord` asks for records.
    pub record: Option<ReleaseRecord>,
}

/// A record that Helm reads of a release: the Secret `sh.helm.release.v1.RELEASE.vVERSION`.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseRecord {
    /// The Secret's namespace: that of the release.
    pub namespace: String,
    /// The release's name.
    pub release: String,
    /// The revision in Helm's counting.
    pub version: u32,
    /// The `revision` of the content that the record holds. 0 where none has converged yet.
    pub revision: u32,
}

/// The steps of a release and of its deletion, in their order.
#[derive(
    JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum HookStage {
    /// Hooks that run before the objects are applied (`pre-install`, `pre-upgrade`).
    #[default]
    BeforeApply,
    /// Hooks that run after the objects were applied (`post-install`, `post-upgrade`).
    AfterApply,
    /// Tests of the chart, where `spec.helm.test` is true.
    Test,
    /// All hooks have run.
    Done,
    /// Hooks that run before the objects of a deleted Sync are deleted.
    BeforeDelete,
    /// Hooks that run after the objects of a deleted Sync were deleted.
    AfterDelete,
    /// Nothing is left to do for a deleted Sync.
    Deleted,
}

/// A hook that runs.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunningHook {
    /// Its object: `Kind.group namespace/name`.
    pub object: String,
    /// When it was begun. It may take `spec.timeout`.
    pub since: Time,
    /// Whether the object was made.
    pub made: bool,
    /// The uid of the object that was made.
    pub uid: Option<String>,
}
