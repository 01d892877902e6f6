//! What is generated and kept in Git is what would be generated now. `TOWLINE_BLESS=1` writes it anew:
//!
//! ```sh
//! TOWLINE_BLESS=1 cargo test --test e2e generated
//! ```

use std::fs;
use std::path::Path;

use crate::chart::chart;
use towline_testing::helm::Helm;

/// How the file of plain manifests begins. One file, because kubectl applies in the order in which it
/// reads, and the namespace comes first.
const HEAD: &str = "\
# towline for a whole cluster: kubectl apply --server-side -f crds/ -f deploy/
#
# Generated from deploy/chart: change that. `docker build -t towline:VERSION .` makes the image; put your
# registry in front of its name.
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

/// Panics unless a file of this repository has this text; writes it where that is asked for.
fn hold(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TOWLINE_BLESS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        found, text,
        "{path}: write it anew: TOWLINE_BLESS=1 cargo test --test e2e generated"
    );
}

#[test]
fn the_definitions_in_the_chart_are_fresh() {
    for (name, text) in towline::crds::files().unwrap() {
        hold(&format!("crds/{name}"), &text);
        hold(&format!("deploy/chart/files/crds/{name}"), &text);
    }
    let kept = fs::read_dir(Path::new(chart()).join("files/crds")).unwrap();
    assert_eq!(kept.count(), towline::crds::files().unwrap().len());
}

#[tokio::test]
async fn the_plain_manifests_are_the_charts() {
    let args = [
        "template",
        "towline",
        chart(),
        "--namespace=towline-system",
        // They are in crds/.
        "--set=crds.install=false",
    ];
    let rendered = Helm::offline().await.run(&args).await;
    // Helm has no part in what becomes of them.
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
    hold("deploy/towline.yaml", &text);
}
