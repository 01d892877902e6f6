//! Case 10 of the engine: a deletion is over when what was deleted is gone, and what hangs is named.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use towline::api::Sync;

use crate::world::{Case, PATIENCE, condition, config_map, world};
use towline_testing::wait::{eventually, never};

const HOLD: &str = "example.com/hold";

/// Puts a finalizer on a ConfigMap, or takes it off.
async fn hold(case: &Case<'_>, namespace: &str, name: &str, held: bool) {
    let maps: Api<ConfigMap> = Api::namespaced(case.client.clone(), namespace);
    let finalizers = match held {
        true => json!([HOLD]),
        false => json!([]),
    };
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    maps.patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Waits until the condition `Ready` says all of `parts`.
async fn says(case: &Case<'_>, sync: &str, reason: &str, parts: &[&str]) {
    let what = format!("{sync} says {reason} and {parts:?}");
    case.until(sync, &what, |sync| {
        let (status, why, message) = condition(sync, "Ready");
        status != "True" && why == reason && parts.iter().all(|part| message.contains(part))
    })
    .await;
}

#[tokio::test]
async fn a_deleted_sync_waits_for_what_it_deleted() {
    let case = world().await.case("leaving").await;
    let inner = format!("{}-inner", case.namespace);
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {inner}}}\n");
    let commit = case.repo.commit(
        &[
            ("a.yaml", Some(namespace)),
            ("b.yaml", Some(config_map("held", &inner, "git"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    hold(&case, &inner, "held", true).await;
    // Somebody else's object in the namespace holds it as well.
    let maps: Api<ConfigMap> = Api::namespaced(case.client.clone(), &inner);
    let foreign = json!({"metadata": {"name": "foreign", "finalizers": ["example.com/other"]}});
    let foreign: ConfigMap = serde_json::from_value(foreign).unwrap();
    maps.create(&Default::default(), &foreign).await.unwrap();
    case.delete::<Sync>("all").await;
    says(
        &case,
        "all",
        "Deleting",
        &["ConfigMap", "held", HOLD, "Namespace", &inner],
    )
    .await;
    hold(&case, &inner, "held", false).await;
    says(
        &case,
        "all",
        "Deleting",
        &["Namespace", &inner, "example.com/other"],
    )
    .await;
    hold(&case, &inner, "foreign", false).await;
    case.gone::<Sync>("all").await;
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    assert!(namespaces.get_opt(&inner).await.unwrap().is_none());
}

#[tokio::test]
async fn an_annotation_lets_a_sync_go_earlier() {
    let case = world().await.case("let-go").await;
    let map = case.map("held", "git");
    let commit = case.repo.commit(&[("a.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    for (sync, let_go) in [
        (
            "by-annotation",
            json!({"metadata": {"annotations": {"towline.dev/deletion-policy": "Orphan"}}}),
        ),
        ("by-policy", json!({"spec": {"deletionPolicy": "Orphan"}})),
    ] {
        case.sync(sync, json!({})).await;
        case.synced(sync, &commit).await;
        hold(&case, &case.namespace, "held", true).await;
        case.delete::<Sync>(sync).await;
        says(&case, sync, "Deleting", &["held", HOLD]).await;
        case.patch::<Sync>(sync, let_go).await;
        case.gone::<Sync>(sync).await;
        assert!(case.live::<ConfigMap>("held").await.is_object());
        hold(&case, &case.namespace, "held", false).await;
    }
}

/// Objects whose marks cannot be taken off keep the Sync, which says so and asks less and less often.
#[tokio::test]
async fn a_webhook_that_fails_is_told_while_a_sync_lets_go() {
    let case = world().await.case("let-go-fails").await;
    let map = case.map("kept", "git");
    let commit = case.repo.commit(&[("a.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"deletionPolicy": "Orphan"})).await;
    case.synced("all", &commit).await;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(case.client.clone());
    let webhook = json!({"metadata": {"name": case.namespace}, "webhooks": [{
        "name": "down.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        // Nobody listens there.
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["configmaps"]}],
    }]});
    let webhook = serde_json::from_value(webhook).unwrap();
    webhooks
        .create(&Default::default(), &webhook)
        .await
        .unwrap();
    // It holds a moment later.
    let try_it = json!({"metadata": {"annotations": {"a": "b"}}});
    let maps = case.api::<ConfigMap>();
    eventually("the webhook is asked", PATIENCE, async || {
        let patch = Patch::Merge(&try_it);
        let params = PatchParams {
            dry_run: true,
            ..Default::default()
        };
        maps.patch("kept", &params, &patch)
            .await
            .err()
            .ok_or("it is not")
    })
    .await;
    let mark = case.world.cp.audit().mark();
    case.delete::<Sync>("all").await;
    let what = [
        "marks cannot be taken off objects that stay",
        "ConfigMap",
        "/kept",
        "failed calling webhook",
    ];
    says(&case, "all", "Deleting", &what).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let requests = case.requests(mark).await;
    let tries = requests
        .iter()
        .filter(|entry| entry.verb == "patch" && entry.resource == "configmaps");
    let tries = tries.count();
    assert!((1..=6).contains(&tries), "{tries} tries in five seconds");
    webhooks
        .delete(&case.namespace, &Default::default())
        .await
        .unwrap();
    case.gone::<Sync>("all").await;
    let map = case.live::<ConfigMap>("kept").await;
    assert!(map.is_object());
    assert!(map["metadata"]["labels"].is_null(), "{map}");
}

#[tokio::test]
async fn a_prune_that_hangs_is_named_and_not_ready() {
    let case = world().await.case("hanging").await;
    let (held, kept) = (case.map("held", "git"), case.map("kept", "git"));
    let commit = case.repo.commit(
        &[("held.yaml", Some(&held)), ("kept.yaml", Some(&kept))],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"timeout": "2s"})).await;
    case.synced("all", &commit).await;
    hold(&case, &case.namespace, "held", true).await;
    let commit = case.push(&[("held.yaml", None)], "remove").await;
    says(&case, "all", "Progressing", &["held", HOLD]).await;
    says(&case, "all", "PruneFailed", &["held", HOLD, "spec.timeout"]).await;
    // Newer commits go on, and the rest is healed.
    let next = case
        .push(&[("more.yaml", Some(&case.map("more", "git")))], "more")
        .await;
    assert_ne!(next, commit);
    case.has("more", "value", Some("git")).await;
    case.patch::<ConfigMap>("kept", json!({"data": {"value": "person"}}))
        .await;
    case.has("kept", "value", Some("git")).await;
    never("ready", std::time::Duration::from_millis(500), async || {
        let sync: Sync = case.api().get("all").await.unwrap();
        (condition(&sync, "Ready").0 == "True").then_some(sync.status)
    })
    .await;
    hold(&case, &case.namespace, "held", false).await;
    case.synced("all", &next).await;
}

#[tokio::test]
async fn a_definition_whose_object_hangs_names_it_and_may_come_back() {
    let case = world().await.case("hanging-kind").await;
    let group = format!("{}.example", case.namespace);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("hangs.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Hang", "plural": "hangs"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    })
    .to_string();
    let object = format!(
        "apiVersion: {group}/v1\nkind: Hang\nmetadata: {{name: held, namespace: {}}}\n",
        case.namespace
    );
    let map = case.map("stays", "git");
    let commit = case.repo.commit(
        &[
            ("definition.yaml", Some(&definition)),
            ("object.yaml", Some(&object)),
            ("map.yaml", Some(&map)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let finalizers = async |finalizers: serde_json::Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        let held = format!("hangs.{group}/held");
        case.kubectl_as_person(&["patch", &held, "--type=merge", "--patch", &patch])
            .await;
    };
    finalizers(json!([HOLD])).await;
    case.push(
        &[("definition.yaml", None), ("object.yaml", None)],
        "both leave",
    )
    .await;
    let named = format!("Hang.{group} {}/held", case.namespace);
    says(
        &case,
        "all",
        "Progressing",
        &["CustomResourceDefinition", &named, HOLD],
    )
    .await;
    let back = [
        ("definition.yaml", Some(&*definition)),
        ("object.yaml", Some(&*object)),
    ];
    let back = case.push(&back, "both come back").await;
    finalizers(json!([])).await;
    case.synced("all", &back).await;
    case.kubectl_as_person(&["get", &format!("hangs.{group}/held")])
        .await;
    case.delete::<Sync>("all").await;
    case.gone::<Sync>("all").await;
}

/// Objects that somebody deletes and that a finalizer holds are named with it.
#[tokio::test]
async fn what_somebody_deletes_and_what_holds_it_are_named() {
    let case = world().await.case("held-by-hand").await;
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(case.map("held", "git")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    hold(&case, &case.namespace, "held", true).await;
    case.delete::<ConfigMap>("held").await;
    let name = format!("ConfigMap {}/held", case.namespace);
    let parts = [
        &*name,
        "is being deleted, held by",
        HOLD,
        "made again from Git",
    ];
    says(&case, "all", "DriftFound", &parts).await;
    hold(&case, &case.namespace, "held", false).await;
    case.synced("all", &commit).await;
    case.has("held", "value", Some("git")).await;
}

/// What a Sync waits for may come while it is suspended or being deleted. It is not looked at again and again then.
#[tokio::test]
async fn a_sync_that_leaves_is_not_woken_by_one_event_again_and_again() {
    let case = world().await.case("leaving-once").await;
    let commit = case.repo.commit(
        &[
            ("a/x.yaml", Some(case.map("x", "of a"))),
            ("b/x.yaml", Some(case.map("x", "of b"))),
            ("b/held.yaml", Some(case.map("held", "of b"))),
        ],
        "both want x",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.synced("a", &commit).await;
    case.sync("b", json!({"path": "b"})).await;
    case.ready_becomes("b", "False", "OwnershipConflict").await;
    case.has("held", "value", Some("of b")).await;
    hold(&case, &case.namespace, "held", true).await;
    case.delete::<Sync>("b").await;
    says(&case, "b", "Deleting", &["held", HOLD]).await;
    case.delete::<Sync>("a").await;
    case.gone::<Sync>("a").await;
    let mark = case.world.cp.audit().mark();
    // A look takes half a second.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let asked = case.world.cp.audit_since(mark).await;
    let asked = asked.iter().filter(|entry| {
        entry.user == "towline" && entry.namespace == case.namespace && entry.name == "held"
    });
    let asked: Vec<_> = asked.map(|entry| (&entry.verb, entry.received)).collect();
    assert!(asked.len() < 8, "{asked:?}");
    hold(&case, &case.namespace, "held", false).await;
    case.gone::<Sync>("b").await;
}

/// What has left Git may hold a value that its successor needs, and be held itself.
#[tokio::test]
async fn a_renamed_object_says_what_has_to_be_gone_first() {
    let case = world().await.case("rename-held").await;
    let service = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {}}}, \
             spec: {{type: NodePort, ports: [{{port: 80, nodePort: 30026}}]}}}}",
            case.namespace
        )
    };
    let old = service("old").replace(
        "metadata: {",
        &format!("metadata: {{finalizers: [{HOLD}], "),
    );
    let first = case.repo.commit(&[("old.yaml", Some(old))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let files = [("old.yaml", None), ("new.yaml", Some(service("new")))];
    let second = case.repo.commit(&files, "renamed");
    case.announce().await;
    let holder = format!("Service {}/old has left Git", case.namespace);
    let parts = [
        "/new",
        "already allocated",
        &*holder,
        "being deleted, held by",
        HOLD,
    ];
    says(&case, "all", "ApplyFailed", &parts).await;
    // Also after later tries.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    case.reconcile("all").await;
    says(&case, "all", "ApplyFailed", &parts).await;
    let none = json!({"metadata": {"finalizers": []}});
    case.patch::<k8s_openapi::api::core::v1::Service>("old", none)
        .await;
    case.synced("all", &second).await;
}
