//! E-mails, to a real mail server.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::Provider;

use super::{alert, becomes, make_secret, provider};
use crate::world::{Case, config_map, world};
use towline_testing::mail::{MailServer, PASSWORD};
use towline_testing::ports;
use towline_testing::recorder::{Answer, Recorder};
use towline_testing::wait::{PATIENCE, eventually};

/// A Provider `provider` at a server, with the login and the authority of these Secrets.
async fn mail(case: &Case<'_>, scheme: &str, server: &str, more: &Value) {
    let mut spec = json!({
        "type": "email", "address": format!("{scheme}://{server}"), "timeout": "2s",
        "username": "towline on eu-1 <towline@example.com>",
        "channel": "ops@example.com, Größe <team@example.com>",
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    provider(case, "provider", spec).await;
}

/// Waits until a message about a revision or a problem has arrived.
async fn arrives(server: &MailServer, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || {
        let all = server.messages();
        let found = all.iter().find(|message| is(message));
        found.cloned().ok_or(format!("{all:#?}"))
    })
    .await
}

fn says(text: &str) -> impl Fn(&Value) -> bool {
    move |message| {
        message["headers"]["subject"]
            .as_str()
            .unwrap()
            .contains(text)
    }
}

#[tokio::test]
async fn a_problem_and_its_end_are_one_thread_of_encrypted_mails() {
    for scheme in ["smtp", "smtps"] {
        let case = world().await.case(scheme).await;
        let server = MailServer::start(if scheme == "smtp" {
            "starttls"
        } else {
            "smtps"
        })
        .await;
        make_secret(
            &case,
            "login",
            json!({"username": "towline", "password": "wrong"}),
        )
        .await;
        make_secret(&case, "ca", json!({"ca.crt": server.ca})).await;
        let secrets = json!({"secretRef": {"name": "login"}, "certSecretRef": {"name": "ca"}});
        mail(&case, scheme, &server.address(), &secrets).await;
        alert(
            &case,
            json!({"eventSources": [{"kind": "Sync", "name": "*"}]}),
        )
        .await;
        let good = config_map("a", &case.namespace, "one");
        case.repo.commit(&[("a.yaml", Some(&good))], "good");
        case.repository(json!({"sync": {"prune": true}})).await;
        case.ready_becomes("repo", "True", "Converged").await;
        let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
        assert!(
            message.contains("it refuses the login (SMTP code 535)"),
            "{message}"
        );

        let right = json!({"stringData": {"password": PASSWORD}});
        case.patch::<Secret>("login", right).await;
        let converged = arrives(&server, "what waited", says("Converged")).await;
        assert_eq!(converged["from"], "towline@example.com");
        assert_eq!(
            converged["to"],
            json!(["ops@example.com", "team@example.com"])
        );
        assert_eq!(
            (&converged["encrypted"], &converged["authenticated"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(converged["defects"], json!([]));
        let headers = &converged["headers"];
        assert_eq!(headers["from"], "towline on eu-1 <towline@example.com>");
        assert_eq!(headers["to"], "ops@example.com, Größe <team@example.com>");
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert!(headers["date"].is_string() && headers["message-id"].is_string());
        assert!(headers["references"].is_null());

        case.push(&[("a.yaml", Some("kind: ["))], "Ärger\u{202e} <b>")
            .await;
        let begins = arrives(&server, "the problem", says("InvalidManifest")).await;
        assert!(
            begins["text"].as_str().unwrap().contains("a.yaml"),
            "{begins}"
        );
        case.push(&[("a.yaml", Some(&good))], "good again").await;
        let thread = &begins["headers"]["references"];
        assert!(
            thread.as_str().unwrap().ends_with("@example.com>"),
            "{begins}"
        );
        let is_end = |message: &Value| {
            let references = message["headers"]["references"].as_str();
            references.is_some_and(|all| thread.as_str().is_some_and(|thread| all.contains(thread)))
                && message["headers"]["message-id"] != begins["headers"]["message-id"]
        };
        arrives(&server, "its end", is_end).await;
        becomes::<Provider>(&case, "provider", "True", "Delivering").await;
        for message in server.messages() {
            assert!(!message.to_string().contains("202e"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_server_without_encryption_gets_messages_and_no_password() {
    let case = world().await.case("plain").await;
    let server = MailServer::start("plain").await;
    make_secret(
        &case,
        "login",
        json!({"username": "towline", "password": PASSWORD}),
    )
    .await;
    let login = json!({"secretRef": {"name": "login"}});
    mail(&case, "smtp", &server.address(), &login).await;
    alert(&case, json!({})).await;
    let first = config_map("a", &case.namespace, "one");
    case.repo.commit(&[("a.yaml", Some(&first))], "first");
    case.repository(json!({"sync": {"prune": true}})).await;
    let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
    assert!(
        message.contains("the password is not sent: use smtps://, or no password"),
        "{message}"
    );
    assert!(server.messages().is_empty());
    case.patch::<Provider>("provider", json!({"spec": {"secretRef": null}}))
        .await;
    let committed = arrives(&server, "what waited", says("ChangeCommitted")).await;
    assert_eq!(committed["encrypted"], false);
}

#[tokio::test]
async fn what_a_mail_server_does_wrong_is_said() {
    let case = world().await.case("mail").await;
    let server = MailServer::start("plain").await;
    let encrypted = MailServer::start("smtps").await;
    let web = Recorder::start();
    let silent = Recorder::start();
    silent.answer(Answer::Hang);
    let at = |url: String| {
        url.split("://")
            .nth(1)
            .unwrap()
            .trim_end_matches('/')
            .to_owned()
    };
    mail(
        &case,
        "smtp",
        &format!("127.0.0.1:{}", ports::free()),
        &json!({}),
    )
    .await;
    alert(&case, json!({})).await;
    let first = config_map("a", &case.namespace, "one");
    case.repo.commit(&[("a.yaml", Some(&first))], "first");
    case.repository(json!({"sync": {"prune": true}})).await;
    let to = |to: &str| json!({"channel": to});
    let address = |scheme: &str, at: &str| json!({"address": format!("{scheme}://{at}")});
    let plain = address("smtp", &server.address());
    for (change, says) in [
        (json!({}), "it cannot be reached, or breaks off"),
        (
            address("smtp", &at(web.url("/"))),
            "did not answer within 2 s",
        ),
        (
            address("smtp", &at(silent.url("/"))),
            "did not answer within 2 s",
        ),
        (
            address("smtps", &server.address()),
            "the encrypted connection failed",
        ),
        // Its authority is not known.
        (
            address("smtps", &encrypted.address()),
            "the encrypted connection failed",
        ),
        (plain, "takes messages"),
        (
            to("ops@example.com,later@example.com"),
            "it does not take later@example.com of spec.channel now (SMTP code 452)",
        ),
        (
            to("ops@example.com,nobody@example.com"),
            "it refuses nobody@example.com of spec.channel (SMTP code 550)",
        ),
        (to("ops@example.com,b@c@d"), "spec.channel cannot be used"),
    ] {
        let at = change["address"].as_str().unwrap_or_default().to_owned();
        case.patch::<Provider>("provider", json!({ "spec": change }))
            .await;
        let text = config_map("a", &case.namespace, says);
        case.push(&[("a.yaml", Some(&text))], says).await;
        eventually(says, PATIENCE, async || {
            let object: Provider = case.api().get("provider").await.unwrap();
            let conditions = object.status.unwrap_or_default().conditions;
            // Not what was said of the service before.
            let of = |message: &str| at.is_empty() || message.contains(&*at);
            let mut messages = conditions.iter().map(|one| &one.message);
            let is_said = messages.any(|one| one.contains(says) && of(one));
            is_said.then_some(()).ok_or(conditions)
        })
        .await;
    }
    for wrong in [
        json!({"address": "https://mail.example.com"}),
        json!({"channel": null}),
        json!({"username": null}),
        json!({"proxySecretRef": {"name": "proxy"}}),
        json!({"type": "slack"}),
    ] {
        let patch = Patch::Merge(json!({ "spec": wrong }));
        let api = case.api::<Provider>();
        let refused = api.patch("provider", &PatchParams::default(), &patch).await;
        assert!(refused.is_err(), "{wrong}");
    }
}
