use serde_json::{Value, json};

use super::*;
use crate::cli::standing::testing::{ready, sync};

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

/// A clone with this commit, before those.
struct Clone(&'static str, &'static [&'static str]);

impl History for Clone {
    fn has(&self, commit: &str, _: &str) -> bool {
        self.0.starts_with(commit)
    }

    fn is_before(&self, older: &str, newer: &str) -> Option<bool> {
        (self.0 == older && self.1.contains(&newer)).then_some(true)
    }
}

const NOWHERE: Clone = Clone("-", &[]);

#[test]
fn a_commit_that_nobody_knows_is_replaced_by_none() {
    let repository = |ancestors: &[&str]| -> GitRepository {
        serde_json::from_value(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": "fleet"}, "spec": {"url": "https://git.example/fleet"},
            "status": {"revision": revision(LATER), "polledAt": "2026-01-02T03:05:00Z",
                "observedAt": "2026-01-02T03:05:00Z", "ancestors": ancestors},
        }))
        .unwrap()
    };
    let beyond = revision(LATER);
    let (before, after) = ("2026-01-02T03:04:30Z", "2026-01-02T03:06:00Z");
    for (what, ancestors, clone, since, reach) in [
        (
            "found meanwhile",
            &[][..],
            NOWHERE,
            before,
            Reach::Elsewhere(&beyond),
        ),
        ("found before", &[], NOWHERE, after, Reach::NotYet),
        (
            "its parent",
            &[OLD, COMMIT],
            NOWHERE,
            after,
            Reach::Beyond(&beyond),
        ),
        (
            "in a clone, found meanwhile",
            &[],
            Clone(COMMIT, &[]),
            before,
            Reach::Beyond(&beyond),
        ),
        (
            "in a clone, found before",
            &[],
            Clone(COMMIT, &[]),
            after,
            Reach::NotYet,
        ),
        (
            "before it in a clone",
            &[],
            Clone(COMMIT, &[LATER]),
            after,
            Reach::Beyond(&beyond),
        ),
        (
            "another one in a clone",
            &[],
            Clone(OLD, &[LATER]),
            before,
            Reach::Elsewhere(&beyond),
        ),
    ] {
        let repository = repository(ancestors);
        let is = super::reach(COMMIT, &repository, since.parse().unwrap(), &[], &clone);
        assert_eq!(is, reach, "{what}");
    }
    let good = ready("True", "Converged", "m");
    let sync = at(&[&entry(LATER, true)], LATER, LATER, &good);
    let is = super::arrival(COMMIT, &sync, Reach::Elsewhere(&beyond));
    assert!(
        matches!(&is, Arrival::Pending(why) if why.contains("nothing says")),
        "{is:?}"
    );
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
            super::reach(COMMIT, &repository, since, syncs, &Clone(COMMIT, &[])),
            reach,
            "{what}"
        );
    }
}
