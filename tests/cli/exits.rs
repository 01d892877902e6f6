//! Exit codes: one meaning for all commands.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use k8s_openapi::api::core::v1::Event;
use serde_json::json;
use towline::api::Provider;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::kubeconfig::User;
use towline_testing::scratch::Scratch;

use super::run_with;
use crate::world::world;

/// Every command that asks a cluster, with a name that does not exist.
const ABSENT: [&[&str]; 21] = [
    &["get", "absent"],
    &["get", "repo/absent", "-A"],
    &["reconcile", "absent"],
    &["suspend", "absent", "--reason=test"],
    &["resume", "repo/absent"],
    &["pin", "absent"],
    &["unpin", "absent"],
    &["approve", "absent"],
    &["wait", "absent", "--timeout=1s"],
    &["trace", "cm/absent"],
    &["tree", "absent"],
    &["why", "cm/absent"],
    &["events", "absent"],
    &["events", "sync/absent", "-A"],
    &["events", "alert/absent"],
    &["events", "provider/absent"],
    &["events", "provider/absent", "-A"],
    &["history", "absent"],
    &["diff", "absent", "--root=."],
    &["export", "cm/absent"],
    &[
        "hook",
        "test",
        "absent",
        "--address=http://127.0.0.1:1/hook",
    ],
];

/// Those that have no name of something that is there.
const NAMELESS: [&[&str]; 2] = [&["check"], &["create", "secret", "hook", "made"]];

/// Those that ask no cluster.
const ALONE: [&str; 6] = ["build", "completion", "crds", "man", "run", "version"];

#[test]
fn every_command_is_in_the_table() {
    let known = ABSENT.iter().chain(&NAMELESS).map(|args| args[0]);
    let known: BTreeSet<&str> = known.chain(ALONE).collect();
    let command = towline::config::Cli::command();
    let all: BTreeSet<&str> = command
        .get_subcommands()
        .map(|one| one.get_name())
        .collect();
    assert_eq!(all, known);
}

#[tokio::test]
async fn a_question_without_an_answer_ends_with_2() {
    let case = world().await.case("cli-exits").await;
    let namespace = &*case.namespace;
    let of = async |kubeconfig: Option<&Path>, args: &[&str], namespace: &str| {
        let is_everywhere = args.contains(&"-A");
        let place = ["--namespace", namespace];
        let args = [args, if is_everywhere { &[] } else { &place[..] }].concat();
        run_with(kubeconfig, &args).await
    };
    let person = case.world.cp.kubeconfig_for(User::Person);
    let nobody = case
        .world
        .cp
        .kubeconfig_as("nobody", &["system:authenticated"]);
    let scratch = Scratch::new().unwrap();
    let away = scratch.path().join("away");
    let text = std::fs::read_to_string(&person).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    std::fs::write(&away, config.to_string()).unwrap();
    for args in ABSENT {
        of(Some(&person), args, namespace)
            .await
            .fails(2, &["absent", "does not exist"]);
    }
    for args in ABSENT.iter().chain(&NAMELESS) {
        of(None, args, namespace)
            .await
            .fails(2, &["no cluster is configured"]);
        of(Some(&away), args, namespace)
            .await
            .fails(2, &["cannot be reached"]);
        let denied = of(Some(&nobody), args, namespace).await;
        match args[0] {
            // What is missing is its answer.
            "check" => drop(denied.says(1, &["failed", "you may not list syncs"])),
            _ => denied.fails(2, &["you have no right to "]),
        }
    }
    // Of a namespace that does not exist, every list is empty.
    for args in [&["get"][..], &["get", "--not-ready"], &["events"]] {
        of(Some(&person), args, "towline-absent")
            .await
            .fails(2, &["namespace towline-absent does not exist"]);
    }
    of(Some(&person), &["check"], "towline-absent")
        .await
        .says(1, &["namespace towline-absent does not exist"]);
    // Nothing is wrong with a question that nothing answers to.
    for args in [&["get"][..], &["get", "--not-ready"], &["events"]] {
        of(Some(&person), args, namespace).await.says(
            0,
            &[match args[0] {
                "events" => "no events",
                _ => "in namespace",
            }],
        );
    }
    // What exists is shown.
    case.repository(json!({})).await;
    let some = of(Some(&person), &["get", "repo", "absent"], namespace).await;
    some.says(2, &["repo/repo"])
        .fails(2, &["absent does not exist"]);
    // Events stay when their object has gone.
    let about = json!({"apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "name": "gone", "namespace": namespace});
    let event = json!({"metadata": {"name": "gone.1"}, "reason": "Diff", "message": "was there",
        "involvedObject": about});
    case.make::<Event>(event).await;
    of(Some(&person), &["events", "gone"], namespace)
        .await
        .says(0, &["was there"]);
    // An Alert and a Provider have events too.
    for (kind, name) in [("Alert", "page"), ("Provider", "chat")] {
        let about = json!({"apiVersion": "towline.dev/v1alpha1", "kind": kind, "name": name, "namespace": namespace});
        let message = format!("about {kind}");
        let event = json!({"metadata": {"name": format!("{name}.1")}, "reason": "DeliveryFailed", "message": message,
            "involvedObject": about});
        case.make::<Event>(event).await;
        let named = format!("{}/{name}", kind.to_lowercase());
        for asked in [&*named, name] {
            let told = of(Some(&person), &["events", asked], namespace).await;
            let out = told.says(0, &[&named, &message]).out.clone();
            assert!(!out.contains("was there"), "{out}");
        }
    }
    let provider = json!({"metadata": {"name": "quiet"}, "spec": {"type": "slack", "address": "https://hooks.example/x"}});
    case.make::<Provider>(provider).await;
    for asked in ["provider/quiet", "quiet"] {
        of(Some(&person), &["events", asked], namespace)
            .await
            .says(0, &["no events of"]);
    }

    let bare = ControlPlane::start(Options::default()).await;
    let bare = bare.kubeconfig_path();
    for args in ABSENT.iter().chain(&[&["get"][..], &["events"], &["wait"]]) {
        let asked = of(Some(&bare), args, "default").await;
        match args.get(1) {
            // Every cluster serves this kind.
            Some(&"cm/absent") if args[0] != "why" => asked.fails(2, &["does not exist"]),
            _ => asked.fails(2, &["towline is not installed there", "crds/"]),
        }
    }
    of(Some(&bare), &["check"], "default")
        .await
        .says(1, &["not served: kubectl apply"]);
}

/// The operator itself finds its cluster as the commands do, and names what it cannot use.
#[tokio::test]
async fn run_names_what_it_cannot_use() {
    let case = world().await.case("cli-run").await;
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let cache = file.join("cache").display().to_string();
    let towline = case.world.cp.kubeconfig_for(User::Towline);
    let towline = towline.display().to_string();
    let started = async |args: &[&str]| {
        let listen = [
            "run",
            "--listen=127.0.0.1:0",
            "--webhook-listen=127.0.0.1:0",
            "--lease-namespace",
            &case.namespace,
            "--cache-dir",
            &cache,
        ];
        run_with(None, &[&listen[..], args].concat()).await
    };
    started(&["--log-level=nonsense"])
        .await
        .fails(2, &["\"nonsense\" is no level"]);
    started(&["--kubeconfig", &towline, "--context=absent"])
        .await
        .fails(1, &["the kubeconfig cannot be used", "absent"]);
    started(&["--kubeconfig", &towline])
        .await
        .fails(1, &["opening the cache at", &cache]);
    // As kubectl, before the command.
    let before = ["--kubeconfig", &towline, "-n", &case.namespace, "get"];
    run_with(None, &before).await.says(0, &["in namespace"]);
}
