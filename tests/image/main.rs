//! The container image: the real buildah builds it from the Dockerfile, without a daemon and without a
//! registry. The tests check its content and start it against a real control plane.
//!
//! A test binary of its own, because its release build uses every core for minutes and would disturb
//! tests that wait.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod buildah;
mod image;

use std::fs;
use std::time::Duration;

use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use towline::api::GitRepository;

use buildah::Buildah;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::define;
use towline_testing::git::GitServer;
use towline_testing::in_repository;
use towline_testing::kubeconfig::User;
use towline_testing::kubectl::{kubectl, try_kubectl};
use towline_testing::manifest::config_map;
use towline_testing::renderers;
use towline_testing::wait::eventually;

/// For work that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_image_holds_the_operator_and_nothing_else_and_runs_as_nobody() {
    let built = in_repository("renderers/built").display().to_string();
    let build = move || renderers::build(&[&built]);
    tokio::task::spawn_blocking(build)
        .await
        .expect("build the renderers");
    let buildah = Buildah::new();
    let base = buildah.base();
    buildah.build(&base, "towline");
    let config = buildah.config("towline");
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/towline"]));
    assert_eq!(config["Cmd"], json!(["run"]));
    let version = &config["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let container = buildah.container("towline");
    image::holds_only_the_operator(container.root());
    image::is_small(container.root());

    let cp = ControlPlane::start(Options::default()).await;
    let git = GitServer::start();
    converges(&cp, &git, &container).await;
}

/// The operator in the image converges on a commit. It starts as in a pod: as its user, with a service
/// account's kubeconfig and nothing else.
async fn converges(cp: &ControlPlane, git: &GitServer, container: &buildah::Container<'_>) {
    let admin = cp.kubeconfig_path();
    define(cp).await.unwrap();
    let flatten = ["config", "view", "--raw", "--flatten", "-o=json"];
    let kubeconfig = kubectl(&cp.kubeconfig_for(User::Towline), &flatten).await;
    let folder = container.mounted();
    fs::write(folder.join("config"), readable_by_all(&kubeconfig)).unwrap();

    let namespace = cp.namespace("image").await;
    let repo = git.repo(&namespace);
    let manifest = config_map("from-git", &namespace, "live");
    let files = [
        ("a.yaml", Some(manifest.as_str())),
        // Rendered by the renderers of the image.
        ("kustomization.yaml", Some("resources: [a.yaml]\n")),
    ];
    let commit = repo.commit(&files, "first");
    let repository: GitRepository = serde_json::from_value(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"url": repo.url(), "sync": {"prune": true}},
    }))
    .unwrap();
    let run = [
        "run",
        "--listen=127.0.0.1:0",
        "--webhook-listen=127.0.0.1:0",
    ];
    the_root_is_read_only(container, &run).await;
    let operator = container.run(&[], &run);
    Api::namespaced(cp.client().await, &namespace)
        .create(&PostParams::default(), &repository)
        .await
        .unwrap();
    eventually("the commit, live", PATIENCE, async || {
        let get = ["get", "tsync", "shop", "-n", &namespace];
        let revision = "-o=jsonpath={.status.lastAppliedRevision}";
        let applied = try_kubectl(&admin, &[&get[..], &[revision]].concat()).await?;
        match applied.ends_with(&commit) {
            true => Ok(()),
            false => Err(format!("{applied:?}\n{}", operator.log_tail())),
        }
    })
    .await;
}

/// The root is read-only by its mount, not only by file permissions: even root cannot use a cache outside
/// of the volume.
async fn the_root_is_read_only(container: &buildah::Container<'_>, run: &[&str]) {
    let elsewhere = [run, &["--cache-dir=/var/cache/elsewhere"]].concat();
    let mut operator = container.run(&["--user=0:0"], &elsewhere);
    let status = eventually("its end", PATIENCE, async || operator.exited()).await;
    let log = fs::read_to_string(operator.log()).unwrap();
    assert!(!status.success(), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
}

/// Returns the kubeconfig, which another user than the container's owns. Panics if it refers to other
/// files, which the container cannot read.
fn readable_by_all(kubeconfig: &str) -> String {
    let parsed: Value = serde_json::from_str(kubeconfig).expect("a kubeconfig");
    assert!(
        !kubeconfig.contains(".crt\""),
        "the kubeconfig names another file: {parsed}"
    );
    kubeconfig.to_owned()
}
