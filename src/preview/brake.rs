//! Whether a deletion would wait until a person approves it, by the rules of the operator. Pure.

use crate::intent::SyncIntent;
use crate::plan::{Before, Brake, PrunePlan, SyncName};

use super::Outlook;

/// The deletion of an outlook, as the operator would judge it. None if nothing would be deleted, or if a person has approved
/// exactly this deletion.
pub fn prune_plan(
    outlook: &Outlook,
    (owner, uid): (&SyncName, &str),
    intent: &SyncIntent,
    before: Option<Before>,
) -> Option<PrunePlan> {
    if outlook.going.is_empty() {
        return None;
    }
    let staying = outlook.staying.iter();
    let plan = PrunePlan::new(
        (owner, uid),
        &outlook.going,
        staying,
        before,
        &intent.prune_limit,
    );
    plan.approved(None, intent.approved_prune.as_deref()).err()
}

/// Why a deletion would be held, and how it is approved then; none if it would not be held. `lost`: what would be lost with
/// its objects.
pub fn held(plan: PrunePlan, lost: Vec<String>, owner: &SyncName) -> Option<String> {
    match plan.judged(lost) {
        Brake::Free | Brake::Approved(_) => None,
        Brake::Held(plan) => {
            let SyncName { namespace, name } = owner;
            Some(format!(
                "nothing would be deleted until a person approves it (PruneHeld): {}; to approve it when the commit is there: \
                 towline approve {name} -n {namespace}",
                plan.because.join("; ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_would_be_held_says_why_and_how_it_is_approved() {
        let owner = SyncName::new("team-a", "shop");
        let plan = || PrunePlan {
            because: vec!["8 of 12 are more than 50 % (spec.pruneLimit.percent)".to_owned()],
            ..PrunePlan::default()
        };
        let said = held(plan(), vec!["Namespace x holds Pod x/a".to_owned()], &owner).unwrap();
        for part in [
            "PruneHeld",
            "8 of 12 are more than 50 % (spec.pruneLimit.percent); Namespace x holds Pod x/a",
            "towline approve shop -n team-a",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert_eq!(held(PrunePlan::default(), Vec::new(), &owner), None);
    }
}
