//! In whose name objects are applied, and what towline may do where only tenants' accounts apply. Case 2 between tenants.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::{Value, json};
use towline::api::{Alert, GitRepository, Provider, Sync};

use crate::chart::chart;
use crate::install::{HOME, account, case, cluster, helm, type_in, world as released};
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::deployed::as_deployed;
use towline_testing::git::GitServer;
use towline_testing::kubectl::{kubectl, try_kubectl};
use towline_testing::operator::Operator;
use towline_testing::renderers;
use towline_testing::wait::eventually;

/// What towline needs of a kind to manage it.
pub const ALL: &str = "get,create,patch,delete";

/// Gives a ServiceAccount verbs on resources of its namespace, in place of those that it had.
pub async fn grant(case: &Case<'_>, account: &str, verbs: &str, resources: &str) {
    let config = case.world.cp.kubeconfig_path();
    let namespace = format!("--namespace={}", case.namespace);
    let subject = format!("--serviceaccount={}:{account}", case.namespace);
    let _ = try_kubectl(&config, &["create", "serviceaccount", account, &namespace]).await;
    for kind in ["role", "rolebinding"] {
        let _ = try_kubectl(&config, &["delete", kind, account, &namespace]).await;
    }
    let (verbs, resources) = (format!("--verb={verbs}"), format!("--resource={resources}"));
    kubectl(
        &config,
        &["create", "role", account, &verbs, &resources, &namespace],
    )
    .await;
    let role = format!("--role={account}");
    kubectl(
        &config,
        &[
            "create",
            "rolebinding",
            account,
            &role,
            &subject,
            &namespace,
        ],
    )
    .await;
}

fn service(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    )
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[tokio::test]
async fn an_account_waits_for_a_namespace_and_for_its_right_there() {
    let case = world().await.case("account-late").await;
    grant(&case, "applier", ALL, "configmaps").await;
    let late = format!("{}-late", case.namespace);
    let files = [("x.yaml", Some(config_map("x", &late, "git")))];
    let commit = case.repo.commit(&files, "early");
    case.repository(json!({})).await;
    case.sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    // The API server asks for the right first, and does not say that the namespace is missing.
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    says(
        &message,
        &[&format!("may not patch ConfigMap in namespace {late}")],
    );
    // The pauses between two tries grow: the one after 15 seconds takes 16 seconds.
    tokio::time::sleep(Duration::from_secs(17)).await;
    let before = case.world.cp.audit().mark();
    let config = case.world.cp.kubeconfig_path();
    kubectl(&config, &["create", "namespace", &late]).await;
    eventually(
        "a try in the new namespace",
        Duration::from_secs(8),
        async || {
            let requests = case.world.cp.audit_since(before).await;
            let tried = requests
                .iter()
                .any(|request| request.namespace == *late && request.name == "x");
            tried.then_some(())
        },
    )
    .await;
    let namespace = format!("--namespace={late}");
    let (role, account) = (
        "--clusterrole=edit",
        format!("--serviceaccount={}:applier", case.namespace),
    );
    kubectl(
        &config,
        &[
            "create",
            "rolebinding",
            "applier",
            role,
            &account,
            &namespace,
        ],
    )
    .await;
    case.synced("all", &commit).await;
}

#[tokio::test]
async fn an_account_acts_for_its_sync_and_what_it_may_not_do_is_told() {
    let case = world().await.case("account").await;
    let namespace = &case.namespace;
    grant(&case, "applier", ALL, "configmaps").await;
    let a = config_map("a", namespace, "git");
    let web = service(namespace);
    case.repo
        .commit(&[("a.yaml", Some(&a)), ("web.yaml", Some(&web))], "first");
    case.repository(json!({})).await;
    let mark = case.world.cp.audit().mark();
    case.sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    let applier = format!("ServiceAccount {namespace}/applier");
    let place = format!("in namespace {namespace}");

    // Apply: what it may is applied, what it may not is named with verb, kind and account.
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    says(
        &message,
        &[
            &format!("{applier} may not patch Service {place}"),
            "web.yaml",
        ],
    );
    case.has("a", "value", Some("git")).await;
    assert!(case.live::<Service>("web").await.is_null());
    let fixed = case.push(&[("web.yaml", None)], "no service").await;
    case.synced("all", &fixed).await;

    // Heal, and adopt what a person made.
    let _: ConfigMap = case.patch("a", json!({"data": {"value": "person"}})).await;
    case.has("a", "value", Some("git")).await;
    case.make::<ConfigMap>(json!({"metadata": {"name": "b"}, "data": {"value": "person"}}))
        .await;
    let b = config_map("b", namespace, "git");
    let c = config_map("c", namespace, "git");
    let both = [("b.yaml", Some(b.as_str())), ("c.yaml", Some(c.as_str()))];
    let more = case.push(&both, "b and c").await;
    case.synced("all", &more).await;

    // Compare.
    let report = json!({"spec": {"mode": "Report"}});
    case.patch::<Sync>("all", report).await;
    grant(&case, "applier", "create,patch,delete", "configmaps").await;
    let _: ConfigMap = case.patch("a", json!({"data": {"value": "person"}})).await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    says(
        &message,
        &[&format!("{applier} may not get ConfigMap {place}")],
    );
    case.patch::<Sync>("all", json!({"spec": {"mode": "Correct"}}))
        .await;
    case.has("a", "value", Some("git")).await;

    // Prune.
    grant(&case, "applier", "get,create,patch", "configmaps").await;
    let fewer = case.push(&[("c.yaml", None)], "c goes").await;
    let message = case.ready_becomes("all", "False", "PruneFailed").await;
    says(
        &message,
        &[&format!("{applier} may not delete ConfigMap {place}")],
    );
    assert!(case.data("c").await.is_some());

    // Delete with the Sync.
    case.delete::<Sync>("all").await;
    let message = case.ready_becomes("all", "False", "Deleting").await;
    says(
        &message,
        &[&format!("{applier} may not delete ConfigMap {place}")],
    );
    assert!(case.data("a").await.is_some(), "{fewer}");
    grant(&case, "applier", ALL, "configmaps").await;
    eventually("the Sync is gone with its objects", PATIENCE, async || {
        let is_gone = case.live::<Sync>("all").await.is_null();
        let left = [case.data("a").await, case.data("c").await];
        (is_gone && left == [None, None]).then_some(())
    })
    .await;
    // It existed before the Sync took it over.
    assert!(case.data("b").await.is_some());

    // Without any right left, the objects can still be let go.
    let kept = config_map("kept", namespace, "git");
    let last = case.push(&[("kept/kept.yaml", Some(&kept))], "kept").await;
    let policy =
        json!({"path": "kept", "serviceAccountName": "applier", "deletionPolicy": "Orphan"});
    case.sync("kept", policy).await;
    case.synced("kept", &last).await;
    grant(&case, "applier", "get", "configmaps").await;
    case.delete::<Sync>("kept").await;
    eventually(
        "the Sync is gone without its objects",
        PATIENCE,
        async || case.live::<Sync>("kept").await.is_null().then_some(()),
    )
    .await;
    assert!(case.data("kept").await.is_some());

    // Every request on the Sync's objects was in the account's name.
    let name = format!("system:serviceaccount:{namespace}:applier");
    let seen = case.world.cp.audit_since(mark).await;
    let own: Vec<_> = seen
        .iter()
        .filter(|entry| entry.user == "towline" && entry.namespace == *namespace)
        .filter(|entry| ["configmaps", "services"].contains(&entry.resource.as_str()))
        .collect();
    for verb in ["get", "patch", "delete"] {
        assert!(own.iter().any(|entry| entry.verb == verb), "{verb}");
    }
    for entry in own {
        assert_eq!(entry.impersonated.as_ref(), Some(&name), "{entry:?}");
    }
}

#[tokio::test]
async fn the_sync_in_a_repository_names_its_account_as_well() {
    let case = world().await.case("account-inline").await;
    let map = config_map("a", &case.namespace, "git");
    case.repo.commit(&[("a.yaml", Some(map))], "first");
    let sync = json!({"sync": {"prune": true, "serviceAccountName": "nobody"}});
    case.repository(sync).await;
    let message = case.ready_becomes("repo", "False", "ApplyFailed").await;
    let right = format!(
        "ServiceAccount {0}/nobody may not patch ConfigMap in namespace {0}",
        case.namespace
    );
    says(&message, &[&right]);
    for wrong in ["a/b", "a:b", "", "-a"] {
        let patch = json!({"spec": {"sync": {"serviceAccountName": wrong}}}).to_string();
        let args = [
            "patch",
            "gitrepository",
            "repo",
            "--type=merge",
            "-p",
            &patch,
            "-n",
            &case.namespace,
        ];
        let refused = try_kubectl(&case.world.cp.kubeconfig_path(), &args).await;
        says(&refused.expect_err(wrong), &["serviceAccountName"]);
    }
}

#[tokio::test]
async fn what_the_operators_arguments_say_holds_for_every_sync() {
    let mut world = World::own(
        Options::default(),
        &["--default-service-account=applier", "--min-interval=1h"],
    )
    .await;
    let case = world.case("account-default").await;
    grant(&case, "applier", ALL, "configmaps").await;
    let (a, web) = (
        config_map("a", &case.namespace, "git"),
        service(&case.namespace),
    );
    case.repo
        .commit(&[("a.yaml", Some(&a)), ("web.yaml", Some(&web))], "first");
    // A poll each second, if the floor did not hold.
    case.repository(json!({"interval": "1s", "sync": {"prune": true, "interval": "10s"}}))
        .await;
    let message = case.ready_becomes("repo", "False", "ApplyFailed").await;
    says(&message, &["/applier may not patch Service"]);
    case.has("a", "value", Some("git")).await;
    let polls = world_polls(&world, &case);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(
        world_polls(&world, &case),
        polls,
        "--min-interval is a floor"
    );

    // Without an account, objects of other namespaces are refused where nothing may reach across.
    let case = case.into_parts();
    world.operator.restart_with(&["--no-cross-namespace"]).await;
    let case = world.resume(case).await;
    let outside = config_map("outside", "default", "git");
    case.push(&[("outside.yaml", Some(&outside))], "outside")
        .await;
    let message = case.ready_becomes("repo", "False", "InvalidManifest").await;
    says(
        &message,
        &["--no-cross-namespace", "spec.serviceAccountName"],
    );
    let namespaced = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}-x}}\n",
        case.namespace
    );
    case.push(
        &[("outside.yaml", None), ("x.yaml", Some(&namespaced))],
        "of no namespace",
    )
    .await;
    let message = case.ready_becomes("repo", "False", "InvalidManifest").await;
    says(&message, &["--no-cross-namespace"]);
    let fixed = case.push(&[("x.yaml", None)], "inside").await;
    case.synced("repo", &fixed).await;
    case.patch::<GitRepository>(
        "repo",
        json!({"spec": {"sync": {"targetNamespace": "default"}}}),
    )
    .await;
    let message = case.ready_becomes("repo", "False", "InvalidManifest").await;
    says(&message, &["--no-cross-namespace"]);
    // With an account, its rights decide.
    let account = json!({"spec": {"sync": {"serviceAccountName": "applier"}}});
    case.patch::<GitRepository>("repo", account).await;
    let message = case.ready_becomes("repo", "False", "ApplyFailed").await;
    says(
        &message,
        &["/applier may not patch ConfigMap in namespace default"],
    );
    // An Alert tells nothing of other namespaces.
    for (namespace, status) in [("*", "False"), (case.namespace.as_str(), "True")] {
        let name = if status == "True" { "own" } else { "all" };
        alert(&case, name, namespace).await;
        eventually("the Alert's condition", PATIENCE, async || {
            let alert = case.live::<Alert>(name).await;
            let ready = alert["status"]["conditions"][0].clone();
            let is_named = ready["message"]
                .to_string()
                .contains("--no-cross-namespace");
            let is_right = ready["status"] == status && is_named == (status == "False");
            is_right.then_some(()).ok_or(ready)
        })
        .await;
    }
}

/// Makes an Alert about the Syncs of a namespace, and its Provider.
async fn alert(case: &Case<'_>, name: &str, namespace: &str) {
    let meta = json!({"name": name, "namespace": case.namespace});
    case.make::<Provider>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Provider", "metadata": meta,
        "spec": {"type": "generic", "address": "http://127.0.0.1:1/"},
    }))
    .await;
    let sources = json!([{"kind": "Sync", "name": "*", "namespace": namespace}]);
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert", "metadata": meta,
        "spec": {"providerRef": {"name": name}, "eventSources": sources},
    }))
    .await;
}

fn world_polls(world: &World, case: &Case<'_>) -> usize {
    world.git.requests_of(&case.namespace).len()
}

/// Whether RBAC lets an account do something.
async fn can(world: &World, account: &str, question: &[&str]) -> bool {
    let account = format!("--as={account}");
    let args = [&["auth", "can-i"], question, &[&account]].concat();
    let answer = try_kubectl(&world.cp.kubeconfig_path(), &args).await;
    answer.is_ok_and(|answer| answer.starts_with("yes"))
}

/// `Sync` in a manifest of another one's repository.
fn evil(namespace: &str) -> String {
    format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: shop, namespace: {namespace}}}\n\
         spec: {{sourceRef: {{name: repo}}, path: other, prune: true, deletionPolicy: Delete}}\n"
    )
}

/// A team with three live ConfigMaps by its Sync `shop`.
async fn team_b(world: &World) -> (Case<'_>, String) {
    let namespace = world.cp.namespace("team-b").await;
    let case = case(world, &namespace).await;
    grant(&case, "default", ALL, "configmaps").await;
    let maps = ["b1", "b2", "b3"].map(|name| config_map(name, &namespace, "git"));
    let other = config_map("other", &namespace, "git");
    let commit = case.repo.commit(
        &[
            ("prod/b1.yaml", Some(&maps[0])),
            ("prod/b2.yaml", Some(&maps[1])),
            ("prod/b3.yaml", Some(&maps[2])),
            ("other/other.yaml", Some(&other)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("shop", json!({"path": "prod"})).await;
    case.synced("shop", &commit).await;
    (case, commit)
}

/// The specification and uid of team b's Sync.
async fn shop(case: &Case<'_>) -> Value {
    let live = case.live::<Sync>("shop").await;
    json!([live["metadata"]["uid"], live["spec"]])
}

/// Team a puts another team's Sync into Git, and takes it out again: nothing of team b changes.
async fn team_a_reaches_for_team_b(world: &World, names: &[&str]) {
    let (b, _) = team_b(world).await;
    let before = shop(&b).await;
    let namespace = world.cp.namespace("team-a").await;
    let a = case(world, &namespace).await;
    grant(&a, "default", ALL, "configmaps").await;
    let map = config_map("a", &namespace, "git");
    let first = a.repo.commit(&[("app/a.yaml", Some(map))], "first");
    a.repository(json!({})).await;
    a.sync("app", json!({"path": "app"})).await;
    a.synced("app", &first).await;
    for (file, manifest) in [
        ("app/evil.yaml", evil(&b.namespace)),
        (
            "app/evil-repository.yaml",
            format!(
                "apiVersion: towline.dev/v1alpha1\nkind: GitRepository\nmetadata: {{name: evil, namespace: {}}}\n\
                 spec: {{url: '{}', sync: {{path: app}}}}\n",
                b.namespace,
                a.repo.url()
            ),
        ),
    ] {
        a.push(&[(file, Some(&manifest))], "reaches across").await;
        let message = a.ready_becomes("app", "False", "ApplyFailed").await;
        says(&message, names);
        says(&message, &[&b.namespace]);
        assert_eq!(shop(&b).await, before);
        let removed = a.push(&[(file, None)], "and back").await;
        a.synced("app", &removed).await;
    }
    assert_eq!(shop(&b).await, before);
    for name in ["b1", "b2", "b3"] {
        assert!(b.data(name).await.is_some(), "{name}");
    }
    assert!(b.data("other").await.is_none());
    assert!(b.live::<GitRepository>("evil").await.is_null());
}

/// towline reads Secrets and creates one for itself. A chart gets nothing by that beyond its own namespace.
async fn charts_reach_for_what_is_towlines_own(world: &World) {
    let config = world.cp.kubeconfig_path();
    let other = world.cp.namespace("login").await;
    let login = [
        "create",
        "secret",
        "generic",
        "login",
        "--from-literal=value=hunter2",
    ];
    kubectl(&config, &[&login[..], &["-n", &other]].concat()).await;
    let namespace = world.cp.namespace("charts").await;
    let case = case(world, &namespace).await;
    case.make::<Secret>(json!({"metadata": {"name": "own"}, "stringData": {"value": "own"}}))
        .await;
    let shows = |namespace: &str, name: &str| {
        let found = format!("lookup \"v1\" \"Secret\" \"{namespace}\" \"{name}\"");
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shown}}\n\
             data: {{value: {{{{ dig \"data\" \"value\" \"none\" ({found}) | quote }}}}}}\n"
        )
    };
    let about = "apiVersion: v2\nname: shown\nversion: 1.0.0\n";
    let first = case.repo.commit(
        &[
            ("Chart.yaml", Some(about)),
            ("templates/a.yaml", Some(&shows(&namespace, "own"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    let helm = json!({"lookup": [{"kind": "Secret"}], "releaseRecord": false});
    case.sync("web", json!({"helm": helm})).await;
    case.synced("web", &first).await;
    case.has("shown", "value", Some("b3du")).await;

    for there in [&*other, ""] {
        let name = if there.is_empty() { "" } else { "login" };
        let found = shows(there, name);
        case.push(
            &[("templates/a.yaml", Some(&found))],
            "of another namespace",
        )
        .await;
        let message = case.ready_becomes("web", "False", "RenderFailed").await;
        says(
            &message,
            &[
                "towline has no right to patch Secret (secrets)",
                there,
                "rbac.rules",
            ],
        );
        let back = case
            .push(
                &[("templates/a.yaml", Some(&shows(&namespace, "own")))],
                "back",
            )
            .await;
        case.synced("web", &back).await;
    }

    // A hook is created, and not applied.
    let hook = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: planted\n  namespace: {HOME}\n  annotations: \
         {{helm.sh/hook: pre-upgrade}}\n"
    );
    case.push(&[("templates/hook.yaml", Some(&hook))], "a hook")
        .await;
    let message = case.ready_becomes("web", "False", "HookFailed").await;
    says(
        &message,
        &["towline has no right to patch Secret (secrets)", HOME],
    );
    let planted = try_kubectl(&config, &["get", "secret", "planted", "-n", HOME]).await;
    assert!(planted.is_err(), "{planted:?}");
}

#[tokio::test]
async fn tenants_only_lets_towline_itself_do_nothing_else() {
    let cp = cluster().await;
    helm(&cp, "install", chart(), &["--set=rbac.tenantsOnly=true"]).await;
    let mut world = released(cp, GitServer::start()).await;
    let operator = account();
    for question in [
        &["create", "configmaps", "-n", "default"][..],
        &["patch", "deployments.apps", "-n", "default"],
        &["delete", "namespaces"],
        &["create", "secrets", "-n", "default"],
        &["patch", "secrets", "-n", HOME],
        &["delete", "secrets", "-n", HOME],
        &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
        &["bind", "clusterroles.rbac.authorization.k8s.io"],
        &["escalate", "clusterroles.rbac.authorization.k8s.io"],
        &["create", "pods", "-n", HOME],
        &["create", "serviceaccounts/token", "-n", "default"],
        &["impersonate", "users"],
        &["impersonate", "groups"],
        &["update", "syncs.towline.dev", "-n", "default"],
        &["patch", "gitrepositories.towline.dev", "-n", "default"],
        &["delete", "gitrepositories.towline.dev", "-n", "default"],
    ] {
        assert!(!can(&world, &operator, question).await, "{question:?}");
    }
    for question in [
        &["impersonate", "serviceaccounts", "-n", "default"][..],
        &["watch", "deployments.apps", "-n", "default"],
        &["patch", "syncs.towline.dev", "-n", "default"],
    ] {
        assert!(can(&world, &operator, question).await, "{question:?}");
    }
    // The API server refuses the account's write.
    team_a_reaches_for_team_b(&world, &["ServiceAccount", "/default may not patch"]).await;

    // Case 2: with rules for some kinds, towline's own are not among them.
    world.operator.terminate(PATIENCE);
    let rules = |groups: &str| {
        format!(
            "--set-json=rbac={{\"tenantsOnly\":false,\"applyAnything\":false,\"rules\":[\
             {{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"]}}{groups}]}}"
        )
    };
    helm(&world.cp, "upgrade", chart(), &[&rules("")]).await;
    let mut options = as_deployed(&world.cp, HOME, "towline").await;
    let folder = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    let folder = format!("--renderers-dir={}", folder.display());
    options.args.push(folder);
    world.operator = Operator::start(options).await;
    team_a_reaches_for_team_b(&world, &["towline has no right to update", "rbac.rules"]).await;
    charts_reach_for_what_is_towlines_own(&world).await;

    // With a rule, a Sync in Git is applied.
    world.operator.terminate(PATIENCE);
    let own = ",{\"apiGroups\":[\"towline.dev\"],\"resources\":[\"syncs\",\"gitrepositories\"]}";
    helm(&world.cp, "upgrade", chart(), &[&rules(own)]).await;
    world.operator = Operator::start(as_deployed(&world.cp, HOME, "towline").await).await;
    let namespace = world.cp.namespace("fleet").await;
    let fleet = case(&world, &namespace).await;
    let child = format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: child, namespace: {namespace}}}\n\
         spec: {{sourceRef: {{name: repo}}, path: other, prune: true}}\n"
    );
    let map = config_map("a", &namespace, "git");
    let commit = fleet.repo.commit(
        &[
            ("fleet/child.yaml", Some(&child)),
            ("other/a.yaml", Some(&map)),
        ],
        "first",
    );
    fleet.repository(json!({})).await;
    fleet.sync("fleet", json!({"path": "fleet"})).await;
    fleet.synced("fleet", &commit).await;
    fleet.synced("child", &commit).await;

    // And with cluster-admin, everything.
    helm(
        &world.cp,
        "upgrade",
        chart(),
        &["--set-json=rbac={\"rules\":[]}"],
    )
    .await;
    for question in [
        &["delete", "namespaces"][..],
        &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
    ] {
        assert!(can(&world, &operator, question).await, "{question:?}");
    }
    type_in(&world.cp, &format!("get secret towline-key -n {HOME}")).await;
}
