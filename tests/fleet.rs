//! The repository for two clusters in `examples/fleet`, on two control planes.

use std::fs;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::define;
use towline_testing::git::GitServer;
use towline_testing::in_repository;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::renderers;
use towline_testing::wait::within;

use crate::world::{PATIENCE, applied, condition};

/// A cluster that follows the repository. The operator ends before its cluster.
struct Cluster {
    _operator: Operator,
    client: Client,
    _plane: ControlPlane,
}

impl Cluster {
    /// Does what the example's README says.
    async fn start(name: &str, url: &str) -> Self {
        let plane = ControlPlane::start(Options {
            controllers: true,
            nodes: 1,
            ..Options::default()
        })
        .await;
        define(&plane).await.unwrap();
        let client = plane.client().await;
        let renderers = tokio::task::spawn_blocking(renderers::folder)
            .await
            .unwrap();
        let mut options = OperatorOptions::new(&plane);
        options
            .args
            .push(format!("--renderers-dir={}", renderers.display()));
        let operator = Operator::start(options).await;

        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = object(json!({"metadata": {"name": "fleet"}}));
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let cluster = Self {
            _operator: operator,
            client,
            _plane: plane,
        };
        let file = format!("{name}.agekey");
        let key = in_repository("examples/fleet/keys").join(&file);
        let key = fs::read_to_string(key).unwrap();
        let secret: Secret =
            object(json!({"metadata": {"name": "sops-age"}, "stringData": {file: key}}));
        let params = PostParams::default();
        cluster.api("fleet").create(&params, &secret).await.unwrap();
        let repository: GitRepository = object(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": "fleet"},
            "spec": {"url": url, "interval": "1s", "sync": {
                "path": format!("clusters/{name}"), "prune": true, "wait": true,
            }},
        }));
        let repositories = cluster.api("fleet");
        repositories.create(&params, &repository).await.unwrap();
        cluster
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits until every Sync of the example is ready at `commit`.
    async fn converged(&self, commit: &str) {
        let syncs: Api<Sync> = self.api("fleet");
        let all = within(PATIENCE, async || {
            let list = syncs.list(&Default::default()).await.unwrap();
            let behind = list.iter().filter(|sync| {
                condition(sync, "Ready").0 != "True" || !applied(sync).ends_with(commit)
            });
            let behind: Vec<_> = behind
                .map(|sync| (sync.name_any(), condition(sync, "Ready")))
                .collect();
            match list.items.len() == 5 && behind.is_empty() {
                true => Ok(()),
                false => Err(format!("{} Syncs; behind: {behind:?}", list.items.len())),
            }
        });
        if let Err(last) = all.await {
            panic!("not within {PATIENCE:?}: all Syncs ready at {commit}; last seen: {last}");
        }
    }

    /// The Deployment of the shop.
    async fn shop(&self) -> Value {
        let shop: Deployment = self.api("shop").get("shop").await.unwrap();
        serde_json::to_value(shop).unwrap()
    }

    async fn secret(&self, namespace: &str, name: &str, key: &str) -> String {
        let secret: Secret = self.api(namespace).get(name).await.unwrap();
        let value = secret.data.unwrap().remove(key).unwrap();
        String::from_utf8(value.0).unwrap()
    }

    /// The revision that last changed the applications.
    async fn apps_changed_at(&self) -> String {
        let sync: Sync = self.api("fleet").get("apps").await.unwrap();
        sync.status.unwrap().last_changed_revision.unwrap()
    }
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// All files below `folder`, with paths relative to it.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
            found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn two_clusters_follow_one_repository() {
    let git = GitServer::start();
    let repo = git.repo("fleet");
    let all = files(&in_repository("examples/fleet/repo"));
    let all: Vec<_> = all
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    let text = |path: &str| all.iter().find(|file| file.0 == path).unwrap().1.unwrap();
    let first = repo.commit(&all, "The fleet");
    let (staging, production) = tokio::join!(
        Cluster::start("staging", repo.url()),
        Cluster::start("production", repo.url())
    );
    tokio::join!(staging.converged(&first), production.converged(&first));

    // Overlays, variables, encrypted files, and the values of the chart.
    for (cluster, name, image, replicas, host) in [
        (&staging, "staging", "1.1.0-rc.1", 1, "staging.shop.example"),
        (&production, "production", "1.0.3", 3, "shop.example"),
    ] {
        let shop = cluster.shop().await;
        let container = &shop["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], format!("registry.example/shop:{image}"));
        assert_eq!(shop["spec"]["replicas"], replicas);
        let ingress: Ingress = cluster.api("shop").get("shop").await.unwrap();
        let ingress = serde_json::to_value(ingress).unwrap();
        assert_eq!(ingress["spec"]["rules"][0]["host"], host);
        let database = cluster
            .secret("shop", "shop-database", "DATABASE_URL")
            .await;
        assert!(database.contains(&format!("{name}-example-password")));
    }
    let scraped = "/spec/template/metadata/annotations/prometheus.io~1scrape";
    assert_eq!(staging.shop().await.pointer(scraped), None);
    assert_eq!(
        production.shop().await.pointer(scraped),
        Some(&json!("true"))
    );
    let cache: Deployment = production.api("cache").get("cache").await.unwrap();
    assert_eq!(cache.spec.unwrap().replicas, Some(2));

    // The infrastructure came before the applications.
    let namespaces: Api<Namespace> = Api::all(staging.client.clone());
    let made = async |name: &str| {
        let namespace = namespaces.get(name).await.unwrap();
        namespace.creation_timestamp().unwrap()
    };
    assert!(made("certificates").await.0 <= made("shop").await.0);

    // A change of the base reaches both, and the chart's random password stays.
    let password = staging.secret("cache", "cache", "password").await;
    let settings = "apps/base/shop/settings.properties";
    let changed = text(settings).replace("Welcome", "Summer sale");
    let values = "charts/cache/values.yaml";
    let more = text(values).replace("memory: 32Mi", "memory: 48Mi");
    let second = repo.commit(
        &[
            (settings, Some(changed.as_str())),
            (values, Some(more.as_str())),
        ],
        "Summer sale",
    );
    let before = (staging.shop().await, production.shop().await);
    tokio::join!(staging.converged(&second), production.converged(&second));
    let name = "/spec/template/spec/containers/0/envFrom/0/configMapRef/name";
    let after = (staging.shop().await, production.shop().await);
    assert_ne!(before.0.pointer(name), after.0.pointer(name));
    assert_ne!(before.1.pointer(name), after.1.pointer(name));
    assert_eq!(staging.secret("cache", "cache", "password").await, password);

    // A change of one overlay is work for one cluster only.
    let overlay = "apps/production/kustomization.yaml";
    let tag = text(overlay).replace("1.0.3", "1.1.0");
    let third = repo.commit(&[(overlay, Some(tag.as_str()))], "Promote 1.1.0");
    tokio::join!(staging.converged(&third), production.converged(&third));
    let image = "/spec/template/spec/containers/0/image";
    let shop = production.shop().await;
    assert_eq!(
        shop.pointer(image),
        Some(&json!("registry.example/shop:1.1.0"))
    );
    assert!(production.apps_changed_at().await.ends_with(&third));
    assert!(staging.apps_changed_at().await.ends_with(&second));
}
