//! The end of traces. Pure.
//!
//! A trace ends once: when the content is live, when a later revision comes first, or when the content has failed. A
//! failure that may pass, such as one object that is refused, counts once Git and the cluster have differed for
//! `--diff-after`. What converges after all has one more span in the same trace.

use crate::api::{Reason, Verdict};
use crate::sync::delivery::Delivery;
use crate::sync::report::{Live, Observed, Phase};
use crate::trace::{End, Period, Way};

/// Takes note of how towline came to know the revision of the delivery. `is_first`: the Sync has applied none before.
pub(super) fn follow(delivery: &mut Delivery, seen: &Observed, is_first: bool) {
    let Some(revision) = delivery.under_way().cloned() else {
        return;
    };
    let Some(steps) = delivery.steps().filter(|steps| !steps.is_found()) else {
        return;
    };
    let is_it = |live: &&Live| live.revision == revision;
    let mut known = [&seen.tried, &seen.live].into_iter().flatten();
    // The first revision of a Sync, and one that a pin brings back, may have been known for years.
    let known = known
        .find(is_it)
        .filter(|_| !is_first && seen.pin.is_none());
    let observed = known.map(|live| live.observed.0);
    let fetch = known.and_then(|live| live.fetch);
    steps.were_found(observed, fetch, seen.now.time);
}

/// The ways that ended with a round. `differs_long`: Git and the cluster have differed for `--diff-after`. `changes`: the
/// objects that the content created, changed and pruned.
pub(super) fn ended(
    delivery: &mut Delivery,
    seen: &Observed,
    ready: &Verdict,
    differs_long: bool,
    changes: [usize; 3],
) -> Vec<Way> {
    let (now, waits) = (seen.now.time, seen.facts.wait);
    let (revision, failed) = (delivery.under_way().cloned(), delivery.failed_at());
    let Some(steps) = delivery.steps() else {
        return Vec::new();
    };
    let mut ways = Vec::new();
    if let Some((revision, steps)) = steps.take_replaced() {
        ways.push(steps.way(&revision, now, waits, End::Replaced));
    }
    let Some(revision) = revision.filter(|_| seen.phase == Phase::Done) else {
        return ways;
    };
    if seen.applied {
        steps.were_applied(now);
    }
    let is_ready = ready.status == Some(true);
    let end = match failed {
        Some(_) if is_ready => End::Recovered,
        None if is_ready => End::Converged,
        None if has_failed(seen, ready, differs_long) => End::Failed {
            step: steps.current(),
            reason: ready.reason,
            message: ready.message.clone(),
        },
        Some(_) | None => return ways,
    };
    let fails = matches!(end, End::Failed { .. });
    let mut way = Way {
        changes,
        ..steps.way(&revision, now, waits, end)
    };
    if let Some(failed) = failed {
        way.steps.clear();
        way.whole = Period {
            began: failed,
            ended: now,
        };
    }
    ways.push(way);
    if fails {
        delivery.fails(now);
    }
    ways
}

/// Whether the content that is under way has failed.
fn has_failed(seen: &Observed, ready: &Verdict, differs_long: bool) -> bool {
    let reason = ready.reason;
    if reason.waits()
        || matches!(
            reason,
            Reason::PruneHeld | Reason::DriftFound | Reason::Suspended | Reason::Deleting
        )
    {
        return false;
    }
    let is_lasting = match &seen.facts.blocked {
        Some(blocked) => blocked.stalled,
        None => matches!(
            reason,
            Reason::HealthFailed | Reason::HookFailed | Reason::PruneFailed
        ),
    };
    is_lasting || differs_long
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::fleet::FetchTimes;
    use crate::health::Health;
    use crate::sync::assess::tests::{Play, blocked, pending, problem, seen, unhealthy};
    use crate::sync::steps::Steps;
    use crate::trace::Step;

    const SECOND: Duration = Duration::from_secs(1);

    /// A Sync that is live at `a`, and whose traces are told.
    fn traced() -> Play {
        let mut play = Play::new();
        play.state.delivery.trace();
        brings(&mut play, "a");
        play.round(seen("a"));
        play
    }

    fn steps(play: &mut Play) -> &mut Steps {
        play.state.delivery.steps().unwrap()
    }

    /// From `play`'s time on, one second.
    fn second(play: &mut Play) -> Period {
        let began = play.time();
        play.passes(SECOND);
        let ended = play.time();
        Period { began, ended }
    }

    /// A revision is read and becomes the target.
    fn brings(play: &mut Play, revision: &str) {
        let read = second(play);
        steps(play).were_read(read);
        play.state.retargeted((revision, None), revision.to_owned());
        play.state.delivery.aims();
        assert!(steps(play).awaits_plan());
        let planned = second(play);
        steps(play).were_planned(planned);
    }

    /// What a round sees of `b`: found by a poll that took five seconds, and applied.
    fn found(play: &Play, change: impl FnOnce(&mut Observed)) -> Observed {
        let at = play.time();
        let before = |seconds| at - SignedDuration::from_secs(seconds);
        let mut observed = seen("b");
        let live = observed.live.as_mut().unwrap();
        live.observed = crate::api::Time(before(5));
        live.fetch = Some(FetchTimes {
            began: before(10),
            fetched: before(6),
            verified: Some(before(5)),
        });
        observed.tried = observed.live.clone();
        change(&mut observed);
        observed
    }

    fn names(way: &Way) -> Vec<Step> {
        way.steps.iter().map(|(step, _)| *step).collect()
    }

    fn lasts(period: Period) -> i64 {
        period.ended.duration_since(period.began).as_secs()
    }

    #[test]
    fn without_a_receiver_there_are_no_ways() {
        let mut play = Play::new();
        play.state.retargeted(("a", None), "a".to_owned());
        assert_eq!(play.round(seen("a")).ways, []);
        let mut broken = blocked(Reason::InvalidManifest);
        broken.facts.blocked.as_mut().unwrap().stalled = true;
        play.state.delivery.refused("b", (None, "no".to_owned()));
        assert_eq!(play.round(broken).ways, []);
        assert_eq!(play.state.status.content.clone().unwrap().failed, None);
    }

    #[test]
    fn what_converges_ends_once_with_all_of_its_steps() {
        let mut play = traced();
        brings(&mut play, "b");
        let round = found(&play, |seen| {
            seen.facts.unhealthy = pending().facts.unhealthy;
        });
        assert_eq!(play.round(round).ways, []);
        play.passes(SECOND * 7);
        let ways = play.round(seen("b")).ways;
        let [way] = &ways[..] else { panic!("{ways:?}") };
        assert_eq!((&*way.revision, &way.end), ("b", &End::Converged));
        assert_eq!(
            names(way),
            [
                Step::Fetch,
                Step::Verify,
                Step::Render,
                Step::Plan,
                Step::Apply,
                Step::Health
            ]
        );
        let took: Vec<i64> = way.steps.iter().map(|(_, period)| lasts(*period)).collect();
        assert_eq!(took, [4, 1, 1, 1, 0, 7]);
        assert_eq!(lasts(way.whole), 17);
        assert_eq!(play.round(seen("b")).ways, []);
        // A commit that changes nothing.
        play.state.delivery.kept("c", "b".to_owned());
        assert_eq!(play.round(seen("c")).ways, []);
    }

    #[test]
    fn the_first_revision_begins_when_the_sync_begins_with_it() {
        let mut play = Play::new();
        play.state.delivery.trace();
        brings(&mut play, "b");
        let round = found(&play, |seen| seen.facts.wait = false);
        let ways = play.round(round).ways;
        assert_eq!(names(&ways[0]), [Step::Render, Step::Plan, Step::Apply]);
        assert_eq!((lasts(ways[0].whole), ways[0].observed), (2, None));
    }

    #[test]
    fn what_cannot_be_read_has_failed() {
        let mut play = traced();
        let read = second(&mut play);
        steps(&mut play).were_read(read);
        let refusal = (None, "line 3".to_owned());
        play.state.delivery.refused("b", refusal.clone());
        let tried = found(&play, |_| ()).tried;
        let refused = || {
            let mut refused = blocked(Reason::InvalidManifest);
            refused.tried.clone_from(&tried);
            refused.facts.blocked.as_mut().unwrap().stalled = true;
            refused
        };
        let ways = play.round(refused()).ways;
        let [way] = &ways[..] else { panic!("{ways:?}") };
        assert_eq!(names(way), [Step::Fetch, Step::Verify, Step::Render]);
        let End::Failed { step, reason, .. } = &way.end else {
            panic!("{way:?}")
        };
        assert_eq!(
            (step, reason),
            (&Some(Step::Render), &Reason::InvalidManifest)
        );
        // It is told once, also after a restart.
        play.state.delivery.refused("b", refusal.clone());
        assert_eq!(play.round(refused()).ways, []);
        let mut play = Play::restarted(play.state.status.clone(), false);
        play.state.delivery.trace();
        play.state.delivery.refused("b", refusal);
        assert_eq!(play.round(refused()).ways, []);
        // The fix is another way, and nothing is left of this one.
        brings(&mut play, "c");
        let ways = play.round(seen("c")).ways;
        assert_eq!(ways.len(), 1);
        assert_eq!(ways[0].end, End::Converged);
    }

    #[test]
    fn a_failure_that_may_pass_counts_when_it_lasts() {
        let mut play = traced();
        brings(&mut play, "b");
        let refused = |seen: &mut Observed| {
            let problem = problem(Reason::ApplyFailed);
            (seen.applied, seen.needs_retry) = (false, true);
            seen.facts.problems = problem.facts.problems;
        };
        let round = found(&play, refused);
        assert_eq!(play.round(round).ways, []);
        play.passes(SECOND * 31);
        let round = found(&play, refused);
        let ways = play.round(round).ways;
        assert!(
            matches!(
                &ways[0].end,
                End::Failed {
                    step: Some(Step::Apply),
                    ..
                }
            ),
            "{ways:?}"
        );
        let failed = play.time();
        play.passes(SECOND * 60);
        let ways = play.round(seen("b")).ways;
        assert_eq!(ways.len(), 1);
        assert_eq!((&ways[0].end, names(&ways[0])), (&End::Recovered, vec![]));
        assert_eq!(ways[0].whole.began, failed);
        assert_eq!(lasts(ways[0].whole), 60);
        assert_eq!(play.round(seen("b")).ways, []);
    }

    #[test]
    fn a_wait_is_no_failure_and_failed_health_is_one() {
        for (reason, fails) in [
            (Reason::DependencyNotReady, false),
            (Reason::Progressing, false),
            (Reason::ApiUnavailable, true),
        ] {
            let mut play = traced();
            play.state.delivery.refused("b", (None, "no".to_owned()));
            assert_eq!(play.round(blocked(reason)).ways, []);
            play.passes(SECOND * 31);
            assert_eq!(play.round(blocked(reason)).ways.len(), usize::from(fails));
        }
        let mut play = traced();
        brings(&mut play, "b");
        let sick = unhealthy(Health::Failed("crash".to_owned()));
        let round = found(&play, |seen| seen.facts.unhealthy = sick.facts.unhealthy);
        let ways = play.round(round).ways;
        assert!(
            matches!(
                &ways[0].end,
                End::Failed {
                    step: Some(Step::Health),
                    ..
                }
            ),
            "{ways:?}"
        );
    }

    #[test]
    fn what_is_replaced_ends_with_its_successor() {
        let mut play = traced();
        brings(&mut play, "b");
        let round = found(&play, |seen| {
            seen.facts.unhealthy = pending().facts.unhealthy;
        });
        play.round(round);
        play.passes(SECOND * 3);
        brings(&mut play, "c");
        let ways = play.round(seen("c")).ways;
        let ends: Vec<_> = ways.iter().map(|way| (&*way.revision, &way.end)).collect();
        assert_eq!(ends, [("b", &End::Replaced), ("c", &End::Converged)]);
        assert!(names(&ways[0]).contains(&Step::Fetch));
    }

    /// After a restart, the steps before it are not known.
    #[test]
    fn after_a_restart_the_way_goes_on() {
        let mut play = traced();
        brings(&mut play, "b");
        let round = found(&play, |seen| {
            seen.facts.unhealthy = pending().facts.unhealthy;
        });
        play.round(round);
        let observed = play.time() - SignedDuration::from_secs(5);
        let mut after = Play::restarted(play.state.status.clone(), false);
        after.state.delivery.trace();
        after.passes(SECOND * 60);
        brings(&mut after, "b");
        let mut live = seen("b");
        for one in [&mut live.live, &mut live.tried].into_iter().flatten() {
            one.observed = crate::api::Time(observed);
        }
        let ways = after.round(live).ways;
        assert_eq!(ways.len(), 1);
        assert_eq!(
            names(&ways[0]),
            [Step::Render, Step::Plan, Step::Apply, Step::Health]
        );
        assert_eq!(ways[0].whole.began, observed);
        assert_eq!(ways[0].observed, Some(observed));
        let before: Timestamp = ways[0].steps[0].1.began;
        assert!(before > observed);
    }

    #[test]
    fn a_pin_brings_no_old_time_back() {
        let mut play = traced();
        brings(&mut play, "b");
        let round = found(&play, |seen| {
            seen.pin = Some(crate::api::PinStatus {
                revision: "b".to_owned(),
                ..Default::default()
            });
        });
        let ways = play.round(round).ways;
        assert_eq!((ways[0].observed, lasts(ways[0].whole)), (None, 2));
    }
}
