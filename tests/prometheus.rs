//! What a real Prometheus makes of towline: metrics, rules, and the dashboard's queries.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::support::prometheus::{Prometheus, promtool, scraped};
use crate::support::wait::eventually;
use crate::support::world::{Case, PATIENCE, config_map, world};

const RULES: &str = "deploy/chart/files/rules.yaml";
const DASHBOARD: &str = "deploy/chart/files/dashboard.json";
const DRIFT: &str = "TowlineGitDiffersFromCluster";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The shipped rules with one change: what they wait for minutes for is waited for for a second.
fn impatient_rules() -> String {
    let mut hasty = String::new();
    for line in file(RULES).lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().starts_with("for: ") {
            true => hasty.push_str(&format!("{:indent$}for: 1s\n", "")),
            false => hasty.push_str(&format!("{line}\n")),
        }
    }
    assert!(hasty.matches("for: 1s").count() > 5, "{hasty}");
    hasty
}

/// A Sync in `mode: Report` whose second commit is live.
async fn reporting(name: &str) -> Case<'static> {
    let files = async |namespace: &str| {
        let file = |name: &&str| (format!("{name}.yaml"), config_map(name, namespace, "git"));
        ["a", "b"].iter().map(file).collect()
    };
    let (case, _) = Case::started(world().await, name, files, json!({"mode": "Report"})).await;
    let second = case
        .push(&[("b.yaml", Some(&case.map("b", "second")))], "second")
        .await;
    case.synced("all", &second).await;
    case
}

async fn drift(case: &Case<'_>) {
    case.patch::<ConfigMap>("a", json!({"data": {"value": "person"}}))
        .await;
    case.stands("all", "False", "DriftFound").await;
}

#[test]
fn the_rules_are_sound_and_fire_when_they_should() {
    let path = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let rules = promtool(&["check", "rules", &path(RULES)], "");
    assert!(rules.contains("11 rules found"), "{rules}");
    promtool(&["test", "rules", &path("tests/rules_test.yaml")], "");
}

/// Every alert is in the README, and is tested.
#[test]
fn every_alert_is_described_and_tested() {
    let (rules, readme) = (file(RULES), file("README.md"));
    let tests = file("tests/rules_test.yaml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(alerts.len(), 11);
    for alert in alerts {
        assert!(readme.contains(&format!("| `{alert}` | ")), "{alert}");
        assert!(
            tests.contains(&format!("- alertname: {alert}\n")),
            "{alert}"
        );
    }
}

#[tokio::test]
async fn the_alert_on_drift_fires_and_resolves() {
    let case = reporting("alert").await;
    let operator = case.world.operator.address();
    let prometheus = Prometheus::start(operator, &impatient_rules()).await;
    let of_case = ("sync_namespace", case.namespace.as_str());
    assert!(prometheus.alerts(DRIFT, of_case).await.is_empty());

    drift(&case).await;
    let alert = eventually("the alert fires", PATIENCE, async || {
        let mut alerts = prometheus.alerts(DRIFT, of_case).await;
        match alerts.pop() {
            Some(alert) if alert["state"] == "firing" => Ok(alert),
            other => Err(other),
        }
    })
    .await;
    let said = alert["annotations"]["description"].as_str().unwrap();
    let command = format!(
        "kubectl describe syncs.towline.dev -n {} all",
        case.namespace
    );
    assert!(said.contains(&command), "{said}");
    assert_eq!(alert["labels"]["namespace"], case.namespace.as_str());

    case.patch::<ConfigMap>("a", json!({"data": {"value": "git"}}))
        .await;
    eventually("the alert is resolved", PATIENCE, async || {
        let alerts = prometheus.alerts(DRIFT, of_case).await;
        alerts.is_empty().then_some(()).ok_or(alerts)
    })
    .await;
    // What it scraped had neither lines that it could not read nor series twice.
    assert_eq!(prometheus.complaints(), Vec::<String>::new());
    promtool(&["check", "metrics"], &scraped(&case.world.operator).await);
}

#[tokio::test]
async fn a_deleted_sync_has_no_series() {
    let case = reporting("series").await;
    let operator = &case.world.operator;
    let named = format!("{{sync_namespace=\"{}\",sync=\"all\"", case.namespace);
    assert!(scraped(operator).await.contains(&named));
    case.delete::<Sync>("all").await;
    eventually("its series are gone", PATIENCE, async || {
        let text = scraped(operator).await;
        (!text.contains(&named)).then_some(())
    })
    .await;
}

/// A sample's value; zero where there is none.
fn sample(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn fights_and_brakes_are_counted_and_a_first_revision_has_no_duration() {
    let files =
        async |namespace: &str| vec![("a.yaml".to_owned(), config_map("a", namespace, "git"))];
    let (case, _) = Case::started(world().await, "counted", files, json!({})).await;
    let operator = &case.world.operator;
    let of_case = format!("{{sync_namespace=\"{}\",sync=\"all\"", case.namespace);
    let took = format!("towline_sync_last_change_duration_seconds{of_case}}}");
    let first = scraped(operator).await;
    assert!(!first.contains(&took), "a first revision may be of any age");

    let contested = format!("towline_sync_objects{of_case},state=\"contested\"}}");
    eventually("the object is contested", PATIENCE, async || {
        case.patch::<ConfigMap>("a", json!({"data": {"value": "rival"}}))
            .await;
        let text = scraped(operator).await;
        (sample(&text, &contested) == 1.0).then_some(())
    })
    .await;
    let text = scraped(operator).await;
    let fights = "towline_fights_total";
    assert!(sample(&text, fights) > sample(&first, fights), "{text}");

    let second = case
        .push(&[("a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.synced("all", &second).await;
    let text = scraped(operator).await;
    assert!(sample(&text, &took) > 0.0, "{text}");
    for stretch in [
        "commit_to_observed",
        "observed_to_applied",
        "applied_to_converged",
        "commit_to_converged",
    ] {
        let count = format!("towline_{stretch}_seconds_count");
        assert!(sample(&text, &count) > sample(&first, &count), "{stretch}");
    }

    case.push(&[("a.yaml", None), ("readme.md", Some("hello"))], "empty")
        .await;
    case.stands("all", "False", "EmptyRender").await;
    let brakes = "towline_prune_brakes_total{reason=\"EmptyRender\"}";
    eventually("the brake is counted", PATIENCE, async || {
        let text = scraped(operator).await;
        (sample(&text, brakes) > sample(&first, brakes)).then_some(())
    })
    .await;
}

/// What the rules ask Prometheus.
fn conditions() -> Vec<String> {
    let rules = towline::manifest::documents(file(RULES).as_bytes()).unwrap();
    let rules = rules[0].value["groups"][0]["rules"].as_array().unwrap();
    let conditions = rules.iter().map(|rule| rule["expr"].as_str().unwrap());
    conditions.map(str::to_owned).collect()
}

/// What the dashboard asks.
fn questions() -> Vec<String> {
    let mut queries = Vec::new();
    let dashboard: Value = serde_json::from_str(&file(DASHBOARD)).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        // `label_values(<query>, <label>)`
        if let Some(call) = variable["definition"].as_str() {
            let query = call.strip_prefix("label_values(").unwrap();
            queries.push(query.split(',').next().unwrap().to_owned());
        }
    }
    queries
}

/// What Grafana puts in the place of its variables.
fn filled(query: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "1m")
        .replace("$namespace", ".*")
        .replace("$job", ".*");
    assert!(
        !filled.contains('$'),
        "a variable that nothing fills: {query}"
    );
    filled
}

/// The metrics that a query names: of Prometheus' language nothing else begins like them.
fn metrics_of(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("towline_") || word.starts_with("process_"))
        .collect()
}

/// Panics unless every sample's labels are those of its row in the README.
fn labels_are_in_the_readme(text: &str) {
    let readme = file("README.md");
    let row = |name: &str| {
        let start = format!("| `{name}` | ");
        let row = readme.lines().find_map(|line| line.strip_prefix(&start))?;
        // A cell without anything is one bar after the other.
        let labels = row.split('|').next()?.split(", ");
        let labels = labels.map(|label| label.trim_matches([' ', '`']));
        Some(labels.filter(|label| !label.is_empty()).collect())
    };
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let name = name.split(' ').next().unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        let said: BTreeSet<&str> = row(name)
            .or_else(|| row(whole?))
            .unwrap_or_else(|| panic!("{name} is not in the README"));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once("=\""));
        let labels: BTreeSet<&str> = labels.map(|(label, _)| label).collect();
        let labels: BTreeSet<&str> = labels.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(labels, said, "{sample}");
    }
}

#[tokio::test]
async fn every_query_asks_for_what_there_is() {
    let case = reporting("queries").await;
    drift(&case).await;
    let operator = &case.world.operator;
    // A call that is refused is a call.
    let hook = operator.find_address("receiving webhooks");
    let call = format!("http://{}/hook", hook.unwrap());
    let refused = tokio::task::spawn_blocking(move || ureq::post(call).send_empty().is_err());
    assert!(refused.await.unwrap());
    let text = scraped(operator).await;
    let samples: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let (conditions, questions) = (conditions(), questions());
    assert!(conditions.len() == 11 && questions.len() > 30);
    for query in conditions.iter().chain(&questions) {
        let named = metrics_of(query);
        assert!(!named.is_empty(), "it asks for nothing: {query}");
        let missing: Vec<_> = named.difference(&samples).collect();
        assert!(missing.is_empty(), "{missing:?} of {query} is not scraped");
    }
    labels_are_in_the_readme(&text);
    let prometheus = Prometheus::start(operator.address(), &file(RULES)).await;
    for condition in &conditions {
        prometheus.query(condition).await.unwrap();
    }
    // Rates need two scrapes, and there may be no errors to count.
    for query in &questions {
        let may_be_empty = query.contains("code!~");
        eventually(query, PATIENCE, async || {
            let result = prometheus.query(&filled(query)).await?;
            match result.is_empty() && !may_be_empty {
                false => Ok(()),
                true => Err("no data".to_owned()),
            }
        })
        .await;
    }
    let expected = json!({"sync_namespace": case.namespace, "sync": "all", "reason": "DriftFound"});
    let behind = questions
        .iter()
        .find(|query| query.contains("behind_since"));
    let behind = prometheus.query(&filled(behind.unwrap())).await.unwrap();
    let told = behind.iter().any(|row| row["metric"] == expected);
    assert!(
        told,
        "the Sync is not in the table of what is not converged"
    );
}
