//! `helmCharts` of kustomizations: what `kustomize build --enable-helm` makes with upstream's kustomize and Helm.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use towline::content::Tree;
use towline::render::Bases;
use towline::render::wasm::{Cluster, Failed, Kustomization, Output, Private, Renderers};
use towline::source::Folder;
use towline::text::Secrets;
use towline_testing::renderers;

use super::folder::{tree, with};
use super::golden::script;

/// A chart with what charts have: helpers, values, a sub-chart, definitions, a hook, a test, several documents in a file, and an object that names its namespace itself.
const CHART: &[(&str, &str)] = &[
    ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
    (
        "values.yaml",
        "greeting: default\nlist: [1, 2]\nnested: {a: 1, b: {c: 2}}\nempty: null\nsub: {name: below}\n",
    ),
    (
        "crds/gadgets.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: gadgets.example.com}\nspec: {group: example.com}\n",
    ),
    (
        "templates/_helpers.tpl",
        "{{- define \"name\" -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end -}}",
    ),
    (
        "templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ include \"name\" . }}}\nspec:\n  template:\n    spec:\n      containers:\n      - {name: web, image: web:v1, envFrom: [{configMapRef: {name: {{ include \"name\" . }}}}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: {{ include \"name\" . }}, namespace: {{ .Release.Namespace }}}\nspec: {ports: [{port: 80}]}\n",
    ),
    (
        "templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ include \"name\" . }}}\ndata:\n  values: {{ omit .Values \"sub\" \"global\" | toJson | quote }}\n  namespace: {{ .Release.Namespace }}\n  kube: {{ .Capabilities.KubeVersion.Version | quote }}\n  has: {{ .Capabilities.APIVersions.Has \"example.com/v7\" | quote }}\n  install: \"{{ .Release.IsInstall }} {{ .Release.Revision }}\"\n  \"yes\": \"no\"\n",
    ),
    (
        "templates/hook.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}-migrate\n  annotations: {helm.sh/hook: pre-install}\n",
    ),
    (
        "templates/tests/probe.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}-probe\n  annotations: {helm.sh/hook: test}\n",
    ),
    (
        "charts/sub/Chart.yaml",
        "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
    ),
    (
        "charts/sub/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.name }}}\n",
    ),
];

/// The chart at a folder.
fn chart_at(folder: &str) -> Vec<(String, String)> {
    let files = CHART.iter();
    files
        .map(|(name, text)| (format!("{folder}/{name}"), (*text).to_owned()))
        .collect()
}

/// A case: its name, where the chart is, and the other files. Each is built at `app`.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const CASES: &[Case] = &[
    (
        "plain",
        "app/charts/shop",
        &[(
            "app/kustomization.yaml",
            "helmCharts: [{name: shop, releaseName: one}]\n",
        )],
    ),
    (
        "what is left out and taken in",
        "app/charts/shop",
        &[(
            "app/kustomization.yaml",
            "helmCharts:\n- {name: shop, releaseName: one, namespace: own, includeCRDs: true, skipTests: true, valuesInline: {sub: {name: first}}}\n- {name: shop, releaseName: two, skipHooks: true, apiVersions: [example.com/v7], kubeVersion: v1.31.0}\n",
        )],
    ),
    (
        "among everything else",
        "app/charts/shop",
        &[
            (
                "app/kustomization.yaml",
                "namespace: prod\nnamePrefix: x-\nlabels: [{pairs: {team: a}, includeSelectors: true}]\nimages: [{name: web, newTag: v2}]\nresources: [own.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\ncomponents: [part]\nhelmCharts: [{name: shop, releaseName: one}]\npatches:\n- target: {kind: Deployment}\n  patch: '[{\"op\": \"add\", \"path\": \"/spec/replicas\", \"value\": 3}]'\n",
            ),
            (
                "app/own.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\n",
            ),
            (
                "app/part/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [more.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: one-shop}\n    data: {patched: by the component}\n",
            ),
            (
                "app/part/more.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
            ),
        ],
    ),
    (
        "values files",
        "app/charts/shop",
        &[
            (
                "app/kustomization.yaml",
                "helmCharts:\n- name: shop\n  releaseName: one\n  valuesFile: values/a.yaml\n  additionalValuesFiles: [values/b.yaml, ../far.yaml]\n",
            ),
            ("app/values/a.yaml", "greeting: a\nnested: {a: 7}\n"),
            ("app/values/b.yaml", "list: [b]\n"),
            ("far.yaml", "nested: {b: null}\n"),
        ],
    ),
    (
        "values in place have precedence",
        "app/charts/shop",
        &[
            (
                "app/kustomization.yaml",
                "helmCharts:\n- name: shop\n  releaseName: one\n  valuesFile: a.yaml\n  valuesInline: {greeting: inline, list: [9], nested: {a: null, b: {d: 4}}}\n",
            ),
            (
                "app/a.yaml",
                "greeting: a\nlist: [1, 2, 3]\nnested: {a: 7, e: 5}\nother: true\n",
            ),
        ],
    ),
    (
        "values in place come below",
        "app/charts/shop",
        &[(
            "app/kustomization.yaml",
            "helmCharts:\n- name: shop\n  releaseName: one\n  valuesMerge: merge\n  valuesInline: {greeting: inline, list: [9], more: [1], nested: {z: 1, b: {d: 4}}}\n",
        )],
    ),
    (
        "values in place instead",
        "app/charts/shop",
        &[(
            "app/kustomization.yaml",
            "helmCharts:\n- name: shop\n  releaseName: one\n  valuesMerge: replace\n  valuesFile: absent.yaml\n  valuesInline: {greeting: inline, nested: {b: null}}\n",
        )],
    ),
    (
        "another home",
        "vendor/shop",
        &[(
            "app/kustomization.yaml",
            "helmGlobals: {chartHome: ../vendor}\nhelmCharts: [{name: shop, releaseName: one, version: 9.9.9}]\n",
        )],
    ),
    (
        "as kustomize pulls it",
        "app/charts/shop-1.2.3/shop",
        &[(
            "app/kustomization.yaml",
            "helmCharts: [{name: shop, releaseName: one, repo: 'https://charts.example', version: 1.2.3}]\n",
        )],
    ),
    (
        "the deprecated form",
        "app/old/shop",
        &[(
            "app/kustomization.yaml",
            "helmChartInflationGenerator: [{chartName: shop, chartHome: old, releaseName: one, valuesLocal: {greeting: old}}]\n",
        )],
    ),
    (
        "in bases and components",
        "base/charts/shop",
        &[
            (
                "base/kustomization.yaml",
                "helmCharts: [{name: shop, releaseName: one}]\n",
            ),
            (
                "overlays/a/kustomization.yaml",
                "namespace: ns-a\nnamePrefix: a-\nresources: [../../base]\n",
            ),
            (
                "overlays/b/kustomization.yaml",
                "namespace: ns-b\nnamePrefix: b-\nresources: [../../base]\n",
            ),
            (
                "part/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nhelmGlobals: {chartHome: ../base/charts}\nhelmCharts: [{name: shop, releaseName: part, skipHooks: true, valuesInline: {sub: {name: part}}}]\n",
            ),
            (
                "app/kustomization.yaml",
                "namespace: root\nresources: [../overlays/a, ../overlays/b]\ncomponents: [../part]\n",
            ),
        ],
    ),
    (
        "without a namespace of its own",
        "base/charts/shop",
        &[
            (
                "base/kustomization.yaml",
                "helmCharts: [{name: shop, releaseName: one}]\n",
            ),
            ("middle/kustomization.yaml", "resources: [../base]\n"),
            (
                "app/kustomization.yaml",
                "namespace: prod\nresources: [../middle]\n",
            ),
        ],
    ),
];

static SHARED: LazyLock<Renderers> =
    LazyLock::new(|| Renderers::at(renderers::folder().to_owned()));

pub fn build(tree: Arc<Folder>, path: &str) -> Result<Arc<Output>, Box<Failed>> {
    let tree: Arc<dyn Tree> = tree;
    let request = Kustomization {
        path: path.to_owned(),
        provenance: true,
        ..Kustomization::default()
    };
    let private = Private {
        identity: &[],
        secrets: &Secrets::default(),
        tenant: &Arc::default(),
        lookup: None,
        kept_for: None,
    };
    SHARED.kustomize(
        &tree,
        &request,
        Cluster::default(),
        &Bases::default(),
        private,
    )
}

fn stream(output: &Output) -> String {
    let documents = output.documents.iter();
    let texts = documents.map(|document| String::from_utf8(document.text()).unwrap());
    texts.collect::<Vec<_>>().join("---\n")
}

/// What upstream's own programs print.
fn native(programs: &Path, root: &Path) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(programs.join("kustomize"))
        .args(["build", "--enable-helm", "--helm-command"])
        .arg(programs.join("helm"))
        .args([
            "--load-restrictor",
            "LoadRestrictionsNone",
            "--reorder",
            "none",
        ])
        .arg(root.join("app"))
        .env("HOME", home.path())
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn written(chart: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let chart = chart_at(chart);
    let chart = chart.iter().map(|(name, text)| (&**name, &**text));
    let all: Vec<(&str, &str)> = chart.chain(files.iter().copied()).collect();
    with(&all)
}

#[test]
fn charts_of_kustomizations_render_as_natively() {
    let programs = script("renderers/build", &["--native"]);
    let programs = Path::new(programs.lines().last().unwrap());
    let mut different = Vec::new();
    for (name, chart, files) in CASES {
        let folder = written(chart, files);
        let wanted = native(programs, folder.path());
        let ours = build(tree(folder.path()), "app").map(|output| stream(&output));
        let ours = ours.map_err(|failed| failed.failure.to_string());
        if wanted.is_err() || ours != wanted {
            let [ours, wanted] = [ours, wanted].map(|text| text.unwrap_or_else(|error| error));
            different.push(format!("{name}:\n{ours}\nnatively:\n{wanted}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// `differences.txt` says what differs here.
#[test]
fn a_list_of_a_chart_has_the_same_items() {
    let programs = script("renderers/build", &["--native"]);
    let programs = Path::new(programs.lines().last().unwrap());
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: {{ .Release.Name }}-one}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: {{ .Release.Name }}-two}\n";
    let (_, chart, files) = CASES[2];
    let files = [files, &[("app/charts/shop/templates/list.yaml", list)]].concat();
    let folder = written(chart, &files);
    let sorted = |text: &str| {
        let mut documents: Vec<String> = text
            .trim_end()
            .split("---\n")
            .map(|it| it.trim_end().to_owned())
            .collect();
        documents.sort();
        documents
    };
    let wanted = native(programs, folder.path()).unwrap();
    let ours = stream(&build(tree(folder.path()), "app").unwrap());
    assert_eq!(sorted(&ours), sorted(&wanted));
    assert!(ours.contains("name: x-one-two\n"), "{ours}");
}

#[test]
fn the_template_and_the_chart_are_what_it_was_made_of() {
    let (_, chart, files) = CASES[0];
    let folder = written(chart, files);
    let tree = tree(folder.path());
    let output = build(tree.clone(), "app").unwrap();
    let made_by: Vec<&str> = output.documents.iter().map(|it| &*it.about.file).collect();
    for template in [
        "shop/templates/map.yaml",
        "shop/charts/sub/templates/map.yaml",
    ] {
        let wanted = format!("app/(helmCharts)/{template}");
        assert!(made_by.contains(&&*wanted), "{made_by:?}");
    }
    let again = || build(tree.clone(), "app").unwrap();
    assert!(Arc::ptr_eq(&output, &again()), "it is known");
    fs::write(folder.path().join("app/other.txt"), "no part of it").unwrap();
    assert!(output.reads.unchanged_in(&*tree).unwrap());
    for file in [
        "app/charts/shop/templates/map.yaml",
        "app/charts/shop/values.yaml",
        "app/kustomization.yaml",
    ] {
        let path = folder.path().join(file);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{before}\n# more\n")).unwrap();
        assert!(!output.reads.unchanged_in(&*tree).unwrap(), "{file}");
        assert!(!Arc::ptr_eq(&output, &again()), "{file}");
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_mistake_names_the_file_and_the_way_out() {
    let chart = "app/charts/shop";
    for (text, says) in [
        (
            "helmCharts: [{name: none, repo: 'https://charts.example', version: '1'}]",
            &[
                "app/kustomization.yaml: helmCharts: there is no chart at app/charts/none-1/none",
                "helm pull none --repo",
            ][..],
        ),
        (
            "helmCharts: [{name: none}]",
            &["app/charts/none", "a Sync of its own"],
        ),
        (
            "helmCharts: [{name: shop, realeaseName: x}]",
            &["app/kustomization.yaml", "realeaseName"],
        ),
        (
            "helmCharts: [{name: shop, valuesFile: absent.yaml, valuesInline: {a: 1}}]",
            &["app/absent.yaml"],
        ),
        (
            "helmCharts: [{name: shop, valuesFile: absent.yaml}]",
            &["helmCharts of app/kustomization.yaml", "app/absent.yaml"],
        ),
        (
            "helmGlobals: {chartHome: ../../..}\nhelmCharts: [{name: shop}]",
            &["app/kustomization.yaml", "not in the repository"],
        ),
        (
            "helmCharts: [{name: shop}]\nresources: [absent.yaml]",
            &["app/absent.yaml"],
        ),
    ] {
        let folder = written(chart, &[("app/kustomization.yaml", text)]);
        let failed = build(tree(folder.path()), "app").unwrap_err();
        let error = failed.failure.to_string();
        for says in says {
            assert!(error.contains(says), "{says} is not in {error}");
        }
    }
    let broken = [
        ("app/kustomization.yaml", "helmCharts: [{name: shop}]"),
        (
            "app/charts/shop/templates/x.yaml",
            "{{ fail \"no such luck\" }}",
        ),
    ];
    let folder = written(chart, &broken);
    let error = build(tree(folder.path()), "app")
        .unwrap_err()
        .failure
        .to_string();
    for says in [
        "helm: helmCharts of app/kustomization.yaml",
        "shop/templates/x.yaml",
        "no such luck",
    ] {
        assert!(error.contains(says), "{says} is not in {error}");
    }
}

#[test]
fn random_values_of_a_chart_are_found() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData: {password: {{ randAlphaNum 12 }}}\n";
    let files = [
        (
            "app/kustomization.yaml",
            "namePrefix: x-\nhelmCharts: [{name: shop, releaseName: one}]",
        ),
        ("app/charts/shop/templates/secret.yaml", secret),
    ];
    let folder = written("app/charts/shop", &files);
    let output = build(tree(folder.path()), "app").unwrap();
    assert!(!output.generated.is_empty());
    let [warning] = &output.warnings[..] else {
        panic!("{:?}", output.warnings);
    };
    for says in [
        "app/(helmCharts)/shop/templates/secret.yaml",
        "Secret x-one",
    ] {
        assert!(warning.contains(says), "{warning}");
    }
}
