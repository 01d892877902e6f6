//! Plans of what kustomize, Helm and SOPS make.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use towline::api::Sync;
use towline_testing::in_repository;

use super::host::Pull;
use super::{assert_no_secret, hosted, plans, propose, status};

const CHART: [(&str, &str); 3] = [
    (
        "chart/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    ),
    ("chart/values.yaml", "color: red\ntoken: none\n"),
    (
        "chart/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-map'}\ndata:\n  color: {{ .Values.color }}\n  \
         token: {{ .Values.token | quote }}\n",
    ),
];
const BASE: [(&str, &str); 4] = [
    ("base/kustomization.yaml", "resources: [map.yaml]\n"),
    (
        "base/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: over}\ndata: {level: low}\n",
    ),
    (
        "prod/kustomization.yaml",
        "namePrefix: prod-\nresources: [../base]\npatches: [{path: patch.yaml}]\n",
    ),
    (
        "prod/patch.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: over}\ndata: {side: left}\n",
    ),
];
const HOOK: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: pre-upgrade}}\n";
const HIDDEN: &str = "Passw0rd-of-the-values";

#[tokio::test]
async fn overlays_charts_and_encrypted_files_are_planned() {
    let (case, host) = hosted("rendered", "github").await;
    let namespace = &case.namespace;
    let golden =
        |name: &str| fs::read_to_string(in_repository("tests/golden/sops").join(name)).unwrap();
    let sealed = golden("encrypted/secret.yaml");
    let mut files: Vec<(&str, Option<&str>)> = Vec::new();
    files.extend(
        CHART
            .iter()
            .chain(&BASE)
            .map(|(path, text)| (*path, Some(*text))),
    );
    files.push(("sealed/secret.yaml", Some(&sealed)));
    let first = case.repo.commit(&files, "first");
    let keys = json!({"metadata": {"name": "age"}, "stringData": {"one.agekey": golden("keys/one.agekey")}});
    case.make::<Secret>(keys).await;
    let values = json!({"metadata": {"name": "values"}, "stringData": {"values.yaml": format!("token: {HIDDEN}\n")}});
    case.make::<Secret>(values).await;
    case.repository(plans(&json!({}))).await;
    let target = |path: &str| json!({"path": path, "targetNamespace": namespace});
    case.sync("overlay", target("prod")).await;
    let mut web = target("chart");
    web["helm"] = json!({"valuesFrom": [{"kind": "Secret", "name": "values"}]});
    case.sync("web", web).await;
    let mut secrets = target("sealed");
    secrets["decryption"] = json!({"provider": "sops", "secretRef": {"name": "age"}});
    case.sync("sealed", secrets).await;
    for sync in ["overlay", "web", "sealed"] {
        case.synced(sync, &first).await;
    }

    let suspended = json!({"spec": {"suspend": true}});
    case.patch::<Sync>("overlay", suspended).await;

    // Another value with the same form. It cannot be decrypted, and nobody tries.
    let resealed = sealed.replace(
        "data:OBIuWFf6E2iyktBZwDZOR2PDFA==",
        "data:OBIuWFf6E2iyktBZwDZOR2PDFB==",
    );
    assert_ne!(sealed, resealed);
    let patch = BASE[3].1.replace("left", "right");
    let template = CHART[2].1.replace("color:", "colour:");
    let head = propose(
        &case,
        4,
        &first,
        &[
            ("base/map.yaml", Some(&BASE[1].1.replace("low", "high"))),
            ("prod/patch.yaml", Some(&patch)),
            ("chart/templates/map.yaml", Some(&template)),
            (
                "chart/templates/more.yaml",
                Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n"),
            ),
            ("chart/templates/hook.yaml", Some(HOOK)),
            ("sealed/secret.yaml", Some(&resealed)),
        ],
    );
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 4,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let (state, text) = status(&host, &head).await;
    assert_eq!(
        (&*state, &*text),
        ("success", "1 to create, 3 to change in 3 of 3 Syncs")
    );
    let comment = &host.comments(4)[0];
    for part in [
        &format!("~ change <code>ConfigMap {namespace}/prod-over</code>"),
        "- data.level: \"low\"",
        "+ data.level: \"high\"",
        "+ data.side: \"right\"",
        "the Sync is suspended: this comes when somebody resumes it",
        "hooks of the chart would run, which are not tried out: Job.batch migrate (pre-upgrade)",
        &format!("~ change <code>ConfigMap {namespace}/web-map</code>"),
        "- data.color: \"red\"",
        "+ data.colour: \"red\"",
        &format!("+ create <code>ConfigMap {namespace}/more</code>"),
        &format!("~ change <code>Secret {namespace}/db</code> (<code>sealed/secret.yaml</code>)"),
    ] {
        assert!(comment.contains(part), "{part} is not in\n{comment}");
    }
    assert!(
        !comment.contains("data.token") && !comment.contains("ENC["),
        "{comment}"
    );
    assert_no_secret(&host);
    for request in host.recorder.requests() {
        let said = String::from_utf8_lossy(&request.bytes);
        for secret in [HIDDEN, "hunter2-very-secret", "aHVudGVyMi12ZXJ5LXNlY3JldA"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }

    // What no renderer can make is said with its file, and the other Syncs have their plans.
    let broken = propose(
        &case,
        5,
        &first,
        &[
            ("base/map.yaml", None),
            ("chart/templates/map.yaml", Some("{{ fail \"not so\" }}")),
            (
                "sealed/secret.yaml",
                Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: open}\n"),
            ),
        ],
    );
    host.change(|state| {
        state.pulls = vec![Pull {
            number: 5,
            head: broken.clone(),
            ..Pull::default()
        }];
    });
    let (state, _) = status(&host, &broken).await;
    assert_eq!(state, "failure");
    let comment = &host.comments(5)[0];
    for part in [
        "#### `overlay`: cannot be rendered",
        "map.yaml",
        "#### `web`: cannot be rendered",
        "templates/map.yaml",
        "not so",
        &format!("+ create <code>ConfigMap {namespace}/open</code>"),
        &format!("- prune <code>Secret {namespace}/db</code>"),
    ] {
        assert!(comment.contains(part), "{part} is not in\n{comment}");
    }
}
