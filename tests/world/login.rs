//! The Secret of a case's repository, right and wrong.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::world::verdict::{assert_says, repository_stands};
use crate::world::{Case, PATIENCE, config_map};
use towline_testing::wait::eventually;

/// Makes the Secret `git` hold these keys, where they are not null, and no others.
pub async fn give(case: &Case<'_>, data: &Value) {
    let mut data = data.clone();
    data.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let api = case.api::<Secret>();
    if api.get_opt("git").await.unwrap().is_some() {
        // One write: in between, the Secret would be missing.
        let patch = json!({"data": null, "stringData": data});
        case.patch::<Secret>("git", patch).await;
        return;
    }
    let object = json!({"metadata": {"name": "git"}, "stringData": data});
    let object: Secret = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Deletes the Secret `git`.
pub async fn take_away(case: &Case<'_>) {
    let api = case.api::<Secret>();
    api.delete("git", &DeleteParams::default()).await.unwrap();
}

/// A value of a Secret that does not work, and what is said of it.
pub struct Wrong<'a> {
    pub data: Value,
    pub reason: &'a str,
    pub says: &'a [&'a str],
}

/// Has the Sync `all` of what `url` and the Secret `git` give, whose file `a.yaml` is that of
/// [`live`]; `data` is right.
pub async fn follow(case: &Case<'_>, url: &str, data: &Value, commit: &str) {
    give(case, data).await;
    case.repository(json!({"url": url, "secretRef": {"name": "git"}, "timeout": "10s"}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", commit).await;
}

/// The manifest of a ConfigMap `a` in the case's namespace.
pub fn live(case: &Case<'_>, value: &str) -> String {
    config_map("a", &case.namespace, value)
}

/// Puts what is wrong into the Secret in place of what is right, and that back. The repository says
/// why and which Secret, what is live stays, and a Secret that is put right is used without anybody
/// asking for it.
pub async fn is_told_and_healed(case: &Case<'_>, commit: &str, right: &Value, wrong: &Wrong<'_>) {
    give(case, &wrong.data).await;
    let message = repository_stands(case, "False", wrong.reason).await;
    assert_says(&message, wrong.says);
    let secret = format!("Secret {}/git", case.namespace);
    assert_says(&message, &[&secret, &format!("{commit} stays live")]);
    assert!(case.data("a").await.is_some(), "{message}");
    give(case, right).await;
    fetched(case, commit).await;
}

/// Waits until the repository is fetched at a commit.
pub async fn fetched(case: &Case<'_>, commit: &str) {
    eventually("the commit", PATIENCE, async || {
        let message = repository_stands(case, "True", "Fetched").await;
        message.ends_with(commit).then_some(()).ok_or(message)
    })
    .await;
}
