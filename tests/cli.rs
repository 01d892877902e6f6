//! The command line, as the real program against the real API server.

mod setup;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::renderers;
use towline_testing::scratch::Scratch;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, condition, world};

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
    let all = run(&case, &["get"]).await;
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

    // Suspended by name, and with a reason.
    let mark = case.world.cp.audit().mark();
    let suspended = run(&case, &["suspend", "good", "--reason", "incident 7"]).await;
    suspended.says(0, &["sync/good: suspended by person: incident 7"]);
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
async fn wait_knows_live_superseded_untouched_failed_and_late() {
    let case = world().await.case("cli-wait").await;
    let file = |name: &str, value: &str| case.map(name, value);
    let (a, b) = (file("a", "one"), file("b", "one"));
    let first = case
        .repo
        .commit(&[("a/a.yaml", Some(&*a)), ("b/b.yaml", Some(&b))], "first");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.sync("b", json!({"path": "b"})).await;
    run(&case, &["wait", "--timeout=60s"])
        .await
        .says(0, &["sync/a: Ready", "sync/b: Ready"]);
    let of = async |commit: &str, timeout: &str| {
        let timeout = format!("--timeout={timeout}");
        run(&case, &["wait", "--commit", commit, &timeout]).await
    };
    of(&first, "60s")
        .await
        .says(0, &["sync/a: live", "sync/b: live"]);

    // Waiting begins before the operator knows the commit, as in CI.
    let second = case
        .repo
        .commit(&[("a/a.yaml", Some(&*file("a", "two")))], "second");
    let waiting = of(&second[..9], "60s");
    let announced = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        case.announce().await;
    };
    let (waited, ()) = futures::join!(waiting, announced);
    waited.says(0, &["sync/a: live"]);
    assert!(
        !waited.out.contains("sync/b"),
        "its content did not change: {waited:#?}"
    );
    assert!(
        waited.err.contains("waiting for 2 of 2 Syncs"),
        "{waited:#?}"
    );

    let third = case
        .push(&[("a/a.yaml", Some(&*file("a", "three")))], "third")
        .await;
    case.synced("a", &third).await;
    of(&second, "30s")
        .await
        .says(0, &["sync/a: superseded by main@sha1:", &third[..12]]);

    let fourth = case
        .push(&[("README.md", Some("text\n"))], "no manifest")
        .await;
    of(&fourth, "60s")
        .await
        .says(0, &["changed the content of no Sync (2 have it)"]);

    let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n";
    let fifth = case.push(&[("a/a.yaml", Some(wrong))], "wrong").await;
    of(&fifth, "60s")
        .await
        .says(1, &["sync/a: failed: ", "UPPER"]);

    let began = Instant::now();
    let late = of(&"f".repeat(40), "2s").await;
    late.says(3, &["has not fetched the commit"])
        .fails(3, &["the time is over"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    run(&case, &["wait", "absent"])
        .await
        .fails(2, &["Sync absent does not exist"]);
    of("main", "2s").await.fails(2, &["hexadecimal"]);
    let sync = case.api::<Sync>().get("b").await.unwrap();
    assert_eq!(condition(&sync, "Ready").0, "True");
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
    ] {
        run_with(Some(&good), args).await.fails(2, &[parts]);
    }

    let bare = ControlPlane::start(Options::default()).await;
    let bare = run_with(Some(&bare.kubeconfig_path()), &["get"]).await;
    bare.fails(
        2,
        &[
            "does not serve",
            "towline.dev: towline is not installed there",
            "crds/",
        ],
    );
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

#[tokio::test]
async fn a_narrow_terminal_shows_everything() {
    let case = world().await.case("cli-narrow").await;
    case.repository(json!({})).await;
    case.sync("a-sync-with-a-long-name", json!({"path": "absent"}))
        .await;
    case.ready_becomes("a-sync-with-a-long-name", "False", "RefNotFound")
        .await;
    let namespace = &case.namespace;
    let towline = built().display().to_string();
    let shown = async |columns: u32, more: &str| {
        let line = format!("stty cols {columns}; {more} {towline} get -n {namespace}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script
            .env("KUBECONFIG", case.world.cp.kubeconfig_for(User::Person))
            .env("TERM", "xterm");
        script.env_remove("NO_COLOR").stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || script.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text.replace('\r', "")
    };
    let narrow = shown(40, "NO_COLOR=1").await;
    assert!(narrow.contains("sync/a-sync-with-a-long-name"), "{narrow}");
    for line in narrow.lines() {
        assert!(
            line.chars().count() <= 40 && !line.contains('\x1b'),
            "{narrow}"
        );
    }
    let wide = shown(160, "").await;
    assert!(wide.contains("\x1b[31mRefNotFound\x1b[0m"), "{wide}");
    assert!(wide.lines().next().unwrap().contains("NAME"), "{wide}");
}

#[tokio::test]
async fn an_object_is_traced_to_its_commit_and_author() {
    let case = world().await.case("cli-trace").await;
    let namespace = &case.namespace;
    let files = [
        ("app/map.yaml", case.map("shop", "one")),
        ("app/web.yaml", deployment("web", namespace, UNSCHEDULABLE)),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text)))
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app", "wait": true})).await;
    case.ready_becomes("all", "False", "HealthPending").await;

    let short = &commit[..12];
    let traced = run(&case, &["trace", "cm/shop"]).await;
    let sync = format!("{namespace}/all");
    let url = format!("repo ({})", case.repo.url());
    traced.says(
        0,
        &[
            &sync,
            "app",
            short,
            "author",
            "not recorded in the cluster",
            &url,
        ],
    );
    let as_json = json_of(&run(&case, &["trace", "configmap/shop", "-o", "json"]).await);
    assert_eq!(as_json["sync"], sync);
    case.make::<ConfigMap>(json!({"metadata": {"name": "mine", "namespace": namespace}}))
        .await;
    run(&case, &["trace", "cm/mine"])
        .await
        .says(1, &["towline does not manage this object"]);
    run(&case, &["trace", "cm/absent"])
        .await
        .says(1, &["does not exist"]);
    run(&case, &["trace", "widget/a"])
        .await
        .fails(2, &["the cluster serves no kind widget"]);
    run(&case, &["trace", "shop"])
        .await
        .fails(2, &["name a kind and an object"]);

    // A pod leads to its Deployment, and the Deployment's trouble to its pod.
    let pods = case.kubectl_as_person(&["get", "pods", "-o", "name"]).await;
    let pod = pods.trim();
    let deployment = format!("of Deployment.apps {namespace}/web");
    run(&case, &["trace", pod])
        .await
        .says(0, &[&deployment, &sync]);
    let why = run(&case, &["why", "deploy/web"]).await;
    why.says(1, &["Deployment.apps", "is not ready", "Pod ", "Way out: "]);
    run(&case, &["why", pod]).await.says(1, &["is not ready"]);
    run(&case, &["why", "cm/shop"])
        .await
        .says(1, &["is healthy, but its Sync is not ready"]);
    run(&case, &["why", "sync/all"])
        .await
        .says(1, &["waits (HealthPending)", "reasons.md#healthpending"]);
    run(&case, &["why", "repo/repo"])
        .await
        .says(0, &["is ready: fetched"]);
    run(&case, &["why", "cm/mine"])
        .await
        .says(0, &["towline does not manage it"]);
    let tree = run(&case, &["tree", "all"]).await;
    tree.says(
        0,
        &[
            "sync/all  HealthPending",
            "ConfigMap",
            "InProgress",
            "ReplicaSet.apps",
            "└─ Pod",
        ],
    );
    let tree = json_of(&run(&case, &["tree", "all", "-o", "json"]).await);
    assert_eq!(tree["objects"].as_array().unwrap().len(), 2);

    // What is refused is named with its file.
    let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n";
    case.push(
        &[("bad/wrong.yaml", Some(wrong)), ("app/web.yaml", None)],
        "wrong",
    )
    .await;
    case.sync(
        "other",
        json!({"path": "bad", "targetNamespace": namespace}),
    )
    .await;
    case.ready_becomes("other", "False", "ApplyFailed").await;
    let why = run(&case, &["why", "cm/UPPER"]).await;
    why.says(
        1,
        &[
            "UPPER (bad/wrong.yaml",
            "fails (ApplyFailed)",
            "reasons.md#applyfailed",
        ],
    );

    case.wait_for_event("ApplyFailed", &["UPPER"]).await;
    run(&case, &["events"]).await.says(
        0,
        &[
            "AGO",
            "repo/repo",
            "ChangeCommitted",
            "sync/other",
            "ApplyFailed",
        ],
    );
    let of_one = run(&case, &["events", "repo"]).await;
    assert!(
        !of_one.says(0, &["repo/repo"]).out.contains("sync/other"),
        "{of_one:#?}"
    );
    run(&case, &["history", "all"])
        .await
        .says(0, &["REVISION", short, "AUTHOR"]);
    let history = json_of(&run(&case, &["history", "all", "-o", "json"]).await);
    assert!(history["history"][0]["revision"].is_string(), "{history}");
}

/// A user who may read one namespace only sees what is there, and is told what is missing.
#[tokio::test]
async fn fewer_rights_show_less_and_say_so() {
    let case = world().await.case("cli-rights").await;
    let namespace = &case.namespace;
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let resources = "--resource=configmaps,syncs.towline.dev,gitrepositories.towline.dev";
    case.kubectl_as_person(&["create", "role", "reader", "--verb=get,list", resources])
        .await;
    case.kubectl_as_person(&[
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--user=reader",
    ])
    .await;
    let reader = case
        .world
        .cp
        .kubeconfig_as("reader", &["system:authenticated"]);
    let run = async |args: &[&str]| {
        let args = [args, &["-n", namespace]].concat();
        run_with(Some(&reader), &args).await
    };
    run(&["get"]).await.says(0, &["sync/all"]);
    run(&["wait", "--commit", &commit])
        .await
        .says(0, &["sync/all: live"]);
    let tree = run(&["tree", "all"]).await;
    tree.says(0, &["ConfigMap"]).fails(
        0,
        &["warning: you may not list configmaps in all namespaces"],
    );
    run(&["trace", "cm/a"]).await.says(0, &["all", "author"]);
    run(&["why", "cm/a"]).await.says(0, &["as Git says"]);
    run(&["trace", "secret/a"])
        .await
        .fails(2, &["you have no right to get secrets a in namespace"]);
    run(&["reconcile", "all"])
        .await
        .fails(2, &["you have no right to patch syncs.towline.dev all"]);
}

/// Runs `towline diff` in a folder.
async fn diff(case: &Case<'_>, kubeconfig: &Path, folder: &Path, args: &[&str]) -> Ran {
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
