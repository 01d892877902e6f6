use super::budget::{MAX_PATCHES, MAX_PATTERNS, MAX_TEXT};
use super::target::selects;
use super::*;
use crate::intent;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";

/// The patches of kustomizations, by their folders, and of files.
fn patches(files: &[(&str, &str)], overrides: &Overrides) -> Patches {
    let layers = files.iter().filter_map(|(path, text)| {
        let folder = path.strip_suffix("/kustomization.yaml")?;
        Some(Layer {
            file: (*path).to_owned(),
            folder: folder.to_owned(),
            text: text.as_bytes().into(),
        })
    });
    let read = |wanted: &str| {
        let found = files.iter().find(|(path, _)| *path == wanted)?;
        Some(found.1.into())
    };
    Patches::of(layers, "prod", overrides, read)
}

fn of(patches: &Patches, file: &str, kind: &str, name: &str) -> Vec<String> {
    let metadata = || Some(serde_json::json!({"labels": {"app": name, "tier": "front"}}));
    let group = if kind == "Deployment" { "apps" } else { "" };
    let object = Outcome {
        file,
        is_generated: file.ends_with("kustomization.yaml"),
        kind: (group, kind),
        name,
        namespace: Some("shop"),
        metadata: &metadata,
    };
    let found = patches.of_object(&object, &Steps::default());
    found.iter().map(|file| file.to_string()).collect()
}

#[test]
fn each_way_to_write_a_patch_names_its_file() {
    let prod = "kustomization.yaml of prod";
    let own = "prod/kustomization.yaml";
    for (fields, file) in [
        ("patches: [{path: p.yaml}]", "prod/p.yaml"),
        ("patches: [{path: ../shared/p.yaml}]", "shared/p.yaml"),
        ("patchesStrategicMerge: [p.yaml]", "prod/p.yaml"),
        (
            "patches: [{path: j.yaml, target: {kind: Deployment}}]",
            "prod/j.yaml",
        ),
        (
            "patches: [{path: j.yaml, target: {name: 'w.*|x'}}]",
            "prod/j.yaml",
        ),
        (
            "patches: [{path: j.yaml, target: {labelSelector: 'app in (web, x),tier!=back'}}]",
            "prod/j.yaml",
        ),
        (
            "patchesJson6902: [{path: j.yaml, target: {group: apps, version: v1, kind: Deployment, name: web}}]",
            "prod/j.yaml",
        ),
        ("patches: [{patch: '[]', target: {kind: Deployment}}]", own),
    ] {
        let text = format!("resources: [../base, own.yaml]\n{fields}\n");
        let all = patches(
            &[
                (own, &text),
                ("base/kustomization.yaml", "resources: [web.yaml]"),
                ("prod/p.yaml", WEB),
                ("shared/p.yaml", WEB),
                ("prod/j.yaml", "- {op: remove, path: /spec}"),
            ],
            &Overrides::default(),
        );
        assert_eq!(
            of(&all, "base/web.yaml", "Deployment", "web"),
            [file],
            "{fields} {prod}"
        );
        assert_eq!(
            of(&all, "prod/own.yaml", "Deployment", "web"),
            [file],
            "{fields}"
        );
        assert_eq!(
            of(&all, "base/web.yaml", "Service", "other"),
            [""; 0],
            "{fields}"
        );
        assert_eq!(
            of(&all, "elsewhere.yaml", "Deployment", "web"),
            [""; 0],
            "{fields}"
        );
    }
}

#[test]
fn names_are_those_that_patches_see() {
    let overrides = Overrides {
        name_prefix: "sync-".to_owned(),
        patches: vec![intent::Patch {
            patch: WEB.replace("web", "eu-web-x"),
            target: None,
        }],
        ..Overrides::default()
    };
    let all = patches(
        &[
            (
                "prod/kustomization.yaml",
                "namePrefix: ignored-\nresources: [../eu, ../us]\ncomponents: [../part]\n\
                 configMapGenerator: [{name: map}]\npatches: [{path: map.yaml}]",
            ),
            (
                "eu/kustomization.yaml",
                "namePrefix: eu-\nnameSuffix: -x\nresources: [../base]\npatches: [{path: p.yaml}]",
            ),
            (
                "us/kustomization.yaml",
                "namePrefix: us-\nresources: [../base]\npatches: [{path: p.yaml}]",
            ),
            (
                "base/kustomization.yaml",
                "resources: [web.yaml]\npatches: [{path: p.yaml, target: {kind: Deploy.*}}]",
            ),
            (
                "part/kustomization.yaml",
                "kind: Component\npatches: [{path: p.yaml, target: {labelSelector: tier}}]",
            ),
            ("eu/p.yaml", WEB),
            ("us/p.yaml", WEB),
            (
                "prod/map.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n",
            ),
        ],
        &overrides,
    );
    let eu = of(&all, "base/web.yaml", "Deployment", "sync-eu-web-x");
    assert_eq!(eu, [IN_SYNC, "part/p.yaml", "eu/p.yaml", "base/p.yaml"]);
    let us = of(&all, "base/web.yaml", "Deployment", "sync-us-web");
    assert_eq!(us, ["part/p.yaml", "us/p.yaml", "base/p.yaml"]);
    let map = of(
        &all,
        "prod/kustomization.yaml",
        "ConfigMap",
        "sync-map-0123456789",
    );
    assert_eq!(map, ["prod/map.yaml", "part/p.yaml"]);
    // What Helm made of charts of a kustomization.
    let chart = of(
        &all,
        "us/(helmCharts) for x/a/templates/web.yaml",
        "Deployment",
        "sync-us-web",
    );
    assert_eq!(chart, ["part/p.yaml", "us/p.yaml"]);
}

#[test]
fn what_kustomize_says_of_a_patch_leads_to_its_file() {
    let all = patches(
        &[
            (
                "prod/kustomization.yaml",
                "patches: [{path: p.yaml}, {path: j.yaml, target: {kind: Deployment}}, {path: bad.yaml}]",
            ),
            ("prod/p.yaml", WEB),
            (
                "prod/j.yaml",
                "- {op: replace, path: /spec/none/x, value: 1}",
            ),
            ("prod/bad.yaml", "a: ["),
        ],
        &Overrides::default(),
    );
    let files = |message: &str| {
        let named = all.named_in(message);
        named
            .iter()
            .map(|file| file.to_string())
            .collect::<Vec<_>>()
    };
    for (message, file) in [
        (
            "no matches for Id Deployment.v1.apps/web.[noNs]; failed to find",
            "prod/p.yaml",
        ),
        (
            "replace operation does not apply: doc is missing path: /spec/none/x: missing value",
            "prod/j.yaml",
        ),
        (
            "testing value /spec/none/x failed: test failed",
            "prod/j.yaml",
        ),
        (
            "unable to parse SM or JSON patch from [path: \"bad.yaml\"]",
            "prod/bad.yaml",
        ),
    ] {
        assert_eq!(files(message), [file], "{message}");
    }
    assert_eq!(files("wrong node kind: expected MappingNode").len(), 3);
    assert_eq!(files("no such file"), [""; 0]);
}

#[test]
fn a_build_without_patches_keeps_nothing() {
    let all = patches(
        &[("prod/kustomization.yaml", "resources: [web.yaml]")],
        &Overrides::default(),
    );
    assert_eq!((all.levels.len(), all.ways.len()), (0, 0));
    // Kustomizations that name each other are kustomize's to refuse.
    let all = patches(
        &[
            (
                "prod/kustomization.yaml",
                "resources: [../a]\npatches: [{path: p.yaml}]",
            ),
            (
                "a/kustomization.yaml",
                "resources: [../prod, ../prod, x.yaml]",
            ),
            ("prod/p.yaml", WEB),
        ],
        &Overrides::default(),
    );
    assert_eq!(of(&all, "a/x.yaml", "Deployment", "web"), ["prod/p.yaml"]);
}

#[test]
fn selectors_are_those_of_kubernetes() {
    let labels = serde_json::json!({"app": "web", "tier": "front"});
    for (selector, fits) in [
        ("app=web", true),
        ("app==web, tier = front", true),
        ("app!=web", false),
        ("app", true),
        ("!app", false),
        ("!gone", true),
        ("app in (x, web)", true),
        ("app in (x,y),tier", false),
        ("app notin (x,y),tier", true),
        ("gone notin (x)", true),
        ("gone=x", false),
    ] {
        assert_eq!(selects(selector, &labels), fits, "{selector}");
    }
}

/// What a repository makes huge costs the names of patches, and neither memory nor time.
#[test]
fn too_many_patches_patterns_and_ways_name_none() {
    let build = |fields: String| {
        let files = [
            (
                "prod/kustomization.yaml",
                &*format!("resources: [../base]\n{fields}"),
            ),
            ("base/kustomization.yaml", "resources: [web.yaml]"),
            ("prod/p.yaml", WEB),
        ];
        let patches = patches(&files, &Overrides::default());
        of(&patches, "base/web.yaml", "Deployment", "web")
    };
    let entries =
        |count: usize, entry: &str| format!("patches:\n{}", format!("- {entry}\n").repeat(count));
    let named = ["prod/p.yaml"];
    let none: [&str; 0] = [];
    let by_path = "path: p.yaml";
    assert_eq!(build(entries(MAX_PATCHES, by_path)), named);
    assert_eq!(build(entries(MAX_PATCHES + 1, by_path)), none);
    let long = format!("patch: '{}'", "x".repeat(MAX_TEXT / 2));
    assert_eq!(build(entries(1, &long) + "- path: p.yaml\n"), named);
    assert_eq!(build(entries(2, &long) + "- path: p.yaml\n"), none);
    let pattern = "{path: p.yaml, target: {name: 'w.+'}}";
    assert_eq!(build(entries(MAX_PATTERNS, pattern)), named);
    assert_eq!(build(entries(MAX_PATTERNS + 1, pattern)), none);
    // Each of these would take megabytes.
    for huge in ["(?:\\w{900}|web)", "((w|e|b){1,900}){1,900}", "(?R)"] {
        let entry = format!("{{path: p.yaml, target: {{name: '{huge}'}}}}");
        assert_eq!(build(entries(MAX_PATTERNS, &entry)), none, "{huge}");
    }

    // Each level takes the one below twice.
    let mut files = vec![("prod/p.yaml".to_owned(), WEB.to_owned())];
    for level in 0..12 {
        let folder = |level: usize, side: &str| match level {
            0 => "prod".to_owned(),
            level => format!("l{level}{side}"),
        };
        for side in ["a", "b"] {
            let below = level + 1;
            let text = format!(
                "resources: [../l{below}a, ../l{below}b]\npatches: [{{path: ../prod/p.yaml}}]\n"
            );
            files.push((format!("{}/kustomization.yaml", folder(level, side)), text));
        }
    }
    for side in ["a", "b"] {
        files.push((
            format!("l12{side}/kustomization.yaml"),
            "resources: [../web.yaml]".to_owned(),
        ));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    let patches = patches(&files, &Overrides::default());
    assert!(patches.bytes() > 500_000, "{}", patches.bytes());
    let (steps, began) = (Steps::default(), std::time::Instant::now());
    let object = Outcome {
        file: "web.yaml",
        is_generated: false,
        kind: ("apps", "Deployment"),
        name: "web",
        namespace: None,
        metadata: &|| None,
    };
    let found: Vec<_> = (0..10_000)
        .map(|_| patches.of_object(&object, &steps).len())
        .collect();
    assert_eq!((found[0], found[9_999]), (1, 0));
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}
