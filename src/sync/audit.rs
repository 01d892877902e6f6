//! The audit log: one line for each change of an object, written as soon as the change is known.
//!
//! docs/reference/audit-log.md describes the lines, and programs read them. A field may be added, but
//! none is renamed.

use std::fmt;

use super::job::{Job, Task};
use super::newest::Newest;
use crate::cluster::Applied;
use crate::manifest::ObjectKey;
use crate::plan::{ApplyCause, SyncName};

/// The lines' `target`.
pub const AUDIT: &str = "audit";

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The object was created, because Git has it.
    Created,
    /// The object was changed, because Git changed it.
    Changed,
    /// The object existed, and is managed from now on with the values in Git.
    Adopted,
    /// The object was deleted and made again, because Git changed a field that cannot be changed.
    Replaced,
    /// A change by somebody else was undone.
    Healed,
    /// The object was deleted, because it left Git.
    Pruned,
    /// The object was deleted with its Sync.
    Deleted,
    /// The object left Git, or its Sync was deleted, but the object stays.
    Released,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Adopted => "adopted",
            Self::Replaced => "replaced",
            Self::Healed => "healed",
            Self::Pruned => "pruned",
            Self::Deleted => "deleted",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The action of an apply. None if the apply changed no value.
pub(super) fn action(sync: &SyncName, job: &Job, applied: &Applied) -> Option<Action> {
    let before = job.before.as_ref();
    if before.is_some_and(|before| before.version == applied.answer.version) {
        return None; // a no-op: the API server wrote nothing
    }
    let drift = match job.task {
        Task::Compare => return None, // no value was changed
        // A restart or a full verification: the same manifest was applied before.
        Task::Apply(ApplyCause::Unknown) => {
            let digest = job.item.digest.to_string();
            match before.filter(|before| before.digest.as_deref() == Some(&*digest)) {
                // It was marked anew, since the proof of its marks was that of another key.
                Some(before) if before.proof != applied.answer.proof => return None,
                same => same.is_some(),
            }
        }
        Task::Apply(cause) => cause.is_drift(),
    };
    Some(if drift {
        Action::Healed
    } else if applied.created {
        Action::Created
    } else if before.is_some_and(|before| before.owner == *sync) {
        Action::Changed
    } else {
        Action::Adopted
    })
}

/// Logs an action. `asked` is the revision that asked for it. `file` is the place of the object in Git, if it is
/// still there. `writer` is the last writer, if known.
pub(super) fn log(
    sync: &SyncName,
    action: Action,
    (key, uid): (&ObjectKey, &str),
    asked: Option<&Newest>,
    file: Option<&str>,
    writer: Option<&str>,
) {
    let snapshot = asked.map(|asked| &asked.snapshot);
    let revision = snapshot.map(|snapshot| snapshot.revision.to_string());
    tracing::info!(
        target: AUDIT,
        action = action.as_str(),
        sync = %sync,
        kind = %key.kind,
        namespace = key.namespace.as_deref(),
        name = &*key.name,
        uid,
        revision,
        commit = snapshot.map(|snapshot| tracing::field::display(&snapshot.revision.commit)),
        author = snapshot.map(|snapshot| snapshot.author.as_str()),
        committed = snapshot.map(|snapshot| tracing::field::display(snapshot.committed_at)),
        file,
        writer,
        "{action} {key}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Item;
    use crate::manifest::{Digest, GroupKind, Modes};
    use crate::plan::{Contest, Observed, testing};

    const VERSION: u64 = 7;

    fn observed(owner: &str, version: u64) -> Observed {
        Observed {
            version,
            digest: Some(digest("old").to_string().into()),
            ..testing::observed(owner, "u")
        }
    }

    fn digest(text: &str) -> Digest {
        Digest::of(&serde_json::json!(text))
    }

    #[test]
    fn the_action_of_an_apply_is_correct() {
        use ApplyCause::{Changed, Drifted, Missing, Unknown};
        let ours = || Some(observed("a", 1));
        for (cause, before, digested, created, expected) in [
            (Unknown, None, "new", true, Some(Action::Created)),
            (Unknown, None, "new", false, Some(Action::Adopted)),
            (Unknown, ours(), "new", false, Some(Action::Changed)),
            // Restarted, and somebody had changed it.
            (Unknown, ours(), "old", false, Some(Action::Healed)),
            (
                Unknown,
                Some(observed("b", 1)),
                "new",
                false,
                Some(Action::Adopted),
            ),
            (Changed, ours(), "new", false, Some(Action::Changed)),
            // Deleted and changed in Git at once.
            (Changed, None, "new", true, Some(Action::Created)),
            (Drifted, ours(), "old", false, Some(Action::Healed)),
            (Missing, None, "old", true, Some(Action::Healed)),
            (Drifted, Some(observed("a", VERSION)), "old", false, None),
        ] {
            let key = ObjectKey {
                kind: GroupKind::new("", "ConfigMap"),
                namespace: Some("ns".into()),
                name: "map".into(),
            };
            let job = Job {
                item: Item {
                    key,
                    digest: digest(digested),
                    fixed: None,
                    modes: Modes::default(),
                    index: 0,
                },
                task: Task::Apply(cause),
                before: before.clone(),
                contest: Contest::default(),
                contested: false,
                restored: false,
                may_be_replaced: false,
                replaced_in_vain: None,
                made: None,
            };
            let applied = Applied {
                answer: observed("a", VERSION),
                created,
                current: true,
                rewritten: Vec::new(),
            };
            let did = action(&SyncName::new("ns", "a"), &job, &applied);
            assert_eq!(did, expected, "{cause:?} {before:?} {created}");
        }
    }
}
