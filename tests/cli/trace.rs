//! Whose an object is, why it is not as Git says, and what somebody with fewer rights sees.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::{json_of, run, run_with};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::world;

#[tokio::test]
async fn an_object_is_traced_to_its_commit_and_author() {
    let case = world().await.case("cli-trace").await;
    let namespace = &case.namespace;
    let files = [
        ("app/map.yaml", case.map("shop", "one")),
        ("app/web.yaml", deployment("web", namespace, UNSCHEDULABLE)),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text)))
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app", "wait": true})).await;
    case.ready_becomes("all", "False", "HealthPending").await;

    let short = &commit[..12];
    let traced = run(&case, &["trace", "cm/shop"]).await;
    let sync = format!("{namespace}/all");
    let url = format!("repo ({})", case.repo.url());
    traced.says(
        0,
        &[
            &sync,
            "app",
            short,
            "author",
            "not recorded in the cluster",
            &url,
        ],
    );
    let as_json = json_of(&run(&case, &["trace", "configmap/shop", "-o", "json"]).await);
    assert_eq!(as_json["sync"], sync);
    case.make::<ConfigMap>(json!({"metadata": {"name": "mine", "namespace": namespace}}))
        .await;
    run(&case, &["trace", "cm/mine"])
        .await
        .says(1, &["towline does not manage this object"]);
    run(&case, &["trace", "widget/a"])
        .await
        .fails(2, &["the cluster serves no kind widget"]);
    run(&case, &["trace", "shop"])
        .await
        .fails(2, &["name a kind and an object"]);

    // A pod leads to its Deployment, and the Deployment's trouble to its pod.
    let pods = case.kubectl_as_person(&["get", "pods", "-o", "name"]).await;
    let pod = pods.trim();
    let deployment = format!("of Deployment.apps {namespace}/web");
    run(&case, &["trace", pod])
        .await
        .says(0, &[&deployment, &sync]);
    let why = run(&case, &["why", "deploy/web"]).await;
    why.says(1, &["Deployment.apps", "is not ready", "Pod ", "Way out: "]);
    run(&case, &["why", pod]).await.says(1, &["is not ready"]);
    run(&case, &["why", "cm/shop"])
        .await
        .says(1, &["is healthy, but its Sync is not ready"]);
    run(&case, &["why", "sync/all"])
        .await
        .says(1, &["waits (HealthPending)", "reasons.md#healthpending"]);
    run(&case, &["why", "repo/repo"])
        .await
        .says(0, &["is ready: fetched"]);
    run(&case, &["why", "cm/mine"])
        .await
        .says(0, &["towline does not manage it"]);
    let tree = run(&case, &["tree", "all"]).await;
    tree.says(
        0,
        &[
            "sync/all  HealthPending",
            "ConfigMap",
            "InProgress",
            "ReplicaSet.apps",
            "└─ Pod",
        ],
    );
    let tree = json_of(&run(&case, &["tree", "all", "-o", "json"]).await);
    assert_eq!(tree["objects"].as_array().unwrap().len(), 2);

    // What is refused is named with its file.
    let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n";
    case.push(
        &[("bad/wrong.yaml", Some(wrong)), ("app/web.yaml", None)],
        "wrong",
    )
    .await;
    case.sync(
        "other",
        json!({"path": "bad", "targetNamespace": namespace}),
    )
    .await;
    case.ready_becomes("other", "False", "ApplyFailed").await;
    let why = run(&case, &["why", "cm/UPPER"]).await;
    why.says(
        1,
        &[
            "UPPER (bad/wrong.yaml",
            "fails (ApplyFailed)",
            "reasons.md#applyfailed",
        ],
    );

    // So is what is there, and cannot be taken over.
    let fixed =
        json!({"metadata": {"name": "fixed"}, "immutable": true, "data": {"value": "theirs"}});
    case.make::<ConfigMap>(fixed).await;
    let map = case.map("fixed", "ours");
    case.push(&[("bad/fixed.yaml", Some(&*map))], "fixed").await;
    case.wait_for_event("ApplyFailed", &["fixed"]).await;
    run(&case, &["why", "cm/fixed"])
        .await
        .says(1, &["fixed (bad/fixed.yaml", "fails (ApplyFailed)"]);

    case.wait_for_event("ApplyFailed", &["UPPER"]).await;
    run(&case, &["events"]).await.says(
        0,
        &[
            "AGO",
            "repo/repo",
            "ChangeCommitted",
            "sync/other",
            "ApplyFailed",
        ],
    );
    let of_one = run(&case, &["events", "repo"]).await;
    assert!(
        !of_one.says(0, &["repo/repo"]).out.contains("sync/other"),
        "{of_one:#?}"
    );
    run(&case, &["history", "all"])
        .await
        .says(0, &["REVISION", short, "AUTHOR", "SUBJECT"]);
    let history = json_of(&run(&case, &["history", "all", "-o", "json"]).await);
    assert!(history["history"][0]["revision"].is_string(), "{history}");
    assert!(history["history"][0]["subject"].is_string(), "{history}");
}

/// A user who may read one namespace only sees what is there, and is told what is missing.
#[tokio::test]
async fn fewer_rights_show_less_and_say_so() {
    let case = world().await.case("cli-rights").await;
    let namespace = &case.namespace;
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let resources = "--resource=configmaps,syncs.towline.dev,gitrepositories.towline.dev";
    case.kubectl_as_person(&["create", "role", "reader", "--verb=get,list", resources])
        .await;
    case.kubectl_as_person(&[
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--user=reader",
    ])
    .await;
    let reader = case
        .world
        .cp
        .kubeconfig_as("reader", &["system:authenticated"]);
    let run = async |args: &[&str]| {
        let args = [args, &["-n", namespace]].concat();
        run_with(Some(&reader), &args).await
    };
    run(&["get"]).await.says(0, &["sync/all"]);
    run(&["wait", "--commit", &commit])
        .await
        .says(0, &["sync/all: live"]);
    let tree = run(&["tree", "all"]).await;
    tree.says(0, &["ConfigMap"]).fails(
        0,
        &["warning: you may not list configmaps in all namespaces"],
    );
    run(&["trace", "cm/a"]).await.says(0, &["all", "author"]);
    run(&["why", "cm/a"]).await.says(0, &["as Git says"]);
    run(&["trace", "secret/a"])
        .await
        .fails(2, &["you have no right to get secrets a in namespace"]);
    run(&["reconcile", "all"])
        .await
        .fails(2, &["you have no right to patch syncs.towline.dev all"]);
}
