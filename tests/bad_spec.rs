//! Invalid specs. The API server refuses them with towline's messages. If one is stored anyway, it does
//! not block other resources.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};

use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::kubeconfig::User;
use towline_testing::prometheus::scraped;
use towline_testing::wait::eventually;

/// An API for objects that do not fit the kind's type.
pub fn untyped<K: Resource<DynamicType = ()>>(case: &Case<'_>) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    Api::namespaced_with(case.client.clone(), &case.namespace, &resource)
}

pub fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn the_api_server_refuses_invalid_specs() {
    let case = world().await.case("bad-spec").await;
    let sync = |spec: Value| {
        let mut full = json!({"sourceRef": {"name": "repo"}});
        full.as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        ("Sync", full)
    };
    let repository = |spec: Value| {
        let mut full = json!({"url": "https://git.example/shop.git"});
        full.as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        ("GitRepository", full)
    };
    let url = "url must be https://host/path, http://host/path, ssh://user@host:port/path or user@host:path";
    let path = "path must be relative and stay inside the repository";
    let tags = "verify.mode Tag and CommitAndTag need a ref that is a tag";
    let verify = |reference: Value, mode: Value| {
        let verify = json!({"secretRef": {"name": "x"}, "mode": mode});
        let spec = match reference.as_object().is_some_and(|map| map.is_empty()) {
            true => json!({"verify": verify}),
            false => json!({"verify": verify, "ref": reference}),
        };
        repository(spec)
    };
    let rows = [
        (repository(json!({"url": "ftp://git.example/shop"})), url),
        (repository(json!({"url": "git.example/shop"})), url),
        (repository(json!({"url": "https://git.example"})), url),
        (repository(json!({"url": "file:///etc/passwd"})), url),
        (
            repository(json!({"url": "https://ann:hunter2@git.example/shop"})),
            url,
        ),
        (repository(json!({"url": null})), "spec.url"),
        (repository(json!({"interval": "soon"})), "spec.interval"),
        (repository(json!({"interval": "-5m"})), "spec.interval"),
        (repository(json!({"interval": "1d"})), "spec.interval"),
        (repository(json!({"interval": 60})), "spec.interval"),
        (
            repository(json!({"interval": "999ms"})),
            "interval must be 1s or more",
        ),
        (
            repository(json!({"timeout": "0s"})),
            "timeout must be 1s to 1h",
        ),
        (
            repository(json!({"timeout": "8760h"})),
            "timeout must be 1s to 1h",
        ),
        (
            repository(json!({"ref": {}})),
            "name a branch, a tag, a semver range, a ref or a commit",
        ),
        (
            repository(json!({"ref": {"branch": ""}})),
            "spec.ref.branch",
        ),
        (
            repository(json!({"ref": {"commit": "abc123"}})),
            "spec.ref.commit",
        ),
        (
            repository(json!({"verify": {"mode": "Commit"}})),
            "spec.verify.secretRef",
        ),
        (verify(json!({}), json!("Head")), "spec.verify.mode"),
        (verify(json!({}), json!("Tag")), tags),
        (verify(json!({"branch": "main"}), json!("Tag")), tags),
        (
            verify(
                json!({"name": "refs/heads/main", "tag": "v1"}),
                json!("Tag"),
            ),
            tags,
        ),
        (
            verify(
                json!({"commit": "0".repeat(40), "tag": "v1"}),
                json!("CommitAndTag"),
            ),
            tags,
        ),
        (repository(json!({"sync": {"path": "../other"}})), path),
        (
            repository(json!({"sync": {"mode": "Delete"}})),
            "spec.sync.mode",
        ),
        (sync(json!({"sourceRef": {}})), "spec.sourceRef.name"),
        (
            sync(json!({"sourceRef": {"kind": "HelmChart", "name": "x"}})),
            "spec.sourceRef.kind",
        ),
        (
            sync(json!({"sourceRef": {"kind": "", "name": "x"}})),
            "spec.sourceRef.kind",
        ),
        (
            sync(json!({"sourceRef": {"name": ""}})),
            "spec.sourceRef.name",
        ),
        (
            sync(json!({"sourceRef": {"name": "../x"}})),
            "spec.sourceRef.name",
        ),
        (
            sync(json!({"dependsOn": [{"name": "../x"}]})),
            "spec.dependsOn[0].name",
        ),
        (
            sync(json!({"serviceAccountName": "a..b"})),
            "spec.serviceAccountName",
        ),
        (
            sync(json!({"helm": {"chartRef": {"name": "A"}}})),
            "spec.helm.chartRef.name",
        ),
        (
            repository(json!({"secretRef": {"name": "?watch=1"}})),
            "spec.secretRef.name",
        ),
        (
            repository(
                json!({"sync": {"substitute": {"from": [{"kind": "Secret", "name": "a/b"}]}}}),
            ),
            "spec.sync.substitute.from[0].name",
        ),
        (sync(json!({"path": "/apps"})), path),
        (sync(json!({"path": "../apps"})), path),
        (sync(json!({"path": "apps/../../other"})), path),
        (sync(json!({"path": ".."})), path),
        (sync(json!({"mode": "Maybe"})), "spec.mode"),
        (
            sync(json!({"deletionPolicy": "Keep"})),
            "spec.deletionPolicy",
        ),
        (
            sync(json!({"targetNamespace": "No Such"})),
            "spec.targetNamespace",
        ),
        (
            sync(json!({"dependsOn": [{"name": "x"}]})),
            "a Sync cannot depend on itself",
        ),
        (sync(json!({"timeout": "0s"})), "timeout must be 1s to 24h"),
        (
            sync(json!({"timeout": "8760h"})),
            "timeout must be 1s to 24h",
        ),
        (
            sync(json!({"interval": "9s"})),
            "interval must be 10s or more",
        ),
        (sync(json!({"interval": "forever"})), "spec.interval"),
        (sync(json!({"prune": "yes"})), "spec.prune"),
        (
            sync(json!({"pruneLimit": {"percent": 101}})),
            "spec.pruneLimit.percent",
        ),
        (
            sync(json!({"pruneLimit": {"percent": -1}})),
            "spec.pruneLimit.percent",
        ),
        (
            sync(json!({"pruneLimit": {"contents": "Keep"}})),
            "spec.pruneLimit.contents",
        ),
        (sync(json!({"pruneAdopted": "no"})), "spec.pruneAdopted"),
    ];
    for ((kind, spec), says) in rows {
        let api = match kind {
            "Sync" => untyped::<Sync>(&case),
            _ => untyped::<GitRepository>(&case),
        };
        match api
            .create(&PostParams::default(), &object(kind, "x", &spec))
            .await
        {
            Ok(taken) => panic!("{kind} {spec} was taken: {taken:?}"),
            Err(error) => assert_says(&error.to_string(), &[says]),
        }
    }
}

/// Removes the schema from a definition. An older or newer version of towline may have another schema.
pub async fn remove_schema<K: Resource<DynamicType = ()>>(case: &Case<'_>) {
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    let anything = json!([{
        "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(anything).unwrap());
    definitions
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Waits until the condition `Ready` of an object that does not fit its type has `reason`. Returns its
/// message.
pub async fn untyped_ready_becomes(api: &Api<DynamicObject>, name: &str, reason: &str) -> String {
    eventually(&format!("{name}: {reason}"), PATIENCE, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let conditions = object.data["status"]["conditions"].as_array().cloned();
        let mut all = conditions.iter().flatten();
        all.find(|is| is["type"] == "Ready" && is["reason"] == reason)
            .map(|ready| ready["message"].as_str().unwrap_or_default().to_owned())
            .ok_or_else(|| format!("{:#}", object.data["status"]))
    })
    .await
}

#[tokio::test]
async fn a_malformed_resource_does_not_block_others() {
    let options = Options {
        audit: true,
        ..Options::default()
    };
    let world = World::own(options, &[]).await;
    let case = world.case("malformed").await;
    let file = |name: &str, value| Some(config_map(name, &case.namespace, value));
    let first = case.repo.commit(
        &[
            ("a/a.yaml", file("a", "one")),
            ("b/b.yaml", file("b", "one")),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.sync("b", json!({"path": "b"})).await;
    case.synced("a", &first).await;
    case.synced("b", &first).await;

    remove_schema::<Sync>(&case).await;
    remove_schema::<GitRepository>(&case).await;
    let (syncs, repositories) = (untyped::<Sync>(&case), untyped::<GitRepository>(&case));
    let garbage = json!({"sourceRef": ["repo"], "path": 7});
    // The API server needs a moment to use a changed definition.
    eventually("the definition without a schemas", PATIENCE, async || {
        syncs
            .create(&PostParams::default(), &object("Sync", "bad", &garbage))
            .await
    })
    .await;
    eventually("the definition without a schemas", PATIENCE, async || {
        let garbage = object("GitRepository", "bad", &json!({"url": 1}));
        repositories.create(&PostParams::default(), &garbage).await
    })
    .await;
    for api in [&syncs, &repositories] {
        let message = untyped_ready_becomes(api, "bad", "InvalidSpec").await;
        assert_says(&message, &["the spec cannot be read: "]);
    }

    // A spec that was valid before becomes invalid: the applied objects stay.
    let spoil = |value: Value| Patch::Merge(json!({"spec": {"path": value}}));
    let params = PatchParams::default();
    syncs.patch("a", &params, &spoil(json!(7))).await.unwrap();
    let message = untyped_ready_becomes(&syncs, "a", "InvalidSpec").await;
    assert_says(&message, &["the spec cannot be read: "]);
    let text = scraped(&world.operator).await;
    for name in ["a", "bad"] {
        let of_it = format!("{{sync_namespace=\"{}\",sync=\"{name}\"", case.namespace);
        for said in [
            format!("towline_sync_ready{of_it},reason=\"InvalidSpec\"}} 0"),
            format!("towline_sync_behind_since_timestamp_seconds{of_it}}} "),
            format!("towline_sync_objects{of_it},state=\"desired\"}} 0"),
        ] {
            assert!(text.contains(&said), "{said}");
        }
    }

    let mark = world.cp.audit().mark();
    let second = case.repo.commit(
        &[
            ("a/a.yaml", file("a", "two")),
            ("b/b.yaml", file("b", "two")),
        ],
        "second",
    );
    case.announce().await;
    untyped_synced(&syncs, "b", &second).await;
    case.has("b", "value", Some("two")).await;
    case.has("a", "value", Some("one")).await;
    untyped_ready_becomes(&syncs, "a", "InvalidSpec").await;

    // The operator must not repeat the report every second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = world.cp.audit_since(mark).await;
    let asked: Vec<_> = asked
        .into_iter()
        .filter(|entry| entry.user == User::Towline.name() && entry.is_write())
        .filter(|entry| matches!(entry.name.as_str(), "bad" | "a"))
        .collect();
    assert!(asked.is_empty(), "{asked:#?}");

    syncs.patch("a", &params, &spoil(json!("a"))).await.unwrap();
    untyped_synced(&syncs, "a", &second).await;
    case.has("a", "value", Some("two")).await;
}

/// Like [`Case::synced`], for objects that do not fit the type.
async fn untyped_synced(syncs: &Api<DynamicObject>, name: &str, commit: &str) {
    let message = untyped_ready_becomes(syncs, name, "Converged");
    assert!(message.await.contains("1 object equals"));
    eventually(&format!("{name} at {commit}"), PATIENCE, async || {
        let sync = syncs.get(name).await.map_err(|error| error.to_string())?;
        let applied = sync.data["status"]["lastAppliedRevision"].clone();
        match applied
            .as_str()
            .is_some_and(|applied| applied.ends_with(commit))
        {
            true => Ok(()),
            false => Err(applied.to_string()),
        }
    })
    .await;
}
