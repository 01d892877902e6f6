//! A restart does not render all again: outputs of renderers are on disk, but those with anything secret.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::control_plane::Options;
use towline_testing::repo::Repo;
use towline_testing::wait::eventually;
use towline_testing::{in_repository, renderers};

use crate::world::{Case, PATIENCE, World};

/// Syncs whose outputs are kept on disk. The first chart shows the number of its release, the second does not.
const KEPT: [&str; 4] = ["numbered", "plain", "overlay", "elsewhere"];

/// Syncs whose outputs are not: of encrypted files, of a Secret's values, of random values, of what was looked up.
const NOT_KEPT: [&str; 5] = ["sops", "values", "mapped", "drawn", "looks"];

/// What is secret: decrypted, from a Secret, from a ConfigMap of values, and looked up.
const SECRETS: [&str; 4] = [
    "hunter2-very-secret",
    "swordfish-of-values",
    "trout-of-the-map",
    "carp-of-the-cluster",
];

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";

/// A template of a map with this value.
fn template(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {{{{ {value} | quote }}}}}}\n"
    )
}

fn golden(name: &str) -> String {
    fs::read_to_string(in_repository("tests/golden/sops").join(name)).unwrap()
}

/// Pushes all files, and makes all Syncs and what they need.
async fn follow(case: &Case<'_>) {
    let number = "print .Values.greeting \" \" .Release.Revision";
    let drawn = "randAlphaNum 16";
    let looks =
        "dig \"data\" \"value\" \"none\" (lookup \"v1\" \"ConfigMap\" .Release.Namespace \"fish\")";
    let charts = [
        ("numbered", number),
        ("plain", ".Values.greeting"),
        ("values", ".Values.secret"),
        ("mapped", ".Values.secret"),
        ("drawn", drawn),
        ("looks", looks),
    ];
    let mut files = vec![
        (
            "base/kustomization.yaml".to_owned(),
            "resources: [map.yaml]\n".to_owned(),
        ),
        (
            "base/map.yaml".to_owned(),
            case.map("overlay", "of the base"),
        ),
        (
            "overlay/kustomization.yaml".to_owned(),
            "resources: [../base]\n".to_owned(),
        ),
        (
            "elsewhere/kustomization.yaml".to_owned(),
            "resources: [map.yaml]\n".to_owned(),
        ),
        (
            "elsewhere/map.yaml".to_owned(),
            case.map("elsewhere", "plain"),
        ),
        (
            "sops/kustomization.yaml".to_owned(),
            "resources: [secret.yaml]\n".to_owned(),
        ),
        (
            "sops/secret.yaml".to_owned(),
            golden("encrypted/secret.yaml"),
        ),
    ];
    for (name, value) in charts {
        files.push((format!("{name}/Chart.yaml"), CHART.to_owned()));
        files.push((
            format!("{name}/values.yaml"),
            "greeting: hello of the chart\n".to_owned(),
        ));
        files.push((format!("{name}/templates/a.yaml"), template(name, value)));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, Some(text)))
        .collect();
    case.repo.commit(&files, "first");

    let values = |value: &str| json!({"values.yaml": format!("secret: {value}\n")});
    for secret in [
        json!({"metadata": {"name": "age"}, "stringData": {"one.agekey": golden("keys/one.agekey")}}),
        json!({"metadata": {"name": "values"}, "stringData": values(SECRETS[1])}),
    ] {
        case.make::<Secret>(secret).await;
    }
    for map in [
        json!({"metadata": {"name": "mapped-values"}, "data": values(SECRETS[2])}),
        json!({"metadata": {"name": "fish"}, "data": {"value": SECRETS[3]}}),
    ] {
        case.make::<ConfigMap>(map).await;
    }
    case.repository(json!({})).await;
    for name in KEPT.into_iter().chain(NOT_KEPT) {
        let mut spec = json!({"path": name, "targetNamespace": case.namespace});
        match name {
            "sops" => {
                spec["decryption"] = json!({"provider": "sops", "secretRef": {"name": "age"}});
            }
            "values" => {
                spec["helm"] = json!({"valuesFrom": [{"kind": "Secret", "name": "values"}]});
            }
            "mapped" => {
                let from = json!({"kind": "ConfigMap", "name": "mapped-values"});
                spec["helm"] = json!({"valuesFrom": [from]});
            }
            "looks" => spec["helm"] = json!({"lookup": [{"kind": "ConfigMap"}]}),
            _ => (),
        }
        case.sync(name, spec).await;
    }
}

/// How often a renderer ran, and how often memory and the disk had the output, since the start.
async fn counts(world: &World) -> BTreeMap<String, u64> {
    let page = world.operator.page("/metrics").await.unwrap();
    let counts = page.lines().filter_map(|line| {
        let rest = line.strip_prefix("towline_renders_total{from=\"")?;
        let (from, count) = rest.split_once("\"} ")?;
        Some((from.to_owned(), count.parse::<f64>().ok()? as u64))
    });
    counts.collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        _ => vec![entry.path()],
    });
    below.collect()
}

/// The files with outputs. Waits until there are as many as Syncs that have one.
async fn kept(world: &World) -> Vec<PathBuf> {
    let folder = world.operator.cache_folder().join("rendered");
    eventually("all outputs are on disk", PATIENCE, async || {
        let files = files_below(&folder);
        let is_whole = |path: &PathBuf| path.extension().is_none();
        let all = files.len() == KEPT.len() && files.iter().all(is_whole);
        all.then(|| files.clone()).ok_or(format!("{files:?}"))
    })
    .await
}

/// Whether a file shows a text as it is, or where it is decompressed from any of its bytes on.
fn shows(file: &[u8], text: &str) -> bool {
    let has = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let inflated = |from: usize| {
        let mut bytes = Vec::new();
        let inflated = DeflateDecoder::new(&file[from..]).take(1 << 20);
        // What comes before an error counts as well.
        let _ = { inflated }.read_to_end(&mut bytes);
        bytes
    };
    has(file) || (0..file.len()).any(|from| has(&inflated(from)))
}

/// Starts the operator again, and waits until it has read each Sync.
async fn start_again(world: &mut World, aside: (String, Repo)) -> (String, Repo) {
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    for name in KEPT.into_iter().chain(NOT_KEPT) {
        case.reconcile(name).await;
    }
    case.into_parts()
}

async fn versions(case: &Case<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    for name in KEPT
        .into_iter()
        .chain(["values", "mapped", "drawn", "looks"])
    {
        found.push(case.live::<ConfigMap>(name).await["metadata"]["resourceVersion"].clone());
    }
    found
}

#[tokio::test]
async fn a_restart_renders_what_is_secret_and_nothing_else() {
    let renderers = format!("--renderers-dir={}", renderers::folder().display());
    let mut world = World::own(Options::default(), &[&renderers]).await;
    let case = world.case("restart").await;
    follow(&case).await;
    case.has("looks", "value", Some(SECRETS[3])).await;
    case.has("values", "value", Some(SECRETS[1])).await;
    case.has("mapped", "value", Some(SECRETS[2])).await;
    case.has("numbered", "value", Some("hello of the chart 1"))
        .await;
    // Both charts have a second release.
    let greeting = Some("greeting: good evening\n");
    let second = [
        ("numbered/values.yaml", greeting),
        ("plain/values.yaml", greeting),
    ];
    let second = case.push(&second, "second").await;
    for name in KEPT.into_iter().chain(NOT_KEPT) {
        case.synced(name, &second).await;
    }
    case.has("numbered", "value", Some("good evening 2")).await;
    case.has("plain", "value", Some("good evening")).await;
    kept(&world).await;
    let before = versions(&case).await;
    let aside = case.into_parts();

    let aside = start_again(&mut world, aside).await;
    let found = counts(&world).await;
    assert_eq!(found["disk"], KEPT.len() as u64, "{found:?}");
    assert_eq!(found["renderer"], NOT_KEPT.len() as u64, "{found:?}");
    let case = world.resume(aside).await;
    assert_eq!(versions(&case).await, before);

    // No file of the cache shows anything secret. Git's are compressed as well.
    let drawn = case.data("drawn").await.unwrap()["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let outputs = kept(&world).await;
    let all = files_below(&world.operator.cache_folder());
    assert!(all.len() > outputs.len());
    let is_shown = |text: &str| {
        let mut shown = all
            .iter()
            .filter(|path| shows(&fs::read(path).unwrap(), text));
        shown.next().cloned()
    };
    for secret in SECRETS.iter().copied().chain([&*drawn]) {
        assert_eq!(is_shown(secret), None, "{secret}");
    }
    for plain in ["of the base", "good evening 2"] {
        let mut outputs = outputs.iter();
        let found = outputs.any(|path| shows(&fs::read(path).unwrap(), plain));
        assert!(found, "{plain} is not found by the search above");
    }

    // Somebody else writes to the volume: what is not towline's own counts for nothing.
    let aside = case.into_parts();
    world.operator.kill();
    let [one, other, changed, cut] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let right = fs::read(one).unwrap();
    fs::write(one, fs::read(other).unwrap()).unwrap();
    fs::write(other, right).unwrap();
    let mut bytes = fs::read(changed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(changed, bytes).unwrap();
    let bytes = fs::read(cut).unwrap();
    fs::write(cut, &bytes[..bytes.len() / 2]).unwrap();
    let aside = start_again(&mut world, aside).await;
    let found = counts(&world).await;
    assert_eq!(found["disk"], 0, "{found:?}");
    let case = world.resume(aside).await;
    assert_eq!(versions(&case).await, before);
    kept(&world).await;

    // A commit while it was stopped renders what it touches.
    let aside = case.into_parts();
    world.operator.kill();
    let case = world.resume(aside).await;
    let map = case.map("overlay", "of the new base");
    let third = case.repo.commit(&[("base/map.yaml", Some(map))], "third");
    let aside = case.into_parts();
    let aside = start_again(&mut world, aside).await;
    let case = world.resume(aside).await;
    for name in KEPT {
        case.synced(name, &third).await;
    }
    case.has("overlay", "value", Some("of the new base")).await;
    let found = counts(&world).await;
    assert!(found["disk"] >= KEPT.len() as u64 - 1, "{found:?}");

    // What was rendered for a Sync goes with it.
    let before = kept(&world).await.len();
    case.delete::<Sync>("plain").await;
    let folder = world.operator.cache_folder().join("rendered");
    eventually("its output is removed", PATIENCE, async || {
        let files = files_below(&folder);
        (files.len() == before - 1).then_some(()).ok_or(files)
    })
    .await;
}
