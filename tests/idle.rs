//! Without a change there are no requests about managed objects.

use std::time::Duration;

use serde_json::json;
use towline::api::GitRepository;

use crate::world::{Case, PATIENCE, config_map, world};
use towline_testing::audit::Mark;
use towline_testing::wait::{eventually, never};

async fn two_syncs(name: &str) -> (Case<'static>, String) {
    let files = async |namespace: &str| {
        let file = |name: &&str| {
            let map = name.replace('/', "-");
            (format!("{name}.yaml"), config_map(&map, namespace, "git"))
        };
        ["one/a", "one/b", "two/a"].iter().map(file).collect()
    };
    let spec = json!({"path": "one"});
    let (case, commit) = Case::started(world().await, name, files, spec).await;
    case.sync("two", json!({"path": "two"})).await;
    case.synced("two", &commit).await;
    (case, commit)
}

async fn silent(case: &Case<'_>, mark: Mark) {
    let requests = case.requests(mark).await;
    assert!(requests.is_empty(), "{requests:#?}");
}

#[tokio::test]
async fn a_commit_concerns_only_the_sync_whose_path_it_touches() {
    let (case, _) = two_syncs("paths").await;
    let mark = case.world.cp.audit().mark();
    let second = case
        .push(&[("two/a.yaml", Some(&case.map("two-a", "second")))], "two")
        .await;
    let one = case.synced("all", &second).await;
    let two = case.synced("two", &second).await;
    let requests = case.requests(mark).await;
    let named: Vec<_> = requests
        .iter()
        .map(|r| (r.verb.as_str(), r.name.as_str()))
        .collect();
    assert_eq!(named, [("patch", "two-a")], "one request in all");
    let changed = |sync: towline::api::Sync| {
        let status = sync.status.unwrap();
        let here = status.last_changed_revision.unwrap().ends_with(&second);
        let live = &status.history[0];
        let counts = (live.created, live.changed);
        (here, status.history.len(), counts)
    };
    let expected = ((false, 1, (2, 0)), (true, 2, (0, 1)));
    assert_eq!((changed(one), changed(two)), expected);
}

#[tokio::test]
async fn no_requests_while_converged_or_after_a_poll_without_changes() {
    let (case, commit) = two_syncs("quiet").await;
    let mark = case.world.cp.audit().mark();
    never("a request while idle", Duration::from_secs(3), async || {
        let requests = case.requests(mark).await;
        (!requests.is_empty()).then_some(requests)
    })
    .await;
    case.announce().await;
    let api: kube::Api<GitRepository> = case.api();
    eventually("the poll is done", PATIENCE, async || {
        let repository = api.get("repo").await.unwrap();
        let asked = repository
            .metadata
            .annotations?
            .get("towline.dev/requested-at")?
            .clone();
        let handled = repository.status?.last_handled_reconcile_at;
        (handled == Some(asked)).then_some(())
    })
    .await;
    silent(&case, mark).await;

    // A commit that changes neither path: both Syncs report it and apply nothing.
    let other = case
        .push(&[("readme.md", Some("hello"))], "elsewhere")
        .await;
    assert_ne!(other, commit);
    case.synced("all", &other).await;
    case.synced("two", &other).await;
    silent(&case, mark).await;
}

#[tokio::test]
async fn a_full_verification_applies_each_object_once() {
    let (case, commit) = two_syncs("verify").await;
    let mark = case.world.cp.audit().mark();
    case.reconcile("all").await;
    case.sync(
        "three",
        json!({"path": "two", "interval": "10s", "targetNamespace": case.namespace}),
    )
    .await;
    case.ready_becomes("three", "False", "OwnershipConflict")
        .await;
    let mut names: Vec<_> = case
        .requests(mark)
        .await
        .into_iter()
        .map(|r| (r.verb, r.name))
        .collect();
    names.sort();
    let patch = |name: &str| ("patch".to_owned(), name.to_owned());
    assert_eq!(names, [patch("one-a"), patch("one-b")]);

    case.delete::<towline::api::Sync>("two").await;
    case.synced("three", &commit).await;
    let mark = case.world.cp.audit().mark();
    eventually("the interval's verification", PATIENCE, async || {
        let requests = case.requests(mark).await;
        (requests.len() == 1 && requests[0].name == "two-a")
            .then_some(())
            .ok_or(requests)
    })
    .await;
}
