//! With `wait: true`, a Sync is ready only when its objects are healthy.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use towline::api::Sync;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, condition, config_map, world};

#[tokio::test]
async fn ready_means_available_and_a_timeout_is_reported() {
    let case = world().await.case("health").await;
    let text = |more| deployment("web", &case.namespace, more);
    case.repo
        .commit(&[("web.yaml", Some(text(UNSCHEDULABLE)))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true, "timeout": "10s"}))
        .await;
    // The object is applied, but does not become ready.
    let name = format!("Deployment.apps {}/web", case.namespace);
    let pending = case.ready_becomes("all", "False", "HealthPending").await;
    assert!(pending.contains(&name), "{pending}");
    let failed = case.ready_becomes("all", "False", "HealthFailed").await;
    let cause = "0 of 1 replicas available: cannot be scheduled: 0/";
    for part in [&*name, "spec.timeout", cause] {
        assert!(failed.contains(part), "{failed}");
    }
    let sync: Sync = case.api().get("all").await.unwrap();
    assert_eq!(condition(&sync, "Healthy").0, "False");
    let status = sync.status.unwrap();
    assert_eq!(status.objects.unwrap().unhealthy, 1);
    assert!(
        status.failures[0].message.contains(cause),
        "{:?}",
        status.failures
    );
    case.wait_for_event("HealthFailed", &[&name, cause]).await;

    let second = case
        .push(&[("web.yaml", Some(&text("")))], "a node that is there")
        .await;
    let sync = case.synced("all", &second).await;
    assert_eq!(condition(&sync, "Healthy").0, "True");
    let web = case.live::<Deployment>("web").await;
    assert_eq!(web["status"]["availableReplicas"], 1);
}

#[tokio::test]
async fn without_wait_health_is_reported_but_not_required() {
    let files = async |namespace: &str| {
        vec![(
            "web.yaml".to_owned(),
            deployment("web", namespace, UNSCHEDULABLE),
        )]
    };
    let (case, _) = Case::started(world().await, "health", files, json!({})).await;
    let sync = case
        .until("all", "unhealthy", |sync| {
            condition(sync, "Healthy").0 == "False"
        })
        .await;
    assert_eq!(condition(&sync, "Ready").0, "True");
    let second = case
        .push(
            &[("web.yaml", Some(&deployment("web", &case.namespace, "")))],
            "fix",
        )
        .await;
    case.synced("all", &second).await;
    case.until("all", "healthy", |sync| {
        condition(sync, "Healthy").0 == "True"
    })
    .await;
}

/// Kinds for which kstatus has no rule, or a mild one, hold nothing up.
#[tokio::test]
async fn what_kstatus_calls_current_is_healthy() {
    let files = async |namespace: &str| {
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}});
        let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("v1.{namespace}.example.com")},
            "spec": {"group": format!("{namespace}.example.com"), "version": "v1", "groupPriorityMinimum": 10,
                "versionPriority": 10, "insecureSkipTLSVerify": true,
                "service": {"name": "none", "namespace": namespace}}});
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}});
        [scaler, service, budget]
            .into_iter()
            .enumerate()
            .map(|(index, object)| (format!("{index}.json"), object.to_string()))
            .collect()
    };
    let spec = json!({"wait": true});
    let (case, _) = Case::started(world().await, "kstatus", files, spec).await;
    // An APIService without a server slows down discovery for everybody.
    let commit = case.push(&[("1.json", None)], "without it").await;
    case.synced("all", &commit).await;
}

/// The manifest of a Sync of the same source. `more` stands in its spec.
fn child(case: &Case<'_>, name: &str, path: &str, more: &str) -> String {
    format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: {name}, namespace: {}}}\n\
         spec: {{sourceRef: {{name: repo}}, path: {path}{more}}}\n",
        case.namespace
    )
}

/// What was just made has no status, and would count as healthy by kstatus.
#[tokio::test]
async fn a_sync_of_syncs_is_not_ready_before_these_have_a_status() {
    let case = world().await.case("health").await;
    let child = |name: &str, path: &str| child(&case, name, path, "");
    let map = config_map("a", &case.namespace, "one");
    let files = [
        ("children/good.yaml", Some(child("good", "apps"))),
        ("apps/a.yaml", Some(map)),
    ];
    case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "children", "wait": true}))
        .await;
    case.ready_becomes("all", "True", "Converged").await;
    case.ready_becomes("good", "True", "Converged").await;
    let second = case
        .push(
            &[("children/bad.yaml", Some(&child("bad", "nothing")))],
            "a child without its folder",
        )
        .await;
    let message = case.ready_becomes("all", "False", "HealthFailed").await;
    assert!(message.contains("PathNotFound"), "{message}");
    let told = case.events("Converged").await;
    let early = format!("2 objects equal main@sha1:{second}");
    assert!(!told.iter().any(|one| one.contains(&early)), "{told:?}");
}

/// The children's health may be that of the commit before.
#[tokio::test]
async fn a_sync_of_syncs_is_ready_at_a_commit_when_its_children_are_ready_at_it() {
    let case = world().await.case("health").await;
    let map = |name: &str, value| config_map(name, &case.namespace, value);
    let files = [
        ("children/good.yaml", Some(child(&case, "good", "apps", ""))),
        // Neither may be waited for: the one waits itself, and the other stays where it is.
        (
            "children/later.yaml",
            Some(child(&case, "later", "more", ", dependsOn: [{name: all}]")),
        ),
        ("apps/a.yaml", Some(map("a", "one"))),
        ("more/b.yaml", Some(map("b", "one"))),
        ("children/c.yaml", Some(map("c", "one"))),
    ];
    case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "children", "wait": true}))
        .await;
    case.ready_becomes("all", "True", "Converged").await;
    case.ready_becomes("later", "True", "Converged").await;

    let (broken, two) = ("apiVersion: v1\nkind: ConfigMap\n", map("c", "two"));
    let files = [
        ("apps/a.yaml", Some(broken)),
        ("children/c.yaml", Some(&*two)),
    ];
    let second = case.push(&files, "a child that cannot go on").await;
    case.has("c", "value", Some("two")).await;
    case.ready_becomes("good", "False", "InvalidManifest").await;
    case.until("all", "waits for its child", |sync| {
        let (status, _, message) = condition(sync, "Ready");
        status == "False" && message.contains("/good")
    })
    .await;
    let told = case.events("Converged").await;
    let early = format!("3 objects equal main@sha1:{second}");
    assert!(!told.iter().any(|one| one.contains(&early)), "{told:?}");

    let files = [("apps/a.yaml", Some(&*map("a", "three")))];
    let third = case.push(&files, "mended").await;
    case.synced("all", &third).await;
    let good: Sync = case.api().get("good").await.unwrap();
    assert_eq!(condition(&good, "Ready").0, "True");
    let applied = good.status.unwrap().last_applied_revision.unwrap();
    assert!(applied.ends_with(&third), "{applied}");
    case.synced("later", &third).await;
}
