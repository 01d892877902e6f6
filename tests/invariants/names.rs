//! One word means one thing.

use std::collections::BTreeMap;
use std::fs;

use towline_testing::in_repository;

use super::sources::rust_files;

/// Words that had several meanings, so that the name of a type said nothing in another file. Each is the
/// whole name of one type at most; other types say of what they are one, as in `PackEntry`.
const WORDS: [&str; 15] = [
    "Target", "Sources", "Standing", "Settings", "Record", "Cause", "Entry", "Seen", "Place",
    "Told", "Step", "State", "Found", "Held", "Kind",
];

#[test]
fn a_word_is_the_name_of_one_type() {
    let root = in_repository("src");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut types = 0;
    for path in rust_files(&root) {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            let Some(name) = defined(line) else { continue };
            types += 1;
            if WORDS.contains(&name) {
                let at = format!("{file}:{}", index + 1);
                found.entry(name.to_owned()).or_default().push(at);
            }
        }
    }
    assert!(types > 500, "only {types} types were found");
    found.retain(|_, places| places.len() > 1);
    assert!(found.is_empty(), "words with several meanings: {found:#?}");
}

/// The name of the type that a line defines. Not that of an associated type, which a trait of another
/// crate may have named (`Deref::Target`): an indented `type`.
fn defined(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let code = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => code,
    };
    let (keyword, rest) = code.split_once(' ')?;
    let is_indented = line.starts_with(' ');
    let defines = match keyword {
        "struct" | "enum" | "trait" | "union" => true,
        "type" => !is_indented,
        _ => false,
    };
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    defines.then(|| &rest[..end.unwrap_or(rest.len())])
}

#[test]
fn a_definition_is_seen() {
    for line in [
        "struct Held {",
        "pub struct Held<'a> {",
        "pub(super) enum Held {",
        "pub(in crate::source::git) struct Held(Vec<u8>);",
        "    pub(crate) struct Held;",
        "pub trait Held: Send {",
        "pub(super) type Held = (String, String);",
    ] {
        assert_eq!(defined(line), Some("Held"), "{line}");
    }
    for line in [
        "    type Held = Repository;",
        "    Held,",
        "impl Held {",
        "// struct Held",
        "use std::held::Held;",
        "publish Held",
    ] {
        assert_eq!(defined(line), None, "{line}");
    }
}
