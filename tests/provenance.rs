//! A failure names the files that made the object: its resource, patches, template and values.

use serde_json::json;

use crate::world::verdict::assert_says;
use crate::world::world;

const BASE: [(&str, Option<&str>); 2] = [
    ("base/kustomization.yaml", Some("resources: [map.yaml]\n")),
    (
        "base/map.yaml",
        Some(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {value: base}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {value: base}\n",
        ),
    ),
];

const OVERLAY: &str = "overlays/prod/kustomization.yaml";

/// A patch that no API server takes: the key has a space.
const BAD: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {\"bad key\": x}\n";

#[tokio::test]
async fn a_refused_object_names_the_patches_that_made_it() {
    let case = world().await.case("patch-file").await;
    let overlay = "resources: [../../base]\nnamePrefix: p-\npatches: [{path: good.yaml}]\n";
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {more: x}\n";
    let mut files = BASE.to_vec();
    files.extend([
        (OVERLAY, Some(overlay)),
        ("overlays/prod/good.yaml", Some(good)),
        ("overlays/prod/patch.yaml", Some(BAD)),
        (
            "overlays/prod/json.yaml",
            Some("[{\"op\": \"add\", \"path\": \"/data/later\", \"value\": \"x\"}]\n"),
        ),
    ]);
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    let spec = json!({"path": "overlays/prod", "targetNamespace": case.namespace});
    case.sync("all", spec).await;
    case.synced("all", &first).await;

    let both = overlay.replace(
        "good.yaml}",
        "good.yaml}, {path: patch.yaml}, {path: json.yaml, target: {name: sh.*}}",
    );
    let broken = case.push(&[(OVERLAY, Some(&both))], "broken").await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    let made = "base/map.yaml, patched by overlays/prod/patch.yaml and overlays/prod/json.yaml";
    assert_says(&message, &[&format!("p-shop in {made}"), "bad key"]);
    let what = "the list of failures has the file";
    let sync = case
        .until("all", what, |sync| {
            let status = sync.status.clone().unwrap_or_default();
            let attempted = status.last_attempted_revision.unwrap_or_default();
            attempted.ends_with(&broken) && !status.failures.is_empty()
        })
        .await;
    let failures = sync.status.unwrap().failures;
    assert_eq!(failures[0].file.as_deref(), Some(made));

    // What kustomize itself refuses names the file too.
    for (text, says) in [
        (BAD.replace("shop", "nobody"), "no matches for Id"),
        ("a: [".to_owned(), "unable to parse"),
        (
            BAD.replace("data: {\"bad key\": x}", "data: x"),
            "node kind",
        ),
    ] {
        let only = overlay.replace("good.yaml", "patch.yaml");
        let files = [
            (OVERLAY, Some(&*only)),
            ("overlays/prod/patch.yaml", Some(&*text)),
        ];
        let commit = case.push(&files, says).await;
        let sync = case
            .until("all", says, |sync| {
                let (status, reason, message) = crate::world::condition(sync, "Ready");
                let attempted = sync.status.clone().unwrap_or_default();
                let attempted = attempted.last_attempted_revision.unwrap_or_default();
                attempted.ends_with(&commit)
                    && (&*status, &*reason) == ("False", "RenderFailed")
                    && message.contains(says)
            })
            .await;
        let (.., message) = crate::world::condition(&sync, "Ready");
        assert_says(
            &message,
            &[
                "overlays/prod/patch.yaml",
                "1 of 2 objects could be applied",
            ],
        );
    }
    // A patch of the Sync itself.
    let last = case.push(&[(OVERLAY, Some(overlay))], "good again").await;
    case.synced("all", &last).await;
    let spec = json!({"spec": {"kustomize": {"patches": [{"patch": BAD}]}}});
    case.patch::<towline::api::Sync>("all", spec).await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert_says(
        &message,
        &["base/map.yaml, patched by spec.kustomize.patches"],
    );
}

#[tokio::test]
async fn a_refused_object_of_a_chart_names_template_and_values() {
    let case = world().await.case("values-file").await;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {\"{{ .Values.key }}\": x}\n";
    let files = [
        (
            "chart/Chart.yaml",
            Some("apiVersion: v2\nname: shop\nversion: 1.0.0\n"),
        ),
        ("chart/values.yaml", Some("key: good\n")),
        ("chart/prod.yaml", Some("key: bad key\n")),
        ("chart/templates/map.yaml", Some(template)),
    ];
    case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    let helm = json!({"valuesFiles": ["prod.yaml"], "values": {"more": 1}});
    let spec = json!({"path": "chart", "targetNamespace": case.namespace, "helm": helm});
    case.sync("web", spec).await;
    let message = case.ready_becomes("web", "False", "ApplyFailed").await;
    let made = "shop/templates/map.yaml, with values of chart/prod.yaml and spec.helm.values";
    assert_says(&message, &[made, "bad key"]);

    let template = "a: {{ .Values.key.of.none }}\n";
    case.push(&[("chart/templates/map.yaml", Some(template))], "broken")
        .await;
    let message = case.ready_becomes("web", "False", "RenderFailed").await;
    assert_says(
        &message,
        &[
            "shop/templates/map.yaml:1",
            "with values of chart/prod.yaml",
        ],
    );
}
