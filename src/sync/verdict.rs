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
            let live = match &self.revision {
                Some(revision) if *reason != Reason::Deleting => {
                    format!("; {revision} stays live")
                }
                _ => String::new(),
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
        let named =
            self.unhealthy
                .first
                .iter()
                .take(NAMED)
                .map(|Unhealthy { key, health, place }| {
                    let why = match health {
                        Health::Current => "",
                        Health::InProgress(why)
                        | Health::Failed(why)
                        | Health::Terminating(why) => why,
                    };
                    let is_failed = self.overdue || matches!(health, Health::Failed(_));
                    match place.as_ref().filter(|_| is_failed) {
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
        let unhealthy = self.unhealthy.first.iter().filter_map(
            |Unhealthy { key, health, place }| match health {
                Health::Failed(message) => Some(Failure {
                    object: key.to_string(),
                    file: place.clone(),
                    reason: Reason::HealthFailed.as_str().to_owned(),
                    message: message.clone(),
                }),
                _ => None,
            },
        );
        problems.chain(unhealthy).take(LISTED).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    impl Facts {
        fn is_converged(&self) -> bool {
            self.ready().status == Some(true)
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("apps", "Deployment"),
            namespace: Some("prod".into()),
            name: name.into(),
        }
    }

    fn facts() -> Facts {
        Facts {
            suspended: None,
            pinned: None,
            blocked: None,
            revision: Some("main@sha1:abc".to_owned()),
            counts: ObjectCounts {
                desired: 4,
                applied: 2,
                ..ObjectCounts::default()
            },
            busy: false,
            problems: Listed::default(),
            held: None,
            leaving: Listed::default(),
            drifts: Listed::default(),
            mode: Mode::Correct,
            unhealthy: Listed::default(),
            wait: false,
            hook_hold: None,
            overdue: false,
        }
    }

    fn listed<T>(all: Vec<T>) -> Listed<T> {
        Listed::of(all.into_iter())
    }

    fn types(facts: &Facts) -> Vec<&'static str> {
        facts
            .verdicts(&facts.ready())
            .iter()
            .map(|verdict| verdict.kind.as_str())
            .collect()
    }

    #[test]
    fn ready_only_when_applied_in_sync_and_healthy_if_asked() {
        let converged = facts();
        assert!(converged.is_converged());
        assert_eq!(types(&converged), ["Ready", "Drifted", "Healthy"]);
        let sick = |health| {
            listed(vec![Unhealthy {
                key: key("web"),
                health,
                place: Some("web.yaml (document 1), patched by prod.yaml".to_owned()),
            }])
        };
        let unhealthy = sick(Health::InProgress("1 of 2 replicas".to_owned()));
        let lax = Facts {
            unhealthy: unhealthy.clone(),
            ..facts()
        };
        assert!(lax.is_converged());
        let waiting = Facts {
            unhealthy,
            wait: true,
            ..facts()
        };
        assert_eq!(waiting.ready().reason, Reason::HealthPending);
        assert_eq!(
            types(&waiting),
            ["Ready", "Reconciling", "Drifted", "Healthy"]
        );
        let failed = Facts {
            unhealthy: sick(Health::Failed("it crashes".to_owned())),
            ..facts()
        };
        let place = "web.yaml (document 1), patched by prod.yaml";
        let message = failed.health_message();
        assert!(
            message.ends_with(&format!("it crashes (in {place})")),
            "{message}"
        );
        assert_eq!(failed.failures()[0].file.as_deref(), Some(place));
        assert!(!waiting.health_message().contains(place));
        let healthy = failed.verdicts(&failed.ready()).pop().unwrap();
        assert_eq!(healthy.reason, Reason::HealthFailed);
        let overdue = Facts {
            overdue: true,
            ..waiting
        };
        assert_eq!(overdue.ready().reason, Reason::HealthFailed);
        assert!(
            !Facts {
                busy: true,
                ..facts()
            }
            .is_converged()
        );
        assert!(
            !Facts {
                suspended: Some("suspended".to_owned()),
                ..facts()
            }
            .is_converged()
        );
        assert!(
            !Facts {
                revision: None,
                ..facts()
            }
            .is_converged()
        );
    }

    #[test]
    fn a_message_names_object_file_and_cause() {
        let problems = (0..5).map(|number| Problem {
            object: format!("ConfigMap prod/c{number}"),
            place: Some(format!("apps/c{number}.yaml (document 1)")),
            reason: Reason::ApplyFailed,
            message: "it is refused".to_owned(),
        });
        let failed = Facts {
            problems: Listed::of(problems),
            ..facts()
        };
        let ready = failed.ready();
        assert_eq!(
            (ready.status, ready.reason),
            (Some(false), Reason::ApplyFailed)
        );
        assert!(
            ready
                .message
                .starts_with("ConfigMap prod/c0 in apps/c0.yaml (document 1): it is")
        );
        assert!(ready.message.ends_with("and 2 more"));
        assert_eq!(failed.failures().len(), 5);
    }

    #[test]
    fn a_summary_is_one_line_that_fits_a_terminal_and_counts_the_rest() {
        let problems = (0..35).map(|number| Problem {
            object: format!("ConfigMap prod/c{number}"),
            place: Some(format!("apps/c{number}.yaml (document 1)")),
            reason: Reason::ApplyFailed,
            message: format!("it is refused:\n{}", "because of this, ".repeat(40)),
        });
        let failed = Facts {
            problems: Listed::of(problems),
            ..facts()
        };
        let line = failed.summary(&failed.ready());
        assert!(
            line.chars().count() <= 200 && !line.contains('\n'),
            "{line}"
        );
        assert!(
            line.starts_with("ConfigMap prod/c0: it is refused: because"),
            "{line}"
        );
        assert!(line.ends_with("… and 34 more"), "{line}");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let live = Facts {
            revision: Some(format!("main@sha1:{commit}")),
            ..facts()
        };
        assert!(live.ready().message.ends_with(commit));
        let line = live.summary(&live.ready());
        assert_eq!(line, "4 objects equal main@sha1:0123456789ab");
    }

    #[test]
    fn a_held_deletion_says_what_why_and_how_to_approve_it() {
        let plan = PrunePlan {
            digest: "0af9".to_owned(),
            deletes: 12,
            of: 20,
            kinds: ["8 Deployment.apps", "4 Service"]
                .map(str::to_owned)
                .to_vec(),
            because: vec!["that is more than 50 % (spec.pruneLimit.percent)".to_owned()],
            keeps: String::new(),
        };
        let sync = SyncName::new("team-a", "shop");
        let message = held_message(&sync, &plan, None);
        let stale = held_message(&sync, &plan, Some("77c1"));
        assert!(stale.contains("not that of this") && !message.contains("not that of this"));
        assert!(
            message.starts_with("would delete 12 of 20 objects: 8 Deployment.apps, 4 Service; that is more than 50 %"),
            "{message}"
        );
        let command = "kubectl annotate --overwrite -n team-a syncs.towline.dev shop \
                       towline.dev/approve-prune=0af9";
        assert!(message.ends_with(command), "{message}");
        let held = Facts {
            held: Some(message),
            ..facts()
        };
        let ready = held.ready();
        assert_eq!(
            (ready.status, ready.reason),
            (Some(false), Reason::PruneHeld)
        );
        assert!(types(&held).contains(&"Stalled"));
        // What fails is told first, and may be mended without a person.
        let failed = Facts {
            problems: listed(vec![Problem {
                object: "ConfigMap prod/a".to_owned(),
                place: None,
                reason: Reason::ApplyFailed,
                message: "it is refused".to_owned(),
            }]),
            ..held
        };
        let ready = failed.ready();
        assert_eq!(ready.reason, Reason::ApplyFailed);
        assert!(
            ready.message.ends_with("status.prune.held"),
            "{}",
            ready.message
        );
        assert!(types(&failed).contains(&"Reconciling"));
    }

    #[test]
    fn a_blocked_revision_says_what_stays_live_and_stalls_only_where_a_person_must_act() {
        let blocked = |stalled| {
            Some(Box::new(Blocked {
                reason: Reason::InvalidManifest,
                message: "a.yaml: line 3: a key is there twice".to_owned(),
                stalled,
            }))
        };
        let stalled = Facts {
            blocked: blocked(true),
            ..facts()
        };
        assert!(
            stalled
                .ready()
                .message
                .ends_with("main@sha1:abc stays live")
        );
        assert!(types(&stalled).contains(&"Stalled"));
        let waiting = Facts {
            blocked: blocked(false),
            ..facts()
        };
        assert!(types(&waiting).contains(&"Reconciling"));
    }

    #[test]
    fn a_pin_is_told_with_everything_but_a_deletion() {
        let pinned = Facts {
            pinned: Some("pinned by anna: incident 7, until somebody ends it".to_owned()),
            ..facts()
        };
        let ready = pinned.ready();
        assert_eq!((ready.status, ready.reason), (Some(true), Reason::Pinned));
        assert_eq!(
            ready.message,
            "4 objects equal main@sha1:abc; pinned by anna: incident 7, until somebody ends it"
        );
        assert!(pinned.summary(&ready).contains("pinned by anna"));
        let suspended = Facts {
            suspended: Some("suspended".to_owned()),
            ..pinned.clone()
        };
        let ready = suspended.ready();
        assert_eq!((ready.status, ready.reason), (None, Reason::Suspended));
        assert!(ready.message.ends_with("until somebody ends it"));
        let held = Facts {
            held: Some("would delete 12 of 20 objects: a command".to_owned()),
            ..pinned
        };
        assert!(held.ready().message.ends_with("a command"));
    }

    #[test]
    fn drift_names_who_did_it_and_what_happens_next() {
        let drifts = listed(vec![Drift {
            key: key("web"),
            cause: ApplyCause::Drifted,
            writer: Some("kubectl-edit".into()),
        }]);
        let reported = Facts {
            drifts,
            mode: Mode::Report,
            ..facts()
        };
        let message = reported.ready().message;
        assert!(
            message.contains("Deployment.apps prod/web was changed by kubectl-edit"),
            "{message}"
        );
        assert!(message.contains("mode: Report"));
        let leaving = Facts {
            drifts: listed(vec![Drift {
                key: key("web"),
                cause: ApplyCause::Leaving,
                writer: Some("example.com/hold".into()),
            }]),
            ..facts()
        };
        assert_eq!(
            leaving.ready().message,
            "Deployment.apps prod/web is being deleted, held by example.com/hold; made again from Git when it is gone"
        );
    }
}
