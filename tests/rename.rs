//! Case 5 of the engine: a new object that needs what an old one holds, which leaves Git in the same commit.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Service};
use serde_json::json;

use crate::world::{Case, PATIENCE, world};
use towline_testing::audit::Entry;
use towline_testing::kubeconfig::User;
use towline_testing::wait::{eventually, never};

fn service(name: &str, namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  selector: {{app: shop}}\n{more}"
    )
}

/// The port has to be one up to 30085: above it, Kubernetes chooses ports for other tests' Services (KEP-3668).
fn node_port(port: u32) -> String {
    format!("  type: NodePort\n  ports: [{{port: 8080, nodePort: {port}}}]\n")
}

fn address(last: u32) -> String {
    format!("  clusterIP: 10.96.7.{last}\n  ports: [{{port: 8080}}]\n")
}

#[tokio::test]
async fn a_renamed_service_gets_the_port_of_the_old_one() {
    let files = async |namespace: &str| {
        vec![
            (
                "old.yaml".to_owned(),
                service("old-name", namespace, &node_port(30001)),
            ),
            (
                "other.yaml".to_owned(),
                service("other", namespace, &node_port(30002)),
            ),
            (
                "map.yaml".to_owned(),
                crate::world::config_map("map", namespace, "git"),
            ),
        ]
    };
    let (case, _) = Case::started(world().await, "renamed", files, json!({})).await;
    let namespace = case.namespace.as_str();
    // An object that fails holds back everything else that is to be pruned.
    let bad = case.map("bad", "x").replace("\ndata:", "\ndota:");
    case.push(
        &[
            ("old.yaml", None),
            ("other.yaml", None),
            ("map.yaml", None),
            (
                "new.yaml",
                Some(&service("new-name", namespace, &node_port(30001))),
            ),
            ("bad.yaml", Some(&bad)),
        ],
        "rename",
    )
    .await;
    let port = "/spec/ports/0/nodePort";
    case.wait_for_field::<Service>("new-name", port, json!(30001))
        .await;
    case.gone::<Service>("old-name").await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_eq!(
        case.live::<Service>("other").await.pointer(port),
        Some(&json!(30002))
    );
    assert!(case.live::<ConfigMap>("map").await.is_object());
    let commit = case.push(&[("bad.yaml", None)], "mend").await;
    case.synced("all", &commit).await;
    case.gone::<Service>("other").await;
}

#[tokio::test]
async fn a_renamed_service_gets_the_address_of_the_old_one() {
    let files = async |namespace: &str| {
        let addresses = [("a", 177), ("b", 178)];
        addresses
            .map(|(name, last)| {
                (
                    format!("{name}.yaml"),
                    service(&format!("old-{name}"), namespace, &address(last)),
                )
            })
            .to_vec()
    };
    let (case, _) = Case::started(world().await, "readdressed", files, json!({})).await;
    let new = |name: &str, last| service(&format!("new-{name}"), &case.namespace, &address(last));
    let (a, b) = (new("a", 177), new("b", 178));
    let commit = case
        .push(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))], "rename")
        .await;
    case.synced("all", &commit).await;
    let found = case.live::<Service>("new-b").await["spec"]["clusterIP"].clone();
    assert_eq!(found, "10.96.7.178");
}

#[tokio::test]
async fn a_service_that_was_there_gets_the_port_of_one_that_leaves() {
    let files = async |namespace: &str| {
        let one = |name: &str, port| {
            let text = service(name, namespace, &node_port(port));
            (format!("{name}.yaml"), text)
        };
        vec![one("leaves", 30003), one("stays", 30004)]
    };
    let (case, _) = Case::started(world().await, "room-change", files, json!({})).await;
    let namespace = case.namespace.as_str();
    let uid = case.live::<Service>("stays").await["metadata"]["uid"].clone();
    let stays = service("stays", namespace, &node_port(30003));
    let commit = case
        .push(
            &[("leaves.yaml", None), ("stays.yaml", Some(&stays))],
            "one takes over",
        )
        .await;
    case.synced("all", &commit).await;
    assert!(case.live::<Service>("leaves").await.is_null());
    let live = case.live::<Service>("stays").await;
    assert_eq!(live["spec"]["ports"][0]["nodePort"], 30003);
    assert_eq!(live["metadata"]["uid"], uid);
    // A change that is refused for another reason as well makes nothing go.
    let (old, bad) = (
        service("old", namespace, &node_port(30004)),
        service("stays", namespace, &node_port(30004)) + "  externalTrafficPolicy: Never\n",
    );
    let commit = case.push(&[("old.yaml", Some(&old))], "old").await;
    case.synced("all", &commit).await;
    case.push(&[("old.yaml", None), ("stays.yaml", Some(&bad))], "bad")
        .await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    never(
        "the old one goes",
        std::time::Duration::from_millis(1500),
        async || {
            let live = case.live::<Service>("old").await;
            live.is_null().then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_create_that_is_refused_for_another_reason_costs_nothing() {
    let files = async |namespace: &str| {
        vec![
            (
                "old.yaml".to_owned(),
                service("old-name", namespace, &node_port(30005)),
            ),
            (
                "map.yaml".to_owned(),
                crate::world::config_map("map", namespace, "git"),
            ),
        ]
    };
    let (case, _) = Case::started(world().await, "refused", files, json!({})).await;
    let namespace = case.namespace.as_str();
    case.make::<Service>(json!({"metadata": {"name": "foreign"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30006}]}}))
        .await;
    let uid = case.live::<Service>("old-name").await["metadata"]["uid"].clone();
    // A port that may not be, one that somebody else has, and one that is the old one's beside another fault.
    for (port, more) in [
        (99, ""),
        (30006, ""),
        (30005, "  externalTrafficPolicy: Never\n"),
    ] {
        let new = service("new-name", namespace, &(node_port(port) + more));
        case.push(&[("old.yaml", None), ("new.yaml", Some(&new))], "rename")
            .await;
        case.ready_becomes("all", "False", "ApplyFailed").await;
        never(
            "the old one goes",
            std::time::Duration::from_millis(1500),
            async || {
                let live = case.live::<Service>("old-name").await;
                (live["metadata"]["uid"] != uid).then_some(live)
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_quota_that_is_full_makes_room() {
    let case = world().await.case("quota").await;
    case.make::<ResourceQuota>(
        json!({"metadata": {"name": "one"}, "spec": {"hard": {"services": "1"}}}),
    )
    .await;
    case.wait_for_field::<ResourceQuota>("one", "/status/hard/services", json!("1"))
        .await;
    let plain = "  ports: [{port: 8080}]\n";
    let old = service("old-name", &case.namespace, plain);
    let first = case.repo.commit(&[("old.yaml", Some(&old))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let new = service("new-name", &case.namespace, plain);
    let commit = case
        .push(&[("old.yaml", None), ("new.yaml", Some(&new))], "rename")
        .await;
    case.synced("all", &commit).await;
    case.gone::<Service>("old-name").await;
}

#[tokio::test]
async fn a_renamed_class_is_the_default_after_the_old_one() {
    let class = |name: &str| {
        format!(
            "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\n\
             value: 0\nglobalDefault: true\n"
        )
    };
    let files =
        async |namespace: &str| vec![("a.yaml".to_owned(), class(&format!("{namespace}-old")))];
    let (case, _) = Case::started(world().await, "default-class", files, json!({})).await;
    let new = class(&format!("{}-new", case.namespace));
    let commit = case.push(&[("a.yaml", Some(&new))], "rename").await;
    case.synced("all", &commit).await;
    let classes = case
        .kubectl_as_person(&["get", "priorityclasses", "--output=name"])
        .await;
    assert!(
        classes.contains(&format!("{}-new", case.namespace)),
        "{classes}"
    );
    assert!(
        !classes.contains(&format!("{}-old", case.namespace)),
        "{classes}"
    );
    case.delete::<towline::api::Sync>("all").await;
}

/// The API server loses a port where a Service is changed from a copy that is too old. So between two changes of one, it
/// is waited until the copy is the newest.
fn no_port_is_lost(requests: &[Entry], namespace: &str, what: &str) {
    let is_one = |entry: &&Entry| {
        entry.resource == "services"
            && entry.namespace == namespace
            && entry.user == User::Towline.name()
            && entry.code == 200
            && !entry.uri.contains("dryRun")
    };
    let mut changed = BTreeSet::new();
    for entry in requests.iter().filter(is_one) {
        match &*entry.verb {
            "patch" => assert!(changed.insert(&entry.name), "{what}: {requests:#?}"),
            _ if entry.uri.contains("resourceVersion=") => drop(changed.remove(&entry.name)),
            _ => (),
        }
    }
}

/// Each of three Services waits for a port of both others: one that goes aside does not free enough.
#[tokio::test]
async fn services_that_all_wait_for_each_other_trade_their_ports() {
    let spec = |[first, second]: [u32; 2]| {
        format!(
            "  type: NodePort\n  ports: [{{name: a, port: 8080, nodePort: {first}}}, {{name: b, port: 8081, nodePort: {second}}}]\n"
        )
    };
    let names = ["a", "b", "c"];
    let files = async |namespace: &str| {
        let file = |(name, ports): (&str, [u32; 2])| {
            (
                format!("{name}.yaml"),
                service(name, namespace, &spec(ports)),
            )
        };
        [
            ("a", [30_061, 30_062]),
            ("b", [30_063, 30_064]),
            ("c", [30_065, 30_066]),
        ]
        .map(file)
        .to_vec()
    };
    let (case, _) = Case::started(world().await, "tangled", files, json!({})).await;
    let of = async |name: &str| {
        let live = case.live::<Service>(name).await;
        let ports = [0, 1].map(|at| live["spec"]["ports"][at]["nodePort"].clone());
        (ports, live["metadata"]["uid"].clone())
    };
    let mut uids = Vec::new();
    for name in names {
        uids.push(of(name).await.1);
    }
    let wanted = [[30_063, 30_065], [30_061, 30_066], [30_062, 30_064]];
    let texts = wanted.map(spec);
    let files: Vec<(String, String)> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| (format!("{name}.yaml"), service(name, &case.namespace, text)))
        .collect();
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    let commit = case.push(&files, "all at once").await;
    case.synced("all", &commit).await;
    for ((name, ports), uid) in names.iter().zip(wanted).zip(&uids) {
        assert_eq!(
            of(name).await,
            (ports.map(|port| json!(port)), uid.clone()),
            "{name}"
        );
    }
}

/// Services that trade their ports: two, three in a circle, and a row of which the last one gets a free port.
#[tokio::test]
async fn services_of_one_commit_trade_their_ports() {
    let files = async |namespace: &str| {
        let file = |(name, port): (&str, u32)| {
            (
                format!("{name}.yaml"),
                service(name, namespace, &node_port(port)),
            )
        };
        [("a", 30041), ("b", 30042), ("c", 30043), ("d", 30044)]
            .map(file)
            .to_vec()
    };
    let (case, _) = Case::started(world().await, "traded", files, json!({})).await;
    let port_of = async |name: &str| {
        let live = case.live::<Service>(name).await;
        (
            live.pointer("/spec/ports/0/nodePort").cloned(),
            live["metadata"]["uid"].clone(),
        )
    };
    let names = ["a", "b", "c", "d"];
    let mut uids = Vec::new();
    for name in names {
        uids.push(port_of(name).await.1);
    }
    for (what, ports) in [
        ("two", [30042, 30041, 30043, 30044]),
        ("three", [30043, 30042, 30044, 30041]),
        ("all", [30042, 30043, 30041, 30044]),
        ("a row", [30043, 30041, 30044, 30045]),
        ("two pairs", [30041, 30043, 30045, 30044]),
    ] {
        let texts = ports.map(node_port);
        let files: Vec<(String, String)> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (format!("{name}.yaml"), service(name, &case.namespace, text)))
            .collect();
        let files: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let started = std::time::Instant::now();
        let mark = case.world.cp.audit().mark();
        let commit = case.push(&files, what).await;
        case.synced("all", &commit).await;
        let requests = case.world.cp.audit_since(mark).await;
        no_port_is_lost(&requests, &case.namespace, what);
        assert!(
            started.elapsed().as_secs() < 10,
            "{what}: {:?}",
            started.elapsed()
        );
        for ((name, port), uid) in names.iter().zip(ports).zip(&uids) {
            assert_eq!(
                port_of(name).await,
                (Some(json!(port)), uid.clone()),
                "{what}"
            );
        }
    }
    // A port that somebody else has is nobody's to give.
    case.make::<Service>(json!({"metadata": {"name": "foreign"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30049}]}}))
        .await;
    let before = [port_of("a").await, port_of("b").await];
    let a = service("a", &case.namespace, &node_port(30043));
    let b = service("b", &case.namespace, &node_port(30049));
    case.push(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))], "foreign")
        .await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("already allocated"), "{message}");
    assert_eq!([port_of("a").await, port_of("b").await], before);
}

/// A rule of admission leaves Git in the commit whose object it refuses.
#[tokio::test]
async fn a_rule_that_leaves_git_does_not_refuse_its_own_commit() {
    let case = world().await.case("rule-leaves").await;
    let namespace = &case.namespace;
    let rule = |kind: &str, spec: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {namespace}}}\nspec: {spec}\n"
        )
    };
    let policy = rule(
        "ValidatingAdmissionPolicy",
        "{failurePolicy: Fail, matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], \
         resources: [configmaps]}]}, validations: [{expression: \"object.data.value != 'new'\", message: not yet}]}",
    );
    let binding = rule(
        "ValidatingAdmissionPolicyBinding",
        &format!(
            "{{policyName: {namespace}, validationActions: [Deny], matchResources: {{namespaceSelector: {{matchLabels: \
             {{kubernetes.io/metadata.name: {namespace}}}}}}}}}"
        ),
    );
    let first = case.repo.commit(
        &[
            ("policy.yaml", Some(&policy)),
            ("binding.yaml", Some(&binding)),
            ("map.yaml", Some(&case.map("map", "old"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let maps = case.api::<ConfigMap>();
    let params = kube::api::PatchParams {
        dry_run: true,
        ..Default::default()
    };
    eventually("the rule is in force", PATIENCE, async || {
        let patch = kube::api::Patch::Merge(json!({"data": {"value": "new"}}));
        let tried = maps.patch("map", &params, &patch).await;
        tried.err().ok_or("it is not")
    })
    .await;
    // While it stays, it refuses.
    case.push(&[("map.yaml", Some(&case.map("map", "new")))], "too early")
        .await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("not yet"), "{message}");
    let commit = case
        .push(
            &[("policy.yaml", None), ("binding.yaml", None)],
            "without it",
        )
        .await;
    case.synced("all", &commit).await;
    case.has("map", "value", Some("new")).await;
}
