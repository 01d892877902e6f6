//! Helm 3, which many users have, renders the chart exactly as Helm 4 does.

use std::path::Path;

use crate::chart::{chart, read, values};
use crate::install::{HOME, cluster};
use towline_testing::helm::Helm;
use towline_testing::kubectl::kubectl;

#[tokio::test]
async fn it_renders_the_same() {
    let (three, four) = (
        Helm::three(Path::new("/dev/null")).await,
        Helm::offline().await,
    );
    for name in ["everything", "nothing", "namespace"] {
        let values = values(name);
        three
            .run(&["lint", "--strict", chart(), "--values", &values])
            .await;
        let args = ["template", "towline", chart(), "--values", &values];
        // Without a cluster, a Helm that Go has built assumes Kubernetes 1.20.
        let args = [&args[..], &["--kube-version=1.36.0"]].concat();
        let rendered = [three.run(&args).await, four.run(&args).await];
        let [by_three, by_four] = rendered.map(|text| read(&text));
        assert_eq!(by_three, by_four, "{name}");
    }
}

/// Helm 4 upgrades a release of Helm 3.
#[tokio::test]
async fn it_installs_upgrades_and_uninstalls() {
    let cp = cluster().await;
    let config = cp.kubeconfig_path();
    let (three, four) = (Helm::three(&config).await, Helm::of(&config).await);
    let wait = ["--namespace", HOME, "--wait", "--timeout=3m"];
    let install = ["install", "towline", chart()];
    let upgrade = ["upgrade", "towline", chart(), "--reset-then-reuse-values"];
    let two = "--set=replicas=2";
    three.run(&[&install[..], &wait].concat()).await;
    three.run(&[&upgrade[..], &wait, &[two]].concat()).await;
    four.run(&[&upgrade[..], &wait].concat()).await;
    let pods = kubectl(&config, &["get", "pods", "-n", HOME, "-o", "name"]).await;
    assert_eq!(pods.lines().count(), 2, "{pods}");
    three
        .run(&["uninstall", "towline", "--namespace", HOME, "--wait"])
        .await;
    let left = ["get", "deployment,crd,clusterrole", "-A", "-o", "name"];
    let left = kubectl(&config, &left).await;
    assert!(left.contains("/syncs.towline.dev"), "{left}");
    assert!(!left.contains("/towline"), "{left}");
}
