//! A value that the API server repeats in an error reaches no condition, failure, event or log line.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::tenants::grant;
use crate::world::verdict::{assert_not_disclosed, assert_says};
use crate::world::{Case, PATIENCE, world};
use towline_testing::wait::eventually;

/// Values that look like secrets: a number without quotes, a refused field, and a key of a Secret.
const NUMBER: &str = "739118424";
const FIELD: &str = "Zk7q1echo8Xw";
const KEY: &str = "zk7q1key8xw";

/// A policy for this case's ConfigMaps and Secrets.
async fn policy(
    case: &Case<'_>,
    operations: &[&str],
    validations: Value,
) -> Api<ValidatingAdmissionPolicyBinding> {
    let name = &case.namespace;
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": operations, "resources": ["configmaps", "secrets"]}]},
            "validations": validations,
        },
    });
    let binding = json!({
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources":
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
    });
    let params = PostParams::default();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(case.client.clone());
    let policy = serde_json::from_value(policy).unwrap();
    policies.create(&params, &policy).await.unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(case.client.clone());
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&params, &binding).await.unwrap();
    bindings
}

/// Waits until a policy refuses a change of this ConfigMap.
async fn is_in_force(case: &Case<'_>, map: &str) {
    eventually("the policy is in force", PATIENCE, async || {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let other = Patch::Merge(json!({"data": {"value": "other"}}));
        let tried = case.api::<ConfigMap>().patch(map, &dry, &other).await;
        tried.is_err().then_some(())
    })
    .await;
}

/// An account that may not read an object does not get told what that is, neither when a change nor when a deletion is denied.
#[tokio::test]
async fn a_value_that_was_live_is_not_disclosed_to_an_account_that_may_not_read_it() {
    let case = world().await.case("echo-blind").await;
    grant(&case, "applier", "create,patch,delete", "configmaps").await;
    let map = |name: &str, value: &str| case.map(name, value);
    let first = case.repo.commit(
        &[
            ("map.yaml", Some(map("map", "Zk7q1seen8Xw"))),
            ("gone.yaml", Some(map("gone", "Zk7q1gone8Xw"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    case.synced("all", &first).await;
    let validations = json!([{"expression": "object != null && object.data == oldObject.data",
        "messageExpression": "'was ' + oldObject.data.value"}]);
    let bindings = policy(&case, &["UPDATE", "DELETE"], validations).await;
    is_in_force(&case, "map").await;
    let other = map("map", "other");
    case.push(&[("map.yaml", Some(&other))], "second").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    let left_out = "denied request (left out: it may show what the live object has";
    assert_says(&message, &["ConfigMap", "/map", left_out]);
    let same = map("map", "Zk7q1seen8Xw");
    let files = [("map.yaml", Some(&*same)), ("gone.yaml", None)];
    case.push(&files, "third").await;
    let message = case.ready_becomes("all", "False", "PruneFailed").await;
    assert_says(&message, &["ConfigMap", "/gone", left_out]);
    for marker in ["Zk7q1seen8Xw", "Zk7q1gone8Xw"] {
        assert_not_disclosed(&case, marker).await;
    }
    let name = case.namespace.as_str();
    let gone = bindings.delete(name, &DeleteParams::default()).await;
    assert!(gone.is_ok());
}

/// A policy says what an object was before the change that it refuses.
#[tokio::test]
async fn a_value_that_was_live_is_not_disclosed() {
    let case = world().await.case("echo-live").await;
    let name = case.namespace.as_str();
    let files = |values: [&str; 2]| {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {name}}}\nstringData: {{value: {}}}\n",
            values[1]
        );
        [("map.yaml", case.map("map", values[0])), ("s.yaml", secret)]
    };
    let first = files(["Zk7q1live8Xw", "Zk7q1past8Xw"]);
    let first = first.each_ref().map(|(path, text)| (*path, Some(text)));
    let commit = case.repo.commit(&first, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let validations = json!([{"expression": "object.data == oldObject.data",
        "messageExpression": "'was ' + oldObject.data.value + ' is ' + object.data.value"}]);
    let bindings = policy(&case, &["UPDATE"], validations).await;
    is_in_force(&case, "map").await;
    let second = files(["Zk7q1next8Xw", "other"]);
    let second = second.each_ref().map(|(path, text)| (*path, Some(&**text)));
    case.push(&second, "second").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(
        &message,
        &["ConfigMap", "/map", "denied request: was … is …"],
    );
    let sync = case.live::<towline::api::Sync>("all").await;
    let failures = sync["status"]["failures"].to_string();
    assert_says(&failures, &["Secret", "/s", "denied request (left out"]);
    for marker in [
        "Zk7q1live8Xw",
        "Zk7q1next8Xw",
        "Zk7q1past8Xw",
        "Wms3cTFwYXN0OFh3",
    ] {
        assert_not_disclosed(&case, marker).await;
    }
    let gone = bindings.delete(name, &DeleteParams::default()).await;
    assert!(gone.is_ok());
}

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

/// A rule of a definition compares a change with what was before, and says what that was.
#[tokio::test]
async fn a_value_that_was_live_is_not_disclosed_by_a_rule_of_its_definition() {
    let case = world().await.case("echo-rule").await;
    let group = format!("{}.example", case.namespace);
    let password = json!({"type": "string", "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "messageExpression": "'was ' + oldSelf + ' is ' + self"}]});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "password": password, "size": {"type": "integer", "maximum": 3}}}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("creds.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Cred", "plural": "creds"},
            "versions": [version]},
    });
    let cred = |name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": case.namespace});
        let api = format!("{group}/v1");
        let object = json!({"apiVersion": api, "kind": "Cred", "metadata": metadata, "spec": spec});
        Some(object.to_string())
    };
    let of = |value: &str| json!({"password": value});
    let first = case.repo.commit(
        &[
            ("definition/x.yaml", Some(definition.to_string())),
            ("seen/x.yaml", cred("seen", of("Zk7q1seen8Xw"))),
            ("blind/x.yaml", cred("blind", of("Zk7q1gone8Xw"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("definition", json!({"path": "definition"})).await;
    case.synced("definition", &first).await;
    let creds = format!("creds.{group}");
    grant(&case, "applier", "create,patch,delete", &creds).await;
    case.sync("seen", json!({"path": "seen"})).await;
    let account = json!({"path": "blind", "serviceAccountName": "applier"});
    case.sync("blind", account).await;
    for name in ["seen", "blind"] {
        case.synced(name, &first).await;
    }
    let other = json!({"password": "Zk7q1next8Xw", "size": 7});
    let files = ["seen", "blind"].map(|name| (format!("{name}/x.yaml"), cred(name, other.clone())));
    case.repo.commit(&files, "second");
    case.announce().await;
    let message = case.ready_becomes("seen", "False", "ApplyFailed").await;
    let says = [
        "spec.size",
        "should be less than or equal to 3",
        "was … is …",
    ];
    assert_says(&message, &says);
    let message = case.ready_becomes("blind", "False", "ApplyFailed").await;
    assert_says(
        &message,
        &["is invalid (left out: it may show what the live object has"],
    );
    for marker in ["Zk7q1seen8Xw", "Zk7q1gone8Xw", "Zk7q1next8Xw"] {
        assert_not_disclosed(&case, marker).await;
    }
    for name in ["seen", "blind", "definition"] {
        case.delete::<towline::api::Sync>(name).await;
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let _ = definitions.delete(&creds, &DeleteParams::default()).await;
}
