//! Fields that exclude each other: a default that the API server set does not block the value in Git.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::networking::v1::NetworkPolicy;
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

/// Generators write fields without a value. The server fills them, and nothing is left to empty.
fn with_empty(deployment: &str) -> String {
    deployment.replace("spec:\n  replicas", "spec:\n  strategy: {}\n  replicas")
}

#[tokio::test]
async fn a_default_is_removed_when_git_sets_a_field_that_excludes_it() {
    let volume = "      volumes: [{name: other}, {name: v}]\n";
    let files = async |namespace: &str| {
        vec![
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
            (
                "volume.yaml".to_owned(),
                with_empty(&deployment("volume", namespace, volume)),
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
                    Some(&with_empty(&deployment("volume", namespace, volume))),
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

/// Handlers of probes, sources of volumes and of variables, and types of Services: of each the server fills in more than
/// Git declares, and one excludes the other.
#[tokio::test]
async fn one_member_of_a_union_replaces_another() {
    const UNIONS: [(&str, [&str; 2]); 9] = [
        (
            "volume",
            ["configMap: {name: x}", "secret: {secretName: x}"],
        ),
        (
            "projected",
            [
                "secret: {secretName: x}",
                "projected: {sources: [{secret: {name: x}}]}",
            ],
        ),
        ("host", ["hostPath: {path: /x}", "emptyDir: {}"]),
        (
            "readinessProbe",
            ["httpGet: {port: 80}", "tcpSocket: {port: 80}"],
        ),
        (
            "livenessProbe",
            ["httpGet: {port: 80, path: /a}", "exec: {command: [x]}"],
        ),
        ("startupProbe", ["grpc: {port: 80}", "httpGet: {port: 80}"]),
        (
            "lifecycle",
            [
                "preStop: {httpGet: {port: 80}}",
                "preStop: {sleep: {seconds: 3}}",
            ],
        ),
        (
            "field",
            [
                "fieldRef: {fieldPath: metadata.name}",
                "secretKeyRef: {name: x, key: a}",
            ],
        ),
        (
            "resource",
            [
                "resourceFieldRef: {resource: limits.cpu}",
                "configMapKeyRef: {name: x, key: a}",
            ],
        ),
    ];
    let services = [
        "{type: NodePort, externalTrafficPolicy: Local, selector: {a: b}, ports: [{port: 80}]}",
        "{type: ClusterIP, selector: {a: b}, ports: [{port: 80}]}",
        "{type: LoadBalancer, selector: {a: b}, ports: [{port: 80}]}",
        "{type: ExternalName, externalName: example.com}",
    ];
    let of = |name: &str, member: &str, namespace: &str| {
        let (mut volumes, mut container) = ("[]".to_owned(), String::new());
        match name {
            "volume" | "projected" | "host" => volumes = format!("[{{name: v, {member}}}]"),
            "field" | "resource" => {
                container = format!("env: [{{name: A, valueFrom: {{{member}}}}}]");
            }
            _ => container = format!("{name}: {{{member}}}"),
        }
        let name = name.to_lowercase();
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  replicas: 0\n  \
             selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
             volumes: {volumes}\n      containers:\n      - name: web\n        image: web\n        {container}\n"
        )
    };
    let case = world().await.case("union-members").await;
    let files = |turn: usize| {
        let mut files: Vec<(String, Option<String>)> = UNIONS
            .iter()
            .map(|(name, members)| {
                let text = of(name, members[turn % 2], &case.namespace);
                (format!("{name}.yaml"), Some(text))
            })
            .collect();
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: {}}}\nspec: {}\n",
            case.namespace,
            services[turn % services.len()]
        );
        files.push(("service.yaml".to_owned(), Some(service)));
        files
    };
    let first = case.repo.commit(&files(0), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    for turn in 1..=services.len() {
        let commit = case.repo.commit(&files(turn), "the other");
        case.announce().await;
        case.synced("all", &commit).await;
    }
}

/// What a person set stands against Git only where the API server refuses the two together.
#[tokio::test]
async fn a_persons_member_of_a_union_gives_way_to_gits() {
    let case = world().await.case("union-persons").await;
    let namespace = &case.namespace;
    let pod = |volume: &str, probe: &str| {
        let volumes = format!("      volumes: [{{name: v, {volume}}}]\n");
        let text = deployment("web", namespace, &volumes);
        text.replace(
            "image: web",
            &format!("image: web, livenessProbe: {{{probe}}}"),
        )
    };
    let theirs = pod("emptyDir: {}", "httpGet: {port: 80}");
    let theirs = theirs.replace(
        "spec:\n  replicas",
        "spec:\n  revisionHistoryLimit: 3\n  replicas",
    );
    let folder = towline_testing::scratch::Scratch::new().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, &theirs).unwrap();
    case.kubectl_as_person(&["create", "-f", file.to_str().unwrap()])
        .await;
    let uid = case.live::<Deployment>("web").await["metadata"]["uid"].clone();
    let git = pod(
        "configMap: {name: x, optional: true}",
        "exec: {command: [x]}",
    );
    let commit = case.repo.commit(&[("web.yaml", Some(git))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    assert_eq!(live["metadata"]["uid"], uid);
    assert_eq!(live["spec"]["revisionHistoryLimit"], 3, "{live}");
    let spec = &live["spec"]["template"]["spec"];
    assert_eq!(spec["volumes"][0]["configMap"]["name"], "x", "{live}");
    assert_eq!(spec["volumes"][0].get("emptyDir"), None, "{live}");
    let probe = &spec["containers"][0]["livenessProbe"];
    assert_eq!(
        (probe["exec"].is_object(), probe.get("httpGet")),
        (true, None),
        "{live}"
    );
}

/// A source of one volume goes to another one, which had a default until then.
#[tokio::test]
async fn sources_of_two_volumes_trade_places() {
    let volumes = |a: &str, b: &str| format!("      volumes: [{{name: a{a}}}, {{name: b{b}}}]\n");
    let source = ", configMap: {name: x, optional: true}";
    let files = async |namespace: &str| {
        let web = deployment("web", namespace, &volumes(source, ""));
        vec![("web.yaml".to_owned(), web)]
    };
    let (case, _) = Case::started(world().await, "union-trade", files, json!({})).await;
    let web = deployment("web", &case.namespace, &volumes("", source));
    let commit = case.push(&[("web.yaml", Some(&web))], "trade").await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    let volumes = &live["spec"]["template"]["spec"]["volumes"];
    assert_eq!(
        *volumes,
        json!([
            {"name": "a", "emptyDir": {}},
            {"name": "b", "configMap": {"name": "x", "optional": true, "defaultMode": 420}},
        ])
    );
}

/// What was tried to have a change accepted has no effect on the next one. The API server has made the Job's selector, which
/// no manifest could replace.
#[tokio::test]
async fn a_change_that_is_refused_keeps_no_later_one_from_going_live() {
    let job = |namespace: &str, more: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: job, namespace: {namespace}}}\nspec:\n  suspend: true\n  \
             completionMode: Indexed\n{more}  template:\n    spec: {{restartPolicy: Never, containers: [{{name: a, image: a}}]}}\n"
        )
    };
    let files = async |namespace: &str| {
        let text = job(namespace, "  completions: 2\n  parallelism: 2\n");
        vec![("job.yaml".to_owned(), text)]
    };
    let spec = json!({"wait": false});
    let (case, _) = Case::started(world().await, "union-refused", files, spec).await;
    let before = case.live::<Job>("job").await;
    let refused = job(&case.namespace, "  completions: 3\n  parallelism: 2\n");
    case.push(&[("job.yaml", Some(&refused))], "refused").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("spec.completions"), "{message}");
    let share = async || {
        let live = case.live::<Job>("job").await;
        let all = live["metadata"]["managedFields"].as_array().unwrap();
        let ours = all.iter().find(|entry| entry["manager"] == "towline");
        ours.unwrap()["fieldsV1"]["f:spec"].clone()
    };
    assert_eq!(share().await.get("f:selector"), None);
    // It is not tried again and again.
    let version = async || case.live::<Job>("job").await["metadata"]["resourceVersion"].clone();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let quiet = version().await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(version().await, quiet);
    let other = job(
        &case.namespace,
        "  completions: 2\n  parallelism: 2\n  backoffLimit: 3\n",
    );
    let commit = case.push(&[("job.yaml", Some(&other))], "another").await;
    case.synced("all", &commit).await;
    let live = case.live::<Job>("job").await;
    assert_eq!(live["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(live["spec"]["backoffLimit"], 3);
    assert_eq!(live["spec"]["selector"], before["spec"]["selector"]);
}

/// A value that the API server made of another field follows that one, also for an object that another applier has made.
#[tokio::test]
async fn what_the_api_server_fills_in_from_other_fields_follows_git() {
    let case = world().await.case("union-implied").await;
    let web = |name: &str, account: &str| deployment(name, &case.namespace, account);
    let account = "      serviceAccountName: applier\n";
    let policy = |egress: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: {}}}\n\
             spec: {{podSelector: {{}}, ingress: [{{}}]{egress}}}\n",
            case.namespace
        )
    };
    let folder = towline_testing::scratch::Scratch::new().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, web("adopted", account)).unwrap();
    let file = file.to_str().unwrap();
    let flux = "--field-manager=kustomize-controller";
    case.kubectl_as_person(&["apply", "--server-side", flux, "-f", file])
        .await;
    let files = [
        ("web.yaml", Some(web("web", account))),
        ("adopted.yaml", Some(web("adopted", ""))),
        ("policy.yaml", Some(policy(""))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let account_of = async |name: &str| {
        let live = case.live::<Deployment>(name).await;
        live["spec"]["template"]["spec"]["serviceAccountName"].clone()
    };
    assert_eq!(account_of("web").await, "applier");
    assert_eq!(account_of("adopted").await, json!(null));
    let types = async || case.live::<NetworkPolicy>("p").await["spec"]["policyTypes"].clone();
    assert_eq!(types().await, json!(["Ingress"]));
    let files = [
        ("web.yaml", Some(&*web("web", ""))),
        (
            "policy.yaml",
            Some(&*policy(", egress: [{to: [{podSelector: {}}]}]")),
        ),
    ];
    let second = case.push(&files, "second").await;
    case.synced("all", &second).await;
    assert_eq!(account_of("web").await, json!(null));
    assert_eq!(types().await, json!(["Ingress", "Egress"]));
    let third = case
        .push(&[("policy.yaml", Some(&*policy("")))], "third")
        .await;
    case.synced("all", &third).await;
    assert_eq!(types().await, json!(["Ingress"]));
}
