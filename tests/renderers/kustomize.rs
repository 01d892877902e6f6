//! Kustomizations, including hostile ones.

use std::{fs, os::unix::fs::symlink, time::Duration};

use towline::{
    intent::{Image, Overrides, Patch, Selector},
    render::wasm::{Job, Kustomization, RenderFailure, Rendered},
};

use super::{
    folder::{tree, with},
    inflate,
    modules::{RENDERERS, render, stream},
};

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - image: web:v1
        name: web
";

/// An overlay on a base outside of its path, with a component, a generator and a patch.
const OVERLAY: &[(&str, &str)] = &[
    ("base/kustomization.yaml", "resources: [web.yaml]\n"),
    ("base/web.yaml", DEPLOYMENT),
    (
        "components/label/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
labels: [{pairs: {team: a}}]
",
    ),
    (
        "apps/prod/kustomization.yaml",
        "namespace: prod
resources: [../../base]
components: [../../components/label]
configMapGenerator: [{name: settings, files: [settings.ini]}]
patches: [{path: replicas.yaml}]
",
    ),
    ("apps/prod/settings.ini", "a=b\n"),
    (
        "apps/prod/replicas.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
    ),
];

fn at(path: &str) -> Kustomization {
    Kustomization {
        path: path.to_owned(),
        provenance: true,
        ..Kustomization::default()
    }
}

fn build(files: &[(&str, &str)], request: &Kustomization) -> Result<Rendered, String> {
    let folder = with(files);
    render(&RENDERERS.kustomize, tree(folder.path()), request)
        .map_err(|failed| failed.failure.to_string())
}

#[test]
fn an_overlay_is_rendered_with_what_it_uses_above_its_path() {
    let rendered = build(OVERLAY, &at("apps/prod")).unwrap();
    let text = stream(&rendered);
    for part in [
        "replicas: 3",
        "team: a",
        "namespace: prod",
        "settings.ini: |\n    a=b",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("config.kubernetes.io/origin"), "{text}");
    let files: Vec<_> = rendered
        .documents
        .iter()
        .map(|d| d.about.file.as_str())
        .collect();
    assert!(files.contains(&"base/web.yaml"), "{files:?}");
    assert!(files.contains(&"apps/prod/kustomization.yaml"), "{files:?}");
    assert_eq!(rendered.warnings, [""; 0]);
}

#[test]
fn provenance_changes_nothing_else() {
    let with = build(OVERLAY, &at("apps/prod")).unwrap();
    let request = Kustomization {
        provenance: false,
        ..at("apps/prod")
    };
    let without = build(OVERLAY, &request).unwrap();
    assert_eq!(stream(&with), stream(&without));
}

#[test]
fn overrides_come_on_top_of_the_file() {
    let request = Kustomization {
        overrides: Overrides {
            name_prefix: "x-".to_owned(),
            images: vec![Image {
                name: "web".to_owned(),
                new_tag: "v2".to_owned(),
                ..Image::default()
            }],
            patches: vec![Patch {
                patch: "- {op: replace, path: /spec/replicas, value: 7}".to_owned(),
                target: Some(Selector {
                    kind: "Deployment".to_owned(),
                    ..Selector::default()
                }),
            }],
            ..Overrides::default()
        },
        ..at("apps/prod")
    };
    let text = stream(&build(OVERLAY, &request).unwrap());
    for part in ["name: x-web", "image: web:v2", "replicas: 7"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// kustomize itself takes minutes for this where it keeps origins: see `renderers/kustomize/api.patch`.
#[test]
fn many_patches_take_little_more_time_with_provenance() {
    let object = |number: usize, data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{number}}}\ndata: {{{data}}}\n"
        )
    };
    let objects: Vec<String> = (0..200).map(|number| object(number, "k: v")).collect();
    let patches = (0..200).map(|number| {
        let patch = object(number, "z: v").replace('\n', "\n    ");
        format!("- patch: |\n    {patch}\n")
    });
    let kustomization = format!(
        "resources: [a.yaml]\npatches:\n{}",
        patches.collect::<String>()
    );
    let files = [
        ("a/a.yaml", &*objects.join("---\n")),
        ("a/kustomization.yaml", &*kustomization),
    ];
    let rendered = build(&files, &at("a")).unwrap();
    assert_eq!(rendered.documents.len(), 200);
    for document in &rendered.documents {
        assert_eq!(document.about.file, "a/a.yaml");
        let text = String::from_utf8_lossy(&document.body);
        assert!(
            text.contains("z: v") && !text.contains("config.kubernetes.io"),
            "{text}"
        );
    }
}

#[test]
fn whoever_asks_for_the_transformers_of_each_object_gets_them() {
    let files = [
        ("a/a.yaml", DEPLOYMENT),
        (
            "a/kustomization.yaml",
            "resources: [a.yaml]\nnamePrefix: x-\nbuildMetadata: [transformerAnnotations]\n",
        ),
    ];
    let text = stream(&build(&files, &at("a")).unwrap());
    assert!(text.contains("configuredBy"), "{text}");
}

#[test]
fn a_patch_for_an_object_that_is_not_there_is_told() {
    let warned = |patches: &str, overrides: Overrides| {
        let kustomization = format!("resources: [a.yaml]\npatches:\n{patches}");
        let files = [
            ("a/a.yaml", DEPLOYMENT),
            ("a/p.yaml", DEPLOYMENT),
            ("a/kustomization.yaml", &*kustomization),
        ];
        let request = Kustomization {
            overrides,
            ..at("a")
        };
        build(&files, &request).unwrap().warnings
    };
    const JSON: &str = r#"[{"op": "add", "path": "/spec/replicas", "value": 2}]"#;
    for (patches, wanted) in [
        (
            "- {path: p.yaml, target: {kind: Deployment, name: wbe}}\n",
            Some("a/kustomization.yaml: the patch p.yaml for Deployment wbe changes nothing"),
        ),
        (
            &*format!(
                "- {{patch: '{JSON}', target: {{kind: Deployment, name: wbe, namespace: shop}}}}\n"
            ),
            Some(
                "a/kustomization.yaml: the patch for Deployment wbe of namespace shop changes nothing",
            ),
        ),
        (
            "- {path: p.yaml, target: {kind: Deployment, name: web}}\n",
            None,
        ),
        // Patterns and kinds are often for several folders.
        (
            "- {path: p.yaml, target: {kind: Deployment, name: wbe.*}}\n",
            None,
        ),
        ("- {path: p.yaml, target: {kind: StatefulSet}}\n", None),
    ] {
        let warnings = warned(patches, Overrides::default());
        match wanted {
            Some(wanted) => assert!(
                warnings.len() == 1 && warnings[0].starts_with(wanted),
                "{warnings:?}"
            ),
            None => assert!(warnings.is_empty(), "{patches}: {warnings:?}"),
        }
    }
    let patch = Patch {
        patch: JSON.to_owned(),
        target: Some(Selector {
            kind: "Deployment".to_owned(),
            name: "wbe".to_owned(),
            ..Selector::default()
        }),
    };
    let overrides = Overrides {
        patches: vec![patch],
        ..Overrides::default()
    };
    let warnings = warned("  []\n", overrides);
    assert!(
        warnings[0].starts_with("spec.kustomize: the patch for Deployment wbe changes nothing"),
        "{warnings:?}"
    );
}

#[test]
fn a_folder_without_a_kustomization_is_given_one() {
    let request = Kustomization {
        kustomization: "resources: [web.yaml, sub]\n".to_owned(),
        ..at("apps")
    };
    let files = [
        ("apps/web.yaml", DEPLOYMENT),
        (
            "apps/sub/kustomization.yaml",
            "namePrefix: sub-\nresources: [web.yaml]\n",
        ),
        ("apps/sub/web.yaml", DEPLOYMENT),
    ];
    let text = stream(&build(&files, &request).unwrap());
    assert!(
        text.contains("name: web\n") && text.contains("name: sub-web\n"),
        "{text}"
    );
}

#[test]
fn the_key_covers_the_files_that_were_looked_up() {
    let folder = with(OVERLAY);
    let tree = tree(folder.path());
    let first = render(&RENDERERS.kustomize, tree.clone(), &at("apps/prod")).unwrap();
    assert!(first.reads.unchanged_in(&*tree).unwrap());
    // The render does not look at this file.
    fs::write(folder.path().join("base/other.yaml"), "x").unwrap();
    assert!(first.reads.unchanged_in(&*tree).unwrap());
    let again = render(&RENDERERS.kustomize, tree.clone(), &at("apps/prod")).unwrap();
    assert_eq!(again.key, first.key);
    // The key holds a file that was looked for and absent, and one that was read.
    for (name, text) in [
        ("base/kustomization.yml", "resources: []\n"),
        ("base/web.yaml", "changed"),
    ] {
        let path = folder.path().join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, text).unwrap();
        assert!(!first.reads.unchanged_in(&*tree).unwrap(), "{name}");
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(first.reads.unchanged_in(&*tree).unwrap(), "{name}");
    }
}

#[test]
fn paths_outside_of_the_repository_and_urls_are_refused() {
    for (resource, wanted) in [
        ("../../../outside.yaml", "outside"),
        ("/etc/passwd", "outside"),
        ("../../../repository/base", "cycle"),
        ("https://user:hunter2@example.org/x.yaml", "no network"),
        ("github.com/a/b//c?ref=v1", "no network"),
        ("git@example.org:a/b.git", "no network"),
    ] {
        let text = format!("resources: ['{resource}']\n");
        let error =
            build(&[("apps/prod/kustomization.yaml", &text)], &at("apps/prod")).unwrap_err();
        if wanted != "cycle" {
            assert!(error.contains(wanted), "{resource}: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
    let folder = with(&[("apps/kustomization.yaml", "resources: [link.yaml]\n")]);
    symlink("/etc/passwd", folder.path().join("apps/link.yaml")).unwrap();
    let failed = render(&RENDERERS.kustomize, tree(folder.path()), &at("apps")).unwrap_err();
    let error = failed.failure.to_string();
    assert!(
        error.contains("apps/link.yaml") && error.contains("out of the repository"),
        "{error}"
    );
}

#[test]
fn errors_are_upstreams_with_paths_of_the_repository() {
    for (text, wanted) in [
        ("resources: [missing.yaml]\n", "apps/prod/missing.yaml"),
        ("resurces: []\n", "resurces"),
        ("helmCharts: [{name: x}]\n", "helmCharts"),
    ] {
        let error = build(&[("apps/prod/kustomization.yaml", text)], &at("apps/prod")).unwrap_err();
        assert!(
            error.contains(wanted) && !error.contains("/repository"),
            "{error}"
        );
    }
    let error = build(&[("a.yaml", "")], &at("apps/prod")).unwrap_err();
    assert!(error.contains("apps/prod"), "{error}");
}

#[test]
fn a_yaml_bomb_ends_within_its_limits_and_another_render_goes_on() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{before}"); 9].join(",")
        );
    }
    let patch = format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n{bomb}");
    let mut files = OVERLAY.to_vec();
    files.push(("apps/prod/bomb.yaml", &patch));
    let kustomization = "resources: [../../base]\npatches: [{path: bomb.yaml}]\n";
    files.push(("apps/prod/kustomization.yaml", kustomization));
    let folder = with(&files);
    let mut job = Job::new(&RENDERERS.kustomize, tree(folder.path()));
    job.limits.time = Duration::from_secs(20);
    let failed = RENDERERS.engine.render(&job, &at("apps/prod")).unwrap_err();
    eprintln!("{}", failed.failure);
    assert!(matches!(
        failed.failure,
        RenderFailure::Refused { .. }
            | RenderFailure::OutOfMemory { .. }
            | RenderFailure::OutOfTime { .. }
    ));
    build(OVERLAY, &at("apps/prod")).unwrap();
}

/// kustomize merges lists by comparing each entry with all others.
#[test]
fn the_file_with_a_list_that_takes_too_long_is_named() {
    let variables: String = (0..20_000)
        .map(|number| format!("        - {{name: A{number}, value: b}}\n"))
        .collect();
    let web = format!("{DEPLOYMENT}        env:\n{variables}");
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, env: [{name: A7, value: c}]}]}}}\n";
    let kustomization = "resources: [web.yaml]\npatches: [{path: patch.yaml}]\n";
    let folder = with(&[
        ("app/kustomization.yaml", kustomization),
        ("app/web.yaml", &web),
        ("app/patch.yaml", patch),
    ]);
    let failed = inflate::build(tree(folder.path()), "app").unwrap_err();
    let error = failed.failure.to_string();
    let list = "in app/web.yaml spec.template.spec.containers[0].env has 20000 entries";
    assert!(
        error.contains("did not end within") && error.contains(list),
        "{error}"
    );
    assert!(!error.contains("patch.yaml"), "{error}");
}

/// The base is one of two: the last file that kustomize reads is another one's.
#[test]
fn mistakes_of_a_base_name_a_file_to_edit() {
    let kustomization = "base/kustomization.yaml";
    for (text, more, wanted) in [
        (
            "replacements: [{source: {kind: Deployment, name: web, fieldPath: spec.x}, targets: [{select: {kind: Deployment}, fieldPaths: [a]}]}]",
            ("base/x.yaml", ""),
            kustomization,
        ),
        (
            "patches: [{patch: 'a: ['}]",
            ("base/x.yaml", ""),
            kustomization,
        ),
        (
            "configMapGenerator: [{name: x, literals: [a=b, a=c]}]",
            ("base/x.yaml", ""),
            kustomization,
        ),
        (
            "configMapGenerator: [{name: x, literals: [a=b]}, {name: x, literals: [a=c]}]",
            ("base/x.yaml", ""),
            kustomization,
        ),
        (
            "configMapGenerator: [{name: x, envs: [none.env]}]",
            ("base/x.yaml", ""),
            "base/none.env",
        ),
        (
            "transformers: [x.yaml]",
            (
                "base/x.yaml",
                "apiVersion: builtin\nkind: NoSuch\nmetadata: {name: t}\n",
            ),
            "base/x.yaml",
        ),
        (
            "patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"remove\", \"path\": \"/spec/x\"}]'}]",
            ("base/x.yaml", ""),
            "patch of Deployment web",
        ),
        (
            "configurations: [x.yaml]",
            ("base/x.yaml", "namePreffix: []\n"),
            "base/x.yaml",
        ),
        ("resurces: []", ("base/x.yaml", ""), kustomization),
        // Found when the objects are written.
        (
            "components: []",
            (
                "base/web.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\ndata: {c: d}\n",
            ),
            "base/web.yaml: ConfigMap a",
        ),
    ] {
        let base = format!("resources: [web.yaml]\n{text}\n");
        let folder = with(&[
            ("app/kustomization.yaml", "resources: [../base, ../late]\n"),
            ("base/kustomization.yaml", &base),
            ("base/web.yaml", DEPLOYMENT),
            ("late/kustomization.yaml", "resources: [late.yaml]\n"),
            (
                "late/late.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\n",
            ),
            more,
        ]);
        let failed = inflate::build(tree(folder.path()), "app").unwrap_err();
        let error = failed.failure.to_string();
        assert!(
            error.contains(wanted) && !error.contains("late/") && !error.contains("0x"),
            "{text}: {error}"
        );
    }
}
