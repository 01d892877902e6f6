//! What people do while hooks run, or after one has failed.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::{HookStage, Sync};

use super::{begin, ends, fails, job, push, release, says, script, started, succeeds, values};
use crate::tenants::{ALL, grant};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{PATIENCE, world};
use towline_testing::wait::{eventually, never};

use std::time::Duration;

const BOTH: &str = "pre-install,pre-upgrade";

#[tokio::test]
async fn a_newer_commit_waits_for_a_container_that_works_and_for_no_other() {
    let case = world().await.case("hooks-newer").await;
    let migrate = || ("chart/templates/migrate.yaml", job("migrate", BOTH, ""));
    begin(&case, &[values("one"), migrate()], json!({})).await;
    let first = started(&case, "migrate", "").await;
    says(&case, &["pre-install hook Job.batch", "/migrate"]).await;

    // Its pod has no node: nothing is lost with it.
    push(&case, &[values("two")]).await;
    let second = started(&case, "migrate", &first).await;
    let works = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    ends(&case, "migrate", &second, works).await;
    case.wait_for_field::<Job>("migrate", "/status/ready", json!(1))
        .await;
    push(&case, &[values("three")]).await;
    says(&case, &["what an earlier run made still works"]).await;
    assert_eq!(started(&case, "migrate", "").await, second);
    succeeds(&case, "migrate", &second).await;
    let third = started(&case, "migrate", &second).await;
    assert_eq!(case.data("live").await, None);
    succeeds(&case, "migrate", &third).await;
    case.has("live", "value", Some("three")).await;
    let sync = case.ready_becomes("web", "True", "Converged").await;
    assert!(sync.contains("1 object equals"), "{sync}");
}

#[tokio::test]
async fn a_suspended_sync_begins_no_hook() {
    let case = world().await.case("hooks-suspended").await;
    let files = [
        values("one"),
        (
            "chart/templates/migrate.yaml",
            job("migrate", "pre-install", ""),
        ),
        (
            "chart/templates/script.yaml",
            script("script", "pre-install", 5),
        ),
    ];
    let commit = begin(&case, &files, json!({})).await;
    let migrate = started(&case, "migrate", "").await;
    case.patch::<Sync>("web", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("web", "Unknown", "Suspended").await;
    succeeds(&case, "migrate", &migrate).await;
    never("the next hook begins", Duration::from_secs(3), async || {
        case.data("script").await
    })
    .await;
    case.patch::<Sync>("web", json!({"spec": {"suspend": false}}))
        .await;
    case.synced("web", &commit).await;
    case.has("script", "run", Some("true")).await;
    assert_eq!(started(&case, "migrate", "").await, migrate);
}

#[tokio::test]
async fn a_revert_is_an_upgrade_to_a_former_commit() {
    let case = world().await.case("hooks-revert").await;
    let hook = job("migrate", "pre-upgrade", "");
    let files = [values("one"), ("chart/templates/migrate.yaml", hook)];
    let first = begin(&case, &files, json!({})).await;
    case.synced("web", &first).await;
    push(&case, &[values("two")]).await;
    let failed = started(&case, "migrate", "").await;
    fails(&case, "migrate", &failed).await;
    says(&case, &["HookFailed"]).await;
    let back = push(&case, &[values("one")]).await;
    let again = started(&case, "migrate", &failed).await;
    says(&case, &["pre-upgrade hook", "stays live"]).await;
    succeeds(&case, "migrate", &again).await;
    let is = release(&case.synced("web", &back).await);
    assert_eq!(
        (is.revision, is.stage, is.failures),
        (3, HookStage::Done, 0)
    );
    case.has("live", "value", Some("one")).await;
    case.reconcile("web").await;
    assert_eq!(started(&case, "migrate", "").await, again, "once");
}

#[tokio::test]
async fn a_sync_can_be_deleted_while_a_hook_runs() {
    let case = world().await.case("hooks-gone").await;
    let hook = job("migrate", "pre-install", "");
    begin(
        &case,
        &[values("one"), ("chart/templates/migrate.yaml", hook)],
        json!({}),
    )
    .await;
    let migrate = started(&case, "migrate", "").await;
    case.delete::<Sync>("web").await;
    eventually("the Sync is gone", PATIENCE, async || {
        let left = case.live::<Sync>("web").await;
        left.is_null().then_some(()).ok_or(left)
    })
    .await;
    assert_eq!(started(&case, "migrate", "").await, migrate, "it goes on");
}

#[tokio::test]
async fn a_chart_may_consist_of_hooks() {
    let case = world().await.case("hooks-only").await;
    let hook = |value: &str| {
        let hook = script("script", BOTH, 0).replace("true", value);
        [("chart/templates/script.yaml", hook)]
    };
    let commit = begin(&case, &hook("one"), json!({"prune": true})).await;
    case.synced("web", &commit).await;
    case.has("script", "run", Some("one")).await;
    let commit = push(&case, &hook("two")).await;
    let is = release(&case.synced("web", &commit).await);
    case.has("script", "run", Some("two")).await;
    assert_eq!((is.revision, is.upgrade), (2, true));
}

#[tokio::test]
async fn objects_go_as_their_policy_says() {
    let case = world().await.case("hooks-policy").await;
    let policy = |names: &str| format!("    helm.sh/hook-delete-policy: {names}\n");
    let with = |name: &str, names: &str| {
        script(name, BOTH, -1).replace("\ndata:", &format!("\n{}data:", policy(names)))
    };
    let files = [
        values("one"),
        ("chart/templates/kept.yaml", with("kept", "hook-failed")),
        ("chart/templates/tidy.yaml", with("tidy", "hook-succeeded")),
        ("chart/templates/new.yaml", script("new", BOTH, -1)),
        (
            "chart/templates/migrate.yaml",
            job("migrate", BOTH, &policy("hook-failed,before-hook-creation")),
        ),
    ];
    begin(&case, &files, json!({})).await;
    let first = started(&case, "migrate", "").await;
    case.has("tidy", "run", Some("true")).await;
    let made = case.live::<ConfigMap>("new").await["metadata"]["uid"].clone();
    fails(&case, "migrate", &first).await;
    let sync = says(&case, &["HookFailed", "exit code 3"]).await;
    let message = release(&sync).failure.unwrap_or_default();
    assert!(
        !message.contains("kubectl logs"),
        "no log is left: {message}"
    );
    eventually("the failed Job is gone", PATIENCE, async || {
        let left = case.live::<Job>("migrate").await;
        left.is_null().then_some(()).ok_or(left)
    })
    .await;
    case.has("tidy", "run", None).await;

    // The next try finds an object that no policy has deleted.
    case.reconcile("web").await;
    says(
        &case,
        &[
            "HookFailed",
            "ConfigMap",
            "/kept",
            "add before-hook-creation",
        ],
    )
    .await;
    case.delete::<ConfigMap>("kept").await;
    case.reconcile("web").await;
    let second = started(&case, "migrate", &first).await;
    succeeds(&case, "migrate", &second).await;
    case.ready_becomes("web", "True", "Converged").await;
    case.has("tidy", "run", None).await;
    case.has("kept", "run", Some("true")).await;
    assert_eq!(started(&case, "migrate", "").await, second);
    let again = case.live::<ConfigMap>("new").await["metadata"]["uid"].clone();
    assert!(
        again != made && again != Value::Null,
        "made anew for each run"
    );
}

#[tokio::test]
async fn hooks_run_with_the_rights_of_the_syncs_account() {
    let case = world().await.case("hooks-account").await;
    grant(&case, "deployer", ALL, "configmaps").await;
    let mark = case.world.cp.audit().mark();
    let tidy = "    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded\n";
    let hook = script("script", "post-install,pre-delete", 0)
        .replace("\ndata:", &format!("\n{tidy}data:"));
    let files = [values("one"), ("chart/templates/script.yaml", hook)];
    let spec = json!({"serviceAccountName": "deployer", "prune": true});
    let commit = begin(&case, &files, spec).await;
    case.synced("web", &commit).await;
    case.delete::<Sync>("web").await;
    eventually("the Sync is gone", PATIENCE, async || {
        let left = case.live::<Sync>("web").await;
        left.is_null().then_some(()).ok_or(left)
    })
    .await;
    let name = format!("system:serviceaccount:{}:deployer", case.namespace);
    let seen = case.world.cp.audit_since(mark).await;
    let own: Vec<_> = seen
        .iter()
        .filter(|entry| entry.user == "towline" && entry.namespace == case.namespace)
        .filter(|entry| ["configmaps", "jobs", "secrets"].contains(&entry.resource.as_str()))
        .filter(|entry| entry.verb != "watch")
        .collect();
    let of_hook = |verb: &str| own.iter().filter(|entry| entry.verb == verb).count();
    assert_eq!((of_hook("create"), of_hook("delete")), (2, 3), "{own:?}");
    for entry in own {
        assert_eq!(entry.impersonated.as_ref(), Some(&name), "{entry:?}");
    }
}

#[tokio::test]
async fn hooks_after_the_applies_wait_for_health_where_the_spec_says_so() {
    let case = world().await.case("hooks-health").await;
    let web = |more| {
        let path = "chart/templates/web.yaml";
        (path, deployment("web", &case.namespace, more))
    };
    let hook = script("script", "post-install,post-upgrade", 0);
    let files = [web(UNSCHEDULABLE), ("chart/templates/script.yaml", hook)];
    begin(&case, &files, json!({"wait": true})).await;
    let parts = [
        "HealthPending",
        "post-install hooks begin when every object is healthy",
    ];
    says(&case, &parts).await;
    assert_eq!(case.data("script").await, None);
    let commit = push(&case, &[web("")]).await;
    case.synced("web", &commit).await;
    case.has("script", "run", Some("true")).await;
}

#[tokio::test]
async fn tests_of_a_chart_hold_up_its_readiness_where_that_is_asked_for() {
    let case = world().await.case("hooks-test").await;
    let probe = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: probe\n  annotations: {helm.sh/hook: test}\nspec:\n  \
                 restartPolicy: Never\n  nodeSelector: {kubernetes.io/os: none}\n  containers: [{name: run, image: \
                 run}]\n";
    let files = [
        values("one"),
        ("chart/templates/probe.yaml", probe.to_owned()),
        (
            "chart/templates/script.yaml",
            script("script", "post-install", 0),
        ),
    ];
    let commit = begin(&case, &files, json!({"helm": {"test": true}})).await;
    let sync = says(
        &case,
        &["Progressing", "test hook Pod", "/probe", "is applied"],
    )
    .await;
    assert_eq!(release(&sync).stage, HookStage::Test);
    case.has("live", "value", Some("one")).await;
    case.has("script", "run", Some("true")).await;
    let ended = json!({"status": {"phase": "Failed", "message": "no answer"}});
    let (params, ended) = (PatchParams::default(), Patch::Merge(ended));
    let pods = case.api::<Pod>();
    let pod = pods.patch_status("probe", &params, &ended).await.unwrap();
    says(
        &case,
        &["HookFailed", "test hook Pod", "no answer", "is applied"],
    )
    .await;
    case.reconcile("web").await;
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    eventually("the test runs again", PATIENCE, async || {
        let again = pods.get_opt("probe").await.unwrap();
        again.filter(|again| again.metadata.uid != pod.metadata.uid)
    })
    .await;
    pods.patch_status("probe", &params, &ended).await.unwrap();
    case.synced("web", &commit).await;
}
