//! Rows 14 to 17: renders beside kustomize and Helm as processes. A render itself is measured in this process, by the
//! operator's own code; that of 250 Syncs is measured in the operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use towline::render::wasm::{
    Chart, Engine, EngineSettings, Job, Kustomization, Module, Release, Rendered,
};
use towline::source::Folder;

use crate::Options;
use crate::bed::{Bed, HOME, create_sync, has_value, ready_at};
use crate::floor::Fetcher;
use crate::load::Load;
use crate::report::{Limit, Report, Row, Unit, median, millis, seconds};
use crate::seen;
use towline_testing::prometheus::scraped;
use towline_testing::renderers;
use towline_testing::repo::Repo;
use towline_testing::usage::Memory;

/// A chart that is not small, with the definitions of its kinds.
const CERT_MANAGER: &str = "github.com/cert-manager/cert-manager@v1.18.2";

const SYNCS: usize = 250;

/// The renders at once, as with two cores.
const AT_ONCE: usize = 2;

/// The overlays that are to be rendered in a second.
const RATE: f64 = 40.0;

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {app: NAME}}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - {name: web, image: registry.example/web:v1, ports: [{containerPort: 8080}]}
";

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: NAME, labels: {app: NAME}}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
";

const OVERLAY: &str = "namespace: prod
namePrefix: prod-
resources: [../base]
labels: [{pairs: {team: shop}}]
images: [{name: registry.example/web, newTag: v2}]
configMapGenerator: [{name: settings, literals: [level=info]}]
patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/replicas\", \"value\": 3}]'}]
";

/// The renderers, as the operator has them.
struct Renderers {
    engine: Engine,
    kustomize: Module,
    helm: Module,
    /// Upstream's own programs.
    native: PathBuf,
}

impl Renderers {
    fn open(folder: &Path, native: &Path) -> Self {
        let engine = Engine::new(EngineSettings::default()).expect("an engine");
        let open = |name: &str| {
            let file = folder.join(format!("{name}.cwasm"));
            Module::open(&engine, name, &file).expect("a renderer")
        };
        Self {
            kustomize: open("kustomize"),
            helm: open("helm"),
            native: native.to_owned(),
            engine: engine.clone(),
        }
    }

    fn render(&self, module: &Module, folder: &Arc<Folder>, request: &impl Serialize) -> Rendered {
        let job = Job::new(module, Arc::<Folder>::clone(folder));
        let rendered = self.engine.render(&job, request);
        rendered.unwrap_or_else(|failed| panic!("a render: {}", failed.failure))
    }

    fn kustomize(&self, folder: &Arc<Folder>, path: &str) -> Rendered {
        let request = Kustomization {
            path: path.to_owned(),
            provenance: true,
            ..Kustomization::default()
        };
        self.render(&self.kustomize, folder, &request)
    }

    fn helm(&self, folder: &Arc<Folder>, path: &str) -> Rendered {
        let request = Chart {
            path: path.to_owned(),
            release: Release {
                name: "shop".to_owned(),
                namespace: "prod".to_owned(),
                ..Release::default()
            },
            kube_version: "v1.36.3".to_owned(),
            ..Chart::default()
        };
        self.render(&self.helm, folder, &request)
    }

    /// Runs one of upstream's own programs to its end.
    fn native(&self, program: &str, args: &[&str], folder: &Path) {
        let output = Command::new(self.native.join(program))
            .args(args)
            .current_dir(folder)
            .output()
            .expect("one of upstream's programs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
    }
}

pub async fn measure(options: &Options, report: &mut Report) {
    let blocking =
        tokio::task::spawn_blocking(|| (renderers::folder(), renderers::build(&["--native"])));
    let (folder, native) = blocking.await.expect("renderers/build");
    let started = Instant::now();
    let all = Renderers::open(folder, &native);
    let small = tempfile::tempdir().expect("a folder");
    kustomization(small.path(), 1);
    all.kustomize(&tree(small.path()), "prod");
    let first = millis(started.elapsed());
    let all = Arc::new(all);
    if options.wants(&[14]) {
        kustomizations(&all, small.path(), options.rounds, report);
    }
    if options.wants(&[15]) {
        charts(&all, options.rounds, report);
    }
    if options.wants(&[16]) {
        many(&all, folder, options, report).await;
    }
    if options.wants(&[17]) {
        idle(folder, first, options, report).await;
    }
}

/// Row 14.
fn kustomizations(all: &Renderers, small: &Path, rounds: usize, report: &mut Report) {
    let large = tempfile::tempdir().expect("a folder");
    kustomization(large.path(), 100);
    for (work, folder, rounds, times) in [
        ("a small overlay, warm, p50", small, rounds * 2, 0.5),
        (
            "an overlay of 201 objects, warm, p50",
            large.path(),
            rounds.min(7),
            3.0,
        ),
    ] {
        let tree = tree(folder);
        beside(
            report,
            (14, work, rounds, times),
            &mut || {
                all.kustomize(&tree, "prod");
            },
            &mut || all.native("kustomize", &["build", "prod"], folder),
        );
    }
}

/// Row 15.
fn charts(all: &Renderers, rounds: usize, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    // The chart that Helm makes for a beginner.
    all.native("helm", &["create", "small"], folder.path());
    cert_manager(&folder.path().join("large"));
    let tree = tree(folder.path());
    for (work, chart, times) in [
        ("a small chart, warm, p50", "small", 0.5),
        ("cert-manager's chart, warm, p50", "large", 3.0),
    ] {
        let args = [
            "template",
            "shop",
            chart,
            "--namespace",
            "prod",
            "--include-crds",
        ];
        beside(
            report,
            (15, work, rounds, times),
            &mut || {
                all.helm(&tree, chart);
            },
            &mut || all.native("helm", &args, folder.path()),
        );
    }
}

/// A render in turns with a process of upstream.
fn beside(
    report: &mut Report,
    (number, work, rounds, times): (u8, &str, usize, f64),
    ours: &mut dyn FnMut(),
    native: &mut dyn FnMut(),
) {
    let (mut measured, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (ours, native) = (timed(ours), timed(native));
        // The first one warms up.
        if round > 0 {
            measured.push(millis(ours));
            floors.push(millis(native));
        }
    }
    report.add(Row {
        number,
        work: work.to_owned(),
        measured: median(&measured),
        floor: Some(median(&floors)),
        unit: Unit::Milliseconds,
        limit: Limit::TimesFloor(times),
        details: json!({"all": measured, "processes": floors}),
    });
}

/// Row 16: 250 Syncs, each of an overlay on the same base.
async fn many(all: &Arc<Renderers>, folder: &Path, options: &Options, report: &mut Report) {
    let files: Vec<_> = base()
        .into_iter()
        .chain((0..SYNCS).map(|index| overlay(index, "1")))
        .collect();
    let disk = tempfile::tempdir().expect("a folder");
    for (path, text) in &files {
        write(disk.path(), path, text.as_deref().unwrap_or_default());
    }
    let started = Instant::now();
    let tree = tree(disk.path());
    std::thread::scope(|scope| {
        for part in 0..AT_ONCE {
            let (all, tree) = (&all, &tree);
            scope.spawn(move || {
                for index in (part..SYNCS).step_by(AT_ONCE) {
                    all.kustomize(tree, &overlay_folder(index));
                }
            });
        }
    });
    report.add(Row {
        number: 16,
        work: format!("{SYNCS} overlays on one base, {AT_ONCE} at once"),
        measured: seconds(started.elapsed()),
        floor: None,
        unit: Unit::Seconds,
        limit: Limit::AtMost(SYNCS as f64 / RATE),
        details: json!(null),
    });
    let render = timed(&mut || drop(all.kustomize(&tree, &overlay_folder(0))));

    let mut bed = Bed::start(options).await;
    bed.start_operator().await;
    with_renderers(&mut bed, folder).await;
    let repo = bed.git.repo("overlays");
    let commit = repo.commit(&files, "first");
    let all_ready = seen::all(&bed.syncs(), SYNCS, ready_at(&commit)).await;
    let started = Instant::now();
    bed.repository("overlays", &repo).await;
    let syncs = bed.syncs();
    futures::stream::iter(0..SYNCS)
        .map(|index| create(&syncs, index))
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    let times = all_ready.await.expect("the first sync of all");
    let installed = seconds(*times.last().expect("250 times") - started);
    let rounds = options.rounds.clamp(3, 10);
    let changed = change(all, &bed, &repo, rounds).await;
    report.add(Row {
        number: 16,
        work: format!("… one overlay of {SYNCS} Syncs changed, trigger to applied, p50"),
        measured: median(&changed.applied),
        floor: Some(median(&changed.floors)),
        unit: Unit::Milliseconds,
        limit: Limit::TimesFloor(1.3),
        details: json!({
            "all": changed.applied, "floors": changed.floors, "render": millis(render),
            "firstSyncSeconds": installed, "memory": Memory::of(bed.pid()).json(),
        }),
    });
    report.add(Row {
        number: 16,
        work: "… renders for a commit, most".to_owned(),
        measured: changed.renders,
        floor: None,
        unit: Unit::Count,
        limit: Limit::AtMost(1.0),
        details: json!(null),
    });
}

/// What changes of one overlay took, in milliseconds.
struct Changed {
    applied: Vec<f64>,
    /// The fetch alone, a render alone, and one apply.
    floors: Vec<f64>,
    /// The most renders for one commit.
    renders: f64,
}

async fn change(all: &Arc<Renderers>, bed: &Bed, repo: &Repo, rounds: usize) -> Changed {
    let mut fetcher = Fetcher::new(repo.url());
    fetcher.fetch().await;
    let raw = bed.raw(1).await;
    let twin = Load::new("floor-overlay", 1);
    raw.send(&Arc::new(twin.namespace_calls())).await;
    raw.send(&Arc::new(twin.config_map_calls())).await;
    let mut changed = Changed {
        applied: Vec::new(),
        floors: Vec::new(),
        renders: 0.0,
    };
    for round in 0..=rounds {
        let index = round * 101 % SYNCS;
        let value = format!("line-{round}");
        let file = overlay(index, &value);
        let disk = tempfile::tempdir().expect("a folder");
        for (path, text) in base().iter().chain([&file]) {
            write(disk.path(), path, text.as_deref().unwrap_or_default());
        }
        let commit = repo.commit(&[file], "one overlay");
        let api = bed.config_maps(HOME);
        let map = seen::once(&api, &format!("o{index:03}-app"), has_value(&value)).await;
        let ready = seen::all(&bed.syncs(), SYNCS, ready_at(&commit)).await;
        let before = renders(bed).await;
        bed.announce("overlays").await;
        let triggered = Instant::now();
        let (at, _) = map.await.expect("the changed ConfigMap");
        ready.await.expect("the report of all");
        let made = renders(bed).await - before;
        let fetch = millis(fetcher.fetch().await);
        let call = twin.config_map_call(0, &value);
        let apply = millis(raw.send(&Arc::new(vec![call])).await);
        let (all, path) = (Arc::clone(all), overlay_folder(index));
        let rendered = tokio::task::spawn_blocking(move || {
            let tree = tree(disk.path());
            timed(&mut || drop(all.kustomize(&tree, &path)))
        });
        let render = millis(rendered.await.expect("a render"));
        // The first one warms up.
        if round > 0 {
            changed
                .applied
                .push(millis(at.saturating_duration_since(triggered)));
            changed.floors.push(fetch + render + apply);
            changed.renders = changed.renders.max(made);
        }
    }
    changed
}

/// Row 17: what the renderers take while nothing is rendered.
async fn idle(folder: &Path, first: f64, options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    bed.start_operator().await;
    let mut figures = Vec::new();
    for with in [false, true] {
        if with {
            with_renderers(&mut bed, folder).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        figures.push(Memory::of(bed.pid()));
    }
    report.add(Row {
        number: 17,
        work: "renderers: opened, and the first render".to_owned(),
        measured: first,
        floor: None,
        unit: Unit::Milliseconds,
        limit: Limit::AtMost(150.0),
        details: json!(null),
    });
    report.add(Row {
        number: 17,
        work: "… memory that they take while nothing renders".to_owned(),
        measured: (figures[1].rss - figures[0].rss).max(0.0),
        floor: None,
        unit: Unit::MebiBytes,
        limit: Limit::AtMost(5.0),
        details: json!({"without": figures[0].json(), "with": figures[1].json()}),
    });
}

async fn with_renderers(bed: &mut Bed, folder: &Path) {
    let folder = format!("--renderers-dir={}", folder.display());
    let operator = bed.operator.as_mut().expect("a running operator");
    operator.restart_with(&[&folder]).await;
}

async fn create(api: &kube::Api<towline::api::Sync>, index: usize) {
    create_sync(
        api,
        &format!("sync-{index:03}"),
        "overlays",
        &overlay_folder(index),
    )
    .await;
}

/// The renders so far, without what memory or the disk had.
async fn renders(bed: &Bed) -> f64 {
    let text = scraped(bed.operator()).await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("towline_renders_total{from=\"renderer\"} "));
    line.and_then(|count| count.parse().ok())
        .expect("the number of renders")
}

fn overlay_folder(index: usize) -> String {
    format!("overlays/{index:03}")
}

fn base() -> [(String, Option<String>); 2] {
    let maps: Vec<String> = ["app", "logging", "limits"]
        .iter()
        .map(|name| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: base}}\n"))
        .collect();
    let list = "resources: [maps.yaml]\n";
    [
        ("base/kustomization.yaml".to_owned(), Some(list.to_owned())),
        ("base/maps.yaml".to_owned(), Some(maps.join("---\n"))),
    ]
}

/// The overlay with a value for its first ConfigMap.
fn overlay(index: usize, value: &str) -> (String, Option<String>) {
    let text = format!(
        "namespace: {HOME}\nnamePrefix: o{index:03}-\nresources: [../../base]\n\
         patches:\n- target: {{kind: ConfigMap, name: app}}\n  \
         patch: '[{{\"op\": \"replace\", \"path\": \"/data/value\", \"value\": \"{value}\"}}]'\n"
    );
    (
        format!("{}/kustomization.yaml", overlay_folder(index)),
        Some(text),
    )
}

/// An overlay on a base with so many Deployments and Services.
fn kustomization(folder: &Path, pairs: usize) {
    let texts: Vec<String> = (0..pairs)
        .flat_map(|index| {
            [DEPLOYMENT, SERVICE].map(|text| text.replace("NAME", &format!("web-{index}")))
        })
        .collect();
    write(folder, "base/all.yaml", &texts.join("---\n"));
    write(folder, "base/kustomization.yaml", "resources: [all.yaml]\n");
    write(folder, "prod/kustomization.yaml", OVERLAY);
}

/// cert-manager's chart, as it is in the Go module of its sources, with its definitions.
fn cert_manager(folder: &Path) {
    let output = Command::new("go")
        .args(["mod", "download", "-json", CERT_MANAGER])
        .output()
        .expect("go mod download");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("go's answer");
    let module = Path::new(told["Dir"].as_str().expect("a folder")).join("deploy");
    let chart = module.join("charts/cert-manager");
    for (from, to) in [
        (chart.join("templates"), "templates"),
        (module.join("crds"), "crds"),
    ] {
        for file in fs::read_dir(from).expect("a folder") {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if !name.ends_with(".md") {
                let text = fs::read_to_string(&path).expect("a text");
                write(folder, &format!("{to}/{name}"), &text);
            }
        }
    }
    for (from, to) in [
        ("Chart.template.yaml", "Chart.yaml"),
        ("values.yaml", "values.yaml"),
    ] {
        let text = fs::read_to_string(chart.join(from)).expect("a text");
        write(folder, to, &text);
    }
}

fn tree(root: &Path) -> Arc<Folder> {
    Arc::new(Folder::open(root, 100 << 20, 10_000).expect("a tree"))
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
    fs::write(path, text).expect("write a file");
}

fn timed(work: &mut dyn FnMut()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}
