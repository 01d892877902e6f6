//! A commit that concerns hundreds of Syncs takes no more threads and connections than one that concerns a few, and
//! none of their notices is lost.

use std::cell::Cell;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::json;
use towline::api::Sync;

use crate::world::{Case, PATIENCE, World, applied, condition, config_map};
use towline_testing::control_plane::Options;
use towline_testing::usage::{sockets, threads};
use towline_testing::wait::eventually;

/// The number of Syncs.
const MANY: usize = 300;

/// The most threads and sockets: 64 Syncs work at a time, each with one thread that reads and one request, beside
/// watches, statuses, events and the threads of the runtime.
const MOST: usize = 160;

/// The highest numbers of threads and sockets so far.
async fn follow(pid: u32, most: &Cell<(usize, usize)>) {
    loop {
        let now = (threads(pid), sockets(pid));
        most.set((most.get().0.max(now.0), most.get().1.max(now.1)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until every Sync is ready at a commit.
async fn all_synced(case: &Case<'_>, commit: &str) {
    eventually("every Sync is ready", PATIENCE, async || {
        let syncs = case.api::<Sync>().list(&Default::default()).await.unwrap();
        let is_ready =
            |sync: &&Sync| condition(sync, "Ready").0 == "True" && applied(sync).ends_with(commit);
        let ready = syncs.items.iter().filter(is_ready).count();
        (ready == MANY).then_some(()).ok_or(ready)
    })
    .await;
}

/// Waits until each Sync has an event that names the commit.
async fn all_told(case: &Case<'_>, commit: &str) {
    eventually("an event for every Sync", PATIENCE, async || {
        let events = case.events("Converged").await;
        let told = events.iter().filter(|text| text.contains(commit)).count();
        (told == MANY).then_some(()).ok_or(told)
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_syncs_take_turns_and_lose_no_notice() {
    let world = World::own(Options::default(), &[]).await;
    let case = world.case("crowd").await;
    let files = |value: &str| -> Vec<_> {
        let file = |number| {
            let name = format!("map-{number}");
            let map = config_map(&name, &case.namespace, value);
            (format!("{number}/a.yaml"), Some(map))
        };
        (0..MANY).map(file).collect()
    };
    let first = case.repo.commit(&files("first"), "first");
    stream::iter(0..MANY)
        .for_each_concurrent(8, async |number| {
            let spec = json!({"path": number.to_string()});
            case.sync(&format!("sync-{number}"), spec).await;
        })
        .await;
    let most = Cell::new((0, 0));
    let changes = async {
        case.repository(json!({})).await;
        all_synced(&case, &first).await;
        all_told(&case, &first).await;
        let second = case.repo.commit(&files("second"), "second");
        case.announce().await;
        all_synced(&case, &second).await;
        all_told(&case, &second).await;
    };
    tokio::select! {
        () = changes => (),
        () = follow(world.operator.pid(), &most) => (),
    }
    let (threads, sockets) = most.get();
    println!("at most {threads} threads and {sockets} sockets");
    assert!(threads <= MOST && sockets <= MOST, "{threads}, {sockets}");
    assert_eq!(case.maps_with(Some("second")).await, MANY);
}
