//! `towline build` makes the objects that Flux makes of the same files. `tests/golden/flux-build` has the cases; the
//! program in its folder `flux` made the results with Flux's own packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use towline_testing::scratch::Scratch;

use crate::build::{build, objects};

const CASES: &str = "tests/golden/flux-build";

/// The cases that may differ from Flux, with the reason.
const DIFFERENCES: [(&str, &str); 2] = [
    (
        "target-namespace",
        "plain manifests are not read by kustomize: what refers to a namespace stays as it is written",
    ),
    ("target-namespace-of-hooks", "the same"),
];

#[tokio::test]
async fn a_build_is_what_flux_makes_of_the_same_files() {
    let mut cases = 0;
    let mut differ = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(Path::new(CASES).join("cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let case = fs::read_to_string(&path).unwrap();
        let expected = Path::new(CASES).join("expected").join(name);
        let expected = fs::read(expected.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        cases += 1;
        let is_known = DIFFERENCES.iter().any(|(known, _)| *known == name);
        match compare(&case, &expected).await {
            Err(difference) if !is_known => differ.push(format!("{name}: {difference}")),
            Ok(()) if is_known => differ.push(format!("{name} no longer differs: unlist it")),
            _ => (),
        }
    }
    assert!(cases > 20, "only {cases} cases");
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

/// Builds the case and compares it with what Flux made.
async fn compare(case: &str, expected: &Value) -> Result<(), String> {
    let scratch = Scratch::new().unwrap();
    let mut spec = Value::Null;
    for (path, text) in files(case) {
        if path == "flux.yaml" {
            spec = serde_saphyr::from_str(&text).unwrap();
            continue;
        }
        let path = scratch.path().join("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let sync = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": "all", "namespace": "flux-system"}, "spec": translated(&spec),
    });
    fs::write(scratch.path().join("sync.yaml"), sync.to_string()).unwrap();
    let output = build(scratch.path(), &["--sync", "sync.yaml", "--root", "repo"]).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    match (expected["refused"] == true, output.status.success()) {
        (true, true) => return Err("Flux refuses it, and towline builds it".to_owned()),
        (true, false) => return Ok(()),
        (false, false) => return Err(format!("towline refuses it: {errors}")),
        (false, true) => (),
    }
    let flux = by_name(expected["objects"].as_array().unwrap());
    let built = objects(&output);
    let towline = by_name(&built);
    let mut lines = Vec::new();
    for name in flux.keys().chain(towline.keys()) {
        let (flux, towline) = (flux.get(name), towline.get(name));
        let is_alike = match (flux, towline) {
            (Some(flux), Some(towline)) => are_alike(flux, towline, false),
            _ => false,
        };
        if !is_alike {
            lines.push(format!(
                "{name}\n  Flux:    {flux:?}\n  towline: {towline:?}"
            ));
        }
    }
    lines.dedup();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(lines.join("\n")),
    }
}

/// Whether two objects are equal, but for fields that take texts only, where Flux writes the number or boolean that a
/// variable has, which the API server refuses.
fn are_alike(flux: &Value, towline: &Value, takes_text: bool) -> bool {
    match (flux, towline) {
        (Value::Object(flux), Value::Object(towline)) => {
            flux.len() == towline.len()
                && flux.iter().all(|(name, value)| {
                    let takes_text =
                        ["data", "labels", "annotations", "env"].contains(&&**name) || takes_text;
                    let other = towline.get(name);
                    other.is_some_and(|other| are_alike(value, other, takes_text))
                })
        }
        (Value::Array(flux), Value::Array(towline)) => {
            flux.len() == towline.len()
                && flux
                    .iter()
                    .zip(towline)
                    .all(|(flux, towline)| are_alike(flux, towline, takes_text))
        }
        (Value::Number(_) | Value::Bool(_), Value::String(_)) => takes_text,
        _ => flux == towline,
    }
}

/// The spec of a Sync that means what this spec of a Flux Kustomization means.
fn translated(flux: &Value) -> Value {
    let mut spec = json!({"sourceRef": {"name": "repo"}, "path": flux["path"]});
    for name in ["targetNamespace", "ignore"] {
        if let Some(value) = flux.get(name) {
            spec[name] = value.clone();
        }
    }
    for name in [
        "namePrefix",
        "nameSuffix",
        "patches",
        "components",
        "ignoreMissingComponents",
        "images",
    ] {
        if let Some(value) = flux.get(name) {
            spec["kustomize"][name] = value.clone();
        }
    }
    if let Some(values) = flux.pointer("/postBuild/substitute") {
        spec["substitute"]["values"] = values.clone();
    }
    spec
}

/// The files of a case, each after a line `-- path --`.
fn files(case: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in case.split_inclusive('\n') {
        let path = line.strip_prefix("-- ");
        match path.and_then(|path| path.strip_suffix(" --\n")) {
            Some(path) => files.push((path.to_owned(), String::new())),
            None => files.last_mut().unwrap().1.push_str(line),
        }
    }
    files
}

fn by_name(objects: &[Value]) -> BTreeMap<String, &Value> {
    let name = |object: &Value| {
        let at = |path| object.pointer(path).and_then(Value::as_str).unwrap_or("");
        let (kind, namespace) = (at("/kind"), at("/metadata/namespace"));
        format!("{kind} {namespace}/{}", at("/metadata/name"))
    };
    objects
        .iter()
        .map(|object| (name(object), object))
        .collect()
}
