//! Releases that Flux's helm-controller has made: it is Helm with another field manager, and puts two labels on every object.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Resource;
use kube::api::{ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{CHART, release};
use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, world};
use towline_testing::helm::Helm;
use towline_testing::wait::eventually;

const LABEL: &str = "helm.toolkit.fluxcd.io/name";

/// Helm as helm-controller has it, with what that adds to objects.
struct Controller {
    helm: Helm,
    release: &'static str,
    post: String,
}

impl Controller {
    fn of(helm: Helm, release: &'static str, namespace: &str) -> Self {
        let labels = format!(
            "helm.toolkit.fluxcd.io\\/name: {release}, helm.toolkit.fluxcd.io\\/namespace: {namespace}"
        );
        let post = helm.post_renderer(&format!(
            "s/^metadata: {{name: /metadata: {{labels: {{{labels}}}, name: /"
        ));
        Self {
            helm,
            release,
            post,
        }
    }

    async fn run(&self, verb: &str, chart: &str, namespace: &str, more: &[&str]) {
        let mut args = vec![verb, self.release, chart, "--namespace", namespace];
        args.extend(["--wait", "--timeout=2m", "--post-renderer", &self.post]);
        args.extend(more);
        self.helm.run(&args).await;
    }
}

/// Gives Helm's share of an object the name that it has with helm-controller. The name is a constant of Helm's program.
async fn rename_share<K>(case: &Case<'_>, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let api = case.api::<K>();
    let mut entries = api
        .get(name)
        .await
        .unwrap()
        .meta()
        .managed_fields
        .clone()
        .unwrap();
    for entry in &mut entries {
        if entry.manager.as_deref() == Some("helm") {
            entry.manager = Some("helm-controller".to_owned());
        }
    }
    let patch = Patch::Merge(json!({"metadata": {"managedFields": entries}}));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

struct Seen {
    web: Value,
    key: Value,
}

impl Seen {
    async fn of(case: &Case<'_>, release: &str) -> Self {
        Self {
            web: case.live::<Deployment>(&format!("{release}-web")).await,
            key: case.live::<Secret>(&format!("{release}-key")).await,
        }
    }

    /// What stays as it is.
    fn lasting(&self) -> Value {
        let uid = |object: &Value| object["metadata"]["uid"].clone();
        json!([
            uid(&self.web),
            self.web["spec"],
            uid(&self.key),
            self.key["data"]
        ])
    }

    fn has_label(&self) -> [bool; 2] {
        [&self.web, &self.key].map(|object| object["metadata"]["labels"][LABEL].is_string())
    }

    fn managers(&self) -> Vec<&str> {
        let entries = self.web["metadata"]["managedFields"].as_array();
        let entries = entries.into_iter().flatten();
        let own = entries.filter(|entry| entry["subresource"].is_null());
        own.filter_map(|entry| entry["manager"].as_str()).collect()
    }
}

async fn pods(case: &Case<'_>) -> Vec<Option<String>> {
    let pods = case.api::<Pod>().list(&ListParams::default()).await;
    let pods = pods.unwrap().items.into_iter();
    let mut pods: Vec<_> = pods.map(|pod| pod.metadata.uid).collect();
    pods.sort();
    pods
}

#[tokio::test]
async fn a_release_of_helm_controller_goes_on_without_a_restart_and_without_its_labels() {
    let case = world().await.case("hooks-flux").await;
    let config = case.world.cp.kubeconfig_path();
    let web = deployment("{{ .Release.Name }}-web", &case.namespace, "");
    let key = "apiVersion: v1\nkind: Secret\nmetadata: {name: \"{{ .Release.Name }}-key\"}\nstringData: {key: \"{{ \
               randAlphaNum 12 }}\"}\n";
    let files = [
        CHART,
        ("chart/templates/web.yaml", Some(web.as_str())),
        ("chart/templates/key.yaml", Some(key)),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.unwrap()).unwrap();
    }
    let chart = folder.path().join("chart");
    let chart = chart.to_str().unwrap();
    // Flux had Helm 3, which updates, and then Helm 4, which applies.
    let controllers = [
        Controller::of(Helm::three(&config).await, "before", &case.namespace),
        Controller::of(Helm::of(&config).await, "now", &case.namespace),
    ];
    let mut before = Vec::new();
    for controller in &controllers {
        let name = controller.release;
        controller.run("install", chart, &case.namespace, &[]).await;
        rename_share::<Deployment>(&case, &format!("{name}-web")).await;
        rename_share::<Secret>(&case, &format!("{name}-key")).await;
        let seen = Seen::of(&case, name).await;
        assert_eq!(seen.has_label(), [true; 2]);
        assert_eq!(seen.managers(), ["helm-controller"]);
        before.push(seen.lasting());
    }
    let pods_before = pods(&case).await;
    assert_eq!(pods_before.len(), 2);

    let commit = case.repo.commit(&files, "what Flux has installed");
    case.repository(json!({})).await;
    for (controller, before) in controllers.iter().zip(&before) {
        let name = controller.release;
        case.sync(name, json!({"path": "chart"})).await;
        let is = release(&case.synced(name, &commit).await);
        assert_eq!((is.revision, is.upgrade), (2, true), "{name}");
        eventually("Git has no such labels", PATIENCE, async || {
            let seen = Seen::of(&case, name).await;
            assert_eq!(seen.lasting(), *before, "{name}");
            let is_taken = seen.has_label() == [false; 2] && seen.managers() == ["towline"];
            is_taken.then_some(()).ok_or(json!([seen.web, seen.key]))
        })
        .await;
    }
    assert_eq!(pods(&case).await, pods_before);

    // The HelmRelease was left in place.
    for (controller, before) in controllers.iter().zip(&before) {
        let name = controller.release;
        // Helm 4 applies, and takes what it has to take.
        let more: &[&str] = if name == "now" {
            &["--server-side=true", "--force-conflicts"]
        } else {
            &[]
        };
        controller
            .run("upgrade", chart, &case.namespace, more)
            .await;
        eventually("the labels go again", PATIENCE, async || {
            let seen = Seen::of(&case, name).await;
            (seen.has_label() == [false; 2] && seen.lasting()[0] == before[0])
                .then_some(())
                .ok_or(json!([seen.web, seen.key]))
        })
        .await;
        // The two appliers are named, and seen in Helm's history.
        case.reconcile(name).await;
        case.until(name, "a warning names the other applier", |sync| {
            let warnings = super::records::warnings(sync);
            warnings.contains(&format!("Helm changed release {name}"))
                && warnings.contains("HelmRelease of Flux")
        })
        .await;
        let args = ["history", name, "--namespace", &case.namespace];
        eventually("the history names both", PATIENCE, async || {
            let history = controller.helm.run(&args).await;
            let has_both = history.contains("Upgrade complete")
                && history.contains("takes over revision 3 of Helm");
            has_both.then_some(()).ok_or(history)
        })
        .await;
    }
}
