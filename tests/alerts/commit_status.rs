//! The statuses of commits on Git hosts: of which commits, in which order, and what is said when the host does not take
//! them. The host is a recorder that answers as the documented API does.

use std::time::Duration;

use serde_json::{Value, json};
use towline::api::{Alert, Provider, Sync};

use super::{alert, becomes, make_secret, provider};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, config_map, world};
use towline_testing::recorder::{Answer, Recorded, Recorder};
use towline_testing::wait::{PATIENCE, eventually, never};

const TOKEN: &str = "ghp_s3cretToken0123456789";
const QUIET: Duration = Duration::from_secs(4);

/// What the API of GitHub answers to a request.
fn github(request: &Recorded) -> Answer {
    let parts: Vec<&str> = request.line.split(' ').collect();
    let path: Vec<&str> = parts[1].trim_start_matches('/').split('/').collect();
    let is_commit = |sha: &str| sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit());
    let body = &request.body;
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let bad = |what: &str| Answer::Json(422, json!({"message": what}).to_string());
    match path[..] {
        _ if request.header("authorization") != format!("Bearer {TOKEN}") => {
            Answer::Json(401, r#"{"message": "Bad credentials"}"#.to_owned())
        }
        ["api", "v3", "repos", "team", _, "statuses", sha] if parts[0] == "POST" => match () {
            () if !is_commit(sha) => bad("no commit found"),
            () if request.header("accept") != "application/vnd.github+json" => bad("accept"),
            () if request.header("content-type") != "application/json" => bad("content-type"),
            () if request.header("user-agent").is_empty() => bad("user-agent"),
            () if !["error", "failure", "pending", "success"].contains(&text("state")) => {
                bad("state")
            }
            () if text("description").chars().count() > 140 => bad("description"),
            () if text("context").is_empty() || text("context").len() > 255 => bad("context"),
            () => Answer::Json(201, json!({"state": body["state"]}).to_string()),
        },
        _ => Answer::Json(404, r#"{"message": "Not Found"}"#.to_owned()),
    }
}

/// A case whose repository has an owner and a name, as those of Git hosts have.
async fn hosted(name: &str) -> Case<'static> {
    let world = world().await;
    let mut case = world.case(name).await;
    case.repo = world.git.repo_of("team", &case.namespace);
    case
}

/// GitHub at a recorder, and an Alert to it.
async fn on_github(case: &Case<'_>, more: Value) -> Recorder {
    let host = Recorder::start();
    host.judge(github);
    make_secret(case, "token", json!({"token": TOKEN})).await;
    let spec = json!({
        "type": "github", "address": host.url("/api/v3"), "secretRef": {"name": "token"},
    });
    provider(case, "provider", spec).await;
    alert(case, more).await;
    becomes::<Alert>(case, "alert", "True", "Delivering").await;
    host
}

/// The states that a commit got for a Sync, in their order.
fn states(host: &Recorder, case: &Case<'_>, sync: &str, commit: &str) -> Vec<String> {
    let context = format!("towline/eu-1/{}/{sync}", case.namespace);
    let path = format!("/repos/team/{}/statuses/{commit} ", case.namespace);
    let all = host.requests();
    let theirs = all.iter().filter(|request| {
        request.line.contains(&path) && request.body["context"] == json!(context)
    });
    theirs
        .map(|request| {
            request.body["state"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

async fn has_states(host: &Recorder, case: &Case<'_>, sync: &str, commit: &str, wanted: &[&str]) {
    let what = format!("{sync} at {commit}: {wanted:?}");
    eventually(&what, PATIENCE, async || {
        let found = states(host, case, sync, commit);
        match found == wanted {
            true => Ok(()),
            false => Err(format!("{found:?} of {:#?}", host.requests())),
        }
    })
    .await;
}

fn description(host: &Recorder, commit: &str, state: &str) -> String {
    let all = host.requests();
    let mut theirs = all
        .iter()
        .filter(|request| request.line.contains(commit) && request.body["state"] == json!(state));
    let found = theirs
        .next()
        .map(|request| request.body["description"].clone());
    found
        .and_then(|text| text.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn map(case: &Case<'_>, name: &str, value: &str) -> String {
    config_map(name, &case.namespace, value)
}

/// Two Syncs, `a` and `b`, each with a folder of its name.
async fn two_syncs(case: &Case<'_>) -> String {
    let (a, b) = (map(case, "a", "one"), map(case, "b", "one"));
    let first = case
        .repo
        .commit(&[("a/a.yaml", Some(&a)), ("b/b.yaml", Some(&b))], "one");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.sync("b", json!({"path": "b"})).await;
    case.synced("a", &first).await;
    case.synced("b", &first).await;
    first
}

#[tokio::test]
async fn a_commit_has_the_status_of_the_syncs_whose_content_it_changed() {
    let case = hosted("commit-status").await;
    let host = on_github(&case, json!({"groupWait": "2s"})).await;
    let first = two_syncs(&case).await;
    has_states(&host, &case, "a", &first, &["success"]).await;
    has_states(&host, &case, "b", &first, &["success"]).await;
    let changed = map(&case, "a", "two");
    let second = case.push(&[("a/a.yaml", Some(&changed))], "two").await;
    has_states(&host, &case, "a", &second, &["success"]).await;
    case.synced("b", &second).await;
    let third = case.push(&[("README.md", Some("words"))], "words").await;
    case.synced("a", &third).await;
    case.synced("b", &third).await;
    let more = async || {
        let all = host.requests();
        let of_b = !states(&host, &case, "b", &second).is_empty();
        let of_third = all.iter().any(|request| request.line.contains(&third));
        (of_b || of_third || all.len() > 3).then_some(all)
    };
    never("a status of what did not change", QUIET, more).await;
    becomes::<Provider>(&case, "provider", "True", "Delivering").await;
    let text = description(&host, &second, "success");
    assert!(
        text.contains(&second[..12]) && !text.contains(&second),
        "{text}"
    );
}

#[tokio::test]
async fn a_commit_that_takes_long_is_pending_first() {
    let case = hosted("commit-pending").await;
    let host = on_github(&case, json!({"groupWait": "1ms"})).await;
    // Nothing runs it: it stays unready until a person says that it is.
    let text = deployment("web", &case.namespace, UNSCHEDULABLE);
    let first = case.repo.commit(&[("a/web.yaml", Some(&text))], "web");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "wait": true})).await;
    has_states(&host, &case, "a", &first, &["pending"]).await;
    // The next commit replaces it before it is live. Both have the fate of the second one.
    let text = map(&case, "a", "one");
    let second = case
        .push(&[("a/web.yaml", None), ("a/a.yaml", Some(&text))], "no web")
        .await;
    has_states(&host, &case, "a", &first, &["pending", "success"]).await;
    let found = states(&host, &case, "a", &second);
    assert_eq!(
        found.last().map(String::as_str),
        Some("success"),
        "{found:?}"
    );
    let text = description(&host, &first, "success");
    let by = format!("superseded by {}", &second[..12]);
    assert!(text.starts_with(&by), "{text}");
}

#[tokio::test]
async fn a_failure_has_its_reason_and_the_revert_succeeds() {
    let case = hosted("commit-failure").await;
    let host = on_github(&case, json!({"groupWait": "1ms"})).await;
    two_syncs(&case).await;
    let bad = case.push(&[("a/a.yaml", Some("kind: ["))], "bad").await;
    has_states(&host, &case, "a", &bad, &["failure"]).await;
    let text = description(&host, &bad, "failure");
    assert!(
        text.starts_with("InvalidManifest: ") && text.contains("a.yaml"),
        "{text}"
    );
    // Another commit does not touch it: nothing is said of it, and the Sync still fails.
    let words = case.push(&[("README.md", Some("words"))], "words").await;
    case.synced("b", &words).await;
    // A second try that is as wrong is told.
    let worse = case.push(&[("a/a.yaml", Some("kind: [ "))], "worse").await;
    has_states(&host, &case, "a", &worse, &["failure"]).await;
    let good = map(&case, "a", "one");
    let revert = case.push(&[("a/a.yaml", Some(&good))], "revert").await;
    has_states(&host, &case, "a", &revert, &["success"]).await;
    case.announce().await;
    let all_as_before = async || {
        let is_more = states(&host, &case, "a", &bad).len() > 1
            || states(&host, &case, "a", &revert).len() > 1
            || !states(&host, &case, "a", &words).is_empty()
            || !states(&host, &case, "b", &bad).is_empty();
        is_more.then(|| host.requests())
    };
    never("a status that is not due", QUIET, all_as_before).await;
    let log = case.world.operator.log();
    assert!(!log.contains(TOKEN), "the token is in the log");
}

#[tokio::test]
async fn what_the_host_says_is_in_the_condition_and_the_status_comes_later() {
    let case = hosted("commit-refused").await;
    let host = on_github(&case, json!({"groupWait": "1ms"})).await;
    two_syncs(&case).await;
    case.patch::<Provider>("provider", json!({"spec": {"timeout": "1s"}}))
        .await;
    let cases = [
        (
            Answer::Status(401, ""),
            "refuses the credentials (HTTP status 401)",
        ),
        (
            Answer::Status(403, ""),
            "give the token the right to write them (HTTP status 403)",
        ),
        (
            Answer::Status(404, ""),
            "does not know the repository or the commit",
        ),
        (
            Answer::Status(422, ""),
            "does not know the commit, or refuses the status",
        ),
        (
            Answer::Status(301, "Location: http://localhost:1/x\r\n"),
            "it redirects",
        ),
        (Answer::Status(429, "Retry-After: 1\r\n"), "HTTP status 429"),
        (
            Answer::Status(403, "Retry-After: 1\r\n"),
            "no more requests now (HTTP status 403)",
        ),
        (
            Answer::Long(500, 1 << 20),
            "a problem of its own (HTTP status 500)",
        ),
        (Answer::Hang, "did not answer within 1 s"),
    ];
    for (number, (answer, said)) in cases.into_iter().enumerate() {
        host.answer(answer);
        let text = map(&case, "a", &format!("case-{number}"));
        let commit = case.push(&[("a/a.yaml", Some(&text))], said).await;
        let message = eventually(said, PATIENCE, async || {
            let message = becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
            message
                .contains(said)
                .then_some(message.clone())
                .ok_or(message)
        })
        .await;
        assert!(!message.contains(TOKEN), "{message}");
        let message = becomes::<Provider>(&case, "provider", "False", "DeliveryFailed").await;
        assert!(!message.contains(TOKEN), "{message}");
        host.heal();
        eventually("the status", PATIENCE, async || {
            let all = host.requests();
            let last = all.iter().rfind(|request| request.line.contains(&commit));
            let is_set =
                last.is_some_and(|request| matches!(github(request), Answer::Json(201, _)));
            let ready = becomes::<Alert>(&case, "alert", "True", "Delivering");
            is_set.then_some(()).ok_or(format!("{all:#?}"))?;
            ready.await;
            Ok::<_, String>(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_repository_of_another_host_is_named_and_holds_up_no_other() {
    let case = hosted("commit-host").await;
    let host = on_github(&case, json!({"groupWait": "1ms"})).await;
    two_syncs(&case).await;
    // The same repository, by another name of this machine.
    let url = case.repo.url().replace("127.0.0.1", "localhost");
    case.repository_named("elsewhere", json!({"url": url}))
        .await;
    case.sync(
        "c",
        json!({"path": "a", "sourceRef": {"name": "elsewhere"}, "mode": "Report"}),
    )
    .await;
    let said = "its repository is on localhost, and the Provider is for 127.0.0.1";
    let message = eventually(said, PATIENCE, async || {
        let message = becomes::<Alert>(&case, "alert", "False", "DeliveryFailed").await;
        message
            .contains(said)
            .then_some(message.clone())
            .ok_or(message)
    })
    .await;
    assert!(
        message.contains(&format!("Sync {}/c", case.namespace)),
        "{message}"
    );
    let text = map(&case, "b", "two");
    let commit = case.push(&[("b/b.yaml", Some(&text))], "two").await;
    has_states(&host, &case, "b", &commit, &["success"]).await;
    let hosts = json!({"spec": {"repositoryHosts": ["localhost"]}});
    case.patch::<Provider>("provider", hosts).await;
    becomes::<Alert>(&case, "alert", "True", "Delivering").await;
}

#[tokio::test]
async fn a_sync_that_is_deleted_leaves_no_commit_pending() {
    let case = hosted("commit-deleted").await;
    let host = on_github(&case, json!({"groupWait": "1ms"})).await;
    let text = deployment("web", &case.namespace, UNSCHEDULABLE);
    let first = case.repo.commit(&[("a/web.yaml", Some(&text))], "web");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "wait": true})).await;
    has_states(&host, &case, "a", &first, &["pending"]).await;
    case.delete::<Sync>("a").await;
    let what = "the end";
    eventually(what, 2 * PATIENCE, async || {
        let found = states(&host, &case, "a", &first);
        (found == ["pending", "error"]).then_some(()).ok_or(found)
    })
    .await;
    let text = description(&host, &first, "error");
    assert!(text.contains("deleted"), "{text}");
}

#[tokio::test]
async fn a_commit_that_was_pinned_away_has_failed() {
    let case = hosted("commit-pinned").await;
    let host = on_github(&case, json!({"groupWait": "1s"})).await;
    let first = two_syncs(&case).await;
    let bad = map(&case, "a", "bad");
    let second = case.push(&[("a/a.yaml", Some(&bad))], "bad").await;
    has_states(&host, &case, "a", &second, &["success"]).await;
    let pin = json!({
        "towline.dev/pin": format!("main@sha1:{first}"),
        "towline.dev/pinned-away": format!("main@sha1:{second}"),
        "towline.dev/pinned-by": "anna",
    });
    case.patch::<Sync>("a", json!({"metadata": {"annotations": pin}}))
        .await;
    case.synced("a", &first).await;
    has_states(&host, &case, "a", &second, &["success", "failure"]).await;
    let said = description(&host, &second, "failure");
    assert!(said.starts_with("Pinned: held at main@sha1:"), "{said}");
    let fixed = map(&case, "a", "fixed");
    let fix = case.push(&[("a/a.yaml", Some(&fixed))], "fix").await;
    has_states(&host, &case, "a", &fix, &["success"]).await;
    has_states(&host, &case, "a", &second, &["success", "failure"]).await;
}
