use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{YamlCause, YamlError, documents, each_document};

/// The meaning of a file for kubectl: see `tests/golden/yaml/kubectl/main.go`.
#[derive(serde::Deserialize)]
struct Expected {
    number: u32,
    #[serde(default)]
    json: Value,
    #[serde(default)]
    error: bool,
    #[serde(default, rename = "refusedIfStrict")]
    strict: bool,
}

/// Whole floats as integers, so that `1e19` and `10000000000000000000` are equal.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => number
            .as_f64()
            .filter(|_| number.is_f64())
            .and_then(super::scalar::float)
            .unwrap_or(number.into()),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, plain(value)))
            .collect(),
        other => other,
    }
}

#[test]
fn yaml_has_the_same_meaning_as_for_kubectl() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/yaml");
    let differences = std::fs::read_to_string(root.join("differences.txt")).unwrap();
    let mut differences: BTreeMap<&str, &str> = differences
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let mut wrong = Vec::new();
    let mut cases: Vec<_> = std::fs::read_dir(root.join("cases"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let expected = std::fs::read(root.join("expected").join(format!("{name}.json"))).unwrap();
        let expected: Vec<Expected> = serde_json::from_slice(&expected).unwrap();
        let error = expected.iter().any(|document| document.error);
        let refused = error || expected.iter().any(|document| document.strict);
        let means: Vec<(u32, Value)> = expected
            .into_iter()
            .filter(|document| !document.json.is_null())
            .map(|document| (document.number, plain(document.json)))
            .collect();
        let ours = documents(&std::fs::read(case).unwrap());
        let found = match (&ours, refused) {
            (Err(_), true) => "same",
            (Err(_), false) => "refused",
            (Ok(documents), _) => {
                let ours = documents.iter().map(|d| (d.number, d.value.clone()));
                match (ours.eq(means.clone()), refused) {
                    _ if error => "read",
                    (true, false) => "same",
                    (true, true) => "as without strict",
                    (false, _) => "other",
                }
            }
        };
        let wanted = differences
            .remove(name)
            .map_or("same", |text| text.split(" - ").next().unwrap());
        if found != wanted {
            wrong.push(format!(
                "{name}: {found}, not {wanted}: {ours:?}, kubectl: {means:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(differences.is_empty(), "no such case: {differences:?}");
}

fn cause(text: impl AsRef<[u8]>) -> (u32, u32, super::YamlCause) {
    let error = documents(text.as_ref()).unwrap_err();
    (error.document, error.line, error.cause)
}

#[test]
fn an_error_names_the_place_in_the_file() {
    use super::YamlCause as C;
    assert_eq!(
        cause("a: 1\n---\n\nb: 1\nb: 2\n"),
        (2, 5, C::DuplicateKey(None))
    );
    assert_eq!(cause("a: 1\n--- x\n"), (1, 2, C::Separator));
    assert_eq!(
        cause("a: 1\n---\n# c\nb: \0\n"),
        (2, 4, C::ControlCharacter)
    );
    assert_eq!(
        cause("{\"a\": 1,\n\"a\": 2}"),
        (1, 2, C::DuplicateKey(None))
    );
    assert_eq!(cause(b"a: 1\nb: \xff\n"), (1, 2, C::Encoding));
    assert_eq!(cause("a: [b:, c]\n"), (1, 1, C::GluedColon));
}

#[test]
fn no_text_of_the_file_reaches_an_error() {
    for text in [
        "password: \"hunter2\nx: y\n",
        "hunter2: 1\nhunter2: 2\n",
        "password: hunter2: x\n",
        "password: @hunter2\n",
        "password: *hunter2\n",
        "password: !!int hunter2\n",
        "password: \"\\hunter2\"\n",
        "{\"hunter2\": 1, \"hunter2\": 2}",
        "password: [hunter2\n",
        "%hunter2\n---\na: 1\n",
        "--- hunter2\n",
        "password:\n\thunter2: x\n",
    ] {
        let error = documents(text.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("unter"), "{error}");
    }
}

#[test]
fn hostile_input_is_bounded() {
    use super::YamlCause as C;
    let deep = |open: &str, close: &str, n| format!("a: {}{}", open.repeat(n), close.repeat(n));
    for text in [
        deep("[", "]", 100_000),
        deep("{a: ", "}", 100_000),
        "- ".repeat(100_000),
        (0..5_000)
            .map(|n| format!("{}a:\n", " ".repeat(n)))
            .collect(),
        format!("{{\"a\":{}", "[".repeat(100_000)),
        format!("[{}", "{\"a\":".repeat(100_000)),
    ] {
        assert_eq!(cause(text).2, C::TooDeep);
    }
    let chain: String = (1..200)
        .map(|n| format!("- &a{n} [*a{}]\n", n - 1))
        .collect();
    assert_eq!(cause(format!("- &a0 x\n{chain}")).2, C::TooDeep);
    let large = format!("- &a {}\n{}", "x".repeat(1 << 20), "- *a\n".repeat(1000));
    assert_eq!(cause(large).2, C::AliasBomb);
    let merges = format!(
        "a: &a {{{}}}\n",
        (0..1000).map(|n| format!("k{n}: 1, ")).collect::<String>()
    );
    let merges = merges
        + &(0..10_000)
            .map(|n| format!("b{n}: {{<<: *a}}\n"))
            .collect::<String>();
    assert_eq!(cause(merges).2, C::AliasBomb);
}

#[test]
fn a_key_before_a_merge_may_have_the_merged_value() {
    let same = "a: &a {x: 1, z: 2}\nb:\n  x: 1\n  <<: *a\n  z: 3\n";
    let read = documents(same.as_bytes()).unwrap();
    assert_eq!(read[0].value["b"], serde_json::json!({"x": 1, "z": 3}));
    let other = "a: &a {x: 1}\nb:\n  x: 2\n  <<: *a\n";
    assert_eq!(cause(other).2, YamlCause::MergeConflict);
    let twice = "a: &a {x: 1}\nb:\n  x: 1\n  <<: *a\n  x: 1\n";
    assert_eq!(cause(twice).2, YamlCause::DuplicateKey(None));
}

#[test]
fn mangled_files_do_not_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/yaml/cases");
    for case in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read(case.unwrap().path()).unwrap();
        for at in 0..text.len().min(60) {
            let _ = documents(&text[..at]);
            let _ = documents(&text[at..]);
            let mut other = text.clone();
            other[at] = b"\"'[]{}:,&*!|>-? \n\t#%@"[at % 21];
            let _ = documents(&other);
        }
    }
}

#[test]
fn many_documents_are_read() {
    let one = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n---\n";
    let documents = documents(one.repeat(20_000).as_bytes()).unwrap();
    assert_eq!(
        (documents.len(), documents[19_999].number),
        (20_000, 20_000)
    );
}

/// A mapping of one entry is eight bytes of text, and takes eighty times that in memory.
#[test]
fn what_takes_too_much_memory_is_refused_while_it_is_read() {
    let json = |count: usize| format!("{{\"x\":[{}{{}}]}}", "{\"a\":1},".repeat(count));
    let yaml = |count: usize| format!("x:\n{}", "- {a: 1}\n".repeat(count));
    let alias = |count: usize| {
        let list = "{a: 1}, ".repeat(1_000);
        format!("x: &x [{list}]\ny:\n{}", "- *x\n".repeat(count))
    };
    let long = |count: usize| format!("x: {}\n", "a".repeat(count));
    for (what, text, fits) in [
        ("json", json(10_000), true),
        ("json", json(390_000), false),
        ("json in a stream", json(390_000) + "\n{}\n", false),
        ("yaml", yaml(10_000), true),
        ("yaml", yaml(390_000), false),
        ("aliases", alias(10), true),
        ("aliases", alias(200), false),
        ("one text", long(16 << 20), true),
    ] {
        match documents(text.as_bytes()) {
            Ok(_) => assert!(fits, "{what}: {} bytes", text.len()),
            Err(error) => {
                let refused = [YamlCause::TooLarge, YamlCause::AliasBomb].contains(&error.cause);
                assert!(!fits && refused, "{what}: {error}");
            }
        }
    }
}

#[test]
fn documents_are_read_one_after_the_other() {
    let text = "a: 1\n---\nb: 2\n---\n- broken: [\n";
    let mut numbers = Vec::new();
    let read = each_document(text.as_bytes(), |document| {
        numbers.push(document.number);
        Ok::<(), YamlError>(())
    });
    assert_eq!(numbers, [1, 2]);
    assert_eq!(read.unwrap_err().document, 3);
    let text = "{\"a\": 1}\n\n{\"b\": {\"c\": 2, \"c\": 3}}";
    let error = documents(text.as_bytes()).unwrap_err();
    assert_eq!((error.document, error.line), (2, 3));
    assert_eq!(error.cause, YamlCause::DuplicateKey(None));
}

#[test]
fn a_key_that_is_there_twice_is_named_unless_it_may_be_secret() {
    let said = |text: &str| documents(text.as_bytes()).unwrap_err().to_string();
    let named = "the key app.kubernetes.io/name appears twice in one mapping: remove one";
    for text in [
        "kind: ConfigMap\napp.kubernetes.io/name: 1\napp.kubernetes.io/name: 2\n",
        r#"{"kind": "Pod", "app.kubernetes.io/name": 1, "app.kubernetes.io/name": 2}"#,
    ] {
        let said = said(text);
        assert!(said.contains(named), "{said}");
    }
    for text in [
        "kind: Secret\nhunter2: 1\nhunter2: 2\n",
        "kind: Pod\n\"hunter2 is it\": 1\n\"hunter2 is it\": 2\n",
        r#"{"kind": "Secret", "hunter2": 1, "hunter2": 2}"#,
    ] {
        let said = said(text);
        assert!(
            said.contains("a key appears twice") && !said.contains("hunter2"),
            "{said}"
        );
    }
}
