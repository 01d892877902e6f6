//! What follows from a status of a Sync that somebody else has written: nothing that the Sync itself may not do.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::control_plane::Options;
use towline_testing::wait::eventually;

use crate::tenants::{ALL, grant};
use crate::world::{Case, PATIENCE, World, applied, condition, config_map};

/// A commit that no repository has.
const NOWHERE: &str = "main@sha1:dead00000000000000000000000000000000dead";

async fn forge(case: &Case<'_>, status: Value) {
    let forged = Patch::Merge(json!({"status": status}));
    let (api, params) = (case.api::<Sync>(), PatchParams::default());
    api.patch_status("all", &params, &forged).await.unwrap();
}

/// A status that claims everything that somebody may gain by.
fn claims(theirs: &str) -> Value {
    let then = "2020-01-01T00:00:00Z";
    let object = format!("ConfigMap {theirs}/theirs");
    json!({
        "lastAttemptedRevision": NOWHERE, "lastAppliedRevision": NOWHERE, "lastChangedRevision": NOWHERE,
        "kinds": ["ConfigMap", "Secret", "Namespace", "Sync.towline.dev", "../../x", "?watch=1"],
        "history": [{"revision": NOWHERE, "applied": then, "changed": 0, "pruned": 1,
                     "objects": [format!("pruned {object}")]}],
        "finished": [{"object": object, "digest": "sha256:00"}],
        "madeJobs": ["Job.batch x/y"],
        "failures": [{"object": object, "reason": "ApplyFailed", "message": "forged"}],
        "prune": {"held": {"digest": "0000", "deletes": 5, "of": 5, "kinds": ["ConfigMap"],
                           "because": ["forged"], "keeps": "spec.prune"}},
        "pin": {"revision": NOWHERE, "hold": true},
        "content": {"revision": NOWHERE, "live": true},
        "objects": {"applied": 4_000_000, "unpruned": 7},
        "warnings": ["forged"],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Converged", "message": "forged",
                        "lastTransitionTime": then}],
    })
}

/// What is live of others and of nobody.
async fn beside(case: &Case<'_>, theirs: &Case<'_>) -> Vec<Value> {
    let mut all = vec![
        theirs.live::<ConfigMap>("theirs").await,
        case.live::<ConfigMap>("nobodys").await,
        case.live::<Secret>("nobodys").await,
    ];
    for object in &mut all {
        object["metadata"]["managedFields"].take();
    }
    all
}

#[tokio::test]
async fn a_forged_status_reaches_nothing_beyond_its_sync_and_is_put_right() {
    let mut world = World::own(Options::default(), &[]).await;
    let theirs = world.case("forged-theirs").await;
    let map = theirs.map("theirs", "git");
    let first = theirs.repo.commit(&[("theirs.yaml", Some(&map))], "first");
    theirs.repository(json!({})).await;
    theirs.sync("all", json!({})).await;
    theirs.synced("all", &first).await;
    let case = world.case("forged").await;
    grant(&case, "applier", ALL, "configmaps").await;
    let maps: Vec<String> = ["a", "b"].map(|name| case.map(name, "git")).into();
    let files = [("a.yaml", Some(&maps[0])), ("b.yaml", Some(&maps[1]))];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    case.synced("all", &first).await;
    case.make::<ConfigMap>(json!({"metadata": {"name": "nobodys"}}))
        .await;
    case.make::<Secret>(json!({"metadata": {"name": "nobodys"}}))
        .await;
    let before = beside(&case, &theirs).await;
    let claims = claims(&theirs.namespace);

    // While the operator runs, it knows better.
    forge(&case, claims.clone()).await;
    let second = config_map("a", &case.namespace, "second");
    let commit = case.push(&[("a.yaml", Some(&second))], "second").await;
    let sync = case.synced("all", &commit).await;
    assert!(applied(&sync).ends_with(&commit));
    case.has("a", "value", Some("second")).await;
    assert_eq!(beside(&case, &theirs).await, before);

    // A new operator takes from there only what people who may write the Sync could have it do.
    let (parts, beside_parts) = (case.into_parts(), theirs.into_parts());
    world.operator.kill();
    let case = world.resume(parts).await;
    forge(&case, claims).await;
    let third = config_map("a", &case.namespace, "third");
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(&third)), ("b.yaml", None)], "third");
    let parts = case.into_parts();
    world.operator.restart().await;
    let (case, theirs) = (world.resume(parts).await, world.resume(beside_parts).await);
    // A pin that somebody invents is the spec's affair: no revision is followed that no commit has.
    case.announce().await;
    let sync = case.synced("all", &commit).await;
    case.has("a", "value", Some("third")).await;
    case.has("b", "value", None).await;
    assert_eq!(beside(&case, &theirs).await, before);
    let status = json!(sync.status);
    for field in ["lastAttemptedRevision", "lastAppliedRevision", "content"] {
        assert!(
            !status[field].to_string().contains("dead"),
            "{field}: {status}"
        );
    }
    let (_, _, message) = condition(&sync, "Ready");
    assert!(!message.contains("forged"), "{message}");
    assert_eq!(status["objects"]["applied"], 1, "{status}");
    eventually("only kinds that it has", PATIENCE, async || {
        let status = case.live::<Sync>("all").await["status"].take();
        let kinds = &status["kinds"];
        let is_right = !kinds.to_string().contains("watch=1") && status["failures"] == json!([]);
        is_right.then_some(()).ok_or(status)
    })
    .await;
}
