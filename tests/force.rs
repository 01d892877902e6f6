//! Fields that cannot be changed: an object is replaced only where `force` asks for it, and `spec.validate`.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use serde_json::{Value, json};

use crate::world::life::deployment;
use crate::world::{Case, config_map, world};

const FORCE: &str = "towline.dev/force: enabled";

fn with(manifest: &str, annotation: &str) -> String {
    manifest.replacen(
        "metadata: {",
        &format!("metadata: {{annotations: {{{annotation}}}, "),
        1,
    )
}

/// Manifests of one object, before and after a change that the API server refuses.
fn changes(namespace: &str) -> Vec<(&'static str, String, String)> {
    let meta = format!("metadata: {{name: it, namespace: {namespace}}}");
    let two = |text: String, from: &str, to: &str| (text.clone(), text.replace(from, to));
    let pod = "template:\n    metadata: {labels: {app: it}}\n    spec: {containers: [{name: a, image: a}]";
    let service = format!(
        "apiVersion: v1\nkind: Service\n{meta}\nspec: {{clusterIP: 10.96.77.201, ports: [{{port: 80}}]}}\n"
    );
    let web = deployment("it", namespace, "");
    let (web_from, web_to) = (web.clone(), web.replace("app: it", "app: other"));
    let job = format!(
        "apiVersion: batch/v1\nkind: Job\n{meta}\nspec:\n  {pod}, restartPolicy: Never}}\n"
    );
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{meta}\nroleRef: {{apiGroup: \
         rbac.authorization.k8s.io, kind: Role, name: one}}\nsubjects: [{{kind: User, apiGroup: \
         rbac.authorization.k8s.io, name: nobody}}]\n"
    );
    let set = format!(
        "apiVersion: apps/v1\nkind: StatefulSet\n{meta}\nspec:\n  serviceName: one\n  selector: {{matchLabels: {{app: \
         it}}}}\n  {pod}}}\n"
    );
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\n{meta}\nspec: {{accessModes: [ReadWriteOnce], storageClassName: \
         one, resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    let map =
        format!("apiVersion: v1\nkind: ConfigMap\n{meta}\nimmutable: true\ndata: {{value: one}}\n");
    let (service_from, service_to) = two(service, "10.96.77.201", "10.96.77.202");
    let all = [
        ("Service", (service_from, service_to)),
        ("Deployment", (web_from, web_to)),
        ("Job", two(job, "image: a", "image: b")),
        ("RoleBinding", two(binding, "name: one", "name: two")),
        ("ConfigMap", two(map, "value: one", "value: two")),
        (
            "StatefulSet",
            two(set, "serviceName: one", "serviceName: two"),
        ),
        (
            "PersistentVolumeClaim",
            two(claim, "storageClassName: one", "storageClassName: two"),
        ),
    ];
    all.map(|(kind, (from, to))| (kind, from, to)).into()
}

async fn uid(case: &Case<'_>, kind: &str) -> Value {
    let live = match kind {
        "Service" => case.live::<Service>("it").await,
        "Deployment" => case.live::<Deployment>("it").await,
        "Job" => case.live::<Job>("it").await,
        "RoleBinding" => case.live::<RoleBinding>("it").await,
        "StatefulSet" => case.live::<StatefulSet>("it").await,
        "PersistentVolumeClaim" => case.live::<PersistentVolumeClaim>("it").await,
        _ => case.live::<ConfigMap>("it").await,
    };
    live["metadata"]["uid"].clone()
}

#[tokio::test]
async fn what_cannot_be_changed_is_replaced_only_where_that_is_asked_for() {
    let files = async |namespace: &str| {
        let changes = changes(namespace).into_iter();
        changes
            .map(|(kind, from, _)| (format!("{kind}.yaml"), from))
            .collect()
    };
    let (case, _) = Case::started(world().await, "immutable", files, json!({})).await;
    let precious = ["StatefulSet", "PersistentVolumeClaim"];
    let changes = changes(&case.namespace);
    let mut before = Vec::new();
    for (kind, ..) in &changes {
        before.push(uid(&case, kind).await);
    }
    // Without force: the condition says what to do, object by object.
    for (kind, from, to) in &changes {
        let file = format!("{kind}.yaml");
        case.push(&[(&file, Some(to))], kind).await;
        let message = case.ready_becomes("all", "False", "ApplyFailed").await;
        assert!(
            message.contains("towline.dev/force: enabled"),
            "{kind}: {message}"
        );
        let of_sync = message.contains("spec.force");
        assert_eq!(of_sync, !precious.contains(kind), "{kind}: {message}");
        let commit = case.push(&[(&file, Some(from))], "back").await;
        case.synced("all", &commit).await;
    }
    for ((kind, ..), before) in changes.iter().zip(&before) {
        assert_eq!(uid(&case, kind).await, *before, "{kind}");
    }
    // The object's own annotation, for every kind.
    for ((kind, _, to), before) in changes.iter().zip(&before) {
        if *kind == "PersistentVolumeClaim" {
            continue; // a finalizer holds it while a pod uses it
        }
        let commit = case
            .push(&[(&format!("{kind}.yaml"), Some(&with(to, FORCE)))], kind)
            .await;
        case.synced("all", &commit).await;
        assert_ne!(uid(&case, kind).await, *before, "{kind}");
    }
}

#[tokio::test]
async fn force_of_a_sync_spares_what_holds_data_and_what_would_be_refused() {
    let files = async |namespace: &str| {
        let changes = changes(namespace).into_iter();
        let some = changes.filter(|(kind, ..)| ["Job", "StatefulSet"].contains(kind));
        some.map(|(kind, from, _)| (format!("{kind}.yaml"), from))
            .collect()
    };
    let spec = json!({"force": true});
    let (case, _) = Case::started(world().await, "forced", files, spec).await;
    let changes = changes(&case.namespace);
    let of = |wanted: &str| changes.iter().find(|(kind, ..)| *kind == wanted).unwrap();
    let (before, set) = (uid(&case, "Job").await, uid(&case, "StatefulSet").await);
    // A new one would be refused as well: nothing is deleted.
    let bad = of("Job")
        .2
        .replace("restartPolicy: Never", "restartPolicy: Sometimes");
    case.push(&[("Job.yaml", Some(&bad))], "bad").await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_eq!(uid(&case, "Job").await, before);
    let commit = case.push(&[("Job.yaml", Some(&of("Job").2))], "good").await;
    case.synced("all", &commit).await;
    let job = uid(&case, "Job").await;
    assert_ne!(job, before);
    // An annotation keeps it, in Git or on the live object.
    let keep = "helm.sh/resource-policy: keep";
    let kept = with(&of("Job").1, keep);
    case.push(&[("Job.yaml", Some(&kept))], "kept").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(!message.contains("spec.force"), "{message}");
    assert_eq!(uid(&case, "Job").await, job);
    let commit = case.push(&[("Job.yaml", Some(&of("Job").2))], "back").await;
    case.synced("all", &commit).await;
    let keep = json!({"metadata": {"annotations": {"towline.dev/prune": "disabled"}}});
    case.patch::<Job>("it", keep).await;
    case.push(&[("Job.yaml", Some(&of("Job").1))], "kept live")
        .await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(!message.contains("spec.force"), "{message}");
    assert_eq!(uid(&case, "Job").await, job);
    let commit = case.push(&[("Job.yaml", Some(&of("Job").2))], "back").await;
    case.synced("all", &commit).await;
    case.push(&[("StatefulSet.yaml", Some(&of("StatefulSet").2))], "set")
        .await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("StatefulSet"), "{message}");
    assert_eq!(uid(&case, "StatefulSet").await, set);
}

#[tokio::test]
async fn a_commit_with_a_refused_object_is_refused_as_a_whole() {
    let files = async |namespace: &str| {
        vec![
            ("a.yaml".to_owned(), config_map("a", namespace, "one")),
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
        ]
    };
    let spec = json!({"validate": true});
    let (case, first) = Case::started(world().await, "validated", files, spec).await;
    let namespace = case.namespace.clone();
    let bad = deployment("web", &namespace, "").replace("replicas: 1", "replicas: -1");
    let (a, b) = (
        config_map("a", &namespace, "two"),
        config_map("b", &namespace, "two"),
    );
    case.push(
        &[
            ("a.yaml", Some(&a)),
            ("b.yaml", Some(&b)),
            ("web.yaml", Some(&bad)),
        ],
        "bad",
    )
    .await;
    let message = case.ready_becomes("all", "False", "ValidationFailed").await;
    for part in ["Deployment.apps", "web.yaml", "replicas", &first[..12]] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(case.data("b").await, None);
    case.has("a", "value", Some("one")).await;
    // What is live is still kept equal to the earlier revision.
    case.patch::<ConfigMap>("a", json!({"data": {"value": "theirs"}}))
        .await;
    case.has("a", "value", Some("one")).await;
    // What comes with its namespace cannot be tried out, and does not hold up the commit.
    let other = format!("{namespace}-more");
    let more = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n---\n{}",
        config_map("inside", &other, "two")
    );
    let good = deployment("web", &namespace, "").replace("replicas: 1", "replicas: 2");
    let mark = case.world.cp.audit().mark();
    let commit = case
        .push(
            &[("web.yaml", Some(&good)), ("more.yaml", Some(&more))],
            "good",
        )
        .await;
    case.synced("all", &commit).await;
    case.has("b", "value", Some("two")).await;
    let inside: Api<ConfigMap> = Api::namespaced(case.client.clone(), &other);
    inside.get("inside").await.unwrap();
    // Only what changes is tried out.
    let requests = case.requests(mark).await.len();
    assert!(requests <= 30, "{requests} requests");
}
