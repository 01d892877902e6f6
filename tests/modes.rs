//! Modes for one object by annotation, in towline's and in Flux's words.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::world::{Case, PATIENCE, config_map, world};
use towline_testing::wait::{eventually, never};

fn annotated(name: &str, namespace: &str, value: &str, key: &str, mode: &str) -> String {
    let map = config_map(name, namespace, value);
    let annotated = format!("metadata:\n  annotations: {{{key}: {mode}}}");
    let with = map.replacen("metadata:", &annotated, 1);
    match map.contains("metadata: {") {
        true => map.replacen(
            "metadata: {",
            &format!("metadata: {{annotations: {{{key}: {mode}}}, "),
            1,
        ),
        false => with,
    }
}

/// Fails if the value of a ConfigMap changes within a second.
async fn stays(case: &Case<'_>, name: &str, value: &str) {
    never("a write", Duration::from_secs(1), async || {
        let data = case.data(name).await;
        (data.as_ref().is_none_or(|data| data["value"] != value)).then_some(data)
    })
    .await;
}

#[tokio::test]
async fn an_object_that_is_made_once_is_not_changed() {
    let key = "towline.dev/ssa";
    let files = async |namespace: &str| {
        vec![(
            "once.yaml".to_owned(),
            annotated("once", namespace, "a", key, "IfNotPresent"),
        )]
    };
    let (case, _) = Case::started(world().await, "once", files, json!({})).await;
    case.has("once", "value", Some("a")).await;
    case.patch::<ConfigMap>("once", json!({"data": {"value": "theirs"}}))
        .await;
    stays(&case, "once", "theirs").await;
    // What was there before stays another's.
    case.make::<ConfigMap>(json!({"metadata": {"name": "before"}, "data": {"value": "before"}}))
        .await;
    let (namespace, flux) = (case.namespace.clone(), "kustomize.toolkit.fluxcd.io/ssa");
    let once = annotated("once", &namespace, "b", key, "IfNotPresent");
    let before = annotated("before", &namespace, "b", flux, "IfNotPresent");
    let commit = case
        .push(
            &[("once.yaml", Some(&once)), ("before.yaml", Some(&before))],
            "both",
        )
        .await;
    let sync = case.synced("all", &commit).await;
    assert_eq!(sync.status.unwrap().objects.unwrap().drifted, 0);
    case.has("once", "value", Some("theirs")).await;
    case.has("before", "value", Some("before")).await;
    let live = case.live::<ConfigMap>("before").await;
    assert!(live["metadata"].get("labels").is_none(), "{live}");
    case.reconcile("all").await;
    case.has("once", "value", Some("theirs")).await;
    // When it is gone, it is made again.
    case.delete::<ConfigMap>("once").await;
    case.has("once", "value", Some("b")).await;
    // It leaves Git like every object; what was never ours stays.
    let keep = config_map("keep", &namespace, "a");
    let commit = case
        .push(
            &[
                ("once.yaml", None),
                ("before.yaml", None),
                ("keep.yaml", Some(&keep)),
            ],
            "leave",
        )
        .await;
    case.synced("all", &commit).await;
    assert_eq!(case.data("once").await, None);
    case.has("before", "value", Some("before")).await;
}

#[tokio::test]
async fn an_object_is_left_alone_while_git_says_so() {
    for (key, mode) in [
        ("towline.dev/ssa", "Ignore"),
        ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
    ] {
        let files = async |namespace: &str| {
            vec![
                ("map.yaml".to_owned(), config_map("map", namespace, "a")),
                (
                    "new.yaml".to_owned(),
                    annotated("new", namespace, "a", key, mode),
                ),
            ]
        };
        let (case, _) = Case::started(world().await, "left", files, json!({})).await;
        assert_eq!(case.data("new").await, None, "it is not made either");
        let map = annotated("map", &case.namespace, "b", key, mode);
        let commit = case.push(&[("map.yaml", Some(&map))], "leave").await;
        let sync = case.synced("all", &commit).await;
        let objects = sync.status.unwrap().objects.unwrap();
        assert_eq!(
            (objects.desired, objects.left_alone, objects.applied),
            (2, 2, 0)
        );
        case.patch::<ConfigMap>("map", json!({"data": {"value": "theirs"}}))
            .await;
        stays(&case, "map", "theirs").await;
        case.reconcile("all").await;
        case.ready_becomes("all", "True", "Converged").await;
        case.has("map", "value", Some("theirs")).await;
        // Without the annotation it is Git's again.
        let map = config_map("map", &case.namespace, "c");
        let commit = case.push(&[("map.yaml", Some(&map))], "manage").await;
        case.synced("all", &commit).await;
        case.has("map", "value", Some("c")).await;
    }
}

#[tokio::test]
async fn a_person_pauses_one_object_on_the_live_object() {
    let files = async |namespace: &str| {
        vec![
            ("map.yaml".to_owned(), config_map("map", namespace, "a")),
            ("other.yaml".to_owned(), config_map("other", namespace, "a")),
        ]
    };
    let (case, _) = Case::started(world().await, "paused", files, json!({})).await;
    case.kubectl_as_person(&[
        "annotate",
        "configmap",
        "map",
        "towline.dev/reconcile=disabled",
    ])
    .await;
    case.until("all", "the pause is told", |sync| {
        let status = sync.status.clone().unwrap_or_default();
        status
            .warnings
            .iter()
            .any(|warning| warning.contains("map"))
    })
    .await;
    case.patch::<ConfigMap>("map", json!({"data": {"value": "theirs"}}))
        .await;
    case.patch::<ConfigMap>("other", json!({"data": {"value": "theirs"}}))
        .await;
    case.has("other", "value", Some("a")).await;
    let namespace = case.namespace.clone();
    let commit = case
        .push(
            &[
                ("map.yaml", Some(&config_map("map", &namespace, "b"))),
                ("other.yaml", Some(&config_map("other", &namespace, "b"))),
            ],
            "both",
        )
        .await;
    case.synced("all", &commit).await;
    case.has("other", "value", Some("b")).await;
    stays(&case, "map", "theirs").await;
    case.kubectl_as_person(&["annotate", "configmap", "map", "towline.dev/reconcile-"])
        .await;
    case.has("map", "value", Some("b")).await;
    eventually("the warning is gone", PATIENCE, async || {
        let sync = case.api::<towline::api::Sync>().get("all").await.unwrap();
        let warnings = sync.status.unwrap_or_default().warnings;
        warnings.is_empty().then_some(()).ok_or(warnings)
    })
    .await;
}

#[tokio::test]
async fn a_merged_object_keeps_what_another_applier_declared() {
    let files =
        async |namespace: &str| vec![("keep.yaml".to_owned(), config_map("keep", namespace, "a"))];
    let (case, _) = Case::started(world().await, "merged", files, json!({})).await;
    let file = case
        .world
        .cp
        .folder()
        .join(format!("{}.yaml", case.namespace));
    for (name, mode, kept) in [("merged", "Merge", true), ("overridden", "Override", false)] {
        let map = config_map(name, &case.namespace, "theirs");
        std::fs::write(&file, map.replace("value: ", "more: theirs\n  value: ")).unwrap();
        case.kubectl_as_person(&["apply", "--server-side", "-f", file.to_str().unwrap()])
            .await;
        let map = annotated(name, &case.namespace, "git", "towline.dev/ssa", mode);
        let commit = case
            .push(&[(&format!("{name}.yaml"), Some(&map))], mode)
            .await;
        case.synced("all", &commit).await;
        case.has(name, "value", Some("git")).await;
        let data = case.data(name).await.unwrap();
        assert_eq!(data.get("more").is_some(), kept, "{name}: {data}");
    }
}

#[tokio::test]
async fn a_mode_that_nobody_knows_is_refused_and_named() {
    let files =
        async |namespace: &str| vec![("map.yaml".to_owned(), config_map("map", namespace, "a"))];
    let (case, _) = Case::started(world().await, "unknown-mode", files, json!({})).await;
    let map = annotated("map", &case.namespace, "b", "towline.dev/ssa", "Sometimes");
    case.push(&[("map.yaml", Some(&map))], "unknown").await;
    let message = case.ready_becomes("all", "False", "InvalidManifest").await;
    for part in ["map.yaml", "towline.dev/ssa", "Sometimes", "IfNotPresent"] {
        assert!(message.contains(part), "{message}");
    }
    case.has("map", "value", Some("a")).await;
}
