//! Helm installs, upgrades and uninstalls towline on a real control plane. The operator runs under the
//! ServiceAccount of the chart, whose rights must be enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::{Alert, GitRepository, Provider, Sync};

use crate::chart::{chart, rendered, values};
use crate::world::verdict::repository_ready_becomes;
use crate::world::{Case, PATIENCE, Plane, World, config_map};
use towline_testing::audit::{Entry, Mark};
use towline_testing::binaries;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::established;
use towline_testing::deployed::as_deployed;
use towline_testing::git::GitServer;
use towline_testing::helm::Helm;
use towline_testing::kubectl::{kubectl, try_kubectl};
use towline_testing::operator::Operator;
use towline_testing::scratch::Scratch;
use towline_testing::tls::Authority;
use towline_testing::wait::eventually;

/// The namespace of the release.
pub const HOME: &str = "towline-system";

/// A cluster with two common settings. An owner reference with blockOwnerDeletion needs a right on the
/// owner's finalizers. The release's namespace takes only pods of the Pod Security Standard "restricted".
pub async fn cluster() -> ControlPlane {
    let cp = ControlPlane::start(Options {
        controllers: true,
        nodes: 1,
        audit: true,
        api_server_args: vec![
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        ],
        ..Options::default()
    })
    .await;
    type_in(&cp, &format!("create namespace {HOME}")).await;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    type_in(&cp, &format!("label namespace {HOME} {restricted}")).await;
    cp
}

/// Runs a kubectl command as the administrator.
pub async fn type_in(cp: &ControlPlane, command: &str) -> String {
    let args: Vec<&str> = command.split_whitespace().collect();
    kubectl(&cp.kubeconfig_path(), &args).await
}

/// Installs or upgrades a release of a chart, and waits until its pods are ready.
pub async fn helm(cp: &ControlPlane, verb: &str, chart: &str, settings: &[&str]) -> String {
    let place = ["--namespace", HOME, "--wait", "--timeout=3m"];
    let args = [&[verb, "towline", chart], &place[..], settings].concat();
    Helm::of(&cp.kubeconfig_path()).await.run(&args).await
}

/// A world whose operator runs as the release's Deployment.
pub async fn world(cp: ControlPlane, git: GitServer) -> World {
    let operator = Operator::start(as_deployed(&cp, HOME, "towline").await).await;
    World {
        cp: Plane::Own(Box::new(cp)),
        git,
        operator,
    }
}

pub async fn case<'a>(world: &'a World, namespace: &str) -> Case<'a> {
    Case {
        repo: world.git.repo(namespace),
        client: world.cp.client().await,
        namespace: namespace.to_owned(),
        world,
    }
}

/// Checks the main path: objects are applied, corrected after drift, and pruned. `also` holds more files
/// of the first commit.
async fn main_path(case: &Case<'_>, also: &[(&str, &str)]) {
    let [a, b] = ["a", "b"].map(|name| config_map(name, &case.namespace, "git"));
    let mut files = vec![("a.yaml", Some(a.as_str())), ("b.yaml", Some(b.as_str()))];
    files.extend(also.iter().map(|(path, text)| (*path, Some(*text))));
    let first = case.repo.commit(&files, "first");
    let variables = json!({"from": [{"kind": "ConfigMap", "name": "vars", "optional": true}]});
    case.repository(json!({"sync": {"prune": true, "wait": true, "substitute": variables}}))
        .await;
    case.synced("repo", &first).await;
    eventually("events", PATIENCE, async || {
        case.events("Converged").await.first().cloned()
    })
    .await;

    let _: ConfigMap = case.patch("a", json!({"data": {"value": "person"}})).await;
    case.has("a", "value", Some("git")).await;
    case.delete::<ConfigMap>("b").await;
    case.has("b", "value", Some("git")).await;

    let second = case.push(&[("b.yaml", None)], "remove b").await;
    case.synced("repo", &second).await;
    case.has("b", "value", None).await;
}

/// Deletes the repository. Its Sync and the Sync's objects must be deleted too.
async fn leave(case: &Case<'_>) {
    case.delete::<GitRepository>("repo").await;
    case.has("a", "value", None).await;
    eventually("no Sync", PATIENCE, async || {
        let left: Option<Sync> = case.api().get_opt("repo").await.unwrap();
        left.is_none().then_some(())
    })
    .await;
}

/// A copy of the chart in which the definition of Sync has another short name.
fn changed_chart(scratch: &Scratch) -> String {
    let folder = scratch.path().join("chart");
    copy(Path::new(chart()), &folder);
    let file = folder.join("files/crds/syncs.towline.dev.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("    - tsync\n", "    - tsync\n    - newer\n");
    assert_ne!(text, changed);
    fs::write(&file, changed).unwrap();
    folder.display().to_string()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_release_for_the_whole_cluster_works_from_install_to_uninstall() {
    let cp = cluster().await;
    let refused = ["run", "loose", "--image=loose", "-n", HOME];
    // Pods can be created once their ServiceAccount exists.
    eventually("a loose pod is refused", PATIENCE, async || {
        let refused = try_kubectl(&cp.kubeconfig_path(), &refused).await;
        let error = refused.err()?;
        error.contains("violates PodSecurity").then_some(())
    })
    .await;
    let said = helm(&cp, "install", chart(), &[]).await;
    assert!(
        said.contains("is an administrator of this cluster"),
        "{said}"
    );
    let mut world = world(cp, GitServer::start()).await;
    let namespace = world.cp.namespace("shop").await;
    let case = case(&world, &namespace).await;
    // Objects that only an administrator may apply: a role with rights that towline's own role does not
    // have, and a namespace.
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {namespace}}}\n\
         rules: [{{apiGroups: ['*'], resources: ['*'], verbs: ['*']}}]\n"
    );
    let inner = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}-inner}}\n");
    main_path(&case, &[("role.yaml", &role), ("inner.yaml", &inner)]).await;

    let cp = &*world.cp;
    let scratch = Scratch::new().unwrap();
    let newer = changed_chart(&scratch);
    helm(cp, "upgrade", &newer, &["--set=logLevel=debug"]).await;
    let level = "get deployment towline -n towline-system -o \
                 jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"TOWLINE_LOG_LEVEL\")].value}";
    assert_eq!(type_in(cp, level).await, "debug");
    eventually("the changed definition", PATIENCE, async || {
        let args = ["get", "newer", "-n", &namespace, "-o", "name"];
        try_kubectl(&cp.kubeconfig_path(), &args).await
    })
    .await;

    let case = case.into_parts();
    world.operator.terminate(PATIENCE);
    uninstall(&world.cp).await;
    let left = type_in(&world.cp, "get crd,clusterrole,clusterrolebinding -o name").await;
    assert!(left.contains("syncs.towline.dev") && left.contains("gitrepositories.towline.dev"));
    assert!(!left.contains("/towline"), "{left}");
    // The new release takes over the definitions that remained, and towline continues its work.
    helm(&world.cp, "install", chart(), &[]).await;
    world.operator = Operator::start(as_deployed(&world.cp, HOME, "towline").await).await;
    let case = world.resume(case).await;
    let third = case
        .push(
            &[("a.yaml", Some(&config_map("a", &namespace, "new")))],
            "a",
        )
        .await;
    case.synced("repo", &third).await;
    leave(&case).await;
    let roles = type_in(&world.cp, "get clusterrole -o name").await;
    assert!(!roles.contains(&namespace), "{roles}");
    the_rules_are_enough(&mut world).await;
    every_right_is_used(&world.cp).await;
}

/// Also for a whole cluster, towline works with rights on the objects in Git and no others.
async fn the_rules_are_enough(world: &mut World) {
    let rules = "--set-json=rbac={\"applyAnything\":false,\"rules\":[\
                 {\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"]}]}";
    // Then back to an update strategy that does not allow the fields of the other one.
    let alone = "--set=leaderElection.enabled=false";
    world.operator.terminate(PATIENCE);
    helm(&world.cp, "upgrade", chart(), &[rules, alone]).await;
    world.operator = Operator::start(as_deployed(&world.cp, HOME, "towline").await).await;
    let namespace = world.cp.namespace("rules").await;
    let mark = world.cp.audit().mark();
    let case = case(world, &namespace).await;
    main_path(&case, &[]).await;
    alerts_are_driven(&case).await;
    a_busy_sync_is_reported(&case).await;
    // Uses towline's remaining rights: it deletes the inline Sync, and reads a Secret.
    let changed = json!({"spec": {"sync": null, "webhook": {"secretRef": {"name": "hook"}}}});
    let _: GitRepository = case.patch("repo", changed).await;
    repository_ready_becomes(&case, "False", "WebhookInvalid").await;
    case.has("a", "value", None).await;
    leave(&case).await;
    let seen = world.cp.audit_since(mark).await;
    let account = account();
    let mut refused = seen.iter().filter(|entry| entry.code == 403);
    let refused = refused.find(|entry| entry.user == account);
    assert!(refused.is_none(), "{refused:#?}");
}

/// While somebody else writes a Sync, its status cannot be replaced, since that is a conflict. It is patched instead.
async fn a_busy_sync_is_reported(case: &Case<'_>) {
    let (cp, account) = (&case.world.cp, account());
    let mark = cp.audit().mark();
    let writes = (0..8).map(async |writer| {
        for number in 0.. {
            let now = format!("{}-{writer}-{number}", jiff::Timestamp::now());
            let asks = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
            let _: Sync = case.patch("repo", asks).await;
        }
    });
    let writes = futures::future::join_all(writes);
    let patched = eventually("a patched status", PATIENCE, async || {
        let seen = cp.audit_since(mark).await;
        let own = seen.iter().filter(|entry| entry.user == account);
        let of_status = own.filter(|entry| {
            (entry.resource.as_str(), entry.subresource.as_str()) == ("syncs", "status")
        });
        let writes: Vec<_> = of_status.map(|entry| (&*entry.verb, entry.code)).collect();
        let is_patched = writes.contains(&("patch", 200));
        is_patched.then_some(()).ok_or(format!("{writes:?}"))
    });
    tokio::select! {
        _ = writes => unreachable!("the writes have no end"),
        () = patched => (),
    }
    let asked = |sync: &Sync| {
        sync.metadata
            .annotations
            .clone()?
            .remove("towline.dev/requested-at")
    };
    case.until("repo", "the last request is handled", |sync| {
        let status = sync.status.as_ref();
        let handled = status.and_then(|status| status.last_handled_reconcile_at.clone());
        handled.is_some() && handled == asked(sync)
    })
    .await;
}

/// Makes an Alert and its Provider, and waits for their statuses.
async fn alerts_are_driven(case: &Case<'_>) {
    let namespace = &case.namespace;
    case.make::<Provider>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Provider",
        "metadata": {"name": "hook", "namespace": namespace},
        "spec": {"type": "generic", "address": "http://127.0.0.1:1/"},
    }))
    .await;
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
        "metadata": {"name": "hook", "namespace": namespace},
        "spec": {"providerRef": {"name": "hook"}, "eventSources": [{"kind": "Sync", "name": "*"}]},
    }))
    .await;
    eventually("both statuses", PATIENCE, async || {
        let provider: Provider = case.api().get("hook").await.unwrap();
        let alert: Alert = case.api().get("hook").await.unwrap();
        provider.status.zip(alert.status).map(drop)
    })
    .await;
}

/// towline uses every right that its own roles give. The audit log shows which rights it used.
async fn every_right_is_used(cp: &ControlPlane) {
    let mut used = BTreeSet::new();
    let account = account();
    let seen = cp.audit_since(Mark::default()).await;
    for entry in seen
        .iter()
        .filter(|entry| entry.user == account && entry.code != 403)
    {
        let resource = match entry.subresource.as_str() {
            "" => entry.resource.clone(),
            subresource => format!("{}/{subresource}", entry.resource),
        };
        // Applying a new object needs `create` as well as `patch`.
        let made = (entry.code == 201).then_some("create");
        for verb in [Some(entry.verb.as_str()), made].into_iter().flatten() {
            used.insert(format!("{verb} {resource} {}", entry.group));
        }
    }
    let objects = rendered(&[]).await;
    let roles = [
        "ClusterRole/towline",
        "Role/towline-key",
        "Role/towline-lease",
    ];
    let roles = roles.map(|title| &objects[title]);
    let mut granted = BTreeSet::new();
    for rule in roles.into_iter().flat_map(|role| words(&role["rules"])) {
        for verb in words(&rule["verbs"]) {
            for resource in words(&rule["resources"]) {
                let [verb, resource, group] =
                    [verb, resource, &rule["apiGroups"][0]].map(|word| word.as_str().unwrap());
                granted.insert(format!("{verb} {resource} {group}"));
            }
        }
    }
    // No request shows this right: an admission plugin checks it for owner references.
    assert!(granted.remove("update gitrepositories/finalizers towline.dev"));
    // A list is streamed by a watch. Only an API server that cannot do that is asked to list.
    let streamed = |right: &str| {
        let listed = right.strip_prefix("list ");
        listed.is_some_and(|what| used.contains(&format!("watch {what}")))
    };
    let unused = granted.difference(&used);
    let unused: Vec<_> = unused.filter(|right| !streamed(right)).collect();
    assert!(
        granted.len() > 10 && unused.is_empty(),
        "{unused:?} of {granted:?}"
    );
}

fn words(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The user name of the release's pod.
pub fn account() -> String {
    format!("system:serviceaccount:{HOME}:towline")
}

/// Uninstalls the release, and waits until its namespace is empty.
async fn uninstall(cp: &ControlPlane) {
    let helm = Helm::of(&cp.kubeconfig_path()).await;
    let said = helm
        .run(&["uninstall", "towline", "--namespace", HOME, "--wait"])
        .await;
    assert!(said.contains("uninstalled"), "{said}");
    let left = format!("get deployment,service,serviceaccount,role,rolebinding -n {HOME} -o name");
    let left = type_in(cp, &left).await;
    assert_eq!(left.trim(), "serviceaccount/default");
}

#[tokio::test]
async fn a_release_for_one_namespace_has_no_right_outside_of_it() {
    let cp = cluster().await;
    let namespace = cp.namespace("shop").await;
    let watch = format!("watchNamespace={namespace}");
    let values = values("namespace");
    // A certificate authority for all repositories, in addition to those of the image.
    let (authorities, authority) = (Scratch::new().unwrap(), Authority::new());
    fs::write(authorities.path().join("ca.crt"), authority.pem()).unwrap();
    let places = format!("/etc/ssl/certs:{}", authorities.path().display());
    let trust =
        format!("--set-json=extraEnv=[{{\"name\":\"SSL_CERT_DIR\",\"value\":\"{places}\"}}]");
    let settings = ["--values", &values, "--set", &watch, &trust];
    helm(&cp, "install", chart(), &settings).await;
    let mark = cp.audit().mark();
    let world = world(cp, GitServer::start_tls(&authority, None)).await;
    let case = case(&world, &namespace).await;
    main_path(&case, &[]).await;

    let outside = config_map("outside", "default", "git");
    case.push(&[("outside.yaml", Some(&outside))], "outside")
        .await;
    let message = case.ready_becomes("repo", "False", "InvalidManifest").await;
    assert!(message.contains("only objects of namespace"), "{message}");
    case.push(&[("outside.yaml", None)], "inside again").await;
    // A kind that the release's rules do not allow.
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    );
    case.push(&[("web.yaml", Some(&service))], "a service")
        .await;
    let message = case.ready_becomes("repo", "False", "ApiUnavailable").await;
    assert!(message.contains("services is forbidden"), "{message}");
    let fixed = case.push(&[("web.yaml", None)], "no service").await;
    case.synced("repo", &fixed).await;

    // Outside of the namespace, towline requested only discovery (which every client may read), the release's own
    // Lease and key and, once, the definitions of custom kinds.
    let account = account();
    let seen = world.cp.audit_since(mark).await;
    let own = seen.iter().filter(|entry| entry.user == account);
    let outside: Vec<_> = own
        .filter(|entry| !entry.resource.is_empty() && entry.namespace != namespace)
        .filter(|entry| {
            let is_own = ["leases", "secrets"].contains(&entry.resource.as_str());
            !is_own || entry.namespace != HOME
        })
        .collect();
    let named: Vec<_> = outside
        .iter()
        .map(|entry| (entry.resource.as_str(), entry.code))
        .collect();
    assert_eq!(named, [("customresourcedefinitions", 403)], "{outside:#?}");
    // Refused requests are repeated with growing pauses.
    let refused = seen
        .iter()
        .filter(|entry| entry.resource == "services" && entry.code == 403);
    let refused = refused.count();
    assert!(
        (1..40).contains(&refused),
        "{refused} requests for services"
    );
    let told = "may not watch custom resource definitions";
    assert_eq!(world.operator.log().matches(told).count(), 1);
    leave(&case).await;
    may_nothing_outside(&world.cp, &namespace).await;
    everything_within(&case, &settings).await;
}

/// RBAC gives the account no rights outside of the namespace.
async fn may_nothing_outside(cp: &ControlPlane, namespace: &str) {
    let account = format!("--as={}", account());
    let asked = async |question: &[&str]| {
        let args = [&["auth", "can-i"], question, &[&account]].concat();
        let answer = try_kubectl(&cp.kubeconfig_path(), &args).await;
        answer.is_ok_and(|answer| answer.starts_with("yes"))
    };
    assert!(asked(&["create", "configmaps", "-n", namespace]).await);
    for question in [
        &["create", "configmaps", "-n", "default"][..],
        &["get", "secrets", "-n", "default"],
        &["get", "secrets", "-n", HOME],
        &["list", "syncs.towline.dev", "-n", "default"],
        &["list", "customresourcedefinitions"],
        &["list", "namespaces"],
        &["create", "deployments.apps", "-n", namespace],
        &["create", "roles.rbac.authorization.k8s.io", "-n", namespace],
    ] {
        assert!(!asked(question).await, "{question:?}");
    }
}

/// With all rights in the namespace, a custom kind is applied and its drift is healed, although towline cannot watch
/// for its definition.
async fn everything_within(case: &Case<'_>, settings: &[&str]) {
    let cp = &*case.world.cp;
    let more = ["--set-json=rbac={\"applyAnything\":true,\"rules\":[]}"];
    helm(cp, "upgrade", chart(), &[settings, &more].concat()).await;
    let (namespace, group) = (&case.namespace, format!("{}.example.com", case.namespace));
    let boat = |version: &str| {
        format!(
            "apiVersion: {group}/{version}\nkind: Boat\n\
             metadata: {{name: jolly, namespace: {namespace}}}\nspec: {{sails: 2}}\n"
        )
    };
    let a = config_map("a", namespace, "git");
    case.repo.commit(
        &[("boat.yaml", Some(&*boat("v1"))), ("a.yaml", Some(&a))],
        "a boat",
    );
    case.repository(json!({"sync": {"prune": true}})).await;
    case.ready_becomes("repo", "False", "KindNotServed").await;
    let definition = |v1_served: bool| {
        let version = |name: &str, served: bool| {
            json!({
                "name": name, "served": served, "storage": name == "v2",
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true
                }},
            })
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("boats.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": "Boat", "plural": "boats", "singular": "boat"},
                "versions": [version("v1", v1_served), version("v2", true)],
            },
        })
    };
    apply(cp, &[definition(true)]).await;
    case.ready_becomes("repo", "True", "Converged").await;
    let boats = format!("get boats.{group} -n {namespace} -o name");
    assert!(type_in(cp, &boats).await.contains("/jolly"));

    // The version in which the kind is watched is no longer served.
    let second = case
        .push(&[("boat.yaml", Some(&boat("v2")))], "version 2")
        .await;
    case.synced("repo", &second).await;
    apply(cp, &[definition(false)]).await;
    let of_boat = format!("boats.{group} jolly -n {namespace}");
    let drift = format!("patch {of_boat} --type=merge --patch={{\"spec\":{{\"sails\":9}}}}");
    type_in(cp, &drift).await;
    let sails = format!("get {of_boat} -o jsonpath={{.spec.sails}}");
    eventually("two sails", PATIENCE, async || {
        let sails = type_in(cp, &sails).await;
        if sails == "2" { Ok(()) } else { Err(sails) }
    })
    .await;
    leave(case).await;
}

/// Applies objects as the administrator. `more` are further arguments of kubectl.
async fn apply(cp: &ControlPlane, objects: &[Value]) -> String {
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("objects.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    fs::write(&file, list.to_string()).unwrap();
    type_in(cp, &format!("apply --server-side -f {}", file.display())).await
}

/// Installs the Prometheus Operator's definitions of its kinds.
async fn prometheus_operator(cp: &ControlPlane) {
    let module = "github.com/prometheus-operator/prometheus-operator@v0.92.0";
    let module = tokio::task::spawn_blocking(|| binaries::module(module));
    let folder = module.await.unwrap().unwrap();
    for kind in ["servicemonitors", "prometheusrules"] {
        let file = format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml");
        let file = folder.join(file).display().to_string();
        type_in(cp, &format!("apply --server-side -f {file}")).await;
    }
    established(cp).await.unwrap();
}

/// The API server accepts every object that the chart can render, without an unknown field.
#[tokio::test]
async fn everything_that_can_be_switched_on_is_accepted() {
    let cp = cluster().await;
    prometheus_operator(&cp).await;
    // The definitions were first installed without Helm.
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    type_in(&cp, &format!("apply --server-side -f {crds}")).await;
    let args = [
        "install",
        "towline",
        chart(),
        "--namespace",
        HOME,
        "--take-ownership",
    ];
    let everything = values("everything");
    let helm = Helm::of(&cp.kubeconfig_path()).await;
    helm.run(&[&args[..], &["--values", &everything]].concat())
        .await;
    let kinds = "servicemonitor,prometheusrule,networkpolicy,poddisruptionbudget,ingress,\
                 persistentvolumeclaim";
    let made = type_in(&cp, &format!("get {kinds} -n {HOME} -o name")).await;
    assert_eq!(made.lines().count(), 5, "{made}");
    type_in(&cp, "get servicemonitor towline-all -n default").await;
    for role in ["view", "edit"] {
        eventually(
            "towline's kinds in a role of Kubernetes",
            PATIENCE,
            async || {
                let rules = type_in(&cp, &format!("get clusterrole {role} -o yaml")).await;
                rules.contains("towline.dev").then_some(())
            },
        )
        .await;
    }
    // With strict validation, an unknown field would have been refused.
    let seen = cp.audit_since(Mark::default()).await;
    let written = seen
        .iter()
        .filter(|entry| entry.resource == "servicemonitors");
    let written: Vec<_> = written.filter(|entry| entry.is_write()).collect();
    let is_strict = |entry: &&Entry| entry.uri.contains("fieldValidation=Strict");
    assert!(
        !written.is_empty() && written.iter().all(is_strict),
        "{written:#?}"
    );
    // The Pod Security Standard "restricted" accepts the pod with all options.
    eventually("a pod", PATIENCE, async || {
        let pods = type_in(&cp, &format!("get pods -n {HOME} -o name")).await;
        (!pods.is_empty()).then_some(())
    })
    .await;
    let upgraded = ["upgrade", "towline", chart(), "--namespace", HOME];
    let ephemeral = ["--values", &everything, "--set=cache.type=ephemeral"];
    helm.run(&[&upgraded[..], &ephemeral].concat()).await;
    let nothing = values("nothing");
    helm.run(&[&upgraded[..], &["--values", &nothing]].concat())
        .await;
    let made = type_in(&cp, &format!("get {kinds},service -n {HOME} -o name")).await;
    assert_eq!(made.trim(), "", "switched off again");
}
