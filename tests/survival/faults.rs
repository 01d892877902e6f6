//! The API server fails in every way that a client meets: it refuses, asks to wait, loses answers, cuts and closes
//! watches, and forgets revisions. Nothing is lost, and nothing is asked for without end.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use towline::api::Sync;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::faults::{Fault, Faults, Rule};
use towline_testing::operator::OperatorOptions;
use towline_testing::wait::eventually;

use super::model::pause;
use super::{Trial, seeded, setting};
use crate::world::verdict::assert_says;
use crate::world::{PATIENCE, World, condition};

/// Rounds, unless TOWLINE_RUNS says otherwise.
const RUNS: u32 = 20;

/// One of so many requests fails.
const ONE_IN: u64 = 5;

/// For how long nothing happens, and the most requests meanwhile: Leases are renewed, and watches are opened again.
const QUIET: Duration = Duration::from_secs(4);
const FEW: u64 = 40;

/// A world whose operator reaches the API server through one that fails.
async fn behind_faults(seed: u64) -> (World, Faults) {
    let cp = ControlPlane::start(Options::default()).await;
    let faults = Faults::before(&cp, seed).await;
    let options = OperatorOptions {
        kubeconfig: faults.kubeconfig(),
        ..OperatorOptions::new(&cp)
    };
    (World::with(cp, options).await, faults)
}

#[tokio::test]
async fn an_api_server_that_fails_at_random_loses_nothing() {
    let mut random = seeded("faults of the API server");
    let (world, faults) = behind_faults(random.below(u64::MAX)).await;
    let mut trial = Trial::on(world, random).await;
    faults.one_in(ONE_IN);
    for _ in 0..setting("TOWLINE_RUNS").unwrap_or(RUNS) {
        trial.change(true).await;
        if trial.random.chance(2) {
            tokio::time::sleep(pause(&mut trial.random)).await;
            faults.end_watches();
            trial.change(false).await;
        }
        trial.settles().await;
    }
    faults.one_in(0);
    let met: BTreeSet<_> = faults.met().into_keys().collect();
    for fault in [
        Fault::Refused(409),
        Fault::Refused(429),
        Fault::Refused(503),
        Fault::AnswerLost,
        Fault::AnswerCut,
    ] {
        assert!(met.contains(&fault), "{fault:?} is not among {met:?}");
    }
    let watches = [
        Fault::WatchClosed,
        Fault::WatchCut,
        Fault::WatchExpired,
        Fault::Gone,
    ];
    assert!(watches.iter().any(|fault| met.contains(fault)), "{met:?}");

    trial.change(true).await;
    trial.settles().await;
    // Retries that the last faults caused are over.
    tokio::time::sleep(QUIET).await;
    let before = faults.requests();
    tokio::time::sleep(QUIET).await;
    let asked = faults.requests() - before;
    assert!(asked <= FEW, "{asked} requests while nothing changes");
    trial.settles().await;
}

#[tokio::test]
async fn one_object_that_is_never_accepted_holds_up_no_other_and_is_named() {
    let (world, faults) = behind_faults(1).await;
    let case = world.case("refusals").await;
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let cases = [
        (Fault::Refused(409), "the object has been modified"),
        (Fault::Refused(429), "too many requests"),
        (Fault::Refused(500), "Internal error"),
        (
            Fault::Refused(502),
            "HTTP status 502, and not from the API server",
        ),
        (Fault::Refused(503), "unable to handle"),
        (Fault::Refused(504), "requested timeout"),
        (Fault::AnswerLost, "requested timeout"),
    ];
    for (round, (fault, says)) in cases.into_iter().enumerate() {
        let value = format!("round-{round}");
        let map = |name: &str| (format!("{name}.yaml"), Some(case.map(name, &value)));
        faults.always(Some(Rule {
            method: Method::PATCH,
            path: "/configmaps/refused".to_owned(),
            fault,
        }));
        let commit = case.repo.commit(&[map("refused"), map("other")], &value);
        case.announce().await;
        case.has("other", "value", Some(&value)).await;
        let named = |sync: &Sync| {
            let ready = condition(sync, "Ready");
            ready.0 == "False" && ready.2.contains(says)
        };
        let sync = case
            .until("all", &format!("{fault:?} is told"), named)
            .await;
        let (_, _, message) = condition(&sync, "Ready");
        assert_says(&message, &["ConfigMap", "refused"]);
        assert!(!message.contains("Status {"), "{message}");
        faults.always(None);
        case.synced("all", &commit).await;
        case.has("refused", "value", Some(&value)).await;
    }
}

/// A rule for requests that end with a conflict, which no other writer caused.
fn conflict(method: Method, path: &str) -> Option<Rule> {
    Some(Rule {
        method,
        path: path.to_owned(),
        fault: Fault::Refused(409),
    })
}

/// For how long a conflict lasts: longer than the first pauses between two tries.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_conflict_is_not_taken_for_the_end_of_an_object() {
    let (world, faults) = behind_faults(1).await;
    let case = world.case("conflicts").await;
    let map = |name: &str| Some(case.map(name, "one"));
    let files = [
        ("kept.yaml", map("kept")),
        ("gone.yaml", map("gone")),
        ("stays.yaml", map("stays")),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;

    // Pruned is what is gone, and not what could not be deleted.
    faults.always(conflict(Method::DELETE, "/configmaps/gone"));
    let second = case.push(&[("gone.yaml", None)], "second").await;
    let message = case.ready_becomes("all", "False", "PruneFailed").await;
    assert_says(&message, &["gone", "the object has been modified"]);
    let log = world.operator.log();
    assert!(!log.contains("pruned ConfigMap"), "{log}");
    case.has("gone", "value", Some("one")).await;
    faults.always(None);
    case.synced("all", &second).await;
    case.has("gone", "value", None).await;

    // What is made only once is made.
    faults.always(conflict(Method::PATCH, "/configmaps/once"));
    let once = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "one"},
        "metadata": {
            "name": "once", "namespace": case.namespace,
            "annotations": {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"},
        },
    });
    let once = once.to_string();
    let third = case.push(&[("once.yaml", Some(&once))], "third").await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    faults.always(None);
    case.synced("all", &third).await;
    case.has("once", "value", Some("one")).await;

    // A Sync is gone when its finalizer is off.
    faults.always(conflict(Method::PATCH, "/syncs/all"));
    case.delete::<Sync>("all").await;
    case.has("stays", "value", None).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(!case.live::<Sync>("all").await.is_null());
    faults.always(None);
    eventually("the Sync is gone", PATIENCE, async || {
        let sync = case.live::<Sync>("all").await;
        sync.is_null().then_some(()).ok_or(sync)
    })
    .await;
}
