//! GitHub as an App: the proof of the App is checked with its public key, and its tokens are renewed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use towline::api::{Alert, Provider};

use super::{alert, becomes, make_secret, provider};
use crate::world::{Case, config_map, world};
use towline_testing::recorder::{Answer, Recorded, Recorder};
use towline_testing::scratch::Scratch;
use towline_testing::wait::{PATIENCE, eventually};

fn keygen(folder: &Path, args: &[&str]) -> Vec<u8> {
    let made = Command::new("ssh-keygen")
        .current_dir(folder)
        .args(args)
        .output();
    let made = made.expect("run ssh-keygen");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    made.stdout
}

/// A private key in PEM as GitHub gives it (PKCS #1), and the public one in DER.
fn key() -> (String, Vec<u8>) {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path();
    keygen(
        folder,
        &[
            "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", "key",
        ],
    );
    let private = std::fs::read_to_string(folder.join("key")).unwrap();
    assert!(private.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let public = keygen(folder, &["-e", "-m", "PEM", "-f", "key.pub"]);
    let public = String::from_utf8(public).unwrap();
    let lines = public.lines().filter(|line| !line.starts_with("-----"));
    let public = BASE64_STANDARD.decode(lines.collect::<String>()).unwrap();
    (private, public)
}

/// What is wrong with the proof of an App, by docs.github.com: RS256, at most ten minutes, issued in the past.
fn problem(proof: &str, public: &[u8]) -> Option<String> {
    let parts: Vec<&str> = proof.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        return Some("three parts".to_owned());
    };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    let json = |part| serde_json::from_slice::<Value>(&decode(part)).unwrap_or_default();
    let signed = format!("{head}.{claims}");
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    let is_signed = key.verify(signed.as_bytes(), &decode(signature)).is_ok();
    let (head, claims) = (json(head), json(claims));
    let at = |name: &str| claims[name].as_i64().unwrap_or_default();
    let now = Timestamp::now().as_second();
    let is_good = is_signed
        && head["alg"] == "RS256"
        && claims["iss"] == "1234"
        && at("iat") <= now
        && at("exp") > now
        && at("exp") - at("iat") <= 600;
    (!is_good).then(|| format!("{head} {claims} signed: {is_signed}"))
}

/// The API of GitHub for the App 1234, whose installation is 42. `valid` is the number of the token that it takes.
fn github(request: &Recorded, public: &[u8], valid: &AtomicUsize) -> Answer {
    let bearer = request.header("authorization").strip_prefix("Bearer ");
    let bearer = bearer.unwrap_or_default();
    let number = valid.load(Ordering::SeqCst);
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    if path == "/api/v3/app/installations/42/access_tokens" {
        if let Some(problem) = problem(bearer, public) {
            return Answer::Json(401, json!({"message": problem}).to_string());
        }
        let until = Timestamp::now() + SignedDuration::from_hours(1);
        let body = json!({
            "token": format!("ghs_token{number}"), "expires_at": until.to_string(),
            "permissions": request.body["permissions"],
        });
        return Answer::Json(201, body.to_string());
    }
    if path.starts_with("/api/v3/app/") {
        return Answer::Status(404, "");
    }
    match bearer == format!("ghs_token{number}") {
        true => Answer::Status(201, ""),
        false => Answer::Status(401, ""),
    }
}

async fn change(case: &Case<'_>, value: &str) -> String {
    let text = config_map("a", &case.namespace, value);
    case.push(&[("a.yaml", Some(&text))], value).await
}

/// How many requests for a token and for statuses of a commit were made.
fn counts(service: &Recorder, commit: &str) -> (usize, usize) {
    let all = service.requests();
    let count = |part: &str| all.iter().filter(|one| one.line.contains(part)).count();
    (count("/access_tokens"), count(commit))
}

async fn has_counts(service: &Recorder, commit: &str, wanted: (usize, usize)) {
    eventually(&format!("{wanted:?}"), PATIENCE, async || {
        let found = counts(service, commit);
        (found == wanted)
            .then_some(())
            .ok_or_else(|| format!("{found:?} {:#?}", service.requests()))
    })
    .await;
}

#[tokio::test]
async fn an_app_proves_who_it_is_and_renews_its_token() {
    let world = world().await;
    let mut case = world.case("app").await;
    case.repo = world.git.repo_of("team", &case.namespace);
    let (private, public) = key();
    let service = Recorder::start();
    let valid = Arc::new(AtomicUsize::new(1));
    let known = Arc::clone(&valid);
    service.judge(move |request| github(request, &public, &known));
    let spec = json!({
        "type": "github", "address": service.url(""), "secretRef": {"name": "app"},
    });
    make_secret(
        &case,
        "app",
        json!({"githubAppID": "1234", "githubAppPrivateKey": "s3cret"}),
    )
    .await;
    provider(&case, "provider", spec).await;
    alert(&case, json!({"groupWait": "1ms"})).await;
    let text = config_map("a", &case.namespace, "zero");
    let first = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.synced("repo", &first).await;
    for (data, said) in [
        (json!({}), "githubAppInstallationID"),
        (
            json!({"githubAppInstallationID": "4/2"}),
            "githubAppInstallationID",
        ),
        (
            json!({"githubAppInstallationID": "7"}),
            "githubAppPrivateKey",
        ),
    ] {
        case.patch::<k8s_openapi::api::core::v1::Secret>("app", json!({"stringData": data}))
            .await;
        eventually(said, PATIENCE, async || {
            let message = becomes::<Provider>(&case, "provider", "False", "ProviderInvalid").await;
            assert!(!message.contains("s3cret"), "{message}");
            message.contains(said).then_some(()).ok_or(message)
        })
        .await;
    }
    let data = json!({"stringData": {"githubAppPrivateKey": private}});
    case.patch::<k8s_openapi::api::core::v1::Secret>("app", data)
        .await;
    let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
    assert!(
        message.contains("no such installation of the App"),
        "{message}"
    );
    let data = json!({"stringData": {"githubAppInstallationID": "42"}});
    case.patch::<k8s_openapi::api::core::v1::Secret>("app", data)
        .await;
    eventually("the first status", PATIENCE, async || {
        (counts(&service, &first).1 == 1).then_some(())
    })
    .await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    let asked = counts(&service, &first).0;
    let second = change(&case, "one").await;
    has_counts(&service, &second, (asked, 1)).await;
    // The host ends the token. The status that it refused is set with a new one.
    valid.store(2, Ordering::SeqCst);
    let third = change(&case, "two").await;
    has_counts(&service, &third, (asked + 1, 2)).await;
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    let all = service.requests();
    let asked = all.iter().filter(|one| one.line.contains("/access_tokens"));
    for request in asked {
        assert_eq!(request.body["permissions"], json!({"statuses": "write"}));
    }
    let log = case.world.operator.log();
    assert!(!log.contains("ghs_token"), "a token is in the log");
}
