//! What makes the plan at once: a webhook, and a Provider that changes.

use serde_json::json;
use std::time::{Duration, Instant};
use towline::api::{GitRepository, Provider};
use towline_testing::hook;
use towline_testing::recorder::Answer;
use towline_testing::wait::never;

use super::host::Pull;
use super::{hosted, planned, propose, shop, status};
use crate::webhook::{call_at, pushed, secret};
use crate::world::config_map;

const SECRET: &str = "webhook-secret-of-requests";

#[tokio::test]
async fn a_webhook_has_a_request_planned_at_once() {
    let (case, host) = hosted("woken", "github").await;
    let first = shop(&case, json!({"interval": "1h"})).await;
    secret(&case, "token", SECRET).await;
    let spec = json!({"spec": {"webhook": {"secretRef": {"name": "hook"}}}});
    case.patch::<GitRepository>("repo", spec).await;
    // Setting the webhook plans anew. After that, the next look is in an hour.
    planned(&case, "Planned").await;
    tokio::time::sleep(Duration::from_secs(7)).await;

    let map = |value: &str| config_map("a", &case.namespace, value);
    let head = propose(&case, 3, &first, &[("shop/a.yaml", Some(&map("two")))]);
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 3,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let operator = &case.world.operator;
    let opened =
        json!({"action": "opened", "number": 3, "repository": {"clone_url": case.repo.url()}});
    let request = hook::signed_event("pull_request", SECRET, &opened.to_string());
    let began = Instant::now();
    let answer = hook::send(hook::endpoint(operator), request).await;
    assert!(answer.contains(" 202 "), "{answer}");
    assert_eq!(status(&host, &head).await.0, "success");

    // A push to the branch of the request is not a push to the followed branch.
    let newer = propose(&case, 3, &first, &[("shop/a.yaml", Some(&map("three")))]);
    host.change(|state| state.pulls[0].head.clone_from(&newer));
    let looks = || host.recorder.requests().len();
    let before = looks();
    // A hundred calls are few looks.
    for _ in 0..100 {
        assert_eq!(
            call_at(operator, SECRET, &pushed(&case, "feature-3")).await,
            202
        );
    }
    assert_eq!(status(&host, &newer).await.0, "success");
    assert!(
        began.elapsed() < Duration::from_secs(600),
        "the interval is an hour"
    );
    assert!(looks() - before < 50, "{:#?}", host.recorder.requests());
}

#[tokio::test]
async fn a_provider_that_changes_ends_the_wait_for_the_host() {
    let (case, host) = hosted("woken-again", "github").await;
    let limit = Answer::Status(429, "Retry-After: 3000\r\n");
    host.recorder.answer(limit);
    let first = shop(&case, json!({})).await;
    let message = planned(&case, "PlanFailed").await;
    assert!(message.contains("takes no more"), "{message}");
    // The interval is ten seconds, so the next look waits for the end of the limit by then.
    let known = host.recorder.requests().len();
    let more = async || (host.recorder.requests().len() > known).then_some(());
    never("a request within the limit", Duration::from_secs(13), more).await;
    host.recorder.heal();
    let map = config_map("a", &case.namespace, "two");
    let head = propose(&case, 3, &first, &[("shop/a.yaml", Some(&map))]);
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 3,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let slower = json!({"spec": {"timeout": "3s"}});
    case.patch::<Provider>("host", slower).await;
    assert_eq!(status(&host, &head).await.0, "success");
}
