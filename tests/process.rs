//! The program as its pod uses it: probes, metrics, and SIGTERM.

use std::time::Duration;

use serde_json::json;

use crate::world::{PATIENCE, World, config_map};
use towline_testing::control_plane::Options;
use towline_testing::wait::eventually;

async fn get(world: &World, path: &str, accept: &str) -> Result<String, String> {
    let page = world.operator.page_as(path, accept).await;
    page.map_err(|error| error.to_string())
}

#[tokio::test]
async fn probes_answer_metrics_count_and_sigterm_ends_it() {
    let mut world = World::own(Options::default(), &["--log-format=json"]).await;
    for path in ["/healthz", "/readyz"] {
        eventually(path, PATIENCE, async || {
            let answer = get(&world, path, "*/*").await?;
            match answer.starts_with("HTTP/1.1 200") {
                true => Ok(()),
                false => Err(answer),
            }
        })
        .await;
    }
    // A crash leaves no core dump, which would hold what was decrypted.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.operator.pid()));
    let limits = limits.unwrap();
    let core = limits.lines().find(|line| line.contains("core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().rev().take(3).collect();
    assert_eq!(core, ["bytes", "1", "1"], "{limits}");
    let case = world.case("process").await;
    let one = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a.yaml", Some(&one))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let open = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3";
    let metrics = get(&world, "/metrics", open).await.unwrap();
    for line in [
        "towline_fetches_total{reason=\"Fetched\"}",
        "towline_api_requests_total{on=\"managed\",verb=\"apply\",code=\"201\"} 1",
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8",
        "towline_resources{kind=\"Sync\"} 1",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let plain = get(&world, "/metrics", "text/plain").await.unwrap();
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(!plain.contains("# EOF"));
    for line in world.operator.log().lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "no JSON: {line}");
    }
    let (repo, namespace) = (case.repo, case.namespace);
    assert!(world.operator.terminate(Duration::from_secs(10)).success());
    let two = config_map("a", &namespace, "two");
    let second = repo.commit(&[("a.yaml", Some(&two))], "second");
    world.operator.restart().await;
    let case = world.case("process-again").await;
    eventually("the commit made while it was down", PATIENCE, async || {
        let api: kube::Api<towline::api::Sync> =
            kube::Api::namespaced(case.client.clone(), &namespace);
        let sync = api.get("all").await.map_err(|error| error.to_string())?;
        match crate::world::applied(&sync).ends_with(&second) {
            true => Ok(()),
            false => Err(format!("{:?}", sync.status)),
        }
    })
    .await;
}
