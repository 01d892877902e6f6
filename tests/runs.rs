//! Case 6 of the engine: what was made to run once and has is not run again for the same manifest.

use std::time::Duration;

use axum::http::Method;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::world::{Case, PATIENCE, World, world};
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::faults::{Fault, Faults, Rule};
use towline_testing::operator::OperatorOptions;
use towline_testing::wait::{eventually, never};

fn job(name: &str, namespace: &str, more: &str, image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{more}  template:\n    \
         spec:\n      restartPolicy: Never\n      containers: [{{name: run, image: {image}}}]\n"
    )
}

/// Plays the kubelet: all pods of a Job end well.
async fn completes(case: &Case<'_>, name: &str) {
    pod_ends(case, name, "Succeeded").await;
}

/// Plays the kubelet: the pod of a Job fails.
async fn fails(case: &Case<'_>, name: &str) {
    pod_ends(case, name, "Failed").await;
}

async fn pod_ends(case: &Case<'_>, name: &str, phase: &str) {
    eventually(&format!("the pod of {name} ends"), PATIENCE, async || {
        let pods = case.api::<Pod>();
        let of = kube::api::ListParams::default()
            .labels(&format!("batch.kubernetes.io/job-name={name}"));
        let pods = pods.list(&of).await.unwrap().items;
        let Some(pod) = pods.first() else {
            return Err("no pod".to_owned());
        };
        let name = pod.metadata.name.clone().unwrap();
        ends(case, &name, phase).await;
        Ok(())
    })
    .await;
}

async fn ends(case: &Case<'_>, pod: &str, phase: &str) {
    let params = kube::api::PatchParams::default();
    let status = kube::api::Patch::Merge(json!({"status": {"phase": phase}}));
    case.api::<Pod>()
        .patch_status(pod, &params, &status)
        .await
        .unwrap();
}

async fn stays_gone(case: &Case<'_>, name: &str) {
    never("it runs again", Duration::from_secs(2), async || {
        let job: Value = case.live::<Job>(name).await;
        (!job.is_null()).then_some(job)
    })
    .await;
}

#[tokio::test]
async fn a_job_runs_once_for_a_manifest() {
    let mut world = World::own(
        Options {
            controllers: true,
            ..Options::default()
        },
        &[],
    )
    .await;
    let case = world.case("runs").await;
    let namespace = case.namespace.clone();
    let ttl = "  ttlSecondsAfterFinished: 1\n";
    let files = [
        ("ttl.yaml", job("ttl", &namespace, ttl, "one")),
        ("kept.yaml", job("kept", &namespace, "", "one")),
        ("running.yaml", job("running", &namespace, "", "one")),
        (
            "failed.yaml",
            job(
                "failed",
                &namespace,
                "  ttlSecondsAfterFinished: 1\n  backoffLimit: 0\n",
                "one",
            ),
        ),
    ];
    let commit = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    for name in ["ttl", "kept"] {
        completes(&case, name).await;
    }
    fails(&case, "failed").await;
    case.gone::<Job>("ttl").await;
    case.gone::<Job>("failed").await;
    case.until("all", "three runs are over", |sync| {
        sync.status
            .as_ref()
            .is_some_and(|status| status.finished.len() == 3)
    })
    .await;
    case.delete::<Job>("kept").await;
    case.gone::<Job>("kept").await;
    for name in ["ttl", "kept", "failed"] {
        stays_gone(&case, name).await;
    }
    // One that has not finished is made again.
    let uid = case.live::<Job>("running").await["metadata"]["uid"].clone();
    case.delete::<Job>("running").await;
    eventually("it runs again", PATIENCE, async || {
        let job = case.live::<Job>("running").await;
        let is_new = !job.is_null() && job["metadata"]["uid"] != uid;
        is_new.then_some(()).ok_or(job)
    })
    .await;
    case.ready_becomes("all", "True", "Converged").await;
    // Neither a full verification nor a restart runs them again.
    case.reconcile("all").await;
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    case.reconcile("all").await;
    for name in ["ttl", "kept"] {
        stays_gone(&case, name).await;
    }
    case.ready_becomes("all", "True", "Converged").await;
    // Another manifest does, and so does one that comes back.
    let commit = case
        .push(
            &[
                ("ttl.yaml", Some(&job("ttl", &namespace, ttl, "two"))),
                ("kept.yaml", None),
            ],
            "another image",
        )
        .await;
    completes(&case, "ttl").await;
    case.gone::<Job>("ttl").await;
    case.synced("all", &commit).await;
    let kept = job("kept", &namespace, "", "one");
    case.push(&[("kept.yaml", Some(&kept))], "back").await;
    completes(&case, "kept").await;
}

#[tokio::test]
async fn a_pod_that_has_run_is_not_run_again() {
    let files = async |namespace: &str| {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: once, namespace: {namespace}}}\nspec:\n  restartPolicy: Never\n  \
             nodeSelector: {{kubernetes.io/os: none}}\n  containers: [{{name: run, image: run}}]\n"
        );
        vec![("pod.yaml".to_owned(), pod)]
    };
    let (case, _) = Case::started(world().await, "pods", files, json!({})).await;
    ends(&case, "once", "Succeeded").await;
    case.until("all", "the run is over", |sync| {
        sync.status
            .as_ref()
            .is_some_and(|status| status.finished.len() == 1)
    })
    .await;
    case.delete::<Pod>("once").await;
    never("it runs again", Duration::from_secs(2), async || {
        let pod = case.live::<Pod>("once").await;
        (!pod.is_null() && pod["metadata"]["deletionTimestamp"].is_null()).then_some(pod)
    })
    .await;
    case.ready_becomes("all", "True", "Converged").await;
}

/// A Job as `kubectl get -o yaml` shows it names its own uid, and that of its owner.
#[tokio::test]
async fn a_job_is_made_of_an_export() {
    let case = world().await.case("exported").await;
    let owner: Value = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone",
        "uid": "6b6ee1a2-3c1c-4a0e-9a43-0d2c8e3f5a11", "controller": true, "blockOwnerDeletion": true});
    let made: Job = serde_json::from_value(json!({
        "metadata": {"name": "report", "labels": {"app": "report"}},
        "spec": {"template": {"metadata": {"labels": {"app": "report"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "run", "image": "one"}]}}},
    }))
    .unwrap();
    let jobs: kube::Api<Job> = case.api();
    jobs.create(&kube::api::PostParams::default(), &made)
        .await
        .unwrap();
    let text = case
        .kubectl_as_person(&[
            "get",
            "job",
            "report",
            "--output=json",
            "--show-managed-fields",
        ])
        .await;
    let mut export: Value = serde_json::from_str(&text).unwrap();
    assert!(export["spec"]["selector"].is_object() && export["status"].is_object());
    let labels = export["spec"]["template"]["metadata"]["labels"].clone();
    assert!(labels["batch.kubernetes.io/controller-uid"].is_string());
    export["metadata"]["ownerReferences"] = json!([owner]);
    export["metadata"]["labels"] = labels;
    case.kubectl_as_person(&["delete", "job", "report"]).await;
    case.gone::<Job>("report").await;
    let commit = case
        .repo
        .commit(&[("job.yaml", Some(export.to_string()))], "an export");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let live = case.live::<Job>("report").await;
    let uid = live["metadata"]["uid"].clone();
    assert_ne!(uid, export["metadata"]["uid"]);
    assert_eq!(
        live.pointer("/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid"),
        Some(&uid)
    );
    assert_eq!(
        live.pointer("/spec/template/metadata/labels/app"),
        Some(&json!("report"))
    );
    // Nothing collects it, and nothing is written again and again.
    never("it is another one", Duration::from_secs(3), async || {
        let now = case.live::<Job>("report").await;
        (now["metadata"]["uid"] != uid).then_some(now)
    })
    .await;
    let version = case.live::<Job>("report").await["metadata"]["generation"].clone();
    case.reconcile("all").await;
    case.ready_becomes("all", "True", "Converged").await;
    let now = case.live::<Job>("report").await["metadata"]["generation"].clone();
    assert_eq!(now, version);
}

/// Waits until the status of the Sync remembers that Jobs were made.
async fn remembered(case: &Case<'_>) {
    case.until("all", "Jobs are remembered", |sync| {
        let status = sync.status.as_ref();
        status.is_some_and(|status| !status.made_jobs.is_empty())
    })
    .await;
}

/// While no operator runs, a Job completes and is removed by its TTL or by a person, and a commit comes.
#[tokio::test]
async fn a_job_that_ends_and_goes_while_towline_is_away_is_not_run_again() {
    let mut world = World::own(
        Options {
            controllers: true,
            ..Options::default()
        },
        &[],
    )
    .await;
    let case = world.case("away").await;
    let namespace = case.namespace.clone();
    let ttl = "  ttlSecondsAfterFinished: 1\n";
    let files = [
        ("ttl.yaml", job("ttl", &namespace, ttl, "one")),
        ("kept.yaml", job("kept", &namespace, "", "one")),
        ("changed.yaml", job("changed", &namespace, ttl, "one")),
        ("running.yaml", job("running", &namespace, "", "one")),
        ("map.yaml", case.map("map", "one")),
    ];
    let commit = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    remembered(&case).await;
    let running = case.live::<Job>("running").await["metadata"]["uid"].clone();
    let aside = case.into_parts();
    world.operator.kill();

    let case = world.resume(aside).await;
    for name in ["ttl", "kept", "changed"] {
        completes(&case, name).await;
    }
    case.gone::<Job>("ttl").await;
    case.gone::<Job>("changed").await;
    case.delete::<Job>("kept").await;
    case.gone::<Job>("kept").await;
    let commit = case
        .push(
            &[
                (
                    "changed.yaml",
                    Some(&job("changed", &namespace, ttl, "two")),
                ),
                ("map.yaml", Some(&case.map("map", "two"))),
            ],
            "while nobody looks",
        )
        .await;
    let aside = case.into_parts();
    world.operator.restart().await;

    let case = world.resume(aside).await;
    completes(&case, "changed").await;
    case.synced("all", &commit).await;
    case.has("map", "value", Some("two")).await;
    for name in ["ttl", "kept"] {
        stays_gone(&case, name).await;
        case.wait_for_event("NotRunAgain", &[name, "not run again"])
            .await;
    }
    let now = case.live::<Job>("running").await["metadata"]["uid"].clone();
    assert_eq!(now, running);
    // One that is seen to go before it has finished is made again, also after that.
    case.delete::<Job>("running").await;
    eventually("it runs again", PATIENCE, async || {
        let job = case.live::<Job>("running").await;
        let is_new = !job.is_null() && job["metadata"]["uid"] != running;
        is_new.then_some(()).ok_or(job)
    })
    .await;
    // Neither a verification nor another start runs them again, and nothing is said twice.
    case.reconcile("all").await;
    case.ready_becomes("all", "True", "Converged").await;
    let told = case.events("NotRunAgain").await;
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    case.reconcile("all").await;
    for name in ["ttl", "kept"] {
        stays_gone(&case, name).await;
    }
    assert_eq!(case.events("NotRunAgain").await, told);
    // Another manifest is another run, and so is one that comes back.
    let kept = job("kept", &namespace, "", "two");
    let commit = case
        .push(&[("ttl.yaml", None), ("kept.yaml", Some(&kept))], "changed")
        .await;
    case.synced("all", &commit).await;
    completes(&case, "kept").await;
    let ttl = job("ttl", &namespace, ttl, "one");
    case.push(&[("ttl.yaml", Some(&ttl))], "back").await;
    completes(&case, "ttl").await;
}

/// The API server has forgotten what happened while the operator's watch was cut.
#[tokio::test]
async fn a_job_that_goes_while_its_watch_is_cut_is_not_run_again() {
    let cp = ControlPlane::start(Options {
        controllers: true,
        ..Options::default()
    })
    .await;
    let faults = Faults::before(&cp, 1).await;
    let options = OperatorOptions {
        kubeconfig: faults.kubeconfig(),
        ..OperatorOptions::new(&cp)
    };
    let world = World::with(cp, options).await;
    let case = world.case("cut").await;
    let file = job("once", &case.namespace, "", "one");
    let commit = case.repo.commit(&[("job.yaml", Some(file))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    faults.always(Some(Rule {
        method: Method::GET,
        path: "/jobs".to_owned(),
        fault: Fault::Gone,
    }));
    faults.end_watches();
    eventually("the watch is cut", PATIENCE, async || {
        faults.met().contains_key(&Fault::Gone).then_some(())
    })
    .await;
    completes(&case, "once").await;
    eventually("the Job is complete", PATIENCE, async || {
        let job = case.live::<Job>("once").await;
        let is_complete = job["status"]["succeeded"] == json!(1);
        is_complete.then_some(()).ok_or(job)
    })
    .await;
    case.delete::<Job>("once").await;
    case.gone::<Job>("once").await;
    faults.always(None);
    case.wait_for_event("NotRunAgain", &["once"]).await;
    stays_gone(&case, "once").await;
    case.ready_becomes("all", "True", "Converged").await;
}
