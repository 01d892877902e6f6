//! Git servers that are down, slow or close connections. Applied objects stay, other repositories
//! continue, and towline recovers without a request when the outage ends.

use std::time::{Duration, Instant};

use serde_json::json;
use towline::api::Sync;

use crate::world::login::live;
use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, World, world};
use towline_testing::control_plane::{Component, Options};
use towline_testing::git::{Fault, GitServer};
use towline_testing::repo::Repo;

/// Makes the case's Sync follow a repository of `server`.
async fn follow(case: &Case<'_>, server: &GitServer, timeout: &str) -> (Repo, String) {
    let repo = server.repo(&case.namespace);
    let first = repo.commit(&[("a.yaml", Some(live(case, "one")))], "first");
    case.repository(json!({"url": repo.url(), "timeout": timeout}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    // The first fetch may have taken longer than the timeout, so this waits.
    repository_ready_becomes(case, "True", "Fetched").await;
    (repo, first)
}

/// While the server has a fault, a new commit is not fetched and the condition says why. After the fault
/// it is fetched.
async fn recovers_after(name: &str, fault: Fault, timeout: &str, says: &[&str]) {
    let case = world().await.case(name).await;
    let server = GitServer::start();
    let (repo, first) = follow(&case, &server, timeout).await;
    server.fail(fault);
    let second = repo.commit(&[("a.yaml", Some(live(&case, "two")))], "second");
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", "FetchFailed").await;
    let kept = format!("{first} stays live");
    assert_says(&message, &[repo.url(), &kept]);
    assert_says(&message, says);
    case.has("a", "value", Some("one")).await;
    server.heal();
    case.synced("all", &second).await;
    case.has("a", "value", Some("two")).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
}

#[tokio::test]
async fn a_server_that_fails_for_a_while() {
    let says = ["HTTP status 503"];
    recovers_after("outage-503", Fault::Status(503), "30s", &says).await;
}

#[tokio::test]
async fn a_server_that_closes_the_connection_early() {
    recovers_after("outage-cut", Fault::Cut, "30s", &["cannot fetch"]).await;
}

#[tokio::test]
async fn a_server_that_sends_too_slowly() {
    let says = ["took longer than 2s"];
    recovers_after("outage-drip", Fault::Drip, "2s", &says).await;
}

#[tokio::test]
async fn slow_servers_do_not_hold_up_others() {
    let world = world().await;
    let slow = GitServer::start();
    let mut waiting = Vec::new();
    for index in 0..3 {
        let case = world.case(&format!("slow-{index}")).await;
        let (repo, _) = follow(&case, &slow, "10m").await;
        repo.commit(&[("a.yaml", Some(live(&case, "two")))], "second");
        waiting.push(case);
    }
    slow.fail(Fault::Drip);
    for case in &waiting {
        case.announce().await;
    }
    let case = world.case("not-slow").await;
    let quick = GitServer::start();
    let (repo, _) = follow(&case, &quick, "30s").await;
    let second = repo.commit(&[("a.yaml", Some(live(&case, "two")))], "second");
    case.announce().await;
    case.synced("all", &second).await;
    // The slow downloads are still running.
    for case in &waiting {
        repository_ready_becomes(case, "True", "Fetched").await;
        case.has("a", "value", Some("one")).await;
    }
}

/// The watches are back within 3 seconds after an outage of the API server. The rest is for the work
/// itself, on a machine that has just started an API server.
const BACK_AT_WORK: Duration = Duration::from_secs(6);

/// The retry of kube's client alone would pause for 13 to 30 seconds after such an outage.
#[tokio::test]
async fn an_api_server_that_was_away() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("api-away").await;
    let files = [
        ("one/a.yaml", Some(case.map("a", "one"))),
        ("two/b.yaml", Some(case.map("b", "two"))),
    ];
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "one"})).await;
    case.synced("all", &commit).await;
    let parts = case.into_parts();
    world.control_plane_mut().kill(Component::ApiServer);
    tokio::time::sleep(Duration::from_secs(20)).await;
    world
        .control_plane_mut()
        .restart(Component::ApiServer)
        .await;

    let ready = Instant::now();
    let case = world.resume(parts).await;
    case.patch::<Sync>("all", json!({"spec": {"path": "two"}}))
        .await;
    case.repository_named("new", json!({})).await;
    case.sync(
        "new",
        json!({"sourceRef": {"name": "new"}, "path": "one", "prune": false}),
    )
    .await;
    case.has("b", "value", Some("two")).await;
    let changed = ready.elapsed();
    case.synced("new", &commit).await;
    let made = ready.elapsed();
    assert!(changed < BACK_AT_WORK, "the changed spec: {changed:?}");
    assert!(made < BACK_AT_WORK, "the new GitRepository: {made:?}");
    let log = world.operator.log();
    let interruptions = log
        .lines()
        .filter(|line| line.contains("the watch is interrupted"));
    let watches = interruptions.map(|line| line.split("watch=").nth(1).unwrap());
    let mut watches: Vec<&str> = watches
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    watches.sort_unstable();
    let all = watches.len();
    watches.dedup();
    assert_eq!(watches.len(), all, "a watch says so more than once:\n{log}");
    // towline's four kinds, Secrets, definitions and ConfigMaps.
    assert!(all <= 7, "{watches:?}");
}
