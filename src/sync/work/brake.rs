//! Holds a deletion that is larger than the Sync's limit until a person approves it.

use super::super::memory::PruneHold;
use crate::api::SyncStatus;
use crate::driver::may_have_objects;
use crate::intent::SyncIntent;
use crate::plan::{Before, Brake, Owned, PrunePlan};
use crate::sync::Driver;
use crate::sync::report::{Phase, Round};
use crate::sync::timers::Due;

/// How thoroughly a deletion is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judging {
    /// Nothing is deleted now: what the objects hold is not read.
    ByShare,
    /// Objects may be deleted next.
    Whole,
    /// The same, and what was found out before is found out again.
    Anew,
}

impl Driver {
    /// Whether the deletion of `going` waits for a person.
    pub(super) async fn is_braked(
        &mut self,
        intent: &SyncIntent,
        going: &[Owned],
        judging: Judging,
    ) -> bool {
        let before = self.state.memory.held.take();
        if going.is_empty() {
            return false;
        }
        let plan = self.prune_plan(intent, going);
        let known = before.as_ref().map(|held| &held.plan);
        let brake = match plan.approved(known, intent.approved_prune.as_deref()) {
            Ok(approved) => approved,
            Err(plan) => match before {
                Some(before)
                    if !before.approved
                        && !is_judged_anew(judging, going)
                        && before.is_still(&plan, intent.generation) =>
                {
                    Brake::Held(before.plan)
                }
                _ => {
                    let reads = judging != Judging::ByShare && intent.prune_limit.holds_contents;
                    let actor = &self.actor(intent);
                    plan.judged(match reads {
                        true => self.context.lost_with(actor, going).await,
                        false => Vec::new(),
                    })
                }
            },
        };
        let (plan, approved) = match brake {
            Brake::Free => return false,
            Brake::Approved(plan) => (plan, true),
            Brake::Held(plan) => (plan, false),
        };
        let digest = plan.digest.clone();
        self.state.memory.held = Some(PruneHold {
            plan,
            approved,
            generation: intent.generation,
        });
        if approved && judging != Judging::ByShare {
            self.note_approval(intent, &digest).await;
        }
        !approved
    }

    fn prune_plan(&self, intent: &SyncIntent, going: &[Owned]) -> PrunePlan {
        let items = &self.state.objects.items;
        let before = had(&self.state.report.status);
        let uid = self.inbox.uid().unwrap_or_default();
        let (sync, limit) = ((&self.name, &*uid), &intent.prune_limit);
        PrunePlan::new(sync, going, items.keys(), before, limit)
    }

    /// Writes down what was approved before a part of it is carried out: after a restart, the approval is still that
    /// of the rest.
    async fn note_approval(&mut self, intent: &SyncIntent, digest: &str) {
        let status = self.state.report.status.prune.as_ref();
        let noted = status.and_then(|prune| prune.held.as_ref());
        if noted.is_some_and(|held| held.digest == digest) && self.state.writing.written {
            return;
        }
        let round = Round {
            worked: true,
            ..Round::default()
        };
        self.report(intent, Phase::Busy, round, Due::default())
            .await;
    }
}

/// Whether what would be lost is found out again, although the same deletion is held already. What a Sync would take along
/// changes without a change of that Sync: another one may want it by now, which is told by the other one's status.
fn is_judged_anew(judging: Judging, going: &[Owned]) -> bool {
    match judging {
        Judging::Anew => true,
        Judging::Whole => going.iter().any(|(key, _)| may_have_objects(&key.kind)),
        Judging::ByShare => false,
    }
}

/// What a Sync had when its last revision was live, as its status says.
pub fn had(status: &SyncStatus) -> Option<Before> {
    let prune = status.prune.as_ref()?;
    Some(Before {
        objects: usize::try_from(prune.objects?).ok()?,
        newest: prune.newest.as_ref()?.0.as_second(),
    })
}
