//! What becomes of the changes of a namespace, as metrics: they go live, fail, and are made good.

use serde_json::{Value, json};
use towline::api::Sync;

use crate::pages;
use crate::prometheus::sample;
use crate::world::election::{ELECTION, leads, standby};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::prometheus::{Prometheus, scraped};
use towline_testing::wait::eventually;

/// The counters of a namespace: converged, failed before; reverted, pinned away, unhealthy, failed; restored.
type Counts = [u64; 7];

async fn counts(case: &Case<'_>) -> Counts {
    let text = scraped(&case.world.operator).await;
    let of = |metric: &str, label: &str| {
        let labels = format!("{{sync_namespace=\"{}\"{label}}}", case.namespace);
        sample(&text, &format!("towline_{metric}{labels}")) as u64
    };
    let failed = |cause: &str| of("failed_changes_total", &format!(",cause=\"{cause}\""));
    [
        of("changes_total", ",converged=\"true\""),
        of("changes_total", ",converged=\"false\""),
        failed("Reverted"),
        failed("PinnedAway"),
        failed("Unhealthy"),
        failed("Failed"),
        of("time_to_restore_seconds_count", ""),
    ]
}

/// Waits until the counters are these: an outcome is counted after its status is written.
async fn counted(case: &Case<'_>, what: &str, expected: Counts) {
    eventually(what, PATIENCE, async || {
        let found = counts(case).await;
        (found == expected).then_some(()).ok_or(found)
    })
    .await;
}

/// What a Sync has not made good.
async fn failed_change(case: &Case<'_>) -> Value {
    case.live::<Sync>("all").await["status"]["failedChange"].take()
}

/// Commits a value of the ConfigMap `a`, and waits until it is live.
async fn goes_live(case: &Case<'_>, value: &str, message: &str) -> String {
    let commit = case
        .push(&[("a.yaml", Some(&*case.map("a", value)))], message)
        .await;
    case.synced("all", &commit).await;
    commit
}

#[tokio::test]
async fn the_guides_queries_tell_the_four_keys() {
    let case = world().await.case("four-keys").await;
    let web = |more| deployment("web", &case.namespace, more);
    let files = [
        ("web.yaml", Some(web(""))),
        ("a.yaml", Some(case.map("a", "first"))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true, "timeout": "10s"}))
        .await;
    case.synced("all", &first).await;
    let prometheus = Prometheus::start(case.world.operator.address(), "groups: []\n").await;
    eventually("zeros are scraped", PATIENCE, async || {
        let of_case = format!(
            "towline_changes_total{{sync_namespace=\"{}\"}}",
            case.namespace
        );
        let rows = prometheus.query(&of_case).await?;
        (rows.len() == 2)
            .then_some(())
            .ok_or_else(|| format!("{rows:?}"))
    })
    .await;
    assert_eq!(counts(&case).await, [0; 7], "the first is no change");

    goes_live(&case, "second", "second").await;
    counted(&case, "a change is live", [1, 0, 0, 0, 0, 0, 0]).await;
    let elsewhere = case.push(&[("readme.md", Some("text"))], "elsewhere").await;
    case.synced("all", &elsewhere).await;

    // One breaks health and is reverted.
    case.push(&[("web.yaml", Some(&*web(UNSCHEDULABLE)))], "sick")
        .await;
    case.ready_becomes("all", "False", "HealthFailed").await;
    counted(&case, "it is unhealthy", [1, 1, 0, 0, 1, 0, 0]).await;
    assert_eq!(failed_change(&case).await["cause"], "Unhealthy");
    let well = case.push(&[("web.yaml", Some(&*web("")))], "well").await;
    case.synced("all", &well).await;
    counted(&case, "it is made good", [2, 1, 0, 0, 1, 0, 1]).await;
    assert_eq!(failed_change(&case).await, Value::Null);

    // One is taken back by content, and one by a message after another change.
    goes_live(&case, "bad", "bad").await;
    goes_live(&case, "second", "the old value again").await;
    counted(&case, "it is reverted", [4, 1, 1, 0, 1, 0, 2]).await;
    let bad = goes_live(&case, "worse", "worse").await;
    let more = case
        .push(&[("b.yaml", Some(&*case.map("b", "more")))], "more")
        .await;
    case.synced("all", &more).await;
    let message = format!("Revert \"worse\"\n\nThis reverts commit {bad}.");
    let good = goes_live(&case, "second", &message).await;
    counted(&case, "it says so", [7, 1, 2, 0, 1, 0, 3]).await;

    // One is pinned away.
    let worst = goes_live(&case, "worst", "worst").await;
    let pin =
        json!({"metadata": {"annotations": {"towline.dev/pin": format!("main@sha1:{good}")}}});
    case.patch::<Sync>("all", pin).await;
    case.synced("all", &good).await;
    counted(&case, "it is pinned away", [8, 1, 2, 1, 1, 0, 4]).await;
    let history = case.live::<Sync>("all").await["status"]["history"].take();
    let history = history.as_array().unwrap();
    let is_worst = |entry: &&Value| {
        entry["revision"]
            .as_str()
            .unwrap_or_default()
            .ends_with(&worst)
    };
    let entry = history.iter().find(is_worst).unwrap();
    assert_eq!(entry["failed"], "PinnedAway", "{entry}");

    the_guide_is_right(&case, &prometheus).await;
}

/// Asks what the guide asks, after four of nine changes have failed.
async fn the_guide_is_right(case: &Case<'_>, prometheus: &Prometheus) {
    let queries = pages::blocks(&pages::text("docs/guides/four-keys.md"), "text");
    let [frequency, lead, failures, mean, median] = &queries[..] else {
        panic!("{queries:#?}");
    };
    for (query, least, most) in [
        (frequency, 7.0 / 30.0, 10.0 / 30.0),
        (lead, 0.001, 600.0),
        (failures, 0.43, 0.46),
        (mean, 0.001, 600.0),
        (median, 0.001, 600.0),
    ] {
        eventually(query, PATIENCE, async || {
            let rows = prometheus.query(query).await?;
            let is_ours = |row: &&Value| row["metric"]["sync_namespace"] == case.namespace.as_str();
            let value = rows.iter().find(is_ours);
            let value = value.and_then(|row| row["value"][1].as_str()?.parse::<f64>().ok());
            let is_right = value.is_some_and(|value| (least..=most).contains(&value));
            is_right.then_some(()).ok_or_else(|| format!("{rows:?}"))
        })
        .await;
    }
    assert_eq!(prometheus.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_restart_a_failure_is_known_and_nothing_is_counted_twice() {
    let mut world = World::own(Options::default(), &[]).await;
    let files = async |namespace: &str| {
        let map = config_map("a", namespace, "good");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "keys-restarted", files, json!({})).await;
    goes_live(&case, "bad", "bad").await;
    counted(&case, "it is live", [1, 0, 0, 0, 0, 0, 0]).await;

    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    assert_eq!(counts(&case).await, [0; 7], "the other process counted it");
    goes_live(&case, "good", "good").await;
    counted(&case, "it is reverted", [1, 0, 1, 0, 0, 0, 1]).await;

    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    assert_eq!(counts(&case).await, [0; 7], "the other process counted it");
}

/// The next leader stands by while the changes are counted. It goes on with what is not made good, and counts nothing again.
#[tokio::test]
async fn after_a_change_of_the_leader_nothing_is_counted_twice() {
    let mut world = World::own(Options::default(), &ELECTION).await;
    leads(&world.operator).await;
    let mut second = standby(&world).await;
    let files = async |namespace: &str| {
        let map = config_map("a", namespace, "good");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "keys-leaders", files, json!({})).await;
    goes_live(&case, "bad", "bad").await;
    counted(&case, "it is live", [1, 0, 0, 0, 0, 0, 0]).await;

    let parts = case.into_parts();
    world.operator.terminate(PATIENCE);
    leads(&second).await;
    std::mem::swap(&mut world.operator, &mut second);
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    assert_eq!(counts(&case).await, [0; 7], "the other replica counted it");
    goes_live(&case, "good", "good").await;
    counted(&case, "it is reverted", [1, 0, 1, 0, 0, 0, 1]).await;
}

/// Without time to fail, nothing fails.
#[tokio::test]
async fn the_time_to_fail_is_an_argument() {
    let world = World::own(Options::default(), &["--failure-window=0s"]).await;
    let files = async |namespace: &str| {
        let map = config_map("a", namespace, "good");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "keys-late", files, json!({})).await;
    goes_live(&case, "bad", "bad").await;
    goes_live(&case, "good", "good").await;
    counted(&case, "both are live", [2, 0, 0, 0, 0, 0, 0]).await;
}
