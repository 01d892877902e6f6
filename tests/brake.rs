//! The prune brake: a revision that would delete much, or something that holds something, deletes nothing until a
//! person approves exactly that deletion.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Service,
};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use towline::api::{HeldPrune, Sync};

use crate::world::life::deployment;
use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, World, condition, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::wait::{eventually, never};

/// A deletion follows its cause within a second.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

const APPROVE: &str = "towline.dev/approve-prune";

type File = (String, Option<String>);

/// Files of ConfigMaps with these numbers.
fn maps(case: &Case<'_>, prefix: &str, numbers: impl Iterator<Item = usize>) -> Vec<File> {
    let file = |number| {
        let name = format!("{prefix}{number}");
        (format!("app/{name}.yaml"), Some(case.map(&name, "git")))
    };
    numbers.map(file).collect()
}

fn without(prefix: &str, numbers: impl Iterator<Item = usize>) -> Vec<File> {
    let file = |number| (format!("app/{prefix}{number}.yaml"), None);
    numbers.map(file).collect()
}

async fn push(case: &Case<'_>, files: &[File], message: &str) -> String {
    let commit = case.repo.commit(files, message);
    case.announce().await;
    commit
}

fn held(sync: &Sync) -> Option<HeldPrune> {
    sync.status.as_ref()?.prune.as_ref()?.held.clone()
}

/// Waits until the Sync's deletion is held at a commit. Returns the plan and the message of `Ready`.
async fn held_at(case: &Case<'_>, name: &str, commit: &str) -> (HeldPrune, String) {
    let what = format!("the deletion of {commit} is held");
    let sync = case
        .until(name, &what, |sync| {
            let status = sync.status.as_ref();
            let revision = status.and_then(|status| status.last_applied_revision.as_deref());
            condition(sync, "Ready").1 == "PruneHeld"
                && revision.is_some_and(|revision| revision.ends_with(commit))
        })
        .await;
    (held(&sync).expect("a plan"), condition(&sync, "Ready").2)
}

async fn approve(case: &Case<'_>, name: &str, digest: &str) {
    let annotation = json!({"metadata": {"annotations": {APPROVE: digest}}});
    case.patch::<Sync>(name, annotation).await;
}

/// The number of managed ConfigMaps stays.
async fn stay(case: &Case<'_>, count: usize, why: &str) {
    never(why, LONG_ENOUGH, async || {
        let is = case.maps_with(None).await;
        (is != count).then_some(is)
    })
    .await;
}

#[tokio::test]
async fn a_revision_that_removes_most_objects_waits_for_its_approval() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("brake").await;
    let first = case.repo.commit(&maps(&case, "m", 0..20), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &first).await;

    // The rest of the revision is applied, and drift is corrected as ever.
    let mut files = without("m", 8..20);
    files.push(("app/m0.yaml".to_owned(), Some(case.map("m0", "changed"))));
    let second = push(&case, &files, "twelve leave").await;
    let (plan, message) = held_at(&case, "all", &second).await;
    assert_says(
        &message,
        &[
            "would delete 12 of 20 objects: 12 ConfigMap",
            "12 of 20 are more than 50 % (spec.pruneLimit.percent)",
            &format!("syncs.towline.dev all {APPROVE}={}", plan.digest),
        ],
    );
    assert_eq!((plan.deletes, plan.of, plan.digest.len()), (12, 20, 64));
    case.has("m0", "value", Some("changed")).await;
    case.patch::<ConfigMap>("m1", json!({"data": {"value": "person"}}))
        .await;
    case.has("m1", "value", Some("git")).await;
    // What left Git is no longer corrected, and stays the same plan.
    case.patch::<ConfigMap>("m9", json!({"data": {"value": "person"}}))
        .await;
    case.wait_for_event("PruneHeld", &["12 of 20"]).await;
    for wrong in ["true", &plan.digest[..63], &plan.keeps] {
        approve(&case, "all", wrong).await;
    }
    stay(&case, 20, "an approval of something else deletes").await;
    let metrics = world.operator.page("/metrics").await.unwrap();
    assert_says(
        &metrics,
        &["towline_prune_brakes_total{reason=\"PruneHeld\"} 1"],
    );

    // Another commit, the same deletion.
    let text = Some(case.map("m0", "again"));
    let third = push(&case, &[("app/m0.yaml".to_owned(), text)], "no deletion").await;
    let (same, _) = held_at(&case, "all", &third).await;
    assert_eq!(same.digest, plan.digest);
    // A restart changes nothing.
    let parts = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    let (same, _) = held_at(&case, "all", &third).await;
    assert_eq!(same.digest, plan.digest);
    stay(&case, 20, "a restart deletes").await;
    // A newer commit with another deletion needs another approval.
    let fourth = push(&case, &without("m", 7..8), "one more leaves").await;
    let (other, message) = held_at(&case, "all", &fourth).await;
    assert_ne!(other.digest, plan.digest);
    assert_says(&message, &["would delete 13 of 20 objects"]);
    approve(&case, "all", &plan.digest).await;
    stay(&case, 20, "the approval of the former plan deletes").await;

    approve(&case, "all", &other.digest).await;
    let sync = case.synced("all", &fourth).await;
    assert_eq!(case.maps_with(None).await, 7);
    assert_eq!(held(&sync), None);
    assert_eq!(case.events("PruneHeld").await.len(), 2);
    // The old approval is of no other plan.
    let fifth = push(&case, &maps(&case, "n", 0..20), "twenty more").await;
    case.synced("all", &fifth).await;
    let sixth = push(&case, &without("n", 0..20), "they leave").await;
    held_at(&case, "all", &sixth).await;
}

#[tokio::test]
async fn renaming_everything_is_held_and_taking_it_back_is_not() {
    let case = world().await.case("brake-rename").await;
    let first = case.repo.commit(&maps(&case, "old", 0..12), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &first).await;
    let uid = case.live::<ConfigMap>("old0").await["metadata"]["uid"].clone();
    // Creation times are whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let mut files = without("old", 0..12);
    files.extend(maps(&case, "new", 0..12));
    let second = push(&case, &files, "another prefix").await;
    let (plan, message) = held_at(&case, "all", &second).await;
    assert_says(&message, &["would delete 12 of 12 objects"]);
    assert_eq!(case.maps_with(None).await, 24);
    // One comes back: it is still most of what there was.
    let third = push(&case, &maps(&case, "old", 0..1), "one comes back").await;
    let (other, _) = held_at(&case, "all", &third).await;
    assert_eq!((other.deletes, other.of), (11, 12));
    assert_ne!(other.digest, plan.digest);
    // All come back, and the new ones leave.
    let mut files = maps(&case, "old", 0..12);
    files.extend(without("new", 0..12));
    let fourth = push(&case, &files, "taken back").await;
    case.synced("all", &fourth).await;
    assert_eq!(case.maps_with(None).await, 12);
    assert_eq!(case.live::<ConfigMap>("old0").await["metadata"]["uid"], uid);
}

#[tokio::test]
async fn the_limit_is_the_syncs_own() {
    let case = world().await.case("brake-limit").await;
    case.repo.commit(&maps(&case, "m", 0..12), "first");
    case.repository(json!({})).await;
    let all = json!({"path": "app", "pruneLimit": {"percent": 100}});
    case.sync("all", all).await;
    case.ready_becomes("all", "True", "Converged").await;
    let second = push(&case, &without("m", 1..11), "ten leave").await;
    case.synced("all", &second).await;
    assert_eq!(case.maps_with(None).await, 2);
    // Each deletion of a small Sync.
    case.patch::<Sync>("all", json!({"spec": {"pruneLimit": {"percent": 0}}}))
        .await;
    let third = push(&case, &without("m", 11..12), "one leaves").await;
    let (plan, message) = held_at(&case, "all", &third).await;
    assert_eq!((plan.deletes, plan.of), (1, 2), "{message}");
    // A suspended Sync deletes nothing, approved or not.
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("all", "Unknown", "Suspended").await;
    approve(&case, "all", &plan.digest).await;
    stay(&case, 2, "a suspended Sync deletes").await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": false}}))
        .await;
    case.synced("all", &third).await;
    assert_eq!(case.maps_with(None).await, 1);
    // A larger limit needs no approval.
    let fourth = push(&case, &maps(&case, "m", 1..12), "they come back").await;
    case.synced("all", &fourth).await;
    let fifth = push(&case, &without("m", 1..12), "they leave").await;
    held_at(&case, "all", &fifth).await;
    case.patch::<Sync>("all", json!({"spec": {"pruneLimit": {"percent": 100}}}))
        .await;
    case.synced("all", &fifth).await;
    assert_eq!(case.maps_with(None).await, 1);
    // The deletion of the Sync is an act of its own.
    let sixth = push(&case, &maps(&case, "m", 1..12), "they come back").await;
    case.synced("all", &sixth).await;
    case.patch::<Sync>("all", json!({"spec": {"pruneLimit": {"percent": 0}}}))
        .await;
    case.delete::<Sync>("all").await;
    eventually("all are gone", PATIENCE, async || {
        let left = case.maps_with(None).await;
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
}

#[tokio::test]
async fn what_fails_beside_a_held_deletion_is_told_with_it() {
    let case = world().await.case("brake-room").await;
    let service = |name: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {}}}\n\
             spec: {{type: NodePort, ports: [{{port: 80, nodePort: 32_741}}]}}\n",
            case.namespace
        );
        (
            format!("app/{name}.yaml"),
            Some(text.replace("32_741", "32741")),
        )
    };
    let mut files = maps(&case, "m", 0..12);
    files.push(service("old"));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &first).await;
    // The new Service needs the port of the old one, which is part of a deletion that is held.
    let mut files = without("m", 0..10);
    files.push(("app/old.yaml".to_owned(), None));
    files.push(service("new"));
    let second = push(&case, &files, "most leave").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(&message, &["already allocated"]);
    let sync = case
        .until("all", "the plan is told", |sync| held(sync).is_some())
        .await;
    let plan = held(&sync).unwrap();
    assert_eq!(plan.kinds, ["10 ConfigMap", "1 Service"]);
    assert_says(
        &case.ready_becomes("all", "False", "ApplyFailed").await,
        &["status.prune.held"],
    );
    stay(&case, 12, "a held deletion deletes").await;
    assert!(!case.live::<Service>("old").await.is_null());
    approve(&case, "all", &plan.digest).await;
    case.synced("all", &second).await;
    assert_eq!(case.maps_with(None).await, 2);
    assert!(case.live::<Service>("old").await.is_null());
}

#[tokio::test]
async fn objects_that_move_to_another_sync_are_not_deleted_and_do_not_count() {
    let case = world().await.case("brake-moves").await;
    let text = |name: &str| Some(case.map(name, "git"));
    let mut files: Vec<File> = (0..14)
        .map(|number| (format!("a/m{number}.yaml"), text(&format!("m{number}"))))
        .collect();
    files.push(("b/stays.yaml".to_owned(), text("b-stays")));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    for sync in ["a", "b"] {
        case.sync(sync, json!({"path": sync})).await;
        case.synced(sync, &first).await;
    }
    let uid = case.live::<ConfigMap>("m5").await["metadata"]["uid"].clone();
    let mut files: Vec<File> = (1..14)
        .map(|number| (format!("a/m{number}.yaml"), None))
        .collect();
    files.extend((1..13).map(|number| (format!("b/m{number}.yaml"), text(&format!("m{number}")))));
    let second = push(&case, &files, "twelve move and one leaves").await;
    for sync in ["a", "b"] {
        case.synced(sync, &second).await;
    }
    assert_eq!(case.events("PruneHeld").await, [""; 0]);
    assert_eq!(case.live::<ConfigMap>("m5").await["metadata"]["uid"], uid);
    case.has("m13", "value", None).await;
}

/// A Namespace with a Deployment in it, as files in Git.
fn shop(name: &str) -> [File; 2] {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    [
        (format!("{name}/namespace.yaml"), Some(namespace)),
        (
            format!("{name}/web.yaml"),
            Some(deployment("web", name, "")),
        ),
    ]
}

async fn namespace_is_gone(case: &Case<'_>, name: &str) {
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    eventually(&format!("Namespace {name} is gone"), PATIENCE, async || {
        let live = namespaces.get_opt(name).await.unwrap();
        let is_going = live
            .as_ref()
            .is_none_or(|live| live.metadata.deletion_timestamp.is_some());
        is_going.then_some(()).ok_or(live)
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_holds_something_else_is_held() {
    let case = world().await.case("brake-namespace").await;
    let (one, two, three) = (
        format!("{}-one", case.namespace),
        format!("{}-two", case.namespace),
        format!("{}-three", case.namespace),
    );
    let mut files: Vec<File> = vec![("stays.yaml".to_owned(), Some(case.map("stays", "git")))];
    for name in [&one, &two, &three] {
        files.extend(shop(name));
    }
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true})).await;
    case.synced("all", &first).await;
    // Pods and ReplicaSets of a Deployment that goes go with it.
    let gone = |name: &str| shop(name).map(|(path, _)| (path, None));
    let second = push(&case, &gone(&one), "one leaves").await;
    case.synced("all", &second).await;
    namespace_is_gone(&case, &one).await;
    assert_eq!(case.events("PruneHeld").await, [""; 0]);

    let maps: Api<ConfigMap> = Api::namespaced(case.client.clone(), &two);
    let mine = serde_json::from_value(json!({"metadata": {"name": "mine"}})).unwrap();
    maps.create(&PostParams::default(), &mine).await.unwrap();
    let third = push(&case, &gone(&two), "two leaves").await;
    let (plan, message) = held_at(&case, "all", &third).await;
    let holds = format!("Namespace {two} holds ConfigMap {two}/mine");
    assert_says(&message, &["would delete 2 of 5 objects", &holds]);
    assert_eq!(plan.because, [holds]);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(case.client.clone(), &two);
    assert!(deployments.get_opt("web").await.unwrap().is_some());
    // What was in it is gone: nobody needs to approve.
    maps.delete("mine", &DeleteParams::default()).await.unwrap();
    case.reconcile("all").await;
    case.synced("all", &third).await;
    namespace_is_gone(&case, &two).await;

    let maps: Api<ConfigMap> = Api::namespaced(case.client.clone(), &three);
    maps.create(&PostParams::default(), &mine).await.unwrap();
    case.patch::<Sync>(
        "all",
        json!({"spec": {"pruneLimit": {"contents": "Delete"}}}),
    )
    .await;
    let fourth = push(&case, &gone(&three), "three leaves").await;
    case.synced("all", &fourth).await;
    namespace_is_gone(&case, &three).await;
}

#[tokio::test]
async fn a_definition_with_objects_and_a_bound_claim_are_held() {
    let case = world().await.case("brake-holders").await;
    let group = format!("{}.example.com", case.namespace);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let gadget = |name: &str| {
        json!({"apiVersion": format!("{group}/v1"), "kind": "Gadget",
            "metadata": {"name": name, "namespace": case.namespace}})
    };
    let claim = |name: &str, volume: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": case.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": volume,
                "resources": {"requests": {"storage": "1Mi"}}}})
    };
    let volume = format!("{}-volume", case.namespace);
    let volumes: Api<PersistentVolume> = Api::all(case.client.clone());
    let made = json!({"metadata": {"name": volume}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"}, "hostPath": {"path": "/tmp"}, "storageClassName": "",
        "claimRef": {"namespace": case.namespace, "name": "bound"}}});
    let made = serde_json::from_value(made).unwrap();
    volumes.create(&PostParams::default(), &made).await.unwrap();
    let text = |object: Value| Some(object.to_string());
    let files: Vec<File> = vec![
        (
            "stays.yaml".to_owned(),
            Some(config_map("stays", &case.namespace, "git")),
        ),
        ("crd.yaml".to_owned(), text(definition)),
        ("gadget.yaml".to_owned(), text(gadget("git"))),
        ("bound.yaml".to_owned(), text(claim("bound", &volume))),
        ("pending.yaml".to_owned(), text(claim("pending", ""))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    case.wait_for_field::<PersistentVolumeClaim>("bound", "/status/phase", json!("Bound"))
        .await;
    // An empty claim goes.
    let second = push(&case, &[("pending.yaml".to_owned(), None)], "empty").await;
    case.synced("all", &second).await;
    // A bound one waits.
    let third = push(&case, &[("bound.yaml".to_owned(), None)], "bound").await;
    let (plan, message) = held_at(&case, "all", &third).await;
    let bound = format!(
        "PersistentVolumeClaim {}/bound is bound to a volume",
        case.namespace
    );
    assert_says(&message, &[&bound, "would delete 1 of 4 objects"]);
    approve(&case, "all", &plan.digest).await;
    case.synced("all", &third).await;
    // A definition with an object that nobody removed from Git.
    let folder = towline_testing::scratch::Scratch::new().unwrap();
    let file = folder.path().join("gadget.json");
    std::fs::write(&file, gadget("mine").to_string()).unwrap();
    case.kubectl_as_person(&["create", "-f", &file.display().to_string()])
        .await;
    let removed = ["crd.yaml", "gadget.yaml"].map(|path| (path.to_owned(), None));
    let fourth = push(&case, &removed, "no gadgets").await;
    let (_, message) = held_at(&case, "all", &fourth).await;
    let has = format!("gadgets.{group} has Gadget.{group} {}/mine", case.namespace);
    assert_says(&message, &[&has]);
    case.kubectl_as_person(&["delete", &format!("gadgets.{group}"), "mine"])
        .await;
    case.reconcile("all").await;
    case.synced("all", &fourth).await;
}

/// A deletion of a bound volume cannot be taken back: it goes as soon as its claim does.
#[tokio::test]
async fn a_volume_that_is_bound_is_held_and_one_that_is_not_goes() {
    let case = world().await.case("brake-volume").await;
    let volume = |name: &str, claim: &str| {
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("{}-{name}", case.namespace)},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "",
                "hostPath": {"path": "/tmp"}, "claimRef": {"namespace": case.namespace, "name": claim}}});
        (format!("{name}.yaml"), Some(volume.to_string()))
    };
    let stays = config_map("stays", &case.namespace, "git");
    let files: Vec<File> = vec![
        ("stays.yaml".to_owned(), Some(stays)),
        volume("bound", "data"),
        volume("free", "nobody"),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let bound = format!("{}-bound", case.namespace);
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "", "volumeName": bound, "resources": {"requests": {"storage": "1Mi"}}}});
    case.make::<PersistentVolumeClaim>(claim).await;
    case.wait_for_field::<PersistentVolumeClaim>("data", "/status/phase", json!("Bound"))
        .await;
    let second = push(&case, &[("free.yaml".to_owned(), None)], "free").await;
    case.synced("all", &second).await;
    let third = push(&case, &[("bound.yaml".to_owned(), None)], "bound").await;
    let (plan, message) = held_at(&case, "all", &third).await;
    let says = format!(
        "PersistentVolume {bound} is bound to PersistentVolumeClaim {}/data",
        case.namespace
    );
    assert_says(&message, &[&says, "would delete 1 of 2 objects"]);
    let volumes: Api<PersistentVolume> = Api::all(case.client.clone());
    let live = volumes.get(&bound).await.unwrap();
    assert!(live.metadata.deletion_timestamp.is_none());
    approve(&case, "all", &plan.digest).await;
    // Kubernetes protects it until the claim is gone.
    let what = "the volume and what holds it are named";
    case.until("all", what, |sync| {
        let (_, _, message) = condition(sync, "Ready");
        [&*bound, "kubernetes.io/pv-protection"]
            .iter()
            .all(|part| message.contains(part))
    })
    .await;
    case.delete::<PersistentVolumeClaim>("data").await;
    case.synced("all", &third).await;
}

/// What an account may not list may hold anything: it is named, and a person decides.
#[tokio::test]
async fn what_an_account_may_not_list_is_told_with_kind_and_account() {
    let case = world().await.case("brake-rights").await;
    let (namespace, other) = (case.namespace.as_str(), format!("{}-other", case.namespace));
    let config = case.world.cp.kubeconfig_path();
    let role = format!("{namespace}-applier");
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
    "metadata": {"name": role}, "rules": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]},
    ]});
    let folder = towline_testing::scratch::Scratch::new().unwrap();
    let file = folder.path().join("role.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    let binding = [
        "create".to_owned(),
        "clusterrolebinding".to_owned(),
        role.clone(),
        format!("--clusterrole={role}"),
        format!("--serviceaccount={namespace}:applier"),
    ];
    for args in [
        vec!["create", "-f", file.to_str().unwrap()],
        vec![
            "create",
            "serviceaccount",
            "applier",
            "--namespace",
            namespace,
        ],
        binding.iter().map(String::as_str).collect(),
    ] {
        towline_testing::kubectl::kubectl(&config, &args).await;
    }
    let mut files: Vec<File> = vec![("stays.yaml".to_owned(), Some(case.map("stays", "git")))];
    let made = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n");
    files.push(("namespace.yaml".to_owned(), Some(made)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    case.synced("all", &first).await;
    let gone = [("namespace.yaml".to_owned(), None)];
    let second = push(&case, &gone, "the namespace leaves").await;
    let (plan, message) = held_at(&case, "all", &second).await;
    let who = format!("ServiceAccount {namespace}/applier may not list ");
    assert_says(
        &plan.because.join("\n"),
        &[
            &format!("Namespace {other}"),
            &who,
            &format!("in namespace {other}"),
        ],
    );
    assert!(!plan.because[0].contains("list Namespace"), "{message}");
    assert_says(&message, &[&who]);
    // The same words at every look.
    case.reconcile("all").await;
    let (again, _) = held_at(&case, "all", &second).await;
    assert_eq!(again.because, plan.because);
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    let live = namespaces.get(&other).await.unwrap();
    assert_eq!(live.metadata.deletion_timestamp, None);
    // A digest of nothing that there is does nothing, and the condition says so.
    approve(&case, "all", &"0".repeat(64)).await;
    case.until("all", "the other approval is told", |sync| {
        let message = condition(sync, "Ready").2;
        message.contains("the digest in the annotation is not that of this deletion")
    })
    .await;
    approve(&case, "all", &plan.digest).await;
    case.synced("all", &second).await;
    namespace_is_gone(&case, &other).await;
}

/// The operator is killed while it carries out an approved deletion.
#[tokio::test]
async fn an_approved_deletion_goes_on_after_a_kill_and_takes_nothing_else() {
    const COUNT: usize = 400;
    const KEPT: usize = 20;
    let audited = Options {
        audit: true,
        ..Options::default()
    };
    let mut world = World::own(audited, &[]).await;
    let case = world.case("brake-kill").await;
    let text = crate::newer::many(COUNT, &case.namespace, "git");
    let mut files = maps(&case, "stays", 0..KEPT);
    files.push(("app/many.yaml".to_owned(), Some(text)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &first).await;
    let mark = world.cp.audit().mark();
    let gone = [("app/many.yaml".to_owned(), None)];
    let second = push(&case, &gone, "most leave").await;
    let (plan, _) = held_at(&case, "all", &second).await;
    assert_eq!(usize::try_from(plan.deletes).unwrap(), COUNT);
    approve(&case, "all", &plan.digest).await;
    eventually("some are deleted", PATIENCE, async || {
        let left = case.maps_with(None).await;
        (left < COUNT + KEPT).then_some(()).ok_or(left)
    })
    .await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let left = case.maps_with(None).await;
    assert!(
        left > KEPT,
        "all were deleted before anything could be killed"
    );
    let noted = held(&case.api::<Sync>().get("all").await.unwrap());
    assert_eq!(noted.map(|held| held.digest), Some(plan.digest.clone()));
    let warnings = case.events("PruneHeld").await.len();
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let reasons = std::cell::RefCell::new(Vec::new());
    case.until("all", "the rest is deleted", |sync| {
        let (status, reason, _) = condition(sync, "Ready");
        reasons.borrow_mut().push(reason);
        status == "True" && held(sync).is_none()
    })
    .await;
    let mut reasons = reasons.into_inner();
    reasons.dedup();
    // The first is what was written before the kill.
    let again = reasons.iter().skip(1).any(|reason| reason == "PruneHeld");
    assert!(!again, "{reasons:?}");
    assert_eq!(case.events("PruneHeld").await.len(), warnings);
    assert_eq!(case.maps_with(None).await, KEPT);
    let requests = world.cp.audit_since(mark).await;
    // Whatever the answer was: the API server may carry out a request whose client was killed, and answer it with
    // an error.
    let deleted = requests
        .iter()
        .filter(|request| request.verb == "delete" && request.namespace == case.namespace);
    let deleted: std::collections::BTreeSet<&str> =
        deleted.map(|request| request.name.as_str()).collect();
    let expected: Vec<String> = (0..COUNT).map(|number| format!("m{number}")).collect();
    assert_eq!(deleted, expected.iter().map(String::as_str).collect());
    // The approval is of that deletion alone.
    let text = crate::newer::many(COUNT, &case.namespace, "again");
    let third = push(&case, &[("app/many.yaml".to_owned(), Some(text))], "back").await;
    case.synced("all", &third).await;
    let fourth = push(&case, &gone, "most leave again").await;
    let (other, message) = held_at(&case, "all", &fourth).await;
    assert_ne!(other.digest, plan.digest);
    assert_says(
        &message,
        &["the digest in the annotation is not that of this deletion"],
    );
    stay(&case, COUNT + KEPT, "the approval of another plan deletes").await;
}
