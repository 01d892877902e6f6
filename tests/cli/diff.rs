//! `towline diff`: what a folder would change.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::renderers;
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

use super::Ran;
use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, world};

/// Runs `towline diff` in a folder.
pub async fn diff(case: &Case<'_>, kubeconfig: &Path, folder: &Path, args: &[&str]) -> Ran {
    let renderers = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    let mut command = Command::new(built());
    command
        .current_dir(folder)
        .args(["diff", "all", "-n", &case.namespace, "--root", "."]);
    command
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .arg("--renderers-dir")
        .arg(renderers);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[tokio::test]
async fn diff_shows_what_a_folder_would_change_and_changes_nothing() {
    let case = world().await.case("cli-diff").await;
    let namespace = &case.namespace;
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{token: {value}}}\n"
        )
    };
    let lent = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lent}\ndata: {url: '${token}'}\n";
    let files = [
        ("app/map.yaml", case.map("m", "one")),
        ("app/old.yaml", case.map("old", "one")),
        ("app/secret.yaml", secret("hunter22")),
        ("app/lent.yaml", lent.to_owned()),
        ("app/web.yaml", deployment("web", namespace, "")),
    ];
    let tokens = json!({"metadata": {"name": "tokens"}, "stringData": {"token": "passw0rd17"}});
    case.make::<k8s_openapi::api::core::v1::Secret>(tokens)
        .await;
    let committed: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text)))
        .collect();
    let commit = case.repo.commit(&committed, "first");
    case.repository(json!({})).await;
    let from = json!([{"kind": "Secret", "name": "tokens"}]);
    let spec = json!({"path": "app", "targetNamespace": namespace, "substitute": {"from": from}});
    case.sync("all", spec).await;
    case.synced("all", &commit).await;

    let scratch = Scratch::new().unwrap();
    let folder = scratch.path();
    std::fs::create_dir(folder.join("app")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).unwrap();
    for (path, text) in &files {
        write(path, text);
    }
    let person = case.world.cp.kubeconfig_for(User::Person);
    let mark = case.world.cp.audit().mark();
    let of = async |args: &[&str]| diff(&case, &person, folder, args).await;
    of(&[]).await.says(0, &["all: no difference"]);
    // The live objects say it all.
    let tried = case.world.cp.audit_since(mark).await;
    let tried = tried
        .iter()
        .filter(|entry| entry.user == User::Person.name() && entry.namespace == *namespace)
        .filter(|entry| entry.is_write());
    assert_eq!(tried.count(), 0);
    let mark = case.world.cp.audit().mark();
    of(&["--all"]).await.says(0, &["all: no difference"]);
    let tried = case.world.cp.audit_since(mark).await;
    let tried = tried
        .iter()
        .filter(|entry| entry.user == User::Person.name() && entry.namespace == *namespace)
        .filter(|entry| entry.is_write());
    assert!(tried.count() >= files.len());
    // What another applier added, the operator would remove.
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    let added = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": namespace}, "data": {"extra": "theirs"}});
    write("added.yaml", &added.to_string());
    let file = folder.join("added.yaml").display().to_string();
    case.kubectl_as_person(&["apply", "--server-side", "-f", &file])
        .await;
    of(&[])
        .await
        .says(1, &["-  extra: theirs\n", "1 to change"]);
    std::fs::remove_file(folder.join("added.yaml")).unwrap();
    case.patch::<Sync>("all", json!({"spec": {"suspend": false}}))
        .await;
    eventually("the field is removed", PATIENCE, async || {
        let data = case.data("m").await.unwrap_or_default();
        data.get("extra").is_none().then_some(()).ok_or(data)
    })
    .await;
    let mark = case.world.cp.audit().mark();
    // A clone of what the operator applied.
    for args in [
        &["clone", "-q", "--bare", case.repo.url(), ".git"][..],
        &["config", "core.bare", "false"],
    ] {
        let git = Command::new("git").current_dir(folder).args(args).output();
        let git = git.unwrap();
        assert!(git.status.success(), "{git:?}");
    }

    write("app/map.yaml", &case.map("m", "two"));
    write("app/secret.yaml", &secret("hunter33"));
    write("app/lent.yaml", &lent.replace("'$", "'x$"));
    write("app/new.yaml", &case.map("new", "one"));
    write(
        "app/web.yaml",
        &deployment("web", namespace, "").replace("replicas: 1", "replicas: 2"),
    );
    std::fs::remove_file(folder.join("app/old.yaml")).unwrap();
    let text = of(&[]).await;
    text.says(
        1,
        &[
            &format!("~ ConfigMap {namespace}/m (app/map.yaml)"),
            "-  value: one\n+  value: two\n",
            "-  token: \"*** (before)\"\n+  token: \"*** (after)\"\n",
            "-  replicas: 1\n+  replicas: 2\n",
            &format!("+ ConfigMap {namespace}/new (app/new.yaml)"),
            &format!("- ConfigMap {namespace}/old"),
            "1 to create, 4 to change, 1 to delete",
        ],
    );
    assert!(
        !text.out.contains('\x1b') && !text.out.contains("managedFields"),
        "{text:#?}"
    );
    of(&["--revision", &commit])
        .await
        .says(0, &["all: no difference"]);
    of(&["--revision", "v7"])
        .await
        .fails(2, &["has no commit v7"]);
    of(&["--color=always"])
        .await
        .says(1, &["\x1b[32m+  value: two\x1b[0m"]);
    let as_json = of(&["-o", "json"]).await;
    let value: Value = serde_json::from_str(&as_json.out).unwrap();
    assert_eq!(value["changes"].as_array().unwrap().len(), 6, "{value}");
    let markdown = of(&["-o", "markdown", "--path", "app"]).await;
    markdown.says(
        1,
        &["### towline diff: `", "<details><summary>", "```diff\n"],
    );
    for ran in [&text, &as_json, &markdown] {
        for value in ["hunter", "passw0rd17", "aHVudGVy", "cGFzc3cwcmQ"] {
            assert!(
                !ran.out.contains(value) && !ran.err.contains(value),
                "{ran:#?}"
            );
        }
    }
    // Every request was a read or a dry run.
    let entries = case.world.cp.audit_since(mark).await;
    let persons = entries
        .iter()
        .filter(|entry| entry.user == User::Person.name() && entry.namespace == *namespace);
    let writes: Vec<_> = persons
        .filter(|entry| entry.is_write())
        .map(|entry| &entry.uri)
        .collect();
    assert!(
        !writes.is_empty() && writes.iter().all(|uri| uri.contains("dryRun=All")),
        "{writes:?}"
    );
    case.has("m", "value", Some("one")).await;

    // What cannot be applied is a difference too, and what cannot be read is an error.
    write(
        "app/wrong.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n",
    );
    of(&[])
        .await
        .says(1, &["! ConfigMap", "UPPER (app/wrong.yaml): ", "1 refused"]);
    let nobody = case
        .world
        .cp
        .kubeconfig_as("nobody", &["system:authenticated"]);
    diff(&case, &nobody, folder, &[])
        .await
        .fails(2, &["you have no right to get syncs.towline.dev all"]);
    write("app/wrong.yaml", "a: [\n");
    of(&[]).await.fails(2, &["app/wrong.yaml"]);
    let gone = of(&["--path", "absent"]).await;
    gone.fails(2, &["absent"]);
}

#[tokio::test]
async fn diff_sees_the_release_of_a_chart_as_the_operator_does() {
    let case = world().await.case("cli-diff-chart").await;
    let chart = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{value: {value}, revision: \
             \"{{{{ .Release.Revision }}}}\", upgrade: \"{{{{ .Release.IsUpgrade }}}}\"}}\n"
        )
    };
    let (chart_path, map_path) = ("app/Chart.yaml", "app/templates/map.yaml");
    let first = [(chart_path, Some(chart)), (map_path, Some(&*map("one")))];
    let commit = case.repo.commit(&first, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &commit).await;
    let commit = case.push(&[(map_path, Some(&map("two")))], "second").await;
    case.synced("all", &commit).await;
    case.has("m", "revision", Some("2")).await;

    let scratch = Scratch::new().unwrap();
    let folder = scratch.path();
    std::fs::create_dir_all(folder.join("app/templates")).unwrap();
    std::fs::write(folder.join(chart_path), chart).unwrap();
    let write = |value: &str| std::fs::write(folder.join(map_path), map(value)).unwrap();
    let person = case.world.cp.kubeconfig_for(User::Person);
    write("two");
    let same = diff(&case, &person, folder, &[]).await;
    same.says(0, &["all: no difference"]);
    write("three");
    let next = diff(&case, &person, folder, &[]).await;
    next.says(1, &["value: three", "+  revision: \"3\""]);
}

#[tokio::test]
async fn diff_shows_what_is_emptied_and_what_is_null_as_the_operator_applies_it() {
    let case = world().await.case("cli-diff-empty").await;
    let child = |more: &str| {
        format!(
            "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: child, namespace: {}}}\n\
             spec:\n  suspend: true\n  sourceRef: {{name: repo}}\n  path: none\n{more}",
            case.namespace
        )
    };
    let full = child("  commonMetadata: {labels: {team: blue}}\n");
    let commit = case.repo.commit(&[("app/c.yaml", Some(full))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &commit).await;
    let scratch = Scratch::new().unwrap();
    std::fs::create_dir(scratch.path().join("app")).unwrap();
    let person = case.world.cp.kubeconfig_for(User::Person);
    for more in [
        "  commonMetadata: {}\n",
        "  commonMetadata: null\n  substitute:\n",
    ] {
        std::fs::write(scratch.path().join("app/c.yaml"), child(more)).unwrap();
        let ran = diff(&case, &person, scratch.path(), &[]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains("-      team: blue"), "{ran:?}");
        assert!(!ran.out.contains("refuse"), "{ran:?}");
    }
    std::fs::write(
        scratch.path().join("app/c.yaml"),
        child("  commonMetadata:\n   labels: {team: blue}\n  substitute:\n"),
    )
    .unwrap();
    let ran = diff(&case, &person, scratch.path(), &[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// `--takeover-managers` of the operator is known to whoever runs it.
#[tokio::test]
async fn diff_shows_what_an_applier_that_an_argument_names_would_lose() {
    let case = world().await.case("cli-diff-takeover").await;
    let map = case.map("m", "one");
    let commit = case.repo.commit(&[("app/map.yaml", Some(&*map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app"})).await;
    case.synced("all", &commit).await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    let scratch = Scratch::new().unwrap();
    std::fs::create_dir(scratch.path().join("app")).unwrap();
    std::fs::write(scratch.path().join("app/map.yaml"), &map).unwrap();
    let added = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": case.namespace}, "data": {"extra": "theirs"}});
    let file = scratch.path().join("added.json");
    std::fs::write(&file, added.to_string()).unwrap();
    let file = file.display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=house-tool",
        "-f",
        &file,
    ];
    case.kubectl_as_person(&apply).await;
    let person = case.world.cp.kubeconfig_for(User::Person);
    for (args, code, says) in [
        (&[][..], 0, "no difference"),
        (&["--takeover-managers=other"], 0, "no difference"),
        (
            &["--takeover-managers=other,house-tool"],
            1,
            "-  extra: theirs\n",
        ),
    ] {
        diff(&case, &person, scratch.path(), args)
            .await
            .says(code, &[says]);
    }
}
