//! The command line, as the real program against the real API server.

mod diff;
mod diff_owned;
mod exits;
mod little_rights;
mod narrow;
mod pin;
mod setup;
mod trace;
mod waiting;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::scratch::Scratch;

use crate::world::{Case, world};

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// Panics unless the command ended with this code, and wrote these parts to standard output.
    fn says(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for part in parts {
            assert!(self.out.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }

    /// The same for standard error.
    fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {self:#?}");
        }
    }
}

/// Runs the program with a kubeconfig.
async fn run_with(kubeconfig: Option<&Path>, args: &[&str]) -> Ran {
    let mut command = Command::new(built());
    command
        .args(args)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent");
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// Runs the program as a person, in the namespace of a case.
async fn run(case: &Case<'_>, args: &[&str]) -> Ran {
    let kubeconfig = case.world.cp.kubeconfig_for(User::Person);
    let args = [args, &["--namespace", &case.namespace]].concat();
    run_with(Some(&kubeconfig), &args).await
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[tokio::test]
async fn get_lists_what_there_is_and_suspend_says_who_and_why() {
    let case = world().await.case("cli-get").await;
    let good = case.map("good", "one");
    let files = [
        ("good/a.yaml", Some(&*good)),
        (
            "bad/a.yaml",
            Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n"),
        ),
    ];
    let commit = case.repo.commit(&files, "first");
    run(&case, &["get"])
        .await
        .says(0, &["no Syncs and no GitRepositories in namespace"]);
    case.repository(json!({})).await;
    case.sync("good", json!({"path": "good"})).await;
    let namespace = &case.namespace;
    case.sync("bad", json!({"path": "bad", "targetNamespace": namespace}))
        .await;
    case.synced("good", &commit).await;
    case.ready_becomes("bad", "False", "ApplyFailed").await;

    let short = format!("main@sha1:{}", &commit[..12]);
    let mark = case.world.cp.audit().mark();
    let all = run(&case, &["get"]).await;
    // One list a kind, from the memory of the API server.
    let entries = case.world.cp.audit_since(mark).await;
    let mut asked: Vec<_> = entries
        .iter()
        .filter(|entry| entry.user == User::Person.name() && entry.namespace == *namespace)
        .map(|entry| {
            (
                &*entry.verb,
                &*entry.resource,
                entry.uri.contains("resourceVersion=0"),
            )
        })
        .collect();
    asked.sort_unstable();
    assert_eq!(
        asked,
        [("list", "gitrepositories", true), ("list", "syncs", true)]
    );
    all.says(
        0,
        &[
            "NAME",
            "STATE",
            "repo/repo",
            "sync/good",
            "Ready",
            "sync/bad",
            "ApplyFailed",
            "UPPER",
            &short,
        ],
    );
    assert!(
        !all.out.contains("NAMESPACE") && !all.out.contains('\x1b'),
        "{all:#?}"
    );
    let coloured = run(&case, &["get", "--color=always"]).await;
    coloured.says(0, &["\x1b[31mApplyFailed\x1b[0m", "\x1b[32mReady\x1b[0m"]);
    let failing = run(&case, &["get", "--not-ready"]).await;
    failing.says(0, &["sync/bad"]);
    assert!(!failing.out.contains("sync/good"), "{failing:#?}");
    let kubeconfig = case.world.cp.kubeconfig_for(User::Person);
    let everywhere = run_with(Some(&kubeconfig), &["get", "-A", "good"]).await;
    everywhere.says(0, &["NAMESPACE", namespace]);

    run(&case, &["get", "good", "-o", "name"])
        .await
        .says(0, &["sync.towline.dev/good\n"]);
    let list = json_of(&run(&case, &["get", "good", "-o", "json"]).await);
    assert_eq!(list["items"][0]["spec"]["path"], "good");
    assert!(list["items"][0]["metadata"].get("managedFields").is_none());
    run(&case, &["get", "good", "-o", "yaml"])
        .await
        .says(0, &["---\n", "path: good"]);
    // What a command prints as a name is one for every command.
    for name in [
        "sync.towline.dev/good",
        "syncs/good",
        "Sync/good",
        "tsync/good",
    ] {
        run(&case, &["get", name])
            .await
            .says(0, &["sync/good", "Ready"]);
        run(&case, &["tree", name]).await.says(0, &["sync/good"]);
        run(&case, &["wait", name, "--timeout=1s"])
            .await
            .says(0, &["sync/good: Ready"]);
    }
    let other = run(&case, &["get", "repo/good"]).await;
    assert!(
        other.code == Some(2)
            && other
                .err
                .contains("GitRepository good does not exist in namespace"),
        "{other:#?}"
    );
    assert!(!other.out.contains("sync/good"), "{other:#?}");

    // Suspended by name, and with a reason.
    let mark = case.world.cp.audit().mark();
    let suspended = run(&case, &["suspend", "good", "--reason", "incident 7"]).await;
    suspended.says(0, &["sync/good: suspended by person: incident 7"]);
    let message = case.ready_becomes("good", "Unknown", "Suspended").await;
    assert!(message.starts_with("suspended by person: incident 7; set spec.suspend"));
    case.ready_becomes("good", "Unknown", "Suspended").await;
    run(&case, &["get", "good"])
        .await
        .says(0, &["Suspended", "suspended by person: incident 7"]);
    run(&case, &["reconcile", "sync/good"])
        .await
        .says(1, &["suspended by person", "towline resume"]);
    run(&case, &["resume", "good"])
        .await
        .says(0, &["resumed by person", "incident 7"]);
    case.synced("good", &commit).await;
    run(&case, &["resume", "good"])
        .await
        .says(0, &["is not suspended"]);
    let sync = case.api::<Sync>().get("good").await.unwrap();
    let annotations = sync.metadata.annotations.unwrap();
    assert_eq!(annotations["towline.dev/resumed-by"], "person");
    assert!(!annotations.contains_key("towline.dev/suspended-by"));
    // A command writes what it names, and nothing else.
    let entries = case.world.cp.audit_since(mark).await;
    let written: Vec<_> = entries
        .iter()
        .filter(|entry| entry.user == User::Person.name() && entry.namespace == *namespace)
        .filter(|entry| ["patch", "create", "update", "delete"].contains(&&*entry.verb))
        .map(|entry| format!("{} {}", entry.verb, entry.resource))
        .collect();
    assert_eq!(written, ["patch syncs", "patch syncs"]);

    // Reconciled until it is done, or until it is known that it fails.
    let done = run(&case, &["reconcile", "good", "--with-source", "--wait"]).await;
    done.says(0, &["repo/repo: Ready", "sync/good: Ready"]);
    run(&case, &["reconcile", "repo/repo", "--wait"])
        .await
        .says(0, &["repo/repo: Ready"]);
    run(&case, &["reconcile", "good"])
        .await
        .says(0, &["sync/good: reconcile requested"]);
    run(&case, &["reconcile", "bad", "--wait"])
        .await
        .says(1, &["sync/bad: ApplyFailed", "UPPER"]);
    let missing = run(&case, &["reconcile", "absent"]).await;
    missing.fails(
        2,
        &[
            "a Sync or GitRepository absent does not exist in namespace",
            namespace,
        ],
    );
}

#[tokio::test]
async fn a_suspension_that_a_manifest_declares_is_warned_of() {
    let case = world().await.case("cli-declared").await;
    let manifest = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "all"},
        "spec": {"sourceRef": {"name": "repo"}, "suspend": true},
    });
    let file = Scratch::new().unwrap();
    let path = file.path().join("sync.json");
    std::fs::write(&path, manifest.to_string()).unwrap();
    case.kubectl_as_person(&["apply", "--server-side", "-f", path.to_str().unwrap()])
        .await;
    let resumed = run(&case, &["resume", "all"]).await;
    resumed.says(0, &["it was suspended"]);
    resumed.fails(0, &["warning: kubectl applies spec.suspend of sync/all"]);
}

#[tokio::test]
async fn a_held_deletion_is_shown_and_exactly_it_is_approved() {
    let case = world().await.case("cli-approve").await;
    let (a, b) = (case.map("a", "one"), case.map("b", "one"));
    let first = case
        .repo
        .commit(&[("a.yaml", Some(&*a)), ("b.yaml", Some(&b))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"pruneLimit": {"percent": 0}}))
        .await;
    case.synced("all", &first).await;
    run(&case, &["approve", "all"])
        .await
        .says(1, &["holds no deletion back"]);
    case.push(&[("a.yaml", None)], "without a").await;
    case.ready_becomes("all", "False", "PruneHeld").await;
    let shown = run(&case, &["approve", "all"]).await;
    shown.says(
        1,
        &["would delete 1 of 2 objects: 1 ConfigMap", "--digest "],
    );
    let (_, digest) = shown.out.trim().rsplit_once(' ').unwrap();
    run(&case, &["approve", "all", "--digest", "00000000"])
        .await
        .says(1, &["not approved"]);
    case.has("a", "value", Some("one")).await;
    run(&case, &["approve", "all", "--digest", digest])
        .await
        .says(0, &["approved: "]);
    case.has("a", "value", None).await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let case = world().await.case("cli-bad").await;
    let scratch = Scratch::new().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    run_with(None, &["get"])
        .await
        .fails(2, &["no cluster is configured", "KUBECONFIG"]);
    let secret = "users: [{name: a, user: {token: hunter22}}]\nclusters: [\n";
    let broken = run_with(Some(&file("broken", secret)), &["get"]).await;
    broken.fails(2, &["the kubeconfig is not valid YAML"]);
    assert!(!broken.err.contains("hunter22"), "{broken:#?}");

    let good = case.world.cp.kubeconfig_for(User::Person);
    let text = std::fs::read_to_string(&good).unwrap();
    let other = run_with(Some(&good), &["get", "--context", "other"]).await;
    other.fails(2, &["the kubeconfig cannot be used", "other"]);
    let mut away: Value = serde_json::from_str(&text).unwrap();
    away["clusters"][0]["cluster"]["server"] = "https://user:hunter22@127.0.0.1:1".into();
    let away = run_with(Some(&file("away", &away.to_string())), &["get"]).await;
    away.fails(2, &["the cluster at https://", "cannot be reached"]);
    assert!(!away.err.contains("hunter22"), "{away:#?}");
    let mut stranger: Value = serde_json::from_str(&text).unwrap();
    stranger["users"][0]["user"] = json!({"token": "hunter22"});
    let stranger = run_with(Some(&file("stranger", &stranger.to_string())), &["get"]).await;
    stranger.fails(2, &["does not accept the credentials"]);

    let nobody = case
        .world
        .cp
        .kubeconfig_as("nobody", &["system:authenticated"]);
    let denied = run_with(Some(&nobody), &["get", "-n", "default"]).await;
    denied.fails(
        2,
        &[
            "you have no right to list",
            ".towline.dev in namespace default",
            "nobody",
        ],
    );
    let denied = run_with(Some(&nobody), &["suspend", "shop", "--reason=x"]).await;
    denied.fails(2, &["you have no right to get syncs.towline.dev shop"]);
    for (args, parts) in [
        (&["suspend", "shop"][..], "--reason"),
        (&["get", "-o", "table"], "json"),
        (&["get", "-A", "-n", "x"], "--namespace"),
        (&["nothing"], "unrecognized"),
        (&["tree", "repo/shop"], "and no GitRepository"),
        (&["get", "deploy/shop"], "name a Sync"),
    ] {
        run_with(Some(&good), args).await.fails(2, &[parts]);
    }
}

#[tokio::test]
async fn a_reader_that_leaves_ends_a_command_quietly() {
    let case = world().await.case("cli-pipe").await;
    case.repository(json!({})).await;
    let mut command = Command::new(built());
    let kubeconfig = case.world.cp.kubeconfig_for(User::Person);
    command
        .args(["get", "-o", "json", "-n", &case.namespace])
        .env("KUBECONFIG", kubeconfig);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn as_a_plugin_of_kubectl_it_is_the_same_program() {
    let scratch = Scratch::new().unwrap();
    let plugin = scratch.path().join("kubectl-towline");
    std::os::unix::fs::symlink(built(), &plugin).unwrap();
    let help = Command::new(&plugin)
        .args(["get", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("kubectl towline get"), "{help}");
}
