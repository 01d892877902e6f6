//! Alerts and Providers: what is told outside of the cluster, how often, and what is said of a service that does not take
//! it.

mod active;
mod app;
mod commit_status;
mod deployments;
mod git_host;
mod hosts;
mod leader;
mod mail;
mod providers;
mod services;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use towline::api::{Alert, GitRepository, Provider, Sync};

use crate::world::{Case, config_map, world};
use towline_testing::recorder::{Answer, Recorded, Recorder};
use towline_testing::wait::{PATIENCE, eventually, never};

/// Makes a Provider.
async fn provider(case: &Case<'_>, name: &str, spec: Value) {
    case.make::<Provider>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Provider",
        "metadata": {"name": name, "namespace": case.namespace}, "spec": spec,
    }))
    .await;
}

/// Makes an Alert `alert` about all Syncs and GitRepositories of the namespace, to the Provider `provider`.
async fn alert(case: &Case<'_>, more: Value) {
    let mut spec = json!({
        "providerRef": {"name": "provider"},
        "eventSources": [{"kind": "Sync", "name": "*"}, {"kind": "GitRepository", "name": "*"}],
        "eventMetadata": {"cluster": "eu-1"},
        "groupWait": "1s",
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
        "metadata": {"name": "alert", "namespace": case.namespace}, "spec": spec,
    }))
    .await;
    eventually("the alert is driven", PATIENCE, async || {
        let alert: Alert = case.api().get("alert").await.unwrap();
        let status = alert.status.unwrap_or_default();
        (!status.conditions.is_empty()).then_some(()).ok_or(status)
    })
    .await;
}

/// A Provider of the type `generic` at a service that records, and an Alert.
async fn told(case: &Case<'_>, more: Value) -> Recorder {
    let service = Recorder::start();
    let spec = json!({"type": "generic", "address": service.url("/hook")});
    provider(case, "provider", spec).await;
    alert(case, more).await;
    service
}

async fn make_secret(case: &Case<'_>, name: &str, data: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": case.namespace}, "stringData": data,
    });
    case.make::<Secret>(secret).await;
}

/// Waits until the condition `Ready` of a Provider or an Alert has a status and a reason. Returns its message.
async fn becomes<K>(case: &Case<'_>, name: &str, status: &str, reason: &str) -> String
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let what = format!("{name}: Ready={status} {reason}");
    eventually(&what, PATIENCE, async || {
        let object: K = case.api().get(name).await.unwrap();
        let object = serde_json::to_value(object).unwrap();
        let ready = &object["status"]["conditions"][0];
        match ready["status"] == status && ready["reason"] == reason {
            true => Ok(ready["message"].as_str().unwrap_or_default().to_owned()),
            false => Err(object["status"].to_string()),
        }
    })
    .await
}

/// The recorded messages with a reason and a state.
fn with<'a>(all: &'a [Recorded], reason: &str, state: &str) -> Vec<&'a Value> {
    let bodies = all.iter().map(|request| &request.body);
    bodies
        .filter(|body| body["reason"] == reason && body["state"] == state)
        .collect()
}

#[tokio::test]
async fn a_commit_and_its_convergence_are_told_with_author_and_commit() {
    let case = world().await.case("alerts").await;
    let service = told(&case, json!({})).await;
    let files = config_map("a", &case.namespace, "one");
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(&files))], "Raise <the> limit");
    case.repository(json!({"sync": {"prune": true}})).await;
    let is = |reason: &'static str| move |body: &Value| body["reason"] == reason;
    let committed = service.received("the commit", is("ChangeCommitted")).await;
    assert_eq!(committed.line, "POST /hook HTTP/1.1");
    assert_eq!(committed.body["involvedObject"]["kind"], "GitRepository");
    let converged = service.received("convergence", is("Converged")).await.body;
    assert_eq!(converged["involvedObject"]["name"], "repo");
    assert_eq!(converged["commit"], json!(commit));
    assert_eq!(converged["subject"], "Raise <the> limit");
    assert_eq!(converged["metadata"]["cluster"], "eu-1");
    let title = format!("Converged: Sync {}/repo (eu-1)", case.namespace);
    assert_eq!(converged["title"], json!(title));
    let link = converged["commitUrl"].as_str().unwrap();
    assert!(link.ends_with(&format!("/commit/{commit}")), "{link}");
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
}

#[tokio::test]
async fn a_failure_is_told_once_and_its_end_once() {
    let case = world().await.case("alerts").await;
    let service = told(&case, json!({"eventSeverity": "error"})).await;
    let good = config_map("a", &case.namespace, "one");
    case.repo.commit(&[("a.yaml", Some(&good))], "good");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.ready_becomes("repo", "True", "Converged").await;
    case.push(&[("a.yaml", Some("kind: [".to_owned().as_str()))], "bad")
        .await;
    service
        .received("the failure", |body| body["reason"] == "InvalidManifest")
        .await;
    // A Sync that looks again has nothing new to say.
    case.announce().await;
    let open = eventually("the record", PATIENCE, async || {
        let alert: Alert = case.api().get("alert").await.unwrap();
        let status = alert.status.unwrap_or_default();
        (status.open_problems == Some(1)).then_some(status)
    })
    .await;
    assert_eq!(open.open[0].reason, "InvalidManifest");
    case.push(&[("a.yaml", Some(&good))], "good again").await;
    let end = service
        .received("the end", |body| body["state"] == "ends")
        .await;
    let title = format!(
        "Over: InvalidManifest of Sync {}/repo (eu-1)",
        case.namespace
    );
    assert_eq!(end.body["title"], json!(title));
    case.announce().await;
    let more = async || (service.requests().len() > 2).then(|| service.requests());
    never("a third message", Duration::from_secs(3), more).await;
    let alert: Alert = case.api().get("alert").await.unwrap();
    assert_eq!(alert.status.unwrap().open_problems, Some(0));
}

#[tokio::test]
async fn many_syncs_of_one_commit_make_one_message() {
    let case = world().await.case("alerts").await;
    let wait = json!({"groupWait": "8s", "reasons": ["Converged"]});
    let service = told(&case, wait).await;
    let names: Vec<String> = (0..50).map(|number| format!("app-{number}")).collect();
    let files = |value: &str| -> Vec<(String, String)> {
        let file = |name: &String| {
            let text = config_map(name, &case.namespace, value);
            (format!("{name}/a.yaml"), text)
        };
        names.iter().map(file).collect()
    };
    let commit = |value: &str| {
        let files = files(value);
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        case.repo.commit(&files, value)
    };
    let first = commit("one");
    case.repository(json!({})).await;
    for name in &names {
        case.sync(name, json!({"path": name})).await;
    }
    for name in &names {
        case.synced(name, &first).await;
    }
    let second = commit("two");
    case.announce().await;
    let is = |body: &Value| body["commit"] == json!(second);
    let message = service.received("the second commit", is).await.body;
    assert_eq!(message["total"], 50, "{message}");
    assert_eq!(message["title"], "Converged: 50 Syncs (eu-1)");
    let all = service.requests();
    assert_eq!(all.iter().filter(|request| is(&request.body)).count(), 1);
}

#[tokio::test]
async fn names_labels_reasons_and_patterns_select_notices() {
    let case = world().await.case("alerts").await;
    let service = told(
        &case,
        json!({
            "eventSources": [{"kind": "Sync", "name": "*", "matchLabels": {"team": "a"}}],
            "exclusionList": ["one-is-left-out"],
            "reasons": ["Converged", "DriftCorrected"],
        }),
    )
    .await;
    for name in ["in", "out"] {
        let text = config_map(name, &case.namespace, "one");
        case.repo
            .commit(&[(&format!("{name}/a.yaml"), Some(&text))], name);
    }
    case.repository(json!({})).await;
    case.sync("out", json!({"path": "out"})).await;
    case.sync("in", json!({"path": "in"})).await;
    case.ready_becomes("in", "True", "Converged").await;
    let label = json!({"metadata": {"labels": {"team": "a"}}});
    case.patch::<Sync>("in", label).await;
    let edit = json!({"data": {"value": "person"}});
    for _ in 0..20 {
        case.patch::<ConfigMap>("in", edit.clone()).await;
        case.has("in", "value", Some("one")).await;
        if !service.requests().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let drift = service
        .received("the correction", |body| body["reason"] == "DriftCorrected")
        .await;
    assert_eq!(drift.body["involvedObject"]["name"], "in");
    assert_eq!(drift.body["state"], "news");
    let all = service.requests();
    let others = all
        .iter()
        .filter(|request| request.body["involvedObject"]["name"] != "in");
    assert_eq!(others.count(), 0, "{all:#?}");
}

#[tokio::test]
async fn a_spec_that_cannot_be_used_says_why() {
    let case = world().await.case("alerts").await;
    alert(&case, json!({"template": {"body": "{{ reason"}})).await;
    let message = becomes::<Alert>(&case, "alert", "False", "InvalidSpec").await;
    assert!(
        message.starts_with("template.body: line 1: syntax error"),
        "{message}"
    );
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
    for (spec, said) in [
        (json!({"template": {"body": endless}}), "too many steps"),
        (
            json!({"template": null, "inclusionList": ["("]}),
            "inclusionList",
        ),
    ] {
        case.patch::<Alert>("alert", json!({"spec": spec})).await;
        eventually(said, PATIENCE, async || {
            let message = becomes::<Alert>(&case, "alert", "False", "InvalidSpec").await;
            message.contains(said).then_some(()).ok_or(message)
        })
        .await;
    }
    let good = json!({"spec": {"inclusionList": null}});
    case.patch::<Alert>("alert", good).await;
    let message = becomes::<Alert>(&case, "alert", "False", "ProviderNotReady").await;
    assert!(
        message.contains("Provider provider does not exist"),
        "{message}"
    );
}

#[tokio::test]
async fn the_words_of_a_template_are_sent() {
    let case = world().await.case("alerts").await;
    let words = json!({
        "title": "{{ reason }}!",
        "body": "{% for n in notices %}{{ n.name }} {{ shortCommit }}{% endfor %}",
    });
    let service = told(&case, json!({"template": words, "reasons": ["Converged"]})).await;
    let text = config_map("a", &case.namespace, "one");
    let commit = case.repo.commit(&[("a.yaml", Some(&text))], "one");
    case.repository(json!({"sync": {}})).await;
    let body = service.received("the message", |_| true).await.body;
    assert_eq!(body["title"], "Converged!");
    assert_eq!(body["message"], json!(format!("repo {}", &commit[..12])));

    // It fails for what is told, and not for the example with which it is tried. Its message is not lost.
    let fails = "{% if notices[0].name == 'repo' %}{{ 1 / 0 }}{% endif %}";
    let spec = json!({"spec": {"template": {"title": "{{ subject }}", "body": fails}}});
    case.patch::<Alert>("alert", spec).await;
    let text = config_map("a", &case.namespace, "two");
    case.push(&[("a.yaml", Some(&text))], "two").await;
    let is_second = |body: &Value| body["title"] == "two";
    let body = service.received("the message", is_second).await.body;
    let words = body["message"].as_str().unwrap();
    assert!(words.contains("Commit "), "{words}");
    let message = becomes::<Alert>(&case, "alert", "False", "InvalidSpec").await;
    assert!(
        message.starts_with("template.body: line 1: ") && message.ends_with("about Converged)"),
        "{message}"
    );
}

#[tokio::test]
async fn a_repository_that_cannot_be_fetched_is_told_and_its_end_too() {
    let case = world().await.case("alerts").await;
    let text = config_map("a", &case.namespace, "one");
    case.repo.commit(&[("a.yaml", Some(&text))], "one");
    let service = told(&case, json!({"eventSeverity": "error"})).await;
    case.repository(json!({"ref": {"branch": "absent"}})).await;
    let begin = |body: &Value| body["reason"] == "RefNotFound" && body["state"] == "begins";
    service.received("the failure", begin).await;
    let branch = json!({"spec": {"ref": {"branch": "main"}}});
    case.patch::<GitRepository>("repo", branch).await;
    let end = service
        .received("the end", |body| body["state"] == "ends")
        .await;
    assert_eq!(end.body["notices"][0]["ended"], json!(["RefNotFound"]));
}

#[tokio::test]
async fn a_sync_that_is_deleted_has_no_problem_any_more() {
    let case = world().await.case("alerts").await;
    let service = told(&case, json!({"eventSeverity": "error"})).await;
    case.repo.commit(&[("a.yaml", Some("kind: ["))], "bad");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let begin = |body: &Value| body["state"] == "begins";
    service.received("the failure", begin).await;
    case.delete::<Sync>("all").await;
    let found = eventually("the end", 2 * PATIENCE, async || {
        let all = service.requests();
        with(&all, "Deleting", "ends")
            .first()
            .map(|body| (*body).clone())
    })
    .await;
    assert_eq!(found["notices"][0]["message"], "it is deleted");
}

/// A service that hangs holds nobody up: a Sync converges meanwhile, and other services get their messages.
#[tokio::test]
async fn a_service_that_hangs_delays_no_sync_and_no_other_service() {
    let case = world().await.case("alerts").await;
    let service = told(&case, json!({})).await;
    service.answer(Answer::Hang);
    let text = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a.yaml", Some(&text))], "one");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.synced("repo", &first).await;
    let other = Recorder::start();
    let spec = json!({"type": "generic", "address": other.url("/")});
    provider(&case, "other", spec).await;
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
        "metadata": {"name": "other", "namespace": case.namespace},
        "spec": {
            "providerRef": {"name": "other"}, "groupWait": "1ms",
            "eventSources": [{"kind": "Sync", "name": "repo"}],
        },
    }))
    .await;
    becomes::<Alert>(&case, "other", "True", "Delivering").await;
    let text = config_map("a", &case.namespace, "two");
    let second = case.push(&[("a.yaml", Some(&text))], "two").await;
    case.synced("repo", &second).await;
    other
        .received("the message", |body| body["commit"] == json!(second))
        .await;
}

/// An Alert that names another namespace tells of that one and not of its own. What it names can be changed.
#[tokio::test]
async fn an_alert_tells_of_the_namespaces_that_it_names() {
    let case = world().await.case("alerts").await;
    let other = world().await.case("alerts-other").await;
    let sources = |namespace: &str| {
        json!([
            {"kind": "Sync", "name": "*", "namespace": namespace},
            {"kind": "GitRepository", "name": "repo", "namespace": namespace},
        ])
    };
    let named = json!({"eventSources": sources(&other.namespace), "groupWait": "1ms"});
    let service = told(&case, named).await;
    let converged = async |namespace: &str, commit: &str| {
        let is = |body: &Value| body["reason"] == "Converged" && body["commit"] == json!(commit);
        let found = service.received("convergence", is).await.body;
        assert_eq!(found["involvedObject"]["namespace"], json!(namespace));
    };
    let told_of = |commits: &[&String]| {
        let all = service.requests();
        let about = all.iter().map(|request| request.body["commit"].clone());
        let about = about.filter(|commit| commits.iter().any(|one| *commit == json!(one)));
        about.collect::<Vec<_>>()
    };
    let mut firsts = Vec::new();
    for one in [&case, &other] {
        let text = config_map("a", &one.namespace, "one");
        let commit = one.repo.commit(&[("a.yaml", Some(&text))], &one.namespace);
        one.repository(json!({"sync": {"prune": true}})).await;
        one.synced("repo", &commit).await;
        firsts.push(commit);
    }
    converged(&other.namespace, &firsts[1]).await;
    assert!(told_of(&[&firsts[0]]).is_empty());

    let changed = json!({"spec": {"eventSources": sources(&case.namespace)}});
    let generation = case.patch::<Alert>("alert", changed).await;
    let generation = generation.metadata.generation;
    eventually("the changed spec is driven", PATIENCE, async || {
        let alert: Alert = case.api().get("alert").await.unwrap();
        let seen = alert.status.unwrap_or_default().observed_generation;
        (seen == generation).then_some(()).ok_or(seen)
    })
    .await;
    let mut seconds = Vec::new();
    for one in [&other, &case] {
        let text = config_map("a", &one.namespace, "two");
        let commit = one.push(&[("a.yaml", Some(&text))], "two").await;
        one.synced("repo", &commit).await;
        seconds.push(commit);
    }
    converged(&case.namespace, &seconds[1]).await;
    assert!(told_of(&[&seconds[0], &firsts[0]]).is_empty());
}

/// A misspelt name tells nobody anything, and what is named may come later.
#[tokio::test]
async fn an_alert_says_which_of_its_resources_do_not_exist() {
    let case = world().await.case("alerts-absent").await;
    let sources = json!([{"kind": "Sync", "name": "all"}, {"kind": "GitRepository", "name": "repo"},
        {"kind": "Sync", "name": "*"}]);
    let _service = told(&case, json!({"eventSources": sources})).await;
    let says = async |parts: &[&str], not: &[&str]| {
        eventually("the alert says it", PATIENCE, async || {
            let message = becomes::<Alert>(&case, "alert", "True", "Delivering").await;
            let is_so = parts.iter().all(|part| message.contains(part))
                && !not.iter().any(|part| message.contains(part));
            is_so.then_some(()).ok_or(message)
        })
        .await;
    };
    let sync = format!("Sync {}/all", case.namespace);
    let repository = format!("GitRepository {}/repo", case.namespace);
    says(&["there is no ", &sync, &repository, " yet"], &[]).await;
    case.repo.commit(
        &[("a.yaml", Some(config_map("a", &case.namespace, "one")))],
        "first",
    );
    case.repository(json!({})).await;
    says(&[&sync], &[&repository]).await;
    case.sync("all", json!({})).await;
    says(&[], &["there is no"]).await;
    case.delete::<Sync>("all").await;
    says(&[&sync], &[&repository]).await;
}
