use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use strum::VariantNames as _;
use tokio::time::Instant;

use super::*;
use crate::api::{Condition, HeldPrune, ObjectCounts, PinStatus, SyncStatus};
use crate::driver::{StatusRefusal, Written};
use crate::health::Health;
use crate::intent::Mode;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{ApplyCause, Release, Relinquished};
use crate::sync::report::{Live, Round};
use crate::sync::timers::{Due, Now};
use crate::sync::verdict::{Blocked, Drift, Facts, HookHold, Listed, Problem, Unhealthy};
use crate::sync::write::status_refused;

const SECOND: Duration = Duration::from_secs(1);
const DIFF_AFTER: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(300);

/// Drives the core through rounds, as the driver does.
pub(super) struct Play {
    pub(super) state: ReportState,
    timers: Timers,
    now: Now,
}

impl Play {
    pub(super) fn new() -> Self {
        Self::restarted(SyncStatus::default(), false)
    }

    pub(super) fn restarted(status: SyncStatus, ready: bool) -> Self {
        let now = Now {
            at: Instant::now(),
            time: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        Self {
            state: ReportState::restored(status, ready),
            timers: Timers::new(now.at + SECOND * 3600),
            now,
        }
    }

    /// A Sync that has converged to revision `a`.
    pub(super) fn converged() -> Self {
        let mut play = Self::new();
        play.state.retargeted(("a", None), "a".to_owned());
        play.round(seen("a"));
        play
    }

    pub(super) fn time(&self) -> Timestamp {
        self.now.time
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.now.at += time;
        self.now.time += SignedDuration::try_from(time).unwrap();
    }

    /// A round that finds `seen`. Timers that ran out are due in it.
    pub(super) fn round(&mut self, mut seen: Observed) -> Assessment {
        seen.due = self.timers.take_due(self.now.at, SECOND * 3600);
        (seen.now, seen.timers) = (self.now, self.timers.clone());
        let assessment = assess(&self.state, seen);
        self.state = assessment.report.clone();
        self.timers = assessment.timers.clone();
        assessment
    }

    fn ready(&self) -> &Condition {
        condition(&self.state.status, "Ready").unwrap()
    }
}

fn condition<'a>(status: &'a SyncStatus, of: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == of)
}

/// Everything of a revision is applied and healthy.
pub(super) fn seen(revision: &str) -> Observed {
    let now = Now {
        at: Instant::now(),
        time: Timestamp::UNIX_EPOCH,
    };
    let at = |second: i64| Time(Timestamp::from_second(1_799_999_000 + second).unwrap());
    let live = Live {
        chart: None,
        revision: revision.to_owned(),
        author: "Ann".to_owned(),
        subject: "first".to_owned(),
        reverts: None,
        committed: at(0),
        observed: at(1),
        fetch: None,
    };
    Observed {
        phase: Phase::Done,
        now,
        due: Due::default(),
        about: Arc::default(),
        generation: Some(1),
        handled: None,
        attempted: Some(revision.to_owned()),
        attempted_chart: None,
        kinds: Vec::new(),
        said: Said::default(),
        pin: None,
        unpinned_by: None,
        live: Some(live.clone()),
        tried: Some(live),
        facts: Facts {
            suspended: None,
            pinned: None,
            blocked: None,
            revision: Some(revision.to_owned()),
            counts: ObjectCounts {
                desired: 2,
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
            wait: true,
            untended: None,
            hook_hold: None,
            overdue: false,
        },
        applied: true,
        needs_retry: false,
        pause: SECOND,
        timers: Timers::new(now.at),
        timeout: TIMEOUT,
        diff_after: DIFF_AFTER,
        failure_window: SECOND * 3600,
        finished: Vec::new(),
        made_jobs: Vec::new(),
        brake: None,
        held: None,
        left_behind: Vec::new(),
        owned: 2,
        newest: None,
        contested: 0,
        newly_drifted: 0,
        round: Round::default(),
    }
}

fn one<T>(value: T) -> Listed<T> {
    Listed::of(std::iter::once(value))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: GroupKind::new("", "ConfigMap"),
        namespace: Some("prod".into()),
        name: name.into(),
    }
}

fn with(change: impl FnOnce(&mut Observed)) -> Observed {
    let mut seen = seen("a");
    change(&mut seen);
    seen
}

/// A Sync that is held at `a`, away from `b`.
fn pinned() -> Observed {
    with(|seen| {
        seen.facts.pinned = Some("pinned by anna: incident 7".to_owned());
        seen.pin = Some(PinStatus {
            revision: "a".to_owned(),
            away: Some("b".to_owned()),
            ..PinStatus::default()
        });
    })
}

/// The target is there, and work on it is left.
fn unfinished() -> Observed {
    with(|seen| seen.applied = false)
}

pub(super) fn blocked(reason: Reason) -> Observed {
    with(|seen| {
        seen.facts.blocked = Some(Box::new(Blocked {
            reason,
            message: "no".to_owned(),
            stalled: false,
        }));
    })
}

pub(super) fn problem(reason: Reason) -> Observed {
    with(|seen| {
        (seen.applied, seen.needs_retry) = (false, true);
        seen.facts.problems = one(Problem {
            object: key("a").to_string(),
            place: None,
            reason,
            message: "no".to_owned(),
        });
    })
}

fn drifted() -> Observed {
    with(|seen| {
        seen.facts.drifts = one(Drift {
            key: key("a"),
            cause: ApplyCause::Drifted,
            writer: Some("kubectl".into()),
        });
        seen.newly_drifted = 1;
    })
}

pub(super) fn unhealthy(health: Health) -> Observed {
    with(|seen| {
        seen.facts.unhealthy = one(Unhealthy {
            key: key("a"),
            health,
            place: None,
            cause: None,
        });
    })
}

pub(super) fn pending() -> Observed {
    unhealthy(Health::InProgress("1 of 2 replicas".to_owned()))
}

fn healed() -> Observed {
    with(|seen| seen.round.healed = vec![(key("a"), Some("kubectl".into()))])
}

fn left() -> Observed {
    let left = Relinquished {
        field: "spec.replicas".to_owned(),
        manager: "autoscaler".to_owned(),
    };
    with(|seen| seen.round.left = vec![(key("a"), left)])
}

/// A hook after the applies that holds up the revision.
fn held_by_hook(reason: Reason) -> Observed {
    let message = "post-install hook Job.batch ns/check failed".to_owned();
    with(|seen| seen.facts.hook_hold = Some(Box::new(HookHold { reason, message })))
}

fn reasons(assessment: &Assessment) -> Vec<Reason> {
    let notices = assessment.notices.iter();
    notices.map(|notice| notice.reason).collect()
}

/// Where a reason shows.
enum Shows {
    /// In the condition `Ready`.
    Ready(Observed),
    /// In another condition.
    In(&'static str, Observed),
    /// In a notice only.
    Notice(Observed),
    /// In a notice after the status was written, which is after the assessment.
    Writing,
    /// Never on a Sync.
    Elsewhere,
}

/// How a Sync comes by each reason. A new reason does not compile before it is placed here.
fn shows(reason: Reason) -> Shows {
    match reason {
        Reason::Converged => Shows::Ready(seen("a")),
        Reason::Progressing => Shows::Ready(unfinished()),
        Reason::Suspended => Shows::Ready(with(|seen| {
            (seen.phase, seen.facts.suspended) =
                (Phase::Held, Some("suspended by alice".to_owned()));
        })),
        Reason::Pinned => Shows::Ready(pinned()),
        Reason::Deleting => Shows::Ready(Observed {
            phase: Phase::Held,
            ..blocked(reason)
        }),
        Reason::DriftFound => Shows::Ready(drifted()),
        Reason::HealthPending => Shows::Ready(pending()),
        Reason::HealthFailed => Shows::Ready(unhealthy(Health::Failed("it crashes".to_owned()))),
        // The source's problem, as long as it has no revision, and what the gate or the target says.
        Reason::FetchFailed
        | Reason::AuthenticationFailed
        | Reason::CredentialsInvalid
        | Reason::VerificationFailed
        | Reason::SignersInvalid
        | Reason::RefNotFound
        | Reason::TooLarge
        | Reason::SourceNotReady
        | Reason::PathNotFound
        | Reason::EmptyRender
        | Reason::InvalidManifest
        | Reason::RenderFailed
        | Reason::DecryptionFailed
        | Reason::DependencyNotReady
        | Reason::InvalidSpec
        | Reason::ValidationFailed
        | Reason::PinRefused
        | Reason::DependencyCycle => Shows::Ready(blocked(reason)),
        Reason::KindNotServed
        | Reason::OwnershipConflict
        | Reason::ApplyFailed
        | Reason::PruneFailed
        | Reason::ApiUnavailable => Shows::Ready(problem(reason)),
        Reason::HookFailed => Shows::Ready(held_by_hook(reason)),
        Reason::InSync => Shows::In("Drifted", seen("a")),
        Reason::AllHealthy => Shows::In("Healthy", seen("a")),
        Reason::Diff => Shows::Notice(drifted()),
        Reason::DriftCorrected => Shows::Notice(healed()),
        Reason::FieldLeft => Shows::Notice(left()),
        Reason::FieldRewritten => Shows::Notice(with(|seen| {
            seen.round.rewritten = vec![(key("a"), "data.value".to_owned())];
        })),
        Reason::NotRunAgain => Shows::Notice(with(|seen| seen.round.vanished = vec![key("a")])),
        Reason::PruneHeld => Shows::Ready(held("d1")),
        Reason::Released => Shows::Notice(with(|seen| {
            seen.round.released = vec![(key("a"), Release::Kept)];
        })),
        Reason::StatusRefused => Shows::Writing,
        // A pin ends after another round.
        Reason::ChangeCommitted
        | Reason::Fetched
        | Reason::Unpinned
        | Reason::WebhookInvalid
        | Reason::Delivering
        | Reason::DeliveryFailed
        | Reason::ProviderInvalid
        | Reason::ProviderNotReady
        | Reason::Planned
        | Reason::PlanFailed => Shows::Elsewhere,
    }
}

#[test]
fn a_pin_is_told_once_and_its_end_as_well() {
    let mut play = Play::converged();
    play.state.retargeted(("b", None), "b".to_owned());
    play.round(seen("b"));
    play.state.retargeted(("a", None), "a".to_owned());
    let told = play.round(pinned());
    assert_eq!(reasons(&told), [Reason::Pinned, Reason::Converged]);
    let notice = &told.notices[0];
    assert_eq!(notice.message, "held at a: pinned by anna: incident 7");
    assert_eq!(
        notice.delivers.as_deref(),
        Some("b"),
        "the commit has failed"
    );
    assert_eq!(
        told.figures.changed, None,
        "what was live before is no change"
    );
    let entry = &play.state.status.history[0];
    assert_eq!((&*entry.revision, entry.pinned), ("a", true));
    // What was found out about the newest revision is no news.
    let mut later = pinned();
    later.pin.as_mut().unwrap().seen = Some("c".to_owned());
    assert_eq!(reasons(&play.round(later)), []);
    let seen = play.state.status.pin.as_ref().unwrap().seen.clone();
    assert_eq!(seen.as_deref(), Some("c"));
    // The operator restarts, and somebody ends the pin meanwhile.
    play.state = ReportState::restored(play.state.status.clone(), true);
    let told = play.round(with(|seen| {
        seen.unpinned_by = Some("unpinned by anna".to_owned());
    }));
    assert_eq!(reasons(&told), [Reason::Unpinned]);
    assert_eq!(
        told.notices[0].message,
        "unpinned by anna; it was held at a"
    );
    assert_eq!(play.state.status.pin, None);
    // A pin to what is the newest anyway fails nothing.
    let told = play.round(Observed {
        pin: Some(PinStatus {
            revision: "a".to_owned(),
            away: Some("a".to_owned()),
            hold: true,
            ..PinStatus::default()
        }),
        ..pinned()
    });
    assert_eq!(told.notices[0].delivers, None);
}

#[test]
fn a_commit_to_the_chart_alone_is_an_entry_of_the_history() {
    let with_chart = |chart: &str| {
        let mut observed = seen("a");
        observed.live.as_mut().unwrap().chart = Some(chart.to_owned());
        observed.attempted_chart = Some(AttemptedChart {
            source: "charts".to_owned(),
            revision: chart.to_owned(),
        });
        observed
    };
    let revisions = |status: &SyncStatus| {
        let of = |entry: &HistoryEntry| (entry.revision.clone(), entry.chart_revision.clone());
        status.history.iter().map(of).collect::<Vec<_>>()
    };
    let entry = |chart: &str| ("a".to_owned(), Some(chart.to_owned()));
    let mut report = ReportState::restored(SyncStatus::default(), false);
    report.retargeted(("a", Some("1")), "1".to_owned());
    report = assess(&report, with_chart("1")).report;
    let chart = report.status.chart.clone().unwrap();
    assert_eq!(
        (&*chart.source, chart.last_applied_revision.as_deref()),
        ("charts", Some("1"))
    );
    assert_eq!(revisions(&report.status), [entry("1")]);
    // A commit that changes nothing here is applied without an entry.
    report = assess(&report, with_chart("2")).report;
    let applied = report.status.chart.clone().unwrap().last_applied_revision;
    assert_eq!(
        (applied.as_deref(), report.status.history.len()),
        (Some("2"), 1)
    );
    // After a restart, the content of both revisions is known, and another revision of the chart is new.
    let mut restored = ReportState::restored(report.status, true);
    restored.retargeted(("a", Some("2")), "1".to_owned());
    assert_eq!(
        assess(&restored, with_chart("2"))
            .report
            .status
            .history
            .len(),
        1
    );
    restored.retargeted(("a", Some("3")), "3".to_owned());
    let report = assess(&restored, with_chart("3")).report;
    assert_eq!(revisions(&report.status), [entry("3"), entry("1")]);
    // The chart is in the Sync's own repository now.
    let mut own = report;
    own.retargeted(("a", None), "4".to_owned());
    let own = assess(&own, seen("a")).report;
    assert_eq!((own.status.chart, own.status.history.len()), (None, 3));
}

#[test]
fn a_revision_with_hooks_is_not_ready_before_they_have_ended() {
    let mut play = Play::converged();
    play.round(held_by_hook(Reason::Progressing));
    let ready = play.ready();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("Unknown", "Progressing")
    );
    assert!(!play.state.ready && ready.message.contains("post-install hook"));
    let notices = reasons(&play.round(held_by_hook(Reason::HookFailed)));
    assert_eq!(notices, [Reason::HookFailed]);
    assert_eq!(play.ready().status, "False");
}

/// Every reason that there is.
fn all_reasons() -> Vec<Reason> {
    let names = Reason::VARIANTS.iter();
    names.map(|name| Reason::named(name).unwrap()).collect()
}

#[test]
fn every_reason_of_a_sync_is_reached() {
    let all = all_reasons();
    assert!(all.len() > 30 && all.contains(&Reason::ApiUnavailable));
    for reason in all {
        let mut play = Play::converged();
        match shows(reason) {
            Shows::Elsewhere => (),
            Shows::Writing => {
                let refused = Ok(Written::InShort("it is not wanted".to_owned()));
                let message = StatusRefusal::default().note(&refused).unwrap();
                let about = Arc::default();
                let notice = status_refused(&about, Some("a"), message, play.time());
                assert_eq!(notice.reason, reason);
                assert_eq!(notice.level, Level::Warning);
                assert_eq!(notice.revision.as_deref(), Some("a"));
                assert!(notice.message.ends_with("it is not wanted"));
            }
            Shows::Ready(seen) => {
                play.round(seen);
                assert_eq!(play.ready().reason, reason.as_str());
                assert_eq!(play.state.reason, reason);
                let is_ready = matches!(reason, Reason::Converged | Reason::Pinned);
                assert_eq!(play.ready().status == "True", is_ready, "{reason:?}");
                assert_eq!(play.state.ready, is_ready, "{reason:?}");
            }
            Shows::In(kind, seen) => {
                play.round(seen);
                let found = condition(&play.state.status, kind).unwrap();
                assert_eq!(found.reason, reason.as_str());
            }
            Shows::Notice(seen) => {
                let mut told = reasons(&play.round(seen.clone()));
                play.passes(DIFF_AFTER);
                told.extend(reasons(&play.round(seen)));
                assert!(told.contains(&reason), "{reason:?} in {told:?}");
            }
        }
    }
}

/// A deletion that waits for a person.
fn held(digest: &str) -> Observed {
    with(|seen| {
        seen.facts.held = Some(format!("would delete 12 of 20 objects ({digest})"));
        seen.held = Some(HeldPrune {
            digest: digest.to_owned(),
            ..HeldPrune::default()
        });
    })
}

#[test]
fn a_held_deletion_is_told_once_and_keeps_the_number_that_it_is_a_share_of() {
    let mut play = Play::converged();
    let objects = |play: &Play| play.state.status.prune.as_ref().unwrap().objects;
    assert_eq!(objects(&play), Some(2));
    let more = |digest: &str| Observed {
        owned: 30,
        ..held(digest)
    };
    assert_eq!(reasons(&play.round(more("d1"))), [Reason::PruneHeld]);
    assert!(play.round(more("d1")).notices.is_empty());
    assert!(condition(&play.state.status, "Stalled").is_some());
    // After a restart, nothing is told again.
    play.state = ReportState::restored(play.state.status.clone(), false);
    assert!(play.round(more("d1")).notices.is_empty());
    assert_eq!(objects(&play), Some(2));
    assert_eq!(reasons(&play.round(more("d2"))), [Reason::PruneHeld]);
    // It was approved, and is carried out.
    let mut approved = more("d2");
    approved.facts.held = None;
    assert!(!reasons(&play.round(approved)).contains(&Reason::PruneHeld));
    assert_eq!(objects(&play), Some(2));
    let done = with(|seen| seen.owned = 8);
    play.round(done);
    assert_eq!(objects(&play), Some(8));
    assert_eq!(play.state.status.prune.as_ref().unwrap().held, None);
}

#[test]
fn a_new_revision_is_reported_as_converged_once() {
    let mut play = Play::new();
    play.state.retargeted(("a", None), "a".to_owned());
    let created = vec![(Action::Created, key("a")), (Action::Created, key("b"))];
    let first = play.round(with(|seen| seen.round.changes = created));
    assert_eq!(reasons(&first), [Reason::Converged]);
    let notice = &first.notices[0];
    assert_eq!(
        notice.message,
        "2 objects equal a by Ann; 2 created, 0 changed, 0 pruned"
    );
    assert_eq!(notice.objects.len(), 2);
    assert!(
        first.figures.stretches.is_empty(),
        "a first revision may be of any age"
    );
    assert!(first.settled);
    assert!(play.round(seen("a")).notices.is_empty());
    // Another commit with the same content is a status, and no news.
    let same = play.round(seen("b"));
    assert!(same.notices.is_empty());
    let status = &play.state.status;
    assert_eq!(status.last_applied_revision.as_deref(), Some("b"));
    assert_eq!(status.last_changed_revision.as_deref(), Some("a"));
    assert_eq!(status.history.len(), 1);
    play.state.retargeted(("c", None), "c".to_owned());
    let second = play.round(seen("c"));
    assert_eq!(second.figures.stretches.len(), 4);
    assert!(second.figures.changed.is_some());
    assert_eq!(play.state.status.history.len(), 2);
}

#[test]
fn a_restart_without_changes_reports_nothing() {
    let before = Play::converged().state.status;
    let mut play = Play::restarted(before.clone(), true);
    play.state.retargeted(("a", None), "a".to_owned());
    assert!(play.state.is_restored("a") && !play.state.is_restored("b"));
    let verifying = play.round(unfinished());
    assert!(verifying.notices.is_empty());
    assert!(play.round(seen("a")).notices.is_empty());
    let (was, is) = (&before.times, &play.state.status.times);
    assert_eq!(was, is, "it converged when it did");

    let mut failed = Play::converged();
    failed.round(problem(Reason::ApplyFailed));
    let mut play = Play::restarted(failed.state.status, false);
    play.state.retargeted(("a", None), "a".to_owned());
    let again = play.round(problem(Reason::ApplyFailed));
    assert!(again.notices.is_empty(), "that was told before the restart");
    assert_eq!(reasons(&play.round(seen("a"))), [Reason::Converged]);
}

#[test]
fn the_times_of_the_last_revision_are_not_kept_for_the_next() {
    let mut play = Play::converged();
    let times = |play: &Play| play.state.status.times.clone().unwrap();
    assert!(times(&play).applied.is_some() && times(&play).converged.is_some());
    play.state.retargeted(("b", None), "b".to_owned());
    let under_way = |applied| Observed {
        applied,
        ..seen("b")
    };
    play.round(under_way(false));
    assert_eq!((times(&play).applied, times(&play).converged), (None, None));
    let unhealthy = Observed {
        facts: pending().facts,
        ..under_way(true)
    };
    play.round(unhealthy);
    assert!(times(&play).applied.is_some() && times(&play).converged.is_none());
    // As it stands in the API server when the operator is started again.
    let status = play.state.status.clone();
    let mut play = Play::restarted(status, false);
    play.passes(SECOND * 60);
    play.state.retargeted(("b", None), "b".to_owned());
    play.round(seen("b"));
    assert_eq!(times(&play).converged, Some(Time(play.now.time)));
}

#[test]
fn the_times_are_those_of_the_content_also_of_a_revision_that_comes_back() {
    let times = |play: &Play| play.state.status.times.clone().unwrap();
    let at = |second: i64| Some(Time(Timestamp::from_second(second).unwrap()));
    let half_applied = || {
        let mut seen = Observed {
            applied: false,
            ..problem(Reason::ApplyFailed)
        };
        seen.live.as_mut().unwrap().revision = "b".to_owned();
        seen.live.as_mut().unwrap().committed = at(9).unwrap();
        seen
    };
    for restarts in [false, true] {
        let mut play = Play::converged();
        let before = times(&play);
        play.state.retargeted(("b", None), "b".to_owned());
        play.round(half_applied());
        assert_eq!(times(&play).committed, at(9));
        assert_eq!((times(&play).applied, times(&play).converged), (None, None));
        if restarts {
            play = Play::restarted(play.state.status.clone(), false);
        }
        play.passes(SECOND * 60);
        play.state.retargeted(("a", None), "a".to_owned());
        play.round(seen("a"));
        let now = Some(Time(play.now.time));
        assert_eq!(times(&play).committed, before.committed, "{restarts}");
        assert_eq!(
            (times(&play).applied, times(&play).converged),
            (now.clone(), now)
        );
    }

    // Another path of the same revision.
    let mut play = Play::converged();
    play.passes(SECOND * 60);
    play.state.retargeted(("a", None), "a".to_owned());
    play.round(Observed {
        phase: Phase::Busy,
        ..pending()
    });
    assert_eq!((times(&play).applied, times(&play).converged), (None, None));
    play.round(pending());
    let applied = Some(Time(play.now.time));
    assert_eq!(
        (times(&play).applied, times(&play).converged),
        (applied.clone(), None)
    );
    play.passes(SECOND * 60);
    play.round(pending());
    play.round(seen("a"));
    let converged = Some(Time(play.now.time));
    assert_eq!(
        (times(&play).applied, times(&play).converged),
        (applied, converged)
    );
}

#[test]
fn a_diff_is_reported_once_after_a_time_and_its_end_too() {
    let mut play = Play::converged();
    let found = play.round(drifted());
    assert_eq!(reasons(&found), [Reason::DriftFound]);
    assert_eq!(found.figures.drifted, 1);
    assert_eq!(play.timers.diff, Some(play.now.at + DIFF_AFTER));
    play.passes(DIFF_AFTER);
    let told = play.round(drifted());
    assert_eq!(reasons(&told), [Reason::Diff]);
    assert!(told.notices[0].message.contains("was changed by kubectl"));
    assert_eq!(told.notices[0].revision.as_deref(), Some("a"));
    assert_eq!(play.timers.diff, None);
    play.passes(DIFF_AFTER);
    assert!(play.round(drifted()).notices.is_empty());
    assert_eq!(
        reasons(&play.round(healed())),
        [Reason::DriftCorrected, Reason::Converged]
    );
    assert!(play.round(seen("a")).notices.is_empty());
    // What is over in time is never told as a diff.
    play.round(pending());
    play.round(seen("a"));
    play.passes(DIFF_AFTER);
    assert!(play.round(pending()).notices.is_empty());
}

/// What is applied and only not healthy, or held by a hook, is no difference, however long it takes. Everything else that
/// keeps a Sync from being ready is one.
#[test]
fn only_what_differs_is_reported_as_a_diff() {
    let leaving = || {
        with(|seen| seen.facts.leaving = one((key("old"), "held by example.com/hold".to_owned())))
    };
    for (round, is_diff) in [
        (&pending as &dyn Fn() -> Observed, false),
        (
            &|| unhealthy(Health::Failed("it crashes".to_owned())),
            false,
        ),
        (&|| held_by_hook(Reason::Progressing), false),
        (&|| held_by_hook(Reason::HookFailed), false),
        (&drifted, true),
        (&unfinished, true),
        (&leaving, true),
        (&|| held("d1"), true),
        (&|| problem(Reason::ApplyFailed), true),
        (&|| blocked(Reason::InvalidManifest), true),
    ] {
        let mut play = Play::converged();
        let mut told = reasons(&play.round(round()));
        for _ in 0..3 {
            play.passes(DIFF_AFTER);
            told.extend(reasons(&play.round(round())));
        }
        let ready = &play.ready().reason;
        assert_eq!(told.contains(&Reason::Diff), is_diff, "{ready}: {told:?}");
    }
    // One that became healthy, and then drifts, has its whole time again.
    let mut play = Play::converged();
    play.round(drifted());
    play.passes(DIFF_AFTER / 2);
    play.round(pending());
    assert_eq!(play.timers.diff, None);
    play.round(drifted());
    assert_eq!(play.timers.diff, Some(play.now.at + DIFF_AFTER));
}

#[test]
fn a_failure_is_reported_once_and_tried_again_after_a_pause() {
    let mut play = Play::converged();
    let failed = play.round(problem(Reason::ApplyFailed));
    assert_eq!(reasons(&failed), [Reason::ApplyFailed]);
    assert_eq!(failed.notices[0].level, Level::Warning);
    assert_eq!(failed.notices[0].objects, ["ConfigMap prod/a"]);
    assert_eq!(failed.timers.retry, Some(play.now.at + SECOND));
    assert!(!failed.settled);
    let again = play.round(problem(Reason::ApplyFailed));
    assert!(again.notices.is_empty(), "the same again is no news");
    assert_eq!(
        again.timers.retry,
        Some(play.now.at + SECOND),
        "the timer stays"
    );
    let other = play.round(problem(Reason::PruneFailed));
    assert!(other.notices.is_empty(), "the message is the same");
    assert_eq!(reasons(&play.round(seen("a"))), [Reason::Converged]);
    let waiting = play.round(problem(Reason::KindNotServed));
    assert!(waiting.notices.is_empty(), "its definition may come");
    assert!(waiting.timers.retry.is_some());
}

#[test]
fn held_back_pruning_counts_once() {
    let mut play = Play::converged();
    let held = || with(|seen| seen.brake = Some(Reason::ApplyFailed));
    assert_eq!(play.round(held()).figures.braked, Some(Reason::ApplyFailed));
    assert_eq!(play.round(held()).figures.braked, None);
    assert_eq!(play.round(seen("a")).figures.braked, None);
    assert_eq!(play.round(held()).figures.braked, Some(Reason::ApplyFailed));
}

#[test]
fn health_that_is_overdue_fails_until_it_comes() {
    let mut play = Play::converged();
    play.round(pending());
    assert_eq!(play.timers.healthy_by, Some(play.now.at + TIMEOUT));
    play.passes(SECOND);
    play.round(pending());
    assert_eq!(play.ready().reason, "HealthPending");
    play.passes(TIMEOUT);
    let overdue = play.round(pending());
    assert!(reasons(&overdue).contains(&Reason::HealthFailed));
    assert!(play.ready().message.starts_with("not healthy within"));
    assert_eq!(play.timers.healthy_by, None, "it is due once");
    play.round(pending());
    assert_eq!(play.ready().reason, "HealthFailed");
    play.round(seen("a"));
    assert_eq!(play.ready().status, "True");
    play.round(pending());
    assert_eq!(play.ready().reason, "HealthPending", "it starts over");
    // New content gets the whole time again.
    play.passes(TIMEOUT);
    play.round(pending());
    play.state.retargeted(("b", None), "b".to_owned());
    play.round(pending());
    assert_eq!(play.ready().reason, "HealthPending");
}

#[test]
fn a_suspended_sync_reports_it_and_changes_nothing_else() {
    let mut play = Play::converged();
    let before = play.state.status.clone();
    let suspended = play.round(with(|seen| {
        (seen.phase, seen.facts.suspended) = (Phase::Held, Some("suspended by alice".to_owned()));
        seen.generation = Some(2);
    }));
    assert!(suspended.notices.is_empty());
    assert_eq!(
        (play.ready().status.as_str(), play.state.ready),
        ("Unknown", false)
    );
    assert!(play.ready().message.starts_with("suspended by alice; set "));
    assert_eq!(play.state.status.times, before.times);
    assert_eq!(play.state.status.observed_generation, Some(2));
    assert_eq!(play.timers.diff, None);
    assert!(
        play.round(seen("a")).notices.is_empty(),
        "it goes on as it was"
    );
}

/// The end of a problem by a suspension says who and why, once, and what is still there afterwards is a new problem.
#[test]
fn a_problem_ends_when_its_sync_is_suspended() {
    let suspended = || {
        with(|seen| {
            let by_whom = "suspended by alice: maintenance".to_owned();
            (seen.phase, seen.facts.suspended) = (Phase::Held, Some(by_whom));
        })
    };
    let failed = || problem(Reason::ApplyFailed);
    let mut play = Play::converged();
    play.round(failed());
    play.passes(DIFF_AFTER);
    assert_eq!(reasons(&play.round(failed())), [Reason::Diff]);
    let end = play.round(suspended());
    assert_eq!(reasons(&end), [Reason::Suspended]);
    let notice = &end.notices[0];
    assert_eq!(
        (notice.level, &*notice.message),
        (Level::Normal, "suspended by alice: maintenance")
    );
    assert!(play.round(suspended()).notices.is_empty());
    assert_eq!(reasons(&play.round(failed())), [Reason::ApplyFailed]);
    assert!(play.timers.diff.is_some());
}

#[test]
fn a_superseded_revision_is_not_reported_as_converged() {
    let mut play = Play::converged();
    play.state.retargeted(("b", None), "b".to_owned());
    let left = play.round(Observed {
        applied: false,
        round: Round {
            changes: vec![(Action::Changed, key("a"))],
            worked: true,
            ..Round::default()
        },
        ..seen("b")
    });
    assert_eq!(reasons(&left), [Reason::Progressing]);
    assert_eq!(left.notices[0].delivers.as_deref(), Some("b"));
    assert_eq!(play.ready().reason, "Progressing");
    assert_eq!(
        play.state.status.last_applied_revision.as_deref(),
        Some("a")
    );
    play.state.retargeted(("c", None), "c".to_owned());
    let next = play.round(seen("c"));
    assert_eq!(reasons(&next), [Reason::Converged]);
    assert_eq!(next.notices[0].delivers.as_deref(), Some("c"));
    assert!(
        next.notices[0].message.contains("0 changed"),
        "b's changes are not c's"
    );
    let history = &play.state.status.history;
    let named: Vec<&str> = history.iter().map(|entry| &*entry.revision).collect();
    assert_eq!(named, ["c", "a"]);
}

#[test]
fn what_a_revision_changed_that_was_not_applied_to_its_end_is_recorded() {
    let mut play = Play::converged();
    let changes = |name: &str| Round {
        changes: vec![(Action::Changed, key(name))],
        worked: true,
        ..Round::default()
    };
    let partly = |revision: &str, round| Observed {
        applied: false,
        round,
        ..seen(revision)
    };
    let unfinished = |play: &Play| {
        let all = play.state.status.unfinished.iter();
        all.map(|entry| (entry.revision.clone(), entry.changed))
            .collect::<Vec<_>>()
    };
    play.state.retargeted(("b", None), "b".to_owned());
    play.round(partly("b", Round::default()));
    assert_eq!(unfinished(&play), [], "it has changed nothing");
    play.round(partly("b", changes("x")));
    let first = play.state.status.unfinished[0].clone();
    assert_eq!(first.objects, ["changed ConfigMap prod/x"]);
    play.passes(SECOND * 60);
    play.round(partly("b", changes("y")));
    assert_eq!(unfinished(&play), [("b".to_owned(), 2)]);
    assert_eq!(play.state.status.unfinished[0].applied, first.applied);
    // After a restart, less is known of it than the status says.
    let mut after = Play::restarted(play.state.status.clone(), false);
    after.state.retargeted(("b", None), "b".to_owned());
    after.round(partly("b", changes("z")));
    assert_eq!(unfinished(&after), [("b".to_owned(), 2)]);
    // Another revision takes its place. What it has changed stays.
    play.state.retargeted(("c", None), "c".to_owned());
    play.round(seen("c"));
    assert_eq!(unfinished(&play), [("b".to_owned(), 2)]);
    play.state.retargeted(("b", None), "b".to_owned());
    play.round(seen("b"));
    assert_eq!(unfinished(&play), [], "it is in the history now");
    for number in 0..9 {
        let revision = format!("d{number}");
        play.state.retargeted((&revision, None), revision.clone());
        play.round(partly(&revision, changes("x")));
    }
    assert_eq!(unfinished(&play).len(), 5);
    assert_eq!(unfinished(&play)[0].0, "d8");
}

#[test]
fn a_report_while_busy_contains_only_progress() {
    let mut play = Play::converged();
    play.state.retargeted(("b", None), "b".to_owned());
    let busy = play.round(Observed {
        phase: Phase::Busy,
        handled: Some("now".to_owned()),
        applied: false,
        ..seen("b")
    });
    assert_eq!(reasons(&busy), [Reason::Progressing], "for commit statuses");
    assert!(busy.timers.diff.is_none());
    assert_eq!(play.ready().reason, "Progressing");
    assert!(condition(&play.state.status, "Reconciling").is_some());
    assert_eq!(play.state.status.last_handled_reconcile_at, None);
}

/// What is said of a commit until its content is live, and of none afterwards.
#[test]
fn notices_name_the_commit_that_is_delivered() {
    let delivers = |assessment: &Assessment| -> Vec<(Reason, Option<String>)> {
        let notices = assessment.notices.iter();
        notices
            .map(|notice| (notice.reason, notice.delivers.clone()))
            .collect()
    };
    let b = || Some("b".to_owned());
    let mut play = Play::converged();
    play.state.retargeted(("b", None), "b".to_owned());
    let found = play.round(problem(Reason::ApplyFailed));
    assert_eq!(delivers(&found), [(Reason::ApplyFailed, b())]);
    // Another commit, which changes nothing.
    play.state.delivery.kept("c", "b".to_owned());
    let found = play.round(seen("c"));
    assert_eq!(delivers(&found), [(Reason::Converged, b())]);
    assert!(play.state.status.content.as_ref().unwrap().live);
    let found = play.round(problem(Reason::ApplyFailed));
    assert_eq!(delivers(&found), [(Reason::ApplyFailed, None)]);
    // The same failure of the next commit is told again.
    play.state.retargeted(("d", None), "d".to_owned());
    let found = play.round(problem(Reason::ApplyFailed));
    let d = Some("d".to_owned());
    assert_eq!(delivers(&found), [(Reason::ApplyFailed, d)]);
}

/// The next leader reads another commit with the content that was live.
#[test]
fn a_restart_with_another_commit_and_the_same_content_tells_nothing() {
    let status = Play::converged().state.status;
    let mut play = Play::restarted(status, true);
    play.state.retargeted(("b", None), "a".to_owned());
    assert!(play.round(seen("b")).notices.is_empty());
    let status = &play.state.status;
    assert_eq!(status.last_applied_revision.as_deref(), Some("b"));
    assert_eq!(status.last_changed_revision.as_deref(), Some("a"));
}

#[test]
fn healed_objects_are_counted_and_reported_with_their_writer() {
    let mut play = Play::converged();
    let corrected = play.round(healed());
    assert_eq!(reasons(&corrected), [Reason::DriftCorrected]);
    let message = &corrected.notices[0].message;
    assert_eq!(message, "healed ConfigMap prod/a (changed by kubectl)");
    assert_eq!(corrected.figures.corrected, 1);
    assert_eq!(play.state.status.history[0].healed, 1);
}

#[test]
fn columns_have_a_short_line_and_a_short_commit() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let revision = format!("main@sha1:{commit}");
    let mut play = Play::new();
    play.state.retargeted((&revision, None), revision.clone());
    play.round(seen(&revision));
    let status = &play.state.status;
    assert_eq!(
        status.short_revision.as_deref(),
        Some("main@sha1:0123456789ab")
    );
    assert_eq!(
        status.summary.as_deref(),
        Some("2 objects equal main@sha1:0123456789ab")
    );
    assert_eq!(status.last_applied_revision, Some(revision));
}

#[test]
fn a_problem_is_told_of_the_revision_that_was_tried() {
    let mut play = Play::converged();
    let refused = |seen: &mut Observed| {
        seen.tried = Some(Live {
            revision: "b".to_owned(),
            author: "Bob".to_owned(),
            subject: "break it".to_owned(),
            ..seen.live.clone().unwrap()
        });
    };
    let mut seen = blocked(Reason::InvalidManifest);
    refused(&mut seen);
    let assessment = play.round(seen);
    let notice = &assessment.notices[0];
    assert_eq!(notice.reason, Reason::InvalidManifest);
    assert_eq!(notice.revision.as_deref(), Some("b"));
    assert_eq!(notice.change.as_ref().unwrap().author, "Bob");
    // What is done to the live objects meanwhile is done for the revision that is live.
    let mut seen = healed();
    refused(&mut seen);
    let assessment = play.round(seen);
    let healed = assessment.notices.iter();
    let healed = healed
        .filter(|notice| notice.reason == Reason::DriftCorrected)
        .map(|notice| notice.revision.as_deref());
    assert_eq!(healed.collect::<Vec<_>>(), [Some("a")]);
}

#[test]
fn what_comes_after_a_revision_was_applied_is_in_its_entry_of_the_history() {
    let mut play = Play::converged();
    play.round(held("d1"));
    let before = play.state.status.history[0].clone();
    play.round(with(|seen| {
        seen.round.changes = vec![(Action::Pruned, key("x")), (Action::Pruned, key("y"))];
    }));
    let after = &play.state.status.history[0];
    assert_eq!(
        (after.pruned, after.changed),
        (before.pruned + 2, before.changed)
    );
    let named: Vec<_> = after.objects.iter().rev().take(2).collect();
    assert_eq!(
        named,
        ["pruned ConfigMap prod/y", "pruned ConfigMap prod/x"]
    );
    play.round(seen("a"));
    assert_eq!(play.state.status.history[0].pruned, before.pruned + 2);
}
