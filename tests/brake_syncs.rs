//! A revision that removes a Sync removes what that Sync has: such a deletion waits for a person.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::{GitRepository, HeldPrune, Sync};

use crate::world::verdict::{
    assert_says, named_repository_ready_becomes, repository_ready_becomes,
};
use crate::world::{Case, condition, world};
use towline_testing::wait::never;

/// A deletion follows its cause within a second.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

/// The manifest of a Sync of `path`.
fn child(case: &Case<'_>, name: &str, path: &str, more: &Value) -> String {
    let mut spec = json!({"sourceRef": {"name": "repo"}, "path": path, "prune": true});
    let more = more.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(more);
    json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": name, "namespace": case.namespace}, "spec": spec,
    })
    .to_string()
}

async fn held(case: &Case<'_>, name: &str, commit: &str) -> (HeldPrune, String) {
    let what = format!("the deletion of {commit} is held");
    let sync = case
        .until(name, &what, |sync| {
            let status = sync.status.as_ref();
            let revision = status.and_then(|status| status.last_applied_revision.as_deref());
            condition(sync, "Ready").1 == "PruneHeld"
                && revision.is_some_and(|revision| revision.ends_with(commit))
        })
        .await;
    let message = condition(&sync, "Ready").2;
    let plan = sync.status.unwrap().prune.unwrap().held;
    (plan.expect("a plan"), message)
}

async fn approve(case: &Case<'_>, name: &str, plan: &HeldPrune) {
    let annotations = json!({"towline.dev/approve-prune": plan.digest});
    let patch = json!({"metadata": {"annotations": annotations}});
    case.patch::<Sync>(name, patch).await;
}

/// Nothing of what a Sync has is deleted.
async fn stay(case: &Case<'_>, sync: &str, maps: &[&str]) {
    never("something is deleted", LONG_ENOUGH, async || {
        if case.live::<Sync>(sync).await["metadata"]["deletionTimestamp"].is_string() {
            return Some(sync.to_owned());
        }
        for map in maps {
            if case.data(map).await.is_none() {
                return Some((*map).to_owned());
            }
        }
        None
    })
    .await;
}

#[tokio::test]
async fn a_sync_that_leaves_git_with_its_objects_waits_for_a_person() {
    let case = world().await.case("brake-sync").await;
    let files = [
        ("syncs/app.yaml", child(&case, "app", "app", &json!({}))),
        ("syncs/stays.yaml", case.map("stays", "git")),
        ("app/one.yaml", case.map("one", "git")),
        ("app/two.yaml", case.map("two", "git")),
        ("app/inner.yaml", child(&case, "inner", "inner", &json!({}))),
        ("inner/three.yaml", case.map("three", "git")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "syncs"})).await;
    for name in ["all", "app", "inner"] {
        case.synced(name, &first).await;
    }
    // One file of two, and all that is behind it: two maps, a Sync, and the map of that.
    let second = case
        .push(&[("syncs/app.yaml", None)], "the app leaves")
        .await;
    let (plan, message) = held(&case, "all", &second).await;
    let with = format!(
        "with Sync.towline.dev {}/app, 4 objects of it would be deleted",
        case.namespace
    );
    assert_says(&message, &["would delete 1 of 2 objects", &with]);
    assert_eq!(plan.because, [with]);
    stay(&case, "app", &["one", "two", "three"]).await;
    // It goes on as before, and everything comes back.
    case.patch::<ConfigMap>("one", json!({"data": {"value": "person"}}))
        .await;
    case.has("one", "value", Some("git")).await;
    let app = child(&case, "app", "app", &json!({}));
    let third = case.push(&[("syncs/app.yaml", Some(&app))], "back").await;
    case.synced("all", &third).await;
    // Approved, it goes with all that it has.
    let fourth = case
        .push(&[("syncs/app.yaml", None)], "the app leaves")
        .await;
    let (plan, _) = held(&case, "all", &fourth).await;
    approve(&case, "all", &plan).await;
    for map in ["one", "two", "three"] {
        case.has(map, "value", None).await;
    }
    case.synced("all", &fourth).await;
    case.has("stays", "value", Some("git")).await;
}

#[tokio::test]
async fn a_sync_that_leaves_its_objects_or_has_none_is_pruned_at_once() {
    let case = world().await.case("brake-sync-free").await;
    let orphan = json!({"deletionPolicy": "Orphan"});
    let files = [
        ("syncs/orphans.yaml", child(&case, "orphans", "a", &orphan)),
        (
            "syncs/keeps.yaml",
            child(&case, "keeps", "b", &json!({"prune": false})),
        ),
        ("syncs/renamed.yaml", child(&case, "old", "c", &json!({}))),
        (
            "syncs/limited.yaml",
            child(&case, "limited", "d", &json!({})),
        ),
        ("syncs/stays.yaml", case.map("stays", "git")),
        ("a/one.yaml", case.map("one", "git")),
        ("b/two.yaml", case.map("two", "git")),
        ("c/three.yaml", case.map("three", "git")),
        ("d/four.yaml", case.map("four", "git")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "syncs"})).await;
    for name in ["all", "orphans", "keeps", "old", "limited"] {
        case.synced(name, &first).await;
    }
    let uid = case.live::<ConfigMap>("three").await["metadata"]["uid"].clone();
    let new = child(&case, "new", "c", &json!({}));
    let second = case
        .push(
            &[
                ("syncs/orphans.yaml", None),
                ("syncs/keeps.yaml", None),
                ("syncs/renamed.yaml", Some(&new)),
            ],
            "three leave",
        )
        .await;
    case.synced("all", &second).await;
    case.synced("new", &second).await;
    assert_eq!(case.events("PruneHeld").await, [""; 0]);
    for map in ["one", "two", "three"] {
        case.has(map, "value", Some("git")).await;
    }
    let now = case.live::<ConfigMap>("three").await["metadata"]["uid"].clone();
    assert_eq!(now, uid);
    // Where the limit says so, what a Sync has goes with it.
    let limit = json!({"spec": {"pruneLimit": {"contents": "Delete"}}});
    case.patch::<Sync>("all", limit).await;
    case.push(&[("syncs/limited.yaml", None)], "it leaves")
        .await;
    case.has("four", "value", None).await;
    assert_eq!(case.events("PruneHeld").await, [""; 0]);
}

#[tokio::test]
async fn a_repository_that_leaves_git_with_its_sync_waits_for_a_person() {
    let case = world().await.case("brake-repository").await;
    let repository = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
        "metadata": {"name": "shop", "namespace": case.namespace},
        "spec": {"url": case.repo.url(), "interval": "1h", "ref": {"branch": "main"},
            "sync": {"path": "shop", "prune": true}},
    });
    let files = [
        ("all/shop.yaml", repository.to_string()),
        ("all/stays.yaml", case.map("stays", "git")),
        ("shop/one.yaml", case.map("one", "git")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    for name in ["all", "shop"] {
        case.synced(name, &first).await;
    }
    let second = case.push(&[("all/shop.yaml", None)], "it leaves").await;
    let (plan, message) = held(&case, "all", &second).await;
    let with = format!(
        "with GitRepository.towline.dev {}/shop, 1 object of it would be deleted",
        case.namespace
    );
    assert_says(&message, &[&with]);
    stay(&case, "shop", &["one"]).await;
    approve(&case, "all", &plan).await;
    case.has("one", "value", None).await;
    case.synced("all", &second).await;
}

/// A folder of `number` maps.
fn maps(case: &Case<'_>, folder: &str, number: usize) -> Vec<(String, Option<String>)> {
    let map = |at| {
        let path = format!("{folder}/m{at}.yaml");
        (path, Some(case.map(&format!("{folder}{at}"), "git")))
    };
    (0..number).map(map).collect()
}

/// One edit of a GitRepository would delete everything that its inline Sync has.
#[tokio::test]
async fn an_inline_sync_that_the_spec_drops_keeps_many_objects_until_a_person_deletes_it() {
    let case = world().await.case("brake-inline").await;
    let first = case.repo.commit(&maps(&case, "a", 12), "twelve");
    case.repository(json!({"sync": {"path": "a", "prune": true}}))
        .await;
    case.synced("repo", &first).await;
    let none = json!({"spec": {"sync": null}});
    case.patch::<GitRepository>("repo", none.clone()).await;
    let message = repository_ready_becomes(&case, "False", "PruneHeld").await;
    let name = case.namespace.clone();
    assert_says(
        &message,
        &[
            &format!("Sync {name}/repo stays"),
            "12 objects would be deleted (12 ConfigMap)",
            "12 of 12 are more than 50 %",
            &format!("kubectl delete -n {name} syncs.towline.dev repo"),
        ],
    );
    stay(&case, "repo", &["a0", "a11"]).await;
    assert_eq!(case.events("PruneHeld").await.len(), 1);
    // It goes on as before, and is the repository's again if the spec asks for it.
    case.patch::<ConfigMap>("a1", json!({"data": {"value": "person"}}))
        .await;
    case.has("a1", "value", Some("git")).await;
    let back = json!({"spec": {"sync": {"path": "a", "prune": true}}});
    case.patch::<GitRepository>("repo", back).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    case.patch::<GitRepository>("repo", none).await;
    repository_ready_becomes(&case, "False", "PruneHeld").await;
    // A person deletes it: the objects go, and it does not come back.
    case.delete::<Sync>("repo").await;
    case.has("a0", "value", None).await;
    case.has("a11", "value", None).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    never("the Sync is back", LONG_ENOUGH, async || {
        case.api::<Sync>().get_opt("repo").await.unwrap()
    })
    .await;
}

/// A commit that drops `spec.sync` is held for any object, as one that drops the whole GitRepository.
#[tokio::test]
async fn an_inline_sync_that_a_commit_drops_keeps_its_objects() {
    let case = world().await.case("brake-inline-git").await;
    let repository = |more: &Value| {
        let mut spec = json!({"url": case.repo.url(), "interval": "1h", "ref": {"branch": "main"}});
        let more = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(more);
        json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": "shop", "namespace": case.namespace}, "spec": spec,
        })
        .to_string()
    };
    let sync = json!({"sync": {"path": "shop", "prune": true}});
    let files = [
        ("all/shop.yaml", repository(&sync)),
        ("shop/one.yaml", case.map("one", "git")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    for name in ["all", "shop"] {
        case.synced(name, &first).await;
    }
    let dropped = repository(&json!({}));
    case.push(&[("all/shop.yaml", Some(&dropped))], "no sync")
        .await;
    let message = named_repository_ready_becomes(&case, "shop", "False", "PruneHeld").await;
    assert_says(
        &message,
        &[
            "1 object would be deleted",
            "a Sync manages this GitRepository",
        ],
    );
    stay(&case, "shop", &["one"]).await;
    // Where its objects stay, it goes.
    let orphan = json!({"spec": {"deletionPolicy": "Orphan"}});
    case.patch::<Sync>("shop", orphan).await;
    named_repository_ready_becomes(&case, "shop", "True", "Fetched").await;
    case.gone::<Sync>("shop").await;
    case.has("one", "value", Some("git")).await;
}
