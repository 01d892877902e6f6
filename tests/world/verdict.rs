//! What towline reports about a case, and what it must not disclose.

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use towline::api::{GitRepository, Sync};

use crate::world::{Case, PATIENCE};
use towline_testing::wait::eventually;

/// Waits until the condition `Ready` of the case's repository has a status and reason. Returns its
/// message.
pub async fn repository_ready_becomes(case: &Case<'_>, status: &str, reason: &str) -> String {
    named_repository_ready_becomes(case, "repo", status, reason).await
}

/// The same for the GitRepository `name`.
pub async fn named_repository_ready_becomes(
    case: &Case<'_>,
    name: &str,
    status: &str,
    reason: &str,
) -> String {
    let what = format!("GitRepository {name}: Ready={status} {reason}");
    eventually(&what, PATIENCE, async || {
        let repository = case.api::<GitRepository>().get(name).await;
        let repository = repository.map_err(|error| error.to_string())?;
        let conditions = repository.status.map(|status| status.conditions);
        conditions
            .iter()
            .flatten()
            .find(|is| (&*is.type_, &*is.status, &*is.reason) == ("Ready", status, reason))
            .map(|ready| ready.message.clone())
            .ok_or_else(|| format!("{conditions:#?}"))
    })
    .await
}

/// Panics unless `message` contains all of `parts`.
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// Panics if `secret` occurs in a status or event of the case, or in the operator's log.
pub async fn assert_not_disclosed(case: &Case<'_>, secret: &str) {
    let all = ListParams::default();
    let syncs = case.api::<Sync>().list(&all).await.unwrap().items;
    let statuses = syncs.into_iter().map(|sync| sync.status);
    let repositories = case.api::<GitRepository>().list(&all).await.unwrap().items;
    let fetched = repositories.into_iter().map(|repository| repository.status);
    let events = case.api::<Event>().list(&all).await.unwrap().items;
    let notes = events.into_iter().map(|event| event.message);
    for (place, text) in [
        (
            "a Sync's status",
            serde_json::to_string(&statuses.collect::<Vec<_>>()).unwrap(),
        ),
        (
            "a GitRepository's status",
            serde_json::to_string(&fetched.collect::<Vec<_>>()).unwrap(),
        ),
        (
            "an event",
            serde_json::to_string(&notes.collect::<Vec<_>>()).unwrap(),
        ),
        ("the log", case.world.operator.log()),
    ] {
        let found = text
            .find(secret)
            .map(|at| &text[at.saturating_sub(200)..at]);
        assert_eq!(found, None, "{secret} is in {place}, after this");
    }
}
