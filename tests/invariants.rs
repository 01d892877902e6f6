//! The architecture invariants of `src/lib.rs` that the text of the sources can hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is forbidden, in which files, and the invariant that says so.
struct Rule {
    invariant: &'static str,
    /// Words that none of the files may hold.
    words: &'static [&'static str],
    /// Whether a file, by its path below `src`, is bound by the rule.
    binds: fn(&str) -> bool,
}

const RULES: [Rule; 7] = [
    Rule {
        invariant: "manifest, render, plan, health, verify and webhook are pure",
        words: &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "std::fs",
            "std::net",
            "std::env",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "tracing",
        ],
        binds: |file| {
            [
                "manifest/",
                "render/",
                "plan/",
                "health/",
                "verify/",
                "webhook/",
            ]
            .iter()
            .any(|m| file.starts_with(m))
        },
    },
    Rule {
        invariant: "only source names git2",
        words: &["git2"],
        binds: |file| !file.starts_with("source/"),
    },
    Rule {
        invariant: "only manifest names the YAML parser",
        words: &["granit_parser"],
        binds: |file| !file.starts_with("manifest/"),
    },
    Rule {
        invariant: "only cluster writes managed objects",
        words: &["DynamicObject", "apply-patch"],
        binds: |file| !file.starts_with("cluster/"),
    },
    Rule {
        invariant: "clients that write come from where the leader's gate is put around them",
        words: &["Client::try_from", "Client::try_default", "Client::new"],
        binds: |file| !file.starts_with("leader/") && file != "operator.rs",
    },
    Rule {
        invariant: "no subprocess and no shell",
        words: &["process::Command", "Command::new"],
        binds: |_| true,
    },
    Rule {
        invariant: "the wire format is named in api only",
        words: &["CustomResource,", "derive(JsonSchema", "derive(KubeSchema"],
        binds: |file| !file.starts_with("api/"),
    },
];

#[test]
fn sources_keep_the_invariants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in sources(&root) {
        let file = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code(&file, &text) {
            for rule in RULES.iter().filter(|rule| (rule.binds)(&file)) {
                let found = rule.words.iter().find(|word| line.contains(**word));
                assert!(
                    found.is_none(),
                    "{file}:{number}: {}: {found:?}",
                    rule.invariant
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "the sources were not found");
}

/// The lines of a file that are neither comments nor tests.
fn code<'a>(file: &str, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_test = file.ends_with("tests.rs")
        || file.ends_with("testing.rs")
        || ["/tests/", "/testing/"]
            .iter()
            .any(|folder| file.contains(folder));
    text.lines()
        .enumerate()
        .take_while(move |(_, line)| !is_test && !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
