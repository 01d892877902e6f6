//! Which deployment a host shows as active: that of the commit that is live, whatever happened on the way.

use serde_json::json;
use towline::api::{Alert, Sync};

use super::becomes;
use super::deployments::{QUIET, hosted};
use super::git_host::Host;
use crate::world::{Case, World, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::recorder::Answer;
use towline_testing::wait::{PATIENCE, eventually, never};

/// A Sync `a` of one ConfigMap, with its environment. Returns its first commit.
async fn begin(case: &Case<'_>, environment: Option<&str>) -> String {
    let text = config_map("a", &case.namespace, "zero");
    let first = case.repo.commit(&[("a/a.yaml", Some(&text))], "0");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "suspend": true})).await;
    let patch = json!({
        "metadata": {"annotations": {"towline.dev/environment": environment}}, "spec": {"suspend": false},
    });
    case.patch::<Sync>("a", patch).await;
    case.synced("a", &first).await;
    first
}

/// Another commit of the Sync, that is live.
async fn go_on(case: &Case<'_>, value: &str) -> String {
    let text = config_map("a", &case.namespace, &format!("v{value}"));
    let commit = case.push(&[("a/a.yaml", Some(&text))], value).await;
    case.synced("a", &commit).await;
    commit
}

/// Waits until only this commit is active, and sees that it stays so.
async fn only(host: &Host, commit: &str) {
    eventually("the active deployment", PATIENCE, async || {
        let active = host.active();
        let is_wanted = active == [commit];
        let all = || (active, host.told(), host.service.requests());
        is_wanted.then_some(()).ok_or_else(all)
    })
    .await;
    let other = async || (host.active() != [commit]).then(|| host.service.requests());
    never("another active deployment", QUIET, other).await;
}

/// Waits until a request after the first ones is about the deployments of a commit.
async fn looked_for(host: &Host, known: usize, commit: &str) {
    eventually(&format!("a look for {commit}"), PATIENCE, async || {
        let all = host.service.requests();
        let mut new = all[known.min(all.len())..].iter();
        new.any(|request| request.line.contains(commit))
            .then_some(())
            .ok_or(all.len())
    })
    .await;
}

#[tokio::test]
async fn commits_that_wait_for_the_host_get_their_deployments_in_their_order() {
    let (case, host) = hosted(world().await, "active-order", "github").await;
    let mut commits = vec![begin(&case, None).await];
    host.has(&commits[0], &["success"]).await;
    host.service.answer(Answer::Status(500, ""));
    for value in ["1", "2", "3", "4"] {
        commits.push(go_on(&case, value).await);
    }
    becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    host.service.heal();
    only(&host, &commits[4]).await;
    assert_eq!(host.made(), commits);
}

#[tokio::test]
async fn a_commit_that_the_host_refused_is_not_active_after_a_newer_one() {
    let (case, host) = hosted(world().await, "active-refused", "github").await;
    begin(&case, None).await;
    host.service.answer(Answer::Status(403, ""));
    let mut refused = Vec::new();
    for value in ["1", "2"] {
        refused.push(go_on(&case, value).await);
        becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
    }
    let known = host.service.requests().len();
    host.service.heal();
    let last = go_on(&case, "3").await;
    host.has(&last, &["success"]).await;
    for commit in &refused {
        looked_for(&host, known, commit).await;
    }
    only(&host, &last).await;
}

#[tokio::test]
async fn a_branch_that_is_reset_makes_its_old_commit_the_active_one() {
    let (case, host) = hosted(world().await, "active-reset", "github").await;
    let first = begin(&case, None).await;
    host.has(&first, &["success"]).await;
    let second = go_on(&case, "1").await;
    only(&host, &second).await;
    case.repo.force_push("main", &first);
    case.announce().await;
    case.synced("a", &first).await;
    only(&host, &first).await;
    let third = go_on(&case, "2").await;
    only(&host, &third).await;
}

#[tokio::test]
async fn the_environment_production_has_one_active_deployment() {
    let (case, host) = hosted(world().await, "active-production", "github").await;
    let first = begin(&case, Some("production")).await;
    host.has(&first, &["success"]).await;
    let second = go_on(&case, "1").await;
    only(&host, &second).await;
    let third = go_on(&case, "2").await;
    only(&host, &third).await;
}

/// The replica that leads next knows of all commits what their Sync says of them.
#[tokio::test]
async fn after_a_restart_a_commit_that_was_refused_is_not_active_after_a_newer_one() {
    let mut world = World::own(Options::default(), &[]).await;
    let (parts, host, refused, last) = {
        let (case, host) = hosted(&world, "active-restart", "github").await;
        let first = begin(&case, None).await;
        host.has(&first, &["success"]).await;
        host.service.answer(Answer::Status(403, ""));
        let refused = go_on(&case, "1").await;
        becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
        host.hide(Some(&refused));
        host.service.heal();
        let last = go_on(&case, "2").await;
        only(&host, &last).await;
        ((case.namespace.clone(), case.repo), host, refused, last)
    };
    world.operator.kill();
    host.hide(None);
    let known = host.service.requests().len();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    looked_for(&host, known, &refused).await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
    only(&host, &last).await;
    assert!(!host.made().contains(&refused), "it was made");
}
