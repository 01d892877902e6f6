//! A renderer that an administrator added: the example in `examples/renderer`, which renders Jsonnet.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use towline::api::Sync;
use towline_testing::control_plane::Options;
use towline_testing::operator::built;
use towline_testing::scratch::Scratch;
use towline_testing::{in_repository, renderers};

use crate::world::verdict::assert_says;
use crate::world::{World, condition};

const LIBRARY: &str = "{ map(name, value): { apiVersion: 'v1', kind: 'ConfigMap', \
                       metadata: { name: name }, data: { value: value } } }\n";
const MAIN: &str = "local lib = import 'lib.libsonnet';\n\
                    { web: lib.map('web', std.extVar('greeting')), \
                    more: [lib.map('api', importstr 'text.txt')] }\n";

/// The example, built.
async fn example() -> PathBuf {
    let script = in_repository("examples/renderer/build");
    let built = tokio::task::spawn_blocking(move || Command::new(script).output().unwrap());
    let built = built.await.unwrap();
    assert!(built.status.success(), "{built:?}");
    String::from_utf8(built.stdout).unwrap().trim().into()
}

/// A folder of renderers with the example in it.
async fn folder() -> Scratch {
    let scratch = Scratch::new().unwrap();
    let shipped = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), scratch.path().join(entry.file_name())).unwrap();
    }
    symlink(example().await, scratch.path().join("own")).unwrap();
    scratch
}

fn build(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(built())
        .current_dir(folder)
        .arg("build")
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn a_path_is_rendered_by_the_renderer_that_its_sync_names() {
    let renderers = folder().await;
    let flag = format!("--renderers-dir={}", renderers.path().display());
    let world = World::own(Options::default(), &[&flag]).await;
    let case = world.case("own-renderer").await;
    let files = [
        ("apps/main.jsonnet", Some(MAIN)),
        ("apps/text.txt", Some("one")),
        ("vendor/lib.libsonnet", Some(LIBRARY)),
        ("README.md", Some("what nobody imports")),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    let renderer = json!({"name": "jsonnet", "parameters": {"greeting": "hello"}});
    let spec =
        |renderer| json!({"path": "apps", "targetNamespace": case.namespace, "renderer": renderer});
    case.sync("all", spec(renderer.clone())).await;
    case.synced("all", &first).await;
    case.has("web", "value", Some("hello")).await;
    case.has("api", "value", Some("one")).await;

    // What it imports counts, wherever it is; nothing else does.
    let second = case.push(&[("README.md", Some("other"))], "unused").await;
    let sync = case.synced("all", &second).await;
    let changed = |sync: &Sync| sync.status.clone().unwrap().last_changed_revision.unwrap();
    assert!(changed(&sync).ends_with(&first));
    let other = LIBRARY.replace("data: { value: value }", "data: { value: value + '!' }");
    let third = case
        .push(&[("vendor/lib.libsonnet", Some(&other))], "library")
        .await;
    let sync = case.synced("all", &third).await;
    assert!(changed(&sync).ends_with(&third));
    case.has("api", "value", Some("one!")).await;
    let said = json!({"spec": {"renderer": {"parameters": {"greeting": "bye"}}}});
    case.patch::<Sync>("all", said).await;
    case.has("web", "value", Some("bye!")).await;

    // What fails names the renderer, the file and the line, and what was live stays live.
    let broken = MAIN.replace("lib.map('web'", "lib.mop('web'");
    case.push(&[("apps/main.jsonnet", Some(&broken))], "broken")
        .await;
    let message = case.ready_becomes("all", "False", "RenderFailed").await;
    assert_says(
        &message,
        &["jsonnet", "mop", "apps/main.jsonnet:2", "stays live"],
    );
    case.push(
        &[("apps/main.jsonnet", Some("[{ kind: 'List' }]"))],
        "no object",
    )
    .await;
    case.until("all", "what is no object is named", |sync| {
        let message = condition(sync, "Ready").2;
        message.contains("the result[0].kind is no object of Kubernetes")
    })
    .await;
    case.push(
        &[("apps/main.jsonnet", Some("import '../../etc/passwd'"))],
        "outside",
    )
    .await;
    case.until("all", "what is outside is not read", |sync| {
        let message = condition(sync, "Ready").2;
        message.contains("leads out of the repository")
    })
    .await;
    case.has("web", "value", Some("bye!")).await;

    // One that is not there, and a spec that asks for two.
    case.sync("absent", spec(json!({"name": "cue"}))).await;
    let message = case.ready_becomes("absent", "False", "RenderFailed").await;
    assert_says(
        &message,
        &[
            "the renderer cue cannot be used",
            "own/cue.cwasm",
            "own-renderer.md",
        ],
    );
    for (field, value) in [
        ("kustomize", json!({"namePrefix": "a-"})),
        ("helm", json!({})),
    ] {
        let mut spec = spec(renderer.clone());
        spec["sourceRef"] = json!({"name": "repo"});
        spec[field] = value;
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
            "metadata": {"name": "both", "namespace": case.namespace}, "spec": spec,
        });
        let object: Sync = serde_json::from_value(object).unwrap();
        let syncs: Api<Sync> = case.api();
        let error = syncs
            .create(&PostParams::default(), &object)
            .await
            .unwrap_err();
        assert_says(
            &error.to_string(),
            &["renderer takes the place of kustomize and helm"],
        );
    }

    // Without a cluster it is the same.
    let scratch = Scratch::new().unwrap();
    let root = scratch.path();
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.unwrap()).unwrap();
    }
    let sync = |name: &str| {
        json!({"apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "all"},
            "spec": {"sourceRef": {"name": "repo"}, "path": "apps", "targetNamespace": "shop",
                "renderer": {"name": name, "parameters": {"greeting": "hello"}}}})
    };
    std::fs::write(root.join("sync.yaml"), sync("jsonnet").to_string()).unwrap();
    std::fs::write(root.join("odd.yaml"), sync("../jsonnet").to_string()).unwrap();
    let (code, out, err) = build(root, &["--sync=sync.yaml", "--root=.", &flag]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_says(
        &out,
        &["name: web", "value: hello", "name: api", "value: one"],
    );
    let (code, _, err) = build(root, &["--sync=odd.yaml", "--root=.", &flag]);
    assert_eq!(code, Some(1));
    assert_says(
        &err,
        &[
            "the renderer ../jsonnet cannot be used",
            "a name has the characters",
        ],
    );
}
