//! Resources that are created and deleted leave nothing in memory.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use towline::api::{GitRepository, Sync};

use crate::world::{Case, PATIENCE, World, condition, config_map};
use towline_testing::control_plane::Options;
use towline_testing::usage::{Memory, processor_time};
use towline_testing::wait::eventually;

/// The number of Syncs, and of repositories, in each round.
const MANY: usize = 1_000;

/// How many of them are fetched, applied and pruned. The other repositories are suspended, and their Syncs wait for a Sync
/// that does not exist: a driver of each kind that works costs the API server more than this test has time for.
const LIVE: usize = 40;

/// Ten thousand resources in all: 5,000 Syncs and 5,000 repositories.
const ROUNDS: usize = 5;

/// After so many rounds, the allocator holds what the operator needs at its peak.
const WARM: usize = 2;

/// The number of parallel requests.
const AT_ONCE: usize = 16;

/// How much more memory the operator may hold after the last round than when it was warm, in MiB: an allocator does not
/// return everything that is freed. Ten rounds of this size ended between 55 and 59 MiB. Between the two looks, 3,000 drivers
/// of each kind ended, so that one driver leaves behind less than 1,050 bytes: no task, no status, and no notice.
const NOISE: f64 = 6.0;

/// How much processor time the operator uses at most in a second in which it has nothing to do.
const RESTING: Duration = Duration::from_millis(30);

/// Creates and deletes resources. Returns the operator's memory afterwards in MiB.
async fn round(case: &Case<'_>, number: usize) -> f64 {
    let names: Vec<(usize, String)> = (0..MANY)
        .map(|at| (at, format!("r{number}-{at}")))
        .collect();
    stream::iter(&names)
        .for_each_concurrent(AT_ONCE, async |(at, name)| {
            let is_live = *at < LIVE;
            case.repository_named(name, json!({"suspend": !is_live}))
                .await;
            let spec = match is_live {
                true => json!({"sourceRef": {"name": name}, "path": format!("live/{at}")}),
                false => json!({"sourceRef": {"name": name}, "dependsOn": [{"name": "absent"}]}),
            };
            case.sync(name, spec).await;
        })
        .await;
    let (syncs, repositories) = (case.api::<Sync>(), case.api::<GitRepository>());
    let all = ListParams::default();
    eventually("every Sync has a status", PATIENCE, async || {
        let listed = syncs.list(&all).await.unwrap().items;
        let ready = |sync: &&Sync| condition(sync, "Ready").0 == "True";
        let told = listed.iter().filter(|sync| sync.status.is_some()).count();
        let ready = listed.iter().filter(ready).count();
        let right = (told, ready) == (MANY, LIVE);
        right.then_some(()).ok_or((told, ready))
    })
    .await;
    let params = DeleteParams::default();
    // The Syncs first: each prunes what it applied.
    syncs.delete_collection(&params, &all).await.unwrap();
    repositories.delete_collection(&params, &all).await.unwrap();
    eventually("all are gone", PATIENCE, async || {
        let syncs = syncs.list(&all).await.unwrap().items;
        let repositories = repositories.list(&all).await.unwrap().items;
        let left = syncs.len() + repositories.len();
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
    assert_eq!(case.maps_with(Some("git")).await, 0, "not pruned");
    rest(case).await;
    let memory = Memory::of(case.world.operator.pid());
    println!("round {number}: {:.1} MiB", memory.anonymous);
    memory.anonymous
}

/// Waits until the operator has nothing more to do. Events wait behind statuses, and are in memory until they are written.
async fn rest(case: &Case<'_>) {
    let pid = case.world.operator.pid();
    eventually("the operator rests", PATIENCE * 2, async || {
        let before = processor_time(pid);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = processor_time(pid) - before;
        (used < RESTING).then_some(()).ok_or(used)
    })
    .await;
}

#[tokio::test]
async fn deleted_resources_free_their_memory() {
    // An operator of its own, so that its memory depends on nothing else.
    let world = World::own(Options::default(), &[]).await;
    let case = world.case("churn").await;
    let files = (0..LIVE).map(|at| {
        let map = config_map(&format!("live-{at}"), &case.namespace, "git");
        (format!("live/{at}/map.yaml"), Some(map))
    });
    case.repo.commit(&files.collect::<Vec<_>>(), "live");
    let mut memory = Vec::new();
    for number in 0..ROUNDS {
        memory.push(round(&case, number).await);
    }
    let (warm, last) = (memory[WARM - 1], memory[ROUNDS - 1]);
    assert!(last < warm + NOISE, "{memory:?} MiB");
}
