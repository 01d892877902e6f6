//! Case 8 between tenants: whoever can only patch an object gets nothing deleted, whatever marks the object carries.
//! And what becomes of objects whose marks were proven with another key, or never.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use towline::api::Sync;
use towline::plan::SyncName;

use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::kubectl::kubectl;
use towline_testing::scratch::Scratch;
use towline_testing::wait::{eventually, never};

/// A prune follows the event within a second.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

const LABEL: &str = "applyset.kubernetes.io/part-of";
const PROOF: &str = "towline.dev/proof";

/// The labels and annotations by which a live object is managed.
async fn marks(case: &Case<'_>, name: &str) -> Value {
    let metadata = &case.live::<ConfigMap>(name).await["metadata"];
    json!({"labels": metadata["labels"], "annotations": metadata["annotations"]})
}

/// Applies marks to an object as somebody who can patch it, under towline's own field manager.
async fn forge(case: &Case<'_>, kind: (&str, &str), name: &str, marks: &Value) {
    let folder = Scratch::new().unwrap();
    let file = folder.path().join("forged.json");
    let mut metadata = json!({"name": name, "namespace": case.namespace});
    metadata["labels"] = marks["labels"].clone();
    metadata["annotations"] = marks["annotations"].clone();
    let object = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": metadata});
    std::fs::write(&file, object.to_string()).unwrap();
    let bot = case.world.cp.kubeconfig_as(
        &format!("system:serviceaccount:{}:bot", case.namespace),
        &["system:serviceaccounts", "system:authenticated"],
    );
    let file = file.display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=towline",
        "--force-conflicts",
    ];
    kubectl(&bot, &[&apply[..], &["-f", &file]].concat()).await;
}

/// Lets the ServiceAccount `bot` get and patch, and no more.
async fn let_bot_patch(case: &Case<'_>) {
    let cp = &case.world.cp;
    let namespace = format!("--namespace={}", case.namespace);
    for args in [
        &[
            "create",
            "role",
            "bot",
            "--verb=get,patch",
            "--resource=deployments.apps,configmaps",
        ][..],
        &[
            "create",
            "rolebinding",
            "bot",
            "--role=bot",
            &format!("--serviceaccount={}:bot", case.namespace),
        ],
    ] {
        kubectl(&cp.kubeconfig_path(), &[args, &[&namespace]].concat()).await;
    }
}

/// Makes a ConfigMap as a person does.
async fn by_hand(case: &Case<'_>, name: &str) {
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": "hand"}}))
            .unwrap();
    case.api::<ConfigMap>()
        .create(&PostParams::default(), &map)
        .await
        .unwrap();
}

/// Asks a Sync for a full verification, which prunes what is to be pruned.
async fn verify(case: &Case<'_>, name: &str) {
    let now = jiff::Timestamp::now().to_string();
    let asked = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
    case.patch::<Sync>(name, asked).await;
    case.until(name, "the request is handled", |sync| {
        let status = sync.status.as_ref();
        status.and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some(&now)
    })
    .await;
}

#[tokio::test]
async fn an_object_that_no_sync_applied_stays_whatever_marks_it_carries() {
    let case = world().await.case("marks-forged").await;
    let_bot_patch(&case).await;
    let map = config_map("a", &case.namespace, "git");
    let commit = case.repo.commit(&[("app/a.yaml", Some(map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &commit).await;
    // Some Sync manages a Deployment, so that the kind is watched.
    case.sync("workloads", json!({"path": "workloads"})).await;
    let web = deployment("managed", &case.namespace, "");
    let commit = case
        .push(&[("workloads/web.yaml", Some(&web))], "second")
        .await;
    case.synced("workloads", &commit).await;

    let by_hand_web = deployment("web", &case.namespace, "");
    let folder = Scratch::new().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, by_hand_web).unwrap();
    case.kubectl_as_person(&["create", "-f", &file.display().to_string()])
        .await;
    by_hand(&case, "mine").await;

    // Everything that can be known without the key.
    let owner = SyncName::new(&case.namespace, "all");
    for (kind, name, group_kind) in [
        (("apps/v1", "Deployment"), "web", "apps/Deployment"),
        (("v1", "ConfigMap"), "mine", "/ConfigMap"),
    ] {
        let identity = format!("{owner}:{group_kind}:{}/{name}", case.namespace);
        let copied = marks(&case, "a").await["annotations"][PROOF].clone();
        for proof in [Value::Null, copied, json!("uid.AAAAAAAAAAAAAAAAAAAAAA")] {
            let forged = json!({
                "labels": {LABEL: owner.applyset_id()},
                "annotations": {"towline.dev/identity": identity, PROOF: proof},
            });
            forge(&case, kind, name, &forged).await;
            verify(&case, "all").await;
        }
    }
    never("a forged object is deleted", LONG_ENOUGH, async || {
        let (web, mine) = (
            case.live::<Deployment>("web").await,
            case.live::<ConfigMap>("mine").await,
        );
        (web.is_null() || mine.is_null()).then_some(())
    })
    .await;
    // It is told, and nothing is deleted with the Sync either.
    case.until("all", "two that left Git without a proof", |sync| {
        let counts = sync
            .status
            .as_ref()
            .and_then(|status| status.objects.as_ref());
        counts.is_some_and(|counts| counts.unpruned == 2)
    })
    .await;
    case.delete::<Sync>("all").await;
    case.has("a", "value", None).await;
    assert!(!case.live::<Deployment>("web").await.is_null());
    assert!(!case.live::<ConfigMap>("mine").await.is_null());
}

#[tokio::test]
async fn marks_of_a_former_life_prove_nothing() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("marks-replayed").await;
    let_bot_patch(&case).await;
    let [a, b] = ["a", "b"].map(|name| config_map(name, &case.namespace, "git"));
    let files = [("a.yaml", Some(a.as_str())), ("b.yaml", Some(b.as_str()))];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let of_new = marks(&case, "b").await;
    // A later apply, and one after it, is of an object that is known.
    let changed = config_map("a", &case.namespace, "changed");
    let second = case
        .push(&[("a.yaml", Some(&changed)), ("b.yaml", None)], "b goes")
        .await;
    case.synced("all", &second).await;
    case.has("b", "value", None).await;

    // The same name, made by a person at once, with the marks that the pruned one had.
    by_hand(&case, "b").await;
    forge(&case, ("v1", "ConfigMap"), "b", &of_new).await;
    verify(&case, "all").await;
    never("the new b is deleted", LONG_ENOUGH, async || {
        case.live::<ConfigMap>("b").await.is_null().then_some(())
    })
    .await;
    let case = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(case).await;
    verify(&case, "all").await;
    assert!(!case.live::<ConfigMap>("b").await.is_null());

    // A Sync that is made anew under the same name has nothing of the former one's, but for what it applies.
    let of_a = marks(&case, "a").await;
    case.patch::<Sync>("all", json!({"spec": {"deletionPolicy": "Orphan"}}))
        .await;
    case.delete::<Sync>("all").await;
    eventually("the Sync is gone", PATIENCE, async || {
        case.live::<Sync>("all").await.is_null().then_some(())
    })
    .await;
    assert_eq!(
        marks(&case, "a").await["annotations"][PROOF],
        Value::Null,
        "released"
    );
    let late = config_map("c", &case.namespace, "git");
    let third = case.push(&[("late/c.yaml", Some(&late))], "c").await;
    case.sync("all", json!({"path": "late"})).await;
    case.synced("all", &third).await;
    forge(&case, ("v1", "ConfigMap"), "a", &of_a).await;
    verify(&case, "all").await;
    never("a is deleted", LONG_ENOUGH, async || {
        case.live::<ConfigMap>("a").await.is_null().then_some(())
    })
    .await;
}

/// What must not be touched.
async fn live_before(case: &Case<'_>) -> (Value, usize) {
    let web = case.live::<Deployment>("web").await;
    let sets: Api<ReplicaSet> = case.api();
    let sets = sets.list(&ListParams::default()).await.unwrap().items.len();
    // A change of annotations alone moves a Deployment's generation, and restarts no pod.
    let template = json!([web["metadata"]["uid"], web["spec"]]);
    (template, sets)
}

#[tokio::test]
async fn objects_without_a_proof_or_with_a_lost_key_are_marked_anew_and_pruned_then() {
    let options = Options {
        controllers: true,
        nodes: 1,
        ..Options::default()
    };
    let mut world = World::own(options, &[]).await;
    let case = world.case("marks-lost").await;
    let [a, b, gone] = ["a", "b", "gone"].map(|name| config_map(name, &case.namespace, "git"));
    let web = deployment("web", &case.namespace, "");
    let files = [
        ("a.yaml", Some(a.as_str())),
        ("b.yaml", Some(&b)),
        ("gone.yaml", Some(&gone)),
        ("web.yaml", Some(&web)),
    ];
    let mut commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true})).await;
    case.synced("all", &commit).await;
    let before = live_before(&case).await;
    let mut case = case.into_parts();
    let mut lost = "gone";
    // As an older version left the objects, and as they are when the key is lost.
    for round in ["old", "lost"] {
        world.operator.terminate(PATIENCE);
        let case_now = world.resume(case).await;
        let mut proofs = Vec::new();
        for name in ["a", "b"] {
            proofs.push(marks(&case_now, name).await["annotations"][PROOF].clone());
        }
        match round {
            "old" => {
                let remove = format!(
                    "[{{\"op\":\"remove\",\"path\":\"/metadata/annotations/{}\"}}]",
                    PROOF.replace('/', "~1")
                );
                for object in [
                    "configmap/a",
                    "configmap/b",
                    "configmap/gone",
                    "deployment/web",
                ] {
                    case_now
                        .kubectl_as_person(&["patch", object, "--type=json", "-p", &remove])
                        .await;
                }
            }
            _ => {
                let secrets: Api<Secret> = Api::namespaced(case_now.client.clone(), "default");
                let params = DeleteParams::default();
                secrets.delete("towline-key", &params).await.unwrap();
            }
        }
        // What leaves Git before it was marked anew is not deleted.
        let file = format!("{lost}.yaml");
        commit = case_now
            .repo
            .commit(&[(file.as_str(), None::<&str>)], "leaves unproven");
        case = case_now.into_parts();
        world.operator.restart().await;
        let case_now = world.resume(case).await;
        case_now.announce().await;
        case_now.synced("all", &commit).await;
        case_now
            .until("all", "what left Git is counted", |sync| {
                let counts = sync
                    .status
                    .as_ref()
                    .and_then(|status| status.objects.as_ref());
                counts.is_some_and(|counts| counts.unpruned > 0)
            })
            .await;
        assert!(case_now.data(lost).await.is_some());
        let proof = marks(&case_now, "a").await["annotations"][PROOF].clone();
        assert!(
            proof.is_string() && !proofs.contains(&proof),
            "{round}: {proof}"
        );
        assert_eq!(live_before(&case_now).await, before, "{round}");
        lost = "b";
        case = case_now.into_parts();
    }
    // What was marked anew is pruned as ever.
    let case = world.resume(case).await;
    let last = config_map("last", &case.namespace, "git");
    let commit = case
        .push(&[("a.yaml", None), ("last.yaml", Some(&last))], "a goes")
        .await;
    case.synced("all", &commit).await;
    case.has("a", "value", None).await;
    assert!(world.operator.log().contains("made a key"));
}
