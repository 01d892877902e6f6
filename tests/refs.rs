//! References that move: the cluster follows them, forwards and backwards.

use serde_json::{Value, json};
use towline::api::GitRepository;

use crate::world::login::live;
use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, world};
use towline_testing::repo::{Change, NewCommit, Parent};

/// Commits a ConfigMap `a` with this value to a branch.
fn commit(case: &Case<'_>, branch: &str, parent: Parent<'_>, value: &str) -> String {
    let file = live(case, value);
    case.repo.commit_with(NewCommit {
        branch,
        parent,
        message: value,
        changes: &[("a.yaml", Change::Write(&file))],
        time: None,
    })
}

/// Requests a fetch, and waits until the commit and its value are applied.
async fn becomes_live(case: &Case<'_>, commit: &str, value: &str) {
    case.announce().await;
    case.synced("all", commit).await;
    case.has("a", "value", Some(value)).await;
}

/// Replaces `spec.ref`, so that it names only `reference`.
async fn set_reference(case: &Case<'_>, reference: Value) {
    let mut full =
        json!({"branch": null, "tag": null, "semver": null, "name": null, "commit": null});
    full.as_object_mut()
        .unwrap()
        .extend(reference.as_object().unwrap().clone());
    case.patch::<GitRepository>("repo", json!({"spec": {"ref": full}}))
        .await;
}

#[tokio::test]
async fn a_branch_that_is_rewound_or_replaced_is_followed() {
    let case = world().await.case("forced").await;
    let first = commit(&case, "main", Parent::Tip, "one");
    let second = commit(&case, "main", Parent::Tip, "two");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    becomes_live(&case, &second, "two").await;

    case.repo.force_push("main", &first);
    becomes_live(&case, &first, "one").await;
    let amended = commit(&case, "main", Parent::Commit(&first), "amended");
    becomes_live(&case, &amended, "amended").await;
    let unrelated = commit(&case, "main", Parent::None, "unrelated");
    becomes_live(&case, &unrelated, "unrelated").await;

    case.repo.delete_branch("main");
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", "RefNotFound").await;
    let kept = format!("{unrelated} stays live");
    assert_says(
        &message,
        &[case.repo.url(), "has no branch main", "spec.ref", &kept],
    );
    case.has("a", "value", Some("unrelated")).await;
    case.repo.force_push("main", &second);
    becomes_live(&case, &second, "two").await;
}

#[tokio::test]
async fn the_highest_tag_of_a_range_is_followed_wherever_it_goes() {
    let case = world().await.case("semver").await;
    let [one, two, three, other] =
        ["one", "two", "three", "other"].map(|value| commit(&case, "main", Parent::Tip, value));
    case.repo.tag("v1.0.0", &one);
    case.repo.tag("v0.9.0", &other);
    case.repository(json!({"ref": {"semver": "^1"}})).await;
    case.sync("all", json!({})).await;
    becomes_live(&case, &one, "one").await;

    case.repo.annotated_tag("v1.1.0", &two, "a release");
    becomes_live(&case, &two, "two").await;
    case.repo.annotated_tag("v1.1.0", &three, "moved");
    becomes_live(&case, &three, "three").await;
    // A pre-release and another major version are not in the range.
    case.repo.tag("v1.2.0-rc.1", &other);
    case.repo.tag("v2.0.0", &other);
    becomes_live(&case, &three, "three").await;
    case.repo.delete_tag("v1.1.0");
    becomes_live(&case, &one, "one").await;

    case.repo.delete_tag("v1.0.0");
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", "RefNotFound").await;
    let kept = format!("{one} stays live");
    assert_says(&message, &["has no tag in the range ^1", &kept]);
    case.has("a", "value", Some("one")).await;
}

#[tokio::test]
async fn the_most_exact_reference_has_precedence() {
    let case = world().await.case("precedence").await;
    let [by_commit, by_name, by_range, by_tag, by_branch] =
        ["commit", "name", "range", "tag", "branch"]
            .map(|value| commit(&case, "main", Parent::Tip, value));
    case.repo.update_ref("refs/pull/7/head", &by_name);
    case.repo.tag("v1.0.0", &by_range);
    case.repo.annotated_tag("stable", &by_tag, "stable");
    let mut reference = json!({
        "commit": by_commit, "name": "refs/pull/7/head", "semver": "1.x", "tag": "stable", "branch": "main",
    });
    case.repository(json!({"ref": reference})).await;
    case.sync("all", json!({})).await;
    for (key, commit, value) in [
        ("commit", &by_commit, "commit"),
        ("name", &by_name, "name"),
        ("semver", &by_range, "range"),
        ("tag", &by_tag, "tag"),
        ("branch", &by_branch, "branch"),
    ] {
        set_reference(&case, reference.clone()).await;
        becomes_live(&case, commit, value).await;
        reference.as_object_mut().unwrap().remove(key);
    }
    // A tag is followed too when it moves.
    set_reference(&case, json!({"tag": "stable"})).await;
    becomes_live(&case, &by_tag, "tag").await;
    case.repo.tag("stable", &by_name);
    becomes_live(&case, &by_name, "name").await;
}
