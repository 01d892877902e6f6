//! Webhooks from end to end: only a signed call causes a fetch.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::json;
use tokio::time::sleep;
use towline::api::GitRepository;

use crate::world::verdict::{assert_not_disclosed, assert_says, repository_ready_becomes};
use crate::world::{Case, PATIENCE, config_map, world};
use towline_testing::hook;
use towline_testing::operator::Operator;
use towline_testing::wait::{eventually, never};

const SECRET: &str = "pEf7-webhook-secret-marker";

/// Makes the Secret `hook`.
pub async fn secret(case: &Case<'_>, key: &str, value: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"},
        "stringData": {key: value},
    });
    let object: Secret = serde_json::from_value(object).unwrap();
    let api = case.api::<Secret>();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// GitHub's body of a push to a branch of the case's repository.
pub fn pushed(case: &Case<'_>, branch: &str) -> String {
    hook::pushed(case.repo.url(), branch)
}

/// Calls the endpoint as GitHub does. Returns the status of the answer.
async fn call(case: &Case<'_>, secret: &str, body: &str) -> u16 {
    call_at(&case.world.operator, secret, body).await
}

/// The same for any operator.
pub async fn call_at(operator: &Operator, secret: &str, body: &str) -> u16 {
    let answer = hook::send(hook::endpoint(operator), hook::signed(secret, body)).await;
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The number of requests for the case's repository.
fn request_count(case: &Case<'_>) -> usize {
    case.world.git.requests_of(&case.namespace).len()
}

/// The same, after the requests have ended. The repository is polled once more if its Secret is seen
/// after it.
async fn requests_after_idle(case: &Case<'_>) -> usize {
    eventually("no more polls", PATIENCE, async || {
        let before = request_count(case);
        sleep(Duration::from_millis(500)).await;
        (request_count(case) == before).then_some(before)
    })
    .await
}

#[tokio::test]
async fn a_signed_push_is_applied_and_other_calls_cause_no_fetch() {
    let case = world().await.case("webhook").await;
    let file = |value| config_map("a", &case.namespace, value);
    let first = case.repo.commit(&[("a.yaml", Some(file("one")))], "first");
    secret(&case, "token", SECRET).await;
    case.repository(json!({"webhook": {"secretRef": {"name": "hook"}}}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    repository_ready_becomes(&case, "True", "Fetched").await;

    let before = requests_after_idle(&case).await;
    let second = case.repo.commit(&[("a.yaml", Some(file("two")))], "second");
    let main = pushed(&case, "main");
    assert_eq!(call(&case, "guessed", &main).await, 401);
    assert_eq!(call(&case, SECRET, &pushed(&case, "other")).await, 202);
    let foreign = main.replace(&case.namespace, "another");
    assert_eq!(call(&case, SECRET, &foreign).await, 202);
    assert_eq!(call(&case, SECRET, "{").await, 400);
    never(
        "fetched all the same",
        Duration::from_millis(500),
        async || (request_count(&case) != before).then_some(request_count(&case)),
    )
    .await;

    assert_eq!(call(&case, SECRET, &main).await, 202);
    case.synced("all", &second).await;
    case.has("a", "value", Some("two")).await;

    // A suspended repository is not fetched, even after a valid call.
    case.patch::<GitRepository>("repo", json!({"spec": {"suspend": true}}))
        .await;
    repository_ready_becomes(&case, "Unknown", "Suspended").await;
    let before = request_count(&case);
    assert_eq!(call(&case, SECRET, &main).await, 202);
    never(
        "fetched all the same",
        Duration::from_millis(300),
        async || (request_count(&case) != before).then_some(request_count(&case)),
    )
    .await;

    // Without the webhook in the spec, the secret has no effect.
    let none = json!({"spec": {"suspend": false, "webhook": null}});
    case.patch::<GitRepository>("repo", none).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    assert_eq!(call(&case, SECRET, &main).await, 401);
    assert_not_disclosed(&case, SECRET).await;
}

#[tokio::test]
async fn a_missing_webhook_secret_is_reported_and_polling_continues() {
    let case = world().await.case("webhook-secret").await;
    let file = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a.yaml", Some(&*file))], "first");
    case.repository(json!({"webhook": {"secretRef": {"name": "hook"}}}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let message = repository_ready_becomes(&case, "False", "WebhookInvalid").await;
    let name = format!("Secret {}/hook", case.namespace);
    assert_says(&message, &[&first, &name, "does not exist"]);

    secret(&case, "password", SECRET).await;
    for (patch, says) in [
        (json!({}), "has no key token"),
        (json!({"token": ""}), "has nothing under the key token"),
    ] {
        case.patch::<Secret>("hook", json!({"stringData": patch}))
            .await;
        case.announce().await;
        towline_testing::wait::eventually(says, crate::world::PATIENCE, async || {
            let message = repository_ready_becomes(&case, "False", "WebhookInvalid").await;
            message.contains(says).then_some(()).ok_or(message)
        })
        .await;
        assert_eq!(call(&case, "", &pushed(&case, "main")).await, 401);
    }
    case.patch::<Secret>("hook", json!({"stringData": {"token": "good"}}))
        .await;
    case.announce().await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    assert_eq!(call(&case, "good", &pushed(&case, "main")).await, 202);
    assert_not_disclosed(&case, SECRET).await;
}
