//! Services of one commit that swap what a Service keeps until it is deleted: cluster IPs, ports for health checks.

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
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30025}]}}))
        .await;
    let mut port = one.clone();
    port["type"] = json!("NodePort");
    port["ports"] = json!([{"port": 8080, "nodePort": 30025}]);
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

/// Pushes these specs for the first Services. All have to be live as they are in Git, and only what changed is made anew.
async fn exchange(case: &Case<'_>, what: &str, specs: &[Value]) {
    let before = live(case, "/spec").await;
    let files: Vec<_> = NAMES
        .iter()
        .zip(specs)
        .map(|(name, spec)| (*name, service(case, name, spec, false)))
        .collect();
    let commit = push(case, &files, what).await;
    case.synced("all", &commit).await;
    let now = live(case, "/spec").await;
    for (name, spec) in NAMES.iter().zip(specs) {
        for (field, value) in spec.as_object().unwrap() {
            let found = &now[name].0[field];
            match value.as_array() {
                Some(ports) => {
                    assert_eq!(found[0]["nodePort"], ports[0]["nodePort"], "{what} {name}");
                }
                None => assert_eq!(found, value, "{what} {name} {field}"),
            }
        }
        let is_same = before[name].0 == now[name].0;
        assert_eq!(before[name].1 == now[name].1, is_same, "{what} {name}");
    }
}

#[tokio::test]
async fn ports_of_health_checks_that_swap_under_force_arrive() {
    let [one, two, three] = [30_021, 30_022, 30_023].map(checked);
    let all = [one.clone(), two.clone(), three.clone()];
    let case = started("swap-checks", all, json!({"force": true})).await;
    for (what, specs) in [
        ("two", [&two, &one, &three]),
        ("a circle", [&one, &three, &two]),
        ("a row", [&checked(30_024), &one, &two]),
    ] {
        exchange(&case, what, &specs.map(Clone::clone)).await;
    }
    // One gets the port of another one that leaves Git.
    let b = service(&case, "b", &two, false);
    let commit = case
        .push(&[("c.json", None), ("b.json", Some(&b))], "c leaves")
        .await;
    case.synced("all", &commit).await;
    assert_eq!(live(&case, CHECKED).await["b"].0, 30_022);
    assert!(case.live::<Service>("c").await.is_null());
}

#[tokio::test]
async fn services_that_swap_everything_at_once_arrive() {
    let spec = |last: u32, class: &str| {
        let mut spec = checked(31_940 + last);
        spec["clusterIP"] = address(84, last)["clusterIP"].clone();
        spec["loadBalancerClass"] = json!(format!("example.com/{class}"));
        spec["ports"] = json!([{"port": 8080, "nodePort": 31_950 + last}]);
        spec
    };
    let [one, two] = [spec(1, "one"), spec(2, "two")];
    let third = json!({"type": "NodePort", "ports": [{"port": 8080, "nodePort": 31_953}]});
    let all = [one.clone(), two.clone(), third.clone()];
    let case = started("swap-everything", all, json!({"force": true})).await;
    exchange(&case, "everything", &[two.clone(), one.clone()]).await;
    // A port for health checks for a node port of one that need not go for it.
    let (mut a, mut c) = (two, third);
    a["healthCheckNodePort"] = json!(31_953);
    c["ports"][0]["nodePort"] = json!(31_942);
    let before = live(&case, "/spec/type").await;
    let files = [
        ("a", service(&case, "a", &a, false)),
        ("c", service(&case, "c", &c, false)),
    ];
    let commit = push(&case, &files, "of two kinds").await;
    case.synced("all", &commit).await;
    assert_eq!(live(&case, CHECKED).await["a"].0, 31_953);
    let now = live(&case, "/spec/ports/0/nodePort").await;
    assert_eq!(now["c"], (json!(31_942), before["c"].1.clone()));
    assert_eq!(now["b"].1, before["b"].1);
}

#[tokio::test]
async fn every_field_of_a_service_that_cannot_change_arrives_under_force() {
    let balancer = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
    let all = [balancer("example.com/a"), address(85, 2), checked(31_961)];
    let case = started("swap-fields", all, json!({"force": true})).await;
    exchange(
        &case,
        "other values",
        &[
            balancer("example.com/b"),
            json!({"clusterIP": "None"}),
            checked(31_962),
        ],
    )
    .await;
    let mut without = checked(31_962);
    without["loadBalancerClass"] = json!("example.com/c");
    exchange(
        &case,
        "back, and fields that were absent",
        &[balancer("example.com/a"), address(85, 3), without],
    )
    .await;
}
