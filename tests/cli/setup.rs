//! Commands that set something up or check it, and the snippets for CI.

use std::fs;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use towline::api::GitRepository;
use towline::manifest::documents;
use towline_testing::hook::endpoint;
use towline_testing::in_repository;
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::scratch::Scratch;

use super::{Ran, run, run_with};
use crate::world::{Case, world};

#[tokio::test]
async fn check_tells_what_is_in_order_and_what_is_not() {
    let case = world().await.case("cli-check").await;
    // The operator of these tests runs outside of the cluster, and has no pods.
    let now = jiff::Timestamp::now();
    case.make::<Lease>(json!({
        "metadata": {"name": "lock", "labels": {"app.kubernetes.io/managed-by": "towline"}},
        "spec": {"renewTime": format!("{now:.6}"), "leaseDurationSeconds": 15},
    }))
    .await;
    let empty = run(&case, &["check"]).await;
    empty.says(
        0,
        &[
            "Kubernetes v1.",
            "clock",
            "ok",
            "you may patch syncs.towline.dev",
            "has no Sync",
        ],
    );
    let commit = case
        .repo
        .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let namespace = &case.namespace;
    let seen = format!("runs; 1 of 1 Syncs of namespace {namespace} are ready");
    run(&case, &["check"]).await.says(0, &[&seen]);
    let nobody = case
        .world
        .cp
        .kubeconfig_as("nobody", &["system:authenticated"]);
    let denied = run_with(Some(&nobody), &["check", "-n", namespace]).await;
    denied.says(
        1,
        &[
            "failed",
            "you may not list syncs.towline.dev",
            "you may not list Syncs",
        ],
    );
}

async fn data(case: &Case<'_>, name: &str) -> Value {
    let secret = case.api::<Secret>().get(name).await.unwrap();
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, value)| (key, Value::from(String::from_utf8(value.0).unwrap())))
        .collect()
}

fn shows_nothing(ran: &Ran, values: &[&str]) {
    for value in values {
        assert!(
            !ran.out.contains(value) && !ran.err.contains(value),
            "{ran:#?}"
        );
    }
}

#[tokio::test]
async fn secrets_are_checked_before_they_are_created() {
    let case = world().await.case("cli-secret").await;
    let scratch = Scratch::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let password = file("password", "hunter22\n");
    let url = "--url=https://git.example/shop.git";
    let person = case.world.cp.kubeconfig_for(User::Person);
    let absent = [
        "create",
        "secret",
        "hook",
        "it",
        "--namespace=towline-absent",
    ];
    run_with(Some(&person), &absent)
        .await
        .fails(2, &["namespace towline-absent does not exist"]);
    let create = async |kind: &str, args: &[&str]| {
        run(&case, &[&["create", "secret", kind, "it"], args].concat()).await
    };
    let half = create("git", &[url, "--password-file", &password]).await;
    half.fails(2, &["password but not username"]);
    let wrong = create(
        "git",
        &[
            "--url=ssh://git@git.example/shop.git",
            "--identity-file",
            &password,
        ],
    )
    .await;
    wrong.fails(2, &["identity"]);
    let made = create("git", &[url, "--username=ci", "--password-file", &password]).await;
    made.says(0, &["/it created"]);
    assert_eq!(
        data(&case, "it").await,
        json!({"username": "ci", "password": "hunter22"})
    );
    let again = create("git", &[url, "--username=ci", "--password-file", &password]).await;
    again.says(1, &["exists: give --replace"]);
    let replaced = create(
        "git",
        &[
            url,
            "--username=cd",
            "--password-file",
            &password,
            "--replace",
        ],
    )
    .await;
    replaced.says(0, &["replaced"]);
    assert_eq!(data(&case, "it").await["username"], "cd");
    for ran in [&half, &wrong, &made, &again, &replaced] {
        shows_nothing(ran, &["hunter22"]);
    }

    let signers = create("signers", &["--allowed-signers-file", &password]).await;
    signers.fails(2, &["allowed_signers"]);
    shows_nothing(&signers, &["hunter22"]);
    create("provider", &[])
        .await
        .fails(2, &["give at least one of"]);
    let token = file("token", "hunter33\n");
    let made = run(
        &case,
        &[
            "create",
            "secret",
            "provider",
            "chat",
            "--token-file",
            &token,
        ],
    )
    .await;
    made.says(0, &["/chat created"]);
    assert_eq!(data(&case, "chat").await, json!({"token": "hunter33"}));
    let ids = ["--app-id=1", "--app-installation-id=2"];
    create("provider", &ids)
        .await
        .fails(2, &["--app-private-key-file"]);
    let key = ["--app-private-key-file", &token];
    let text = create("provider", &[&ids[..], &key[..], &["--replace"]].concat()).await;
    text.fails(
        2,
        &["githubAppPrivateKey", "no unencrypted PEM private key"],
    );
    shows_nothing(&text, &["hunter33"]);
    let made = keygen(
        scratch.path(),
        "app",
        &["-t", "rsa", "-b", "2048", "-m", "PEM"],
    );
    let key = ["--app-private-key-file", &made];
    let app = create("provider", &[&ids[..], &key[..], &["--replace"]].concat()).await;
    app.says(0, &["/it"]);
    let private = fs::read_to_string(&made).unwrap();
    let wanted = json!({
        "githubAppID": "1", "githubAppInstallationID": "2", "githubAppPrivateKey": private.trim_end(),
    });
    assert_eq!(data(&case, "it").await, wanted);
    let login = ["--server=registry.example:5000", "--username=ci"];
    let args = ["create", "secret", "registry", "images", "--password-file"];
    let images = run(&case, &[&args[..], &[&token], &login].concat()).await;
    images.says(0, &["/images created"]);
    shows_nothing(&images, &["hunter33"]);
    let secret = case.api::<Secret>().get("images").await.unwrap();
    let kind = secret.type_.as_deref();
    assert_eq!(kind, Some("kubernetes.io/dockerconfigjson"));
    let bytes = &secret.data.unwrap_or_default()[".dockerconfigjson"].0;
    let login: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    // The last is `ci:hunter33`.
    let wanted = json!({"username": "ci", "password": "hunter33", "auth": "Y2k6aHVudGVyMzM="});
    assert_eq!(login["auths"], json!({"registry.example:5000": wanted}));
    let absent = create("hook", &["--token-file", "absent"]).await;
    absent.fails(2, &["reading absent"]);
    create("hook", &["--token-file", &file("empty", "")])
        .await
        .fails(2, &["is empty"]);
}

/// Makes a key. Returns the name of the private file.
fn keygen(folder: &Path, name: &str, args: &[&str]) -> String {
    let path = folder.join(name).display().to_string();
    let mut keygen = Command::new("ssh-keygen");
    let keygen = keygen.args(["-q", "-N", "", "-f", &path]).args(args);
    assert!(keygen.output().unwrap().status.success());
    path
}

#[tokio::test]
async fn credentials_of_git_fit_their_url() {
    let case = world().await.case("cli-secret-git").await;
    let scratch = Scratch::new().unwrap();
    let identity = keygen(scratch.path(), "id", &["-t", "ed25519"]);
    let public = fs::read_to_string(format!("{identity}.pub")).unwrap();
    let password = scratch.path().join("password").display().to_string();
    fs::write(&password, "hunter22\n").unwrap();
    let known = |hosts: &str| {
        let path = scratch.path().join(hosts.replace([',', ':'], "_"));
        fs::write(&path, format!("{hosts} {public}")).unwrap();
        path.display().to_string()
    };
    for (hosts, url, code) in [
        ("git.example", "ssh://git@git.example/shop.git", 0),
        ("git.example", "git@git.example:shop.git", 0),
        ("other.example", "ssh://git@git.example/shop.git", 2),
        ("git.example", "ssh://git@git.example:2222/shop.git", 2),
        (
            "[git.example]:2222",
            "ssh://git@git.example:2222/shop.git",
            0,
        ),
    ] {
        let known = known(hosts);
        let url = format!("--url={url}");
        let args = [
            "create",
            "secret",
            "git",
            "it",
            "--replace",
            &url,
            "--identity-file",
            &identity,
            "--known-hosts-file",
            &known,
        ];
        let ran = run(&case, &args).await;
        assert_eq!(ran.code, Some(code), "{hosts} {url}: {ran:#?}");
        let is_named = ran.err.contains("has no key for the host and port");
        assert_eq!(is_named, code == 2, "{ran:#?}");
    }
    for url in [
        "--url=https://ci:hunter22@git.example/shop.git",
        "--url=https://ci@git.example/shop.git",
    ] {
        let args = [
            "create",
            "secret",
            "git",
            "it",
            "--replace",
            url,
            "--username=ci",
            "--password-file",
            &password,
        ];
        let ran = run(&case, &args).await;
        ran.fails(2, &["which spec.url may not have"]);
        shows_nothing(&ran, &["hunter22"]);
    }
}

#[tokio::test]
async fn a_webhook_is_tried_out() {
    let case = world().await.case("cli-hook").await;
    case.repo
        .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
    case.repository(json!({})).await;
    let address = format!("http://{}/hook", endpoint(&case.world.operator));
    let test =
        async |address: &str| run(&case, &["hook", "test", "repo", "--address", address]).await;
    test(&address).await.says(1, &["has no webhook"]);
    let made = run(&case, &["create", "secret", "hook", "repo-hook"]).await;
    made.says(0, &["repo-hook created", "base64 -d"]);
    let token = data(&case, "repo-hook").await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(token.len(), 64);
    shows_nothing(&made, &[&token]);
    let webhook = json!({"spec": {"webhook": {"secretRef": {"name": "repo-hook"}}}});
    case.patch::<GitRepository>("repo", webhook).await;
    let mut last = test(&address).await;
    for _ in 0..50 {
        if last.code == Some(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        last = test(&address).await;
    }
    last.says(0, &["202 taken"]);
    shows_nothing(&last, &[&token]);
    let wrong = test(&address.replace("/hook", "/other")).await;
    wrong.says(1, &["404 refused: the path is wrong"]);
    let bare = test(address.trim_start_matches("http://")).await;
    bare.fails(2, &["begins with https:// or http://"]);
    let away = test("http://user:hunter22@127.0.0.1:1/hook").await;
    away.says(1, &["no answer"]);
    shows_nothing(&away, &["hunter22"]);
}

#[tokio::test]
async fn completion_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run_with(None, &["completion", shell]).await;
        ran.says(0, &["towline", "reconcile", "not-ready"]);
    }
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path().join("absent").display().to_string();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    for command in ["man", "crds"] {
        run_with(None, &[command, "--into", &file.display().to_string()])
            .await
            .fails(2, &["writing", "file"]);
    }
    run_with(None, &["man", "--into", &folder])
        .await
        .says(0, &[]);
    for page in ["towline", "towline-get", "towline-create-secret-git"] {
        let text = fs::read_to_string(Path::new(&folder).join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{text}");
    }
}

/// The commands of the snippets for CI, with the name of the variable that holds the commit.
fn snippets() -> Vec<(&'static str, String)> {
    let text = |name: &str| fs::read_to_string(in_repository("examples/ci").join(name)).unwrap();
    let yaml = |name: &str| documents(text(name).as_bytes()).unwrap().remove(0).value;
    let of = |value: &Value| value.as_str().unwrap().to_owned();
    let jenkins = text("Jenkinsfile");
    vec![
        (
            "GITHUB_SHA",
            of(&yaml("github.yml")["jobs"]["live"]["steps"][1]["run"]),
        ),
        (
            "CI_COMMIT_SHA",
            yaml("gitlab.yml")["live"]["script"]
                .as_array()
                .unwrap()
                .iter()
                .map(of)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        (
            "GIT_COMMIT",
            jenkins.split("'''").nth(1).unwrap().to_owned(),
        ),
        (
            "CIRCLE_SHA1",
            of(&yaml("circleci.yml")["jobs"]["live"]["steps"][1]["run"]["command"]),
        ),
    ]
}

#[tokio::test]
async fn the_snippets_for_ci_wait_for_their_commit() {
    let case = world().await.case("cli-ci").await;
    let good = case
        .repo
        .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"targetNamespace": case.namespace}))
        .await;
    case.synced("all", &good).await;
    let scratch = Scratch::new().unwrap();
    let clone = scratch.path().join("clone");
    let cloned = Command::new("git")
        .args(["clone", "-q", case.repo.url()])
        .arg(&clone)
        .output();
    assert!(cloned.unwrap().status.success());
    let run = async |variable: &'static str, script: String, commit: &str| {
        let folder = built().parent().unwrap().display().to_string();
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", &script])
            .current_dir(&clone)
            .env("CI_DEFAULT_BRANCH", "main")
            .env("PATH", format!("{folder}:/usr/bin:/bin"));
        shell.env("KUBECONFIG", case.world.cp.kubeconfig_for(User::Person));
        shell
            .env("TOWLINE_NAMESPACE", &case.namespace)
            .env(variable, commit);
        let output = tokio::task::spawn_blocking(move || shell.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    for (variable, script) in snippets() {
        let (code, text) = run(variable, script, &good).await;
        assert_eq!((code, &*text), (Some(0), "sync/all: live\n"), "{variable}");
    }
    let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n";
    let bad = case.push(&[("a.yaml", Some(wrong))], "wrong").await;
    for (variable, script) in snippets() {
        let (code, text) = run(variable, script, &bad).await;
        assert_eq!(code, Some(1), "{variable}: {text}");
        assert!(text.contains("UPPER"), "{text}");
    }
}

#[tokio::test]
async fn an_export_is_short_and_means_the_same() {
    let case = world().await.case("cli-export").await;
    case.kubectl_as_person(&["create", "deployment", "web", "--image=web:1", "--port=80"])
        .await;
    case.kubectl_as_person(&["expose", "deployment", "web"])
        .await;
    case.kubectl_as_person(&["create", "configmap", "m", "--from-literal=a=b"])
        .await;
    case.kubectl_as_person(&[
        "create",
        "secret",
        "generic",
        "s",
        "--from-literal=a=hunter22",
    ])
    .await;
    let exported = run(&case, &["export", "deploy/web", "svc/web", "cm/m"]).await;
    exported.says(
        0,
        &[
            "kind: Deployment",
            "image: web:1",
            "containerPort: 80",
            "kind: Service",
            "a: b",
        ],
    );
    shows_nothing(
        &exported,
        &[
            "uid",
            "status:",
            "resourceVersion",
            "dnsPolicy",
            "clusterIP",
            "terminationMessagePath",
        ],
    );
    // The API server makes of it what was there.
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("all.yaml");
    fs::write(&file, &exported.out).unwrap();
    let spec = "-o=jsonpath={.items[*].spec}";
    let before = case.kubectl_as_person(&["get", "deploy,svc", spec]).await;
    let file = file.to_str().unwrap();
    case.kubectl_as_person(&["replace", "--force", "-f", file])
        .await;
    let after = case.kubectl_as_person(&["get", "deploy,svc", spec]).await;
    let without_addresses = |text: &str| {
        let parts = text.split("\"clusterIP\"");
        parts
            .map(|part| {
                part.split_once("],")
                    .map_or(part, |(_, rest)| rest)
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(without_addresses(&after), without_addresses(&before));

    // What a person chose is no address that the cluster chose.
    for args in [
        &["service", "clusterip", "headless", "--clusterip=None"][..],
        &[
            "service",
            "nodeport",
            "chosen",
            "--tcp=80:80",
            "--node-port=31897",
        ],
        &["service", "nodeport", "allocated", "--tcp=80:80"],
        &["job", "once", "--image=web:1"],
    ] {
        case.kubectl_as_person(&[&["create"], args].concat()).await;
    }
    for (what, has, lacks) in [
        ("svc/headless", "clusterIP: None", "clusterIPs"),
        ("svc/chosen", "nodePort: 31897", "clusterIP"),
        ("svc/allocated", "type: NodePort", "nodePort:"),
        ("job/once", "restartPolicy: Never", "controller-uid"),
    ] {
        let exported = run(&case, &["export", what]).await;
        exported.says(0, &[has]);
        shows_nothing(&exported, &[lacks]);
    }

    let secret = run(&case, &["export", "secret/s", "cm/absent"]).await;
    let absent = format!("ConfigMap {}/absent does not exist", case.namespace);
    secret.fails(2, &["Secret s is left out", &absent]);
    shows_nothing(&secret, &["hunter22", "aHVudGVyMjI"]);
}
