//! Tests of the harness itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use towline_testing::{
    control_plane::{Component, ControlPlane, Options},
    git::{Fault, GitServer},
    kubeconfig::User,
    kubectl::{kubectl, try_kubectl},
    operator::{Operator, OperatorOptions},
    process::{Lifetime, Process},
    repo::{Change, NewCommit, Parent, try_git},
    shared::shared,
    wait::{eventually, within},
};

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "key": "value" } }))
        .unwrap()
}

#[tokio::test]
async fn a_deployment_becomes_available_on_simulated_nodes() {
    let cp = shared().await;
    let namespace = cp.namespace("deployment").await;
    let deployments: Api<Deployment> = Api::namespaced(cp.client().await, &namespace);
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web" }] },
            },
        },
    });
    deployments
        .patch(
            "web",
            &PatchParams::apply("test"),
            &Patch::Apply(&deployment),
        )
        .await
        .unwrap();
    let kubeconfig = cp.kubeconfig_path();
    let wait = [
        "wait",
        "deployment/web",
        "--for=condition=Available",
        "--timeout=10s",
        "-n",
        &namespace,
    ];
    kubectl(&kubeconfig, &wait).await;
    let status = deployments.get("web").await.unwrap().status.unwrap();
    assert_eq!(status.available_replicas, Some(2));
}

#[tokio::test]
async fn the_audit_log_tells_users_apart() {
    let cp = shared().await;
    let namespace = cp.namespace("audit").await;
    let mark = cp.audit().mark();
    for (user, name) in [
        (User::Towline, "one"),
        (User::Towline, "two"),
        (User::Person, "three"),
    ] {
        Api::<ConfigMap>::namespaced(cp.client_for(user).await, &namespace)
            .create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    let entries = cp.audit_since(mark).await;
    let of = |user: &str| {
        let mine = |entry: &&_| -> bool {
            let entry: &towline_testing::audit::Entry = entry;
            entry.user == user && entry.namespace == namespace && entry.is_write()
        };
        entries
            .iter()
            .filter(mine)
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("towline"), ["one", "two"]);
    assert_eq!(of("person"), ["three"]);
    let entry = entries.iter().find(|entry| entry.name == "one").unwrap();
    assert_eq!(
        (entry.verb.as_str(), entry.resource.as_str()),
        ("create", "configmaps")
    );
    assert_eq!(entry.code, 201);
    assert!(entry.completed.unwrap() > entry.received);
}

#[tokio::test]
async fn an_impersonated_user_may_do_only_what_rbac_allows() {
    let cp = shared().await;
    let kubeconfig = cp.kubeconfig_as("nobody", &["guests"]);
    let error = try_kubectl(&kubeconfig, &["get", "pods"])
        .await
        .unwrap_err();
    assert!(error.contains(r#"User "nobody" cannot list"#), "{error}");
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_and_port() {
    let mut cp = ControlPlane::start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(cp.client().await, "default");
    eventually("the default namespace", TEN_SECONDS, async || {
        maps.create(&PostParams::default(), &config_map("kept"))
            .await
    })
    .await;
    for component in [Component::ApiServer, Component::Etcd] {
        cp.kill(component);
        assert!(
            within(Duration::from_millis(500), async || maps.get("kept").await)
                .await
                .is_err(),
            "{component:?} is down"
        );
        cp.restart(component).await;
        eventually("the data", TEN_SECONDS, async || maps.get("kept").await).await;
    }
}

#[tokio::test]
async fn a_panic_ends_the_programs_and_removes_their_folder() {
    let cp = ControlPlane::start(Options::default()).await;
    let folder = cp.folder().to_owned();
    let pids: Vec<u32> = cp.pids().into_values().collect();
    assert!(pids.iter().all(|pid| is_running(*pid)));
    let panic = tokio::spawn(async move {
        assert!(cp.pids().is_empty(), "on purpose");
    });
    assert!(panic.await.unwrap_err().is_panic());
    assert!(!pids.iter().any(|pid| is_running(*pid)));
    assert!(!folder.exists());
}

/// The test that runs as the killed process of the test below.
const VICTIM: &str = "harness::starts_a_program_and_waits_to_be_killed";
const VICTIM_LOG: &str = "TOWLINE_TEST_VICTIM_LOG";

#[test]
#[ignore = "the test below runs it"]
fn starts_a_program_and_waits_to_be_killed() {
    let Ok(log) = std::env::var(VICTIM_LOG) else {
        return;
    };
    let script = ["-c", "echo $$; exec sleep 600"];
    let _child = Process::spawn(
        "sleeper",
        Path::new("sh"),
        script,
        &[],
        Path::new(&log),
        Lifetime::Ours,
    );
    std::thread::sleep(Duration::from_secs(600));
}

#[tokio::test]
async fn a_program_ends_with_a_process_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", VICTIM])
        .env(VICTIM_LOG, &log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid: u32 = eventually("the program's id", TEN_SECONDS, async || {
        fs::read_to_string(&log).ok()?.trim().parse().ok()
    })
    .await;
    assert!(is_running(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("its end", TEN_SECONDS, async || {
        (!is_running(pid)).then_some(())
    })
    .await;
}

#[test]
fn a_program_that_is_kept_goes_on_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let sleep = Path::new("sleep");
    let child = Process::spawn("sleeper", sleep, ["600"], &[], &log, Lifetime::Kept).unwrap();
    let pid = child.pid();
    drop(child);
    let goes_on = is_running(pid);
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert!(goes_on);
}

/// Whether the process exists and is not a zombie. The command line would not show that: it is also empty
/// during an exec.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain parentheses.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Logs its address, as the operator does, and runs until SIGTERM.
const FAKE_OPERATOR: &str = r#"#!/bin/sh
trap 'exit 7' TERM
echo "INFO towline: listening address=127.0.0.1:$(($$ % 1000 + 1)) kubeconfig=$KUBECONFIG args=$*"
while :; do sleep 0.05; done
"#;

#[tokio::test]
async fn an_operator_is_killed_restarted_and_terminated() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("fake");
    fs::write(&program, FAKE_OPERATOR).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut operator = Operator::start(OperatorOptions {
        program: Some(program),
        kubeconfig: "some.kubeconfig".into(),
        args: vec!["--watch-namespace=one".to_owned()],
        env: Vec::new(),
        lifetime: Lifetime::Ours,
    })
    .await;
    assert!(operator.address().ip().is_loopback());
    assert!(
        operator
            .log()
            .contains("kubeconfig=some.kubeconfig args=run --listen=127.0.0.1:0")
    );
    let first = operator.pid();
    operator.kill();
    assert!(!is_running(first));
    operator.restart().await;
    assert_ne!(operator.pid(), first);
    assert_eq!(operator.log().lines().count(), 1, "only the current run's");
    assert_eq!(operator.terminate(TEN_SECONDS).code(), Some(7));
}

#[tokio::test]
async fn a_git_server_that_hangs_ends_on_drop() {
    let server = GitServer::start();
    let repo = server.repo("shop");
    repo.commit(&[("a.yaml", Some("a"))], "first");
    server.fail(Fault::Hang);
    let url = repo.url().to_owned();
    let client =
        tokio::task::spawn_blocking(move || try_git(Path::new("."), &["ls-remote", &url], &[]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!client.is_finished());
    drop(server);
    client.await.unwrap().unwrap_err();
}

#[test]
fn git_clones_and_pushes_over_http() {
    let server = GitServer::start();
    let repo = server.repo("shop");
    let first = repo.commit(
        &[("a.yaml", Some("a")), ("folder/b.yaml", Some("b"))],
        "first",
    );
    let second = repo.commit(
        &[("a.yaml", Some("changed")), ("folder/b.yaml", None)],
        "second",
    );
    assert_eq!(repo.resolve("main~1"), Some(first));

    let folder = tempfile::tempdir().unwrap();
    try_git(
        folder.path(),
        &["clone", "--quiet", repo.url(), "clone"],
        &[],
    )
    .unwrap();
    let clone = folder.path().join("clone");
    assert_eq!(fs::read_to_string(clone.join("a.yaml")).unwrap(), "changed");
    assert!(!clone.join("folder").exists());

    // Git sends a body of this size in chunks, without a length.
    fs::write(clone.join("large"), "line\n".repeat(1_000_000)).unwrap();
    for args in [
        &["add", "."][..],
        &["commit", "--quiet", "-m", "third"],
        &["push", "--quiet"],
    ] {
        try_git(
            &clone,
            &[
                &["-c", "core.compression=0", "-c", "http.postBuffer=4096"],
                args,
            ]
            .concat(),
            &[],
        )
        .unwrap();
    }
    assert_eq!(repo.resolve("main~1"), Some(second));
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.repo == "shop" && request.status == 200)
    );
}

#[test]
fn git_asks_in_compressed_bodies() {
    let server = GitServer::start();
    let other = server.repo("other");
    for content in 0..60 {
        other.commit(&[("a.yaml", Some(content.to_string()))], "one of many");
    }
    let folder = tempfile::tempdir().unwrap();
    try_git(folder.path(), &["clone", "--quiet", other.url(), "."], &[]).unwrap();
    let repo = server.repo("shop");
    let tip = repo.commit(&[("b.yaml", Some("b"))], "unrelated");
    server.take_requests();
    // The request names all 60 commits, which the server does not have, and Git compresses a request of
    // that size.
    try_git(folder.path(), &["fetch", "--quiet", repo.url()], &[]).unwrap();
    let fetched = try_git(folder.path(), &["rev-parse", "FETCH_HEAD"], &[]).unwrap();
    assert_eq!(fetched.trim(), tip);
    let requests = server.requests();
    assert!(
        requests.iter().any(|request| request.encoding == "gzip"),
        "{requests:#?}"
    );
}

#[test]
fn libgit2_fetches_shallow_and_by_commit() {
    let server = GitServer::start();
    let repo = server.repo("shop");
    let first = repo.commit(&[("a.yaml", Some("a"))], "first");
    repo.commit(&[("a.yaml", Some("changed"))], "second");
    let folder = tempfile::tempdir().unwrap();
    let local = git2::Repository::init_bare(folder.path()).unwrap();
    let fetch = |what: &str| {
        let mut options = git2::FetchOptions::new();
        options.depth(1);
        local
            .remote_anonymous(repo.url())
            .unwrap()
            .fetch(&[what], Some(&mut options), None)
    };
    fetch("refs/heads/main:refs/heads/main").unwrap();
    let tip = local
        .find_reference("refs/heads/main")
        .unwrap()
        .peel_to_commit()
        .unwrap();
    assert_eq!(tip.message(), Ok("second"));
    assert!(local.is_shallow());
    fetch(&format!("{first}:refs/heads/first")).unwrap();

    server.fail_repo("shop", Fault::Cut);
    repo.commit(&[("b.yaml", Some("b".repeat(10_000)))], "third");
    fetch("refs/heads/main:refs/heads/main").unwrap_err();
    server.fail(Fault::Status(403));
    server.heal();
    fetch("refs/heads/main:refs/heads/main").unwrap();
    server.fail(Fault::Status(403));
    let error = fetch("refs/heads/main:refs/heads/main").unwrap_err();
    assert!(error.message().contains("403"), "{error}");
}

#[test]
fn a_server_with_a_password_asks_for_it() {
    let server = GitServer::start();
    let repo = server.repo("shop");
    repo.commit(&[("a.yaml", Some("a"))], "first");
    server.allow("user", "secret");
    let here = Path::new(".");
    assert!(try_git(here, &["ls-remote", repo.url()], &[]).is_err());
    let url = repo.url().replace("http://", "http://user:secret@");
    assert!(
        try_git(here, &["ls-remote", &url], &[])
            .unwrap()
            .contains("refs/heads/main")
    );
}

#[test]
fn a_repository_takes_every_kind_of_change() {
    let server = GitServer::start();
    let repo = server.repo("shop");
    let first = repo.commit(&[("a \"b\".yaml", Some("a"))], "first");
    let second = repo.commit_with(NewCommit {
        changes: &[
            ("link", Change::Symlink("a.yaml")),
            ("run.sh", Change::Executable("#!/bin/sh\n")),
            ("module", Change::Submodule(&first)),
            ("bytes", Change::Bytes(&[0xff, 0x00])),
        ],
        time: Some(1_700_000_000),
        ..NewCommit::default()
    });
    let tree = try_git(repo.path(), &["ls-tree", "main"], &[]).unwrap();
    for mode in ["100644 blob", "120000 blob", "100755 blob", "160000 commit"] {
        assert!(tree.contains(mode), "{tree}");
    }
    let fork = repo.commit_with(NewCommit {
        parent: Parent::Commit(&first),
        ..NewCommit::default()
    });
    assert_eq!(repo.resolve("main"), Some(fork));
    repo.force_push("main", &second);
    repo.tag("v1.0.0", &first);
    repo.annotated_tag("v1.1.0", &second, "a release");
    assert_eq!(repo.resolve("v1.1.0"), Some(second));
    repo.delete_branch("main");
    assert_eq!(repo.resolve("main"), None);
}
