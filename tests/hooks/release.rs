//! Which release a content is: install and upgrade, and what was there before towline.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use towline::api::Sync;

use super::{begin, push, release, script};
use crate::world::{Case, World, world};
use towline_testing::control_plane::Options;

#[tokio::test]
async fn templates_see_install_and_upgrade_apart_and_a_restart_changes_nothing() {
    let options = Options::default();
    let folder = tokio::task::spawn_blocking(towline_testing::renderers::folder).await;
    let renderers = format!("--renderers-dir={}", folder.unwrap().display());
    let mut world = World::own(options, &[&renderers]).await;
    let case = world.case("hooks-number").await;
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: live}}\ndata:\n  value: {value}\n  \
             is: {{{{ if .Release.IsInstall }}}}install{{{{ end }}}}{{{{ if .Release.IsUpgrade }}}}upgrade{{{{ end }}}}\n  \
             revision: {{{{ .Release.Revision | quote }}}}\n"
        )
    };
    let path = "chart/templates/map.yaml";
    let first = begin(&case, &[(path, map("one"))], json!({})).await;
    case.synced("web", &first).await;
    case.has("live", "is", Some("install")).await;
    case.has("live", "revision", Some("1")).await;
    let second = push(&case, &[(path, map("two"))]).await;
    case.synced("web", &second).await;
    let seen = async |case: &Case<'_>| {
        case.has("live", "is", Some("upgrade")).await;
        case.has("live", "revision", Some("2")).await;
    };
    seen(&case).await;
    let version = case.live::<ConfigMap>("live").await["metadata"]["resourceVersion"].clone();
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    case.reconcile("web").await;
    let elsewhere = case
        .push(&[("README.md", Some("other"))], "elsewhere")
        .await;
    let sync = case.synced("web", &elsewhere).await;
    seen(&case).await;
    assert_eq!(release(&sync).revision, 2);
    let now = case.live::<ConfigMap>("live").await["metadata"]["resourceVersion"].clone();
    assert_eq!(now, version, "nothing is written again");

    // A status that was lost, as with a backup that was restored, makes no install of it.
    let aside = case.into_parts();
    world.operator.kill();
    let case = world.resume(aside).await;
    let (lost, params) = (
        Patch::Merge(json!({"status": null})),
        PatchParams::default(),
    );
    let sync = case.api::<Sync>();
    let lost = sync.patch_status("web", &params, &lost).await.unwrap();
    assert!(lost.status.is_none());
    let aside = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    let sync = case.synced("web", &elsewhere).await;
    assert!(release(&sync).upgrade);
    seen(&case).await;
}

#[tokio::test]
async fn a_release_that_helm_has_installed_is_upgraded() {
    let case = world().await.case("hooks-takeover").await;
    let record = |version: u32, status: &str| {
        json!({"metadata": {"name": format!("sh.helm.release.v1.web.v{version}"), "labels":
            {"owner": "helm", "name": "web", "status": status, "version": version.to_string()}}})
    };
    for record in [record(9, "superseded"), record(10, "deployed")] {
        case.make::<Secret>(record).await;
    }
    // A password, which Helm has made at its install.
    let annotations = json!({"helm.sh/hook": "pre-install"});
    let password = json!({"metadata": {"name": "password", "annotations": annotations},
        "data": {"run": "drawn at random"}});
    case.make::<ConfigMap>(password.clone()).await;
    let shows = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: live}\ndata: {revision: \
                 \"{{ .Release.Revision }}\", upgrade: \"{{ .Release.IsUpgrade }}\"}\n";
    let files = [
        ("chart/templates/map.yaml", shows.to_owned()),
        (
            "chart/templates/password.yaml",
            script("password", "pre-install", 0),
        ),
        (
            "chart/templates/migrate.yaml",
            script("migrate", "pre-upgrade", 0),
        ),
    ];
    let commit = begin(&case, &files, json!({})).await;
    let is = release(&case.synced("web", &commit).await);
    assert_eq!((is.revision, is.upgrade), (11, true));
    case.has("live", "revision", Some("11")).await;
    case.has("live", "upgrade", Some("true")).await;
    case.has("migrate", "run", Some("true")).await;
    case.has("password", "run", Some("drawn at random")).await;

    // Of another release there is no record: it would be an install, which does not replace what Helm has made.
    let spec = json!({"path": "chart", "helm": {"releaseName": "other"}, "targetNamespace": case.namespace});
    let live = case.live::<ConfigMap>("live").await;
    case.sync("other", spec).await;
    let message = case.ready_becomes("other", "False", "HookFailed").await;
    assert!(message.contains("Helm made it"), "{message}");
    case.has("password", "run", Some("drawn at random")).await;
    assert_eq!(live, case.live::<ConfigMap>("live").await);
}
