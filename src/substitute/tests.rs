#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    vars: BTreeMap<String, String>,
    strict: bool,
    object: Value,
}

#[derive(Deserialize)]
struct Expected {
    name: String,
    object: Option<Value>,
    error: Option<String>,
}

/// Where towline and Flux differ on purpose: the case, what towline makes of it (none: an error), and why.
fn differences() -> Vec<(&'static str, Option<Value>, &'static str)> {
    let data = |value: &str| Some(json!({"data": {"k": value}}));
    vec![
        (
            "${colon}",
            data("a: b"),
            "Flux refuses the object; the value is a string",
        ),
        (
            "${star}",
            data("*.example.com"),
            "Flux refuses the object; the value is a string",
        ),
        (
            "${dash}",
            data("- x"),
            "Flux refuses the object; the value is a string",
        ),
        (
            "${var:=$${x}}",
            data("abc"),
            "where strict, Flux asks for x although var has a value",
        ),
        (
            "${uni:0:3}",
            data("gr"),
            "Flux cuts through a character and refuses the object",
        ),
    ]
}

fn run(case: &Case) -> Result<Value, String> {
    let mut variables = Variables {
        strict: case.strict,
        ..Variables::default()
    };
    for (name, value) in &case.vars {
        variables
            .set(name, value)
            .map_err(|error| error.to_string())?;
    }
    let mut object = case.object.clone();
    substitute(&mut object, &variables).map_err(|error| crate::chain(&error))?;
    Ok(object)
}

#[test]
fn objects_are_substituted_as_flux_does() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../tests/golden/substitute/cases.json")).unwrap();
    let expected: Vec<Expected> =
        serde_json::from_str(include_str!("../../tests/golden/substitute/expected.json")).unwrap();
    assert_eq!(cases.len(), expected.len());
    let differences = differences();
    let mut wrong = Vec::new();
    for (case, expected) in cases.iter().zip(expected) {
        assert_eq!(case.name, expected.name);
        let name = case.name.strip_prefix("strict ").unwrap_or(&case.name);
        let ours = run(case);
        let difference = differences.iter().find(|(other, ..)| *other == name);
        let right = match difference {
            Some((_, value, _)) => ours.as_ref().ok() == value.as_ref(),
            None => {
                ours.is_err() == expected.error.is_some()
                    && (ours.is_err() || ours.as_ref().ok() == expected.object.as_ref())
            }
        };
        if !right {
            wrong.push(format!(
                "{}: {ours:?}, Flux: {:?} {:?}",
                case.name, expected.object, expected.error
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in pairs {
        variables.set(name, value).unwrap();
    }
    variables
}

#[test]
fn an_object_opts_out_by_either_annotation() {
    for mark in OPT_OUT {
        for place in ["annotations", "labels"] {
            let object =
                json!({"metadata": {place: {mark: "disabled"}}, "data": {"run.sh": "${HOME}"}});
            let mut same = object.clone();
            substitute(&mut same, &variables(&[("HOME", "x")])).unwrap();
            assert_eq!(same, object);
        }
    }
}

#[test]
fn an_error_names_the_field_and_no_value() {
    let mut strict = variables(&[("a", "hunter2")]);
    strict.strict = true;
    let mut object = json!({"spec": {"containers": [{"image": "${a}"}, {"image": "x:${tag}"}]}});
    let error = substitute(&mut object, &strict).unwrap_err();
    assert_eq!(error.field, "spec.containers[1].image");
    assert_eq!(error.source, ExpandError::Undefined("tag".to_owned()));
    let mut broken = json!({"data": {"k": "${a} hunter2 ${"}});
    let text = crate::chain(&substitute(&mut broken, &strict).unwrap_err());
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{strict:?}").contains("hunter2"));
}

#[test]
fn hostile_templates_end_in_an_error() {
    let long = "x".repeat(100_000);
    let many = variables(&[("a", &long)]);
    let expand = |text: String| {
        let mut object = json!({"data": {"k": text}});
        substitute(&mut object, &many).map_err(|error| error.source)
    };
    assert_eq!(expand("${a}".repeat(1_000)), Err(ExpandError::TooLarge));
    assert_eq!(
        expand("${a//x/${a}}".to_owned()),
        Err(ExpandError::TooLarge)
    );
    assert_eq!(
        expand("${b:=".repeat(10_000)),
        Err(ExpandError::Syntax(SyntaxError::TooDeep))
    );
    // A pattern that would take for ever if every way through it were tried.
    assert_eq!(expand(format!("${{a#{}y}}", "*x".repeat(100))), Ok(()));
    assert_eq!(expand(format!("${{a%%{}}}", "*".repeat(100_000))), Ok(()));
    let same = &mut json!({"data": {"${x:=k}": 1, "k": 2}});
    assert_eq!(
        substitute(same, &many).unwrap_err().source,
        ExpandError::SameKey
    );
}

#[test]
fn a_value_stays_in_its_field() {
    let mut object = json!({"metadata": {"name": "${a}"}, "data": {"${a}": "x\n${a}"}});
    substitute(&mut object, &variables(&[("a", "x: {y: 1}\nkind: Secret")])).unwrap();
    let name = "x: {y: 1}kind: Secret";
    assert_eq!(
        object,
        json!({"metadata": {"name": name}, "data": {name: format!("x\n{name}")}})
    );
}

#[test]
fn a_field_that_takes_texts_only_gets_a_text() {
    let given = variables(&[
        ("n", "8080"),
        ("yes", "true"),
        ("list", "[a]"),
        ("q", "\"1\""),
        ("none", ""),
    ]);
    let substituted = |object: Value| {
        let mut object = object;
        substitute(&mut object, &given).unwrap();
        object
    };
    for (object, pointer, value) in [
        (
            json!({"kind": "Secret", "apiVersion": "v1", "stringData": {"k": "${n}"}}),
            "/stringData/k",
            json!("8080"),
        ),
        (
            json!({"kind": "Secret", "apiVersion": "v1", "data": {"k": "${n}"}}),
            "/data/k",
            json!("8080"),
        ),
        (
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "${yes}"}}),
            "/data/k",
            json!("true"),
        ),
        (
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k.${yes}": "${list}"}}),
            "/data/k.true",
            json!("[a]"),
        ),
        // As in Flux.
        (
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "${q}"}}),
            "/data/k",
            json!("1"),
        ),
        (
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "${none}"}}),
            "/data/k",
            json!(null),
        ),
        (
            json!({"kind": "ConfigMap", "apiVersion": "example.dev/v1", "data": {"k": "${n}"}}),
            "/data/k",
            json!(8080),
        ),
        (
            json!({"kind": "A", "apiVersion": "b.c/v1", "metadata": {"labels": {"v": "${n}"}}}),
            "/metadata/labels/v",
            json!("8080"),
        ),
        (
            json!({"kind": "Job", "apiVersion": "batch/v1", "spec": {"template": {"metadata": {"annotations": {"v": "${yes}"}}}}}),
            "/spec/template/metadata/annotations/v",
            json!("true"),
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"env": [{"name": "PORT", "value": "${n}"}]}]}}),
            "/spec/containers/0/env/0/value",
            json!("8080"),
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"args": ["${n}"]}]}}),
            "/spec/containers/0/args/0",
            json!("8080"),
        ),
        (
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"replicas": "${n}"}}),
            "/spec/replicas",
            json!(8080),
        ),
        (
            json!({"kind": "X", "apiVersion": "x.dev/v1", "spec": {"args": ["${n}"]}}),
            "/spec/args/0",
            json!(8080),
        ),
    ] {
        let shown = object.to_string();
        assert_eq!(
            substituted(object).pointer(pointer),
            Some(&value),
            "{shown}"
        );
    }
}

#[test]
fn a_name_that_a_missing_variable_leaves_empty_is_told_with_the_variable() {
    let given = variables(&[("a", "x")]);
    let unset = |metadata: Value| {
        let object = json!({"kind": "A", "apiVersion": "v1", "metadata": metadata});
        unset_in_name(&object, &given).map(|error| crate::chain(&error))
    };
    let told = unset(json!({"name": "${a}-${env}"})).unwrap();
    assert!(
        told.starts_with(
            "metadata.name: variable env has no value; give it one in spec.substitute"
        ),
        "{told}"
    );
    for metadata in [
        json!({"name": "${a}"}),
        json!({"name": "${env:=x}"}),
        json!({"name": "$${env}", "labels": {"x": "${env}"}}),
        json!({"name": "${env}", "annotations": {"towline.dev/substitute": "disabled"}}),
        json!({}),
    ] {
        assert_eq!(unset(metadata), None);
    }
}

#[test]
fn a_variable_without_a_value_that_leaves_an_empty_key_is_named() {
    let put = |labels: Value| {
        let mut object =
            serde_json::json!({"kind": "A", "metadata": {"name": "a", "labels": labels}});
        substitute(&mut object, &Variables::default()).map_err(|error| crate::chain(&error))
    };
    let error = put(serde_json::json!({"${team}": "a"})).unwrap_err();
    assert!(
        error.starts_with("metadata.labels: variable team has no value"),
        "{error}"
    );
    assert_eq!(
        put(serde_json::json!({"team-${team}": "a", "${x:=b}": "c"})),
        Ok(())
    );
}

#[test]
fn a_variable_without_a_value_for_all_metadata_is_named() {
    let object = serde_json::json!({"kind": "A", "metadata": "${about}"});
    let told = unset_in_name(&object, &Variables::default()).map(|error| crate::chain(&error));
    assert!(told.is_some_and(|told| told.starts_with("metadata: variable about has no value")));
}
