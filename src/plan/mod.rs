//! Desired × observed → actions. Pure: takes values, returns values.

mod brake;
mod claim;
mod contents;
mod contest;
mod emptied;
mod exclusive;
mod hooks;
mod immutable;
mod implied;
mod items;
mod keyless;
mod observed;
mod owner;
mod parting;
mod ports;
mod proof;
mod record;
mod release;
mod remains;
mod reshaped;
mod rewritten;
mod rival;
mod room;
mod rule;
mod seal;
mod share;
mod stage;
mod stamp;
mod taken_over;
mod transition;
mod unchanged;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

pub use brake::{Before, Brake, PrunePlan};
pub use claim::{RefusalCause, claims, without_null};
pub use contents::{Inside, is_derived, lost};
pub use contest::{Contest, Relinquished, Taken, is_a_persons, is_scaled, taken, taken_for_good};
pub use emptied::{Emptied, emptied, empty_out, emptying, filled};
pub use exclusive::{Exchange, Exclusive, exclusive, knot, node_ports, without_exclusive};
pub use hooks::{
    HOOK, HOOK_OF, HookClash, HookRun, created, hook_owner, hook_pause, hooks_at, may_be_deleted,
};
pub use immutable::{is_immutable, restorable};
pub use keyless::{is_keyless, without_keyless};
pub use observed::{Observed, is_stray};
pub use owner::{
    CONTAINS, DIGEST, IDENTITY, LEFT, PARENT_ID, PART_OF, PROOF, SyncName, TOOLING, belongs_to,
    contained, contains,
};
pub use parting::{Owned, Parting, Release};
pub use ports::{Ports, circle, with_ports};
#[cfg(test)]
pub(crate) use proof::testing;
pub use proof::{Bond, Key, Proof};
pub use record::{
    HelmRecord, LiveRelease, RECORD, RecordClash, RecordStatus, RecordTooLarge, ReleaseEnd,
    Succession, first_deployed, installed_by_helm, record_key, records_that_go, succeed,
    superseded, taken_over,
};
pub use release::Indivisible;
pub use remains::{may_have_remains, remains};
pub use reshaped::{may_leave, reshaped};
pub use rewritten::rewritten;
pub use rival::{opponents, rivals};
pub use room::{Contested, Refusal, contested, without};
pub use rule::is_rule;
pub use seal::Seal;
pub use share::{Appliers, EMPTIER, Share};
pub use stage::Stage;
pub use stamp::{is_typed, placed, reproved, stamped};
pub use taken_over::TakenOver;
pub use transition::breaks_transition_rule;
pub use unchanged::is_unchanged;

use crate::intent::Mode;
use crate::manifest::{ApplyMode, Digest, GroupKind, Modes, ObjectKey};

/// What is known of an object since it was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedRecord {
    /// The manifest that was applied.
    pub digest: Digest,
    /// The object's uid.
    pub uid: Arc<str>,
    /// The hash of our `managedFields` entry right after the apply.
    pub entry: Option<u64>,
    /// Whether the object existed before it was first applied.
    pub adopted: bool,
}

impl AppliedRecord {
    /// The record of an apply with this answer.
    pub fn of(digest: Digest, answer: &Observed) -> Self {
        Self {
            digest,
            uid: answer.uid.clone(),
            entry: answer.entry,
            adopted: answer.proof.is_some_and(|proof| proof.is_adopted()),
        }
    }

    /// The record of an object that is not applied: it has no uid.
    pub fn left_alone(digest: Digest) -> Self {
        Self {
            digest,
            uid: "".into(),
            entry: None,
            adopted: false,
        }
    }

    /// Whether nothing was applied.
    pub fn is_left_alone(&self) -> bool {
        self.uid.is_empty()
    }
}

/// Why an object must be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApplyCause {
    /// Nothing is known: the object is new, the operator has restarted, or a full verification is due.
    Unknown,
    /// Git changed it.
    Changed,
    /// Somebody changed a field that Git declares.
    Drifted,
    /// Somebody deleted it.
    Missing,
    /// Somebody has deleted it, and it is not gone yet.
    Leaving,
}

impl ApplyCause {
    /// Whether the difference came from the cluster, not from Git.
    pub fn is_drift(self) -> bool {
        matches!(self, Self::Drifted | Self::Missing | Self::Leaving)
    }
}

/// The decision about one desired object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The object equals Git.
    InSync,
    /// Apply it.
    Apply(ApplyCause),
    /// `mode: Report`: it may differ. Compare without changing it.
    Compare,
    /// The object is being deleted. It can be created again after that.
    Terminating,
    /// Annotations keep the object as it is, in Git or on the object itself.
    LeftAlone,
}

/// Decides about one desired object, from the manifest in Git and its `modes`, the record of our last apply, and
/// the observed state. With `settled`, this revision was fully applied before the operator started, so a
/// missing object was deleted by somebody.
pub fn judge(
    desired: &Digest,
    modes: Modes,
    record: Option<&AppliedRecord>,
    observed: Option<&Observed>,
    mode: Mode,
    settled: bool,
) -> Judgement {
    let paused = observed.is_some_and(|observed| observed.modes.is_left_alone());
    if paused || modes.is_left_alone() || is_made(modes, record, observed) {
        return Judgement::LeftAlone;
    }
    if observed.is_some_and(|observed| observed.deleting) {
        return Judgement::Terminating;
    }
    // Of what was left alone until now, nothing is known.
    let record = record.filter(|record| !record.is_left_alone());
    let drift = match (record, observed) {
        (Some(record), _) if record.digest != *desired => {
            return Judgement::Apply(ApplyCause::Changed);
        }
        (Some(_), None) => ApplyCause::Missing,
        (None, None) if settled && mode == Mode::Report => ApplyCause::Missing,
        (Some(record), Some(observed)) => {
            // Git decides about fields that another applier of whole manifests declared.
            let shared =
                observed.shared && mode == Mode::Correct && modes.apply != ApplyMode::Merge;
            if record.uid == observed.uid && record.entry == observed.entry && !shared {
                return Judgement::InSync;
            }
            ApplyCause::Drifted
        }
        // The object names the manifest that was applied to it. If it is the same, a difference was made
        // in the cluster.
        (None, Some(observed)) if mode == Mode::Report && observed.is_of(desired) => {
            ApplyCause::Drifted
        }
        (None, _) => return Judgement::Apply(ApplyCause::Unknown),
    };
    match mode {
        Mode::Correct => Judgement::Apply(drift),
        Mode::Report => Judgement::Compare,
    }
}

/// Whether an object that is made only once is there. What was there before towline is not observed: its record
/// says so.
fn is_made(modes: Modes, record: Option<&AppliedRecord>, observed: Option<&Observed>) -> bool {
    let is_there = match observed {
        Some(observed) => !observed.deleting,
        None => record.is_some_and(AppliedRecord::is_left_alone),
    };
    modes.apply == ApplyMode::IfNotPresent && is_there
}

/// Sorts objects into the order of application. Within a kind they are sorted by file, so that each file
/// is read once.
pub fn apply_order<'a, T>(items: &mut [T], describe: impl Fn(&T) -> (GroupKind, &'a str, u32)) {
    items.sort_by_cached_key(|item| {
        let (kind, file, document) = describe(item);
        (Stage::of(&kind), stage::rank(&kind), file, document)
    });
}

/// The objects that are ours but no longer in Git, in the order of deletion, which is the reverse order
/// of application.
pub fn surplus<T>(
    owner: &SyncName,
    owned: Vec<(ObjectKey, Observed)>,
    desired: &HashMap<ObjectKey, T>,
) -> Vec<(ObjectKey, Observed)> {
    let mut surplus: Vec<_> = owned
        .into_iter()
        .filter(|(key, observed)| {
            !desired.contains_key(key) && observed.is_ours(owner) && !observed.deleting
        })
        .collect();
    surplus.sort_by_cached_key(|(key, _)| {
        Reverse((Stage::of(&key.kind), stage::rank(&key.kind), key.clone()))
    });
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    fn digest(text: &str) -> Digest {
        Digest::of(&serde_json::json!(text))
    }

    fn observed(uid: &str, entry: u64) -> Observed {
        Observed {
            entry: Some(entry),
            digest: Some(digest("m").to_string().into()),
            ..observed::testing::observed("a", uid)
        }
    }

    #[test]
    fn every_case_is_judged() {
        use ApplyCause::{Changed, Drifted, Missing, Unknown};
        use Judgement::{Apply, Compare, InSync, Terminating};
        let record = AppliedRecord::of(digest("m"), &observed("u", 1));
        let old = AppliedRecord::of(digest("old"), &observed("u", 1));
        let same = observed("u", 1);
        let drifted = observed("u", 2);
        let recreated = observed("v", 1);
        let shared = Observed {
            shared: true,
            ..observed("u", 1)
        };
        let unowned = Observed {
            entry: None,
            ..observed("u", 1)
        };
        let other = Observed {
            digest: None,
            ..observed("u", 1)
        };
        let leaving = Observed {
            deleting: true,
            ..observed("u", 1)
        };
        for (record, observed, correct, report) in [
            (None, None, Apply(Unknown), Apply(Unknown)),
            (None, Some(&same), Apply(Unknown), Compare),
            (None, Some(&other), Apply(Unknown), Apply(Unknown)),
            (Some(&record), Some(&same), InSync, InSync),
            (Some(&record), Some(&drifted), Apply(Drifted), Compare),
            (Some(&record), Some(&shared), Apply(Drifted), InSync),
            (Some(&record), Some(&recreated), Apply(Drifted), Compare),
            (Some(&record), Some(&unowned), Apply(Drifted), Compare),
            (Some(&record), None, Apply(Missing), Compare),
            (Some(&record), Some(&leaving), Terminating, Terminating),
            (Some(&old), Some(&same), Apply(Changed), Apply(Changed)),
            (Some(&old), Some(&drifted), Apply(Changed), Apply(Changed)),
            (Some(&old), None, Apply(Changed), Apply(Changed)),
        ] {
            let judged = |mode| {
                judge(
                    &digest("m"),
                    Modes::default(),
                    record,
                    observed,
                    mode,
                    false,
                )
            };
            assert_eq!(judged(Mode::Correct), correct, "{record:?} {observed:?}");
            assert_eq!(judged(Mode::Report), report, "{record:?} {observed:?}");
        }
        let settled = |mode| judge(&digest("m"), Modes::default(), None, None, mode, true);
        assert_eq!(settled(Mode::Correct), Apply(Unknown));
        assert_eq!(settled(Mode::Report), Compare);
    }

    fn modes(annotations: &serde_json::Value) -> Modes {
        Modes::of(&serde_json::json!({"metadata": {"annotations": annotations}})).unwrap()
    }

    #[test]
    fn annotations_keep_an_object_as_it_is() {
        use ApplyCause::{Changed, Drifted, Missing, Unknown};
        use Judgement::{Apply, InSync, LeftAlone};
        let record = AppliedRecord::of(digest("m"), &observed("u", 1));
        let old = AppliedRecord::of(digest("old"), &observed("u", 1));
        let theirs = AppliedRecord::left_alone(digest("m"));
        let same = observed("u", 1);
        let drifted = observed("u", 2);
        let leaving = Observed {
            deleting: true,
            ..observed("u", 1)
        };
        let shared = Observed {
            shared: true,
            ..observed("u", 1)
        };
        let paused = Observed {
            modes: modes(&serde_json::json!({"towline.dev/reconcile": "disabled"})),
            ..observed("u", 2)
        };
        for (key, value, record, observed, expected) in [
            ("reconcile", "disabled", None, None, LeftAlone),
            (
                "reconcile",
                "disabled",
                Some(&old),
                Some(&drifted),
                LeftAlone,
            ),
            ("reconcile", "disabled", Some(&record), None, LeftAlone),
            (
                "reconcile",
                "disabled",
                Some(&record),
                Some(&leaving),
                LeftAlone,
            ),
            ("ssa", "Ignore", None, None, LeftAlone),
            ("ssa", "Ignore", Some(&old), Some(&drifted), LeftAlone),
            ("ssa", "IfNotPresent", None, None, Apply(Unknown)),
            ("ssa", "IfNotPresent", None, Some(&same), LeftAlone),
            ("ssa", "IfNotPresent", Some(&old), Some(&drifted), LeftAlone),
            ("ssa", "IfNotPresent", Some(&record), None, Apply(Missing)),
            ("ssa", "IfNotPresent", Some(&theirs), None, LeftAlone),
            ("ssa", "Merge", Some(&record), Some(&shared), InSync),
            (
                "ssa",
                "Merge",
                Some(&record),
                Some(&drifted),
                Apply(Drifted),
            ),
            (
                "ssa",
                "Override",
                Some(&record),
                Some(&shared),
                Apply(Drifted),
            ),
            ("ssa", "Override", Some(&record), Some(&paused), LeftAlone),
            ("ssa", "Override", Some(&old), Some(&paused), LeftAlone),
            ("prune", "disabled", Some(&old), Some(&same), Apply(Changed)),
            (
                "force",
                "enabled",
                Some(&record),
                Some(&drifted),
                Apply(Drifted),
            ),
        ] {
            let modes = modes(&serde_json::json!({format!("towline.dev/{key}"): value}));
            let judged = judge(&digest("m"), modes, record, observed, Mode::Correct, false);
            assert_eq!(judged, expected, "{key} {value} {record:?} {observed:?}");
        }
    }

    fn key(group: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new(group, kind),
            namespace: None,
            name: name.into(),
        }
    }

    #[test]
    fn surplus_is_only_ours_and_in_reverse_order() {
        let owner = SyncName::new("ns", "a");
        let namespace = key("", "Namespace", "shop");
        let web = key("apps", "Deployment", "web");
        let kept = key("", "ConfigMap", "kept");
        let foreign = key("", "ConfigMap", "foreign");
        let unowned = key("", "ConfigMap", "unowned");
        let leaving = key("", "ConfigMap", "leaving");
        let owned = vec![
            (namespace.clone(), observed("1", 1)),
            (web.clone(), observed("2", 1)),
            (kept.clone(), observed("3", 1)),
            (
                foreign,
                Observed {
                    owner: SyncName::new("ns", "b"),
                    ..observed("4", 1)
                },
            ),
            (
                unowned,
                Observed {
                    entry: None,
                    ..observed("5", 1)
                },
            ),
            (
                leaving,
                Observed {
                    deleting: true,
                    ..observed("6", 1)
                },
            ),
        ];
        let surplus = surplus(&owner, owned, &HashMap::from([(kept, ())]));
        let names: Vec<_> = surplus.into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, [web, namespace]);
    }
}
