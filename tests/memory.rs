//! No input takes the operator beyond its memory limit: each ends in a condition that names it, and a second,
//! healthy Sync is served meanwhile.

use std::cell::Cell;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::{Case, World, condition};
use towline_testing::control_plane::Options;
use towline_testing::renderers;
use towline_testing::usage::Memory;
use towline_testing::wait::{PATIENCE, eventually};

/// Half of the chart's limit on memory, and the most that first lists may take, in MiB.
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

/// Lists that are read once: what a Namespace holds that would be deleted, and the records of a release.
#[tokio::test]
async fn lists_of_what_others_wrote_take_little_memory() {
    let folder = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    let folder = format!("--renderers-dir={}", folder.display());
    let world = World::own(Options::default(), &[&folder]).await;
    let case = world.case("pages").await;
    let big = format!("{}-big", case.namespace);
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {big}}}\n");
    let first = case.repo.commit(
        &[
            ("ok/a.yaml", Some(case.map("a", "first"))),
            ("held/b.yaml", Some(case.map("b", "first"))),
            ("held/namespace.yaml", Some(namespace)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("ok", json!({"path": "ok"})).await;
    case.sync("held", json!({"path": "held"})).await;
    case.synced("held", &first).await;
    let secrets: Api<Secret> = Api::namespaced(case.client.clone(), &big);
    let text = "<".repeat(261_000);
    for number in 0..500 {
        // Labels as those of a record.
        let secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": format!("big-{number}"), "annotations": {"a": text},
                "labels": {"owner": "helm", "name": "web", "status": "superseded", "version": "1"},
            },
        }));
        secrets
            .create(&PostParams::default(), &secret.unwrap())
            .await
            .unwrap();
    }
    let before = peak(&world);
    case.push(&[("held/namespace.yaml", None)], "the namespace leaves")
        .await;
    let message = case.ready_becomes("held", "False", "PruneHeld").await;
    assert!(
        message.contains(&format!("Namespace {big} holds")),
        "{message}"
    );
    others_go_on(&case, "held").await;
    let held = peak(&world);
    println!(
        "500 Secrets of 1.5 MB in a Namespace that leaves: {before:.0}, then at most {held:.0} MiB"
    );
    assert!(held < LISTS, "{held} MiB");

    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n".to_owned();
    let files = chart("web", [map]);
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    let commit = case.push(&files, "a chart").await;
    case.sync("web", json!({"path": "web", "targetNamespace": big}))
        .await;
    case.synced("web", &commit).await;
    others_go_on(&case, "chart").await;
    let records = peak(&world);
    println!("500 Secrets of 1.5 MB with labels of records: at most {records:.0} MiB");
    assert!(records < LIMIT, "{records} MiB");
}

/// The files of a chart with these templates.
fn chart(folder: &str, templates: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let about = "apiVersion: v2\nname: c\nversion: 1.0.0\n".to_owned();
    let templates = (0..).zip(templates);
    let templates =
        templates.map(|(number, text)| (format!("{folder}/templates/{number}.yaml"), text));
    let about = (format!("{folder}/Chart.yaml"), about);
    std::iter::once(about).chain(templates).collect()
}

fn hook(number: usize, events: usize) -> String {
    let events = "test,".repeat(events);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hook-{number}\n  annotations:\n    helm.sh/hook: \
         {events}test\n"
    )
}

/// A hook whose object takes 45 MiB when it is parsed.
fn large_hook(number: usize) -> String {
    let items = "{a: 1},".repeat(70_000);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: large-{number}\n  annotations: {{helm.sh/hook: \
         pre-delete}}\nx: [{items}]\n"
    )
}

/// A chart that hands much over to the operator: requests to the cluster, words about its hooks, paths.
#[tokio::test]
async fn what_charts_say_takes_little_memory() {
    let folder = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    let folder = format!("--renderers-dir={}", folder.display());
    let world = World::own(Options::default(), &[&folder]).await;
    let case = world.case("charts").await;
    let first = case
        .repo
        .commit(&[("ok/a.yaml", Some(case.map("a", "first")))], "first");
    case.repository(json!({})).await;
    case.sync("ok", json!({"path": "ok"})).await;
    case.synced("ok", &first).await;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n";
    let lookups = format!(
        "{{{{ range until 450 }}}}{{{{ $_ := lookup \"v1\" (printf \"%s%d\" (repeat 900000 \"x\") .) \"\" \"\" \
         }}}}{{{{ end }}}}\n{map}"
    );
    let long = "d".repeat(40_000);
    let inputs = [
        ("lookups", "lookups".to_owned(), vec![lookups], ""),
        (
            "hooks",
            "hooks".to_owned(),
            std::iter::once(map.to_owned())
                .chain((0..10).map(|number| hook(number, 100_000)))
                .collect(),
            "",
        ),
        // They stay in memory until the Sync is deleted.
        (
            "held",
            "held".to_owned(),
            std::iter::once(map.to_owned())
                .chain((0..10).map(large_hook))
                .collect(),
            "",
        ),
        (
            "words",
            "words".to_owned(),
            vec![map.to_owned(), hook(0, 200_000)],
            "hands over a text of more than 1024 KiB",
        ),
        (
            "paths",
            format!("{long}/c"),
            vec![map.to_owned(); 400],
            "paths of more than 16 MiB",
        ),
    ];
    for (name, path, templates, says) in inputs {
        let files = chart(&path, templates);
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        case.push(&files, name).await;
        // A path in a spec is shorter.
        let (folder, kustomize) = match path.len() > 1024 {
            true => ("via", true),
            false => (name, false),
        };
        if kustomize {
            let ask = format!("helmCharts: [{{name: c}}]\nhelmGlobals: {{chartHome: ../{long}}}\n");
            case.push(&[("via/kustomization.yaml", Some(&ask))], "via")
                .await;
        }
        case.sync(
            name,
            json!({"path": folder, "targetNamespace": case.namespace}),
        )
        .await;
        others_go_on(&case, name).await;
        match says {
            // Beside all other tests, a debug build takes long for the record that Helm reads of so much.
            "" => {
                let asked = Cell::new(Instant::now());
                eventually("it converges", 4 * PATIENCE, async || {
                    let sync: Sync = case.api().get(name).await.unwrap();
                    let ready = condition(&sync, "Ready");
                    // A render may last two minutes, whatever else the machine does meanwhile.
                    if ready.2.contains("did not end within") && asked.get().elapsed() > PATIENCE {
                        asked.set(Instant::now());
                        let now = jiff::Timestamp::now().to_string();
                        let again =
                            json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
                        case.patch::<Sync>(name, again).await;
                    }
                    (ready.0 == "True").then_some(()).ok_or(ready)
                })
                .await;
            }
            says => {
                let message = case.ready_becomes(name, "False", "TooLarge").await;
                assert!(message.contains(says), "{message}");
            }
        }
        let peak = peak(&world);
        println!("{name}: at most {peak:.0} MiB so far");
        assert!(peak < LIMIT, "{name}: {peak} MiB");
    }
}

/// ConfigMaps and Secrets that Syncs name have limits, and what is too large is read again when it changes.
#[tokio::test]
async fn values_take_little_memory() {
    let world = World::own(Options::default(), &[]).await;
    let case = world.case("values").await;
    let map = case.map("values", "${value:=none}");
    let first = case.repo.commit(
        &[
            ("ok/a.yaml", Some(case.map("a", "first"))),
            ("values/a.yaml", Some(map)),
            ("lines/a.yaml", Some("a: [".to_owned())),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("ok", json!({"path": "ok"})).await;
    case.synced("ok", &first).await;
    let large = "x".repeat(900_000);
    for number in 0..6 {
        case.make::<ConfigMap>(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("large-{number}")},
            "data": {"value": large},
        }))
        .await;
    }
    let from: Vec<_> = (0..6)
        .map(|number| json!({"kind": "ConfigMap", "name": format!("large-{number}")}))
        .collect();
    let spec = json!({"path": "values", "substitute": {"from": from}});
    case.sync("values", spec).await;
    let message = case.ready_becomes("values", "False", "TooLarge").await;
    assert!(message.contains("large-4"), "{message}");
    others_go_on(&case, "second").await;
    for number in 0..6 {
        let name = format!("large-{number}");
        let small = json!({"data": {"value": "small"}});
        case.patch::<ConfigMap>(&name, small).await;
    }
    case.ready_becomes("values", "True", "Converged").await;
    case.has("values", "value", Some("small")).await;

    // A hundred thousand lines are as many secret values, and the manifest beside them is broken.
    let lines: String = (0..100_000).fold(String::new(), |mut text, number| {
        text.push_str(&format!("s{number:06}\n"));
        text
    });
    case.make::<Secret>(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lines"},
        "stringData": {"lines": lines},
    }))
    .await;
    let from = json!([{"kind": "Secret", "name": "lines"}]);
    case.sync(
        "lines",
        json!({"path": "lines", "substitute": {"from": from}}),
    )
    .await;
    let message = case
        .ready_becomes("lines", "False", "InvalidManifest")
        .await;
    assert!(message.contains("left out"), "{message}");
    others_go_on(&case, "third").await;
    let peak = peak(&world);
    println!("values: at most {peak:.0} MiB");
    assert!(peak < LIMIT, "{peak} MiB");
}

/// Values in the specs of Syncs, and annotations of objects that carry the label of a Sync.
#[tokio::test]
async fn what_syncs_and_marks_hold_takes_little_memory() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("specs").await;
    let first = case
        .repo
        .commit(&[("ok/a.yaml", Some(case.map("a", "first")))], "first");
    case.repository(json!({})).await;
    case.sync("ok", json!({"path": "ok"})).await;
    case.synced("ok", &first).await;
    let applied: Value = case.live::<ConfigMap>("a").await;
    let part_of = &applied["metadata"]["labels"]["applyset.kubernetes.io/part-of"];
    let identity = &applied["metadata"]["annotations"]["towline.dev/identity"];
    let (Some(part_of), Some(identity)) = (part_of.as_str(), identity.as_str()) else {
        panic!("{applied}");
    };
    for number in 0..700 {
        let name = format!("marked-{number}");
        let identity = format!("{}/{name}", identity.trim_end_matches("/a"));
        case.make::<ConfigMap>(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "labels": {"applyset.kubernetes.io/part-of": part_of},
                "annotations": {
                    "towline.dev/identity": identity, "towline.dev/digest": "x".repeat(255_000),
                },
            },
        }))
        .await;
    }
    let values = vec![json!({"a": 1}); 120_000];
    for number in 0..6 {
        let spec = json!({"path": "ok", "helm": {"values": {"x": values}}});
        case.sync(&format!("large-{number}"), spec).await;
    }
    let message = case.ready_becomes("large-5", "False", "InvalidSpec").await;
    assert!(message.contains("of memory"), "{message}");
    assert!(message.contains("towline.dev/requested-at"), "{message}");
    others_go_on(&case, "second").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    others_go_on(&case, "third").await;
    let peak = peak(&world);
    println!("specs and marks: at most {peak:.0} MiB");
    assert!(peak < LIMIT, "{peak} MiB");
}
