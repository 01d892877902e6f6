//! Values that YAML reads in more than one way. The renderer writes most objects without kustomize's detour by way of JSON
//! (`Plain` in `renderers/kustomize/api.patch`), and patches them likewise: they have to stay what they are.

use std::{path::Path, process::Command};

use towline::render::wasm::Kustomization;

use super::{
    folder::{tree, with},
    golden::script,
    modules::{RENDERERS, render, stream},
};

/// Text in quotes, and most of it as it is.
const WORDS: [&str; 57] = [
    "a",
    "true",
    "True",
    "yes",
    "on",
    "y",
    "N",
    "null",
    "Null",
    "~",
    "",
    "5",
    "-5",
    "0",
    "-0",
    "007",
    "0o14",
    "0x1f",
    "0b11",
    "1e3",
    "1.5",
    "+1",
    "1_000",
    ".inf",
    ".NaN",
    "12:30:45",
    "2001-01-01",
    "2001-01-01T00:00:00Z",
    "<<",
    "=",
    "a: b",
    "a #b",
    "#a",
    " a",
    "a ",
    "a\nb",
    "a\nb\n",
    "a\n\n",
    "\na",
    "  a\nb",
    "a\n  b\n",
    "a \nb",
    "\t",
    "a\tb",
    "é",
    "\u{85}",
    "\u{1f600}",
    "\"q\"",
    "'q'",
    "{a}",
    "- a",
    "---",
    "...",
    "a\\nb",
    "9007199254740993",
    "123456789012345",
    "99999999999999999999",
];

/// Values without quotes.
const PLAIN: [&str; 31] = [
    "true",
    "True",
    "yes",
    "on",
    "null",
    "Null",
    "~",
    "",
    "5",
    "-5",
    "0",
    "-0",
    "007",
    "0o14",
    "0x1f",
    "1e3",
    "1.5",
    "+1",
    "1_000",
    "12:30:45",
    "2001-01-01",
    "=",
    "9007199254740993",
    "123456789012345",
    "99999999999999999999",
    "{}",
    "[]",
    "[a, 5, {b: null}]",
    "!!str 5",
    "&x {y: z}",
    "{? a, ? b}",
];

const KUSTOMIZATION: &str = "namePrefix: x-
namespace: shop
commonAnnotations: {team: '5'}
resources: [all.yaml]
patches: [{target: {kind: Odd}, patch: '[{\"op\": \"add\", \"path\": \"/added\", \"value\": \"007\"}]'}]
";

fn objects() -> String {
    let quoted = WORDS.iter().flat_map(|word| {
        let double = serde_json::to_string(word).unwrap();
        let lines: Vec<String> = word
            .split('\n')
            .map(|line| format!("    {line}\n"))
            .collect();
        let block = format!("|2-\n{}", lines.concat());
        // kustomize cannot read a block again that begins with a tabulator.
        let is_block = !word.contains('\u{85}') && !word.starts_with('\t');
        [Some(double), is_block.then_some(block)]
    });
    let plain = PLAIN.iter().map(|text| Some((*text).to_owned()));
    let values = quoted.chain(plain).flatten().enumerate();
    let objects = values.map(|(index, value)| {
        // Every second one is patched, and so has its values as JSON.
        let kind = if index % 2 == 0 { "Odd" } else { "Even" };
        format!("apiVersion: example.org/v1\nkind: {kind}\nmetadata: {{name: n{index}}}\nspec:\n  value: {value}\n")
    });
    objects.collect::<Vec<_>>().join("---\n")
}

#[test]
fn values_are_written_as_natively() {
    let programs = script("renderers/build", &["--native"]);
    let program = Path::new(programs.lines().last().unwrap()).join("kustomize");
    let folder = with(&[
        ("all.yaml", &objects()),
        ("kustomization.yaml", KUSTOMIZATION),
    ]);
    let output = Command::new(program)
        .args(["build", "--reorder", "none"])
        .arg(folder.path())
        .output()
        .unwrap();
    let native = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for provenance in [false, true] {
        let request = Kustomization {
            provenance,
            ..Kustomization::default()
        };
        let ours = render(&RENDERERS.kustomize, tree(folder.path()), &request);
        let ours = stream(&ours.unwrap_or_else(|failed| panic!("{}", failed.failure)));
        let differing = ours
            .lines()
            .zip(native.lines())
            .find(|(ours, native)| ours != native);
        assert!(ours == native, "{differing:?}");
        assert!(ours.contains("added: \"007\""));
    }
}
