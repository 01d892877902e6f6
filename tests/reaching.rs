//! What a Sync may name outside of its own namespace, and what it gains by that: nothing that its account may not write.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use towline::api::{Failure, GitRepository, Sync};
use towline_testing::audit::Entry;
use towline_testing::control_plane::Options;
use towline_testing::kubectl::kubectl;
use towline_testing::renderers;
use towline_testing::wait::eventually;

use crate::bad_spec::{object, remove_schema, untyped};
use crate::tenants::{ALL, grant};
use crate::world::verdict::assert_says;
use crate::world::{Case, PATIENCE, World, condition, config_map, world};

/// Waits until a Sync has so many failures. Returns them.
async fn failures(case: &Case<'_>, name: &str, many: usize) -> Vec<Failure> {
    let of = |sync: &Sync| sync.status.clone().unwrap_or_default().failures;
    let what = format!("Sync {name} with {many} failures");
    let sync = case.until(name, &what, |sync| of(sync).len() == many).await;
    of(&sync)
}

/// Lets the account of one case write ConfigMaps in the namespace of another, and nothing else.
async fn let_in(guest: &Case<'_>, host: &Case<'_>, names: &[&str]) {
    let config = host.world.cp.kubeconfig_path();
    let namespace = format!("--namespace={}", host.namespace);
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("--resource-name={name}"))
        .collect();
    let verb = format!("--verb={ALL}");
    let mut role = vec!["create", "role", "guest", "--resource=configmaps", &verb];
    role.push(&namespace);
    role.extend(names.iter().map(String::as_str));
    kubectl(&config, &role).await;
    let account = format!("--serviceaccount={}:applier", guest.namespace);
    let binding = ["create", "rolebinding", "guest", "--role=guest"];
    kubectl(&config, &[&binding[..], &[&account, &namespace]].concat()).await;
}

#[tokio::test]
async fn names_of_objects_of_another_namespace_keep_nothing_from_it_and_learn_nothing() {
    let host = world().await.case("reached").await;
    let guest = world().await.case("reaching").await;
    let has = host.map("has", "host");
    let first = host.repo.commit(&[("has.yaml", Some(&has))], "first");
    host.repository(json!({})).await;
    host.sync("secret-plan", json!({})).await;
    host.synced("secret-plan", &first).await;

    // It may write none of them. One is the host's now, one will be, and one is nobody's.
    grant(&guest, "applier", ALL, "configmaps").await;
    let names = ["has", "will", "none"];
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            (
                format!("{name}.yaml"),
                config_map(name, &host.namespace, "guest"),
            )
        })
        .chain([("own.yaml".to_owned(), guest.map("own", "guest"))])
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, Some(text)))
        .collect();
    guest.repo.commit(&files, "reaches");
    guest.repository(json!({})).await;
    guest
        .sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    let told = failures(&guest, "all", 3).await;
    let told = told.into_iter().map(|failure| {
        let text = json!([failure.object, failure.reason, failure.message]).to_string();
        assert!(text.contains("/applier may not patch ConfigMap"), "{text}");
        let name = names
            .iter()
            .find(|name| text.contains(&format!("/{name}\"")));
        let name = name.unwrap_or_else(|| panic!("{text}"));
        text.replace(&format!("/{name}\""), "/NAME\"")
            .replace(&format!("\\\"{name}\\\""), "\\\"NAME\\\"")
    });
    let told: Vec<String> = told.collect();
    assert!(told.iter().all(|text| *text == told[0]), "{told:#?}");
    guest.has("own", "value", Some("guest")).await;

    // The host makes what the guest has named, and removes what the guest names.
    let will = host.map("will", "host");
    let second = host.push(&[("will.yaml", Some(&will))], "will").await;
    host.synced("secret-plan", &second).await;
    let third = host.push(&[("has.yaml", None)], "has goes").await;
    host.synced("secret-plan", &third).await;
    host.has("has", "value", None).await;

    // Once it may write one of them, that one is its own; what the host has stays the host's.
    let_in(&guest, &host, &["will", "none"]).await;
    guest
        .patch::<Sync>(
            "all",
            json!({"metadata": {"annotations": {"towline.dev/requested-at": "1"}}}),
        )
        .await;
    guest
        .until("all", "the conflict", |sync| {
            let (_, reason, message) = condition(sync, "Ready");
            reason == "OwnershipConflict" && message.contains("belongs to Sync")
        })
        .await;
    host.has("will", "value", Some("host")).await;
}

/// A manifest that equals what another Sync has applied is tried out as any other: both are refused, in the same words.
#[tokio::test]
async fn a_guess_at_what_another_sync_has_applied_is_not_told_to_be_right() {
    let host = world().await.case("guessed").await;
    let guest = world().await.case("guessing").await;
    let has = host.map("has", "host");
    let first = host.repo.commit(&[("has.yaml", Some(&has))], "first");
    host.repository(json!({})).await;
    host.sync("secret-plan", json!({})).await;
    host.synced("secret-plan", &first).await;
    grant(&guest, "applier", ALL, "configmaps").await;
    let own = guest.map("own", "one");
    let start = guest.repo.commit(&[("own.yaml", Some(&own))], "start");
    guest.repository(json!({})).await;
    let spec = json!({"serviceAccountName": "applier", "validate": true});
    guest.sync("all", spec).await;
    guest.synced("all", &start).await;
    let own = guest.map("own", "two");
    let mut told = Vec::new();
    for guess in ["host", "other"] {
        let guess = config_map("has", &host.namespace, guess);
        let files = [("guess.yaml", Some(&*guess)), ("own.yaml", Some(&*own))];
        let commit = guest.push(&files, "guess").await;
        let sync = guest
            .until("all", "the guess was refused", |sync| {
                let status = sync.status.clone().unwrap_or_default();
                let attempted = status.last_attempted_revision.unwrap_or_default();
                attempted.ends_with(&commit) && condition(sync, "Ready").1 == "ValidationFailed"
            })
            .await;
        let (_, _, message) = condition(&sync, "Ready");
        told.push(message.replace(&commit, "COMMIT"));
        // The commit is refused as a whole.
        guest.has("own", "value", Some("one")).await;
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn the_rights_to_objects_of_another_namespace_are_asked_for_once_a_commit() {
    const MANY: usize = 40;
    let host = world().await.case("asked").await;
    let guest = world().await.case("asking").await;
    grant(&guest, "applier", ALL, "configmaps").await;
    let own = guest.map("own", "one");
    let start = guest.repo.commit(&[("own.yaml", Some(&own))], "start");
    guest.repository(json!({})).await;
    guest
        .sync("all", json!({"serviceAccountName": "applier"}))
        .await;
    guest.synced("all", &start).await;
    let mark = guest.world.cp.audit().mark();
    let maps = (0..MANY).map(|name| config_map(&format!("m{name}"), &host.namespace, "guest"));
    let maps = maps.collect::<Vec<_>>().join("---\n");
    guest.push(&[("maps.yaml", Some(&maps))], "many").await;
    let message = guest.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(&message, &["/applier may not patch ConfigMap"]);
    let requests = guest.world.cp.audit_since(mark).await;
    let user = format!("system:serviceaccount:{}:applier", guest.namespace);
    let is_apply =
        |request: &Entry| request.verb == "patch" && request.namespace == *host.namespace;
    let asked = requests
        .iter()
        .filter(|request| request.impersonated.as_deref() == Some(&*user))
        .take_while(|request| !is_apply(request))
        .filter(|request| request.resource == "selfsubjectaccessreviews");
    // One for all of the kind, and one for each name.
    assert_eq!(asked.count(), MANY + 1);
}

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";

/// Where nothing may reach across, a chart's record for Helm does not, even if all of its objects stay inside.
#[tokio::test]
async fn no_record_of_a_chart_reaches_into_another_namespace() {
    let renderers = renderers::folder();
    let renderers = format!("--renderers-dir={}", renderers.display());
    let world = World::own(Options::default(), &["--no-cross-namespace", &renderers]).await;
    let case = world.case("chart-inside").await;
    let other = world.cp.namespace("chart-outside").await;
    let map = case.map("inside", "git");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: outside\n  annotations: {helm.sh/hook: pre-install}\n\
               spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n";
    let commit = case.repo.commit(
        &[
            ("good/Chart.yaml", Some(CHART)),
            ("good/templates/map.yaml", Some(&map)),
            ("bad/Chart.yaml", Some(CHART)),
            ("bad/templates/map.yaml", Some(&case.map("other", "git"))),
            ("bad/templates/job.yaml", Some(job)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    for name in ["good", "bad"] {
        case.sync(name, json!({"path": name, "targetNamespace": other}))
            .await;
    }
    // A chart whose hook may not run has failed, and its record says so elsewhere.
    let message = case.ready_becomes("bad", "False", "HookFailed").await;
    assert!(message.contains("--no-cross-namespace"), "{message}");
    let warned = |sync: &Sync| sync.status.clone().unwrap_or_default().warnings.join("\n");
    case.until("good", "a warning instead of a record", |sync| {
        warned(sync).contains("--no-cross-namespace")
    })
    .await;
    case.synced("good", &commit).await;
    case.has("inside", "value", Some("git")).await;
    let secrets: Api<Secret> = Api::namespaced(case.client.clone(), &other);
    let found = secrets.list(&ListParams::default()).await.unwrap();
    let found: Vec<Value> = found
        .items
        .iter()
        .map(|one| json!(one.metadata.name))
        .collect();
    assert_eq!(found, [Value::Null; 0]);
    // A chart in its own namespace has one.
    case.patch::<Sync>("good", json!({"spec": {"targetNamespace": null}}))
        .await;
    eventually("a record inside", PATIENCE, async || {
        let name = "sh.helm.release.v1.good.v";
        let api: Api<Secret> = Api::namespaced(case.client.clone(), &case.namespace);
        let secrets = api.list(&ListParams::default()).await.unwrap().items;
        let mut names = secrets
            .into_iter()
            .filter_map(|secret| secret.metadata.name);
        names.any(|is| is.starts_with(name)).then_some(())
    })
    .await;
    assert!(case.live::<ConfigMap>("inside").await.is_object());
}

/// The client puts a name into the path of its request as it is. One that no object can have is not sent: it would be a list
/// without an end of all Secrets, or a request about something else.
#[tokio::test]
async fn a_name_that_no_secret_can_have_is_not_asked_for() {
    // The API server refuses such a name, unless the definition is of another version of towline.
    let options = Options {
        audit: true,
        ..Options::default()
    };
    let world = World::own(options, &[]).await;
    let case = world.case("no-names").await;
    remove_schema::<GitRepository>(&case).await;
    let repositories = untyped::<GitRepository>(&case);
    eventually("the definition without a schema", PATIENCE, async || {
        let spec = json!({"url": case.repo.url(), "secretRef": {"name": "?"}});
        let probe = object("GitRepository", "probe", &spec);
        repositories.create(&PostParams::default(), &probe).await
    })
    .await;
    let before = case.world.cp.audit().mark();
    let names = [
        "?watch=1",
        "?limit=500",
        "a/../../../default/secrets/b",
        "a#b",
    ];
    for (number, name) in names.iter().enumerate() {
        let repository = format!("r{number}");
        case.repository_named(&repository, json!({"secretRef": {"name": name}}))
            .await;
        let says = format!("Secret {}/{name} does not exist", case.namespace);
        eventually(&says, PATIENCE, async || {
            let live = case.live::<GitRepository>(&repository).await;
            let conditions = live["status"]["conditions"].to_string();
            conditions.contains(&says).then_some(()).ok_or(conditions)
        })
        .await;
    }
    let asked = case.world.cp.audit_since(before).await;
    let asked = asked.iter().find(|entry| {
        entry.user == "towline" && entry.namespace == case.namespace && entry.resource == "secrets"
    });
    assert!(asked.is_none(), "{asked:?}");
}
