//! Providers whose Secret, address or service is at fault: each says why, and the messages are not lost.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use towline::api::{Alert, Provider};

use super::{alert, becomes, make_secret, provider, told};
use crate::world::{Case, config_map, world};
use towline_testing::ports;
use towline_testing::recorder::{Answer, Recorder};
use towline_testing::wait::{PATIENCE, eventually, never};

/// Commits a new value, and returns the commit.
async fn change(case: &Case<'_>, value: &str) -> String {
    let text = config_map("a", &case.namespace, value);
    case.push(&[("a.yaml", Some(&text))], value).await
}

async fn started(case: &Case<'_>) {
    let text = config_map("a", &case.namespace, "zero");
    let commit = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.synced("repo", &commit).await;
}

fn of(commit: &str) -> impl Fn(&Value) -> bool {
    let commit = json!(commit);
    move |body| body["commit"] == commit && body["reason"] == "Converged"
}

#[tokio::test]
async fn a_secret_that_is_missing_or_malformed_is_named_and_used_when_it_is_right() {
    let case = world().await.case("providers").await;
    started(&case).await;
    let service = Recorder::start();
    let spec = json!({"type": "slack", "secretRef": {"name": "hook"}});
    provider(&case, "provider", spec).await;
    alert(&case, json!({})).await;
    let message = becomes::<Provider>(&case, "provider", "False", "ProviderInvalid").await;
    assert!(message.contains("hook does not exist"), "{message}");
    let message = becomes::<Alert>(&case, "alert", "False", "ProviderNotReady").await;
    assert!(message.contains("hook does not exist"), "{message}");
    make_secret(
        &case,
        "hook",
        json!({"address": "https://user:s3cret@host/"}),
    )
    .await;
    let message = eventually("the malformed Secret", PATIENCE, async || {
        let message = becomes::<Provider>(&case, "provider", "False", "ProviderInvalid").await;
        (!message.contains("does not exist")).then_some(message)
    })
    .await;
    assert!(message.contains("a user or a password"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    // What happens meanwhile is told when the Secret is right.
    let commit = change(&case, "one").await;
    case.synced("repo", &commit).await;
    let right = json!({"stringData": {"address": service.url("/services/T0/B0/xxxxxxxxxxxx")}});
    case.patch::<Secret>("hook", right).await;
    let message = becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    assert!(
        !message.contains("xxxx"),
        "the path is a password: {message}"
    );
    let short = &commit[..12];
    service
        .received("the message", |body| body.to_string().contains(short))
        .await;
}

/// What a service answers, what the Provider then says, and whether the message is sent again.
#[tokio::test]
async fn a_service_that_refuses_fails_or_is_slow_is_named() {
    let case = world().await.case("providers").await;
    started(&case).await;
    let service = told(&case, json!({"reasons": ["Converged"], "groupWait": "1ms"})).await;
    case.patch::<Provider>("provider", json!({"spec": {"timeout": "1s"}}))
        .await;
    let cases = [
        (
            Answer::Status(400, ""),
            "refuses the message (HTTP status 400)",
            false,
        ),
        (
            Answer::Status(401, ""),
            "refuses the credentials (HTTP status 401)",
            true,
        ),
        (
            Answer::Status(404, ""),
            "no messages at this address (HTTP status 404)",
            true,
        ),
        (
            Answer::Status(302, "Location: /other\r\n"),
            "redirects (HTTP status 302)",
            true,
        ),
        (
            Answer::Status(429, "Retry-After: 2\r\n"),
            "no more messages now (HTTP status 429)",
            true,
        ),
        (
            Answer::Status(503, ""),
            "a problem of its own (HTTP status 503)",
            true,
        ),
        (
            Answer::Long(500, 1 << 20),
            "a problem of its own (HTTP status 500)",
            true,
        ),
        (Answer::Hang, "did not answer within 1 s", true),
    ];
    for (number, (answer, said, again)) in cases.into_iter().enumerate() {
        service.answer(answer.clone());
        let commit = change(&case, &format!("case-{number}")).await;
        let message = eventually(said, PATIENCE, async || {
            let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
            message.contains(said).then_some(()).ok_or(message)
        });
        message.await;
        let before = service.requests().len();
        service.answer(Answer::Status(200, ""));
        let next = match again {
            true => commit,
            false => change(&case, "next").await,
        };
        eventually("the message", PATIENCE, async || {
            let all = service.requests();
            let later = all[before.min(all.len())..].iter();
            later
                .map(|request| &request.body)
                .find(|body| of(&next)(body))
                .cloned()
        })
        .await;
        becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    }
}

#[tokio::test]
async fn retry_after_is_kept() {
    let case = world().await.case("providers").await;
    started(&case).await;
    let service = told(&case, json!({"reasons": ["Converged"], "groupWait": "1ms"})).await;
    service.answer(Answer::Status(429, "Retry-After: 5\r\n"));
    change(&case, "one").await;
    let first = eventually("the first try", PATIENCE, async || {
        (!service.requests().is_empty()).then(std::time::Instant::now)
    })
    .await;
    service.answer(Answer::Status(200, ""));
    eventually("the second try", PATIENCE, async || {
        (service.requests().len() > 1).then_some(())
    })
    .await;
    assert!(
        first.elapsed() > Duration::from_millis(4500),
        "{:?}",
        first.elapsed()
    );
    let all = service.requests();
    assert_eq!(all[0].header("x-towline-id"), all[1].header("x-towline-id"));
    assert_eq!(all[0].bytes, all[1].bytes);
}

#[tokio::test]
async fn an_address_that_nobody_listens_at_is_named_without_its_path() {
    let case = world().await.case("providers").await;
    started(&case).await;
    let address = format!(
        "http://127.0.0.1:{}/hooks/s3cret-path-of-a-hook",
        ports::free()
    );
    make_secret(&case, "hook", json!({"address": address})).await;
    let spec = json!({"type": "generic", "secretRef": {"name": "hook"}});
    provider(&case, "provider", spec).await;
    alert(&case, json!({"groupWait": "1ms"})).await;
    let commit = change(&case, "one").await;
    let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
    assert!(message.contains("cannot be reached"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    let message = becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    assert!(!message.contains("s3cret"), "{message}");
    assert!(!case.world.operator.log().contains("s3cret-path"));
    // A changed address is used at once, without the pause.
    let service = Recorder::start();
    let right = json!({"stringData": {"address": service.url("/")}});
    case.patch::<Secret>("hook", right).await;
    service.received("the message", of(&commit)).await;
    // Nobody is told by the service that fails, so that events say it.
    eventually("the end is told", PATIENCE, async || {
        match case.events("Delivering").await.is_empty() {
            true => Err("no event".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    let failed = case.events("DeliveryFailed").await;
    assert!(!failed.is_empty());
    for message in failed {
        assert!(message.contains("cannot be reached"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_cannot_be_right() {
    let case = world().await.case("providers").await;
    for (spec, said) in [
        (json!({"type": "slack"}), "name the address"),
        (
            json!({"type": "slack", "address": "ftp://host/"}),
            "https://host/path",
        ),
        (
            json!({"type": "slack", "address": "https://u:p@host/"}),
            "without a user",
        ),
        (
            json!({"type": "telegram", "secretRef": {"name": "bot"}}),
            "spec.channel",
        ),
        (
            json!({"type": "pigeon", "address": "https://host/"}),
            "Unsupported value",
        ),
        (
            json!({"type": "slack", "address": "https://host/", "timeout": "2m"}),
            "1s to 1m",
        ),
    ] {
        let object: Provider = serde_json::from_value(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Provider",
            "metadata": {"name": "wrong"},
            "spec": {"type": "slack", "address": "https://host/"},
        }))
        .unwrap();
        let mut object = serde_json::to_value(object).unwrap();
        object["spec"] = spec.clone();
        let client = case.client.clone();
        let resource = kube::api::ApiResource::erase::<Provider>(&());
        let api: kube::Api<kube::core::DynamicObject> =
            kube::Api::namespaced_with(client, &case.namespace, &resource);
        let object = serde_json::from_value(object).unwrap();
        let refused = api.create(&kube::api::PostParams::default(), &object).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(said), "{spec}: {error}");
    }
}

/// What waits is told by the Provider that the Alert names next, though the one before is gone.
#[tokio::test]
async fn a_provider_that_is_deleted_or_renamed_loses_nothing() {
    let case = world().await.case("providers-gone").await;
    let service = told(&case, json!({"groupWait": "1ms"})).await;
    started(&case).await;
    service.answer(Answer::Status(500, ""));
    let first = change(&case, "one").await;
    case.synced("repo", &first).await;
    becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    let params = kube::api::DeleteParams::default();
    let gone = case.api::<Provider>().delete("provider", &params).await;
    gone.unwrap();
    let message = becomes::<Alert>(&case, "alert", "False", "ProviderNotReady").await;
    assert!(message.contains("does not exist"), "{message}");
    let second = change(&case, "two").await;
    case.synced("repo", &second).await;
    let elsewhere = json!({"spec": {"providerRef": {"name": "renamed"}}});
    case.patch::<Alert>("alert", elsewhere).await;
    make_secret(&case, "hook", json!({"address": service.url("/hook")})).await;
    let spec = json!({"type": "generic", "secretRef": {"name": "hook"}});
    provider(&case, "renamed", spec).await;
    becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    // Its Secret loses its keys, and gets them again.
    let empty = json!({"data": {"address": null}});
    case.patch::<Secret>("hook", empty).await;
    let message = becomes::<Alert>(&case, "alert", "False", "ProviderNotReady").await;
    assert!(message.contains("address"), "{message}");
    let third = change(&case, "three").await;
    case.synced("repo", &third).await;
    service.heal();
    let known = service.requests().len();
    let full = json!({"stringData": {"address": service.url("/hook")}});
    case.patch::<Secret>("hook", full).await;
    let count = |commit: &String| {
        let all = service.requests().split_off(known);
        let is_it = of(commit);
        all.iter().filter(|request| is_it(&request.body)).count()
    };
    let commits = [&first, &second, &third];
    eventually("each message once", PATIENCE, async || {
        let counts = commits.map(&count);
        (counts == [1, 1, 1]).then_some(()).ok_or(counts)
    })
    .await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    assert_eq!(commits.map(count), [1, 1, 1]);
}

/// What a service answers oddly: with much, with a pause that is over, with another address, and without TLS.
#[tokio::test]
async fn an_odd_answer_neither_repeats_a_message_nor_carries_it_elsewhere() {
    let case = world().await.case("providers-odd").await;
    started(&case).await;
    let service = told(&case, json!({"reasons": ["Converged"], "groupWait": "1ms"})).await;
    let count = |commit: &str| {
        let (all, is_it) = (service.requests(), of(commit));
        all.iter().filter(|request| is_it(&request.body)).count()
    };
    service.answer(Answer::Long(200, 10 << 20));
    let long = change(&case, "long").await;
    service.received("the message", of(&long)).await;
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    never("it again", Duration::from_secs(3), async || {
        (count(&long) > 1).then_some(())
    })
    .await;

    // The pause is over, so that of towline's own counts.
    service.answer(Answer::Status(
        429,
        "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
    ));
    let past = change(&case, "past").await;
    becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
    never("a flood", Duration::from_secs(5), async || {
        let tries = count(&past);
        (tries > 6).then_some(tries)
    })
    .await;

    let other = Recorder::start();
    let location = format!("Location: {}\r\n", other.url("/elsewhere"));
    service.answer(Answer::Status(307, location.leak()));
    eventually("the redirect is named", PATIENCE, async || {
        let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
        message.contains("redirects").then_some(()).ok_or(message)
    })
    .await;
    assert!(other.requests().is_empty());

    let plain = service.url("/hook").replace("http:", "https:");
    let address = json!({"spec": {"address": plain}});
    case.patch::<Provider>("provider", address).await;
    eventually("the lack of TLS is named", PATIENCE, async || {
        let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
        message
            .contains("cannot be reached")
            .then_some(())
            .ok_or(message)
    })
    .await;
    service.heal();
    let (before, right) = (count(&past), service.url("/hook"));
    case.patch::<Provider>("provider", json!({"spec": {"address": right}}))
        .await;
    eventually("the message", PATIENCE, async || {
        (count(&past) > before).then_some(())
    })
    .await;
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    assert_eq!(count(&past), before + 1);
}

/// An Alert that is deleted while messages wait tells nothing more, and one that is made anew begins with what comes then.
#[tokio::test]
async fn an_alert_that_is_deleted_takes_along_what_waits() {
    let case = world().await.case("alerts-gone").await;
    started(&case).await;
    let spec = json!({"reasons": ["Converged"], "groupWait": "1ms"});
    let service = told(&case, spec.clone()).await;
    service.answer(Answer::Status(503, ""));
    let waits = change(&case, "waits").await;
    case.synced("repo", &waits).await;
    becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    case.delete::<Alert>("alert").await;
    let known = service.requests().len();
    service.heal();
    alert(&case, spec).await;
    let next = change(&case, "next").await;
    service.received("the next", of(&next)).await;
    never("what waited", Duration::from_secs(3), async || {
        let later = service.requests().split_off(known);
        let is_old = of(&waits);
        later.into_iter().find(|request| is_old(&request.body))
    })
    .await;
}
