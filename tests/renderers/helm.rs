//! Charts, including hostile ones.

use std::{os::unix::fs::symlink, time::Duration};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use towline::render::wasm::{
    Asked, Chart, Finding, Job, LookupQuery, Release, RenderFailure, Rendered, Values,
};

use super::{
    folder::{tree, with},
    modules::{RENDERERS, render, stream},
};

const CHART: &[(&str, &str)] = &[
    (
        "web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: sub, version: 1.0.0}]\n",
    ),
    ("web/values.yaml", "replicas: 1\nsub: {color: red}\n"),
    ("web/.helmignore", "ignored.yaml\n"),
    ("web/crds/crd.yaml", "kind: CustomResourceDefinition\n"),
    ("web/templates/ignored.yaml", "kind: Ignored\n"),
    ("web/templates/NOTES.txt", "Hello {{ .Release.Name }}\n"),
    (
        "web/templates/_helpers.tpl",
        "{{ define \"name\" }}{{ .Release.Name }}-web{{ end }}",
    ),
    (
        "web/templates/web.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include \"name\" . }}
  namespace: {{ .Release.Namespace }}
  annotations:
    kubernetes: {{ .Capabilities.KubeVersion.Version }}
    upgrade: {{ .Release.IsUpgrade | quote }}
    revision: {{ .Release.Revision | quote }}
    has: {{ .Capabilities.APIVersions.Has \"example.org/v1\" | quote }}
spec:
  replicas: {{ .Values.replicas }}
",
    ),
    (
        "web/templates/job.yaml",
        "apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: \"-5\"
    helm.sh/hook-delete-policy: hook-succeeded
",
    ),
    (
        "web/charts/sub/Chart.yaml",
        "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
    ),
    (
        "web/charts/sub/templates/c.yaml",
        "kind: ConfigMap\ncolor: {{ .Values.color }}\n",
    ),
    ("values-prod.yaml", "replicas: 3\nsub: {color: green}\n"),
];

fn chart() -> Chart {
    Chart {
        path: "web".to_owned(),
        release: Release {
            name: "shop".to_owned(),
            namespace: "prod".to_owned(),
            revision: 4,
            is_upgrade: true,
        },
        kube_version: "v1.36.3".to_owned(),
        api_versions: vec!["v1".to_owned(), "example.org/v1".to_owned()],
        ..Chart::default()
    }
}

/// A chart with one template.
fn one(template: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned(),
        ),
        ("web/templates/t.yaml", template.to_owned()),
    ]
}

fn try_render(files: &[(&str, String)], request: &Chart) -> Result<Rendered, RenderFailure> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let folder = with(&files);
    render(&RENDERERS.helm, tree(folder.path()), request).map_err(|failed| failed.failure)
}

#[test]
fn a_chart_is_rendered_with_hooks_notes_and_crds_apart() {
    let folder = with(CHART);
    let request = Chart {
        values: vec![
            Values {
                file: "values-prod.yaml".to_owned(),
                ..Values::default()
            },
            Values {
                file: "missing.yaml".to_owned(),
                optional: true,
                ..Values::default()
            },
            Values {
                text: "sub: {color: blue}".to_owned(),
                ..Values::default()
            },
        ],
        ..chart()
    };
    let rendered = render(&RENDERERS.helm, tree(folder.path()), &request).unwrap();
    let text = stream(&rendered);
    for part in [
        "name: shop-web",
        "namespace: prod",
        "replicas: 3",
        "color: blue",
        "kubernetes: v1.36.3",
        "upgrade: \"true\"",
        "revision: \"4\"",
        "has: \"true\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("Ignored"), "{text}");
    let of: Vec<_> = rendered
        .documents
        .iter()
        .map(|d| (d.about.kind.as_str(), d.about.file.as_str()))
        .collect();
    assert_eq!(
        of,
        [
            ("notes", "web/templates/NOTES.txt"),
            ("crd", "web/crds/crd.yaml"),
            ("manifest", "web/charts/sub/templates/c.yaml"),
            ("manifest", "web/templates/web.yaml"),
            ("hook", "web/templates/job.yaml"),
        ]
    );
    let hook = rendered
        .documents
        .last()
        .unwrap()
        .about
        .hook
        .clone()
        .unwrap();
    assert_eq!(hook.events, ["pre-install", "pre-upgrade"]);
    assert_eq!(
        (hook.weight, hook.delete_policies),
        (-5, vec!["hook-succeeded".to_owned()])
    );
}

/// Helm leaves such objects out, and says nothing.
#[test]
fn hooks_that_helm_leaves_out_and_weights_that_it_ignores_are_told() {
    let job = |name: &str, annotations: &str| {
        format!(
            "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n"
        )
    };
    let jobs = [
        job("one", "helm.sh/hook: pre-instal"),
        job(
            "two",
            "helm.sh/hook: 'pre-install, Pst-Upgrade, post_delete'",
        ),
        job("three", "helm.sh/hook: crd-install"),
        job(
            "four",
            "helm.sh/hook: 'PRE-INSTALL', helm.sh/hook-weight: first",
        ),
        job("five", "note: about helm.sh/hook"),
        job("six", "helm.sh/hook: ''"),
    ];
    let files = [
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned(),
        ),
        ("web/templates/jobs.yaml", jobs.concat()),
        ("web/templates/_ignored.yaml", jobs[0].clone()),
    ];
    let rendered = try_render(&files, &chart()).unwrap();
    let told: Vec<_> = rendered
        .documents
        .iter()
        .map(|document| {
            let events = document.about.hook.clone().unwrap_or_default().events;
            (document.about.kind.as_str(), events.join(" "))
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(kind, events)| (*kind, &**events))
        .collect();
    assert_eq!(
        told,
        [
            ("manifest", ""),
            ("hook", "pre-install"),
            ("unknownHook", "pre-instal"),
            ("unknownHook", "pst-upgrade post_delete"),
            ("unknownHook", "crd-install"),
            ("unknownHook", ""),
        ]
    );
    let [weight] = &*rendered.warnings else {
        panic!("{:?}", rendered.warnings)
    };
    assert!(
        weight.contains("web/templates/jobs.yaml") && weight.contains("\"first\" is no number"),
        "{weight}"
    );
}

#[test]
fn a_dependency_that_is_not_vendored_is_named() {
    let files = [(
        "web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.0.0, repository: 'https://example.org'}]\n".to_owned(),
    )];
    let error = try_render(&files, &chart()).unwrap_err().to_string();
    assert!(
        error.contains("redis") && error.contains("helm dependency update"),
        "{error}"
    );
}

#[test]
fn an_rsa_key_of_four_thousand_bits_takes_seconds() {
    // Helm's function reads the key and signs with it.
    let template = "{{ $key := genPrivateKey \"rsa\" }}{{ $ca := genCAWithKey \"ca\" 365 $key }}\
                    kind: ConfigMap\nkey: {{ b64enc $key }}\ncertificate: {{ b64enc $ca.Cert }}\n";
    let files = one(template);
    let rendered = try_render(&files, &chart()).unwrap();
    let text = stream(&rendered);
    let key = text.lines().find_map(|line| line.strip_prefix("key: "));
    let key = BASE64.decode(key.unwrap()).unwrap();
    let key = String::from_utf8(key).unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{key}");
    // Its two primes, exponents and the rest have 2.3 KiB as DER, and a key of 2048 bits has half as much.
    assert!((3_100..3_400).contains(&key.len()), "{}", key.len());
    assert!(
        text.contains("certificate: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"),
        "{text}"
    );
}

#[test]
fn random_values_depend_only_on_the_seed() {
    let template = "a: {{ randAlphaNum 20 }}\nb: {{ randInt 0 1000000000 }}\nc: {{ uuidv4 }}\nd: {{ now | unixEpoch }}\n";
    let files = one(template);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let folder = with(&files);
    let seeded = |seed: u8, now| {
        let mut job = Job::new(&RENDERERS.helm, tree(folder.path()));
        job.seed = [seed; 32];
        job.now = now;
        let request = Chart {
            seed: i64::from(seed),
            ..chart()
        };
        stream(&RENDERERS.engine.render(&job, &request).unwrap())
    };
    assert_eq!(seeded(1, 1000), seeded(1, 1000));
    let (one, two) = (seeded(1, 1000), seeded(2, 2000));
    for (a, b) in one.trim_end().lines().zip(two.lines()) {
        assert_ne!(a, b);
    }
}

#[test]
fn a_lookup_is_empty_and_recorded() {
    let template = "a: {{ (lookup \"v1\" \"Secret\" \"ns\" \"old\").data | default \"none\" }}\n";
    let rendered = try_render(&one(template), &chart()).unwrap();
    assert!(stream(&rendered).contains("a: none"));
    assert_eq!(
        rendered.lookups,
        [Asked {
            query: LookupQuery {
                api_version: "v1".to_owned(),
                kind: "Secret".to_owned(),
                namespace: "ns".to_owned(),
                name: "old".to_owned(),
                templates: vec!["web/templates/t.yaml".to_owned()],
            },
            seen: Finding::Unlisted,
        }]
    );
}

#[test]
fn a_failing_template_is_named_with_its_line() {
    let error = try_render(
        &one("a: b\nc: {{ required \"give it\" .Values.c }}\n"),
        &chart(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("web/templates/t.yaml:2") && error.contains("give it"),
        "{error}"
    );
}

#[test]
fn an_endless_include_is_helms_own_error() {
    let error = try_render(
        &one("{{ define \"x\" }}{{ include \"x\" . }}{{ end }}a: {{ include \"x\" . }}\n"),
        &chart(),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("nested reference"), "{error}");
}

#[test]
fn a_template_that_loops_is_stopped_by_time() {
    let loops = "{{ range untilStep 0 1000000000 1 }}{{ end }}";
    let template = "{{ $n := dict \"n\" 0 }}{{ range until 100000 }}{{ range until 100000 }}{{ $_ := set $n \"n\" 1 }}{{ end }}{{ end }}a: b";
    let _ = loops;
    let files = one(template);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let folder = with(&files);
    let mut job = Job::new(&RENDERERS.helm, tree(folder.path()));
    job.limits.time = Duration::from_secs(2);
    let failed = RENDERERS.engine.render(&job, &chart()).unwrap_err();
    assert!(
        matches!(failed.failure, RenderFailure::OutOfTime { seconds: 2, .. }),
        "{}",
        failed.failure
    );
}

#[test]
fn too_much_memory_is_an_error_that_says_so() {
    let template = "{{ $x := repeat 100000000 \"x\" }}{{ $y := printf \"%s%s%s%s\" $x $x $x $x }}a: {{ printf \"%s%s\" $y $y | len }}\n";
    let failure = try_render(&one(template), &chart()).unwrap_err();
    assert!(
        matches!(failure, RenderFailure::OutOfMemory { .. }),
        "{failure}"
    );
}

#[test]
fn too_much_output_is_refused() {
    let template = "a: {{ repeat 70000000 \"x\" }}\n";
    let files = one(template);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let folder = with(&files);
    let mut job = Job::new(&RENDERERS.helm, tree(folder.path()));
    job.limits.output = 1 << 20;
    let failed = RENDERERS.engine.render(&job, &chart()).unwrap_err();
    eprintln!("{}", failed.failure);
    assert!(
        matches!(
            failed.failure,
            RenderFailure::TooMuch { .. } | RenderFailure::OutOfMemory { .. }
        ),
        "{}",
        failed.failure
    );
}

#[test]
fn values_of_fifty_megabytes_end_within_the_limits() {
    let mut files = one("a: b\n");
    files.push((
        "big.yaml",
        format!("a:\n{}", "- some text of a line\n".repeat(2_300_000)),
    ));
    let request = Chart {
        values: vec![Values {
            file: "big.yaml".to_owned(),
            ..Values::default()
        }],
        ..chart()
    };
    match try_render(&files, &request) {
        Ok(_) => {}
        Err(failure) => {
            eprintln!("{failure}");
            assert!(
                matches!(
                    failure,
                    RenderFailure::OutOfMemory { .. }
                        | RenderFailure::OutOfTime { .. }
                        | RenderFailure::TooMuch { .. }
                ),
                "{failure}"
            );
        }
    }
}

#[test]
fn a_link_out_of_the_repository_is_refused() {
    let folder = with(CHART);
    symlink("/etc/passwd", folder.path().join("web/templates/p.yaml")).unwrap();
    let failed = render(&RENDERERS.helm, tree(folder.path()), &chart()).unwrap_err();
    let error = failed.failure.to_string();
    assert!(
        error.contains("p.yaml") && error.contains("out of the repository"),
        "{error}"
    );
}
