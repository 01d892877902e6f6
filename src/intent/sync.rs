//! What the driver of a Sync is told to do.

use std::time::Duration;

use super::{FieldPattern, InputsIntent, RenderIntent};
use crate::glob;

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
    Delete {
        /// Also those that existed before the Sync applied them.
        adopted: bool,
    },
    /// Leave them, and take towline's label and annotations off them.
    Orphan,
}

/// Fields of some objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRule {
    /// The group of the objects' kind; none: any.
    pub group: Option<String>,
    /// Their kind. `*` matches any text, here and in the next two.
    pub kind: String,
    /// Their name.
    pub name: String,
    /// Their namespace. What has none matches `*` alone.
    pub namespace: String,
    /// The fields.
    pub fields: Vec<FieldPattern>,
}

impl FieldRule {
    /// Whether the rule is about an object with this group and kind, namespace (empty: none) and name.
    pub fn concerns(&self, (group, kind): (&str, &str), namespace: &str, name: &str) -> bool {
        let is = |pattern: &str, text: &str| glob::matches(pattern.as_bytes(), text.as_bytes());
        self.group.as_ref().is_none_or(|wanted| wanted == group)
            && is(&self.kind, kind)
            && is(&self.name, name)
            && is(&self.namespace, namespace)
    }
}

/// How much may be deleted without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneLimit {
    /// The largest share of the Sync's objects, in percent.
    pub percent: u8,
    /// Whether the deletion of an object that holds something needs a person.
    pub holds_contents: bool,
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
    /// Whether a record of a chart's release is written for Helm.
    pub keeps_record: bool,
    /// Delete objects that left the source.
    pub prune: bool,
    /// How much may be deleted without a person.
    pub prune_limit: PruneLimit,
    /// Delete also what existed before the Sync applied it.
    pub prune_adopted: bool,
    /// The digest of the deletion that a person approved.
    pub approved_prune: Option<String>,
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
    /// Fields that are sent when their object is created, and left as they are from then on.
    pub ignore_fields: Vec<FieldRule>,
    /// Try a revision as a whole before anything of it is written.
    pub validate: bool,
    /// Replace objects where a field that cannot be changed is changed.
    pub force: bool,
    /// Do nothing; what is applied stays. Says who suspended it and why: `suspended by alice: incident 7`.
    pub suspended: Option<String>,
    /// The revision to be held at, in place of the newest.
    pub pin: Option<PinIntent>,
    /// Who ended the last pin, if there was one.
    pub unpinned_by: Option<String>,
    /// What is wrong with what is asked for, so that it cannot be done.
    pub invalid: Option<String>,
    /// What becomes of the objects when the Sync is deleted.
    pub on_deletion: OnDeletion,
}

/// A revision that a Sync is held at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinIntent {
    /// The revision: `<ref>@sha1:<commit>`.
    pub revision: String,
    /// That of the chart, if it is in another source.
    pub chart: Option<String>,
    /// The revision that was not wanted.
    pub away: Option<String>,
    /// Whether the pin stays until somebody ends it. Otherwise it ends with content other than that of `away`.
    pub holds: bool,
    /// Who did it and why: `pinned by alice: incident 7`.
    pub by_whom: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_objects_by_kind_name_and_namespace() {
        for (group, kind, name, namespace, is_web, is_role) in [
            (None, "*", "*", "*", true, true),
            (None, "Deployment", "*", "*", true, false),
            (Some("apps"), "*", "w*", "*", true, false),
            (Some("batch"), "*", "*", "*", false, false),
            (Some(""), "*", "*", "*", false, false),
            (None, "*", "we?", "pro*", true, false),
            (None, "*", "web-*", "*", false, false),
            (None, "*", "*", "", false, true),
            (None, "deployment", "*", "*", false, false),
        ] {
            let rule = FieldRule {
                group: group.map(str::to_owned),
                kind: kind.to_owned(),
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                fields: Vec::new(),
            };
            let role = ("rbac.authorization.k8s.io", "ClusterRole");
            let concerns = (
                rule.concerns(("apps", "Deployment"), "prod", "web"),
                rule.concerns(role, "", "web"),
            );
            assert_eq!(concerns, (is_web, is_role), "{rule:?}");
        }
    }
}
