//! Renders the inputs of kustomize's own test suite and Helm's test charts. The sandbox must produce what
//! upstream's programs produce. `differences.txt` lists the exceptions with their reasons.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use towline::render::wasm::{Chart, Kustomization, Release, Rendered};

use super::{
    folder::tree,
    modules::{RENDERERS, render, stream},
};

const DIFFERENCES: &str = include_str!("differences.txt");

/// The cases that are allowed to differ, with the reason.
fn differences() -> BTreeMap<&'static str, &'static str> {
    DIFFERENCES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect()
}

pub fn script(name: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut command = Command::new(script);
    let output = command
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.sort();
    folders
}

/// Compares the differences that were found with the list.
fn check(found: &BTreeMap<String, String>, compared: usize, suite: &str) {
    let listed = differences();
    let unlisted: Vec<_> = found
        .iter()
        .filter(|(case, _)| !listed.contains_key(case.as_str()))
        .collect();
    eprintln!("{suite}: {compared} cases, {} differ", found.len());
    for (case, what) in &unlisted {
        eprintln!("{case}: {what}\n");
    }
    assert!(
        unlisted.is_empty(),
        "{} cases differ and are not listed",
        unlisted.len()
    );
}

/// The name of a case without the number of its run, which changes every time.
fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy();
    name.rsplit_once('-')
        .map_or(&*name, |(name, _)| name)
        .to_owned()
}

#[test]
fn kustomizes_own_tests_render_as_natively() {
    let cases = script("renderers/golden/run", &[]);
    let mut found = BTreeMap::new();
    let cases = folders(Path::new(cases.trim()));
    for case in &cases {
        let path = fs::read_to_string(case.join("path")).unwrap();
        let request = Kustomization {
            path: path.trim_start_matches('/').to_owned(),
            ..Kustomization::default()
        };
        let tree = tree(&case.join("files"));
        let ours = render(&RENDERERS.kustomize, tree, &request);
        let native = fs::read_to_string(case.join("expected.yaml"));
        match (&ours, &native) {
            (Ok(ours), Ok(native)) if stream(ours) == *native => {}
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(native)) => {
                let ours = stream(ours);
                let line = ours.lines().zip(native.lines()).find(|(a, b)| a != b);
                found.insert(name(case), format!("{line:?}"));
            }
            (Ok(_), Err(_)) => {
                let error = fs::read_to_string(case.join("error")).unwrap();
                found.insert(name(case), format!("natively an error: {error}"));
            }
            (Err(failed), Ok(_)) => {
                found.insert(name(case), failed.failure.to_string());
            }
        }
    }
    check(&found, cases.len(), "kustomize");
}

/// Prints what `helm template --include-crds` prints: CRDs and manifests, trimmed, then hooks.
fn as_helm_prints(rendered: &Rendered) -> String {
    let part = |hooks: bool| -> String {
        let documents = rendered.documents.iter();
        documents
            .filter(|d| !matches!(&*d.about.kind, "notes" | "unknownHook"))
            .filter(|d| (d.about.kind == "hook") == hooks)
            .map(|d| {
                // A manifest has its last line end already, as in a release.
                let end = if d.about.kind == "manifest" { "" } else { "\n" };
                let body = String::from_utf8_lossy(&d.body);
                format!("---\n# Source: {}\n{body}{end}", d.about.file)
            })
            .collect()
    };
    format!("{}\n{}", part(false).trim(), part(true))
}

/// The native Helm, and the folders of Go modules at the versions that are named.
fn helm_and_modules(modules: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let native = script("renderers/build", &["--native"]);
    let helm = Path::new(native.lines().last().unwrap()).join("helm");
    let mut go = Command::new("go");
    let told = go
        .args(["mod", "download", "-json"])
        .args(modules)
        .output()
        .unwrap();
    let told = serde_json::Deserializer::from_slice(&told.stdout).into_iter();
    let folders = told.map(|module: Result<serde_json::Value, _>| {
        let module = module.unwrap();
        let folder = module["Dir"].as_str();
        folder.unwrap_or_else(|| panic!("{module}")).into()
    });
    (helm, folders.collect())
}

/// What differs between a chart of this folder as `helm template` renders it and as the sandbox does.
fn difference(helm: &Path, folder: &Path, chart: &str) -> Option<String> {
    let mut helm = Command::new(helm);
    let arguments = [
        "template",
        "shop",
        "--namespace",
        "prod",
        "--include-crds",
        "--kube-version",
        "v1.36.3",
    ];
    let output = helm
        .args(arguments)
        .arg(folder.join(chart))
        .output()
        .unwrap();
    let request = Chart {
        path: chart.to_owned(),
        release: Release {
            name: "shop".to_owned(),
            namespace: "prod".to_owned(),
            ..Release::default()
        },
        kube_version: "v1.36.3".to_owned(),
        ..Chart::default()
    };
    let ours = render(&RENDERERS.helm, tree(folder), &request);
    let native = output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout));
    match (ours, native) {
        (Ok(ours), Some(native)) => {
            let ours = as_helm_prints(&ours);
            let line = || ours.lines().zip(native.lines()).find(|(a, b)| a != b);
            (ours != native).then(|| format!("{:?}", line()))
        }
        (Err(_), None) => None,
        (Ok(_), None) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Some(format!("natively an error: {error}"))
        }
        (Err(failed), Some(_)) => Some(failed.failure.to_string()),
    }
}

#[test]
fn helms_own_charts_render_as_natively() {
    let (helm, modules) = helm_and_modules(&["helm.sh/helm/v4@v4.3.1"]);
    let mut found = BTreeMap::new();
    let mut compared = 0;
    for suite in [
        "pkg/cmd/testdata/testcharts",
        "pkg/chart/v2/util/testdata",
        "pkg/chart/v2/loader/testdata",
        "pkg/chart/v2/lint/rules/testdata",
    ] {
        let folder = modules[0].join(suite);
        for chart in folders(&folder) {
            let is_chart =
                chart.join("Chart.yaml").is_file() || chart.extension().is_some_and(|e| e == "tgz");
            if !is_chart {
                continue;
            }
            compared += 1;
            let chart = chart.file_name().unwrap().to_str().unwrap();
            if let Some(what) = difference(&helm, &folder, chart) {
                found.insert(format!("{suite}/{chart}"), what);
            }
        }
    }
    check(&found, compared, "Helm");
}

/// Go modules that have charts which teams install, and the charts.
const FIELD: [(&str, &str); 11] = [
    ("sigs.k8s.io/metrics-server@v0.9.0", "charts/metrics-server"),
    ("sigs.k8s.io/descheduler@v0.36.0", "charts/descheduler"),
    (
        "k8s.io/ingress-nginx@v0.0.0-20240708192948-52c50467d67d",
        "charts/ingress-nginx",
    ),
    (
        "github.com/bitnami-labs/sealed-secrets@v0.40.0",
        "helm/sealed-secrets",
    ),
    (
        "github.com/stefanprodan/podinfo@v1.8.1-0.20250910200901-e86405a8674e",
        "charts/podinfo",
    ),
    ("sigs.k8s.io/kueue@v0.17.0", "charts/kueue"),
    (
        "github.com/cert-manager/trust-manager@v0.25.0",
        "deploy/charts/trust-manager",
    ),
    (
        "github.com/cert-manager/approver-policy@v0.28.0",
        "deploy/charts/approver-policy",
    ),
    (
        "github.com/rancher/local-path-provisioner@v0.0.30",
        "deploy/chart/local-path-provisioner",
    ),
    ("github.com/kyverno/kyverno@v1.19.1", "charts/kyverno"),
    (
        "github.com/kyverno/kyverno@v1.19.1",
        "charts/kyverno-policies",
    ),
];

#[test]
fn charts_of_the_field_render_as_natively() {
    let (helm, modules) = helm_and_modules(&FIELD.map(|(module, _)| module));
    let mut found = BTreeMap::new();
    for ((module, chart), folder) in FIELD.iter().zip(modules) {
        if let Some(what) = difference(&helm, &folder, chart) {
            found.insert(format!("{module}/{chart}"), what);
        }
    }
    check(&found, FIELD.len(), "charts of the field");
}
