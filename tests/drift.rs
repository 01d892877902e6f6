//! `mode: Correct`: changes of declared values are undone at once, and additions by others stay.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, condition, config_map, world};
use towline_testing::kubeconfig::User;
use towline_testing::wait::{eventually, never, within};

const PART_OF: &str = "applyset.kubernetes.io/part-of";

async fn maps(names: &[&str], spec: Value) -> Case<'static> {
    let files = async |namespace: &str| {
        let file = |name: &&str| (format!("{name}.yaml"), config_map(name, namespace, "git"));
        names.iter().map(file).collect()
    };
    Case::started(world().await, "drift", files, spec).await.0
}

#[tokio::test]
async fn a_persons_change_of_a_declared_value_is_undone_and_reported() {
    let replace = r#"{"data":{"value":"person"}}"#;
    let remove = r#"[{"op":"remove","path":"/data/value"}]"#;
    let unmark = format!("{PART_OF}-");
    let other = format!("{PART_OF}=mine");
    let cases: [(&str, &[&str], &str); 7] = [
        (
            "edited",
            &[
                "patch",
                "configmap",
                "edited",
                "--type=merge",
                "-p",
                replace,
            ],
            "kubectl-patch",
        ),
        (
            "emptied",
            &["patch", "configmap", "emptied", "--type=json", "-p", remove],
            "", // the removal of a field does not record who did it
        ),
        ("deleted", &["delete", "configmap", "deleted"], ""),
        ("unmarked", &["label", "configmap", "unmarked", &unmark], ""),
        (
            "relabelled",
            &["label", "--overwrite", "configmap", "relabelled", &other],
            "", // an object without our labels is not ours any more
        ),
        (
            "nameless",
            &["annotate", "configmap", "nameless", "towline.dev/identity-"],
            "",
        ),
        (
            "disguised",
            &[
                "patch",
                "configmap",
                "disguised",
                "--field-manager=towline",
                "--type=merge",
                "-p",
                replace,
            ],
            "towline",
        ),
    ];
    let names = cases.map(|(name, _, _)| name);
    let case = maps(&names, json!({})).await;
    let id = case.live::<ConfigMap>("edited").await["metadata"]["labels"][PART_OF].clone();
    for (name, act, writer) in cases {
        let before = case.live::<ConfigMap>(name).await["metadata"]["resourceVersion"].clone();
        case.kubectl_as_person(act).await;
        eventually(&format!("{name} is as in Git"), PATIENCE, async || {
            let map = case.live::<ConfigMap>(name).await;
            let healed = map["metadata"]["resourceVersion"] != before
                && map["data"]["value"] == "git"
                && map["metadata"]["labels"][PART_OF] == id
                && map["metadata"]["annotations"]["towline.dev/identity"].is_string();
            healed.then_some(()).ok_or(map)
        })
        .await;
        case.wait_for_event("DriftCorrected", &[name, writer]).await;
    }
    case.ready_becomes("all", "True", "Converged").await;
}

#[tokio::test]
async fn fields_that_another_applier_took_are_taken_back() {
    let case = maps(&["taken", "disguised"], json!({})).await;
    let client = case.world.cp.client_for(User::Person).await;
    let api: Api<ConfigMap> = Api::namespaced(client, &case.namespace);
    for (name, manager) in [("taken", "someone"), ("disguised", "towline")] {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"value": "person"},
        });
        let params = PatchParams::apply(manager).force();
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap();
        case.has(name, "value", Some("git")).await;
        case.wait_for_event("DriftCorrected", &[name]).await;
    }
}

#[tokio::test]
async fn scaling_is_undone_and_additions_stay() {
    let files = async |namespace: &str| {
        vec![
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
            ("map.yaml".to_owned(), config_map("map", namespace, "git")),
        ]
    };
    let (case, _) = Case::started(world().await, "added", files, json!({})).await;
    let mark = case.world.cp.audit().mark();
    let sidecar =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side"}]}}}}"#;
    for act in [
        &["annotate", "configmap", "map", "person/note=mine"][..],
        &["label", "configmap", "map", "person/label=mine"],
        &[
            "patch",
            "configmap",
            "map",
            "--type=merge",
            "-p",
            r#"{"data":{"more":"mine"}}"#,
        ],
        &[
            "patch",
            "deployment",
            "web",
            "--type=strategic",
            "-p",
            sidecar,
        ],
        &["rollout", "restart", "deployment/web"],
    ] {
        case.kubectl_as_person(act).await;
    }
    never(
        "a request about what was added",
        Duration::from_millis(700),
        async || {
            let requests = case.requests(mark).await;
            (!requests.is_empty()).then_some(requests)
        },
    )
    .await;

    case.kubectl_as_person(&["scale", "deployment", "web", "--replicas=3"])
        .await;
    case.wait_for_field::<Deployment>("web", "/spec/replicas", json!(1))
        .await;
    // The managedFields entry of subresource `scale` has no time, but those of `kubectl patch` and
    // `rollout` have.
    case.wait_for_event("DriftCorrected", &["web (changed by kubectl)"])
        .await;
    case.kubectl_as_person(&["set", "image", "deployment/web", "web=other"])
        .await;
    // A container that others added is first in the list.
    let image = "/spec/template/spec/containers/1/image";
    case.wait_for_field::<Deployment>("web", image, json!("web"))
        .await;
    let web = case.live::<Deployment>("web").await;
    let template = &web["spec"]["template"];
    assert!(template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
    assert_eq!(template["spec"]["containers"][0]["name"], "side");
    let map = case.live::<ConfigMap>("map").await;
    assert_eq!(map["data"]["more"], "mine");
    assert_eq!(map["metadata"]["annotations"]["person/note"], "mine");
}

/// Who only removes a field has no entry in managedFields.
#[tokio::test]
async fn who_wrote_something_else_is_not_named_for_a_field_that_is_gone() {
    let case = maps(&["map"], json!({})).await;
    // Times in managedFields are whole seconds: the note is newer than the apply.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let note = ["annotate", "configmap", "map", "person/note=mine"];
    case.kubectl_as_person(&[&note[..], &["--field-manager=annotator"]].concat())
        .await;
    let rests = Duration::from_millis(500);
    never("a correction of the note", rests, async || {
        case.events("DriftCorrected").await.first().cloned()
    })
    .await;
    case.patch::<ConfigMap>("map", json!({"data": null})).await;
    case.has("map", "value", Some("git")).await;
    case.wait_for_event("DriftCorrected", &["healed ConfigMap"])
        .await;
    let told = case.events("DriftCorrected").await;
    assert!(!told[0].contains("changed by"), "{told:?}");
}

#[tokio::test]
async fn repeated_corrections_are_slowed_down_for_that_object_only() {
    let case = maps(&["contested", "quiet"], json!({})).await;
    let mark = case.world.cp.audit().mark();
    let rival = json!({"data": {"value": "rival"}});
    for _ in 0..4 {
        case.patch::<ConfigMap>("contested", rival.clone()).await;
        case.has("contested", "value", Some("git")).await;
    }
    for _ in 0..6 {
        case.patch::<ConfigMap>("contested", rival.clone()).await;
        let healed = async || {
            case.data("contested")
                .await
                .filter(|data| data["value"] == "git")
        };
        let _ = within(Duration::from_millis(200), healed).await;
    }
    let applies = case.requests(mark).await.len();
    assert!(
        (4..8).contains(&applies),
        "{applies} applies for 10 changes"
    );
    let sync = eventually("the repeated change is reported", PATIENCE, async || {
        // Repeats the change: a corrected object would not be reported.
        case.patch::<ConfigMap>("contested", rival.clone()).await;
        let sync: Sync = case.api().get("all").await.unwrap();
        let reason = condition(&sync, "Ready").1;
        (reason == "DriftFound").then_some(sync).ok_or(reason)
    })
    .await;
    let (_, _, message) = condition(&sync, "Drifted");
    for part in ["contested", "person", "keeps being changed"] {
        assert!(message.contains(part), "{part} in: {message}");
    }
    case.patch::<ConfigMap>("quiet", json!({"data": {"value": "person"}}))
        .await;
    case.has("quiet", "value", Some("git")).await;
    case.has("contested", "value", Some("git")).await;
    case.ready_becomes("all", "True", "Converged").await;
}

/// As `kubectl edit` does: an item of a list gets another key.
async fn renumber(case: &Case<'_>, object: &str, field: &str) {
    let patch = json!([{"op": "replace", "path": field, "value": 8081}]).to_string();
    let patch = ["patch", object, "--type=json", "--patch", &patch];
    case.kubectl_as_person(&patch).await;
}

#[tokio::test]
async fn a_persons_item_that_cannot_stand_beside_gits_goes() {
    let service = |name: &str, namespace: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{app: web}}, ports: {ports}}}\n"
        )
    };
    let files = async |namespace: &str| {
        let named = "[{name: http, port: 80}, {name: metrics, port: 9090}]";
        let port = "image: web, ports: [{name: http, containerPort: 8080}]}]";
        let web = deployment("web", namespace, "").replace("image: web}]", port);
        vec![
            (
                "one.yaml".to_owned(),
                service("one", namespace, "[{port: 80}]"),
            ),
            ("two.yaml".to_owned(), service("two", namespace, named)),
            ("web.yaml".to_owned(), web),
        ]
    };
    let (case, _) = Case::started(world().await, "drift-keys", files, json!({})).await;
    // Its own port, which harms nothing, stays.
    let more =
        json!([{"op": "add", "path": "/spec/ports/-", "value": {"name": "more", "port": 90}}]);
    case.kubectl_as_person(&[
        "patch",
        "service/two",
        "--type=json",
        "--patch",
        &more.to_string(),
    ])
    .await;
    renumber(&case, "service/one", "/spec/ports/0/port").await;
    renumber(&case, "service/two", "/spec/ports/0/port").await;
    let port = "/spec/template/spec/containers/0/ports/0/containerPort";
    renumber(&case, "deployment/web", port).await;
    let numbers = |list: &Value, name: &str| -> Vec<Value> {
        let items = list.as_array().into_iter().flatten();
        let mut numbers: Vec<_> = items.map(|item| item[name].clone()).collect();
        numbers.sort_by_key(Value::as_u64);
        numbers
    };
    eventually("the ports of Git alone are back", PATIENCE, async || {
        let one = case.live::<Service>("one").await;
        let two = case.live::<Service>("two").await;
        let web = case.live::<Deployment>("web").await;
        let web = &web["spec"]["template"]["spec"]["containers"][0]["ports"];
        let found = (
            numbers(&one["spec"]["ports"], "port"),
            numbers(&two["spec"]["ports"], "port"),
            numbers(web, "containerPort"),
        );
        let wanted = (
            vec![json!(80)],
            [80, 90, 9090].map(Value::from).to_vec(),
            vec![json!(8080)],
        );
        (found == wanted).then_some(()).ok_or(found)
    })
    .await;
    case.ready_becomes("all", "True", "Converged").await;
}
