//! The API server fails in every way that a client meets: it refuses, asks to wait, loses answers, cuts and closes
//! watches, and forgets revisions. Nothing is lost, and nothing is asked for without end.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::define;
use towline_testing::faults::{Fault, Faults, Rule};
use towline_testing::git::GitServer;
use towline_testing::operator::{Operator, OperatorOptions};

use super::model::pause;
use super::{Trial, seeded, setting};
use crate::world::verdict::assert_says;
use crate::world::{Plane, World};

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
    define(&cp).await.unwrap();
    let faults = Faults::before(&cp, seed).await;
    let operator = Operator::start(OperatorOptions {
        kubeconfig: faults.kubeconfig(),
        ..OperatorOptions::new(&cp)
    })
    .await;
    let world = World {
        cp: Plane::Own(Box::new(cp)),
        git: GitServer::start(),
        operator,
    };
    (world, faults)
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
        let named = |sync: &towline::api::Sync| {
            let ready = crate::world::condition(sync, "Ready");
            ready.0 == "False" && ready.2.contains(says)
        };
        let sync = case
            .until("all", &format!("{fault:?} is told"), named)
            .await;
        let (_, _, message) = crate::world::condition(&sync, "Ready");
        assert_says(&message, &["ConfigMap", "refused"]);
        assert!(!message.contains("Status {"), "{message}");
        faults.always(None);
        case.synced("all", &commit).await;
        case.has("refused", "value", Some(&value)).await;
    }
}
