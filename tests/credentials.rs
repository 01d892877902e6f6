//! Credentials of a private repository: what is missing or wrong is said, what was rotated is used, and
//! no value of a Secret shows anywhere.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::git::GitServer;
use crate::support::verdict::{assert_says, assert_silent, repository_stands};
use crate::support::wait::eventually;
use crate::support::world::{PATIENCE, config_map, world};

/// Stands in every value of every Secret here.
const MARKER: &str = "hunter2-marker";

fn secret(data: &Value) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": "git"}, "stringData": data})).unwrap()
}

#[tokio::test]
async fn a_private_repository_is_read_once_its_secret_is_right() {
    let case = world().await.case("credentials").await;
    let (user, password) = ("ann", format!("{MARKER}-right"));
    // A server of its own: whom it lets in holds for all of its repositories.
    let git = GitServer::start();
    git.allow_only(user, &password);
    let repo = git.repo("private");
    let live = config_map("a", &case.namespace, "one");
    let first = repo.commit(&[("a.yaml", Some(&live))], "first");
    case.repository(json!({"url": repo.url(), "secretRef": {"name": "git"}}))
        .await;
    case.sync("all", json!({})).await;

    let missing = repository_stands(&case, "False", "CredentialsInvalid").await;
    assert_says(
        &missing,
        &[&format!("Secret {}/git does not exist", case.namespace)],
    );

    let data = json!({"username": user, "password": ""});
    let secrets = case.api::<Secret>();
    secrets
        .create(&PostParams::default(), &secret(&data))
        .await
        .unwrap();
    let message = format!("Secret {}/git", case.namespace);
    eventually("the empty key is named", PATIENCE, async || {
        let says = repository_stands(&case, "False", "CredentialsInvalid").await;
        match says.contains("password") && says.contains(&message) {
            true => Ok(()),
            false => Err(says),
        }
    })
    .await;

    let wrong = json!({"stringData": {"password": format!("{MARKER}-wrong")}});
    case.patch::<Secret>("git", wrong).await;
    repository_stands(&case, "False", "AuthenticationFailed").await;

    let right = json!({"stringData": {"password": password}});
    case.patch::<Secret>("git", right).await;
    case.synced("all", &first).await;

    // Rotated on the server first: what is live stays, and the new Secret is used without a push.
    let rotated = format!("{MARKER}-rotated");
    git.allow_only(user, &rotated);
    case.announce().await;
    let refused = repository_stands(&case, "False", "AuthenticationFailed").await;
    assert_says(&refused, &["stays live"]);
    case.patch::<Secret>("git", json!({"stringData": {"password": rotated}}))
        .await;
    repository_stands(&case, "True", "Fetched").await;
    assert_silent(&case, MARKER).await;
}
