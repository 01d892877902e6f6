//! Deployments on GitHub and GitLab: one for each Sync, environment and commit, with the URL where it runs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::{Alert, GitRepository, Provider, Sync};

use super::git_host::{Host, TOKEN, github, gitlab};
use super::{alert, becomes, make_secret, provider};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::recorder::{Answer, Recorded};
use towline_testing::wait::{PATIENCE, eventually, never};

pub(super) const QUIET: Duration = Duration::from_secs(4);

/// A case whose repository has an owner and a name, and an Alert that keeps deployments at a host.
pub(super) async fn hosted<'a>(world: &'a World, name: &str, kind: &str) -> (Case<'a>, Host) {
    let mut case = world.case(name).await;
    case.repo = world.git.repo_of("team", &case.namespace);
    let host = match kind {
        "github" => Host::start(github),
        _ => Host::start(gitlab),
    };
    make_secret(&case, "token", json!({"token": TOKEN})).await;
    let spec = json!({
        "type": kind, "address": host.service.url(""), "secretRef": {"name": "token"},
    });
    provider(&case, "provider", spec).await;
    alert(
        &case,
        json!({"groupWait": "1ms", "commitsAs": "Deployments"}),
    )
    .await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    (case, host)
}

fn ingress(case: &Case<'_>, host: &str) -> String {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": case.namespace},
        "spec": {
            "tls": [{"hosts": [host], "secretName": "tls"}],
            "rules": [{"host": host, "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    })
    .to_string()
}

fn last(deployment: &Value) -> &Value {
    deployment["said"].as_array().unwrap().last().unwrap()
}

#[tokio::test]
async fn a_commit_has_one_deployment_with_the_url_where_it_runs() {
    let (case, host) = hosted(world().await, "deployments", "github").await;
    let text = ingress(&case, "shop.example.com");
    let first = case.repo.commit(&[("shop/i.yaml", Some(&text))], "one");
    case.repository(json!({})).await;
    case.sync("shop", json!({"path": "shop", "wait": true}))
        .await;
    let found = host.has(&first, &["success"]).await;
    let environment = format!("eu-1/{}/shop", case.namespace);
    assert_eq!(found["environment"], json!(environment));
    assert_eq!(last(&found)["environment_url"], "https://shop.example.com");
    // One to another path changes nothing.
    let words = case.push(&[("README.md", Some("words"))], "words").await;
    case.synced("shop", &words).await;
    let bad = case.push(&[("shop/i.yaml", Some("kind: ["))], "bad").await;
    let found = host.has(&bad, &["failure"]).await;
    let description = last(&found)["description"].as_str().unwrap();
    assert!(
        description.starts_with("InvalidManifest: "),
        "{description}"
    );
    let text = ingress(&case, "new.example.com");
    let good = case.push(&[("shop/i.yaml", Some(&text))], "good").await;
    let found = host.has(&good, &["success"]).await;
    assert_eq!(last(&found)["environment_url"], "https://new.example.com");
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    case.announce().await;
    let more = async || {
        let all = host.kept.lock().unwrap().deployments.len();
        (all > 3).then(|| host.service.requests())
    };
    never("a fourth deployment", QUIET, more).await;
    // The first commit is live again: its deployment is active again, and no other one is made.
    let pin = json!({
        "towline.dev/pin": format!("main@sha1:{first}"),
        "towline.dev/pinned-away": format!("main@sha1:{good}"),
    });
    case.patch::<Sync>("shop", json!({"metadata": {"annotations": pin}}))
        .await;
    host.has(&good, &["success", "inactive"]).await;
    let found = host.has(&first, &["success", "success"]).await;
    assert_eq!(last(&found)["environment_url"], "https://shop.example.com");
    assert!(
        !case.world.operator.log().contains(TOKEN),
        "the token is in the log"
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_makes_no_second_deployment() {
    let (case, host) = hosted(world().await, "deployments-lost", "github").await;
    let text = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a/a.yaml", Some(&text))], "one");
    host.lose(Some(Answer::Status(500, "")));
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    let found = host.has(&first, &["success"]).await;
    assert!(last(&found).get("environment_url").is_none());
    host.lose(None);
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    // The same for a host that is away for a while.
    host.service.answer(Answer::Status(500, ""));
    let text = config_map("a", &case.namespace, "two");
    let second = case.push(&[("a/a.yaml", Some(&text))], "two").await;
    becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
    host.service.heal();
    host.has(&second, &["success"]).await;
}

#[tokio::test]
async fn what_the_host_refuses_is_in_the_conditions() {
    let (case, host) = hosted(world().await, "deployments-refused", "github").await;
    let text = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a/a.yaml", Some(&text))], "one");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    host.has(&first, &["success"]).await;
    for (status, said) in [
        (
            403,
            "give the token the right to write them (HTTP status 403)",
        ),
        (404, "does not show its deployments to the token"),
        (
            422,
            "refuses the deployment or its environment (HTTP status 422)",
        ),
        (401, "refuses the credentials (HTTP status 401)"),
    ] {
        host.service.answer(Answer::Status(status, ""));
        let text = config_map("a", &case.namespace, &format!("case {status}"));
        let commit = case.push(&[("a/a.yaml", Some(&text))], said).await;
        for name in ["alert", "provider"] {
            eventually(said, PATIENCE, async || {
                let message = match name {
                    "alert" => becomes::<Alert>(&case, name, "False", "DeliveryFailed").await,
                    _ => becomes::<Provider>(&case, name, "False", "DeliveryFailed").await,
                };
                assert!(!message.contains(TOKEN), "{message}");
                message.contains(said).then_some(()).ok_or(message)
            })
            .await;
        }
        host.service.heal();
        host.has(&commit, &["success"]).await;
        becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    }
}

#[tokio::test]
async fn the_annotations_of_a_sync_name_environment_and_url() {
    let (case, host) = hosted(world().await, "deployments-named", "github").await;
    let text = ingress(&case, "shop.example.com");
    let first = case.repo.commit(&[("a/i.yaml", Some(&text))], "one");
    case.repository(json!({})).await;
    let annotate = async |environment: &str, url: &str| {
        let annotations = json!({
            "towline.dev/environment": environment, "towline.dev/environment-url": url,
        });
        let patch = json!({"metadata": {"annotations": annotations}});
        case.patch::<Sync>("a", patch).await;
    };
    case.sync("a", json!({"path": "a", "wait": true, "suspend": true}))
        .await;
    annotate("production", "javascript:alert(1)").await;
    case.patch::<Sync>("a", json!({"spec": {"suspend": false}}))
        .await;
    let message = becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    assert!(message.contains("towline.dev/environment-url"), "{message}");
    let is_sent = |request: &Recorded| String::from_utf8_lossy(&request.bytes).contains("alert(1)");
    assert!(!host.service.requests().iter().any(is_sent));
    annotate("production", "https://shop.example.com/start?from=git").await;
    let found = host.has(&first, &["success"]).await;
    assert_eq!(found["environment"], "production");
    let url = &last(&found)["environment_url"];
    assert_eq!(*url, "https://shop.example.com/start?from=git");
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    // Another service has no deployments.
    let other = json!({"spec": {"type": "gitea"}});
    case.patch::<Provider>("provider", other).await;
    let message = becomes::<Alert>(&case, "alert", "False", "InvalidSpec").await;
    assert!(message.contains("github or gitlab"), "{message}");
}

/// The address of a load balancer comes after the commit is live.
#[tokio::test]
async fn a_url_that_is_known_later_is_told_later() {
    let (case, host) = hosted(world().await, "deployments-later", "gitlab").await;
    let text = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": case.namespace},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let first = case
        .repo
        .commit(&[("a/s.yaml", Some(&text.to_string()))], "one");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "wait": true})).await;
    host.has(&first, &["success"]).await;
    assert!(host.kept.lock().unwrap().urls.is_empty());
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    let params = PatchParams::default();
    let api = case.api::<Service>();
    api.patch_status("web", &params, &Patch::Merge(&status))
        .await
        .unwrap();
    eventually("the URL", PATIENCE, async || {
        let urls = host.kept.lock().unwrap().urls.clone();
        (urls == [json!("http://192.0.2.7")])
            .then_some(())
            .ok_or(urls)
    })
    .await;
    host.has(&first, &["success"]).await;
    let bad = case.push(&[("a/s.yaml", Some("kind: ["))], "bad").await;
    let found = host.has(&bad, &["failed"]).await;
    assert_eq!(found["ref"], "main");
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
}

/// The operator is killed before the host's answer, and while a commit is under way.
#[tokio::test]
async fn a_restart_makes_no_second_deployment() {
    let mut world = World::own(Options::default(), &[]).await;
    let (parts, host, slow, lost) = {
        let (case, host) = hosted(&world, "deployments-restart", "github").await;
        let text = config_map("b", &case.namespace, "one");
        let web = deployment("web", &case.namespace, UNSCHEDULABLE);
        let files = [("a/web.yaml", Some(&*web)), ("b/b.yaml", Some(&*text))];
        let slow = case.repo.commit(&files, "slow");
        case.repository(json!({})).await;
        case.sync("a", json!({"path": "a", "wait": true})).await;
        host.has(&slow, &["in_progress"]).await;
        // The record is written after the answer.
        eventually("the record", PATIENCE, async || {
            let alert: Alert = case.api().get("alert").await.unwrap();
            let open = alert.status.unwrap_or_default().open;
            let mut reasons = open.iter().map(|problem| &*problem.reason);
            reasons.any(|reason| reason == "Progressing").then_some(())
        })
        .await;
        case.sync("b", json!({"path": "b", "suspend": true})).await;
        let text = config_map("b", &case.namespace, "two");
        let lost = case.push(&[("b/b.yaml", Some(&text))], "lost").await;
        // Otherwise the Sync begins with the commit before.
        eventually("the commit is fetched", PATIENCE, async || {
            let source: GitRepository = case.api().get("repo").await.unwrap();
            let revision = source.status.unwrap_or_default().revision;
            let is_new = revision
                .as_ref()
                .is_some_and(|known| known.ends_with(&lost));
            is_new.then_some(()).ok_or(revision)
        })
        .await;
        host.lose(Some(Answer::Hang));
        case.patch::<Sync>("b", json!({"spec": {"suspend": false}}))
            .await;
        eventually("the deployment", PATIENCE, async || {
            (host.of(&lost).len() == 1).then_some(())
        })
        .await;
        ((case.namespace.clone(), case.repo), host, slow, lost)
    };
    world.operator.kill();
    host.lose(None);
    world.operator.restart().await;
    let case = world.resume(parts).await;
    host.has(&lost, &["success"]).await;
    case.announce().await;
    let more = async || {
        let all = host.kept.lock().unwrap().deployments.len();
        (all > 2).then(|| host.service.requests())
    };
    never("a third deployment", QUIET, more).await;
    // The one that waits is replaced: it never was live.
    let text = config_map("a", &case.namespace, "one");
    let next = case
        .push(&[("a/web.yaml", None), ("a/a.yaml", Some(&text))], "next")
        .await;
    host.has(&slow, &["in_progress", "inactive"]).await;
    eventually("the next", PATIENCE, async || {
        let found = host.of(&next);
        let is_live = found.len() == 1 && last(&found[0])["state"] == "success";
        is_live.then_some(()).ok_or(found)
    })
    .await;
    host.has(&lost, &["success"]).await;
}

/// Ten Syncs share an environment. Each has a deployment of its own on GitHub; on GitLab they share one.
#[tokio::test]
async fn syncs_that_share_an_environment_have_one_deployment_each() {
    for (kind, each) in [("github", 10), ("gitlab", 1)] {
        let (case, host) = hosted(world().await, "deployments-shared", kind).await;
        let files = |value: &str| -> Vec<(String, Option<String>)> {
            let file = |number: usize| {
                let text = config_map(&format!("a{number}"), &case.namespace, value);
                (format!("{number}/a.yaml"), Some(text))
            };
            (0..10).map(file).collect()
        };
        case.repo.commit(&files("zero"), "zero");
        case.repository(json!({})).await;
        for number in 0..10 {
            let name = format!("a{number}");
            case.make::<Sync>(json!({
                "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
                "metadata": {
                    "name": name, "namespace": case.namespace,
                    "annotations": {"towline.dev/environment": "shop"},
                },
                "spec": {"sourceRef": {"name": "repo"}, "path": number.to_string()},
            }))
            .await;
        }
        for value in ["one", "two"] {
            let commit = case.repo.commit(&files(value), value);
            case.announce().await;
            let is_live = |deployment: &Value| {
                let said = deployment["said"].as_array().into_iter().flatten();
                let mut states = said.map(|said| &said["state"]);
                states.any(|state| state == "success")
            };
            let all_live = async || {
                let found = host.of(&commit);
                let is_good = found.len() == each && found.iter().all(is_live);
                is_good.then_some(()).ok_or(found)
            };
            eventually("a deployment of each", 2 * PATIENCE, all_live).await;
            let more = async || {
                let found = host.of(&commit);
                (found.len() > each).then_some(found)
            };
            never("one more", QUIET, more).await;
        }
        becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    }
}
