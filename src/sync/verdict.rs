//! The conditions of a Sync, and their messages. Pure.

use crate::api::{
    APPROVE_PRUNE, ConditionType, Failure, GROUP, ObjectCounts, Reason, Verdict, summary,
};
use crate::health::Health;
use crate::intent::Mode;
use crate::manifest::ObjectKey;
use crate::plan::{ApplyCause, PrunePlan, SyncName};
use crate::text::{listing, shorten};

/// Why a Sync does not use its newest revision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blocked {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Whether only a person's change can help (kstatus' `Stalled`).
    pub(super) stalled: bool,
}

/// A problem of one object of the target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// `Kind.group namespace/name`.
    pub(super) object: String,
    /// `path (document n)`.
    pub(super) place: Option<String>,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// An object that differs from Git, and its last writer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drift {
    pub(super) key: ObjectKey,
    pub(super) cause: ApplyCause,
    /// What holds it, if it is being deleted.
    pub(super) writer: Option<Box<str>>,
}

/// The first of many items, and their number. Messages name no more than these.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed<T> {
    pub(super) first: Vec<T>,
    pub(super) total: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            total: 0,
        }
    }
}

/// An object that is not healthy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unhealthy {
    pub(super) key: ObjectKey,
    pub(super) health: Health,
    /// Its file and document, with what else it is made of.
    pub(super) place: Option<String>,
    /// What its pods say.
    pub(super) cause: Option<String>,
}

impl Unhealthy {
    /// Why it is not healthy.
    fn why(&self) -> String {
        let why = match &self.health {
            Health::Current => "",
            Health::InProgress(why) | Health::Failed(why) | Health::Terminating(why) => why,
        };
        match &self.cause {
            Some(cause) => format!("{why}: {cause}"),
            None => why.to_owned(),
        }
    }
}

/// Why hooks hold up a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HookHold {
    /// `Progressing` while one runs, `HookFailed` after one has failed.
    pub(super) reason: Reason,
    /// Which one, and why.
    pub(super) message: String,
}

impl HookHold {
    pub(super) fn waits(message: String) -> Self {
        let reason = Reason::Progressing;
        Self { reason, message }
    }

    pub(super) fn failed(message: String) -> Self {
        let reason = Reason::HookFailed;
        Self { reason, message }
    }
}

impl<T> Listed<T> {
    pub(super) fn of(all: impl Iterator<Item = T>) -> Self {
        let mut listed = Self::default();
        for one in all {
            if listed.first.len() < LISTED {
                listed.first.push(one);
            }
            listed.total += 1;
        }
        listed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// A deletion that waits for a person: what would go, why it waits, and how to approve it.
///
/// `approval`: the digest that a person has approved.
pub(super) fn held_message(sync: &SyncName, plan: &PrunePlan, approval: Option<&str>) -> String {
    let SyncName { namespace, name } = sync;
    let PrunePlan {
        digest,
        deletes,
        of,
        kinds,
        because,
        ..
    } = plan;
    let more = match kinds.len().saturating_sub(KINDS) {
        0 => String::new(),
        more => format!(", and {more} more kinds"),
    };
    let because_of = because
        .iter()
        .take(NAMED)
        .map(|why| shorten(why, LONGEST_REASON));
    let other = match approval {
        Some(_) => "; the digest in the annotation is not that of this deletion",
        None => "",
    };
    format!(
        "would delete {deletes} of {of} objects: {}{more}; {}{other}; nothing is deleted until a person approves exactly \
         this: kubectl annotate --overwrite -n {namespace} syncs.{GROUP} {name} {APPROVE_PRUNE}={digest}",
        kinds[..kinds.len().min(KINDS)].join(", "),
        listing(because_of, because.len())
    )
}

/// Objects that are leaving, for people: `ConfigMap prod/a (held by example.com/hold)`.
pub(super) fn in_words(leaving: &Listed<(ObjectKey, String)>) -> String {
    let named = leaving.first.iter().take(NAMED);
    let named = named.map(|(key, why)| format!("{key} ({why})"));
    listing(named, leaving.total)
}

/// The facts from which the status is made.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) suspended: Option<String>,
    /// Who pinned the Sync to an earlier revision, why, and until when.
    pub(super) pinned: Option<String>,
    pub(super) blocked: Option<Box<Blocked>>,
    /// The target's revision, if there is a target.
    pub(super) revision: Option<String>,
    /// The revision that is live, of which this process has no target; and why it has none, where that is known.
    pub(super) untended: Option<(String, Option<String>)>,
    pub(super) counts: ObjectCounts,
    /// Whether applies are running.
    pub(super) busy: bool,
    pub(super) problems: Listed<Problem>,
    /// The deletion that waits for a person, in words.
    pub(super) held: Option<String>,
    /// What was pruned and is not gone yet, and what holds it.
    pub(super) leaving: Listed<(ObjectKey, String)>,
    pub(super) drifts: Listed<Drift>,
    pub(super) mode: Mode,
    /// Failed objects come first.
    pub(super) unhealthy: Listed<Unhealthy>,
    pub(super) wait: bool,
    /// Why the hooks after the applies hold up the revision.
    pub(super) hook_hold: Option<Box<HookHold>>,
    /// Whether objects have been unhealthy for longer than `spec.timeout`.
    pub(super) overdue: bool,
}

/// The number of objects that one message names.
const NAMED: usize = 3;
/// The kinds that a message counts, and the longest of its reasons, in bytes: the command at its end is never cut.
const KINDS: usize = 8;
const LONGEST_REASON: usize = 240;
/// The number of failures in the status.
const LISTED: usize = 10;

impl Facts {
    /// The conditions: always `Ready`, and the others while they apply.
    pub(super) fn verdicts(&self, ready: &Verdict) -> Vec<Verdict> {
        let mut verdicts = vec![ready.clone()];
        let stalled = self.blocked.as_ref().is_some_and(|blocked| blocked.stalled)
            || ready.reason == Reason::PruneHeld;
        if self.suspended.is_none() && ready.status != Some(true) {
            let kind = match stalled {
                true => ConditionType::Stalled,
                false => ConditionType::Reconciling,
            };
            verdicts.push(Verdict::new(kind, true, ready.reason, &*ready.message));
        }
        if self.revision.is_some() {
            verdicts.push(self.drifted());
            verdicts.push(self.healthy());
        }
        verdicts
    }

    /// The condition `Ready` on one short line. It names one of many problems.
    pub(super) fn summary(&self, ready: &Verdict) -> String {
        let names_many =
            self.suspended.is_none() && self.blocked.is_none() && self.revision.is_some();
        let line = match self.problems.first.first() {
            Some(problem) if names_many => listing(
                std::iter::once(format!("{}: {}", problem.object, problem.message)),
                self.problems.total,
            ),
            _ => ready.message.clone(),
        };
        summary(&line)
    }

    /// Whether the objects are as Git wants them. They may be unhealthy, and hooks may wait or have failed.
    pub(super) fn equals_git(&self) -> bool {
        self.revision.is_some()
            && !self.busy
            && self.blocked.is_none()
            && self.held.is_none()
            && self.problems.is_empty()
            && self.leaving.is_empty()
            && self.drifts.is_empty()
    }

    /// The condition `Ready`.
    pub(super) fn ready(&self) -> Verdict {
        let (status, mut reason, mut message) = self.standing();
        // A message about a deletion ends with a command.
        let tells = !matches!(reason, Reason::Deleting | Reason::PruneHeld);
        if let Some(pinned) = self.pinned.as_ref().filter(|_| tells) {
            message = format!("{message}; {pinned}");
            if reason == Reason::Converged {
                reason = Reason::Pinned;
            }
        }
        Verdict::new(ConditionType::Ready, status, reason, message)
    }

    fn standing(&self) -> (Option<bool>, Reason, String) {
        if let Some(by_whom) = &self.suspended {
            let message = format!("{by_whom}; set spec.suspend to false to go on");
            return (None, Reason::Suspended, message);
        }
        if let Some(blocked) = &self.blocked {
            let Blocked {
                reason, message, ..
            } = &**blocked;
            let live = match (&self.revision, &self.untended) {
                _ if *reason == Reason::Deleting => String::new(),
                (Some(revision), _) => self.stays(revision, message),
                (None, Some((revision, why))) => untended(revision, why.as_deref()),
                (None, None) => String::new(),
            };
            let status = (*reason != Reason::Progressing).then_some(false);
            return (status, *reason, format!("{message}{live}"));
        }
        let Some(revision) = &self.revision else {
            return (
                None,
                Reason::Progressing,
                "waiting for the source".to_owned(),
            );
        };
        if let Some(problem) = self.problems.first.first() {
            let mut message = self.problem_message();
            if self.held.is_some() {
                message.push_str("; and a deletion waits for an approval: status.prune.held");
            }
            return (Some(false), problem.reason, message);
        }
        if self.busy {
            let ObjectCounts {
                desired, applied, ..
            } = self.counts;
            let message = format!("applying {revision}: {applied} of {desired} objects");
            return (None, Reason::Progressing, message);
        }
        if let Some(held) = &self.held {
            return (Some(false), Reason::PruneHeld, held.clone());
        }
        if !self.leaving.is_empty() {
            let leaving = in_words(&self.leaving);
            return match self.overdue {
                true => {
                    let message = format!("not gone within spec.timeout: {leaving}");
                    (Some(false), Reason::PruneFailed, message)
                }
                false => {
                    let message = format!("waiting for what left Git to be gone: {leaving}");
                    (None, Reason::Progressing, message)
                }
            };
        }
        if !self.drifts.is_empty() {
            return (Some(false), Reason::DriftFound, self.drift_message());
        }
        if self.wait && !self.unhealthy.is_empty() {
            let mut message = self.health_message();
            if let Some(hold) = &self.hook_hold {
                message.push_str("; ");
                message.push_str(&hold.message);
            }
            return (Some(false), self.health_reason(), message);
        }
        if let Some(HookHold { reason, message }) = self.hook_hold.as_deref() {
            let status = (*reason == Reason::HookFailed).then_some(false);
            return (status, *reason, format!("{message}; {revision} is applied"));
        }
        let ObjectCounts {
            desired,
            left_alone,
            ..
        } = self.counts;
        let equal = match desired.saturating_sub(left_alone) {
            1 => format!("1 object equals {revision}"),
            many => format!("{many} objects equal {revision}"),
        };
        let message = match left_alone {
            0 => equal,
            1 => format!("{equal}; 1 is left alone as its annotation says"),
            many => format!("{equal}; {many} are left alone as their annotations say"),
        };
        (Some(true), Reason::Converged, message)
    }

    /// What stays live while the newest revision, of which `blocked` tells, is not applied.
    fn stays(&self, revision: &str, blocked: &str) -> String {
        let ObjectCounts {
            desired, applied, ..
        } = self.counts;
        match self.problems.is_empty() || applied >= desired {
            // Not the commit has changed, but the spec, or an input.
            true if blocked.starts_with(revision) => "; what is live stays live".to_owned(),
            true => format!("; {revision} stays live"),
            false => format!(
                "; {revision} stays, of which {applied} of {desired} objects could be applied"
            ),
        }
    }

    fn drifted(&self) -> Verdict {
        let kind = ConditionType::Drifted;
        match self.drifts.is_empty() {
            true => {
                let message = match self.problems.is_empty() {
                    true => "no object differs from Git",
                    false => "no object that could be applied differs from Git",
                };
                Verdict::new(kind, false, Reason::InSync, message)
            }
            false => Verdict::new(kind, true, Reason::DriftFound, self.drift_message()),
        }
    }

    /// The condition `Healthy`.
    pub(super) fn healthy(&self) -> Verdict {
        let kind = ConditionType::Healthy;
        if self.unhealthy.is_empty() {
            return Verdict::new(kind, true, Reason::AllHealthy, "every object is healthy");
        }
        Verdict::new(kind, false, self.health_reason(), self.health_message())
    }

    fn health_reason(&self) -> Reason {
        let mut healths = self.unhealthy.first.iter().map(|one| &one.health);
        match self.overdue || healths.any(|health| matches!(health, Health::Failed(_))) {
            true => Reason::HealthFailed,
            false => Reason::HealthPending,
        }
    }

    fn problem_message(&self) -> String {
        let named = self.problems.first.iter().take(NAMED).map(|problem| {
            let place = problem.place.as_ref().map(|place| format!(" in {place}"));
            format!(
                "{}{}: {}",
                problem.object,
                place.unwrap_or_default(),
                problem.message
            )
        });
        listing(named, self.problems.total)
    }

    fn drift_message(&self) -> String {
        let named = self.drifts.first.iter().take(NAMED).map(|drift| {
            let what = match drift.cause {
                ApplyCause::Missing => "was deleted".to_owned(),
                ApplyCause::Leaving => match &drift.writer {
                    Some(finalizers) => format!("is being deleted, held by {finalizers}"),
                    None => "is being deleted".to_owned(),
                },
                _ => match &drift.writer {
                    Some(writer) => format!("was changed by {writer}"),
                    None => "was changed".to_owned(),
                },
            };
            format!("{} {what}", drift.key)
        });
        let list = listing(named, self.drifts.total);
        let are_leaving = self
            .drifts
            .first
            .iter()
            .all(|drift| drift.cause == ApplyCause::Leaving);
        match self.mode {
            Mode::Report => format!("{list} (mode: Report leaves it)"),
            Mode::Correct if are_leaving => {
                format!("{list}; made again from Git when it is gone")
            }
            Mode::Correct => {
                format!("{list}; it keeps being changed, so the next correction waits")
            }
        }
    }

    fn health_message(&self) -> String {
        let named = self.unhealthy.first.iter().take(NAMED).map(|one| {
            let (key, why) = (&one.key, one.why());
            let is_failed = self.overdue || matches!(one.health, Health::Failed(_));
            match one.place.as_ref().filter(|_| is_failed) {
                Some(place) => format!("{key}: {why} (in {place})"),
                None => format!("{key}: {why}"),
            }
        });
        let list = listing(named, self.unhealthy.total);
        match self.overdue {
            true => format!("not healthy within spec.timeout: {list}"),
            false => list,
        }
    }

    /// The first failures for the status: problems first, then unhealthy objects.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let problems = self.problems.first.iter().map(|problem| Failure {
            object: problem.object.clone(),
            file: problem.place.clone(),
            reason: problem.reason.as_str().to_owned(),
            message: problem.message.clone(),
        });
        let is_failed = |one: &&Unhealthy| match one.health {
            Health::Failed(_) => true,
            Health::InProgress(_) | Health::Terminating(_) => self.overdue,
            Health::Current => false,
        };
        let unhealthy = self.unhealthy.first.iter().filter(is_failed);
        let unhealthy = unhealthy.map(|one| Failure {
            object: one.key.to_string(),
            file: one.place.clone(),
            reason: Reason::HealthFailed.as_str().to_owned(),
            message: one.why(),
        });
        problems.chain(unhealthy).take(LISTED).collect()
    }
}

#[cfg(test)]
mod tests;

/// What is said of a revision that was live before the start and is not the target now.
fn untended(revision: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!(
            "; {revision} stays live, and its drift is not corrected: towline was started meanwhile, and {why}"
        ),
        None => format!("; {revision} stays live"),
    }
}
