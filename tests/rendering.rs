//! Kustomizations, charts, variables and encrypted files, from Git to the cluster.

use std::fs;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::{in_repository, wait::never};

use crate::world::verdict::assert_says;
use crate::world::{PATIENCE, condition, world};

const BASE: &str = "resources: [map.yaml]\n";

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: base}}\n")
}

/// A chart with one template, whose objects show the values.
const CHART: [(&str, &str); 3] = [
    (
        "chart/Chart.yaml",
        "apiVersion: v2\nname: shop\nversion: 1.2.3\n",
    ),
    ("chart/values.yaml", "greeting: default\nfrom: default\n"),
    (
        "chart/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-map, namespace: \
         {{ .Release.Namespace }}}\ndata: {value: {{ .Values.greeting | quote }}, from: \
         {{ .Values.from | quote }}, kube: {{ .Capabilities.KubeVersion.Version | quote }}}\n",
    ),
];

#[tokio::test]
async fn an_overlay_on_a_base_above_its_path_goes_live_and_changes_with_either() {
    let case = world().await.case("overlay").await;
    let map = map("shop");
    let overlay = "resources: [../../base]\nnameSuffix: -prod\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: shop}\n    data: {patched: \"one\"}\n";
    let first = case.repo.commit(
        &[
            ("base/kustomization.yaml", Some(BASE)),
            ("base/map.yaml", Some(&map)),
            ("apps/prod/kustomization.yaml", Some(overlay)),
            ("apps/unused.yaml", Some("not a manifest")),
        ],
        "first",
    );
    case.repository(json!({})).await;
    let spec = json!({"path": "apps/prod", "targetNamespace": case.namespace});
    case.sync("all", spec).await;
    case.synced("all", &first).await;
    case.has("shop-prod", "value", Some("base")).await;
    case.has("shop-prod", "patched", Some("one")).await;

    // The base is outside of the path.
    let changed = map.replace("base", "changed");
    let second = case
        .push(&[("base/map.yaml", Some(&changed))], "base")
        .await;
    let sync = case.synced("all", &second).await;
    case.has("shop-prod", "value", Some("changed")).await;
    let changed_at = sync.status.unwrap().last_changed_revision.unwrap();
    assert!(changed_at.ends_with(&second));

    // A commit of files that the render did not read changes nothing.
    let third = case
        .push(&[("apps/unused.yaml", Some("other"))], "unused")
        .await;
    let sync = case.synced("all", &third).await;
    let changed_at = sync.status.unwrap().last_changed_revision.unwrap();
    assert!(changed_at.ends_with(&second), "{changed_at}");

    // After a failed render, applied objects stay, and the condition names the file.
    case.push(
        &[("base/kustomization.yaml", Some("resources: [gone.yaml]\n"))],
        "broken",
    )
    .await;
    let message = case.ready_becomes("all", "False", "RenderFailed").await;
    assert!(message.contains("gone.yaml"), "{message}");
    assert!(message.contains("stays live"), "{message}");
    case.has("shop-prod", "value", Some("changed")).await;
}

#[tokio::test]
async fn plain_manifests_and_a_kustomization_below_them_are_one_sync() {
    let case = world().await.case("mixed").await;
    let (plain, inner) = (map("plain"), map("inner"));
    let files = [
        ("apps/plain.yaml", Some(plain.as_str())),
        (
            "apps/inner/kustomization.yaml",
            Some("resources: [map.yaml]\nnamePrefix: k-\n"),
        ),
        ("apps/inner/map.yaml", Some(inner.as_str())),
    ];
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync(
        "all",
        json!({"path": "apps", "targetNamespace": case.namespace}),
    )
    .await;
    case.synced("all", &commit).await;
    case.has("plain", "value", Some("base")).await;
    case.has("k-inner", "value", Some("base")).await;
    assert_eq!(case.data("inner").await, None);

    // With `spec.kustomize`, the whole path is one kustomization.
    let spec = json!({"spec": {"kustomize": {"namePrefix": "x-", "patches": [{
        "patch": "- op: replace\n  path: /data/value\n  value: patched",
        "target": {"kind": "ConfigMap", "name": "plain"}
    }]}}});
    case.patch::<Sync>("all", spec).await;
    case.has("x-plain", "value", Some("patched")).await;
    case.has("x-k-inner", "value", Some("base")).await;
    case.has("plain", "value", None).await;
}

#[tokio::test]
async fn a_chart_takes_values_from_files_config_maps_and_the_spec() {
    let case = world().await.case("chart").await;
    let mut files: Vec<_> = CHART.map(|(name, text)| (name, Some(text))).to_vec();
    files.push((
        "chart/values-prod.yaml",
        Some("greeting: from the file\nfrom: file\n"),
    ));
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync(
        "web",
        json!({"path": "chart", "helm": {
            "valuesFiles": ["values-prod.yaml"],
            "valuesFrom": [{"kind": "ConfigMap", "name": "more"}],
        }}),
    )
    .await;
    let message = case.ready_becomes("web", "False", "RenderFailed").await;
    let absent = format!("ConfigMap {}/more does not exist", case.namespace);
    assert!(message.contains(&absent), "{message}");

    let more = json!({"metadata": {"name": "more"}, "data": {"values.yaml": "from: map\n"}});
    case.make::<ConfigMap>(more).await;
    case.synced("web", &commit).await;
    case.has("web-map", "value", Some("from the file")).await;
    case.has("web-map", "from", Some("map")).await;
    let kube = case.data("web-map").await.unwrap()["kube"].clone();
    assert!(kube.as_str().unwrap().starts_with("v1."), "{kube}");

    let values = json!({"spec": {"helm": {"values": {"from": "spec"}}}});
    case.patch::<Sync>("web", values).await;
    case.has("web-map", "from", Some("spec")).await;
}

#[tokio::test]
async fn a_chart_that_renders_nothing_or_a_key_twice_is_named_and_nothing_is_lost() {
    let case = world().await.case("chart-nothing").await;
    let template = "{{- if .Values.enabled }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {value: one}\n{{- end }}\n";
    let first = case.repo.commit(
        &[
            (
                "chart/Chart.yaml",
                Some("apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
            ),
            ("chart/values.yaml", Some("enabled: true\n")),
            ("chart/templates/map.yaml", Some(template)),
        ],
        "a chart",
    );
    case.repository(json!({})).await;
    let spec = json!({"path": "chart", "targetNamespace": case.namespace, "prune": true});
    case.sync("web", spec).await;
    case.synced("web", &first).await;
    let values = json!({"spec": {"helm": {"values": {"enabled": false}}}});
    case.patch::<Sync>("web", values).await;
    let message = case.ready_becomes("web", "False", "EmptyRender").await;
    assert_says(
        &message,
        &[
            "the chart in chart renders no object with values of spec.helm.values; nothing is pruned",
            "delete the Sync",
        ],
    );
    assert!(!message.contains("ignore"), "{message}");
    case.has("shop", "value", Some("one")).await;

    case.patch::<Sync>("web", json!({"spec": {"helm": {"values": null}}}))
        .await;
    let twice = template.replace("data: {value: one}", "data:\n  value: two\n  value: three");
    case.push(&[("chart/templates/map.yaml", Some(&*twice))], "twice")
        .await;
    let message = case.ready_becomes("web", "False", "InvalidManifest").await;
    assert_says(
        &message,
        &[
            "shop/templates/map.yaml",
            "the key value appears twice",
            "kubectl and Helm",
            "ConfigMap",
        ],
    );
    case.has("shop", "value", Some("one")).await;
}

#[tokio::test]
async fn a_chart_with_unsupported_features_is_refused_by_name() {
    let case = world().await.case("refused").await;
    let random =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: r-{{ randAlphaNum 8 | lower }}}\n";
    let test = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: probe\n  annotations: {helm.sh/hook: test}\n";
    let mut files: Vec<_> = CHART.map(|(name, text)| (name, Some(text))).to_vec();
    files.push(("chart/templates/random.yaml", Some(random)));
    case.repo.commit(&files, "random");
    case.repository(json!({})).await;
    case.sync("web", json!({"path": "chart"})).await;
    case.until("web", "a random name is refused", |sync| {
        let (.., message) = condition(sync, "Ready");
        message.contains("templates/random.yaml") && message.contains("metadata.name")
    })
    .await;
    assert_eq!(
        case.data("web-map").await,
        None,
        "nothing of a refused chart is applied"
    );

    let files = [
        ("chart/templates/random.yaml", None),
        ("chart/templates/test.yaml", Some(test)),
    ];
    let commit = case.push(&files, "a test").await;
    case.synced("web", &commit).await;
    case.has("web-map", "value", Some("default")).await;
}

#[tokio::test]
async fn variables_are_replaced_and_a_changed_config_map_is_applied() {
    let case = world().await.case("variables").await;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${app:=shop}\", labels: {port: \
                \"${port}\"}}\ndata: {value: \"${cluster}\", secret: \"${token}\", literal: \"$${HOME}\", with-port: \"${port}\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: script, \
                annotations: {towline.dev/substitute: disabled}}\ndata: {value: \"${HOME}\"}\n";
    let commit = case.repo.commit(&[("apps/a.yaml", Some(text))], "first");
    let cluster =
        json!({"metadata": {"name": "cluster"}, "data": {"cluster": "eu-1", "port": "8080"}});
    case.make::<ConfigMap>(cluster).await;
    let token = json!({"metadata": {"name": "token"}, "stringData": {"token": "hunter2"}});
    case.make::<Secret>(token).await;
    case.repository(json!({})).await;
    let from = json!([{"kind": "ConfigMap", "name": "cluster"}, {"kind": "Secret", "name": "token"},
        {"kind": "ConfigMap", "name": "absent", "optional": true}]);
    let spec =
        json!({"path": "apps", "targetNamespace": case.namespace, "substitute": {"from": from}});
    case.sync("all", spec).await;
    case.synced("all", &commit).await;
    case.has("shop", "value", Some("eu-1")).await;
    case.has("shop", "secret", Some("hunter2")).await;
    case.has("shop", "literal", Some("${HOME}")).await;
    case.has("shop", "with-port", Some("8080")).await;
    case.has("script", "value", Some("${HOME}")).await;

    let changed = json!({"data": {"cluster": "eu-2"}});
    case.patch::<ConfigMap>("cluster", changed).await;
    case.has("shop", "value", Some("eu-2")).await;

    let strict = json!({"spec": {"substitute": {"strict": true, "from": null}}});
    case.patch::<Sync>("all", strict).await;
    let message = case.ready_becomes("all", "False", "InvalidManifest").await;
    assert!(
        message.contains("apps/a.yaml") && message.contains("variable token has no value"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn encrypted_files_are_decrypted_with_the_key_of_the_sync() {
    let case = world().await.case("sops").await;
    let golden =
        |name: &str| fs::read_to_string(in_repository("tests/golden/sops").join(name)).unwrap();
    let (secret, env) = (golden("encrypted/secret.yaml"), golden("encrypted/app.env"));
    let generator = "generatorOptions: {disableNameSuffixHash: true}\nsecretGenerator:\n- {name: generated, envs: [app.env]}\n";
    let commit = case.repo.commit(
        &[
            ("apps/secret.yaml", Some(secret.as_str())),
            ("apps/generated/kustomization.yaml", Some(generator)),
            ("apps/generated/app.env", Some(env.as_str())),
        ],
        "first",
    );
    case.repository(json!({})).await;
    let spec = json!({"path": "apps", "targetNamespace": case.namespace});
    case.sync("all", spec).await;
    let message = case.ready_becomes("all", "False", "DecryptionFailed").await;
    assert!(
        message.contains("spec.decryption names no Secret"),
        "{message}"
    );

    let keys = json!({"metadata": {"name": "age"}, "stringData": {"one.agekey": golden("keys/one.agekey")}});
    case.make::<Secret>(keys).await;
    let decryption =
        json!({"spec": {"decryption": {"provider": "sops", "secretRef": {"name": "age"}}}});
    case.patch::<Sync>("all", decryption).await;
    case.synced("all", &commit).await;
    let value = |secret: Value, key: &str| secret["data"][key].as_str().map(str::to_owned);
    let live: Secret = case.api().get("db").await.unwrap();
    let live = serde_json::to_value(live).unwrap();
    assert_eq!(
        value(live, "password").unwrap(),
        "aHVudGVyMi12ZXJ5LXNlY3JldA=="
    );
    let generated: Secret = case.api().get("generated").await.unwrap();
    let generated = serde_json::to_value(generated).unwrap();
    assert_eq!(value(generated, "PASSWORD").unwrap(), "aHVudGVyMj14");

    // A file that was changed without the key is refused, and applied objects stay.
    let tampered = secret.replace("name: db", "name: other");
    case.push(&[("apps/secret.yaml", Some(&tampered))], "tampered")
        .await;
    let message = case.ready_becomes("all", "False", "DecryptionFailed").await;
    assert!(message.contains("checksum"), "{message}");
    never(
        "the object of a file that was changed",
        PATIENCE / 20,
        async || case.api::<Secret>().get_opt("other").await.unwrap(),
    )
    .await;
    crate::world::verdict::assert_not_disclosed(&case, "hunter2-very-secret").await;
}

#[tokio::test]
async fn random_values_of_a_chart_are_made_once_and_then_kept() {
    let case = world().await.case("random").await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: drawn}\nstringData:\n  password: {{ randAlphaNum 16 }}\n  at: {{ now | unixEpoch | quote }}\n  ca: {{ (genCA \"c\" 365).Cert | quote }}\n  user: {{ .Values.greeting }}\n";
    let deployed = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: user\n  annotations: {checksum/secret: {{ include (print $.Template.BasePath \"/secret.yaml\") . | sha256sum }}}\ndata: {found: {{ lookup \"v1\" \"Secret\" \"\" \"drawn\" | len | quote }}}\n";
    let notes = "Say {{ .Values.greeting }} to {{ .Values.from }}.\n";
    let mut files: Vec<_> = CHART.map(|(name, text)| (name, Some(text))).to_vec();
    files.push(("chart/templates/secret.yaml", Some(secret)));
    files.push(("chart/templates/user.yaml", Some(deployed)));
    files.push(("chart/templates/NOTES.txt", Some(notes)));
    let first = case.repo.commit(&files, "first");
    let values =
        json!({"metadata": {"name": "values"}, "stringData": {"values.yaml": "from: swordfish-9"}});
    case.make::<Secret>(values).await;
    case.repository(json!({})).await;
    let spec =
        json!({"path": "chart", "helm": {"valuesFrom": [{"kind": "Secret", "name": "values"}]}});
    case.sync("web", spec).await;
    let sync = case.synced("web", &first).await;
    let drawn = async || {
        let live: Secret = case.api().get("drawn").await.unwrap();
        serde_json::to_value(live.data.unwrap()).unwrap()
    };
    let checksum = async || {
        let live: ConfigMap = case.api().get("user").await.unwrap();
        live.metadata.annotations.unwrap()["checksum/secret"].clone()
    };
    let (before, sum) = (drawn().await, checksum().await);
    assert_eq!(before["password"].as_str().unwrap().len(), 24, "{before}");
    let status = sync.status.unwrap();
    let said = status.warnings.join("\n");
    for wanted in [
        "shop/templates/secret.yaml draws values at random",
        "Secret drawn: data.at; data.ca; data.password",
        "ConfigMap user: metadata.annotations.checksum/secret",
        "shop/templates/user.yaml calls lookup (Secret)",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    // The value is from a Secret.
    assert_eq!(status.notes.as_deref(), Some("Say default to ***."));

    // Another commit draws anew, and changes what it means to.
    let values = "greeting: changed\nfrom: default\n";
    let second = case
        .push(&[("chart/values.yaml", Some(values))], "values")
        .await;
    case.synced("web", &second).await;
    let after = drawn().await;
    assert_eq!(after["password"], before["password"]);
    assert_eq!(after["ca"], before["ca"]);
    assert_eq!(after["at"], before["at"]);
    assert_ne!(after["user"], before["user"]);
    assert_eq!(checksum().await, sum, "no pod restarts");
    let version = case
        .api::<Secret>()
        .get("drawn")
        .await
        .unwrap()
        .metadata
        .resource_version;

    // A full verification writes nothing.
    case.reconcile("web").await;
    case.synced("web", &second).await;
    let verified = case
        .api::<Secret>()
        .get("drawn")
        .await
        .unwrap()
        .metadata
        .resource_version;
    assert_eq!(verified, version, "nothing was rotated");

    // What a person deletes is made anew.
    case.api::<Secret>()
        .delete("drawn", &Default::default())
        .await
        .unwrap();
    towline_testing::wait::eventually("the Secret is made anew", PATIENCE, async || {
        let live: Option<Secret> = case.api().get_opt("drawn").await.unwrap();
        live.is_some().then_some(())
    })
    .await;
    assert_ne!(drawn().await["password"], before["password"]);
}

#[tokio::test]
async fn a_vendored_chart_of_a_kustomization_goes_live_and_one_that_is_not_there_is_named() {
    let case = world().await.case("helm-charts").await;
    let chart = CHART.map(|(name, text)| {
        (
            format!("apps/prod/charts/{}", name.replace("chart/", "shop/")),
            text,
        )
    });
    let mut files: Vec<(&str, Option<&str>)> = chart
        .iter()
        .map(|(name, text)| (&**name, Some(*text)))
        .collect();
    let kustomization = |chart: &str| {
        format!(
            "namePrefix: x-\nhelmCharts:\n- {{name: {chart}, releaseName: web, valuesInline: {{greeting: inline}}}}\n"
        )
    };
    let right = kustomization("shop");
    files.push(("apps/prod/kustomization.yaml", Some(&right)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    let spec = json!({"path": "apps/prod", "targetNamespace": case.namespace});
    case.sync("all", spec).await;
    case.synced("all", &first).await;
    case.has("x-web-map", "value", Some("inline")).await;
    case.has("x-web-map", "from", Some("default")).await;
    let kube = case.data("x-web-map").await.unwrap()["kube"].clone();
    assert!(
        kube.as_str().unwrap().starts_with("v1.36"),
        "the cluster's: {kube}"
    );

    // What the chart is made of counts, and nothing else.
    let values = (
        "apps/prod/charts/shop/values.yaml",
        Some("greeting: default\nfrom: changed\n"),
    );
    let second = case.push(&[values], "values").await;
    case.synced("all", &second).await;
    case.has("x-web-map", "from", Some("changed")).await;
    let third = case.push(&[("apps/README.md", Some("docs"))], "docs").await;
    let sync = case.synced("all", &third).await;
    let changed = sync.status.unwrap().last_changed_revision.unwrap();
    assert!(changed.ends_with(&second), "{changed}");

    let wrong = kustomization("none");
    let files = [("apps/prod/kustomization.yaml", Some(&*wrong))];
    case.push(&files, "a chart that is not there").await;
    let message = case.ready_becomes("all", "False", "RenderFailed").await;
    for says in [
        "apps/prod/kustomization.yaml",
        "apps/prod/charts/none",
        "stays live",
    ] {
        assert!(message.contains(says), "{message}");
    }
    case.has("x-web-map", "from", Some("changed")).await;
}
