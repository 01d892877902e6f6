//! Metrics, alerting rules and the dashboard's queries, in a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use serde_json::{Value, json};
use strum::VariantNames as _;
use towline::api::{GitRepository, Reason, Sync};
use towline::fleet::{Fleet, Series};
use towline::leader::Leadership;
use towline::metrics::Metrics;

use crate::pages;
use crate::world::{Case, PATIENCE, config_map, world};
use towline_testing::prometheus::{Prometheus, promtool, scraped};
use towline_testing::wait::eventually;

const RULES: &str = "deploy/chart/files/rules.yaml";
const DASHBOARD: &str = "deploy/chart/files/dashboard.json";
const DRIFT: &str = "TowlineGitDiffersFromCluster";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The shipped rules, with waits of a second in place of minutes.
fn rules_with_short_waits() -> String {
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

/// A Sync in `mode: Report` whose second commit is applied.
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
    case.ready_becomes("all", "False", "DriftFound").await;
}

#[test]
fn the_rules_are_valid_and_fire_when_they_should() {
    let path = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let rules = promtool(&["check", "rules", &path(RULES)], "");
    assert!(rules.contains("11 rules found"), "{rules}");
    promtool(&["test", "rules", &path("tests/rules_test.yaml")], "");
}

/// Every alert has a description, a runbook link that works, and a test.
#[test]
fn every_alert_is_described_and_tested() {
    let (rules, page) = (file(RULES), file("docs/operate/alerts.md"));
    let tests = file("tests/rules_test.yaml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(alerts.len(), 11);
    let headings = pages::headings(&page);
    for alert in &alerts {
        assert!(page.contains(&format!("| `{alert}` | ")), "{alert}");
        assert!(headings.iter().any(|heading| heading == alert), "{alert}");
        assert!(
            tests.contains(&format!("- alertname: {alert}\n")),
            "{alert}"
        );
    }
    let runbooks: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: '")?.strip_suffix('\''))
        .collect();
    assert_eq!(runbooks.len(), alerts.len());
    let pages = pages::all();
    for runbook in runbooks {
        // A test in `docs` checks that every reason has a heading, so one is enough here.
        let runbook = runbook.replace("{{ $labels.reason | toLower }}", "applyfailed");
        pages::assert_leads_somewhere(&pages, "README.md", &runbook);
    }
}

#[tokio::test]
async fn the_alert_on_drift_fires_and_resolves() {
    let case = reporting("alert").await;
    let operator = case.world.operator.address();
    let prometheus = Prometheus::start(operator, &rules_with_short_waits()).await;
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
    // Every scraped line was valid, and no series occurred twice.
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

/// A sample's value. Zero if there is none.
pub fn sample(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn correction_backoffs_and_brakes_are_counted_and_a_first_revision_has_no_duration() {
    let files =
        async |namespace: &str| vec![("apps/a.yaml".to_owned(), config_map("a", namespace, "git"))];
    let (case, _) = Case::started(world().await, "counted", files, json!({"path": "apps"})).await;
    let operator = &case.world.operator;
    let of_case = format!("{{sync_namespace=\"{}\",sync=\"all\"", case.namespace);
    let took = format!("towline_sync_last_change_duration_seconds{of_case}}}");
    let first = scraped(operator).await;
    assert!(
        !first.contains(&took),
        "a first revision must not count as a duration"
    );

    let contested = format!("towline_sync_objects{of_case},state=\"contested\"}}");
    eventually("the correction backoff is counted", PATIENCE, async || {
        case.patch::<ConfigMap>("a", json!({"data": {"value": "rival"}}))
            .await;
        let text = scraped(operator).await;
        (sample(&text, &contested) == 1.0).then_some(())
    })
    .await;
    let text = scraped(operator).await;
    let delayed = "towline_delayed_corrections_total";
    assert!(sample(&text, delayed) > sample(&first, delayed), "{text}");

    let second = case
        .push(&[("apps/a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.synced("all", &second).await;
    let text = scraped(operator).await;
    assert!(sample(&text, &took) > 0.0, "{text}");
    let changes = format!("towline_sync_changes_total{of_case}}}");
    assert_eq!(
        (sample(&first, &changes), sample(&text, &changes)),
        (0.0, 1.0)
    );
    for stretch in [
        "commit_to_observed",
        "observed_to_applied",
        "applied_to_converged",
        "commit_to_converged",
    ] {
        let count = format!("towline_{stretch}_seconds_count");
        assert!(sample(&text, &count) > sample(&first, &count), "{stretch}");
    }

    // The Sync converges at a commit outside of its path without a change, and the duration does not
    // count.
    let elsewhere = case
        .push(&[("readme.md", Some("hello"))], "elsewhere")
        .await;
    case.synced("all", &elsewhere).await;
    let later = scraped(operator).await;
    for (metric, moves) in [("last_change", false), ("last_converged", true)] {
        let series = format!("towline_sync_{metric}_timestamp_seconds{of_case}}}");
        let (was, is) = (sample(&text, &series), sample(&later, &series));
        assert!(was > 0.0 && (is > was) == moves, "{series}: {was} {is}");
    }
    assert_eq!(sample(&later, &took), sample(&text, &took));

    let empty = [("apps/a.yaml", None), ("apps/readme.md", Some("hello"))];
    case.push(&empty, "empty").await;
    case.ready_becomes("all", "False", "EmptyRender").await;
    let brakes = "towline_prune_brakes_total{reason=\"EmptyRender\"}";
    eventually("the brake is counted", PATIENCE, async || {
        let text = scraped(operator).await;
        (sample(&text, brakes) > sample(&first, brakes)).then_some(())
    })
    .await;
}

/// The queries of the rules.
fn rule_queries() -> Vec<String> {
    let rules = towline::manifest::documents(file(RULES).as_bytes()).unwrap();
    let rules = rules[0].value["groups"][0]["rules"].as_array().unwrap();
    let conditions = rules.iter().map(|rule| rule["expr"].as_str().unwrap());
    conditions.map(str::to_owned).collect()
}

/// The queries of the dashboard.
fn dashboard_queries() -> Vec<String> {
    let mut queries = Vec::new();
    let dashboard: Value = serde_json::from_str(&file(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    for panel in panels.filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        // `label_values(<query>, <label>)`
        if let Some(call) = variable["definition"].as_str() {
            let query = call.strip_prefix("label_values(").unwrap();
            queries.push(query.rsplit_once(',').unwrap().0.to_owned());
        }
    }
    queries
}

/// A query with the values that Grafana sets for its variables when all jobs and namespaces are chosen.
fn filled(query: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "1m")
        .replace("$__range", "1h")
        .replace("$namespace", ".*")
        .replace("$job", ".*");
    assert!(!filled.contains('$'), "a variable without a value: {query}");
    filled
}

/// The label matchers and grouping labels in braces: each label with its values.
fn matchers(text: &str) -> Vec<(&str, &str)> {
    let braces = text.split('{').skip(1);
    let insides = braces.filter_map(|rest| Some(rest.split_once('}')?.0));
    let matchers = insides.flat_map(|inside| inside.split("\","));
    let parts =
        matchers.filter_map(|matcher| matcher.split_once("=\"").or(matcher.split_once("~\"")));
    parts
        .map(|(label, value)| (label.trim_matches([' ', '=', '!']), value.trim_matches('"')))
        .collect()
}

/// The names of a closed set in the source: `Self::X => "x"`.
fn arms(source: &str) -> BTreeSet<String> {
    let source = file(source);
    let arms = source.lines().filter_map(|line| {
        let (_, name) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
        name.strip_suffix("\",")
    });
    arms.map(str::to_owned).collect()
}

fn names(variants: &[&str]) -> BTreeSet<String> {
    variants.iter().map(ToString::to_string).collect()
}

/// The values of a label in a metric's samples.
fn label_values(text: &str, metric: &str, label: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| line.starts_with(metric));
    let values = samples.flat_map(matchers);
    let values = values.filter(|(name, _)| *name == label);
    values.map(|(_, value)| value.to_owned()).collect()
}

/// Every label value in a query exists. With a wrong value, a rule or panel would never show anything.
#[test]
fn every_label_value_in_a_query_exists() {
    let metrics = Metrics::default();
    metrics.register(Series::new(Fleet::default(), Leadership::alone()));
    let text = metrics.encode();
    let closed = |label: &str| match label {
        "reason" => names(Reason::VARIANTS),
        "outcome" => arms("src/server/hooks.rs"),
        "provider" => arms("src/webhook/provider.rs"),
        "state" => label_values(&text, "towline_objects", "state"),
        "kind" => label_values(&text, "towline_queue_depth", "kind"),
        other => panic!("{other} has no closed set"),
    };
    let tests = file("tests/rules_test.yaml");
    let series = tests.lines().filter(|line| line.contains("- series: "));
    let queries = rule_queries().into_iter().chain(dashboard_queries());
    let mut asked = 0;
    for query in queries.chain(series.map(str::to_owned)) {
        for (label, value) in matchers(&query) {
            // Labels of Prometheus' own targets and of HTTP, and names of users' resources, have no
            // closed set.
            let is_open = matches!(
                label,
                "job" | "instance" | "namespace" | "code" | "on" | "verb"
            ) || label.starts_with("sync")
                || label.starts_with("repository");
            if !is_open {
                let closed = closed(label);
                for value in value.split('|') {
                    assert!(closed.contains(value), "{label}={value} in {query}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 30, "{asked}");
}

/// The metrics that a query names. Nothing else in PromQL begins with these prefixes.
fn metrics_of(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("towline_") || word.starts_with("process_"))
        .collect()
}

/// Panics unless every sample has exactly the labels in its row of the reference.
fn labels_are_in_the_reference(text: &str) {
    let page = file("docs/reference/metrics.md");
    let row = |name: &str| {
        let start = format!("| `{name}` | ");
        let row = page.lines().find_map(|line| line.strip_prefix(&start))?;
        // The row has the type first, then the labels.
        let labels = row.split('|').nth(1)?.split(", ");
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
            .unwrap_or_else(|| panic!("{name} is not in the reference"));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once("=\""));
        let labels: BTreeSet<&str> = labels.map(|(label, _)| label).collect();
        let labels: BTreeSet<&str> = labels.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(labels, said, "{sample}");
    }
}

#[tokio::test]
async fn every_query_names_existing_metrics() {
    let case = reporting("queries").await;
    let operator = &case.world.operator;
    let prometheus = Prometheus::start(operator.address(), &file(RULES)).await;
    // Makes a commit, drift and a failed fetch, so that their metrics have values.
    let third = case
        .push(&[("b.yaml", Some(&case.map("b", "third")))], "third")
        .await;
    case.synced("all", &third).await;
    drift(&case).await;
    lose_a_repository(&case).await;
    // A refused webhook counts as a webhook.
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
    let (conditions, queries) = (rule_queries(), dashboard_queries());
    assert!(conditions.len() == 11 && queries.len() > 35);
    for query in conditions.iter().chain(&queries) {
        let named = metrics_of(query);
        assert!(!named.is_empty(), "the query names no metric: {query}");
        let missing: Vec<_> = named.difference(&samples).collect();
        assert!(missing.is_empty(), "{missing:?} of {query} is not scraped");
    }
    labels_are_in_the_reference(&text);
    for condition in &conditions {
        prometheus.query(condition).await.unwrap();
    }
    // Rates need two scrapes, and there may be no errors to count and nothing to restore.
    for query in &queries {
        let may_be_empty = query.contains("code!~") || query.contains("time_to_restore");
        eventually(query, PATIENCE, async || {
            let result = prometheus.query(&filled(query)).await?;
            match result.is_empty() && !may_be_empty {
                false => Ok(()),
                true => Err("no data".to_owned()),
            }
        })
        .await;
    }
    let namespace = case.namespace.as_str();
    let behind = json!({"sync_namespace": namespace, "sync": "all", "reason": "DriftFound"});
    let lost = json!({
        "repository_namespace": namespace, "repository": "lost", "reason": "CredentialsInvalid",
    });
    let changed = json!({"sync_namespace": namespace});
    for (question, expected) in [
        ("behind_since_timestamp_seconds{", behind),
        ("not_ready_since_timestamp_seconds{", lost),
        ("sync_change_seconds_total{", changed),
    ] {
        let table = queries.iter().filter(|query| !query.starts_with("count"));
        let query = table.clone().find(|query| query.contains(question));
        let query = filled(query.unwrap());
        // Other cases have rows of their own.
        eventually(&format!("a row of {expected}"), PATIENCE, async || {
            let rows = prometheus.query(&query).await?;
            let found = rows.iter().any(|row| row["metric"] == expected);
            found.then_some(()).ok_or_else(|| format!("{rows:?}"))
        })
        .await;
    }
    the_variables_filter(&prometheus, &queries, operator.address()).await;
}

/// Makes the GitRepository `lost`, whose Secret is missing, and waits until its failed fetch is counted.
pub async fn lose_a_repository(case: &Case<'_>) {
    let lost: GitRepository = serde_json::from_value(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository", "metadata": {"name": "lost"},
        "spec": {"url": case.repo.url(), "secretRef": {"name": "missing"}},
    }))
    .unwrap();
    let operator = &case.world.operator;
    let polls = "towline_fetches_total{reason=\"CredentialsInvalid\"}";
    let before = sample(&scraped(operator).await, polls);
    let api = case.api::<GitRepository>();
    api.create(&PostParams::default(), &lost).await.unwrap();
    eventually("the metrics report it", PATIENCE, async || {
        let text = scraped(operator).await;
        let of_case = format!(
            "{{repository_namespace=\"{}\",repository=\"lost\"}}",
            case.namespace
        );
        let since = "towline_repository_not_ready_since_timestamp_seconds";
        let found = sample(&text, &format!("{since}{of_case}")) > 0.0;
        (found && sample(&text, polls) > before).then_some(())
    })
    .await;
}

/// The dashboard's variables filter: an unknown job gives no rows, not even zeros, other programs' series
/// are left out, and a namespace without Syncs gives only zeros.
async fn the_variables_filter(prometheus: &Prometheus, queries: &[String], operator: SocketAddr) {
    for query in queries {
        if query.starts_with("towline_build_info") {
            continue; // this query lists the jobs
        }
        assert!(query.contains("$job"), "{query}");
        let nobody = prometheus
            .query(&filled(&query.replace("$job", "none")))
            .await;
        assert_eq!(nobody.unwrap(), Vec::<Value>::new(), "{query}");
        if query.contains("$namespace") {
            let nobody = filled(&query.replace("$namespace", "none"));
            let rows = prometheus.query(&nobody).await.unwrap();
            assert!(
                rows.iter().all(|row| row["value"][1] == "0"),
                "{query}: {rows:?}"
            );
        }
        if query.contains("process_") {
            let all = prometheus.query(&filled(query)).await.unwrap();
            let expected = json!({"instance": operator.to_string()});
            assert!(
                all.iter().all(|row| row["metric"] == expected),
                "{query}: {all:?}"
            );
        }
    }
}
