//! `mode: Report`: drift is counted and reported but not corrected, and commits are applied.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::life::deployment;
use crate::world::{Case, condition, config_map, world};
use towline_testing::wait::never;

fn drifted(sync: &Sync) -> u32 {
    let objects = sync.status.as_ref().and_then(|status| status.objects);
    objects.unwrap_or_default().drifted
}

async fn case(name: &str) -> Case<'static> {
    let files = async |namespace: &str| {
        let file = |name: &&str| (format!("{name}.yaml"), config_map(name, namespace, "git"));
        ["a", "b", "c"].iter().map(file).collect()
    };
    Case::started(world().await, name, files, json!({"mode": "Report"}))
        .await
        .0
}

fn edit() -> Value {
    json!({"data": {"value": "person"}})
}

#[tokio::test]
async fn drift_is_reported_and_not_touched() {
    let case = case("report").await;
    let mark = case.world.cp.audit().mark();
    let edited: ConfigMap = case.patch("a", edit()).await;
    case.delete::<ConfigMap>("b").await;
    let sync = case
        .until("all", "two objects drifted", |sync| drifted(sync) == 2)
        .await;
    assert_eq!(condition(&sync, "Ready").1, "DriftFound");
    let (status, reason, message) = condition(&sync, "Drifted");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "DriftFound"));
    let namespace = &case.namespace;
    for part in [
        format!("ConfigMap {namespace}/a was changed by person"),
        format!("ConfigMap {namespace}/b was deleted"),
    ] {
        assert!(message.contains(&part), "{part} in: {message}");
    }
    never(
        "a change of what drifted",
        Duration::from_millis(500),
        async || {
            let map: ConfigMap = case.api().get("a").await.unwrap();
            let touched = map.metadata.resource_version != edited.metadata.resource_version;
            (touched || case.data("b").await.is_some()).then_some(map)
        },
    )
    .await;
    let written = case.requests(mark).await.into_iter();
    let written: Vec<_> = written
        .filter(|entry| !entry.uri.contains("dryRun=All") && entry.is_write())
        .collect();
    assert!(written.is_empty(), "{written:#?}");

    // A person restores one object. The other still differs.
    case.patch::<ConfigMap>("a", json!({"data": {"value": "git"}}))
        .await;
    case.until("all", "one is left", |sync| drifted(sync) == 1)
        .await;
    assert_eq!(case.data("b").await, None);
}

#[tokio::test]
async fn a_commit_writes_what_it_changes_and_correct_heals_the_rest() {
    let case = case("report").await;
    case.patch::<ConfigMap>("a", edit()).await;
    case.patch::<ConfigMap>("b", edit()).await;
    case.until("all", "two objects drifted", |sync| drifted(sync) == 2)
        .await;

    case.push(&[("a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.has("a", "value", Some("second")).await;
    case.until("all", "one is left", |sync| drifted(sync) == 1)
        .await;
    case.has("b", "value", Some("person")).await;

    // A full verification does not correct drift either.
    case.reconcile("all").await;
    case.has("b", "value", Some("person")).await;
    case.ready_becomes("all", "False", "DriftFound").await;

    case.patch::<Sync>("all", json!({"spec": {"mode": "Correct"}}))
        .await;
    case.has("b", "value", Some("git")).await;
    case.ready_becomes("all", "True", "Converged").await;
}

#[tokio::test]
async fn a_change_of_what_git_does_not_declare_is_no_drift() {
    let files =
        async |namespace: &str| vec![("web.yaml".to_owned(), deployment("web", namespace, ""))];
    let spec = json!({"mode": "Report"});
    let (case, _) = Case::started(world().await, "report", files, spec).await;
    case.kubectl_as_person(&["rollout", "restart", "deployment/web"])
        .await;
    case.kubectl_as_person(&["annotate", "deployment/web", "person/note=mine"])
        .await;
    let api: kube::Api<Sync> = case.api();
    never("drift", Duration::from_millis(500), async || {
        let sync = api.get("all").await.unwrap();
        (drifted(&sync) > 0).then_some(sync)
    })
    .await;
    case.kubectl_as_person(&["scale", "deployment/web", "--replicas=2"])
        .await;
    case.until("all", "scaling is drift", |sync| drifted(sync) == 1)
        .await;
}
