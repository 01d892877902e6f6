//! Services of one commit that swap their cluster IPs, which a Service keeps until it is deleted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, condition, world};
use towline_testing::wait::eventually;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A Service with this spec, which may be replaced by its own annotation where `forced`.
fn service(case: &Case<'_>, name: &str, spec: &Value, forced: bool) -> String {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": case.namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": 8080}]},
    });
    let more = spec.as_object().unwrap().clone();
    object["spec"].as_object_mut().unwrap().extend(more);
    if forced {
        object["metadata"]["annotations"] = json!({"towline.dev/force": "enabled"});
    }
    object.to_string()
}

/// An address of this case: no other test has it.
fn address(net: u32, last: u32) -> Value {
    json!({"clusterIP": format!("10.96.{net}.{last}")})
}

async fn push(case: &Case<'_>, files: &[(&str, String)], message: &str) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (format!("{name}.json"), Some(text)))
        .collect();
    let commit = case.repo.commit(&files, message);
    case.announce().await;
    commit
}

/// The value of a field and the uid of each Service.
async fn live(case: &Case<'_>, field: &str) -> BTreeMap<&'static str, (Value, Value)> {
    let mut all = BTreeMap::new();
    for name in NAMES {
        let live = case.live::<Service>(name).await;
        let value = live.pointer(field).cloned().unwrap_or_default();
        all.insert(name, (value, live["metadata"]["uid"].clone()));
    }
    all
}

/// A case with three Services.
async fn started(name: &str, specs: [Value; 3], spec: Value) -> Case<'static> {
    let case = world().await.case(name).await;
    let files: Vec<_> = NAMES
        .iter()
        .zip(&specs)
        .map(|(name, spec)| {
            (
                format!("{name}.json"),
                Some(service(&case, name, spec, false)),
            )
        })
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", spec).await;
    case.synced("all", &commit).await;
    case
}

/// The message of the failure of one object.
async fn failure(case: &Case<'_>, name: &str, says: &[&str]) -> String {
    let object = format!("Service {}/{name}", case.namespace);
    eventually(&format!("the failure of {object}"), PATIENCE, async || {
        let sync = case.api::<Sync>().get("all").await.unwrap();
        let status = sync.status.unwrap_or_default();
        let mut failures = status.failures.iter();
        let found = failures.find(|failure| failure.object == object);
        let message = found.map(|failure| failure.message.clone());
        match message {
            Some(message) if says.iter().all(|part| message.contains(part)) => Ok(message),
            message => Err((message, status.conditions)),
        }
    })
    .await
}

const IP: &str = "/spec/clusterIP";

#[tokio::test]
async fn addresses_that_swap_without_force_are_told_with_both_services() {
    let [one, two, three] = [1, 2, 3].map(|last| address(81, last));
    let case = started("swap-told", [one.clone(), two.clone(), three], json!({})).await;
    let before = live(&case, IP).await;
    let files = [
        ("a", service(&case, "a", &two, false)),
        ("b", service(&case, "b", &one, false)),
    ];
    push(&case, &files, "swap").await;
    let (a, b) = (
        format!("Service {}/a", case.namespace),
        format!("Service {}/b", case.namespace),
    );
    let advice = [
        "towline.dev/force: enabled",
        "spec.force",
        "allow the same for it",
    ];
    let message = failure(&case, "a", &advice).await;
    assert_says(&message, &[&format!("{b} has the address 10.96.81.2")]);
    let message = failure(&case, "b", &advice).await;
    assert_says(&message, &[&format!("{a} has the address 10.96.81.1")]);
    assert_eq!(live(&case, IP).await, before);
    // One of the two may be replaced: the message names the other one.
    push(&case, &[("a", service(&case, "a", &two, true))], "one").await;
    let message = failure(&case, "a", &["it is not replaced, since"]).await;
    assert_says(&message, &[&b, "towline.dev/force: enabled as well"]);
    assert_eq!(live(&case, IP).await, before);
    // Now both: they get what they need.
    let forced = push(&case, &[("b", service(&case, "b", &one, true))], "both").await;
    case.synced("all", &forced).await;
    let now = live(&case, IP).await;
    assert_eq!(now["a"].0, "10.96.81.2");
    assert_eq!(now["b"].0, "10.96.81.1");
    assert_eq!(now["c"], before["c"]);
    // The same address for two is a mistake that no deletion mends.
    push(&case, &[("b", service(&case, "b", &two, true))], "twice").await;
    let message = failure(&case, "b", &["10.96.81.2"]).await;
    assert_says(&message, &[&a, "if Git gives it another address"]);
    assert_eq!(live(&case, IP).await, now);
}

#[tokio::test]
async fn addresses_that_swap_under_force_arrive() {
    let [one, two, three] = [1, 2, 3].map(|last| address(82, last));
    let all = [one.clone(), two.clone(), three.clone()];
    let case = started("swap-forced", all, json!({"force": true})).await;
    for (what, specs) in [
        ("two", [&two, &one, &three]),
        ("a circle", [&one, &three, &two]),
        ("another", [&two, &one, &three]),
        ("the other way", [&three, &two, &one]),
        ("a row", [&address(82, 4), &three, &two]),
    ] {
        let before = live(&case, IP).await;
        let files: Vec<_> = NAMES
            .iter()
            .zip(specs)
            .map(|(name, spec)| (*name, service(&case, name, spec, false)))
            .collect();
        let commit = push(&case, &files, what).await;
        case.synced("all", &commit).await;
        let now = live(&case, IP).await;
        for (name, spec) in NAMES.iter().zip(specs) {
            assert_eq!(now[name].0, spec["clusterIP"], "{what} {name}");
            let is_same = before[name].0 == now[name].0;
            assert_eq!(before[name].1 == now[name].1, is_same, "{what} {name}");
        }
    }
    // One gets the address of another one that leaves Git.
    let b = service(&case, "b", &two, false);
    let commit = case
        .push(&[("c.json", None), ("b.json", Some(&b))], "c leaves")
        .await;
    case.synced("all", &commit).await;
    assert_eq!(live(&case, IP).await["b"].0, "10.96.82.2");
    assert!(case.live::<Service>("c").await.is_null());
}

#[tokio::test]
async fn an_address_that_the_old_service_would_be_refused_costs_nothing() {
    let [one, two, three] = [1, 2, 3].map(|last| address(83, last));
    let all = [one.clone(), two.clone(), three];
    let case = started("swap-refused", all, json!({"force": true})).await;
    let before = live(&case, IP).await;
    // Somebody else has a port that the other one of the two is to get.
    case.make::<Service>(json!({"metadata": {"name": "foreign"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 32583}]}}))
        .await;
    let mut port = one.clone();
    port["type"] = json!("NodePort");
    port["ports"] = json!([{"port": 8080, "nodePort": 32583}]);
    let files = [
        ("a", service(&case, "a", &two, false)),
        ("b", service(&case, "b", &port, false)),
    ];
    push(&case, &files, "swap").await;
    failure(&case, "b", &["already allocated"]).await;
    failure(&case, "a", &["10.96.83.2"]).await;
    assert_eq!(live(&case, IP).await, before);
    case.delete::<Service>("foreign").await;
    case.reconcile("all").await;
    let sync = case
        .until("all", "it is ready", |sync| {
            condition(sync, "Ready").0 == "True"
        })
        .await;
    assert!(sync.status.unwrap().failures.is_empty());
    let now = live(&case, IP).await;
    assert_eq!(
        (&now["a"].0, &now["b"].0),
        (&json!("10.96.83.2"), &json!("10.96.83.1"))
    );
}

/// A Service with a port for the health checks of a load balancer.
fn checked(port: u32) -> Value {
    json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port,
    })
}

const CHECKED: &str = "/spec/healthCheckNodePort";

#[tokio::test]
async fn a_renamed_service_gets_the_port_of_health_checks() {
    let case = started(
        "rename-checks",
        [31_921, 31_922, 31_923].map(checked),
        json!({}),
    )
    .await;
    let new = service(&case, "new", &checked(31_921), false);
    let files = [("a.json", None), ("new.json", Some(&*new))];
    let commit = case.push(&files, "rename").await;
    case.synced("all", &commit).await;
    let live = case.live::<Service>("new").await;
    assert_eq!(live.pointer(CHECKED), Some(&json!(31_921)));
}
