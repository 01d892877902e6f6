//! Services check what they get as they document it, and the real Alertmanager takes it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use towline::api::Provider;

use super::{alert, becomes, make_secret, provider};
use crate::world::{config_map, world};
use towline_testing::alertmanager::Alertmanager;
use towline_testing::recorder::{Recorded, Recorder};
use towline_testing::wait::{PATIENCE, eventually};

/// The problem of a Sync fires in the real Alertmanager, stays there, and is over when it is over.
#[tokio::test]
async fn alertmanager_fires_and_resolves() {
    let case = world().await.case("alertmanager").await;
    let alertmanager = Alertmanager::start().await;
    let spec = json!({"type": "alertmanager", "address": alertmanager.url()});
    provider(&case, "provider", spec).await;
    alert(&case, json!({})).await;
    let good = config_map("a", &case.namespace, "one");
    case.repo.commit(&[("a.yaml", Some(&good))], "good");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.ready_becomes("repo", "True", "Converged").await;
    case.push(&[("a.yaml", Some("kind: ["))], "bad").await;
    let fires = eventually("it fires", PATIENCE, async || {
        let all = alertmanager.alerts().await?;
        let found = all
            .iter()
            .find(|one| one["labels"]["alertname"] == "TowlineInvalidManifest");
        found.cloned().ok_or(format!("{all:?}"))
    })
    .await;
    let labels = &fires["labels"];
    assert_eq!(labels["name"], "repo");
    assert_eq!(labels["namespace"], json!(case.namespace));
    assert_eq!(labels["cluster"], "eu-1");
    assert!(
        fires["annotations"]["description"]
            .as_str()
            .unwrap()
            .contains("a.yaml")
    );
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    case.push(&[("a.yaml", Some(&good))], "good again").await;
    eventually("it resolves", PATIENCE, async || {
        let all = alertmanager.alerts().await?;
        all.is_empty().then_some(()).ok_or(format!("{all:?}"))
    })
    .await;
}

/// Checks a request as its service would.
type Check = fn(&Recorded) -> bool;

/// Each service gets a request that it would take, with the credentials where it looks for them.
#[tokio::test]
async fn each_service_takes_what_it_gets() {
    let case = world().await.case("services").await;
    let service = Recorder::start();
    let checks: [(&str, Value, Check); 14] = [
        ("generic", json!({}), |request| {
            request.header("authorization") == "Bearer t0ken" && request.body["reason"].is_string()
        }),
        ("generic-hmac", json!({}), |request| {
            let mac = Hmac::<Sha256>::new_from_slice(b"t0ken").unwrap();
            let tag = mac.chain_update(&request.bytes).finalize().into_bytes();
            let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
            request.header("x-signature") == format!("sha256={tag}")
        }),
        ("cloudevents", json!({}), |request| {
            request
                .header("content-type")
                .starts_with("application/cloudevents+json")
                && request.body["specversion"] == "1.0"
        }),
        ("slack", json!({"channel": "ops"}), |request| {
            request.body["channel"] == "ops" && request.body["attachments"][0]["blocks"].is_array()
        }),
        ("mattermost", json!({}), |request| {
            request.body["attachments"][0]["title"].is_string()
        }),
        ("rocket", json!({}), |request| {
            request.body["text"].is_string()
        }),
        ("msteams", json!({}), |request| {
            request.body["attachments"][0]["content"]["type"] == "AdaptiveCard"
        }),
        ("discord", json!({}), |request| {
            request.body["embeds"][0]["description"].is_string()
        }),
        ("googlechat", json!({}), |request| {
            request.body["cardsV2"][0]["card"]["header"]["title"].is_string()
        }),
        ("telegram", json!({"channel": "-100"}), |request| {
            request.line == "POST /telegram/bott0ken/sendMessage HTTP/1.1"
                && request.body["chat_id"] == "-100"
        }),
        ("alertmanager", json!({}), |request| {
            request.body[0]["labels"]["alertname"].is_string()
        }),
        ("pagerduty", json!({}), |request| {
            request.body["routing_key"] == "t0ken" && request.body["event_action"] == "trigger"
        }),
        ("opsgenie", json!({}), |request| {
            request.line == "POST /opsgenie/v2/alerts HTTP/1.1"
                && request.header("authorization") == "GenieKey t0ken"
        }),
        ("grafana", json!({}), |request| {
            request.body["tags"][0] == "towline"
        }),
    ];
    make_secret(
        &case,
        "token",
        json!({"token": "t0ken", "headers": "X-Team: a"}),
    )
    .await;
    for (name, more, _) in &checks {
        let mut spec = json!({
            "type": name, "address": service.url(&format!("/{name}")),
            "secretRef": {"name": "token"},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        provider(&case, name, spec).await;
        case.make::<towline::api::Alert>(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
            "metadata": {"name": name, "namespace": case.namespace},
            "spec": {
                "providerRef": {"name": name}, "groupWait": "1ms",
                "eventSources": [{"kind": "Sync", "name": "*"}], "eventSeverity": "error",
            },
        }))
        .await;
        becomes::<towline::api::Alert>(&case, name, "True", "Delivering").await;
    }
    case.repo.commit(&[("a.yaml", Some("kind: ["))], "bad");
    case.repository(json!({"sync": {}})).await;
    for (name, _, check) in checks {
        eventually(name, PATIENCE, async || {
            let all = service.requests();
            let mut theirs = all
                .iter()
                .filter(|request| request.line.starts_with(&format!("POST /{name}")));
            let found = theirs.find(|request| check(request));
            found.map(|_| ()).ok_or_else(|| format!("{all:#?}"))
        })
        .await;
    }
    let all = service.requests();
    assert!(all.iter().all(|request| request.header("x-team") == "a"));
    assert!(
        all.iter()
            .all(|request| request.header("user-agent").starts_with("towline/"))
    );
}
