//! A value that the API server repeats in an error reaches no condition, failure, event or log line.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::world::verdict::{assert_not_disclosed, assert_says};
use crate::world::world;

/// Values that look like secrets: a number without quotes, a refused field, and a key of a Secret.
const NUMBER: &str = "739118424";
const FIELD: &str = "Zk7q1echo8Xw";
const KEY: &str = "zk7q1key8xw";

#[tokio::test]
async fn a_value_that_the_api_server_repeats_is_not_disclosed() {
    let case = world().await.case("echoes").await;
    let namespace = case.namespace.as_str();
    let group = format!("{namespace}.example");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("creds.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Cred", "plural": "creds"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "password": {"type": "string", "pattern": "^[a-z]+$"},
                    "pin": {"type": "string", "x-kubernetes-validations": [
                        {"rule": "self.size() < 3", "messageExpression": "\"the pin \" + self + \" is long\""}]},
                    "login": {"type": "string", "x-kubernetes-validations": [
                        {"rule": "self.size() < 3", "messageExpression":
                            "\"the password is \\\"\" + self.split(\":\")[1].lowerAscii() + \"\\\", or x\" + self.split(\":\")[1].substring(0, 9)"}]},
                }}},
            }}}],
        },
    });
    let cred = |name: &str, spec: serde_json::Value| {
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "Cred",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
        .to_string()
    };
    let web = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         containers: [{{name: web, image: web, env: [{{name: DB_PASSWORD, value: {NUMBER}}}]}}]\n"
    );
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\nstringData: {{? {KEY} : {{}}}}\n"
    );
    let files = [
        ("definition/x.yaml", definition.to_string()),
        ("x/x.yaml", web),
        ("y/x.yaml", cred("field", json!({"password": FIELD}))),
        ("cel/x.yaml", cred("cel", json!({"pin": FIELD}))),
        (
            "piece/x.yaml",
            cred("piece", json!({"login": format!("user:{FIELD}")})),
        ),
        ("z/x.yaml", secret),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text)))
        .collect();
    let commit = case.repo.commit(&files, "values in wrong places");
    case.repository(json!({})).await;
    case.sync("definition", json!({"path": "definition"})).await;
    case.synced("definition", &commit).await;
    for (folder, says) in [
        ("x", r#"env[name="DB_PASSWORD"].value: expected string"#),
        ("y", "spec.password in body should match '^[a-z]+$'"),
        ("cel", "spec.pin"),
        ("piece", "the password is \"…\", or x…"),
        ("z", "stringData"),
    ] {
        case.sync(folder, json!({"path": folder})).await;
        let message = case.ready_becomes(folder, "False", "ApplyFailed").await;
        assert_says(&message, &[says]);
    }
    for marker in [NUMBER, FIELD, KEY, &FIELD.to_lowercase(), &FIELD[..9]] {
        assert_not_disclosed(&case, marker).await;
    }
    case.delete::<towline::api::Sync>("definition").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let name = format!("creds.{group}");
    let _ = definitions.delete(&name, &DeleteParams::default()).await;
}
