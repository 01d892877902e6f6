//! `spec.ignore` of a GitRepository and of a Sync: files of somebody else's repository that are left out.

use serde_json::json;
use towline::api::{GitRepository, Sync};

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, condition, world};

fn changed(sync: &Sync) -> (Option<String>, usize) {
    let status = sync.status.clone().unwrap_or_default();
    (status.last_changed_revision, status.history.len())
}

async fn leave_out_of_source(case: &Case<'_>, patterns: &str) {
    case.patch::<GitRepository>("repo", json!({"spec": {"ignore": patterns}}))
        .await;
}

#[tokio::test]
async fn a_source_and_a_sync_leave_out_files_of_a_foreign_repository() {
    let case = world().await.case("ignoring").await;
    let [a, b, kept] = ["a", "b", "kept"].map(|name| case.map(name, "one"));
    let first = case.repo.commit(
        &[
            ("apps/a.yaml", Some(&*a)),
            ("apps/b.yaml", Some(&b)),
            ("apps/kept.yaml", Some(&kept)),
            ("apps/values.yaml", Some("replicas: 1")),
            ("apps/tests/broken.yaml", Some("{")),
            (
                "apps/tests/base/Kustomization",
                Some("resources: [absent.yaml]"),
            ),
            (".towlineignore", Some("kept.yaml")),
        ],
        "a foreign repository",
    );
    case.repository(json!({"ignore": "# ours\ntests/\n!kept.yaml\n"}))
        .await;
    case.sync("all", json!({"path": "apps", "ignore": "/values.yaml"}))
        .await;
    let before = changed(&case.synced("all", &first).await);
    for name in ["a", "b", "kept"] {
        case.has(name, "value", Some("one")).await;
    }

    // A commit that touches only what is left out is no change.
    let files = [
        ("apps/tests/broken.yaml", Some("[")),
        ("apps/values.yaml", Some("replicas: 2")),
        ("apps/README.md", Some("# read me")),
    ];
    let second = case.push(&files, "nothing of ours").await;
    assert_eq!(changed(&case.synced("all", &second).await), before);

    // What is left out from now on is pruned, without a commit. What comes back is applied.
    leave_out_of_source(&case, "tests\n!kept.yaml\nb.yaml").await;
    case.has("b", "value", None).await;
    case.patch::<Sync>(
        "all",
        json!({"spec": {"ignore": "values.yaml\n!b.yaml\na.yaml"}}),
    )
    .await;
    case.has("b", "value", Some("one")).await;
    case.has("a", "value", None).await;
    case.has("kept", "value", Some("one")).await;

    // A pattern that is none is the fault of the object that has it, and nothing is pruned.
    leave_out_of_source(&case, "tests\n[z-a]").await;
    let message = repository_ready_becomes(&case, "False", "InvalidSpec").await;
    assert_says(
        &message,
        &["spec.ignore, line 2: \"[z-a]\" is no pattern of .gitignore"],
    );
    leave_out_of_source(&case, "tests\nkept.yaml").await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    case.has("kept", "value", None).await;
    case.patch::<Sync>("all", json!({"spec": {"ignore": "b[z-a]"}}))
        .await;
    let message = case.ready_becomes("all", "False", "InvalidSpec").await;
    assert_says(&message, &["spec.ignore, line 1: \"b[z-a]\"", "stays live"]);
    case.has("b", "value", Some("one")).await;

    // All left out: nothing is pruned either.
    case.patch::<Sync>("all", json!({"spec": {"ignore": "*"}}))
        .await;
    let message = case.ready_becomes("all", "False", "EmptyRender").await;
    assert_says(&message, &["spec.ignore"]);
    case.has("b", "value", Some("one")).await;
}

#[tokio::test]
async fn the_brake_holds_what_a_pattern_would_prune() {
    let case = world().await.case("ignoring-much").await;
    let files: Vec<(String, Option<String>)> = (0..12)
        .map(|number| {
            let name = format!("m{number}");
            (format!("{name}.yaml"), Some(case.map(&name, "one")))
        })
        .collect();
    let commit = case.repo.commit(&files, "twelve");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    leave_out_of_source(&case, "*\n!m1*.yaml").await;
    let message = case.ready_becomes("all", "False", "PruneHeld").await;
    assert_says(&message, &["would delete 9 of 12 objects"]);
    case.has("m2", "value", Some("one")).await;
    leave_out_of_source(&case, "m2.yaml").await;
    case.has("m2", "value", None).await;
    let sync = case.synced("all", &commit).await;
    assert_eq!(condition(&sync, "Ready").0, "True");
    case.has("m3", "value", Some("one")).await;
}
