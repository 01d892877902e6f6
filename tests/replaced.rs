//! Fields that cannot be changed, seen from the edges: whose words prove it, what is never replaced without its own
//! annotation, and what becomes of the old object when the new one is refused after all.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::world::policy::Rule;
use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::wait::{eventually, never};

const FORCE: &str = "towline.dev/force";

async fn uid<K>(case: &Case<'_>, name: &str) -> Value
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    case.live::<K>(name).await["metadata"]["uid"].clone()
}

/// A manifest with the object's own permission to be replaced.
fn forced(mut object: Value) -> String {
    object["metadata"]["annotations"] = json!({FORCE: "enabled"});
    object.to_string()
}

fn fixed_map(namespace: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it", "namespace": namespace},
        "immutable": true, "data": {"value": value}})
}

/// Waits until the API server enforces a rule: it refuses a ConfigMap with this value.
async fn is_enforced(case: &Case<'_>, value: &str) {
    eventually("the rule is enforced", PATIENCE, async || {
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "probe"}, "data": {"value": value},
        }))
        .unwrap();
        let maps: Api<ConfigMap> = case.api();
        let made = maps.create(&kube::api::PostParams::default(), &map).await;
        if made.is_ok() {
            case.delete::<ConfigMap>("probe").await;
        }
        made.is_err().then_some(()).ok_or("it was made")
    })
    .await;
}

#[tokio::test]
async fn an_object_whose_replacement_is_refused_after_all_comes_back_or_is_told() {
    const TWO: Rule = Rule {
        name: "two",
        group: "",
        resource: "configmaps",
        operations: &["CREATE"],
        expression: "(has(request.dryRun) && request.dryRun) || object.data.value != 'two'",
        message: "two is too many",
    };
    const NONE: Rule = Rule {
        name: "none",
        expression: "has(request.dryRun) && request.dryRun",
        message: "not today",
        ..TWO
    };
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("restored").await;
    let text = |value: &str| forced(fixed_map(&case.namespace, value));
    let first = case.repo.commit(&[("it.yaml", Some(text("one")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let before = uid::<ConfigMap>(&case, "it").await;
    // The dry run finds nothing wrong.
    case.rule(&TWO).await;
    is_enforced(&case, "two").await;
    case.push(&[("it.yaml", Some(&text("two")))], "two").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(
        &message,
        &["two is too many", "so the old one was made again"],
    );
    let restored = uid::<ConfigMap>(&case, "it").await;
    assert_ne!(restored, before);
    case.has("it", "value", Some("one")).await;
    // It is not deleted again for the same manifest.
    never("it is replaced again", Duration::from_secs(6), async || {
        let now = uid::<ConfigMap>(&case, "it").await;
        (now != restored).then_some(now)
    })
    .await;
    // The message still says why.
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(&message, &["two is too many", "towline.dev/requested-at"]);
    // A person asks for another try.
    case.without_rule(&TWO).await;
    case.rule(&NONE).await;
    is_enforced(&case, "one").await;
    case.reconcile("all").await;
    let lost = "nor could the old one be made again";
    case.until("all", "the loss is told", |sync| {
        let ready = crate::world::condition(sync, "Ready");
        ready.1 == "ApplyFailed" && ready.2.contains("not today")
    })
    .await;
    eventually("both refusals are told", PATIENCE, async || {
        let log = case.world.operator.log();
        let message = case.live::<towline::api::Sync>("all").await["status"].to_string();
        (message.contains(lost) || log.contains(lost))
            .then_some(())
            .ok_or(message)
    })
    .await;
    assert!(case.live::<ConfigMap>("it").await.is_null());
    // The next operator makes it.
    let second = case.repo.resolve("main").unwrap();
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    case.without_rule(&NONE).await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.synced("all", &second).await;
    case.has("it", "value", Some("two")).await;
}

/// A definition whose rules keep some fields as they are.
fn definition(group: &str) -> Value {
    let rule = |rule: &str| json!({"rule": rule});
    let said = |rule: &str, message: &str| json!({"rule": rule, "message": message});
    let text = |rules: Value| json!({"type": "string", "x-kubernetes-validations": rules});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("disks.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Disk", "plural": "disks"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {
                    "type": "object",
                    "x-kubernetes-validations": [
                        said("has(self.zone) == has(oldSelf.zone)", "choose a zone when you make it"),
                    ],
                    "properties": {
                        "class": text(json!([rule("self == oldSelf")])),
                        "kind": text(json!([said("self == oldSelf", "make another disk for another kind")])),
                        "pool": text(json!([{"rule": "self == oldSelf",
                            "messageExpression": "'it lives in ' + oldSelf"}])),
                        "zone": text(json!([])),
                        "size": {"type": "integer",
                            "x-kubernetes-validations": [said("self >= oldSelf", "a disk does not shrink")]},
                        "note": text(json!([said("self != 'oldSelf'", "not this word")])),
                    },
                }},
            }}}]},
    })
}

#[tokio::test]
async fn a_rule_of_a_definition_that_keeps_a_value_is_one_whatever_its_words() {
    let case = world().await.case("transitions").await;
    let group = format!("{}.example.com", case.namespace);
    let disk = |changes: Value| {
        let mut spec = json!({"class": "a", "kind": "a", "pool": "a", "size": 5, "note": "a"});
        spec.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        json!({"apiVersion": format!("{group}/v1"), "kind": "Disk",
            "metadata": {"name": "it", "namespace": case.namespace}, "spec": spec})
    };
    let first = case.repo.commit(
        &[
            ("crd.yaml", Some(definition(&group).to_string())),
            ("it.yaml", Some(disk(json!({})).to_string())),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", "Disk"), "disks");
    let disks: Api<DynamicObject> =
        Api::namespaced_with(case.client.clone(), &case.namespace, &resource);
    let uid = async || disks.get("it").await.unwrap().metadata.uid;
    for (change, is_immutable) in [
        (json!({"class": "b"}), true),
        (json!({"kind": "b"}), true),
        (json!({"pool": "b"}), true),
        (json!({"zone": "b"}), true),
        (json!({"size": 4}), false),
        (json!({"note": "oldSelf"}), false),
    ] {
        let before = uid().await;
        let plain = disk(change.clone());
        case.push(&[("it.yaml", Some(&plain.to_string()))], "change")
            .await;
        let message = case.ready_becomes("all", "False", "ApplyFailed").await;
        let is_advised = message.contains("towline.dev/force: enabled");
        assert_eq!(is_advised, is_immutable, "{change}: {message}");
        let commit = case
            .push(&[("it.yaml", Some(&forced(plain)))], "force")
            .await;
        if is_immutable {
            case.synced("all", &commit).await;
            assert_ne!(uid().await, before, "{change}");
        } else {
            never("it is replaced", Duration::from_secs(2), async || {
                let now = uid().await;
                (now != before).then_some(now)
            })
            .await;
        }
        let commit = case
            .push(&[("it.yaml", Some(&forced(disk(json!({})))))], "back")
            .await;
        case.synced("all", &commit).await;
    }
}

#[tokio::test]
async fn what_holds_data_or_other_objects_is_replaced_by_its_own_annotation_alone() {
    const TIER: Rule = Rule {
        name: "tier",
        group: "",
        resource: "namespaces",
        operations: &["UPDATE"],
        expression: "!has(oldObject.metadata.labels.tier) || !has(object.metadata.labels.tier) || \
                     object.metadata.labels.tier == oldObject.metadata.labels.tier",
        message: "the field metadata.labels.tier is immutable",
    };
    let case = world().await.case("precious").await;
    let group = format!("{}.example.com", case.namespace);
    let other = format!("{}-other", case.namespace);
    let claim = |class: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "it", "namespace": case.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": "1Mi"}}}})
    };
    let definition = |scope: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("gadgets.{group}")},
            "spec": {"group": group, "scope": scope, "names": {"kind": "Gadget", "plural": "gadgets"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    };
    let namespace = |tier: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": other, "labels": {"case": case.namespace, "tier": tier}}})
    };
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    let uids = async || {
        let crd = definitions
            .get_opt(&format!("gadgets.{group}"))
            .await
            .unwrap();
        let namespace = namespaces.get_opt(&other).await.unwrap();
        [
            uid::<PersistentVolumeClaim>(&case, "it").await,
            crd.map_or(json!(null), |crd| json!(crd.metadata.uid)),
            namespace.map_or(json!(null), |namespace| json!(namespace.metadata.uid)),
        ]
    };
    let objects = [
        ("claim.yaml", claim("one"), claim("two")),
        ("crd.yaml", definition("Namespaced"), definition("Cluster")),
        ("namespace.yaml", namespace("one"), namespace("two")),
    ];
    let files = objects
        .each_ref()
        .map(|(file, from, _)| (*file, Some(from.to_string())));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync(
        "all",
        json!({"force": true, "pruneLimit": {"contents": "Delete"}}),
    )
    .await;
    case.synced("all", &first).await;
    case.rule(&TIER).await;
    eventually("the rule is enforced", PATIENCE, async || {
        let patch = kube::api::Patch::Merge(json!({"metadata": {"labels": {"tier": "two"}}}));
        let params = kube::api::PatchParams {
            dry_run: true,
            ..kube::api::PatchParams::default()
        };
        let tried = namespaces.patch(&other, &params, &patch).await;
        tried.is_err().then_some(()).ok_or("it was taken")
    })
    .await;
    for (place, (file, from, to)) in objects.iter().enumerate() {
        let before = uids().await;
        case.push(&[(file, Some(&to.to_string()))], "change").await;
        let message = case.ready_becomes("all", "False", "ApplyFailed").await;
        assert_says(&message, &["may lose data", "towline.dev/force: enabled"]);
        assert_eq!(uids().await, before, "{file}");
        let commit = case
            .push(&[(file, Some(&forced(to.clone())))], "force")
            .await;
        case.synced("all", &commit).await;
        assert_ne!(uids().await[place], before[place], "{file}");
        let commit = case
            .push(&[(file, Some(&forced(from.clone())))], "back")
            .await;
        case.synced("all", &commit).await;
        let now = uids().await;
        for other in place + 1..objects.len() {
            assert_eq!(now[other], before[other], "{file}");
        }
    }
}

#[tokio::test]
async fn a_refusal_with_the_word_in_it_is_none() {
    const TAGS: Rule = Rule {
        name: "tags",
        group: "",
        resource: "configmaps",
        operations: &["UPDATE"],
        expression: "!has(object.data) || !has(object.data.value) || object.data.value != 'two'",
        message: "images must be immutable: policy immutable-tags cannot be changed by teams",
    };
    const FIELD: Rule = Rule {
        name: "field",
        expression: "object.data.value == oldObject.data.value || object.data.value != 'three'",
        message: "data.value is immutable",
        ..TAGS
    };
    let case = world().await.case("words").await;
    let namespace = case.namespace.as_str();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "immutable", "namespace": namespace},
        "spec": {"hard": {"services.nodeports": "0"}}});
    let service = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "it", "namespace": namespace},
            "spec": {"type": kind, "ports": [{"port": 80}]}})
    };
    let map = |value: &str| config_map("it", namespace, value);
    let first = case.repo.commit(
        &[
            ("quota.yaml", Some(quota.to_string())),
            ("service.yaml", Some(service("ClusterIP").to_string())),
            ("map.yaml", Some(map("one"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"force": true})).await;
    case.synced("all", &first).await;
    case.rule(&TAGS).await;
    case.rule(&FIELD).await;
    let before = [
        uid::<ConfigMap>(&case, "it").await,
        uid::<Service>(&case, "it").await,
    ];
    eventually("the rules are enforced", PATIENCE, async || {
        for value in ["two", "three"] {
            let patch = kube::api::Patch::Merge(json!({"data": {"value": value}}));
            let params = kube::api::PatchParams {
                dry_run: true,
                ..kube::api::PatchParams::default()
            };
            if case
                .api::<ConfigMap>()
                .patch("it", &params, &patch)
                .await
                .is_ok()
            {
                return Err(value);
            }
        }
        Ok(())
    })
    .await;
    // A policy that speaks of something else.
    case.push(&[("map.yaml", Some(&map("two")))], "policy")
        .await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(&message, &["immutable-tags"]);
    assert!(!message.contains("towline.dev/force"), "{message}");
    let commit = case.push(&[("map.yaml", Some(&map("one")))], "back").await;
    case.synced("all", &commit).await;
    // A quota with that name.
    let ports = service("NodePort").to_string();
    case.push(&[("service.yaml", Some(&ports))], "quota").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(&message, &["exceeded quota: immutable"]);
    assert!(!message.contains("towline.dev/force"), "{message}");
    let plain = service("ClusterIP").to_string();
    let commit = case.push(&[("service.yaml", Some(&plain))], "back").await;
    case.synced("all", &commit).await;
    let now = [
        uid::<ConfigMap>(&case, "it").await,
        uid::<Service>(&case, "it").await,
    ];
    assert_eq!(now, before);
    // A policy that says it of the field.
    let commit = case
        .push(&[("map.yaml", Some(&map("three")))], "field")
        .await;
    case.synced("all", &commit).await;
    assert_ne!(uid::<ConfigMap>(&case, "it").await, before[0]);
}
