//! Objects that carry towline's labels but are not towline's are not changed.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::audit::Mark;
use towline_testing::wait::eventually;

use crate::world::{Case, PATIENCE, config_map, world};

const PART_OF: &str = "applyset.kubernetes.io/part-of";

/// Creates a copy of a ConfigMap, as a person would with `kubectl get -o yaml`, a new name and `kubectl
/// create`.
async fn copy(case: &Case<'_>, from: &str, name: &str) {
    let mut copy = case.live::<ConfigMap>(from).await;
    let metadata = copy["metadata"].as_object_mut().unwrap();
    metadata.retain(|field, _| ["labels", "annotations"].contains(&field.as_str()));
    metadata.insert("name".to_owned(), name.into());
    let copy: ConfigMap = serde_json::from_value(copy).unwrap();
    case.api()
        .create(&PostParams::default(), &copy)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_copy_is_never_touched() {
    let files = async |namespace: &str| {
        let file = |name: &&str| (format!("{name}.yaml"), config_map(name, namespace, "git"));
        ["a", "b"].iter().map(file).collect()
    };
    let (case, _) = Case::started(world().await, "copy", files, json!({})).await;
    let mark = case.world.cp.audit().mark();
    copy(&case, "a", "a-copy").await;
    let third = case.push(&[("a.yaml", None)], "remove a").await;
    case.synced("all", &third).await;
    case.has("a", "value", None).await;
    copy(&case, "b", "b-copy").await;
    case.reconcile("all").await;
    case.delete::<Sync>("all").await;
    case.has("b", "value", None).await;
    for name in ["a-copy", "b-copy"] {
        let map = case.live::<ConfigMap>(name).await;
        assert!(map["metadata"]["labels"][PART_OF].is_string(), "{map:#}");
        assert_eq!(map["metadata"]["deletionTimestamp"], Value::Null);
    }
    untouched(&case, mark, |name| name.ends_with("-copy")).await;
}

#[tokio::test]
async fn inherited_labels_do_not_make_an_object_ours() {
    let files = async |namespace: &str| {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\n\
             spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
        );
        let slice = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: ours, namespace: {namespace}}}\naddressType: IPv4\nendpoints: []\n"
        );
        vec![
            ("service.yaml".to_owned(), service),
            ("slice.yaml".to_owned(), slice),
        ]
    };
    let (case, _) = Case::started(world().await, "inherit", files, json!({})).await;
    let id = case.live::<Service>("web").await["metadata"]["labels"][PART_OF].clone();
    let api: kube::Api<EndpointSlice> = case.api();
    let label = format!("{PART_OF}={}", id.as_str().unwrap());
    let inherited = eventually("a slice with the Service's label", PATIENCE, async || {
        let slices = api
            .list(&ListParams::default().labels(&label))
            .await
            .unwrap();
        let mut names = slices
            .items
            .into_iter()
            .filter_map(|slice| slice.metadata.name);
        names.find(|name| name != "ours")
    })
    .await;
    let mark = case.world.cp.audit().mark();
    let second = case.push(&[("slice.yaml", None)], "remove the slice").await;
    case.synced("all", &second).await;
    eventually("our own slice is pruned", PATIENCE, async || {
        api.get_opt("ours").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(api.get_opt(&inherited).await.unwrap().is_some());
    untouched(&case, mark, |name| name == inherited).await;
}

#[tokio::test]
async fn an_object_has_one_owner_until_the_owner_releases_it() {
    let files = async |namespace: &str| {
        let map = config_map("shared", namespace, "first");
        let other = config_map("shared", namespace, "second");
        let keep = |name| config_map(name, namespace, "git");
        vec![
            ("one/shared.yaml".to_owned(), map),
            ("one/keep.yaml".to_owned(), keep("keep-one")),
            ("two/shared.yaml".to_owned(), other),
            ("two/keep.yaml".to_owned(), keep("keep-two")),
        ]
    };
    let spec = json!({"path": "one"});
    let (case, _) = Case::started(world().await, "owner", files, spec).await;
    case.sync("two", json!({"path": "two"})).await;
    let message = case
        .ready_becomes("two", "False", "OwnershipConflict")
        .await;
    let owner = format!("it belongs to Sync {}/all", case.namespace);
    assert!(
        message.contains(&owner) && message.contains("two/shared.yaml"),
        "{message}"
    );
    case.has("shared", "value", Some("first")).await;
    case.has("keep-two", "value", Some("git")).await;
    let uid = case.live::<ConfigMap>("shared").await["metadata"]["uid"].clone();

    let second = case.push(&[("one/shared.yaml", None)], "hand over").await;
    case.synced("two", &second).await;
    case.has("shared", "value", Some("second")).await;
    case.synced("all", &second).await;
    let map = case.live::<ConfigMap>("shared").await;
    assert_eq!(map["metadata"]["uid"], uid, "it went over without a gap");
}

async fn untouched(case: &Case<'_>, mark: Mark, is: impl Fn(&str) -> bool) {
    let requests = case.requests(mark).await.into_iter();
    let touched: Vec<_> = requests.filter(|entry| is(&entry.name)).collect();
    assert!(touched.is_empty(), "{touched:#?}");
}
