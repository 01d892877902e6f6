//! The generated files in Git are up to date. `TOWLINE_BLESS=1` writes them again:
//!
//! ```sh
//! TOWLINE_BLESS=1 cargo test --test e2e generated
//! ```

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chart::chart;
use crate::pages;
use crate::reference::{self, Shared};
use towline_testing::helm::Helm;

/// The head of the file of plain manifests. It is one file because kubectl applies documents in the order
/// of the file, and the namespace must come first.
const HEAD: &str = "\
# towline for a whole cluster: kubectl apply --server-side -f crds/ -f deploy/
#
# Generated from deploy/chart: change the chart, not this file. Build the image with
# `docker build -t towline:VERSION .`, push it, and put your registry in front of its name below.
apiVersion: v1
kind: Namespace
metadata:
  name: towline-system
  labels:
    app.kubernetes.io/name: towline
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/audit: restricted
    pod-security.kubernetes.io/warn: restricted
";

/// Panics unless the file has this text. With `TOWLINE_BLESS`, writes the file instead.
fn assert_file(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TOWLINE_BLESS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        found, text,
        "{path} is out of date, update it with TOWLINE_BLESS=1 cargo test --test e2e generated"
    );
}

#[test]
fn the_definitions_in_the_chart_are_fresh() {
    for (name, text) in towline::crds::files().unwrap() {
        assert_file(&format!("crds/{name}"), &text);
        assert_file(&format!("deploy/chart/files/crds/{name}"), &text);
    }
    let kept = fs::read_dir(Path::new(chart()).join("files/crds")).unwrap();
    assert_eq!(kept.count(), towline::crds::files().unwrap().len());
}

/// The marks around the generated part of a page.
const BEGIN: &str = "<!-- generated:begin: TOWLINE_BLESS=1 cargo test --test e2e generated -->\n";
const END: &str = "<!-- generated:end -->";

/// Like [`assert_file`], for the generated part of a page.
fn assert_part(path: &str, generated: &str) {
    let page = pages::text(path);
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    assert_file(path, &format!("{before}{BEGIN}\n{generated}{END}{after}"));
}

#[test]
fn the_reference_of_fields_is_fresh() {
    let crds = towline::api::crds();
    let crds: Vec<Value> = crds
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect();
    let of_kind = |kind: &str| {
        let mut all = crds.iter();
        all.find(|crd| crd["spec"]["names"]["kind"] == kind)
            .unwrap()
    };
    let sync = of_kind("Sync");
    let shared = Shared {
        schema: &sync["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
        link: "It has the fields of [a Sync's spec](sync.md#spec), without `sourceRef`.",
    };
    let repository = of_kind("GitRepository");
    assert_eq!(crds.len(), 4, "a kind has no page");
    let pages = [
        (
            "docs/reference/gitrepository.md",
            reference::fields(repository, Some(&shared)),
        ),
        ("docs/reference/sync.md", reference::fields(sync, None)),
        (
            "docs/reference/alert.md",
            reference::fields(of_kind("Alert"), None),
        ),
        (
            "docs/reference/provider.md",
            reference::fields(of_kind("Provider"), None),
        ),
    ];
    for (path, text) in pages {
        assert_part(path, &text);
    }
}

#[test]
fn the_reference_of_flags_is_fresh() {
    assert_part("docs/reference/command-line.md", &reference::flags());
}

#[test]
fn the_reference_of_metrics_is_fresh() {
    assert_part("docs/reference/metrics.md", &reference::metrics());
}

#[tokio::test]
async fn the_plain_manifests_are_the_charts() {
    let args = [
        "template",
        "towline",
        chart(),
        "--namespace=towline-system",
        // The definitions are in crds/.
        "--set=crds.install=false",
    ];
    let rendered = Helm::offline().await.run(&args).await;
    // Labels and annotations of Helm have no use in plain manifests.
    let helms_own = [
        "# Source: ",
        "helm.sh/chart: ",
        "app.kubernetes.io/managed-by: ",
    ];
    let lines = rendered.lines().filter(|line| {
        let line = line.trim_start();
        !helms_own.iter().any(|own| line.starts_with(own))
    });
    let mut text = HEAD.replace("VERSION", env!("CARGO_PKG_VERSION"));
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    assert_file("deploy/towline.yaml", &text);
}
