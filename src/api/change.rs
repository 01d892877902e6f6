//! What became of a change: a revision that changed something for a Sync.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::Time;

/// Why a change counts as failed. The status and the metrics use this closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum ChangeFailure {
    /// A later revision took it back.
    Reverted,
    /// A person pinned the Sync to an earlier revision.
    PinnedAway,
    /// Objects failed, or stayed unhealthy beyond `spec.timeout`.
    Unhealthy,
    /// Objects could not be applied or pruned within `spec.timeout`, or a hook failed after the applies.
    Failed,
}

impl ChangeFailure {
    /// The CamelCase name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A change that failed and is not made good yet.
//
// A digest that is none is written as null. Otherwise a merge patch would keep the one before.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailedChange {
    /// The revision that brought it: `<ref>@sha1:<commit>`.
    pub revision: String,
    /// Why it failed: `Reverted`, `PinnedAway`, `Unhealthy` or `Failed`.
    pub cause: String,
    /// Since when: when it was applied, or when its objects became unhealthy.
    pub since: Time,
    /// What identifies the objects of the last change that failed before all of it was applied.
    #[serde(default)]
    pub digest: Option<String>,
}
