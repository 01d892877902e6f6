//! A restart of the operator and a change of the leader: nothing is lost, and nothing is told twice.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use towline::api::Alert;

use super::{alert, make_secret, provider};
use crate::world::election::{ELECTION, leads, standby};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, World, config_map};
use towline_testing::control_plane::Options;
use towline_testing::recorder::{Answer, Recorder};
use towline_testing::wait::{PATIENCE, eventually, never};

const TWO_SECONDS: Duration = Duration::from_secs(2);

async fn change(case: &Case<'_>, value: &str) -> String {
    let text = config_map("a", &case.namespace, value);
    case.push(&[("a.yaml", Some(&text))], value).await
}

/// How often each notice was delivered: by reason, state and commit.
fn counts(service: &Recorder) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in service.requests() {
        let body = &request.body;
        let key = format!("{} {} {}", body["reason"], body["state"], body["commit"]);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

async fn told(service: &Recorder, reason: &str, state: &str, commit: &str) {
    let key = format!("{:?} {:?} {:?}", reason, state, commit);
    eventually(&key, PATIENCE, async || {
        let all = counts(service);
        all.contains_key(&key)
            .then_some(())
            .ok_or(format!("{all:#?}"))
    })
    .await;
}

/// The service is away while the operator is killed: the next run tells what the killed one could not.
#[tokio::test]
async fn what_a_killed_operator_could_not_tell_is_told_by_the_next() {
    let mut world = World::own(Options::default(), &[]).await;
    let service = Recorder::start();
    let (repo, second) = {
        let case = world.case("restart").await;
        let text = config_map("a", &case.namespace, "zero");
        let first = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
        let spec = json!({"type": "generic", "address": service.url("/")});
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "1ms"})).await;
        case.repository(json!({"sync": {"prune": true}})).await;
        told(&service, "Converged", "news", &first).await;
        // The record is written after the message.
        eventually("the record", PATIENCE, async || {
            let alert: Alert = case.api().get("alert").await.unwrap();
            (alert.status.unwrap_or_default().told.len() >= 2).then_some(())
        })
        .await;
        service.answer(Answer::Hang);
        let second = change(&case, "one").await;
        case.synced("repo", &second).await;
        (case.repo, second)
    };
    world.operator.kill();
    let before = service.requests().len();
    service.answer(Answer::Status(200, ""));
    world.operator.restart().await;
    assert_eq!(repo.resolve("main").as_ref(), Some(&second));
    eventually("both notices", PATIENCE, async || {
        let later = service.requests().split_off(before);
        let has = |reason: &str| {
            later.iter().any(|request| {
                request.body["reason"] == reason && request.body["commit"] == json!(second)
            })
        };
        (has("Converged") && has("ChangeCommitted"))
            .then_some(())
            .ok_or(format!("{later:#?}"))
    })
    .await;
    let more = async || {
        let later = service.requests().split_off(before);
        (later.len() > 2).then_some(later)
    };
    never("a third message", TWO_SECONDS, more).await;
}

/// Messages wait for more notices. A stop does not wait with them.
#[tokio::test]
async fn an_operator_that_stops_tells_what_waits() {
    let mut world = World::own(Options::default(), &[]).await;
    let service = Recorder::start();
    let (repo, commit) = {
        let case = world.case("stop").await;
        let text = config_map("a", &case.namespace, "zero");
        let commit = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
        let spec = json!({"type": "generic", "address": service.url("/")});
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "10m"})).await;
        case.repository(json!({"sync": {"prune": true}})).await;
        case.synced("repo", &commit).await;
        let edit = json!({"data": {"value": "person"}});
        case.patch::<ConfigMap>("a", edit).await;
        case.has("a", "value", Some("zero")).await;
        told(&service, "ChangeCommitted", "news", &commit).await;
        // The notice follows the correction.
        tokio::time::sleep(TWO_SECONDS).await;
        (case.repo, commit)
    };
    assert_eq!(repo.resolve("main").as_ref(), Some(&commit));
    let early = counts(&service);
    assert_eq!(early.len(), 1, "{early:#?}");
    world.operator.terminate(Duration::from_secs(20));
    told(&service, "Converged", "news", &commit).await;
    told(&service, "DriftCorrected", "news", &commit).await;
    let before = service.requests().len();
    world.operator.restart().await;
    let more = async || (service.requests().len() > before).then_some(());
    never("a message that was told", TWO_SECONDS, more).await;
}

/// The leader hands over between two commits, and while a problem is open.
#[tokio::test]
async fn a_change_of_the_leader_tells_nothing_twice() {
    let mut world = World::own(Options::default(), &ELECTION).await;
    leads(&world.operator).await;
    let second = standby(&world).await;
    let service = Recorder::start();
    let (repo, namespace, first, bad) = {
        let case = world.case("leaders").await;
        let text = config_map("a", &case.namespace, "zero");
        let first = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
        let spec = json!({"type": "generic", "address": service.url("/")});
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "1ms"})).await;
        case.repository(json!({"sync": {"prune": true}})).await;
        told(&service, "Converged", "news", &first).await;
        let bad = case.push(&[("a.yaml", Some("kind: ["))], "bad").await;
        told(&service, "ChangeCommitted", "news", &bad).await;
        eventually("the problem", PATIENCE, async || {
            let alert: Alert = case.api().get("alert").await.unwrap();
            (alert.status.unwrap_or_default().open_problems == Some(1)).then_some(())
        })
        .await;
        (case.repo, case.namespace, first, bad)
    };
    world.operator.terminate(Duration::from_secs(20));
    leads(&second).await;
    let case = Case {
        repo,
        client: world.cp.client().await,
        world: &world,
        namespace,
    };
    let good = change(&case, "two").await;
    told(&service, "Converged", "ends", &good).await;
    let all = counts(&service);
    assert!(all.values().all(|count| *count == 1), "{all:#?}");
    let committed =
        [&first, &bad, &good].map(|commit| format!("\"ChangeCommitted\" \"news\" {commit:?}"));
    assert!(
        committed.iter().all(|key| all.contains_key(key)),
        "{all:#?}"
    );
}

/// A commit waits for its health while the leader hands over, and one that changes nothing comes meanwhile.
#[tokio::test]
async fn a_change_of_the_leader_repeats_no_commit_status() {
    let mut world = World::own(Options::default(), &[]).await;
    let service = Recorder::start();
    let (repo, namespace, good, slow) = {
        let mut case = world.case("statuses").await;
        case.repo = world.git.repo_of("team", &case.namespace);
        make_secret(&case, "token", json!({"token": "t0ken"})).await;
        let spec = json!({
            "type": "github", "address": service.url(""), "secretRef": {"name": "token"},
        });
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "1ms"})).await;
        let text = config_map("b", &case.namespace, "one");
        let web = deployment("web", &case.namespace, UNSCHEDULABLE);
        let good = case.repo.commit(&[("b/b.yaml", Some(&text))], "good");
        case.repository(json!({})).await;
        case.sync("b", json!({"path": "b"})).await;
        has_set(&service, &good, &["success"]).await;
        let slow = case.push(&[("a/web.yaml", Some(&web))], "slow").await;
        case.synced("b", &slow).await;
        case.sync("a", json!({"path": "a", "wait": true})).await;
        has_set(&service, &slow, &["pending"]).await;
        eventually("the record", PATIENCE, async || {
            let alert: Alert = case.api().get("alert").await.unwrap();
            let open = alert.status.unwrap_or_default().open;
            let mut reasons = open.iter().map(|problem| &*problem.reason);
            reasons.any(|reason| reason == "Progressing").then_some(())
        })
        .await;
        (case.repo, case.namespace, good, slow)
    };
    world.operator.kill();
    let words = repo.commit(&[("README.md", Some("words"))], "words");
    world.operator.restart().await;
    let case = Case {
        repo,
        client: world.cp.client().await,
        world: &world,
        namespace,
    };
    case.announce().await;
    case.synced("b", &words).await;
    let more = async || (service.requests().len() > 2).then(|| service.requests());
    never("a third status", 2 * TWO_SECONDS, more).await;
    // The one that waits is replaced. Its status comes with that of the next.
    let text = config_map("a", &case.namespace, "one");
    let next = case
        .push(&[("a/web.yaml", None), ("a/a.yaml", Some(&text))], "next")
        .await;
    has_set(&service, &slow, &["pending", "success"]).await;
    has_set(&service, &good, &["success"]).await;
    eventually("the next", PATIENCE, async || {
        let found = set(&service, &next);
        (found.last().map(String::as_str) == Some("success"))
            .then_some(())
            .ok_or(found)
    })
    .await;
    let text = &config_map("b", &case.namespace, "two");
    let last = case.push(&[("b/b.yaml", Some(text))], "last").await;
    has_set(&service, &last, &["success"]).await;
}

/// The host has the status, and the operator is killed before it knows that. Meanwhile a newer commit comes.
#[tokio::test]
async fn a_commit_that_was_told_and_not_recorded_does_not_stay_pending() {
    let mut world = World::own(Options::default(), &[]).await;
    let service = Recorder::start();
    let (parts, slow) = {
        let mut case = world.case("unrecorded").await;
        case.repo = world.git.repo_of("team", &case.namespace);
        make_secret(&case, "token", json!({"token": "t0ken"})).await;
        let spec = json!({
            "type": "github", "address": service.url(""), "secretRef": {"name": "token"},
        });
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "1ms"})).await;
        let text = config_map("a", &case.namespace, "one");
        let good = case.repo.commit(&[("a.yaml", Some(&text))], "good");
        case.repository(json!({})).await;
        case.sync("a", json!({"wait": true})).await;
        has_set(&service, &good, &["success"]).await;
        service.answer(Answer::Hang);
        let web = deployment("web", &case.namespace, UNSCHEDULABLE);
        let slow = case.push(&[("web.yaml", Some(&web))], "slow").await;
        has_set(&service, &slow, &["pending"]).await;
        (case.into_parts(), slow)
    };
    world.operator.kill();
    let text = config_map("a", &parts.0, "two");
    let files = [("web.yaml", None), ("a.yaml", Some(&*text))];
    let next = parts.1.commit(&files, "next");
    service.heal();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.announce().await;
    for commit in [&next, &slow] {
        eventually("the last status", PATIENCE, async || {
            let found = set(&service, commit);
            let is_over = found.last().map(String::as_str) == Some("success");
            is_over.then_some(()).ok_or(found)
        })
        .await;
    }
}

/// The service has the message, and the operator is killed before it knows that.
#[tokio::test]
async fn a_message_that_was_told_and_not_recorded_has_the_same_id_again() {
    let mut world = World::own(Options::default(), &[]).await;
    let service = Recorder::start();
    let (parts, second) = {
        let case = world.case("told-again").await;
        let text = config_map("a", &case.namespace, "zero");
        let first = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
        let spec = json!({"type": "generic", "address": service.url("/")});
        provider(&case, "provider", spec).await;
        let reasons = json!(["Converged", "InvalidManifest"]);
        alert(&case, json!({"groupWait": "1ms", "reasons": reasons})).await;
        case.repository(json!({"sync": {"prune": true}})).await;
        told(&service, "Converged", "news", &first).await;
        eventually("the record", PATIENCE, async || {
            let alert: Alert = case.api().get("alert").await.unwrap();
            let status = alert.status.unwrap_or_default();
            (!status.told.is_empty()).then_some(())
        })
        .await;
        service.answer(Answer::Hang);
        let second = case.push(&[("b.yaml", Some("kind: ["))], "bad").await;
        told(&service, "InvalidManifest", "begins", &second).await;
        (case.into_parts(), second)
    };
    world.operator.kill();
    service.heal();
    world.operator.restart().await;
    let ids = async || {
        let all = service.requests();
        let theirs = all
            .iter()
            .filter(|request| request.body["commit"] == json!(second));
        theirs
            .map(|request| request.body["id"].clone())
            .collect::<Vec<_>>()
    };
    eventually("the message again", PATIENCE, async || {
        let ids = ids().await;
        (ids.len() == 2 && ids[0] == ids[1] && ids[0].is_string())
            .then_some(())
            .ok_or(ids)
    })
    .await;
    let case = world.resume(parts).await;
    case.announce().await;
    let more = async || {
        let ids = ids().await;
        (ids.len() > 2).then_some(ids)
    };
    never("a third message", TWO_SECONDS, more).await;
}

/// The service is away when the leader hands over. Messages wait for it, and the next leader tells each once.
#[tokio::test]
async fn what_waits_for_a_service_that_is_away_is_told_by_the_next_leader() {
    let mut world = World::own(Options::default(), &ELECTION).await;
    leads(&world.operator).await;
    let mut second = standby(&world).await;
    let service = Recorder::start();
    let (parts, commits) = {
        let case = world.case("away").await;
        let text = config_map("a", &case.namespace, "zero");
        let first = case.repo.commit(&[("a.yaml", Some(&text))], "zero");
        let spec = json!({"type": "generic", "address": service.url("/")});
        provider(&case, "provider", spec).await;
        alert(&case, json!({"groupWait": "1ms"})).await;
        case.repository(json!({"sync": {"prune": true}})).await;
        told(&service, "Converged", "news", &first).await;
        service.answer(Answer::Status(503, ""));
        let mut commits = Vec::new();
        for value in ["one", "two", "three"] {
            let commit = change(&case, value).await;
            case.synced("repo", &commit).await;
            commits.push(commit);
        }
        (case.into_parts(), commits)
    };
    world.operator.terminate(Duration::from_secs(30));
    leads(&second).await;
    std::mem::swap(&mut world.operator, &mut second);
    let before = service.requests().len();
    service.heal();
    let later = || service.requests().split_off(before);
    for commit in &commits {
        eventually("the commit converged", 2 * PATIENCE, async || {
            let found = later();
            let is = |body: &serde_json::Value| {
                body["reason"] == "Converged" && body["commit"] == json!(commit)
            };
            found
                .iter()
                .any(|request| is(&request.body))
                .then_some(())
                .ok_or(format!("{found:#?}"))
        })
        .await;
    }
    let case = world.resume(parts).await;
    case.announce().await;
    let twice = async || {
        let mut ids: Vec<_> = later()
            .iter()
            .map(|one| one.body["id"].to_string())
            .collect();
        ids.sort();
        ids.windows(2)
            .any(|two| two[0] == two[1])
            .then(|| format!("{:#?}", later()))
    };
    never("a message twice", TWO_SECONDS, twice).await;
}

/// The states that a commit got, in their order.
fn set(service: &Recorder, commit: &str) -> Vec<String> {
    let all = service.requests();
    let theirs = all.iter().filter(|request| request.line.contains(commit));
    theirs
        .map(|request| {
            request.body["state"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

async fn has_set(service: &Recorder, commit: &str, wanted: &[&str]) {
    eventually(&format!("{commit}: {wanted:?}"), PATIENCE, async || {
        let found = set(service, commit);
        (found == wanted)
            .then_some(())
            .ok_or_else(|| format!("{found:?}: {:#?}", service.requests()))
    })
    .await;
}
