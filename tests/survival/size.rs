//! Ten thousand objects, of which one never becomes healthy.

use std::time::Duration;

use serde_json::json;
use towline_testing::control_plane::Options;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::verdict::assert_says;
use crate::world::{World, condition};

/// ConfigMaps of the commit, and how many of them a file has.
const MAPS: usize = 10_000;
const PER_FILE: usize = 100;

/// For how long nothing changes.
const QUIET: Duration = Duration::from_secs(5);

/// The most requests for managed objects when one changes.
const ONE_CHANGE: usize = 2;

#[tokio::test]
async fn one_of_ten_thousand_that_is_never_healthy_is_named_and_holds_up_nothing() {
    let world = World::own(
        Options {
            audit: true,
            ..Options::default()
        },
        &[],
    )
    .await;
    let case = world.case("size").await;
    let file = |file: usize, first: &str| -> String {
        let maps = (0..PER_FILE).map(|index| {
            let value = if index == 0 { first } else { "one" };
            case.map(&format!("m-{:05}", file * PER_FILE + index), value)
        });
        maps.collect::<Vec<_>>().join("---\n")
    };
    let path = |index: usize| format!("maps/{index:03}.yaml");
    let mut files: Vec<_> = (0..MAPS / PER_FILE)
        .map(|index| (path(index), Some(file(index, "one"))))
        .collect();
    let web = |more: &str| Some(deployment("web", &case.namespace, more));
    files.push(("web.yaml".to_owned(), web(UNSCHEDULABLE)));
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&**path, text.as_ref()))
        .collect();
    let first = case.repo.commit(&files, "ten thousand");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let applied = |commit: String| {
        move |sync: &towline::api::Sync| {
            let applied = sync
                .status
                .as_ref()
                .and_then(|status| status.last_applied_revision.as_ref());
            applied.is_some_and(|applied| applied.ends_with(&commit))
                && condition(sync, "Healthy").0 == "False"
        }
    };
    let sync = case
        .until("all", "all is applied, one is not healthy", applied(first))
        .await;
    assert_says(&condition(&sync, "Healthy").2, &["Deployment.apps", "web"]);
    assert_eq!(case.maps_with(Some("one")).await, MAPS);

    // Nothing is asked for while nothing changes.
    tokio::time::sleep(QUIET).await;
    let mark = case.world.cp.audit().mark();
    tokio::time::sleep(QUIET).await;
    let requests = case.requests(mark).await;
    assert!(requests.is_empty(), "{requests:?}");

    // A change of one object is a change of one object.
    let mark = case.world.cp.audit().mark();
    let changed = case
        .push(&[(&path(7), Some(&file(7, "two")))], "one of them")
        .await;
    case.until("all", "the change is applied", applied(changed))
        .await;
    let requests = case.requests(mark).await;
    assert!(requests.len() <= ONE_CHANGE, "{requests:?}");
    assert_eq!(case.maps_with(Some("two")).await, 1);

    // When it leaves, the rest is as Git has it.
    let last = case.push(&[("web.yaml", None)], "without it").await;
    let sync = case.synced("all", &last).await;
    assert_eq!(condition(&sync, "Healthy").0, "True");
    assert_eq!(case.maps_with(Some("one")).await, MAPS - 1);
}
