//! Custom kinds: another version of a kind, and fields that are present but empty.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::world::{Case, PATIENCE, world};
use towline_testing::kubeconfig::User;
use towline_testing::wait::{eventually, never};

/// A CustomResourceDefinition `Gadget` in the case's own group, as a file in Git.
fn definition(group: &str, versions: &Value) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": versions,
        },
    })
    .to_string()
}

fn version(name: &str, served: bool, storage: bool, spec: &Value) -> Value {
    json!({
        "name": name, "served": served, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
        }}},
    })
}

fn gadget(case: &Case<'_>, group: &str, version: &str, spec: &Value) -> String {
    json!({
        "apiVersion": format!("{group}/{version}"), "kind": "Gadget",
        "metadata": {"name": "g", "namespace": case.namespace}, "spec": spec,
    })
    .to_string()
}

async fn gadgets(case: &Case<'_>, group: &str, version: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: "Gadget".to_owned(),
        plural: "gadgets".to_owned(),
    };
    let client = case.world.cp.client_for(User::Person).await;
    Api::namespaced_with(client, &case.namespace, &resource)
}

/// Waits until the gadget has this spec. Returns the object.
async fn has_spec(api: &Api<DynamicObject>, spec: Value) -> DynamicObject {
    eventually(&format!("the spec is {spec}"), PATIENCE, async || {
        let live = api.get("g").await.map_err(|error| error.to_string())?;
        match live.data["spec"] == spec {
            true => Ok(live),
            false => Err(live.data.to_string()),
        }
    })
    .await
}

/// Waits until the API server ends the watches of a version, which it does some time after it is no longer served.
/// `watch` is a watch of the version from before.
async fn ends(watch: impl Stream<Item = kube::Result<WatchEvent<DynamicObject>>>) {
    let rest = watch.for_each(|_| std::future::ready(()));
    let ended = tokio::time::timeout(PATIENCE, rest).await;
    ended.expect("the API server ends the watch");
}

async fn heals(api: &Api<DynamicObject>, spec: &Value) {
    let drift = Patch::Merge(json!({"spec": {"size": 9}}));
    let params = PatchParams {
        field_manager: Some("person".to_owned()),
        ..PatchParams::default()
    };
    api.patch("g", &params, &drift).await.unwrap();
    has_spec(api, spec.clone()).await;
}

async fn remove(case: &Case<'_>, group: &str) {
    case.delete::<towline::api::Sync>("all").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let name = format!("gadgets.{group}");
    let _ = definitions.delete(&name, &DeleteParams::default()).await;
}

#[tokio::test]
async fn another_version_of_a_kind_is_applied_in_place() {
    let case = world().await.case("versions").await;
    let group = format!("{}.example", case.namespace);
    let one = json!({"size": {"type": "integer"}, "old": {"type": "string"}});
    let two = json!({"size": {"type": "integer"}, "mode": {"type": "string", "default": "fast"}});
    let both = json!([
        version("v1", true, true, &one),
        version("v2", true, false, &two)
    ]);
    let first = case.repo.commit(
        &[
            ("definition.yaml", Some(definition(&group, &both))),
            (
                "g.yaml",
                Some(gadget(&case, &group, "v1", &json!({"size": 1, "old": "x"}))),
            ),
        ],
        "v1",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let api = gadgets(&case, &group, "v2").await;
    let uid = has_spec(&api, json!({"size": 1})).await.metadata.uid;

    // One commit makes v2 the stored version and uses it. v2 has a default that v1 does not know.
    let both = json!([
        version("v1", true, false, &one),
        version("v2", true, true, &two)
    ]);
    let stored = case
        .push(
            &[("definition.yaml", Some(&definition(&group, &both)))],
            "store v2",
        )
        .await;
    case.synced("all", &stored).await;
    let second = gadget(&case, &group, "v2", &json!({"size": 2}));
    let second = case.push(&[("g.yaml", Some(&second))], "v2").await;
    case.synced("all", &second).await;
    let spec = json!({"size": 2, "mode": "fast"});
    let live = has_spec(&api, spec.clone()).await;
    assert_eq!(live.metadata.uid, uid);
    heals(&api, &spec).await;

    // v1 is no longer served, and what watched it sees no drift.
    let old = gadgets(&case, &group, "v1").await;
    let old = old.watch(&WatchParams::default(), "0").await.unwrap();
    let alone = json!([
        version("v1", false, false, &one),
        version("v2", true, true, &two)
    ]);
    let alone = case
        .push(
            &[("definition.yaml", Some(&definition(&group, &alone)))],
            "v2 alone",
        )
        .await;
    case.synced("all", &alone).await;
    ends(old).await;
    heals(&api, &spec).await;
    remove(&case, &group).await;
}

#[tokio::test]
async fn a_field_that_left_git_goes_with_a_version_that_is_gone() {
    let case = world().await.case("versions-gone").await;
    let group = format!("{}.example", case.namespace);
    let one = json!({"size": {"type": "integer"}, "go": {"type": "string"}});
    let both = json!([
        version("v1", true, true, &one),
        version("v2", true, false, &one)
    ]);
    let first = case.repo.commit(
        &[
            ("definition.yaml", Some(definition(&group, &both))),
            (
                "g.yaml",
                Some(gadget(&case, &group, "v1", &json!({"size": 1, "go": "x"}))),
            ),
        ],
        "v1",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let api = gadgets(&case, &group, "v2").await;
    has_spec(&api, json!({"size": 1, "go": "x"})).await;

    let old = gadgets(&case, &group, "v1").await;
    let old = old.watch(&WatchParams::default(), "0").await.unwrap();
    let alone = json!([
        version("v1", false, false, &one),
        version("v2", true, true, &one)
    ]);
    let second = gadget(&case, &group, "v2", &json!({"size": 2}));
    let commit = case
        .push(
            &[
                ("definition.yaml", Some(&definition(&group, &alone))),
                ("g.yaml", Some(&second)),
            ],
            "v2 alone, without go",
        )
        .await;
    case.synced("all", &commit).await;
    let spec = json!({"size": 2});
    has_spec(&api, spec.clone()).await;
    ends(old).await;
    heals(&api, &spec).await;

    // Deletes v1 from the definition. The API server asks that v1 is removed from the stored versions
    // first.
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let name = format!("gadgets.{group}");
    let stored = Patch::Merge(json!({"status": {"storedVersions": ["v2"]}}));
    definitions
        .patch_status(&name, &PatchParams::default(), &stored)
        .await
        .unwrap();
    let gone = json!([version("v2", true, true, &one)]);
    let third = gadget(&case, &group, "v2", &json!({"size": 3}));
    let commit = case
        .push(
            &[
                ("definition.yaml", Some(&definition(&group, &gone))),
                ("g.yaml", Some(&third)),
            ],
            "v1 is gone",
        )
        .await;
    case.synced("all", &commit).await;
    let spec = json!({"size": 3});
    has_spec(&api, spec.clone()).await;
    heals(&api, &spec).await;
    remove(&case, &group).await;
}

#[tokio::test]
async fn null_in_a_kind_of_kubernetes_means_absent_as_for_kubectl_apply() {
    let case = world().await.case("null").await;
    let map = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {}, labels: {{gone: null}}}}\ndata: {data}\n",
            case.namespace
        )
    };
    let first = map("{stay: '1', gone: '1'}");
    let first = case.repo.commit(&[("a.yaml", Some(first))], "one");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let second = map("{stay: '1', gone: null}");
    let second = case.push(&[("a.yaml", Some(&second))], "null").await;
    case.synced("all", &second).await;
    let live = case.live::<ConfigMap>("a").await;
    assert_eq!(live["data"], json!({"stay": "1"}), "{live}");
    assert_eq!(live["metadata"]["labels"].get("gone"), None, "{live}");
}

#[tokio::test]
async fn a_field_that_is_there_and_empty_is_absent_where_no_null_is_allowed() {
    let case = world().await.case("empty-field").await;
    let group = format!("{}.example", case.namespace);
    let object = json!({"type": "object", "properties": {"driver": {"type": "string"}}});
    let mut nullable = object.clone();
    nullable["nullable"] = json!(true);
    let list = json!({"type": "array", "items": {"type": "object", "properties": {"csi": object}}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let defaults =
        json!({"type": "object", "properties": {"driver": {"type": "string", "default": "d"}}});
    let mut nullable_defaults = defaults.clone();
    nullable_defaults["nullable"] = json!(true);
    let words = json!({"type": "array", "items": {"type": "string"}});
    let text = json!({"type": "string", "nullable": true});
    let fields = json!({"size": {"type": "integer", "maximum": 10}, "csi": object, "kept": nullable, "list": list, "map": map,
        "free": free, "defaults": defaults, "nullableDefaults": nullable_defaults, "words": words, "text": text});
    let versions = json!([version("v1", true, true, &fields)]);
    let spec = json!({"size": 1, "csi": null, "kept": null, "list": [{"csi": null}], "map": {"a.b/c": null}});
    let first = case.repo.commit(
        &[
            ("definition.yaml", Some(definition(&group, &versions))),
            ("g.yaml", Some(gadget(&case, &group, "v1", &spec))),
        ],
        "empty",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let api = gadgets(&case, &group, "v1").await;
    let spec = json!({"size": 1, "kept": null, "list": [{}], "map": {}});
    let live = has_spec(&api, spec.clone()).await;
    never(
        "a change of what is empty",
        Duration::from_millis(700),
        async || {
            let now = api.get("g").await.unwrap();
            (now.metadata.resource_version != live.metadata.resource_version).then_some(now)
        },
    )
    .await;
    case.ready_becomes("all", "True", "Converged").await;
    heals(&api, &spec).await;
    let full = json!({"size": 1, "csi": {"driver": "d"}, "kept": {"driver": "d"}, "list": [{"csi": {"driver": "d"}}], "map": {"a.b/c": "x"},
        "free": {"map": {"a": 1}, "list": [1], "text": "t", "deep": {"map": {"a": {"b": 1}}}}, "defaults": {"driver": "x"}, "nullableDefaults": {"driver": "x"}, "words": ["a"], "text": "t"});
    let text = gadget(&case, &group, "v1", &full);
    let second = case.push(&[("g.yaml", Some(&text))], "full").await;
    case.synced("all", &second).await;
    has_spec(&api, full.clone()).await;
    let nulls = json!({"size": 1, "csi": null, "kept": null, "list": [{"csi": null}], "map": {"a.b/c": null},
        "free": {"map": null, "list": null, "text": null, "deep": {"map": {"a": null}}}, "defaults": null, "nullableDefaults": null, "words": null, "text": null});
    let text = gadget(&case, &group, "v1", &nulls);
    let third = case.push(&[("g.yaml", Some(&text))], "null").await;
    case.synced("all", &third).await;
    let bare = json!({"size": 1, "kept": null, "list": [{}], "map": {}, "nullableDefaults": null, "text": null,
        "free": {"map": null, "list": null, "text": null, "deep": {"map": {"a": null}}}});
    has_spec(&api, bare.clone()).await;
    heals(&api, &bare).await;

    let text = gadget(&case, &group, "v1", &full);
    let fourth = case.push(&[("g.yaml", Some(&text))], "full again").await;
    case.synced("all", &fourth).await;
    let complete = has_spec(&api, full).await;
    for (what, size, message) in [
        ("wrong", json!("many"), "expected numeric"),
        ("too large", json!(11), "less than or equal to 10"),
    ] {
        let wrong = json!({"size": size, "csi": {}, "kept": null, "nullableDefaults": null});
        let text = gadget(&case, &group, "v1", &wrong);
        let mark = case.world.cp.audit().mark();
        case.push(&[("g.yaml", Some(&text))], what).await;
        eventually(what, PATIENCE, async || {
            let told = case.ready_becomes("all", "False", "ApplyFailed").await;
            told.contains(message).then_some(()).ok_or(told)
        })
        .await;
        let requests = case.world.cp.audit_since(mark).await;
        let count = |verb: &str, is_refused: bool| {
            let requests = requests.iter().filter(|entry| {
                (&*entry.verb, entry.code >= 400, &*entry.resource) == (verb, is_refused, "gadgets")
                    && (&*entry.namespace, &*entry.user) == (&*case.namespace, User::Towline.name())
                    && !entry.uri.contains("dryRun")
            });
            requests.count()
        };
        // One look serves all that a try looks for.
        let (reads, refused) = (count("get", false), count("patch", true));
        assert!(
            (1..=refused).contains(&reads),
            "{what}: {reads} reads, {refused} refusals"
        );
    }
    let live = api.get("g").await.unwrap();
    assert_eq!(live.data, complete.data, "it is not applied in part");
    let empty = json!({"size": 1, "csi": {}, "kept": {}, "list": [{"csi": {}}], "map": {}, "free": {"map": {}, "deep": {"map": {}}},
        "defaults": {}, "nullableDefaults": {}, "words": []});
    let text = gadget(&case, &group, "v1", &empty);
    let fifth = case.push(&[("g.yaml", Some(&text))], "emptied").await;
    case.synced("all", &fifth).await;
    let mut live = empty;
    live["defaults"] = json!({"driver": "d"});
    live["nullableDefaults"] = json!({"driver": "d"});
    has_spec(&api, live.clone()).await;
    // What was emptied belongs to nobody else, so that it goes when it leaves Git.
    let text = gadget(&case, &group, "v1", &json!({"size": 1}));
    let sixth = case.push(&[("g.yaml", Some(&text))], "gone").await;
    case.synced("all", &sixth).await;
    has_spec(&api, json!({"size": 1})).await;
    remove(&case, &group).await;
}

/// A list or a map of a custom kind changes its type. What leaves Git afterwards leaves the cluster too, in each direction.
#[tokio::test]
async fn what_leaves_git_goes_also_after_a_list_or_a_map_changed_its_type() {
    let case = world().await.case("list-types").await;
    let group = format!("{}.example", case.namespace);
    let list = |item: Value, how: &Value| {
        let mut list = json!({"type": "array", "items": item});
        let fields = list.as_object_mut().unwrap();
        fields.extend(how.as_object().unwrap().clone());
        list
    };
    let text = json!({"type": "string"});
    let named = json!({"type": "object", "required": ["name", "of"],
        "properties": {"name": text, "of": text, "value": text}});
    let words = |how: &Value| list(text.clone(), how);
    let items = |how: &Value| list(named.clone(), how);
    let map = |how: &str| json!({"type": "object", "additionalProperties": text, "x-kubernetes-map-type": how});
    let atomic = json!({"x-kubernetes-list-type": "atomic"});
    let set = json!({"x-kubernetes-list-type": "set"});
    let by =
        |keys: Value| json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys});
    let (by_name, by_both) = (by(json!(["name"])), by(json!(["name", "of"])));
    let inner = |how: &Value| {
        let item = json!({"type": "object", "required": ["name"], "properties": {"name": text, "words": words(how)}});
        list(item, &by_name)
    };
    let schema = |is_after: bool| {
        let of = |before: &Value, after: &Value| {
            if is_after {
                after.clone()
            } else {
                before.clone()
            }
        };
        let fields = json!({
            "words": words(&of(&atomic, &set)), "items": items(&of(&atomic, &by_name)),
            "keys": items(&of(&by_name, &by_both)), "inner": inner(&of(&atomic, &set)),
            "map": map(if is_after { "granular" } else { "atomic" }), "size": {"type": "integer"},
        });
        definition(&group, &json!([version("v1", true, true, &fields)]))
    };
    let spec = |names: &[&str]| {
        let items: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "of": "x", "value": "1"}))
            .collect();
        let map: serde_json::Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!("1")))
            .collect();
        json!({"size": 1, "words": names, "items": items, "keys": items, "map": map,
            "inner": [{"name": "n", "words": names}]})
    };
    let file = |names: &[&str]| gadget(&case, &group, "v1", &spec(names));
    let first = case.repo.commit(
        &[
            ("definition.yaml", Some(schema(false))),
            ("g.yaml", Some(file(&["a", "b", "c", "d"]))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let api = gadgets(&case, &group, "v1").await;
    has_spec(&api, spec(&["a", "b", "c", "d"])).await;
    for (is_after, names) in [
        (true, &["a", "b", "c"][..]),
        (false, &["b", "c"]),
        (true, &["b"]),
    ] {
        let text = schema(is_after);
        let commit = case
            .push(&[("definition.yaml", Some(&text))], "another type")
            .await;
        case.synced("all", &commit).await;
        // The API server takes up a definition some time after it was written.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let text = file(names);
        let commit = case.push(&[("g.yaml", Some(&text))], "one less").await;
        case.synced("all", &commit).await;
        has_spec(&api, spec(names)).await;
        heals(&api, &spec(names)).await;
    }
    remove(&case, &group).await;
}

/// A kind of Kubernetes whose older version keeps in annotations what it has no fields for.
#[tokio::test]
async fn an_older_version_of_a_kind_of_kubernetes_keeps_nothing_of_the_newer_one() {
    let case = world().await.case("autoscaling").await;
    let scaler = |version: &str, spec: Value| {
        let mut object = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": case.namespace},
            "spec": {"minReplicas": 1, "maxReplicas": 3,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
        object["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        object.to_string()
    };
    let metric = |name: &str, share: u32| {
        json!({"type": "Resource", "resource": {"name": name,
            "target": {"type": "Utilization", "averageUtilization": share}}})
    };
    let both = scaler(
        "v2",
        json!({"metrics": [metric("cpu", 50), metric("memory", 70)],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}),
    );
    let first = case.repo.commit(&[("hpa.yaml", Some(both))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let live = async || case.live::<HorizontalPodAutoscaler>("web").await;
    let uid = live().await["metadata"]["uid"].clone();
    // Only the processor counts, in the older version.
    let old = scaler("v1", json!({"targetCPUUtilizationPercentage": 60}));
    let commit = case.push(&[("hpa.yaml", Some(&old))], "older").await;
    case.synced("all", &commit).await;
    let now = live().await;
    assert_eq!(
        now["spec"]["metrics"],
        json!([metric("cpu", 60)]),
        "{now:#}"
    );
    assert_eq!(now["spec"]["behavior"], json!(null), "{now:#}");
    assert_eq!(now["metadata"]["uid"], uid);
    // And back.
    let new = scaler("v2", json!({"metrics": [metric("memory", 80)]}));
    let commit = case.push(&[("hpa.yaml", Some(&new))], "newer").await;
    case.synced("all", &commit).await;
    let now = live().await;
    assert_eq!(
        now["spec"]["metrics"],
        json!([metric("memory", 80)]),
        "{now:#}"
    );
}
