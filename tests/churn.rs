//! Resources that are created and deleted leave nothing in memory.

use futures::{StreamExt as _, stream};
use kube::api::DeleteParams;
use serde_json::json;
use towline::api::{GitRepository, Sync};

use crate::world::{Case, PATIENCE, World};
use towline_testing::control_plane::Options;
use towline_testing::usage::Memory;
use towline_testing::wait::eventually;

/// The number of Syncs, and of repositories, in each round.
const MANY: usize = 500;

/// The number of parallel requests.
const AT_ONCE: usize = 8;

/// How much more memory the second round may leave than the first, in MiB: an allocator does not return
/// everything that is freed. Entries of a thousand drivers, kept by mistake, would take more.
const NOISE: f64 = 6.0;

/// Creates and deletes resources. Returns the operator's memory afterwards in MiB.
async fn round(case: &Case<'_>, number: usize) -> f64 {
    let names: Vec<String> = (0..MANY).map(|at| format!("r{number}-{at}")).collect();
    stream::iter(&names)
        .for_each_concurrent(AT_ONCE, async |name| {
            case.repository_named(name, json!({"suspend": true})).await;
            let spec = json!({"sourceRef": {"name": name}, "dependsOn": [{"name": "absent"}]});
            case.sync(name, spec).await;
        })
        .await;
    eventually("every Sync has a status", PATIENCE, async || {
        let syncs = case.api::<Sync>().list(&Default::default()).await.unwrap();
        let told = |sync: &&Sync| sync.status.is_some();
        let told = syncs.items.iter().filter(told).count();
        (told == MANY).then_some(()).ok_or(told)
    })
    .await;
    let params = DeleteParams::default();
    let (syncs, repositories) = (case.api::<Sync>(), case.api::<GitRepository>());
    stream::iter(&names)
        .for_each_concurrent(AT_ONCE, async |name| {
            syncs.delete(name, &params).await.unwrap();
            repositories.delete(name, &params).await.unwrap();
        })
        .await;
    eventually("all are gone", PATIENCE, async || {
        let syncs = syncs.list(&Default::default()).await.unwrap().items;
        let repositories = repositories.list(&Default::default()).await.unwrap().items;
        let left = syncs.len() + repositories.len();
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
    // Gives the operator time to see the last deletions.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let memory = Memory::of(case.world.operator.pid());
    println!("round {number}: {:.1} MiB", memory.anonymous);
    memory.anonymous
}

#[tokio::test]
async fn deleted_resources_free_their_memory() {
    // An operator of its own, so that its memory depends on nothing else.
    let world = World::own(Options::default(), &[]).await;
    let case = world.case("churn").await;
    round(&case, 0).await;
    let first = round(&case, 1).await;
    let second = round(&case, 2).await;
    assert!(second < first + NOISE, "{first} and then {second} MiB");
}
