//! Hooks of charts run by their Helm meaning: at their moment, in their order, once for a content.

mod flux;
mod meanwhile;
mod records;
mod release;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::{HookStage, Sync};

use crate::world::{Case, PATIENCE, World, condition, world};
use towline_testing::control_plane::Options;
use towline_testing::wait::{eventually, never};

const CHART: (&str, Option<&str>) = (
    "chart/Chart.yaml",
    Some("apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
);

/// The release's objects: one ConfigMap that shows a value.
fn values(value: &str) -> (&'static str, String) {
    (
        "chart/templates/map.yaml",
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: live}}\ndata: {{value: {value}}}\n"
        ),
    )
}

/// A Job whose pod no node takes: the test plays the kubelet.
fn job(name: &str, hook: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations:\n    helm.sh/hook: {hook}\n{more}spec:\n  \
         backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      nodeSelector: \
         {{kubernetes.io/os: none}}\n      containers: [{{name: run, image: run}}]\n"
    )
}

fn script(name: &str, hook: &str, weight: i32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations:\n    helm.sh/hook: {hook}\n    \
         helm.sh/hook-weight: \"{weight}\"\ndata: {{run: \"true\"}}\n"
    )
}

async fn push(case: &Case<'_>, files: &[(&str, String)]) -> String {
    let mut all = vec![CHART];
    all.extend(
        files
            .iter()
            .map(|(path, text)| (*path, Some(text.as_str()))),
    );
    case.push(&all, "chart").await
}

/// Makes the Sync `web` of a chart.
async fn begin(case: &Case<'_>, files: &[(&str, String)], spec: Value) -> String {
    let mut all = vec![CHART];
    all.extend(
        files
            .iter()
            .map(|(path, text)| (*path, Some(text.as_str()))),
    );
    let commit = case.repo.commit(&all, "first");
    case.repository(json!({})).await;
    let mut full = json!({"path": "chart"});
    full.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    case.sync("web", full).await;
    commit
}

/// Gives a pod of a Job a status.
async fn ends(case: &Case<'_>, job: &str, uid: &str, status: Value) {
    eventually(&format!("a pod of {job} ends"), PATIENCE, async || {
        let of = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        let pods = case.api::<Pod>().list(&of).await.unwrap().items;
        let pod = pods.first().and_then(|pod| pod.metadata.name.clone());
        let pod = pod.ok_or("no pod")?;
        let status = Patch::Merge(json!({"status": status}));
        let params = PatchParams::default();
        let patched = case.api::<Pod>().patch_status(&pod, &params, &status).await;
        patched.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

async fn succeeds(case: &Case<'_>, job: &str, uid: &str) {
    ends(case, job, uid, json!({"phase": "Succeeded"})).await;
}

async fn fails(case: &Case<'_>, job: &str, uid: &str) {
    let terminated = json!({"exitCode": 3, "reason": "Error", "message": "hunter2-in-a-log"});
    let container = json!({"name": "run", "image": "run", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": terminated}});
    let status = json!({"phase": "Failed", "containerStatuses": [container]});
    ends(case, job, uid, status).await;
}

/// Waits for a Job that is not the one with the uid `before`. Returns its uid.
async fn started(case: &Case<'_>, name: &str, before: &str) -> String {
    eventually(&format!("Job {name} is made"), PATIENCE, async || {
        let job = case.live::<Job>(name).await;
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        match uid.is_empty() || uid == before {
            true => Err(job),
            false => Ok(uid.to_owned()),
        }
    })
    .await
}

async fn says(case: &Case<'_>, parts: &[&str]) -> Sync {
    case.until("web", &format!("Ready says {parts:?}"), |sync| {
        let (_, reason, message) = condition(sync, "Ready");
        let said = format!("{reason}: {message}");
        parts.iter().all(|part| said.contains(part))
    })
    .await
}

fn release(sync: &Sync) -> towline::api::ChartRelease {
    sync.status.clone().unwrap().release.unwrap()
}

#[tokio::test]
async fn hooks_run_in_their_order_and_once_for_a_content() {
    let options = Options {
        controllers: true,
        ..Options::default()
    };
    let folder = tokio::task::spawn_blocking(towline_testing::renderers::folder).await;
    let renderers = format!("--renderers-dir={}", folder.unwrap().display());
    let mut world = World::own(options, &[&renderers]).await;
    let case = world.case("hooks-once").await;
    let both = "pre-install,pre-upgrade";
    let check = job("check", "post-install,post-upgrade", "");
    let test = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: probe\n  annotations: {helm.sh/hook: test}\n";
    let files = [
        values("one"),
        ("chart/templates/a-migrate.yaml", job("migrate", both, "")),
        ("chart/templates/script.yaml", script("script", both, -5)),
        ("chart/templates/check.yaml", check),
        ("chart/templates/test.yaml", test.to_owned()),
    ];
    let first = begin(&case, &files, json!({})).await;
    let migrate = started(&case, "migrate", "").await;
    let name = format!("pre-install hook Job.batch {}/migrate", case.namespace);
    says(
        &case,
        &[&name, "shop/templates/a-migrate.yaml", "Progressing"],
    )
    .await;
    // The lower weight came first, and nothing of the release is there.
    let made = case.live::<ConfigMap>("script").await;
    let (labels, annotations) = (
        &made["metadata"]["labels"],
        &made["metadata"]["annotations"],
    );
    assert_eq!(
        labels["applyset.kubernetes.io/part-of"],
        Value::Null,
        "no member"
    );
    assert!(labels["towline.dev/hook-of"].is_string(), "{made}");
    let mark = annotations["towline.dev/hook"].as_str().unwrap();
    assert!(
        mark.starts_with(&format!("{}/web pre-install ", case.namespace)),
        "{mark}"
    );
    assert_eq!(case.data("live").await, None);

    // A restart in the middle goes on with the same Job.
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    says(&case, &[&name]).await;
    assert_eq!(started(&case, "migrate", "").await, migrate);
    succeeds(&case, "migrate", &migrate).await;
    case.has("live", "value", Some("one")).await;
    says(
        &case,
        &["post-install hook Job.batch", "/check", "is applied"],
    )
    .await;
    let checked = started(&case, "check", "").await;
    succeeds(&case, "check", &checked).await;
    let sync = case.synced("web", &first).await;
    let is = release(&sync);
    assert_eq!(
        (is.revision, is.upgrade, is.stage),
        (1, false, HookStage::Done)
    );
    assert!(
        case.live::<Pod>("probe").await.is_null(),
        "tests are not applied"
    );
    assert_eq!(sync.status.unwrap().objects.unwrap().desired, 1);

    // Neither a commit elsewhere, nor one in the chart that changes no object, nor a restart runs them again; and a
    // hook's object is not healed.
    case.push(&[("README.md", Some("other"))], "elsewhere")
        .await;
    let same = case
        .push(&[("chart/README.md", Some("other"))], "no object")
        .await;
    case.synced("web", &same).await;
    case.delete::<ConfigMap>("script").await;
    case.reconcile("web").await;
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    case.reconcile("web").await;
    never("hooks run again", Duration::from_secs(2), async || {
        let script = case.live::<ConfigMap>("script").await;
        let again = !script.is_null() || started(&case, "migrate", "").await != migrate;
        again.then_some(script)
    })
    .await;
    case.ready_becomes("web", "True", "Converged").await;

    // Another content does.
    let second = push(&case, &[values("two")]).await;
    let again = started(&case, "migrate", &migrate).await;
    says(&case, &["pre-upgrade hook Job.batch", "stays live"]).await;
    case.has("live", "value", Some("one")).await;
    // Meanwhile the live revision is healed.
    let edit = json!({"data": {"value": "edited"}});
    case.patch::<ConfigMap>("live", edit).await;
    case.has("live", "value", Some("one")).await;
    succeeds(&case, "migrate", &again).await;
    case.has("live", "value", Some("two")).await;
    let checked = started(&case, "check", &checked).await;
    succeeds(&case, "check", &checked).await;
    let is = release(&case.synced("web", &second).await);
    assert_eq!((is.revision, is.upgrade), (2, true));

    // What a hook has made stays when the hook leaves the chart, as with Helm: it may be a volume or a password.
    let third = case
        .push(&[("chart/templates/a-migrate.yaml", None)], "no migration")
        .await;
    let checked = started(&case, "check", &checked).await;
    succeeds(&case, "check", &checked).await;
    case.synced("web", &third).await;
    assert_eq!(
        case.live::<Job>("migrate").await["metadata"]["uid"],
        json!(again)
    );
}

#[tokio::test]
async fn a_failed_hook_stops_the_revision_and_names_its_pod() {
    let case = world().await.case("hooks-failed").await;
    let first = begin(&case, &[values("one")], json!({})).await;
    case.synced("web", &first).await;
    let policy = "    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded\n";
    let hook = (
        "chart/templates/migrate.yaml",
        job("migrate", "pre-upgrade", policy),
    );
    push(&case, &[values("two"), hook]).await;
    let uid = started(&case, "migrate", "").await;
    fails(&case, "migrate", &uid).await;
    let parts = [
        "HookFailed",
        "pre-upgrade hook Job.batch",
        "/migrate (shop/templates/migrate.yaml) failed",
        "pod migrate-",
        "container run ended with exit code 3 (Error)",
        "stays live",
    ];
    let sync = says(&case, &parts).await;
    assert_eq!(condition(&sync, "Stalled").0, "", "it is tried again");
    assert_eq!(release(&sync).failures, 1);
    case.has("live", "value", Some("one")).await;
    crate::world::verdict::assert_not_disclosed(&case, "hunter2-in-a-log").await;
    case.wait_for_event("HookFailed", &["migrate"]).await;

    // A person asks for another try, which succeeds.
    case.reconcile("web").await;
    let again = started(&case, "migrate", &uid).await;
    succeeds(&case, "migrate", &again).await;
    case.has("live", "value", Some("two")).await;
    case.ready_becomes("web", "True", "Converged").await;
    eventually("what has succeeded is deleted", PATIENCE, async || {
        let left = case.live::<Job>("migrate").await;
        left.is_null().then_some(()).ok_or(left)
    })
    .await;

    // Without a person, it is tried again after a pause.
    push(&case, &[values("three")]).await;
    let uid = started(&case, "migrate", "").await;
    fails(&case, "migrate", &uid).await;
    let again = started(&case, "migrate", &uid).await;
    let sync = says(&case, &["HookFailed", "exit code 3"]).await;
    assert_eq!(condition(&sync, "Ready").0, "False", "while it runs again");
    // A commit takes its place at once.
    case.push(&[("chart/templates/migrate.yaml", None)], "no migration")
        .await;
    case.has("live", "value", Some("three")).await;
    case.ready_becomes("web", "True", "Converged").await;
    assert_ne!(again, uid);
}

#[tokio::test]
async fn a_hook_that_takes_too_long_or_may_not_be_made_has_failed() {
    let case = world().await.case("hooks-late").await;
    let hook = ("chart/templates/slow.yaml", job("slow", "post-install", ""));
    begin(&case, &[values("one"), hook], json!({"timeout": "2s"})).await;
    let parts = [
        "HookFailed",
        "post-install hook Job.batch",
        "spec.timeout (2s)",
        &format!("; see kubectl logs -n {} job/slow", case.namespace),
    ];
    says(&case, &parts).await;
    case.has("live", "value", Some("one")).await;

    // The account's rights decide, as for every object.
    let account = json!({"metadata": {"name": "poor"}});
    case.make::<k8s_openapi::api::core::v1::ServiceAccount>(account)
        .await;
    let spec = json!({"sourceRef": {"name": "repo"}, "path": "chart", "serviceAccountName": "poor",
        "helm": {"releaseName": "other"}});
    let early = (
        "chart/templates/slow.yaml",
        job("slow", "pre-install,pre-upgrade", ""),
    );
    push(&case, &[early]).await;
    case.sync("poor", spec).await;
    let message = case.ready_becomes("poor", "False", "HookFailed").await;
    assert!(
        message.contains("ServiceAccount") && message.contains("/poor may not"),
        "{message}"
    );
}

#[tokio::test]
async fn an_object_in_a_hooks_place_is_left_alone() {
    let case = world().await.case("hooks-place").await;
    let mine = json!({"metadata": {"name": "script"}, "data": {"run": "mine"}});
    case.make::<ConfigMap>(mine).await;
    let hook = (
        "chart/templates/script.yaml",
        script("script", "pre-install", 0),
    );
    begin(&case, &[values("one"), hook], json!({})).await;
    let parts = [
        "HookFailed",
        "ConfigMap",
        "/script",
        "is there already and is no hook",
    ];
    says(&case, &parts).await;
    case.has("script", "run", Some("mine")).await;
    assert_eq!(case.data("live").await, None);
    case.delete::<ConfigMap>("script").await;
    case.reconcile("web").await;
    case.has("script", "run", Some("true")).await;
    case.ready_becomes("web", "True", "Converged").await;
}

/// Whoever may patch an object in the place of a hook, or a Secret, gets nothing deleted by it.
#[tokio::test]
async fn marks_of_hooks_and_records_that_somebody_writes_delete_nothing() {
    let case = world().await.case("hooks-forged").await;
    let marks = [
        (
            "towline",
            "towline.dev/hook",
            format!("{}/web pre-upgrade x", case.namespace),
        ),
        ("helm", "helm.sh/hook", "pre-upgrade".to_owned()),
    ];
    for (name, mark, value) in &marks {
        let meta = json!({"name": name, "annotations": {*mark: value}});
        case.make::<ConfigMap>(json!({"metadata": meta, "data": {"run": "mine"}}))
            .await;
    }
    let labels = json!({"owner": "helm", "name": "web", "version": "1", "status": "superseded"});
    let password =
        json!({"metadata": {"name": "password", "labels": labels}, "stringData": {"a": "b"}});
    case.make::<Secret>(password).await;
    let first = begin(&case, &[values("one")], json!({})).await;
    case.synced("web", &first).await;
    for (name, mark, _) in marks {
        let path = format!("chart/templates/{name}.yaml");
        let hook = (path.as_str(), script(name, "pre-upgrade", 0));
        push(&case, &[values(name), hook]).await;
        says(&case, &["HookFailed", name, "delete the object"]).await;
        case.has(name, "run", Some("mine")).await;
        let gone = case.push(&[(path.as_str(), None)], mark).await;
        case.synced("web", &gone).await;
    }
    case.delete::<Sync>("web").await;
    eventually("the Sync is gone", PATIENCE, async || {
        let sync = case.live::<Sync>("web").await;
        sync.is_null().then_some(()).ok_or(sync)
    })
    .await;
    assert!(!case.live::<Secret>("password").await.is_null());
}

#[tokio::test]
async fn hooks_of_a_deletion_run_before_and_after_it() {
    let case = world().await.case("hooks-delete").await;
    let files = [
        values("one"),
        (
            "chart/templates/backup.yaml",
            job("backup", "pre-delete", ""),
        ),
        ("chart/templates/bye.yaml", job("bye", "post-delete", "")),
        (
            "chart/templates/script.yaml",
            script("script", "pre-install", 0),
        ),
    ];
    let first = begin(&case, &files, json!({})).await;
    case.synced("web", &first).await;
    case.has("script", "run", Some("true")).await;
    assert!(case.live::<Job>("backup").await.is_null());
    case.delete::<Sync>("web").await;
    let backup = started(&case, "backup", "").await;
    says(&case, &["Deleting", "pre-delete hook Job.batch", "/backup"]).await;
    case.has("live", "value", Some("one")).await;
    fails(&case, "backup", &backup).await;
    says(
        &case,
        &["Deleting", "failed", "towline.dev/deletion-policy=Orphan"],
    )
    .await;
    case.has("live", "value", Some("one")).await;
    let again = started(&case, "backup", &backup).await;
    succeeds(&case, "backup", &again).await;
    let bye = started(&case, "bye", "").await;
    case.has("live", "value", None).await;
    succeeds(&case, "bye", &bye).await;
    eventually("the Sync is gone", PATIENCE, async || {
        let left = case.live::<Sync>("web").await;
        left.is_null().then_some(()).ok_or(left)
    })
    .await;
    // What hooks have made stays, as with Helm.
    let left = case.live::<Job>("bye").await;
    assert_eq!(left["metadata"]["uid"], json!(bye));
    case.has("script", "run", Some("true")).await;

    // A new Sync of the same name begins anew: what the former one has made does not count.
    let made = case.live::<ConfigMap>("script").await["metadata"]["uid"].clone();
    case.sync("web", json!({"path": "chart"})).await;
    case.synced("web", &first).await;
    let again = case.live::<ConfigMap>("script").await;
    assert_ne!(again["metadata"]["uid"], made, "{again}");
}
