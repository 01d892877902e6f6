//! Remotes and references that cannot be fetched. The repository's condition gives the reason, and
//! applied objects stay.

use std::time::Duration;

use serde_json::{Value, json};
use towline::api::GitRepository;

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, condition, config_map, world};
use towline_testing::git::Fault;
use towline_testing::ports;

/// A fault of a remote.
enum Mishap {
    /// The server fails.
    Fault(Fault),
    /// The spec asks for something that does not exist.
    Spec(Value),
    /// Somebody deletes the branch.
    BranchDeleted,
}

/// A spec that works again after any fault.
fn sound(case: &Case<'_>) -> Value {
    json!({"url": case.repo.url(), "ref": {"branch": "main", "tag": null, "commit": null}, "timeout": "60s"})
}

/// Breaks a remote that was fetched before, then repairs it and pushes a new commit.
async fn is_reported_and_keeps_its_objects(
    name: &str,
    mishap: Mishap,
    reason: &str,
    says: &[&str],
) {
    let case = world().await.case(name).await;
    let file = |value| config_map("x", &case.namespace, value);
    let first = case
        .repo
        .commit(&[("x.yaml", Some(file("one")))], "all is well");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;

    match &mishap {
        Mishap::Fault(fault) => {
            case.world.git.fail_repo(&case.namespace, *fault);
            if matches!(fault, Fault::Hang) {
                let short = json!({"spec": {"timeout": "1s"}});
                case.patch::<GitRepository>("repo", short).await;
            }
        }
        Mishap::Spec(spec) => {
            case.patch::<GitRepository>("repo", json!({"spec": spec}))
                .await;
        }
        Mishap::BranchDeleted => case.repo.delete_branch("main"),
    }
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", reason).await;
    assert_says(&message, says);
    assert_says(&message, &[&format!("{first} stays live")]);
    case.has("x", "value", Some("one")).await;
    case.synced("all", &first).await;

    // A Sync that is created now gets the last good revision too.
    case.sync("late", json!({"prune": false})).await;
    let late = case
        .ready_becomes("late", "False", "OwnershipConflict")
        .await;
    assert_says(&late, &["all"]);
    case.delete::<towline::api::Sync>("late").await;

    match mishap {
        // `heal` would end the faults of other tests too.
        Mishap::Fault(_) => case
            .world
            .git
            .fail_repo(&case.namespace, Fault::Delay(Duration::ZERO)),
        Mishap::Spec(_) => (),
        Mishap::BranchDeleted => case.repo.force_push("main", &first),
    }
    let second = case.repo.commit(&[("x.yaml", Some(file("two")))], "mended");
    let spec = sound(&case);
    case.patch::<GitRepository>("repo", json!({"spec": spec}))
        .await;
    case.announce().await;
    case.synced("all", &second).await;
    case.has("x", "value", Some("two")).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
}

#[tokio::test]
async fn a_remote_that_fails() {
    let refused = "AuthenticationFailed";
    for (name, fault, reason, says) in [
        ("remote-401", Fault::Status(401), refused, "HTTP status 401"),
        ("remote-403", Fault::Status(403), refused, "HTTP status 403"),
        (
            "remote-404",
            Fault::Status(404),
            "FetchFailed",
            "no repository at http://",
        ),
        (
            "remote-500",
            Fault::Status(500),
            "FetchFailed",
            "HTTP status 500",
        ),
        (
            "remote-hangs",
            Fault::Hang,
            "FetchFailed",
            "took longer than 1s",
        ),
    ] {
        let mishap = Mishap::Fault(fault);
        is_reported_and_keeps_its_objects(name, mishap, reason, &[says, ".git"]).await;
    }
}

#[tokio::test]
async fn a_remote_that_is_not_there() {
    let url = format!("http://127.0.0.1:{}/team/shop.git", ports::free());
    let mishap = Mishap::Spec(json!({"url": url}));
    let says = format!("cannot fetch {url}");
    is_reported_and_keeps_its_objects(
        "remote-closed",
        mishap,
        "FetchFailed",
        &[&says, "onnection refused"],
    )
    .await;
}

#[tokio::test]
async fn a_reference_that_is_not_there() {
    let commit = "0123456789012345678901234567890123456789";
    for (name, mishap, reason, says) in [
        (
            "ref-branch",
            json!({"ref": {"branch": "nope"}}),
            "RefNotFound",
            "has no branch nope",
        ),
        (
            "ref-tag",
            json!({"ref": {"tag": "v9"}}),
            "RefNotFound",
            "has no tag v9",
        ),
        (
            "ref-commit",
            json!({"ref": {"commit": commit}}),
            "RefNotFound",
            "commit 0123456789",
        ),
        (
            "ref-invalid",
            json!({"ref": {"branch": "a..b"}}),
            "InvalidSpec",
            "branch a..b is not a valid reference",
        ),
    ] {
        is_reported_and_keeps_its_objects(name, Mishap::Spec(mishap), reason, &[says]).await;
    }
    let says = ["has no branch main"];
    is_reported_and_keeps_its_objects("ref-deleted", Mishap::BranchDeleted, "RefNotFound", &says)
        .await;
}

/// If a source never had a revision, the Sync's own condition gives the reason.
#[tokio::test]
async fn a_sync_says_why_it_has_no_revision() {
    let case = world().await.case("no-revision").await;
    case.sync("all", json!({})).await;
    let message = case.ready_becomes("all", "False", "SourceNotReady").await;
    let missing = format!("GitRepository {}/repo does not exist", case.namespace);
    assert_says(&message, &[&missing]);

    case.repository(json!({"ref": {"branch": "nope"}})).await;
    let message = case.ready_becomes("all", "False", "RefNotFound").await;
    assert_says(&message, &["has no branch nope"]);

    let map = config_map("x", &case.namespace, "one");
    let first = case.repo.commit(&[("x.yaml", Some(map))], "first");
    case.patch::<GitRepository>("repo", json!({"spec": {"ref": {"branch": "main"}}}))
        .await;
    case.synced("all", &first).await;

    // Deleting a repository deletes nothing else.
    case.delete::<GitRepository>("repo").await;
    let message = case.ready_becomes("all", "False", "SourceNotReady").await;
    assert_says(&message, &[&missing, &first, "stays live"]);
    case.has("x", "value", Some("one")).await;
    case.repository(json!({})).await;
    case.synced("all", &first).await;
}

#[tokio::test]
async fn a_path_that_is_not_in_the_revision() {
    let case = world().await.case("no-path").await;
    let map = config_map("x", &case.namespace, "one");
    let first = case.repo.commit(&[("apps/x.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    let message = case.ready_becomes("all", "False", "PathNotFound").await;
    assert_says(&message, &["path app is not in main@sha1:", &first]);
    let sync: towline::api::Sync = case.patch("all", json!({"spec": {"path": "apps"}})).await;
    assert_eq!(condition(&sync, "Stalled").0, "True");
    case.synced("all", &first).await;

    case.patch::<towline::api::Sync>("all", json!({"spec": {"path": "gone"}}))
        .await;
    let message = case.ready_becomes("all", "False", "PathNotFound").await;
    assert_says(&message, &["path gone is not in", "stays live"]);
    case.has("x", "value", Some("one")).await;
}
