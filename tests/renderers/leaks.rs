//! Values of Secrets and of encrypted files, which no error of a renderer shows.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use towline::{
    api::Reason,
    chain,
    decrypt::Keys,
    desired::{Desired, DesiredError, Inputs, Reading, read},
    render::Cache,
    text::Secrets,
};
use towline_testing::in_repository;

use super::folder::{task, tree, with};

/// With what is written otherwise in YAML, JSON, Go and URLs.
const MARKER: &str = "Zk7q\"marker'8Xw\\<&>";

const CHART: (&str, &str) = (
    "web/Chart.yaml",
    "apiVersion: v2\nname: web\nversion: 1.0.0\n",
);

fn make(path: &str, files: &[(&str, &str)], inputs: Inputs) -> Result<Box<Desired>, DesiredError> {
    let folder = with(files);
    let task = task(tree(folder.path()), path, inputs);
    match read(&task, None, &mut Cache::default())? {
        Reading::Changed(desired) => Ok(desired),
        Reading::Unchanged => panic!("nothing was there before"),
    }
}

/// Values of a chart, as the driver reads them from a Secret.
fn from_secret() -> Inputs {
    let values = json!({"password": MARKER, "lines": format!("first\n  {MARKER}\n"),
        "deep": [{"list": MARKER}], "number": 739_118_421});
    let mut inputs = Inputs::default();
    inputs.values = vec![("Secret prod/values".to_owned(), values.to_string())];
    inputs.secrets.add_all(&values);
    inputs
}

fn assert_hidden(said: &str) {
    let secrets = Secrets::default();
    secrets.add(MARKER);
    assert_eq!(secrets.hide(said), said, "a form of the value");
    let encoded = BASE64_STANDARD.encode(MARKER);
    for part in ["Zk7q", "marker", "8Xw", "739118421", &encoded[..12]] {
        assert!(!said.contains(part), "{part}: {said}");
    }
}

#[test]
fn no_error_of_a_chart_shows_a_value_of_a_secret() {
    for template in [
        "{{ fail .Values.password }}",
        "{{ fail (printf \"no: %q\" .Values.password) }}",
        "{{ fail (.Values.password | b64enc) }}",
        "{{ fail (printf \"user:%s\" .Values.password | b64enc) }}",
        "{{ fail (.Values.password | quote) }}",
        "{{ fail (.Values.password | squote) }}",
        "{{ fail (.Values | toYaml) }}",
        "{{ fail (.Values | toJson) }}",
        "{{ fail (.Values | toJson | toJson) }}",
        "{{ fail (.Values | toToml) }}",
        "{{ fail (printf \"%v\" .Values) }}",
        "{{ fail (printf \"%#v\" .Values.deep) }}",
        "{{ fail (.Values.lines | nindent 8) }}",
        "{{ fail (.Values.password | upper) }}",
        "{{ fail (.Values.password | urlquery) }}",
        "{{ fail (.Values.password | b32enc) }}",
        "{{ fail (printf \"%x\" .Values.password) }}",
        "{{ fail (toString .Values.number) }}",
        "{{ required .Values.password .Values.nothing }}",
        "{{ .Values.password.deeper }}",
        "{{ range $i := .Values.number }}{{ $i.x }}{{ end }}",
        "{{ include .Values.password . }}",
        "{{ tpl .Values.password . }}{{ tpl \"{{ fail .Values.password }}\" . }}",
        "{{ atoi .Values.password | fail }}",
        "{{ mustToDate \"2006\" .Values.password }}",
        "{{ mustRegexMatch (printf \"(%s\" .Values.password) \"x\" }}",
        "{{ semver .Values.password }}",
        "{{ .Values.password | mustFromJson }}",
        "{{ fail (fromYaml .Values.password).Error }}",
        "{{ fail (fromJson .Values.password).Error }}",
        "{{ index .Values.deep .Values.password }}",
        "{{ add .Values.password | int | fail }}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: {{ .Values.password }}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: {{ .Values.password }}\n b: [",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {helm.sh/hook: {{ .Values.password | quote }}}}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ .Values.password | toJson }}",
        "apiVersion: v1\nkind: {{ .Values.password | toJson }}\nmetadata: {name: x}",
        "apiVersion: {{ .Values.password | toJson }}\nkind: X\nmetadata: {name: x}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {{ .Values.deep | toJson }}}",
    ] {
        let files = [CHART, ("web/templates/t.yaml", template)];
        match make("web", &files, from_secret()) {
            Ok(_) => panic!("{template} renders"),
            Err(error) => assert_hidden(&chain(&error)),
        }
    }
}

#[test]
fn values_that_cannot_be_read_and_schemas_show_nothing() {
    let schema =
        json!({"properties": {"password": {"pattern": "^[a-z]+$"}, "number": {"type": "string"}}});
    let schema = schema.to_string();
    let files = [
        CHART,
        ("web/values.schema.json", schema.as_str()),
        ("web/templates/t.yaml", "kind: X\n"),
    ];
    let error = make("web", &files, from_secret()).unwrap_err();
    assert_eq!(error.reason(), Reason::RenderFailed);
    assert_hidden(&chain(&error));

    for broken in [
        format!("password: {MARKER}\n broken"),
        format!("- {MARKER}\n"),
        MARKER.to_owned(),
    ] {
        let mut inputs = Inputs::default();
        inputs.values = vec![("Secret prod/values".to_owned(), broken.clone())];
        inputs.secrets.add_lines(&broken);
        inputs.secrets.add(broken.trim_start_matches("- "));
        let error = make("web", &files[..1], inputs).unwrap_err();
        assert_hidden(&chain(&error));
    }
}

#[test]
fn no_error_of_kustomize_shows_a_decrypted_value() {
    let golden =
        |name: &str| fs::read_to_string(in_repository("tests/golden/sops").join(name)).unwrap();
    let (secret, env) = (golden("encrypted/secret.yaml"), golden("encrypted/app.env"));
    let key = golden("keys/one.agekey");
    for (kustomization, names) in [
        // A patch that does not fit, and a target that the decrypted file is not.
        (
            "resources: [secret.yaml]\npatches: [{path: secret.yaml, target: {kind: Nothing}}, {path: app.env}]\n",
            "app.env",
        ),
        ("resources: [app.env]\n", "app.env"),
        ("patches: [{path: secret.yaml}]\n", "Secret"),
        (
            "resources: [secret.yaml]\npatches: [{patch: '[{op: test, path: /stringData/password, value: x}]', target: {kind: Secret}}]\n",
            "test",
        ),
        (
            "resources: [secret.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: stringData.password}, targets: [{select: {kind: Secret}, fieldPaths: [data.x.y]}]}]\n",
            "data.x.y",
        ),
    ] {
        let files = [
            ("k/kustomization.yaml", kustomization),
            ("k/secret.yaml", secret.as_str()),
            ("k/app.env", env.as_str()),
        ];
        let data = [("one.agekey".to_owned(), key.clone().into_bytes())];
        let mut inputs = Inputs::default();
        inputs.keys = Some(Keys::from_secret("prod/age", &data.into()).unwrap());
        let error = match make("k", &files, inputs) {
            Ok(_) => panic!("{kustomization} builds"),
            Err(error) => chain(&error),
        };
        assert!(error.contains(names), "{error}");
        for part in ["hunter2", "aHVudGVy", "very-secret"] {
            assert!(!error.contains(part), "{part}: {error}");
        }
    }
}
