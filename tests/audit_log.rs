//! The lines of the audit log match docs/reference/audit-log.md and the changes that were made.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::pages;
use crate::world::{Case, PATIENCE, World, config_map};
use towline_testing::control_plane::Options;
use towline_testing::wait::eventually;

/// The rows of the page's table whose first heading cell is `first`, as cells.
fn table(first: &str) -> Vec<Vec<String>> {
    let page = pages::text("docs/reference/audit-log.md");
    let (_, rest) = page.split_once(&format!("\n| {first} | ")).unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The fields on the page, and when each is present.
fn schema() -> BTreeMap<String, String> {
    let rows = table("Field").into_iter();
    rows.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone()))
        .collect()
}

/// The actions on the page.
fn actions() -> BTreeSet<String> {
    let rows = table("Action").into_iter();
    rows.map(|cells| cells[1].trim_matches('`').to_owned())
        .collect()
}

/// The lines so far. Panics if a line does not match the page.
fn lines(world: &World) -> Vec<Value> {
    let log = world.operator.log();
    // The last line may be half written.
    let complete = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    let all = complete.lines().map(|line| {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        line
    });
    let lines: Vec<Value> = all.filter(|line| line["target"] == "audit").collect();
    let schema = schema();
    for line in &lines {
        check(line, &schema);
    }
    lines
}

fn check(line: &Value, schema: &BTreeMap<String, String>) {
    let fields = line.as_object().unwrap();
    for (field, value) in fields {
        assert!(
            schema.contains_key(field),
            "{field} is not on the page: {line}"
        );
        assert!(value.is_string(), "{field} is no string: {line}");
    }
    let action = line["action"].as_str().unwrap();
    assert!(actions().contains(action), "{action} is not on the page");
    let gone_with_its_sync = ["deleted", "released"].contains(&action);
    let left_git = gone_with_its_sync || action == "pruned";
    for (field, when) in schema {
        let there = fields.contains_key(field);
        let expected = match when.as_str() {
            "always" => true,
            "if it has one" => line["kind"] != "Namespace",
            "unless its Sync was deleted" | "as `revision`" => !gone_with_its_sync,
            "if Git has the object" => !left_git,
            "`healed`, if known" => there && action == "healed",
            other => panic!("the page says {other:?} of {field}"),
        };
        assert_eq!(there, expected, "{field} in {line}");
    }
    for field in ["timestamp", "committed"] {
        if let Some(time) = line[field].as_str() {
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
            assert!(time.ends_with('Z'), "{line}");
        }
    }
}

/// Waits for a line about an object of the case, and returns it.
async fn line(case: &Case<'_>, action: &str, name: &str) -> Value {
    eventually(&format!("{name} {action}"), PATIENCE, async || {
        let lines = lines(case.world);
        let found = lines
            .iter()
            .find(|line| line["action"] == action && line["name"] == name)
            .cloned();
        found.ok_or(lines)
    })
    .await
}

fn about(case: &Case<'_>, name: &str) -> Vec<String> {
    lines(case.world)
        .iter()
        .filter(|line| line["name"] == name)
        .map(|line| line["action"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_change_has_one_line_with_its_commit() {
    // Leaves out all lines but those of the audit log and the server's addresses.
    let args = ["--log-format=json", "--log-level=warn,towline::server=info"];
    let world = World::own(Options::default(), &args).await;
    let case = world.case("audit").await;
    let namespace = case.namespace.as_str();
    // A ConfigMap that a person made before.
    let there = format!("{namespace}-adopted");
    case.kubectl_as_person(&["create", "configmap", &there, "--from-literal=value=person"])
        .await;
    let files = [
        ("a.yaml", config_map("a", namespace, "one")),
        ("b.yaml", config_map("b", namespace, "one")),
        ("c.yaml", config_map(&there, namespace, "one")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, Some(text)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let created = line(&case, "created", "a").await;
    let live = case.live::<ConfigMap>("a").await;
    for (field, value) in [
        ("sync", format!("{namespace}/all")),
        ("kind", "ConfigMap".to_owned()),
        ("namespace", namespace.to_owned()),
        ("uid", live["metadata"]["uid"].as_str().unwrap().to_owned()),
        ("revision", format!("main@sha1:{first}")),
        ("commit", first.clone()),
        ("file", "a.yaml (document 1)".to_owned()),
        ("message", format!("created ConfigMap {namespace}/a")),
    ] {
        assert_eq!(created[field], value.as_str(), "{field} in {created}");
    }
    assert!(!created["author"].as_str().unwrap().is_empty());
    line(&case, "adopted", &there).await;

    let second = [
        ("a.yaml", Some(config_map("a", namespace, "two"))),
        ("b.yaml", None),
    ];
    let second = case.repo.commit(&second, "second");
    case.announce().await;
    case.synced("all", &second).await;
    assert_eq!(line(&case, "changed", "a").await["commit"], second.as_str());
    assert_eq!(line(&case, "pruned", "b").await["commit"], second.as_str());

    case.patch::<ConfigMap>("a", json!({"data": {"value": "person"}}))
        .await;
    case.has("a", "value", Some("two")).await;
    let healed = line(&case, "healed", "a").await;
    assert_eq!(healed["writer"], "person", "{healed}");
    case.delete::<ConfigMap>("a").await;
    case.has("a", "value", Some("two")).await;
    eventually("its deletion is undone", PATIENCE, async || {
        let actions = about(&case, "a");
        (actions == ["created", "changed", "healed", "healed"])
            .then_some(())
            .ok_or(actions)
    })
    .await;
    // The status lists the same changes, with a limit of length.
    let sync = case
        .until("all", "two were healed", |sync| {
            let status = sync.status.as_ref();
            status.is_some_and(|status| status.history.first().is_some_and(|live| live.healed == 2))
        })
        .await;
    let history = sync.status.unwrap().history;
    assert_eq!(history[0].author, created["author"].as_str().unwrap());
    let changed = [
        format!("changed ConfigMap {namespace}/a"),
        format!("pruned ConfigMap {namespace}/b"),
    ];
    assert_eq!(history[0].objects, changed);

    case.delete::<Sync>("all").await;
    line(&case, "deleted", "a").await;
    // It existed before, so it stays.
    line(&case, "released", &there).await;
    assert_eq!(about(&case, "b"), ["created", "pruned"]);
    assert_eq!(about(&case, &there), ["adopted", "released"]);
}
