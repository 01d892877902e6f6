//! Whether a commit has arrived in a Sync, as far as statuses can tell. Pure.
//!
//! A Sync's history names the commits that changed its content. A commit that it has applied and that is not in its
//! history changed nothing for it.

use jiff::Timestamp;

use super::standing::{ResourceState, Standing, ready};
use crate::api::{GitRepository, Sync, SyncStatus};
use crate::intent::SyncIntent;

/// How a Sync stands to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is live, or has been.
    Live,
    /// A newer revision is live, which this is.
    Superseded(String),
    /// It changed nothing for this Sync.
    Untouched,
    /// It may still come. Why it has not.
    Pending(String),
    /// It does not come without a person. Why.
    Failed(String),
    /// The Sync does not follow its source at present. Why.
    Left(String),
}

/// What the source of a Sync has of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach<'a> {
    /// Nothing so far.
    NotYet,
    /// Its revision is this commit.
    There,
    /// It had the commit, or went past it: its revision is this one.
    Beyond(&'a str),
}

/// Whether a revision (`main@sha1:0123…`) is of this commit, which may be shortened.
pub(super) fn is_of(revision: &str, commit: &str) -> bool {
    let (_, whole) = revision.rsplit_once(':').unwrap_or(("", revision));
    whole.starts_with(commit)
}

fn is(revision: Option<&str>, commit: &str) -> bool {
    revision.is_some_and(|revision| is_of(revision, commit))
}

/// How a Sync stands to a commit.
pub(super) fn arrival(commit: &str, sync: &Sync, reach: Reach<'_>) -> Arrival {
    let Standing { state, .. } = Standing::of(sync);
    if let ResourceState::Deleting = state {
        return Arrival::Left("it is being deleted".to_owned());
    }
    let status = sync.status.clone().unwrap_or_default();
    if let Some(arrival) = pinned(commit, sync, &status) {
        return arrival;
    }
    let history = &status.history;
    let attempted = status.last_attempted_revision.as_deref();
    let place = history
        .iter()
        .position(|entry| is_of(&entry.revision, commit));
    if let Some(place) = place {
        let newest = &history[0];
        return match (place, &newest.converged) {
            (0, Some(_)) if is(attempted, commit) && !matches!(state, ResourceState::Suspended) => {
                undecided(sync, &state, Arrival::Live)
            }
            (0, Some(_)) => Arrival::Live,
            (_, Some(_)) => Arrival::Superseded(newest.revision.clone()),
            _ if history[place].converged.is_some() => Arrival::Live,
            (_, None) => undecided(sync, &state, Arrival::Live),
        };
    }
    if is(status.last_applied_revision.as_deref(), commit) {
        return Arrival::Untouched;
    }
    if is(attempted, commit) {
        let reads = Arrival::Pending("it reads the commit".to_owned());
        return undecided(sync, &state, reads);
    }
    if let ResourceState::Suspended = state {
        return undecided(sync, &state, Arrival::Live);
    }
    match reach {
        Reach::NotYet => {
            let source = SyncIntent::from(sync).source;
            Arrival::Pending(format!("GitRepository {source} has not fetched the commit"))
        }
        Reach::There => Arrival::Pending(waits(&state, "it has not read the commit")),
        Reach::Beyond(later) => {
            let (_, whole) = later.rsplit_once(':').unwrap_or(("", later));
            match arrival(whole, sync, Reach::There) {
                Arrival::Live => Arrival::Superseded(later.to_owned()),
                other => other,
            }
        }
    }
}

/// How a pinned Sync stands to a commit that it is held away from. None if the pin does not concern the commit.
fn pinned(commit: &str, sync: &Sync, status: &SyncStatus) -> Option<Arrival> {
    let pin = status.pin.as_ref()?;
    if is_of(&pin.revision, commit) {
        return None;
    }
    let message = ready(sync).map_or("", |ready| &*ready.message);
    // What came after the revision that the Sync went back to.
    let mut newer = status.history.iter().filter(|entry| !entry.pinned);
    let mut newer = newer
        .by_ref()
        .take_while(|entry| entry.revision != pin.revision);
    // With a chart of another repository, the commit of the Sync's own comes first.
    let away = pin.away.as_deref().and_then(|away| away.split(' ').next());
    if is(away, commit) || newer.any(|entry| is_of(&entry.revision, commit)) {
        return Some(Arrival::Failed(format!("pinned away: {message}")));
    }
    // It has the content of the one that was pinned away.
    if is(
        pin.seen.as_deref().and_then(|seen| seen.split(' ').next()),
        commit,
    ) {
        return Some(Arrival::Untouched);
    }
    let is_known = status
        .history
        .iter()
        .any(|entry| is_of(&entry.revision, commit));
    (pin.hold && !is_known).then(|| Arrival::Left(message.to_owned()))
}

/// What follows from the state of a Sync that has reached a commit.
fn undecided(sync: &Sync, state: &ResourceState, is_ready: Arrival) -> Arrival {
    match state {
        ResourceState::Ready => is_ready,
        ResourceState::Failing(reason) => {
            let message = ready(sync).map_or("", |ready| &ready.message);
            Arrival::Failed(format!("{reason}: {message}"))
        }
        ResourceState::Suspended => Arrival::Left(Standing::of(sync).message),
        ResourceState::Waiting(_) | ResourceState::Unseen | ResourceState::Deleting => {
            Arrival::Pending(waits(state, "it works"))
        }
    }
}

fn waits(state: &ResourceState, otherwise: &str) -> String {
    match state {
        ResourceState::Waiting(reason) | ResourceState::Failing(reason) => reason.clone(),
        _ => otherwise.to_owned(),
    }
}

/// What a repository has of a commit that was there at the time `since`; `syncs` are those that follow it.
pub(super) fn reach<'a>(
    commit: &str,
    repository: &'a GitRepository,
    since: Timestamp,
    syncs: &[&Sync],
) -> Reach<'a> {
    let Some(status) = &repository.status else {
        return Reach::NotYet;
    };
    let Some(revision) = status.revision.as_deref() else {
        return Reach::NotYet;
    };
    if is_of(revision, commit) {
        return Reach::There;
    }
    // What a poll finds that began after the commit had been pushed came after it. One that had begun before may find the
    // commit's parent.
    let polled = status.polled_at.as_ref();
    let has_moved = polled.is_some_and(|polled| polled.0 >= since);
    // Times of statuses are whole seconds. Where two commits came in one, a Sync that has gone on to another revision says
    // that there is one.
    let has_gone_on = syncs.iter().any(|sync| {
        let mut history = sync.status.iter().flat_map(|status| &status.history);
        history
            .position(|entry| is_of(&entry.revision, commit))
            .is_some_and(|place| place > 0)
    });
    // What was first seen after the commit had been applied is newer.
    let applied = syncs.iter().filter_map(|sync| {
        let history = &sync.status.as_ref()?.history;
        let entry = history
            .iter()
            .find(|entry| is_of(&entry.revision, commit))?;
        Some(entry.applied.0)
    });
    let applied = applied.min();
    let observed = status.observed_at.as_ref().map(|time| time.0);
    let is_newer = applied.zip(observed).is_some_and(|(applied, observed)| {
        observed > applied || has_gone_on && observed == applied
    });
    match has_moved || is_newer {
        true => Reach::Beyond(revision),
        false => Reach::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::standing::testing::{ready, sync};
    use super::*;

    const OLD: &str = "0000000000000000000000000000000000000000";
    const COMMIT: &str = "1111111111111111111111111111111111111111";
    const LATER: &str = "2222222222222222222222222222222222222222";

    fn revision(commit: &str) -> String {
        format!("main@sha1:{commit}")
    }

    fn entry(commit: &str, converged: bool) -> Value {
        let mut entry = json!({
            "revision": revision(commit), "applied": "2026-01-02T03:04:05Z", "changed": 1, "pruned": 0,
        });
        if converged {
            entry["converged"] = "2026-01-02T03:04:06Z".into();
        }
        entry
    }

    /// A Sync with this history, newest first, that has applied and attempted these commits.
    fn at(history: &[&Value], applied: &str, attempted: &str, ready: &Value) -> Sync {
        let status = json!({
            "history": history, "lastAppliedRevision": revision(applied),
            "lastAttemptedRevision": revision(attempted), "conditions": ready,
        });
        sync(&status, &json!({}))
    }

    #[test]
    fn a_shortened_commit_is_known() {
        assert!(is_of(&revision(COMMIT), "1111111") && is_of(COMMIT, COMMIT));
        assert!(!is_of(&revision(COMMIT), OLD));
    }

    #[test]
    fn every_case_is_judged() {
        let good = ready("True", "Converged", "m");
        let bad = ready("False", "ApplyFailed", "ConfigMap a: no");
        let slow = ready("False", "HealthPending", "m");
        let failed = || Arrival::Failed("ApplyFailed: ConfigMap a: no".to_owned());
        let [old, mine, later] = [OLD, COMMIT, LATER].map(|commit| entry(commit, true));
        let pending = |text: &str| Arrival::Pending(text.to_owned());
        for (what, sync, reach, arrival) in [
            (
                "live",
                at(&[&mine, &old], COMMIT, COMMIT, &good),
                Reach::There,
                Arrival::Live,
            ),
            (
                "unhealthy",
                at(&[&entry(COMMIT, false), &old], COMMIT, COMMIT, &slow),
                Reach::There,
                pending("HealthPending"),
            ),
            (
                "failed",
                at(&[&old], OLD, COMMIT, &bad),
                Reach::There,
                failed(),
            ),
            (
                "broken since",
                at(&[&mine], COMMIT, COMMIT, &bad),
                Reach::There,
                failed(),
            ),
            (
                "the next one fails",
                at(&[&mine], COMMIT, LATER, &bad),
                Reach::Beyond(LATER),
                Arrival::Live,
            ),
            (
                "superseded",
                at(&[&later, &mine], LATER, LATER, &good),
                Reach::Beyond(LATER),
                Arrival::Superseded(revision(LATER)),
            ),
            (
                "never live, and the next one fails",
                at(
                    &[&entry(LATER, false), &entry(COMMIT, false)],
                    LATER,
                    LATER,
                    &bad,
                ),
                Reach::Beyond(LATER),
                failed(),
            ),
            (
                "untouched",
                at(&[&old], COMMIT, COMMIT, &good),
                Reach::There,
                Arrival::Untouched,
            ),
            (
                "not fetched",
                at(&[&old], OLD, OLD, &good),
                Reach::NotYet,
                pending("GitRepository fleet has not fetched the commit"),
            ),
            (
                "not read",
                at(&[&old], OLD, OLD, &good),
                Reach::There,
                pending("it has not read the commit"),
            ),
            (
                "skipped over, to a commit that changes it",
                at(&[&later, &old], LATER, LATER, &good),
                Reach::Beyond(&revision(LATER)),
                Arrival::Superseded(revision(LATER)),
            ),
            (
                "skipped over, to a commit that does not",
                at(&[&old], LATER, LATER, &good),
                Reach::Beyond(&revision(LATER)),
                Arrival::Untouched,
            ),
        ] {
            assert_eq!(super::arrival(COMMIT, &sync, reach), arrival, "{what}");
        }
        let mut suspended = at(&[&old], OLD, OLD, &good);
        suspended.spec.settings.suspend = true;
        assert_eq!(
            super::arrival(COMMIT, &suspended, Reach::There),
            Arrival::Left("suspended".to_owned())
        );
        let unseen = sync(&Value::Null, &json!({}));
        assert_eq!(
            super::arrival(COMMIT, &unseen, Reach::There),
            pending("it has not read the commit")
        );
    }

    #[test]
    fn a_commit_that_was_pinned_away_has_failed() {
        const FIX: &str = "3333333333333333333333333333333333333333";
        let pinned = |seen: &str, hold: bool| {
            let mut back = entry(OLD, true);
            back["pinned"] = true.into();
            let history = [
                back,
                entry(LATER, true),
                entry(COMMIT, true),
                entry(OLD, true),
            ];
            let history: Vec<&Value> = history.iter().collect();
            let mut sync = at(&history, OLD, OLD, &ready("True", "Pinned", "by anna"));
            let pin = json!({"revision": revision(OLD), "away": revision(LATER),
                "seen": revision(seen), "hold": hold});
            sync.status.as_mut().unwrap().pin = serde_json::from_value(pin).unwrap();
            sync
        };
        let away = Arrival::Failed("pinned away: by anna".to_owned());
        let sync = pinned(LATER, false);
        for (commit, arrival) in [
            (LATER, away.clone()),
            (COMMIT, away.clone()),
            (OLD, Arrival::Live),
            (
                FIX,
                Arrival::Pending("it has not read the commit".to_owned()),
            ),
        ] {
            assert_eq!(
                super::arrival(commit, &sync, Reach::There),
                arrival,
                "{commit}"
            );
        }
        let other_path = pinned(FIX, false);
        assert_eq!(
            super::arrival(FIX, &other_path, Reach::There),
            Arrival::Untouched
        );
        let held = pinned(LATER, true);
        let left = Arrival::Left("by anna".to_owned());
        assert_eq!(super::arrival(FIX, &held, Reach::There), left);
        assert_eq!(super::arrival(LATER, &held, Reach::There), away);
    }

    #[test]
    fn a_repository_that_moved_on_is_beyond() {
        let repository = |commit: &str, polled: &str, observed: &str| -> GitRepository {
            serde_json::from_value(json!({
                "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
                "metadata": {"name": "fleet"}, "spec": {"url": "https://git.example/fleet"},
                "status": {"revision": revision(commit), "polledAt": polled, "observedAt": observed},
            }))
            .unwrap()
        };
        let good = ready("True", "Converged", "m");
        let knows = at(&[&entry(COMMIT, true)], COMMIT, COMMIT, &good);
        let gone_on = [entry(LATER, true), entry(COMMIT, true)];
        let gone_on = at(&[&gone_on[0], &gone_on[1]], LATER, LATER, &good);
        let (early, late) = ("2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z");
        let since: Timestamp = "2026-01-02T03:04:30Z".parse().unwrap();
        let beyond = revision(LATER);
        for (what, repository, syncs, reach) in [
            (
                "it is there",
                repository(COMMIT, late, late),
                &[][..],
                Reach::There,
            ),
            (
                "nothing new",
                repository(OLD, early, early),
                &[],
                Reach::NotYet,
            ),
            (
                "found by a poll since",
                repository(LATER, late, late),
                &[],
                Reach::Beyond(&beyond),
            ),
            // Which may be the parent.
            (
                "found by a poll that had begun before",
                repository(OLD, early, late),
                &[],
                Reach::NotYet,
            ),
            (
                "seen after the commit was applied",
                repository(LATER, early, late),
                &[&knows],
                Reach::Beyond(&beyond),
            ),
            (
                "in the second in which the commit was applied",
                repository(LATER, early, "2026-01-02T03:04:05Z"),
                &[&gone_on],
                Reach::Beyond(&beyond),
            ),
            (
                "the same, and the Sync has not gone on",
                repository(OLD, early, "2026-01-02T03:04:05Z"),
                &[&knows],
                Reach::NotYet,
            ),
            (
                "a Sync that has gone on",
                repository(OLD, early, early),
                &[&gone_on],
                Reach::NotYet,
            ),
            (
                "its status lags behind that of the Sync",
                repository(OLD, early, early),
                &[&knows],
                Reach::NotYet,
            ),
        ] {
            assert_eq!(
                super::reach(COMMIT, &repository, since, syncs),
                reach,
                "{what}"
            );
        }
    }
}
