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
