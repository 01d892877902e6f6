//! Case 4 of the engine: a field that a controller of the cluster writes as well is left to it and told once, and the
//! rest of the object is healed as before.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::life::deployment;
use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, World, world};
use towline_testing::control_plane::Options;
use towline_testing::kubeconfig::User;
use towline_testing::wait::{eventually, never};

/// A controller that writes `patch` whenever `field` has another value, for as long as it is polled.
async fn controller<K>(api: Api<K>, name: &str, manager: &str, field: &str, patch: Value)
where
    K: kube::Resource + Clone + Serialize + DeserializeOwned + Debug,
{
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    loop {
        let live = api.get_opt(name).await.unwrap();
        let live = serde_json::to_value(live).unwrap();
        if !live.is_null() && live.pointer(field) != patch.pointer(field) {
            let patch = match patch.pointer("/webhooks") {
                Some(_) => Patch::Strategic(patch.clone()),
                None => Patch::Merge(patch.clone()),
            };
            // Where towline wrote meanwhile, the next turn writes again.
            let _ = api.patch(name, &params, &patch).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fails if an object is written during two seconds. Its status is its controller's to write: where the API server counts the
/// writes of everything else, that number says it.
async fn rests<K>(api: &Api<K>, name: &str)
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    let version = async || {
        let live = api.get(name).await.unwrap();
        let counted = live
            .meta()
            .generation
            .map(|generation| generation.to_string());
        counted.or_else(|| live.meta().resource_version.clone())
    };
    let before = version().await;
    never("a write", Duration::from_secs(2), async || {
        let now = version().await;
        (now != before).then_some(now)
    })
    .await;
}

async fn person(case: &Case<'_>) -> Client {
    case.world.cp.client_for(User::Person).await
}

#[tokio::test]
async fn the_rules_of_an_aggregated_role_are_its_controllers() {
    let role = |name: &str, namespace: &str, more: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {namespace}-{name}\n{more}"
        )
    };
    let files = async |namespace: &str| {
        let all = format!(
            "  labels: {{shop: 'yes'}}\naggregationRule:\n  clusterRoleSelectors: [{{matchLabels: {{part-of: {namespace}}}}}]\nrules: []\n"
        );
        let part = format!(
            "  labels: {{part-of: {namespace}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]\n"
        );
        vec![
            ("all.yaml".to_owned(), role("all", namespace, &all)),
            ("part.yaml".to_owned(), role("part", namespace, &part)),
        ]
    };
    let (case, _) = Case::started(world().await, "aggregated", files, json!({})).await;
    let name = format!("{}-all", case.namespace);
    let roles: Api<ClusterRole> = Api::all(person(&case).await);
    eventually("the rules are filled in", PATIENCE, async || {
        let role = roles.get(&name).await.unwrap();
        let rules = role.rules.clone().unwrap_or_default();
        (rules.len() == 1).then_some(()).ok_or(role)
    })
    .await;
    case.wait_for_event(
        "FieldLeft",
        &["rules", &name, "clusterrole-aggregation-controller"],
    )
    .await;
    case.ready_becomes("all", "True", "Converged").await;
    rests(&roles, &name).await;
    let patch = json!({"metadata": {"labels": {"shop": "no"}}});
    let params = PatchParams::default();
    roles
        .patch(&name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
    eventually("the label is healed", PATIENCE, async || {
        let role = roles.get(&name).await.unwrap();
        let labels = role.metadata.labels.clone().unwrap_or_default();
        let is_full = role.rules.iter().flatten().count() == 1;
        (is_full && labels["shop"] == "yes")
            .then_some(())
            .ok_or(role)
    })
    .await;
    rests(&roles, &name).await;
    assert_eq!(case.events("FieldLeft").await.len(), 1);
}

fn webhooks(namespace: &str, bundle: &str, path: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {{name: {namespace}}}\n\
         webhooks:\n- name: a.example.com\n  admissionReviewVersions: [v1]\n  sideEffects: None\n  failurePolicy: Ignore\n  \
         clientConfig: {{caBundle: {bundle}, service: {{name: a, namespace: {namespace}, path: {path}}}}}\n"
    )
}

#[tokio::test]
async fn an_injected_bundle_stays_until_git_has_another_one() {
    let files =
        async |namespace: &str| vec![("hook.yaml".to_owned(), webhooks(namespace, "Cg==", "/a"))];
    let (case, _) = Case::started(world().await, "injected", files, json!({})).await;
    let (client, name) = (person(&case).await, case.namespace.as_str());
    let api: Api<MutatingWebhookConfiguration> = Api::all(client);
    let field = "/webhooks/0/clientConfig/caBundle";
    let injected = json!({"webhooks": [{"name": "a.example.com", "clientConfig": {"caBundle": "aW5qZWN0ZWQ="}}]});
    let injector = controller(
        api.clone(),
        name,
        "cert-manager-cainjector",
        field,
        injected,
    );
    let shows = async |field: &str, value: &str| {
        eventually(&format!("{field} is {value}"), PATIENCE, async || {
            let live = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
            (live.pointer(field) == Some(&json!(value)))
                .then_some(())
                .ok_or(live)
        })
        .await;
    };
    let test = async {
        case.wait_for_event(
            "FieldLeft",
            &[
                "webhooks[name=a.example.com].clientConfig.caBundle",
                name,
                "cert-manager-cainjector",
            ],
        )
        .await;
        case.ready_becomes("all", "True", "Converged").await;
        shows(field, "aW5qZWN0ZWQ=").await;
        rests(&api, name).await;
        // Everything else is Git's: by a commit and against drift.
        let path = "/webhooks/0/clientConfig/service/path";
        let commit = case
            .push(
                &[("hook.yaml", Some(&webhooks(name, "Cg==", "/b")))],
                "path",
            )
            .await;
        case.synced("all", &commit).await;
        shows(path, "/b").await;
        let drift = json!({"webhooks": [{"name": "a.example.com", "clientConfig": {"service": {"path": "/c"}}}]});
        api.patch(name, &PatchParams::default(), &Patch::Strategic(drift))
            .await
            .unwrap();
        shows(path, "/b").await;
        shows(field, "aW5qZWN0ZWQ=").await;
        case.reconcile("all").await;
        rests(&api, name).await;
        assert_eq!(case.events("FieldLeft").await.len(), 1);
    };
    tokio::select! {
        () = injector => unreachable!("it does not end"),
        () = test => (),
    }
    // Another value in Git is tried again.
    let commit = case
        .push(
            &[("hook.yaml", Some(&webhooks(name, "YW5vdGhlcg==", "/b")))],
            "bundle",
        )
        .await;
    case.synced("all", &commit).await;
    shows(field, "YW5vdGhlcg==").await;
}

#[tokio::test]
async fn what_an_autoscaler_scaled_is_not_scaled_back() {
    let files =
        async |namespace: &str| vec![("web.yaml".to_owned(), deployment("web", namespace, ""))];
    let (case, _) = Case::started(world().await, "scaled", files, json!({})).await;
    let api: Api<Deployment> = Api::namespaced(person(&case).await, &case.namespace);
    let params = PatchParams {
        field_manager: Some("kube-controller-manager".to_owned()),
        ..PatchParams::default()
    };
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch_scale("web", &params, &scale).await.unwrap();
    case.wait_for_event(
        "FieldLeft",
        &["spec.replicas", "web", "kube-controller-manager"],
    )
    .await;
    case.ready_becomes("all", "True", "Converged").await;
    case.kubectl_as_person(&["set", "image", "deployment/web", "web=other"])
        .await;
    let image = "/spec/template/spec/containers/0/image";
    case.wait_for_field::<Deployment>("web", image, json!("web"))
        .await;
    // Neither a full verification nor another Sync's first look at it undoes that.
    case.reconcile("all").await;
    rests(&api, "web").await;
    assert_eq!(case.live::<Deployment>("web").await["spec"]["replicas"], 3);

    // One that was there before, and is scaled, is adopted as it is.
    let other = deployment("other", &case.namespace, "");
    case.kubectl_as_person(&["create", "deployment", "other", "--image=web"])
        .await;
    api.patch_scale("other", &params, &scale).await.unwrap();
    let mark = case.world.cp.audit().mark();
    let commit = case.push(&[("other.yaml", Some(&other))], "adopt").await;
    case.synced("all", &commit).await;
    assert_eq!(
        case.live::<Deployment>("other").await["spec"]["replicas"],
        3
    );
    let requests = case.requests(mark).await.len();
    assert!(requests <= 8, "{requests} requests");
}

#[tokio::test]
async fn a_controller_that_takes_a_value_again_and_again_gets_it() {
    let files = async |namespace: &str| {
        let map = crate::world::config_map("map", namespace, "git");
        vec![(
            "map.yaml".to_owned(),
            map.replace("value: ", "other: 'git'\n  value: "),
        )]
    };
    let (case, _) = Case::started(world().await, "taken", files, json!({})).await;
    let api: Api<ConfigMap> = Api::namespaced(person(&case).await, &case.namespace);
    let field = "/data/value";
    let theirs = json!({"data": {"value": "theirs"}});
    let rival = controller(api.clone(), "map", "some-controller", field, theirs);
    let mark = case.world.cp.audit().mark();
    let test = async {
        case.wait_for_event("FieldLeft", &["data.value", "map", "some-controller"])
            .await;
        case.ready_becomes("all", "True", "Converged").await;
        rests(&api, "map").await;
        case.patch::<ConfigMap>("map", json!({"data": {"other": "person"}}))
            .await;
        case.has("map", "other", Some("git")).await;
        case.has("map", "value", Some("theirs")).await;
    };
    tokio::select! {
        () = rival => unreachable!("it does not end"),
        () = test => (),
    }
    let writes = case.requests(mark).await;
    let writes = writes.iter().filter(|entry| entry.verb == "patch").count();
    assert!(writes <= 6, "{writes} writes");
    // A new object has every value that Git has.
    case.delete::<ConfigMap>("map").await;
    case.has("map", "value", Some("git")).await;
}

#[tokio::test]
async fn the_revision_in_a_dump_is_the_deployment_controllers() {
    // It writes the annotation together with the status.
    let files = async |namespace: &str| {
        let annotated =
            "metadata: {annotations: {deployment.kubernetes.io/revision: '7'}, name: web,";
        let web = deployment("web", namespace, "").replace("metadata: {name: web,", annotated);
        vec![("web.yaml".to_owned(), web)]
    };
    let (case, _) = Case::started(world().await, "revision", files, json!({})).await;
    case.wait_for_event(
        "FieldLeft",
        &[
            "deployment.kubernetes.io/revision",
            "web",
            "kube-controller-manager",
        ],
    )
    .await;
    case.ready_becomes("all", "True", "Converged").await;
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    case.wait_for_field::<Deployment>("web", revision, json!("1"))
        .await;
    rests(&case.api::<Deployment>(), "web").await;
}

/// Makes a policy for this case's namespace.
async fn in_force(case: &Case<'_>, policy: serde_json::Value) {
    let name = case.namespace.as_str();
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": {"namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": name}}}},
    });
    let folder = towline_testing::scratch::Scratch::new().unwrap();
    for (file, object) in [("policy.json", policy), ("binding.json", binding)] {
        let file = folder.path().join(file);
        std::fs::write(&file, object.to_string()).unwrap();
        let config = case.world.cp.kubeconfig_path();
        towline_testing::kubectl::kubectl(&config, &["create", "-f", file.to_str().unwrap()]).await;
    }
}

/// A policy of the cluster that puts a value into every ConfigMap of the case's namespace.
async fn policy(case: &Case<'_>) {
    let name = case.namespace.as_str();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{data: {'value': 'policy'}}"}}],
        },
    });
    in_force(case, policy).await;
    eventually("the policy is in force", PATIENCE, async || {
        let probe = serde_json::from_value(json!({"metadata": {"name": "probe"}})).unwrap();
        let params = kube::api::PostParams {
            dry_run: true,
            ..kube::api::PostParams::default()
        };
        let made: ConfigMap = case.api().create(&params, &probe).await.unwrap();
        made.data.is_some().then_some(()).ok_or(made)
    })
    .await;
}

/// A policy of the cluster puts another value into what Git declares, at every write.
#[tokio::test]
async fn what_admission_rewrites_is_written_once_and_the_rest_is_healed() {
    // An operator reads at first, and then each minute, what may change objects.
    let options = Options {
        audit: true,
        ..Options::default()
    };
    let world = World::own(options, &[]).await;
    let case = world.case("rewritten").await;
    policy(&case).await;
    let name = case.namespace.as_str();
    let map = crate::world::config_map("map", name, "git");
    let map = map.replace("value: ", "other: 'git'\n  value: ");
    let first = case.repo.commit(&[("map.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    let mark = case.world.cp.audit().mark();
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let api = case.api::<ConfigMap>();
    rests(&api, "map").await;
    case.has("map", "value", Some("policy")).await;
    case.patch::<ConfigMap>("map", json!({"data": {"other": "person"}}))
        .await;
    case.has("map", "other", Some("git")).await;
    rests(&api, "map").await;
    case.reconcile("all").await;
    rests(&api, "map").await;
    case.ready_becomes("all", "True", "Converged").await;
    let writes = case.requests(mark).await;
    let writes = writes.iter().filter(|entry| entry.verb == "patch").count();
    assert!(writes <= 8, "{writes} writes");
    // People are told of it once, and the status says it as long as it is so.
    let says = ["data.value of ConfigMap", "/map", "webhook or a policy"];
    case.wait_for_event("FieldRewritten", &says).await;
    assert_eq!(case.events("FieldRewritten").await.len(), 1);
    let warnings = async || {
        let sync = case.api::<towline::api::Sync>().get("all").await.unwrap();
        sync.status.unwrap().warnings
    };
    let told = warnings().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_says(&told[0], &says);
    assert!(!told[0].contains("data.other"), "{told:?}");
    // Git has the value that is put there.
    let same = map.replace("'git'\n  value: ", "'git'\n  value: policy #");
    let second = case
        .push(&[("map.yaml", Some(&same))], "as the policy")
        .await;
    case.synced("all", &second).await;
    assert_eq!(warnings().await, [""; 0]);
    assert_eq!(case.events("FieldRewritten").await.len(), 1);
}

/// What was told once is not told again by the next operator.
#[tokio::test]
async fn what_admission_rewrites_is_told_once_over_restarts() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("rewritten-again").await;
    let name = case.namespace.as_str();
    policy(&case).await;
    let map = crate::world::config_map("map", name, "git");
    let first = case.repo.commit(&[("map.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    case.wait_for_event("FieldRewritten", &["data.value"]).await;
    let parts = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    // A commit that changes nothing of the object says nothing new of it.
    let other = crate::world::config_map("other", &case.namespace, "policy");
    let second = case.push(&[("other.yaml", Some(&other))], "another").await;
    case.synced("all", &second).await;
    case.reconcile("all").await;
    case.ready_becomes("all", "True", "Converged").await;
    assert_eq!(case.events("FieldRewritten").await.len(), 1);
}

/// A policy takes towline's marks away, so that the object cannot be known as towline's own, or not be proven to be.
#[tokio::test]
async fn a_policy_that_takes_the_marks_away_is_told_in_words() {
    let proof = "'towline.dev/proof' in object.metadata.annotations \
                 ? [JSONPatch{op: 'remove', path: '/metadata/annotations/towline.dev~1proof'}] : []";
    for (case, expression, without) in [
        (
            "unlabelled",
            "has(object.metadata.labels) ? [JSONPatch{op: 'remove', path: '/metadata/labels'}] : []".to_owned(),
            "without towline's label",
        ),
        (
            "unannotated",
            "has(object.metadata.annotations) ? [JSONPatch{op: 'remove', path: '/metadata/annotations'}] : []".to_owned(),
            "without towline's annotations",
        ),
        (
            "unproven",
            format!("has(object.metadata.annotations) && {proof}"),
            "without towline's annotation towline.dev/proof",
        ),
    ] {
        let case = marks_are_taken(case, &expression, without).await;
        // towline made it, whether or not it could be known as its own then.
        case.delete::<towline::api::Sync>("all").await;
        case.gone::<ConfigMap>("map").await;
    }
}

/// An object that no mark names stays when it leaves Git, and when its Sync is deleted. People are told.
#[tokio::test]
async fn an_object_whose_marks_were_taken_is_told_when_it_leaves() {
    let expression =
        "has(object.metadata.labels) ? [JSONPatch{op: 'remove', path: '/metadata/labels'}] : []";
    let without = "without towline's label";
    let (case, _) = without_marks("unlabelled-leaves", expression, without).await;
    let secret = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {}}}\n",
            case.namespace
        )
    };
    let left = case
        .push(
            &[("map.yaml", None), ("other.yaml", Some(&secret("other")))],
            "it leaves",
        )
        .await;
    case.synced("all", &left).await;
    let says = ["ConfigMap", "/map", "taken towline's label"];
    case.wait_for_event("Released", &says).await;
    let status = async || case.live::<towline::api::Sync>("all").await["status"].clone();
    let told = status().await;
    assert_says(&told["warnings"].to_string(), &says);
    assert_eq!(told["objects"]["unpruned"], 1, "{told}");
    assert!(case.data("map").await.is_some());
    // Another commit, and a look at everything, tell it once.
    let more = case
        .push(&[("more.yaml", Some(&secret("more")))], "more")
        .await;
    case.synced("all", &more).await;
    case.reconcile("all").await;
    assert_eq!(case.events("Released").await.len(), 1);
    assert_says(&status().await["warnings"].to_string(), &says);
    case.delete::<ConfigMap>("map").await;
    case.reconcile("all").await;
    eventually("nothing is left to tell", PATIENCE, async || {
        let status = status().await;
        let is_told = |warnings: &Vec<serde_json::Value>| !warnings.is_empty();
        let warnings = status["warnings"].as_array().is_some_and(is_told);
        let is_over = !warnings && status["objects"]["unpruned"].as_u64() != Some(1);
        is_over.then_some(()).ok_or(status)
    })
    .await;

    // The same with the Sync.
    case.push(&[("last.yaml", Some(&case.map("last", "git")))], "last")
        .await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    case.delete::<towline::api::Sync>("all").await;
    case.gone::<towline::api::Sync>("all").await;
    case.wait_for_event("Released", &["ConfigMap", "/last", "taken towline's label"])
        .await;
    assert_eq!(case.events("Released").await.len(), 2);
}

/// What was told of an object without marks is still known after a restart, and not told again.
#[tokio::test]
async fn an_object_whose_marks_were_taken_is_known_after_a_restart() {
    let mut own = World::own(Options::default(), &[]).await;
    let case = own.case("strays").await;
    let secret = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {}}}\n",
            case.namespace
        )
    };
    let more = secret("more");
    let files = [("stays.yaml", secret("stays"))];
    let maps = ["one", "two"].map(|name| (format!("{name}.yaml"), case.map(name, "git")));
    let files = files.map(|(path, text)| (path.to_owned(), text));
    let files: Vec<_> = files.iter().chain(&maps).collect();
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, Some(text)))
        .collect();
    case.repo.commit(&files, "first");
    // In one round, so that towline does not put the marks back before they leave.
    case.repository(json!({})).await;
    case.sync("all", json!({"mode": "Report"})).await;
    case.ready_becomes("all", "True", "Converged").await;
    for name in ["one", "two"] {
        case.patch::<ConfigMap>(name, json!({"metadata": {"labels": null}}))
            .await;
    }
    let left = case
        .push(&[("one.yaml", None), ("two.yaml", None)], "they leave")
        .await;
    case.synced("all", &left).await;
    let status =
        async |case: &Case<'_>| case.live::<towline::api::Sync>("all").await["status"].clone();
    let warns = async |case: &Case<'_>, names: &[&str]| {
        eventually(&format!("it warns of {names:?}"), PATIENCE, async || {
            let status = status(case).await;
            let warnings = status["warnings"].to_string();
            let is_told =
                |name: &&str| warnings.contains(&format!("/{name} has left Git and stays"));
            let told: Vec<&str> = ["one", "two"]
                .into_iter()
                .filter(|name| is_told(name))
                .collect();
            let unpruned = status["objects"]["unpruned"].as_u64().unwrap_or(0);
            let is_right = told == names && unpruned == names.len() as u64;
            is_right.then_some(()).ok_or(status)
        })
        .await;
    };
    warns(&case, &["one", "two"]).await;
    let told = case.events("Released").await.len();
    let parts = case.into_parts();
    own.operator.kill();
    let case = own.resume(parts).await;
    case.delete::<ConfigMap>("two").await;
    let parts = case.into_parts();
    own.operator.restart().await;
    let case = own.resume(parts).await;
    let third = case.push(&[("more.yaml", Some(&more))], "more").await;
    case.synced("all", &third).await;
    warns(&case, &["one"]).await;
    assert_eq!(case.events("Released").await.len(), told);
    case.delete::<ConfigMap>("one").await;
    case.reconcile("all").await;
    warns(&case, &[]).await;
}

async fn marks_are_taken(case: &str, expression: &str, without: &str) -> Case<'static> {
    let (case, commit) = without_marks(case, expression, without).await;
    let config = case.world.cp.kubeconfig_path();
    let kind = "mutatingadmissionpolicybinding";
    towline_testing::kubectl::kubectl(&config, &["delete", kind, &case.namespace]).await;
    eventually("it is applied and proven", PATIENCE, async || {
        case.reconcile("all").await;
        let map = case.live::<ConfigMap>("map").await;
        let is_marked = map["metadata"]["labels"].is_object()
            && map["metadata"]["annotations"]["towline.dev/proof"].is_string();
        is_marked.then_some(()).ok_or(map)
    })
    .await;
    case.synced("all", &commit).await;
    case
}

/// A Sync whose ConfigMap is written without some of towline's marks, and its commit.
async fn without_marks(case: &str, expression: &str, without: &str) -> (Case<'static>, String) {
    let case = world().await.case(case).await;
    let name = case.namespace.as_str();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    });
    in_force(&case, policy).await;
    eventually("the policy is in force", PATIENCE, async || {
        let probe = json!({"metadata": {"name": "probe", "labels": {"a": "b"}, "annotations": {"towline.dev/proof": "x"}}});
        let params = kube::api::PostParams {
            dry_run: true,
            ..kube::api::PostParams::default()
        };
        let probe = serde_json::from_value(probe).unwrap();
        let made: ConfigMap = case.api().create(&params, &probe).await.unwrap();
        let is_bare = made.metadata.labels.is_none() || made.metadata.annotations.is_none();
        is_bare.then_some(()).ok_or(made)
    })
    .await;
    let commit = case
        .repo
        .commit(&[("map.yaml", Some(case.map("map", "git")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(
        &message,
        &[
            "ConfigMap",
            "/map in map.yaml",
            without,
            "webhook or a policy",
        ],
    );
    (case, commit)
}
