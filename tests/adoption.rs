//! Adoption of objects that others applied. Fields from whole manifests of another applier follow Git.
//! Fields of every other owner stay.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, World, world};
use towline_testing::control_plane::Options;
use towline_testing::kubeconfig::User;
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

/// Applies a manifest from a file, as a person does.
async fn kubectl_apply(case: &Case<'_>, manifest: &str, args: &[&str]) {
    write_by_kubectl(case, "apply", manifest, args).await;
}

async fn write_by_kubectl(case: &Case<'_>, verb: &str, manifest: &str, args: &[&str]) {
    let folder = Scratch::new().unwrap();
    let file = folder.path().join("manifest.yaml");
    std::fs::write(&file, manifest).unwrap();
    let file = file.display().to_string();
    case.kubectl_as_person(&[&[verb, "-f", &file], args].concat())
        .await;
}

/// Writes a ConfigMap's data under another field manager's name: with server-side apply, or with an
/// update.
async fn write_as(case: &Case<'_>, name: &str, manager: &str, data: Value, applies: bool) {
    let client = case.world.cp.client_for(User::Person).await;
    let api: Api<ConfigMap> = Api::namespaced(client, &case.namespace);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data,
    });
    let mut params = PatchParams::apply(manager);
    let result = match applies {
        true => {
            api.patch(name, &params.force(), &Patch::Apply(object))
                .await
        }
        false => {
            params.force = false;
            api.patch(name, &params, &Patch::Merge(object)).await
        }
    };
    result.unwrap();
}

fn map(case: &Case<'_>, name: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {}}}\ndata: {data}\n",
        case.namespace
    )
}

async fn has_data(case: &Case<'_>, name: &str, data: Value) {
    eventually(&format!("{name} has {data}"), PATIENCE, async || {
        let live = case.live::<ConfigMap>(name).await;
        (live["data"] == data).then_some(()).ok_or(live)
    })
    .await;
}

const BOTH: &str = "{stay: '1', go: '1'}";
const STAY: &str = "{stay: '1'}";

#[tokio::test]
async fn a_field_of_another_applier_is_removed_when_git_removes_it() {
    let case = world().await.case("adoption").await;
    kubectl_apply(&case, &map(&case, "client", BOTH), &[]).await;
    kubectl_apply(&case, &map(&case, "server", BOTH), &["--server-side"]).await;
    let (saved, save) = (map(&case, "saved", BOTH), ["--save-config"]);
    write_by_kubectl(&case, "create", &saved, &save).await;
    // Helm 3 updates. Helm 4, Flux and Argo CD apply.
    for (manager, applies) in [
        ("helm", true),
        ("kustomize-controller", true),
        ("argocd-controller", true),
    ] {
        write_as(
            &case,
            manager,
            manager,
            json!({"stay": "1", "go": "1"}),
            applies,
        )
        .await;
    }
    kubectl_apply(&case, &map(&case, "early", BOTH), &[]).await;
    let names = [
        "client",
        "server",
        "saved",
        "helm",
        "kustomize-controller",
        "argocd-controller",
    ];
    let mut files: Vec<_> = names
        .iter()
        .map(|name| (format!("{name}.yaml"), Some(map(&case, name, BOTH))))
        .collect();
    // The commit that adopts this one no longer has the field.
    files.push(("early.yaml".to_owned(), Some(map(&case, "early", STAY))));
    let first = case.repo.commit(&files, "as it is");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    has_data(&case, "early", json!({"stay": "1"})).await;
    for name in names {
        has_data(&case, name, json!({"stay": "1", "go": "1"})).await;
    }
    let client = case.live::<ConfigMap>("client").await;
    let annotation =
        &client["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(
        *annotation,
        Value::Null,
        "the stale annotation was not removed"
    );
    // A field that no manifest declared.
    let note = json!({"data": {"note": "mine"}});
    case.patch::<ConfigMap>("client", note).await;

    let files: Vec<_> = names
        .iter()
        .map(|name| (format!("{name}.yaml"), Some(map(&case, name, STAY))))
        .collect();
    let second = case.repo.commit(&files, "go goes");
    case.announce().await;
    case.synced("all", &second).await;
    has_data(&case, "client", json!({"stay": "1", "note": "mine"})).await;
    for name in &names[1..] {
        has_data(&case, name, json!({"stay": "1"})).await;
    }
}

#[tokio::test]
async fn fields_of_a_later_applier_are_removed() {
    let files = async |namespace: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {namespace}}}\ndata: {BOTH}\n"
        );
        vec![("a.yaml".to_owned(), text)]
    };
    let (case, _) = Case::started(world().await, "adoption-later", files, json!({})).await;
    // The values that Git has, and one more.
    let more = map(&case, "a", "{stay: '1', go: '1', more: '1'}");
    for args in [&[][..], &["--server-side", "--force-conflicts"]] {
        kubectl_apply(&case, &more, args).await;
        has_data(&case, "a", json!({"stay": "1", "go": "1"})).await;
    }
    let changed = map(&case, "a", STAY);
    let second = case.push(&[("a.yaml", Some(&changed))], "go goes").await;
    case.synced("all", &second).await;
    has_data(&case, "a", json!({"stay": "1"})).await;
}

#[tokio::test]
async fn a_renumbered_port_replaces_the_old_one_without_a_pod_restart() {
    let case = world().await.case("adoption-ports").await;
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {}}}\n\
             spec:\n  selector: {{app: web}}\n  ports: [{{name: http, port: {port}, targetPort: 8080}}]\n",
            case.namespace
        )
    };
    let web = deployment("web", &case.namespace, "");
    kubectl_apply(&case, &service(80), &[]).await;
    kubectl_apply(&case, &web, &[]).await;
    // Git does not declare the replicas, which an autoscaler sets. They stay.
    let in_git = web.replace("  replicas: 1\n", "");
    case.kubectl_as_person(&["scale", "deployment", "web", "--replicas=2"])
        .await;
    let template = case.live::<Deployment>("web").await["spec"]["template"].clone();
    let first = case.repo.commit(
        &[
            ("service.yaml", Some(service(81))),
            ("web.yaml", Some(in_git)),
        ],
        "adopted with another port",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    case.wait_for_field::<Service>("web", "/spec/ports/0/port", json!(81))
        .await;
    let live = case.live::<Service>("web").await;
    assert_eq!(
        live["spec"]["ports"].as_array().map(Vec::len),
        Some(1),
        "{live}"
    );
    let live = case.live::<Deployment>("web").await;
    assert_eq!(live["spec"]["replicas"], 2, "{live}");
    assert_eq!(live["spec"]["template"], template, "{live}");
    let sets: Api<ReplicaSet> = case.api();
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        1
    );
}

#[tokio::test]
async fn fields_without_a_manager_follow_git_where_the_server_allows_it() {
    let case = world().await.case("adoption-old").await;
    let claim = |more: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: disk, namespace: {}}}\nspec: \
             {{accessModes: [ReadWriteOnce], storageClassName: '', resources: {{requests: {{storage: 1Gi}}}}{more}}}\n",
            case.namespace
        )
    };
    kubectl_apply(&case, &map(&case, "a", BOTH), &[]).await;
    kubectl_apply(&case, &claim(", volumeName: gone"), &[]).await;
    let forget = r#"[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]"#;
    for object in ["configmap/a", "pvc/disk"] {
        case.kubectl_as_person(&["patch", object, "--type=json", "-p", forget])
            .await;
    }
    let commit = case.repo.commit(
        &[
            ("a.yaml", Some(map(&case, "a", STAY))),
            ("disk.yaml", Some(claim(""))),
        ],
        "less",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    has_data(&case, "a", json!({"stay": "1"})).await;
    // The server set the volume's name too, and refuses to change it.
    let volume = json!("gone");
    case.wait_for_field::<PersistentVolumeClaim>("disk", "/spec/volumeName", volume)
        .await;
}

#[tokio::test]
async fn a_port_that_a_person_made_gives_way_to_gits() {
    let case = world().await.case("adoption-exposed").await;
    case.kubectl_as_person(&["create", "service", "clusterip", "web", "--tcp=8080"])
        .await;
    let unnamed = r#"[{"op":"remove","path":"/spec/ports/0/name"}]"#;
    case.kubectl_as_person(&["patch", "service/web", "--type=json", "--patch", unnamed])
        .await;
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {}}}\n\
         spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}\n",
        case.namespace
    );
    let commit = case.repo.commit(&[("web.yaml", Some(service))], "web");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let live = case.live::<Service>("web").await;
    let ports = live["spec"]["ports"].as_array().unwrap();
    assert_eq!((ports.len(), &ports[0]["port"]), (1, &json!(80)), "{live}");
}

/// `--takeover-managers` adds an applier, and `--show-values` shows what the API server repeats.
#[tokio::test]
async fn an_applier_that_an_argument_names_is_one() {
    let args = ["--takeover-managers=house-tool", "--show-values"];
    let world = World::own(Options::default(), &args).await;
    let case = world.case("house").await;
    write_as(
        &case,
        "house",
        "house-tool",
        json!({"stay": "1", "go": "1"}),
        true,
    )
    .await;
    write_as(
        &case,
        "other",
        "other-tool",
        json!({"stay": "1", "go": "1"}),
        true,
    )
    .await;
    let all = "{stay: '1', go: '1'}";
    let names = ["house", "other"];
    let files = names.map(|name| (format!("{name}.yaml"), Some(map(&case, name, all))));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let fewer = names.map(|name| {
        (
            format!("{name}.yaml"),
            Some(map(&case, name, "{stay: '1'}")),
        )
    });
    let second = case.repo.commit(&fewer, "fewer");
    case.announce().await;
    case.synced("all", &second).await;
    has_data(&case, "house", json!({"stay": "1"})).await;
    // Of a tool that nobody named, nothing is known.
    has_data(&case, "other", json!({"stay": "1", "go": "1"})).await;

    let web = crate::world::life::deployment("web", &case.namespace, "");
    let web = web.replace("replicas: 1", "replicas: -739118424");
    case.push(&[("web.yaml", Some(&web))], "a value").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("739118424"), "{message}");
}

/// The API server forgets who has which field of an object with such an item, and takes no apply of it.
#[tokio::test]
async fn an_item_without_its_key_keeps_no_object_from_being_applied() {
    let case = world().await.case("keyless").await;
    let account = |label: &str| {
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: odd, namespace: {}, labels: {{of: {label}}}}}\n",
            case.namespace
        )
    };
    let keyless = json!({"secrets": [{}]});
    let mut made = keyless.clone();
    made["metadata"] = json!({"name": "odd"});
    case.make::<ServiceAccount>(made).await;
    let first = case.repo.commit(
        &[
            ("odd.yaml", Some(account("git"))),
            ("a.yaml", Some(case.map("a", "one"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"pruneAdopted": true})).await;
    case.synced("all", &first).await;
    // Somebody adds one to an object that towline manages.
    case.patch::<ServiceAccount>("odd", keyless.clone()).await;
    let second = case
        .push(&[("odd.yaml", Some(&account("later")))], "second")
        .await;
    case.synced("all", &second).await;
    eventually("it is applied", PATIENCE, async || {
        let live = case.live::<ServiceAccount>("odd").await;
        let is_applied =
            live["metadata"]["labels"]["of"] == "later" && live["secrets"][0].is_null();
        is_applied.then_some(()).ok_or(live)
    })
    .await;
    let third = case.push(&[("odd.yaml", None)], "without it").await;
    case.synced("all", &third).await;
    eventually("it is pruned", PATIENCE, async || {
        let live = case.api::<ServiceAccount>().get_opt("odd").await.unwrap();
        live.is_none().then_some(()).ok_or(live)
    })
    .await;
}
