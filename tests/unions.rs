//! Fields that exclude each other: a default that the API server set does not block the value in Git.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use serde_json::json;

use crate::world::life::deployment;
use crate::world::{Case, world};

fn stateful(namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db, namespace: {namespace}}}\n\
         spec:\n  replicas: 0\n  serviceName: db\n  selector: {{matchLabels: {{app: db}}}}\n{more}  template:\n    \
         metadata: {{labels: {{app: db}}}}\n    spec: {{containers: [{{name: db, image: db}}]}}\n"
    )
}

#[tokio::test]
async fn a_default_is_removed_when_git_sets_a_field_that_excludes_it() {
    let volume = "      volumes: [{name: other}, {name: v}]\n";
    let files = async |namespace: &str| {
        vec![
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
            (
                "volume.yaml".to_owned(),
                deployment("volume", namespace, volume),
            ),
            ("db.yaml".to_owned(), stateful(namespace, "")),
        ]
    };
    let (case, _) = Case::started(world().await, "unions", files, json!({})).await;
    let uid = case.live::<Deployment>("web").await["metadata"]["uid"].clone();
    let namespace = case.namespace.as_str();
    let recreate = deployment("web", namespace, "").replace(
        "spec:\n  replicas",
        "spec:\n  strategy: {type: Recreate}\n  replicas",
    );
    let volume =
        "      volumes: [{name: v, configMap: {name: x, optional: true}}, {name: other}]\n";
    let commit = case
        .push(
            &[
                ("web.yaml", Some(&recreate)),
                (
                    "volume.yaml",
                    Some(&deployment("volume", namespace, volume)),
                ),
                (
                    "db.yaml",
                    Some(&stateful(namespace, "  updateStrategy: {type: OnDelete}\n")),
                ),
            ],
            "others of a union",
        )
        .await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    assert_eq!(
        live["spec"]["strategy"],
        json!({"type": "Recreate"}),
        "{live}"
    );
    assert_eq!(live["metadata"]["uid"], uid);
    let live = case.live::<StatefulSet>("db").await;
    assert_eq!(
        live["spec"]["updateStrategy"],
        json!({"type": "OnDelete"}),
        "{live}"
    );
    let live = case.live::<Deployment>("volume").await;
    let volumes = live["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    let named = |name: &str| {
        volumes
            .iter()
            .find(|volume| volume["name"] == name)
            .unwrap()
    };
    assert_eq!(named("other")["emptyDir"], json!({}), "{live}");
    assert_eq!(named("v")["configMap"]["name"], "x", "{live}");
    assert_eq!(named("v").get("emptyDir"), None, "{live}");
}

#[tokio::test]
async fn a_persons_return_to_the_default_is_undone() {
    let files = async |namespace: &str| {
        let web = deployment("web", namespace, "").replace(
            "spec:\n  replicas",
            "spec:\n  strategy: {type: Recreate}\n  replicas",
        );
        vec![("web.yaml".to_owned(), web)]
    };
    let (case, _) = Case::started(world().await, "unions-drift", files, json!({})).await;
    let rolling = json!({"spec": {"strategy": {"type": "RollingUpdate"}}});
    case.patch::<Deployment>("web", rolling).await;
    let strategy = json!({"type": "Recreate"});
    // The person's write made the server set the default, and nobody owns that field.
    case.wait_for_field::<Deployment>("web", "/spec/strategy", strategy)
        .await;
    case.ready_becomes("all", "True", "Converged").await;
}
