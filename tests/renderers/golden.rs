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
            .filter(|d| d.about.kind != "notes" && (d.about.kind == "hook") == hooks)
            .map(|d| {
                format!(
                    "---\n# Source: {}\n{}\n",
                    d.about.file,
                    String::from_utf8_lossy(&d.body)
                )
            })
            .collect()
    };
    format!("{}\n{}", part(false).trim(), part(true))
}

#[test]
fn helms_own_charts_render_as_natively() {
    let native = script("renderers/build", &["--native"]);
    let helm = Path::new(native.lines().last().unwrap()).join("helm");
    let mut go = Command::new("go");
    let told = go
        .args(["mod", "download", "-json", "helm.sh/helm/v4@v4.3.1"])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let module = Path::new(told["Dir"].as_str().unwrap());
    let mut found = BTreeMap::new();
    let mut compared = 0;
    for suite in [
        "pkg/cmd/testdata/testcharts",
        "pkg/chart/v2/util/testdata",
        "pkg/chart/v2/loader/testdata",
        "pkg/chart/v2/lint/rules/testdata",
    ] {
        for chart in folders(&module.join(suite)) {
            let is_chart =
                chart.join("Chart.yaml").is_file() || chart.extension().is_some_and(|e| e == "tgz");
            if !is_chart {
                continue;
            }
            compared += 1;
            let mut helm = Command::new(&helm);
            let arguments = [
                "template",
                "shop",
                "--namespace",
                "prod",
                "--include-crds",
                "--kube-version",
                "v1.36.3",
            ];
            let output = helm.args(arguments).arg(&chart).output().unwrap();
            let request = Chart {
                path: chart.file_name().unwrap().to_str().unwrap().to_owned(),
                release: Release {
                    name: "shop".to_owned(),
                    namespace: "prod".to_owned(),
                    ..Release::default()
                },
                kube_version: "v1.36.3".to_owned(),
                ..Chart::default()
            };
            let ours = render(&RENDERERS.helm, tree(&module.join(suite)), &request);
            let case = format!("{suite}/{}", request.path);
            let native = output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout));
            match (ours, native) {
                (Ok(ours), Some(native)) => {
                    let ours = as_helm_prints(&ours);
                    if ours != native {
                        let line = ours.lines().zip(native.lines()).find(|(a, b)| a != b);
                        found.insert(case, format!("{line:?}"));
                    }
                }
                (Err(_), None) => {}
                (Ok(_), None) => {
                    let error = String::from_utf8_lossy(&output.stderr).into_owned();
                    found.insert(case, format!("natively an error: {error}"));
                }
                (Err(failed), Some(_)) => {
                    found.insert(case, failed.failure.to_string());
                }
            }
        }
    }
    check(&found, compared, "Helm");
}
