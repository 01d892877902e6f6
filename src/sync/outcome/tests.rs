use super::*;
use crate::api::{Verdict, set_conditions};
use crate::sync::report::{Live, Tally};

const MINUTE: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// `spec.timeout`
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Plays the life of a Sync, step by step.
struct Play {
    status: SyncStatus,
    outcomes: Vec<Outcome>,
    now: Timestamp,
    /// Whether objects had failed before the revision that is being applied.
    unhealthy_before: bool,
}

impl Play {
    fn new() -> Self {
        Self {
            status: SyncStatus::default(),
            outcomes: Vec::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            unhealthy_before: false,
        }
    }

    fn judge(&mut self) -> Judge<'_> {
        Judge {
            status: &mut self.status,
            outcomes: &mut self.outcomes,
            now: self.now,
            window: WINDOW,
        }
    }

    /// The condition `kind` is so.
    fn is(&mut self, kind: ConditionType, is: bool, reason: Reason) {
        let mut conditions = self.status.conditions.clone();
        let (others, same): (Vec<_>, Vec<_>) = conditions
            .drain(..)
            .partition(|one| one.type_ != kind.as_str());
        let verdict = Verdict::new(kind, is, reason, "");
        let set = set_conditions(&same, vec![verdict], None, &Time(self.now));
        self.status.conditions = others.into_iter().chain(set).collect();
    }

    /// All of a revision is applied.
    fn applies(&mut self, revision: &str, digest: &str, reverts: Option<&str>, pinned: bool) {
        let live = Live {
            revision: format!("main@sha1:{revision}"),
            chart: None,
            author: String::new(),
            subject: String::new(),
            reverts: None,
            committed: Time(self.now),
            observed: Time(self.now),
            fetch: None,
        };
        let failing = self.status.conditions.iter();
        let mut failing = failing.filter(|one| one.reason == Reason::HealthFailed.as_str());
        let entry = HistoryEntry {
            pinned,
            digest: Some(digest.to_owned()),
            unhealthy_before: failing.next().is_some(),
            ..HistoryEntry::of(&live, &Tally::default(), &Time(self.now))
        };
        self.status.history.insert(0, entry);
        self.judge().entered(reverts);
    }

    fn trouble(&mut self, trouble: Trouble, early: Option<&str>) {
        let (kind, reason) = match trouble.cause {
            ChangeFailure::Unhealthy => (ConditionType::Healthy, Reason::HealthFailed),
            _ => (ConditionType::Ready, Reason::ApplyFailed),
        };
        let under_way = early.map(|digest| UnderWay {
            revision: "early",
            digest: Some(digest),
            observed: self.now - SignedDuration::from_mins(10),
            unhealthy_before: self.unhealthy_before,
        });
        self.judge().troubled(trouble, under_way.as_ref(), TIMEOUT);
        self.is(kind, false, reason);
    }

    /// One step, in a word.
    fn step(&mut self, step: &str) {
        let refused = Trouble::of(Reason::ApplyFailed).unwrap();
        match step {
            "live" => {
                let is_new = self.status.history[0].converged.is_none();
                self.status.history[0]
                    .converged
                    .get_or_insert(Time(self.now));
                if is_new {
                    self.judge().converged();
                }
                self.judge().well();
                self.is(ConditionType::Healthy, true, Reason::AllHealthy);
                self.is(ConditionType::Ready, true, Reason::Converged);
            }
            // Without `wait`, an unhealthy Sync converges.
            "ready" => {
                self.status.history[0].converged = Some(Time(self.now));
                self.judge().converged();
            }
            "rolls" => self.is(ConditionType::Healthy, false, Reason::HealthPending),
            "sick" => self.trouble(Trouble::UNHEALTHY, None),
            "refused" => self.trouble(refused, None),
            "hook" => self.trouble(Trouble::of(Reason::HookFailed).unwrap(), None),
            "restart" => {
                let status = serde_json::to_value(&self.status).unwrap();
                self.status = serde_json::from_value(status).unwrap();
            }
            _ => self.step_with(step, refused),
        }
    }

    fn step_with(&mut self, step: &str, refused: Trouble) {
        if let Some(minutes) = step.strip_prefix('+') {
            self.now += SignedDuration::from_mins(minutes.parse().unwrap());
        } else if let Some(digest) = step.strip_prefix("early=") {
            self.trouble(refused, Some(digest));
        } else if let Some(revision) = step.strip_prefix("pin:") {
            self.judge().pinned(&PinStatus {
                revision: format!("main@sha1:{revision}"),
                ..PinStatus::default()
            });
        } else {
            let (revision, digest) = step.split_once('=').unwrap();
            let (digest, reverts) = match digest.split_once('^') {
                Some((digest, reverts)) => (digest, Some(reverts)),
                None => (digest, None),
            };
            let pinned = revision.starts_with('@');
            self.applies(revision.trim_start_matches('@'), digest, reverts, pinned);
        }
    }

    fn told(&self) -> String {
        let outcomes = self.outcomes.iter().map(|outcome| match outcome {
            Outcome::Converged => "converged".to_owned(),
            Outcome::Failed { cause, converged } => match converged {
                true => cause.as_str().to_owned(),
                false => format!("{} at once", cause.as_str()),
            },
            Outcome::Restored { took } => {
                format!("restored after {}", took.as_secs() / MINUTE.as_secs())
            }
        });
        outcomes.collect::<Vec<_>>().join(", ")
    }
}

/// `a=1` is a revision `a` with content 1 that was applied; `c=1^b` says that it reverts `b`; `@a=1` is brought back by a
/// pin. `+9` are minutes.
#[test]
fn a_change_converges_fails_and_is_made_good() {
    let mut wrong = Vec::new();
    for (steps, expected) in [
        ("a=1 live", ""),
        ("a=1 sick live", ""),
        ("a=1 live b=2 live", "converged"),
        // A revision with earlier content takes back what is between.
        (
            "a=1 live b=2 live +9 c=1 live",
            "converged, Reverted, converged, restored after 9",
        ),
        (
            "a=1 live b=2 live +9 c=1 +3 live",
            "converged, Reverted, converged, restored after 12",
        ),
        (
            "a=1 live b=2 live +1 c=3 live +1 d=1 live",
            "converged, converged, Reverted, Reverted, converged, restored after 2",
        ),
        (
            "a=1 live b=2 +1 c=3 live +1 d=1 live",
            "converged, Reverted, converged, restored after 1",
        ),
        (
            "a=1 live b=2 +9 c=1 live",
            "Reverted at once, converged, restored after 9",
        ),
        ("a=1 live b=2 live +61 c=1 live", "converged, converged"),
        (
            "a=1 live b=2 live c=1 live +5 d=2 live",
            "converged, Reverted, converged, restored after 0, converged",
        ),
        // A commit says which one it reverts. The content is new, for another change is between.
        (
            "a=1 live b=2 live +1 c=3 live +1 d=4^b live",
            "converged, converged, Reverted, converged, restored after 2",
        ),
        ("a=1 live b=2 live +1 c=3^x live", "converged, converged"),
        ("a=1 live b=2 live +1 c=3^a live", "converged, converged"),
        // A person goes back.
        (
            "a=1 live b=2 live +4 pin:a @a=1 +1 live",
            "converged, PinnedAway, restored after 5",
        ),
        (
            "a=1 live b=2 live +4 pin:a @a=1 live +4 restart pin:a",
            "converged, PinnedAway, restored after 4",
        ),
        (
            "a=1 live b=2 +4 pin:a @a=1 live",
            "PinnedAway at once, restored after 4",
        ),
        ("a=1 live b=2 live +99 pin:a @a=1 live", "converged"),
        ("a=1 live b=2 live pin:b", "converged"),
        ("a=1 live b=2 live pin:x", "converged"),
        (
            "a=1 live b=2 live +4 pin:a @a=1 live c=3 live +1 d=1 live",
            "converged, PinnedAway, restored after 4, converged, Reverted, converged, restored after 1",
        ),
        // Objects do not become healthy, or do not stay so.
        (
            "a=1 live b=2 rolls +5 sick +1 sick +3 c=3 live",
            "Unhealthy at once, converged, restored after 9",
        ),
        (
            "a=1 live b=2 rolls +5 sick +4 live",
            "Unhealthy at once, restored after 9",
        ),
        (
            "a=1 live b=2 ready +2 sick +4 sick live",
            "converged, Unhealthy, restored after 4",
        ),
        (
            "a=1 live b=2 live +30 sick +1 live",
            "converged, Unhealthy, restored after 1",
        ),
        (
            "a=1 live b=2 live +30 sick +1 live +1 sick +1 live",
            "converged, Unhealthy, restored after 1",
        ),
        ("a=1 live b=2 live +61 sick +1 live", "converged"),
        (
            "a=1 live b=2 live +30 sick +2 c=1 live",
            "converged, Unhealthy, converged, restored after 2",
        ),
        (
            "a=1 live b=2 live +30 sick +2 restart sick +2 live",
            "converged, Unhealthy, restored after 4",
        ),
        // What was broken before is not the change's failure, and neither is a try that does not help.
        ("a=1 sick +99 b=2 ready sick +9 sick", "converged"),
        (
            "a=1 live b=2 sick +1 c=3 sick +1 d=4 live",
            "Unhealthy at once, converged, restored after 2",
        ),
        ("a=1 sick b=2 live +9 sick", "converged, Unhealthy"),
        // The API server refuses objects: at once is too early to say.
        ("a=1 live b=2 live refused +5 refused live", "converged"),
        (
            "a=1 live b=2 live refused +6 refused +1 live",
            "converged, Failed, restored after 7",
        ),
        (
            "a=1 live b=2 hook +1 live",
            "Failed at once, restored after 1",
        ),
        (
            "a=1 live early=2 +5 early=2 +1 early=2 +1 early=2 b=2 live",
            "Failed at once, restored after 7",
        ),
        (
            "a=1 live early=2 +6 early=2 early=3 c=3 live",
            "Failed at once, Failed at once, restored after 6",
        ),
        ("early=1 +6 early=1 a=1 live", ""),
    ] {
        let mut play = Play::new();
        for step in steps.split(' ') {
            play.step(step);
        }
        if play.told() != expected {
            wrong.push(format!("{steps}: {}, and not {expected}", play.told()));
        }
        // What failed is remembered until it is made good.
        let failures = play.outcomes.iter();
        let last = failures
            .rev()
            .find(|outcome| **outcome != Outcome::Converged);
        let is_failing = matches!(last, Some(Outcome::Failed { .. }));
        assert_eq!(play.status.failed_change.is_some(), is_failing, "{steps}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whatever a status says of another operator's, nothing is counted twice after a restart in any place.
#[test]
fn a_restart_at_any_step_changes_nothing() {
    for steps in [
        "a=1 live b=2 live +9 c=1 live",
        "a=1 live b=2 live +4 pin:a @a=1 +1 live",
        "a=1 live b=2 rolls +5 sick +1 sick +3 c=3 live",
        "a=1 live early=2 +6 early=2 +1 early=2 b=2 live",
    ] {
        let steps: Vec<&str> = steps.split(' ').collect();
        let told = |restart: usize| {
            let mut play = Play::new();
            for (index, step) in steps.iter().enumerate() {
                if index == restart {
                    play.step("restart");
                }
                play.step(step);
            }
            play.told()
        };
        for restart in 0..steps.len() {
            assert_eq!(told(restart), told(usize::MAX), "{steps:?} {restart}");
        }
    }
}
