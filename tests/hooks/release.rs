//! Which release a content is: install and upgrade, and what was there before towline.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use towline::api::Sync;

use super::{CHART, begin, push, release, script};
use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, World, world};
use towline_testing::control_plane::Options;
use towline_testing::helm::Helm;
use towline_testing::wait::eventually;

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

/// Installs charts by real Helm, and lets Syncs follow the same charts.
#[tokio::test]
async fn what_helm_three_and_four_have_installed_goes_on_without_a_restart() {
    let case = world().await.case("hooks-helm").await;
    let config = case.world.cp.kubeconfig_path();
    let random = "apiVersion: v1\nkind: Secret\nmetadata: {name: \"{{ .Release.Name }}-key\"}\nstringData: {key: \"{{ \
                  randAlphaNum 12 }}\"}\n";
    let web = deployment("{{ .Release.Name }}-web", &case.namespace, "");
    let password = script("{{ .Release.Name }}-password", "pre-install", 0)
        .replace("\"true\"", "\"{{ randAlphaNum 12 }}\"");
    let files = [
        ("chart/templates/web.yaml", web),
        ("chart/templates/key.yaml", random.to_owned()),
        ("chart/templates/password.yaml", password),
        (
            "chart/templates/migrate.yaml",
            script("{{ .Release.Name }}-migrate", "pre-upgrade", 0),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let all = files.iter().map(|(path, text)| (*path, text.as_str()));
    for (path, text) in all.chain([(CHART.0, CHART.1.unwrap())]) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let chart = folder.path().join("chart");
    let (three, four) = (Helm::three(&config).await, Helm::of(&config).await);
    for (helm, name) in [(&three, "three"), (&four, "four")] {
        let chart = chart.to_str().unwrap();
        let wait = ["--namespace", &case.namespace, "--wait", "--timeout=2m"];
        helm.run(&[&["install", name, chart][..], &wait].concat())
            .await;
    }
    let seen = async || {
        let mut seen = Vec::new();
        for name in ["three", "four"] {
            let web = case.live::<Deployment>(&format!("{name}-web")).await;
            let key = case.live::<Secret>(&format!("{name}-key")).await;
            let password = case.live::<ConfigMap>(&format!("{name}-password")).await;
            let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
            seen.push((
                uid,
                web["spec"].clone(),
                key["data"].clone(),
                password["data"].clone(),
            ));
        }
        let pods = case.api::<Pod>().list(&ListParams::default()).await;
        let pods = pods.unwrap().items.into_iter();
        let mut pods: Vec<_> = pods.map(|pod| pod.metadata.uid).collect();
        pods.sort();
        assert_eq!(pods.len(), 2);
        (seen, pods)
    };
    let before = seen().await;
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text.as_str())))
        .chain([CHART])
        .collect();
    let commit = case.repo.commit(&files, "what Helm has installed");
    case.repository(json!({})).await;
    for name in ["three", "four"] {
        case.sync(name, json!({"path": "chart"})).await;
        let is = release(&case.synced(name, &commit).await);
        assert_eq!((is.revision, is.upgrade), (2, true), "{name}");
        let migrated = case.data(&format!("{name}-migrate")).await;
        assert!(migrated.is_some(), "an upgrade");
    }
    assert_eq!(seen().await, before);

    // Helm's history goes on, and shows the value that was drawn when Helm installed it.
    let key = before.0[0].2["key"].as_str().unwrap().to_owned();
    for helm in [&three, &four] {
        for name in ["three", "four"] {
            let args = ["--namespace", &case.namespace, "--output=json"];
            let all = helm.run(&[&["history", name][..], &args].concat()).await;
            let all: Value = serde_json::from_str(&all).unwrap();
            let all = all.as_array().unwrap().iter();
            let said = all.clone().last().unwrap()["description"].to_string();
            assert!(said.contains("takes over revision 1 of Helm"), "{said}");
            let all: Vec<_> = all
                .map(|entry| (entry["revision"].as_u64(), entry["status"].as_str()))
                .collect();
            let expected = [(Some(1), Some("superseded")), (Some(2), Some("deployed"))];
            assert_eq!(all, expected, "{name}");
        }
        let args = ["get", "manifest", "three", "--namespace", &case.namespace];
        let manifest = helm.run(&args).await;
        assert!(manifest.contains(&key), "{manifest}");
    }

    // What was taken over stays when its Sync is deleted. Helm goes on where the Sync has stopped.
    for name in ["three", "four"] {
        case.delete::<Sync>(name).await;
    }
    eventually("the Syncs are gone", PATIENCE, async || {
        let left = case.api::<Sync>().list(&ListParams::default()).await;
        left.unwrap().items.is_empty().then_some(())
    })
    .await;
    for (helm, name) in [(&three, "three"), (&four, "four")] {
        let chart = chart.to_str().unwrap();
        let set = ["--namespace", &case.namespace, "--set=more=1"];
        helm.run(&[&["upgrade", name, chart][..], &set].concat())
            .await;
        let args = ["history", name, "--namespace", &case.namespace];
        let history = helm.run(&args).await;
        assert!(history.contains("Upgrade complete"), "{history}");
        assert_eq!(history.matches("deployed").count(), 1, "{history}");
    }
}
