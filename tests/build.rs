//! `towline build`: the same objects as the operator applies, without a cluster.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use towline::manifest::documents;
use towline_testing::kubectl::kubectl;
use towline_testing::operator::built;
use towline_testing::renderers;
use towline_testing::scratch::Scratch;

use crate::world::{Case, world};

/// Runs the command in `folder`.
pub async fn build(folder: &Path, args: &[&str]) -> Output {
    let renderers = tokio::task::spawn_blocking(renderers::folder).await;
    let mut command = Command::new(built());
    command.current_dir(folder).arg("build").args(args);
    command.arg("--renderers-dir").arg(renderers.unwrap());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

pub fn objects(output: &Output) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let documents = documents(&output.stdout).unwrap();
    documents
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// A failed build: its exit code and its error.
fn failure(output: &Output) -> (Option<i32>, String) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Whether `live` has every value of `built`.
fn contains(live: &Value, built: &Value) -> bool {
    match (live, built) {
        (Value::Object(live), Value::Object(built)) => built
            .iter()
            .all(|(key, built)| live.get(key).is_some_and(|live| contains(live, built))),
        (Value::Array(live), Value::Array(built)) => {
            live.len() == built.len()
                && live
                    .iter()
                    .zip(built)
                    .all(|(live, built)| contains(live, built))
        }
        _ => live == built,
    }
}

/// A kustomization, plain manifests with variables, and a definition with its object.
const FILES: [(&str, &str); 6] = [
    ("base/kustomization.yaml", "resources: [map.yaml]\n"),
    (
        "base/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {value: base}\n",
    ),
    (
        "apps/overlay/kustomization.yaml",
        "resources: [../../base]\nnameSuffix: -prod\n",
    ),
    (
        "apps/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec:\n  ports: [{port: 80}]\n  selector: {app: '${app}'}\n",
    ),
    (
        "apps/account.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: '${region:=eu}-shop'}\n",
    ),
    (
        "apps/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\nstringData: {token: '${token}'}\n",
    ),
];

async fn given(case: &Case<'_>) -> (Scratch, Value) {
    let scratch = Scratch::new().unwrap();
    write(scratch.path(), &FILES);
    let from = json!([{"kind": "ConfigMap", "name": "vars"}, {"kind": "Secret", "name": "tokens"}]);
    let spec = json!({
        "path": "apps", "targetNamespace": case.namespace, "substitute": {"from": from},
    });
    let sync = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": "all", "namespace": case.namespace},
        "spec": {"sourceRef": {"name": "repo"}, "path": "apps",
            "targetNamespace": case.namespace, "substitute": spec["substitute"]},
    });
    let given = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars}\ndata: {app: web}\n---\n\
                 apiVersion: v1\nkind: Secret\nmetadata: {name: tokens}\nstringData: {token: hunter22}\n";
    let more = [
        ("sync.yaml", sync.to_string()),
        ("given.yaml", given.to_owned()),
    ];
    for (path, text) in &more {
        fs::write(scratch.path().join(path), text).unwrap();
    }
    (scratch, spec)
}

#[tokio::test]
async fn a_build_shows_what_the_operator_applies() {
    let case = world().await.case("build").await;
    let (scratch, spec) = given(&case).await;
    let folder = scratch.path();
    let args = ["--sync=sync.yaml", "--with=given.yaml", "--root=."];
    let built = objects(&build(folder, &args).await);

    let given = folder.join("given.yaml").display().to_string();
    let kubeconfig = case.world.cp.kubeconfig_path();
    let apply = [
        "apply",
        "--namespace",
        &case.namespace,
        "--filename",
        &given,
    ];
    kubectl(&kubeconfig, &apply).await;
    let files: Vec<_> = FILES
        .iter()
        .map(|(path, text)| (*path, Some(*text)))
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", spec).await;
    let sync = case.synced("all", &commit).await;
    let count = sync.status.unwrap().objects.unwrap().applied;
    assert_eq!(built.len(), count as usize, "{built:?}");
    for object in &built {
        let (kind, name) = (
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str(),
        );
        let get = [
            "get",
            kind,
            name.unwrap(),
            "--namespace",
            &case.namespace,
            "--output=json",
        ];
        let live: Value = serde_json::from_str(&kubectl(&kubeconfig, &get).await).unwrap();
        assert!(contains(&live, object), "{object}\nis not in\n{live}");
    }
    let secret = built
        .iter()
        .find(|object| object["kind"] == "Secret")
        .unwrap();
    assert_eq!(secret["data"]["token"], "aHVudGVyMjI=");
}

#[tokio::test]
async fn what_cannot_be_built_is_named_with_the_way_out() {
    let case = world().await.case("build-bad").await;
    let (scratch, _) = given(&case).await;
    let folder = scratch.path();
    for (path, text) in [
        ("broken/kustomization.yaml", "resources: [gone.yaml]\n"),
        (
            "number.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: tokens}\ndata: {token: 73911842}\n",
        ),
        (
            "bare/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bare}\n",
        ),
        (
            "invalid/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\ndata: [\n",
        ),
        ("empty/README.md", "nothing\n"),
        (
            "map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lone, namespace: x}\n",
        ),
    ] {
        write(folder, &[(path, text)]);
    }
    for (args, code, parts) in [
        (
            &["--sync=sync.yaml", "--root=."][..],
            2,
            &[
                "spec.substitute.from",
                "ConfigMap",
                "vars does not exist",
                "--with",
            ][..],
        ),
        (
            &["--sync=given.yaml", "--root=."],
            2,
            &["given.yaml holds no Sync"],
        ),
        (&["--sync=absent.yaml"], 2, &["reading absent.yaml"]),
        (
            &["--sync=sync.yaml", "--root=.", "--with=number.yaml"],
            2,
            &["number.yaml", "Secret tokens", "must be texts"],
        ),
        (
            &["broken", "--root=."],
            1,
            &["kustomize", "broken/gone.yaml"],
        ),
        (
            &["bare", "--root=."],
            1,
            &["ConfigMap bare (bare/map.yaml", "no namespace"],
        ),
        (&["invalid", "--root=."], 1, &["invalid/map.yaml"]),
        (&["empty", "--root=."], 1, &["empty"]),
        (&["absent", "--root=."], 2, &["path absent is not in"]),
        (&["/", "--root=."], 2, &["is not in", "--root"]),
        (&[], 2, &["<PATH>"]),
    ] {
        let (is, error) = failure(&build(folder, args).await);
        assert_eq!(is, Some(code), "{args:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{args:?}: {part} is not in {error}");
        }
        for value in ["hunter22", "73911842"] {
            assert!(!error.contains(value), "{error}");
        }
    }
    // One file, in JSON; the root is found without a flag.
    let output = build(folder, &["map.yaml", "--output=json"]).await;
    let list = objects(&output).remove(0);
    assert_eq!(list["items"][0]["metadata"]["name"], "lone");
}

#[tokio::test]
async fn what_the_repository_and_the_sync_leave_out_is_not_built() {
    let scratch = Scratch::new().unwrap();
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: x}}\n")
    };
    let (a, b, c) = (map("a"), map("b"), map("c"));
    let sync = "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {name: s}\nspec: {sourceRef: {name: r}, ignore: b.yaml}\n---\n\
                apiVersion: towline.dev/v1alpha1\nkind: GitRepository\nmetadata: {name: other}\nspec: {url: 'https://git.example/o.git', ignore: c.yaml}\n---\n\
                apiVersion: towline.dev/v1alpha1\nkind: GitRepository\nmetadata: {name: r}\nspec: {url: 'https://git.example/r.git', ignore: a.yaml}\n";
    let files = [
        ("repo/a.yaml", &*a),
        ("repo/b.yaml", &*b),
        ("repo/c.yaml", &*c),
        ("sync.yaml", sync),
    ];
    write(scratch.path(), &files);
    let output = build(scratch.path(), &["repo", "--sync", "sync.yaml"]).await;
    let names: Vec<_> = objects(&output)
        .into_iter()
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["c"]);
}

#[tokio::test]
async fn a_chart_of_another_repository_needs_a_clone_of_it() {
    let scratch = Scratch::new().unwrap();
    let files = [
        ("own/apps/values.yaml", "greeting: hello\n"),
        (
            "charts/shop/Chart.yaml",
            "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
        ),
        (
            "charts/shop/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {value: {{ .Values.greeting }}}\n",
        ),
        (
            "sync.yaml",
            "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {name: s}\nspec: {sourceRef: {name: r}, path: apps, \
             helm: {chartRef: {name: vendor, path: shop}, valuesFiles: [values.yaml]}}\n",
        ),
    ];
    write(scratch.path(), &files);
    let args = ["--sync", "sync.yaml", "--root", "own"];
    let (code, message) = failure(&build(scratch.path(), &args).await);
    assert_eq!(code, Some(2));
    for says in ["GitRepository vendor", "--chart-root"] {
        assert!(message.contains(says), "{message}");
    }
    let args = [&args[..], &["--chart-root", "charts"]].concat();
    let output = build(scratch.path(), &args).await;
    assert_eq!(objects(&output)[0]["data"]["value"], "hello");
}

#[tokio::test]
async fn a_commit_is_built_whatever_is_on_disk() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(folder).args(args);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "a");
            command.env(format!("GIT_{who}_EMAIL"), "a@example.com");
        }
        assert!(command.output().unwrap().status.success(), "{args:?}");
    };
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: a}}\n")
    };
    let kustomization = "resources: [map.yaml]\nnamePrefix: x-\n";
    write(
        folder,
        &[
            ("old/map.yaml", &map("one")),
            ("rendered/map.yaml", &map("r")),
            ("rendered/kustomization.yaml", kustomization),
        ],
    );
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    git(&["tag", "v1"]);
    fs::remove_dir_all(folder.join("old")).unwrap();
    write(folder, &[("new/map.yaml", &map("two"))]);
    git(&["add", "."]);
    git(&["commit", "-qm", "second"]);
    write(folder, &[("new/map.yaml", &map("three"))]);
    git(&["worktree", "add", "-q", "tree"]);

    let names = async |args: &[&str]| {
        let built = objects(&build(folder, args).await);
        let names = built.iter().map(|object| &object["metadata"]["name"]);
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["new"]).await, ["three"]);
    assert_eq!(names(&["new", "--revision", "HEAD"]).await, ["two"]);
    assert_eq!(names(&["new", "--revision", "main"]).await, ["two"]);
    assert_eq!(names(&["old", "--revision", "v1"]).await, ["one"]);
    assert_eq!(names(&["rendered", "--revision", "HEAD^"]).await, ["x-r"]);
    assert_eq!(names(&["tree/new", "--revision", "HEAD"]).await, ["two"]);
    for (args, says) in [
        (&["new", "--revision", "v1"][..], "path new is not in"),
        (&["old"], "path old is not in"),
        (
            &["new", "--revision", "v2"],
            "has no commit v2: fetch it first",
        ),
        (
            &["new", "--revision", "v1", "--root", "new"],
            "new is not the root of a clone",
        ),
    ] {
        let (code, error) = failure(&build(folder, args).await);
        assert!(code == Some(2) && error.contains(says), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn a_remote_base_needs_a_clone_of_it() {
    let scratch = Scratch::new().unwrap();
    let url = "https://git.example/org/base.git";
    let overlay = format!("resources: ['{url}//deploy?ref=v1']\nnamePrefix: x-\n");
    let sync = "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {name: s}\nspec: {sourceRef: {name: r}, path: apps, \
                kustomize: {remoteBases: Pinned}}\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n";
    let files = [
        ("own/apps/kustomization.yaml", &*overlay),
        ("base/deploy/kustomization.yaml", "resources: [map.yaml]\n"),
        ("base/deploy/map.yaml", map),
        ("sync.yaml", sync),
    ];
    write(scratch.path(), &files);
    let args = ["--sync", "sync.yaml", "--root", "own"];
    let (code, message) = failure(&build(scratch.path(), &args).await);
    assert_eq!(code, Some(2));
    let says = [
        "apps/kustomization.yaml",
        &format!("--base-root '{url}//?ref=v1=FOLDER'"),
    ];
    assert!(says.iter().all(|part| message.contains(part)), "{message}");
    let given = |base: &str| format!("--base-root={base}=base");
    for (base, builds) in [
        (format!("{url}?ref=v1"), true),
        (format!("{url}//deploy?ref=v1"), true),
        (format!("{url}?ref=v2"), false),
        (url.to_owned(), false),
    ] {
        let base = given(&base);
        let args = [&args[..], &[&*base]].concat();
        let output = build(scratch.path(), &args).await;
        assert_eq!(output.status.success(), builds, "{base}");
        if builds {
            assert_eq!(objects(&output)[0]["metadata"]["name"], "x-a");
        }
    }
    // Without the field it is refused.
    let base = given(&format!("{url}?ref=v1"));
    let args = ["--root", "own", "own/apps", &*base];
    let (_, message) = failure(&build(scratch.path(), &args).await);
    assert!(message.contains("spec.kustomize.remoteBases"), "{message}");
}
