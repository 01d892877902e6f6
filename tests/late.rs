//! Objects that wait for what somebody makes later: a namespace, a kind.

use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::world::verdict::assert_says;
use crate::world::{condition, config_map, world};
use towline_testing::kubeconfig::User;
use towline_testing::wait::eventually;

/// How many tries of an object without a namespace fail before the namespace is created. The pause doubles from one
/// second, so that the next try after these is at least [`GROWN`] away.
const TRIES: usize = 5;
const GROWN: Duration = Duration::from_secs(14);

/// The latest time at which the namespace's watch has woken the Sync. Far less than what is left of the pause.
const WOKEN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_object_is_applied_when_its_namespace_is_created() {
    let case = world().await.case("late-namespace").await;
    let late = format!("{}-late", case.namespace);
    let never = format!("{}-never", case.namespace);
    let mark = case.world.cp.audit().mark();
    let files = [
        ("late/x.yaml", Some(config_map("x", &late, "one"))),
        ("never/x.yaml", Some(config_map("x", &never, "one"))),
    ];
    let commit = case.repo.commit(&files, "early");
    case.repository(json!({})).await;
    for name in ["late", "never"] {
        case.sync(name, json!({"path": name})).await;
        case.ready_becomes(name, "False", "ApplyFailed").await;
    }
    // When towline tried to write into a namespace, and whether the API server took it.
    let tries = async |namespace: &str| -> Vec<(Timestamp, bool)> {
        let requests = case.world.cp.audit_since(mark).await;
        let tries = requests.iter().filter(|entry| {
            entry.user == User::Towline.name()
                && entry.namespace == namespace
                && entry.resource == "configmaps"
                && entry.is_write()
        });
        tries
            .map(|entry| (entry.received, entry.code < 300))
            .collect()
    };
    for namespace in [&late, &never] {
        let what = format!("{TRIES} tries in {namespace}, with pauses that have grown");
        eventually(&what, GROWN * 4, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let tried = tries(namespace).await;
            (tried.len() >= TRIES).then_some(()).ok_or(tried)
        })
        .await;
    }
    let before = tries(&late).await;
    let pause = before[TRIES - 1].0.duration_since(before[TRIES - 2].0);
    assert!(pause.unsigned_abs() > GROWN / 2, "{before:?}");
    let (last, others) = (before[before.len() - 1].0, tries(&never).await.len());

    let namespace = json!({"metadata": {"name": late}});
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(case.client.clone());
    let namespace = serde_json::from_value(namespace).unwrap();
    let created = Timestamp::now();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    case.synced("late", &commit).await;
    let after = tries(&late).await;
    let (applied, _) = after.iter().find(|(_, taken)| *taken).unwrap();
    let took = applied.duration_since(created).unsigned_abs();
    let next = (last + GROWN).duration_since(*applied);
    assert!(took < WOKEN, "it was applied after {took:?}: {after:?}");
    assert!(
        next.is_positive(),
        "that may have been the next try: {after:?}"
    );
    // A Sync that waits for another namespace is not woken.
    assert_eq!(tries(&never).await.len(), others);
}

#[tokio::test]
async fn kinds_that_are_not_served_keep_their_order() {
    let case = world().await.case("kinds-order").await;
    let group = format!("{}.example", case.namespace);
    let kinds = ["Zebra", "Gadget", "Apple", "Mango", "Widget", "Basket"];
    let files = kinds.map(|kind| {
        let object = format!(
            "{{apiVersion: {group}/v1, kind: {kind}, metadata: {{name: x, namespace: {}}}}}",
            case.namespace
        );
        (format!("{kind}.yaml"), Some(object))
    });
    case.repo.commit(&files, "kinds that nobody defines");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let first = case.ready_becomes("all", "False", "KindNotServed").await;
    assert_says(&first, &["and 3 more"]);
    let [second, third] = ["Basket", "Gadget"].map(|kind| first.find(&format!("; {kind}.{group}")));
    assert!(
        first.starts_with("Apple") && second.is_some() && second < third,
        "{first}"
    );
    for _ in 0..4 {
        let sync = case.reconcile("all").await;
        assert_eq!(condition(&sync, "Ready").2, first);
    }
}
