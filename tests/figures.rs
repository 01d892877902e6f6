//! Metrics of Syncs and repositories continue after a restart, so that alerts and tables do not start
//! again.

use std::time::Duration;

use serde_json::json;

use crate::prometheus::{lose_a_repository, sample};
use crate::world::verdict::named_repository_ready_becomes;
use crate::world::{Case, PATIENCE, World, config_map};
use towline_testing::control_plane::Options;
use towline_testing::operator::Operator;
use towline_testing::prometheus::scraped;
use towline_testing::wait::eventually;

/// Four metrics: two of the Sync `all`, one of the Sync `behind` and one of the repository `lost`. None
/// until all four have a value.
async fn metrics(operator: &Operator, namespace: &str) -> Option<[f64; 4]> {
    let text = scraped(operator).await;
    let of_sync = |metric, name| {
        let labels = format!("{{sync_namespace=\"{namespace}\",sync=\"{name}\"}}");
        sample(&text, &format!("towline_sync_{metric}_seconds{labels}"))
    };
    let lost = format!("{{repository_namespace=\"{namespace}\",repository=\"lost\"}}");
    let since = "towline_repository_not_ready_since_timestamp_seconds";
    let metrics = [
        of_sync("last_change_timestamp", "all"),
        of_sync("last_change_duration", "all"),
        of_sync("behind_since_timestamp", "behind"),
        sample(&text, &format!("{since}{lost}")),
    ];
    metrics.iter().all(|value| *value > 0.0).then_some(metrics)
}

#[tokio::test]
async fn metrics_continue_after_a_restart() {
    let mut world = World::own(Options::default(), &[]).await;
    let files = async |namespace: &str| {
        let map = config_map("a", namespace, "one");
        vec![("apps/a.yaml".to_owned(), map)]
    };
    let spec = json!({"path": "apps"});
    let (case, _) = Case::started(&world, "restarted", files, spec).await;
    // Times in a status are whole seconds. The pause makes the convergence take more than one.
    let second = case.map("a", "two");
    let second = case.repo.commit(&[("apps/a.yaml", Some(&second))], "two");
    tokio::time::sleep(Duration::from_secs(3)).await;
    case.announce().await;
    case.synced("all", &second).await;
    case.sync("behind", json!({"path": "nowhere"})).await;
    case.ready_becomes("behind", "False", "PathNotFound").await;
    lose_a_repository(&case).await;
    named_repository_ready_becomes(&case, "lost", "False", "CredentialsInvalid").await;
    let before = metrics(&world.operator, &case.namespace).await.unwrap();

    let (namespace, _) = case.into_parts();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.operator.restart().await;
    let after = eventually("all metrics have a value", PATIENCE, async || {
        metrics(&world.operator, &namespace).await
    })
    .await;
    for (was, is) in before.into_iter().zip(after) {
        assert!((was - is).abs() <= 1.0, "{before:?} {after:?}");
    }
}
