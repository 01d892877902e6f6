//! The Secret of a case's repository, with valid and invalid values.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, PATIENCE, config_map};
use towline_testing::wait::eventually;

/// Replaces the data of the Secret `git`. Keys whose value is null are left out.
pub async fn set_secret(case: &Case<'_>, data: &Value) {
    let mut data = data.clone();
    data.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let api = case.api::<Secret>();
    if api.get_opt("git").await.unwrap().is_some() {
        // One write: between two writes the Secret would be missing.
        let patch = json!({"data": null, "stringData": data});
        case.patch::<Secret>("git", patch).await;
        return;
    }
    let object = json!({"metadata": {"name": "git"}, "stringData": data});
    let object: Secret = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Deletes the Secret `git`.
pub async fn delete_secret(case: &Case<'_>) {
    let api = case.api::<Secret>();
    api.delete("git", &DeleteParams::default()).await.unwrap();
}

/// An invalid value of a Secret, and the message that reports it.
pub struct InvalidSecret<'a> {
    pub data: Value,
    pub reason: &'a str,
    pub says: &'a [&'a str],
}

/// Makes the Sync `all` of a repository with `url` and the Secret `git`, and waits until `commit` is
/// applied. The repository's file `a.yaml` holds the ConfigMap of [`live`]. `data` is valid.
pub async fn follow(case: &Case<'_>, url: &str, data: &Value, commit: &str) {
    set_secret(case, data).await;
    case.repository(json!({"url": url, "secretRef": {"name": "git"}, "timeout": "10s"}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", commit).await;
}

/// The manifest of a ConfigMap `a` in the case's namespace.
pub fn live(case: &Case<'_>, value: &str) -> String {
    config_map("a", &case.namespace, value)
}

/// Replaces the valid Secret with an invalid one, then restores it. Checks that the repository's
/// condition gives the reason and the Secret, that applied objects stay, and that the restored Secret is
/// used without a request from the user.
pub async fn reports_and_recovers(
    case: &Case<'_>,
    commit: &str,
    right: &Value,
    wrong: &InvalidSecret<'_>,
) {
    set_secret(case, &wrong.data).await;
    let message = repository_ready_becomes(case, "False", wrong.reason).await;
    assert_says(&message, wrong.says);
    let secret = format!("Secret {}/git", case.namespace);
    assert_says(&message, &[&secret, &format!("{commit} stays live")]);
    assert!(case.data("a").await.is_some(), "{message}");
    set_secret(case, right).await;
    fetched(case, commit).await;
}

/// Waits until the repository has fetched a commit.
pub async fn fetched(case: &Case<'_>, commit: &str) {
    eventually("the commit", PATIENCE, async || {
        let message = repository_ready_becomes(case, "True", "Fetched").await;
        message.ends_with(commit).then_some(()).ok_or(message)
    })
    .await;
}
