//! Whatever a commit says, the status is written, and no request is repeated for it.

use std::time::Duration;

use serde_json::json;
use towline::api::{Alert, GitRepository, Provider, Sync};

use crate::world::policy::Rule;
use crate::world::{Case, PATIENCE, condition, world};
use towline_testing::repo::{Change, NewCommit, git};
use towline_testing::wait::eventually;

/// The most bytes of a line of the log.
const LINE: usize = 17 * 1024;

async fn started(name: &str) -> Case<'static> {
    let files = async |namespace: &str| {
        let map = crate::world::config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    Case::started(world().await, name, files, json!({})).await.0
}

/// Waits until the GitRepository reports a commit.
async fn fetched(case: &Case<'_>, commit: &str) {
    eventually("the GitRepository reports it", PATIENCE, async || {
        let status = case.live::<GitRepository>("repo").await["status"].take();
        let revision = status["revision"].as_str().unwrap_or_default();
        revision.ends_with(commit).then_some(()).ok_or(status)
    })
    .await;
}

/// How often the log says that a status of this namespace could not be written.
fn failures(case: &Case<'_>) -> usize {
    let log = case.world.operator.log();
    let failed =
        |line: &&str| line.contains("writing the status") && line.contains(&case.namespace);
    log.lines().filter(failed).count()
}

fn no_line_is_long(case: &Case<'_>) {
    let log = case.world.operator.log();
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest <= LINE, "a line of {longest} bytes");
}

/// Commits `tree` with a raw header, and tells towline.
async fn push_raw(case: &Case<'_>, tree: &str, when: &str) -> String {
    let parent = case.repo.resolve("main").unwrap();
    let commit = format!(
        "tree {tree}\nparent {parent}\nauthor {author} <a@b> {when}\ncommitter x <x@y> {when}\n\n{message}\n",
        author = "A".repeat(100_000),
        message = "m".repeat(100_000),
    );
    let args = [
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--stdin",
        "--literally",
    ];
    let id = git(case.repo.path(), &args, commit.as_bytes());
    let id = id.trim().to_owned();
    case.repo.update_ref("refs/heads/main", &id);
    case.announce().await;
    id
}

#[tokio::test]
async fn a_commit_of_any_date_author_and_message_is_reported() {
    let case = started("dates").await;
    for (number, when) in [
        "-62200000000 +0000",
        "-9223372036854775808 +0000",
        "253402300800 +0000",
        "9223372036854775807 +0000",
        "0 +0000",
    ]
    .iter()
    .enumerate()
    {
        let value = format!("number {number}");
        let file = case.map("a", &value);
        let ordinary = case.repo.commit_with(NewCommit {
            changes: &[("a.yaml", Change::Write(&file))],
            ..NewCommit::default()
        });
        let tree = git(
            case.repo.path(),
            &["rev-parse", &format!("{ordinary}^{{tree}}")],
            &[],
        );
        let commit = push_raw(&case, tree.trim(), when).await;
        fetched(&case, &commit).await;
        case.synced("all", &commit).await;
        case.has("a", "value", Some(&value)).await;
    }
    let last = case
        .push(&[("a.yaml", Some(&case.map("a", "last")))], "ordinary")
        .await;
    fetched(&case, &last).await;
    let sync = case.synced("all", &last).await;
    assert_eq!(sync.status.unwrap().history.len(), 7);
    assert_eq!(failures(&case), 0);
    no_line_is_long(&case);
}

#[tokio::test]
async fn a_path_of_any_length_and_names_of_any_length_are_reported() {
    let case = started("long").await;
    let folder = case.repo.path();
    let services: Vec<String> = (0..10)
        .map(|number| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {number}{}, namespace: {}}}\n\
                 spec: {{ports: [{{port: 0}}]}}\n",
                "n".repeat(200),
                case.namespace
            )
        })
        .collect();
    let input = services.join("---\n");
    let blob = git(folder, &["hash-object", "-w", "--stdin"], input.as_bytes());
    let mut tree = git(
        folder,
        &["mktree"],
        format!("100644 blob {}\tx.yaml\n", blob.trim()).as_bytes(),
    );
    for _ in 0..3 {
        let entry = format!("040000 tree {}\t{}\n", tree.trim(), "d".repeat(60_000));
        tree = git(folder, &["mktree"], entry.as_bytes());
    }
    let commit = push_raw(&case, tree.trim(), "1700000000 +0000").await;
    fetched(&case, &commit).await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.len() <= 2048, "{}", message.len());
    let sync = case.live::<Sync>("all").await;
    let status = &sync["status"];
    let attempted = status["lastAttemptedRevision"].as_str().unwrap_or_default();
    assert!(attempted.ends_with(&commit), "{attempted}");
    assert_eq!(status["failures"].as_array().map(Vec::len), Some(10));
    assert!(status.to_string().len() < 64 * 1024);
    assert_eq!(failures(&case), 0);
    no_line_is_long(&case);
    let last = case.repo.commit_with(NewCommit {
        changes: &[("a.yaml", Change::Write(&case.map("a", "last")))],
        parent: towline_testing::repo::Parent::None,
        ..NewCommit::default()
    });
    case.announce().await;
    case.synced("all", &last).await;
}

/// Rules that refuse the statuses of Syncs and of GitRepositories for which these do not hold.
const fn of_statuses(syncs: &'static str, repositories: &'static str) -> [Rule; 2] {
    const NONE: Rule = Rule {
        name: "",
        group: "towline.dev",
        resource: "",
        operations: &["UPDATE"],
        expression: "",
        message: "this status is not wanted",
    };
    [
        Rule {
            name: "syncs",
            resource: "syncs/status",
            expression: syncs,
            ..NONE
        },
        Rule {
            name: "gitrepositories",
            resource: "gitrepositories/status",
            expression: repositories,
            ..NONE
        },
    ]
}

#[tokio::test]
async fn a_status_that_the_api_server_refuses_is_written_in_short_and_told() {
    const REFUSED: [Rule; 2] = of_statuses(
        "!has(object.status.lastAppliedRevision) || object.status.lastAppliedRevision == null",
        "!has(object.status.revision) || object.status.revision == null",
    );
    let case = started("refused").await;
    for rule in &REFUSED {
        case.rule(rule).await;
    }
    // A policy is in force some moments after it was made.
    tokio::time::sleep(Duration::from_secs(3)).await;
    case.push(&[("a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.has("a", "value", Some("second")).await;
    let what = "the conditions, in short";
    let sync = case
        .until("all", what, |sync| {
            condition(sync, "Ready")
                .2
                .contains("this status is not wanted")
        })
        .await;
    assert_eq!(condition(&sync, "Ready").0, "True");
    case.wait_for_event("StatusRefused", &["this status is not wanted"])
        .await;
    eventually("the GitRepository says so as well", PATIENCE, async || {
        let status = case.live::<GitRepository>("repo").await["status"].take();
        let message = status["conditions"][0]["message"]
            .as_str()
            .unwrap_or_default();
        let right = message.contains("this status is not wanted");
        right.then_some(()).ok_or(status)
    })
    .await;
    // One of each resource.
    eventually("both refusals are events", PATIENCE, async || {
        let told = case.events("StatusRefused").await.len();
        (told == 2).then_some(()).ok_or(told)
    })
    .await;
    let version = async || {
        let sync = case.live::<Sync>("all").await["metadata"].take();
        sync["resourceVersion"].clone()
    };
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        version().await,
        before,
        "nothing is written again and again"
    );
    assert_eq!(case.events("StatusRefused").await.len(), 2);
    assert_eq!(failures(&case), 0);

    for rule in &REFUSED {
        case.without_rule(rule).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let third = case
        .push(&[("a.yaml", Some(&case.map("a", "third")))], "third")
        .await;
    case.synced("all", &third).await;
    fetched(&case, &third).await;
}

#[tokio::test]
async fn a_status_that_is_refused_altogether_is_not_sent_in_a_loop() {
    const REFUSED: [Rule; 2] = of_statuses("false", "false");
    let case = started("refused-whole").await;
    for rule in &REFUSED {
        case.rule(rule).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = failures(&case);
    case.push(&[("a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.has("a", "value", Some("second")).await;
    eventually("the log says so", PATIENCE, async || {
        (failures(&case) > before).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let times = failures(&case) - before;
    assert!(times <= 12, "{times} tries of two resources in ten seconds");
    // No status says it, so that an event does: one for each resource.
    let told = case.events("StatusRefused").await;
    assert_eq!(told.len(), 2, "{told:?}");
    let says = ["refuses every status", "this status is not wanted"];
    case.wait_for_event("StatusRefused", &says).await;
    for rule in &REFUSED {
        case.without_rule(rule).await;
    }
    let second = case.repo.resolve("main").unwrap();
    case.synced("all", &second).await;
    fetched(&case, &second).await;
}

/// An Alert and a Provider say it as well: nobody else would hear that they stay as they were.
#[tokio::test]
async fn a_refused_status_of_an_alert_or_a_provider_is_told() {
    let rule = |name, resource| Rule {
        name,
        group: "towline.dev",
        resource,
        operations: &["UPDATE"],
        expression: "false",
        message: "this status is not wanted",
    };
    let rules = [
        rule("alerts", "alerts/status"),
        rule("providers", "providers/status"),
    ];
    let case = started("refused-alerts").await;
    for rule in &rules {
        case.rule(rule).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let address = "http://127.0.0.1:9/";
    case.make::<Provider>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Provider",
        "metadata": {"name": "chat"}, "spec": {"type": "generic", "address": address},
    }))
    .await;
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
        "metadata": {"name": "alert"},
        "spec": {"providerRef": {"name": "chat"}, "eventSources": [{"kind": "Sync", "name": "*"}]},
    }))
    .await;
    eventually("both refusals are events", PATIENCE, async || {
        let told = case.events("StatusRefused").await;
        let is_right = |note: &String| note.contains("this status is not wanted");
        let all = told.len() == 2 && told.iter().all(is_right);
        all.then_some(()).ok_or(told)
    })
    .await;
    for rule in &rules {
        case.without_rule(rule).await;
    }
    for kind in ["alert", "chat"] {
        eventually("the status is written", PATIENCE, async || {
            let status = match kind {
                "alert" => case.live::<Alert>(kind).await["status"].take(),
                _ => case.live::<Provider>(kind).await["status"].take(),
            };
            let conditions = status["conditions"].as_array().map(Vec::len);
            conditions.map(drop).ok_or(status)
        })
        .await;
    }
    assert_eq!(case.events("StatusRefused").await.len(), 2);
}
