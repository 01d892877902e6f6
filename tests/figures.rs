//! What metrics say of a Sync and a repository goes on over a restart: neither an alert nor a table begins
//! its story anew.

use std::time::Duration;

use serde_json::json;

use crate::prometheus::{lose_a_repository, sample};
use crate::world::verdict::named_repository_ready_becomes;
use crate::world::{Case, PATIENCE, World, config_map};
use towline_testing::control_plane::Options;
use towline_testing::operator::Operator;
use towline_testing::prometheus::scraped;
use towline_testing::wait::eventually;

/// What is told of the namespace's Sync `all`, its Sync `behind`, and its repository `lost`; none before
/// all of it is.
async fn told(operator: &Operator, namespace: &str) -> Option<[f64; 4]> {
    let text = scraped(operator).await;
    let of_sync = |metric, name| {
        let labels = format!("{{sync_namespace=\"{namespace}\",sync=\"{name}\"}}");
        sample(&text, &format!("towline_sync_{metric}_seconds{labels}"))
    };
    let lost = format!("{{repository_namespace=\"{namespace}\",repository=\"lost\"}}");
    let since = "towline_repository_not_ready_since_timestamp_seconds";
    let told = [
        of_sync("last_change_timestamp", "all"),
        of_sync("last_change_duration", "all"),
        of_sync("behind_since_timestamp", "behind"),
        sample(&text, &format!("{since}{lost}")),
    ];
    told.iter().all(|value| *value > 0.0).then_some(told)
}

#[tokio::test]
async fn a_restart_tells_what_was_told_before() {
    let mut world = World::own(Options::default(), &[]).await;
    let files = async |namespace: &str| {
        let map = config_map("a", namespace, "one");
        vec![("apps/a.yaml".to_owned(), map)]
    };
    let spec = json!({"path": "apps"});
    let (case, _) = Case::started(&world, "restarted", files, spec).await;
    // Times in a status have whole seconds, and a commit has to take one.
    let second = case.map("a", "two");
    let second = case.repo.commit(&[("apps/a.yaml", Some(&second))], "two");
    tokio::time::sleep(Duration::from_secs(3)).await;
    case.announce().await;
    case.synced("all", &second).await;
    case.sync("behind", json!({"path": "nowhere"})).await;
    case.ready_becomes("behind", "False", "PathNotFound").await;
    lose_a_repository(&case).await;
    named_repository_ready_becomes(&case, "lost", "False", "CredentialsInvalid").await;
    let before = told(&world.operator, &case.namespace).await.unwrap();

    let (namespace, _) = case.into_parts();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.operator.restart().await;
    let after = eventually("all is told of", PATIENCE, async || {
        told(&world.operator, &namespace).await
    })
    .await;
    for (was, is) in before.into_iter().zip(after) {
        assert!((was - is).abs() <= 1.0, "{before:?} {after:?}");
    }
}
