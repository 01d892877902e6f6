//! No input takes the operator beyond its memory limit: each ends in a condition that names it, and a second,
//! healthy Sync is served meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{Case, World, condition};
use towline_testing::control_plane::Options;
use towline_testing::usage::Memory;

/// The chart's limit on memory, and the most that first lists may take, in MiB.
const LIMIT: f64 = 512.0;
const LISTS: f64 = 160.0;

/// What a file holds, and what the condition says of it.
struct Input {
    file: &'static str,
    content: String,
    reason: &'static str,
    says: &'static str,
}

fn config_map(more: &str) -> String {
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"x\",\"namespace\":\"default\"}}{more}}}"
    )
}

fn expanding(count: usize) -> String {
    let items = "{\"a\":1},".repeat(count);
    config_map(&format!(",\"x\":[{items}{{\"a\":1}}]"))
}

fn patterns(count: usize) -> String {
    (0..count)
        .map(|number| format!("*a{number}*b*c/**\n"))
        .collect()
}

fn inputs() -> Vec<Input> {
    let list = "{a: 1}, ".repeat(1_000);
    vec![
        Input {
            file: "x/a.json",
            content: expanding(1_900_000),
            reason: "InvalidManifest",
            says: "x/a.json",
        },
        Input {
            file: "x/b.json",
            content: expanding(390_000),
            reason: "InvalidManifest",
            says: "x/b.json",
        },
        Input {
            file: "x/c.yaml",
            content: format!("x:\n{}", "- {a: 1}\n".repeat(1_500_000)),
            reason: "InvalidManifest",
            says: "x/c.yaml",
        },
        Input {
            file: "x/d.yaml",
            content: format!("x: &x [{list}]\ny:\n{}", "- *x\n".repeat(100_000)),
            reason: "InvalidManifest",
            says: "x/d.yaml",
        },
        Input {
            file: "x/e.yaml",
            content: config_map(&format!(",\"data\":{{\"x\":\"{}\"}}", "y".repeat(15 << 20))),
            reason: "InvalidManifest",
            says: "x/e.yaml",
        },
        Input {
            file: "x/.towlineignore",
            content: patterns(1_000_000),
            reason: "TooLarge",
            says: "x/.towlineignore",
        },
    ]
}

fn peak(world: &World) -> f64 {
    Memory::of(world.operator.pid()).peak
}

/// A commit of a healthy Sync is applied.
async fn others_go_on(case: &Case<'_>, value: &str) {
    let file = case.map("a", value);
    let commit = case.push(&[("ok/a.yaml", Some(&file))], value).await;
    case.synced("ok", &commit).await;
    case.has("a", "value", Some(value)).await;
}

#[tokio::test]
async fn what_git_holds_takes_little_memory() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("expands").await;
    case.repo
        .commit(&[("ok/a.yaml", Some(case.map("a", "first")))], "first");
    case.repository(json!({})).await;
    case.sync("ok", json!({"path": "ok"})).await;
    case.ready_becomes("ok", "True", "Converged").await;
    for (number, input) in inputs().into_iter().enumerate() {
        let name = format!("bad{number}");
        let file = input.file.replace("x/", &format!("{name}/"));
        let says = input.says.replace("x/", &format!("{name}/"));
        let mut files = vec![(file.as_str(), Some(input.content.as_str()))];
        let other = format!("{name}/other.yaml");
        let map = case.map("other", "x");
        if input.reason == "TooLarge" {
            files.push((&other, Some(&map)));
        }
        case.push(&files, &name).await;
        case.sync(&name, json!({"path": name})).await;
        others_go_on(&case, &name).await;
        let message = case.ready_becomes(&name, "False", input.reason).await;
        assert!(message.contains(&says), "{message}");
        let peak = peak(&world);
        println!(
            "{}: {} bytes, at most {peak:.0} MiB so far",
            input.file,
            input.content.len()
        );
        assert!(peak < LIMIT, "{}: {peak} MiB", input.file);
    }
    // A restarted operator meets all of them at once.
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    others_go_on(&case, "restarted").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    for number in 0..inputs().len() {
        let name = format!("bad{number}");
        case.until(&name, "it is refused", |sync| {
            condition(sync, "Ready").0 == "False"
        })
        .await;
    }
    let peak = peak(&world);
    println!("all at once: at most {peak:.0} MiB");
    assert!(peak < LIMIT, "{peak} MiB");
}

#[tokio::test]
async fn the_first_lists_take_little_memory() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("lists").await;
    let first = case
        .repo
        .commit(&[("a.yaml", Some(case.map("a", "first")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let secrets: Api<Secret> = case.api();
    let text = "<".repeat(261_000);
    for number in 0..500 {
        let secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("big-{number}"), "annotations": {"a": text}},
        }));
        secrets
            .create(&PostParams::default(), &secret.unwrap())
            .await
            .unwrap();
    }
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let second = case
        .push(&[("a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.synced("all", &second).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let peak = peak(&world);
    println!("500 Secrets of 1.5 MB of metadata: at most {peak:.0} MiB");
    assert!(peak < LISTS, "{peak} MiB");
}
