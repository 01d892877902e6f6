//! Checks the architecture invariants of `src/lib.rs` that are visible in the text of the sources.

mod circles;
mod names;
mod rooms;
mod sources;

use towline_testing::in_repository;

use sources::{Named, Source};

/// What is forbidden, in which files, and the invariant that forbids it.
struct Rule {
    invariant: &'static str,
    /// Paths that these files must not name, including everything below them.
    paths: &'static [&'static str],
    /// Text that must not occur in their string literals.
    literals: &'static [&'static str],
    /// Whether the rule applies to a file, given its path below `src`.
    binds: fn(&str) -> bool,
}

/// Rooms that use no client, no runtime, no file system and no clock.
const PURE: [&str; 15] = [
    "content",
    "text",
    "url",
    "manifest",
    "intent",
    "substitute",
    "decrypt",
    "render",
    "desired",
    "plan",
    "health",
    "verify",
    "webhook",
    "message",
    "trace",
];

const RULES: [Rule; 10] = [
    Rule {
        invariant: "content, text, url, manifest, intent, substitute, decrypt, render, desired, plan, health, verify, \
                    webhook, message and trace are pure, but for render::wasm",
        paths: &[
            "kube::Client",
            "kube::client",
            "kube::Api",
            "kube::api::Api",
            "kube::runtime",
            "tokio",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
            "k8s_openapi::jiff::Timestamp::now",
            "tracing",
        ],
        literals: &[],
        // The sandbox maps its modules from files and runs them on threads, so it is exempt.
        binds: |file| PURE.contains(&room(file)) && !file.starts_with("render/wasm"),
    },
    Rule {
        invariant: "only source names git2",
        paths: &["git2"],
        literals: &[],
        binds: |file| room(file) != "source",
    },
    Rule {
        invariant: "only manifest names the YAML parser",
        paths: &["granit_parser"],
        literals: &[],
        binds: |file| room(file) != "manifest",
    },
    Rule {
        invariant: "only render::wasm names wasmtime",
        paths: &["wasmtime"],
        literals: &[],
        binds: |file| !file.starts_with("render/wasm"),
    },
    Rule {
        invariant: "only cluster writes managed objects",
        paths: &["kube::core::DynamicObject", "kube::api::DynamicObject"],
        literals: &["apply-patch"],
        binds: |file| room(file) != "cluster",
    },
    Rule {
        invariant: "only url takes a URL apart",
        paths: &[],
        // As a whole literal, which is what a text is split at.
        literals: &["\"://\""],
        // `text` and `source/git/url.rs` redact texts that need not be URLs, and `render/bases.rs` only looks whether a file
        // may have one. The other two read forms that no parser of URLs takes, and say so.
        binds: |file| {
            let others = [
                "source/git/url.rs",
                "render/bases.rs",
                "render/remote.rs",
                "webhook/url.rs",
            ];
            !["url", "text"].contains(&room(file)) && !others.contains(&file)
        },
    },
    // `cli` takes its client from `leader` too. No gate is in it: a command is a person and no replica.
    Rule {
        invariant: "only leader makes clients that write",
        paths: &[
            "kube::Client::try_from",
            "kube::Client::try_default",
            "kube::Client::new",
            "kube::client::Client::try_from",
            "kube::client::Client::try_default",
            "kube::client::Client::new",
            "kube::client::ClientBuilder",
        ],
        literals: &[],
        binds: |file| room(file) != "leader",
    },
    Rule {
        invariant: "no subprocess and no shell",
        paths: &["std::process::Command", "tokio::process"],
        literals: &[],
        binds: |_| true,
    },
    Rule {
        invariant: "the wire format is named in api only",
        paths: &[
            "kube::CustomResource",
            "schemars::JsonSchema",
            "kube::KubeSchema",
        ],
        literals: &[],
        binds: |file| room(file) != "api",
    },
    Rule {
        invariant: "only api names what a resource asks for; all others take an intent",
        paths: &[
            "crate::api::SyncSpec",
            "crate::api::SyncSettings",
            "crate::api::GitRepositorySpec",
            "crate::api::GitRef",
            "crate::api::Mode",
        ],
        literals: &[],
        binds: |file| room(file) != "api",
    },
];

/// The room of a file: `plan` for `plan/mod.rs` and for `plan.rs`.
fn room(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.trim_end_matches(".rs")
}

fn sources() -> Vec<Source> {
    let sources = sources::read(&in_repository("src"));
    let named: usize = sources.iter().map(|source| source.named.len()).sum();
    assert!(named > 5_000, "the sources were not found");
    sources
}

/// Whether `path` is `forbidden`, is below it, or is a glob import that includes it.
fn names(path: &[String], forbidden: &str) -> bool {
    let parts: Vec<&str> = forbidden.split("::").collect();
    let all = path.last().is_some_and(|last| last == "*") && path.len() <= parts.len();
    let same = path
        .iter()
        .zip(&parts)
        .all(|(is, part)| is == part || is == "*");
    same && (path.len() >= parts.len() || all)
}

fn broken(rule: &Rule, source: &Source) -> Vec<(String, usize)> {
    let forbidden = |named: &&Named| rule.paths.iter().any(|path| names(&named.path, path));
    let paths = source.named.iter().filter(forbidden);
    let paths = paths.map(|named| (named.path.join("::"), named.line));
    let holds = |(text, _): &&(String, usize)| rule.literals.iter().any(|word| text.contains(word));
    let literals = source.literals.iter().filter(holds).cloned();
    paths.chain(literals).collect()
}

#[test]
fn sources_keep_the_invariants() {
    let mut found = Vec::new();
    for source in sources() {
        for rule in RULES.iter().filter(|rule| (rule.binds)(&source.file)) {
            for (what, line) in broken(rule, &source) {
                let (file, invariant) = (&source.file, rule.invariant);
                found.push(format!("{file}:{line}: {invariant}: {what}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// An adapter in `api` makes an intent of a resource, so that a second API is a second adapter. `cluster` and `leader` read that of
/// Kubernetes' own objects, and commands show resources as they are.
#[test]
fn only_api_reads_what_a_resource_asks_for() {
    let reads = Source::parse(
        "sync/mod.rs",
        "fn f(s: &Sync) -> bool { s.spec.prune.is_some() }",
    );
    assert_eq!(reads.specs, [1]);
    let all = sources();
    let others = all
        .iter()
        .filter(|source| !["api", "cluster", "leader", "cli"].contains(&room(&source.file)));
    let found: Vec<String> = others
        .flat_map(|source| {
            source
                .specs
                .iter()
                .map(|line| format!("{}:{line}", source.file))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_rule_sees_the_imports_of_a_use_tree() {
    let rule = &RULES[0];
    for text in [
        "use kube::{Api, Client};",
        "use kube::*;",
        "use std::{collections::HashMap, fs};",
        "fn now() { jiff::Timestamp::now(); }",
        "use jiff::Timestamp; fn now() { Timestamp::now(); }",
        "#[cfg(test)] use std::fmt; use tokio::sync::Mutex;",
        "#[cfg(test)] mod tests {} fn f() { tracing::info!(\"after a test\"); }",
    ] {
        let source = Source::parse("plan/mod.rs", text);
        assert!(!broken(rule, &source).is_empty(), "not seen: {text}");
    }
    for text in [
        "#[cfg(test)] mod tests { use tokio::sync::Mutex; }",
        "// tokio\n/// kube::Client\nfn f() {}",
        "use jiff::Timestamp; fn f(at: Timestamp) {}",
        "use kube::core::ObjectMeta;",
    ] {
        let source = Source::parse("plan/mod.rs", text);
        assert_eq!(broken(rule, &source), [], "{text}");
    }
}

/// The fuzzer compiles some rooms alone, with few crates, and only at the end of a run of all checks.
#[test]
fn the_fuzzer_has_what_its_rooms_name() {
    let library = std::fs::read_to_string(in_repository("fuzz/src/lib.rs")).unwrap();
    let rooms: Vec<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let dependencies = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(in_repository(file)).unwrap();
        let section = text.split("\n[dependencies]\n").nth(1).unwrap();
        let lines = section.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0));
        names.map(|name| name.replace('-', "_")).collect()
    };
    let (all, fuzzer) = (dependencies("Cargo.toml"), dependencies("fuzz/Cargo.toml"));
    assert!(rooms.len() > 2 && all.len() > 30 && fuzzer.len() > 5);
    let mut missing = Vec::new();
    for source in sources() {
        if !rooms.contains(&room(&source.file)) {
            continue;
        }
        for named in &source.named {
            let (root, next) = (&named.path[0], named.path[1].as_str());
            let has = match root.as_str() {
                "crate" => rooms.contains(&next),
                name => !all.contains(root) || fuzzer.iter().any(|has| has == name),
            };
            if !has {
                missing.push(format!("{}:{}: {root}::{next}", source.file, named.line));
            }
        }
    }
    assert!(missing.is_empty(), "fuzz/ lacks\n{}", missing.join("\n"));
}

/// Cargo and `mod` declarations find files. No test runs in a file that neither finds.
#[test]
fn every_file_is_declared() {
    for (folder, root) in [
        ("tests", "main"),
        ("tests/support", "lib"),
        ("tests/image", "main"),
        ("tests/renderers", "main"),
        ("src", "lib"),
        ("examples/bench", "main"),
        ("examples/demo", "main"),
    ] {
        let folder = in_repository(folder);
        let read = |path: &std::path::Path| {
            let file = path.strip_prefix(&folder).unwrap().display().to_string();
            Source::parse(&file, &std::fs::read_to_string(path).unwrap())
        };
        // Packages and programs with their own sources are checked by themselves.
        let other = |path: &std::path::Path| {
            let inner = path.strip_prefix(&folder).unwrap();
            folder.ends_with("tests")
                && ["support", "image", "renderers"]
                    .iter()
                    .any(|other| inner.starts_with(other))
                || folder.ends_with("src") && inner.ends_with("main.rs")
        };
        let mut files = sources::rust_files(&folder);
        files.retain(|path| !other(path));
        let sources: Vec<Source> = files.iter().map(|path| read(path)).collect();
        for source in &sources {
            let declared = match source.module.split_last() {
                Some((name, above)) if !above.is_empty() => sources
                    .iter()
                    .any(|other| other.module == above && other.declared.contains(name)),
                _ => source.file == format!("{root}.rs"),
            };
            assert!(
                declared,
                "{}: no `mod` names {}",
                folder.display(),
                source.file
            );
        }
    }
}
