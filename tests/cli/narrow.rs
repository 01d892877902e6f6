//! What commands write on a terminal: lines that fit, and everything that they write elsewhere.

use std::process::{Command, Stdio};

use serde_json::json;
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;

use super::run;
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, world};

/// Runs a command on a terminal of so many columns. `more` stands before it, as a shell takes it.
async fn on_terminal(case: &Case<'_>, columns: u32, more: &str, command: &str) -> String {
    let towline = built().display().to_string();
    let namespace = &case.namespace;
    let line = format!("stty cols {columns} rows 24; {more} {towline} {command} -n {namespace}");
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &line, "/dev/null"]);
    script
        .env("KUBECONFIG", case.world.cp.kubeconfig_for(User::Person))
        .env("TERM", "xterm");
    script.env_remove("NO_COLOR").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || script.output().unwrap());
    let output = output.await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text.replace('\r', "")
}

/// A text without spaces, ends of lines and the branches of a tree.
fn bare(text: &str) -> String {
    let is_laid_out = |c: &char| c.is_whitespace() || "├└─│".contains(*c);
    text.chars().filter(|c| !is_laid_out(c)).collect()
}

#[tokio::test]
async fn a_narrow_terminal_shows_everything() {
    let case = world().await.case("cli-narrow").await;
    case.repository(json!({})).await;
    case.sync("a-sync-with-a-long-name", json!({"path": "absent"}))
        .await;
    case.ready_becomes("a-sync-with-a-long-name", "False", "RefNotFound")
        .await;
    let narrow = on_terminal(&case, 40, "NO_COLOR=1", "get").await;
    assert!(narrow.contains("sync/a-sync-with-a-long-name"), "{narrow}");
    for line in narrow.lines() {
        assert!(
            line.chars().count() <= 40 && !line.contains('\x1b'),
            "{narrow}"
        );
    }
    let wide = on_terminal(&case, 160, "", "get").await;
    assert!(wide.contains("\x1b[31mRefNotFound\x1b[0m"), "{wide}");
    assert!(wide.lines().next().unwrap().contains("NAME"), "{wide}");
}

#[tokio::test]
async fn sentences_facts_and_trees_fit_and_are_whole() {
    let case = world().await.case("cli-narrow-words").await;
    let namespace = &case.namespace;
    let web = deployment("web", namespace, UNSCHEDULABLE);
    let map = case.map("settings", "one");
    let files = [("app/web.yaml", Some(&*web)), ("app/map.yaml", Some(&map))];
    case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "app", "wait": true})).await;
    case.ready_becomes("all", "False", "HealthPending").await;
    for (command, exit) in [
        (&["why", "deploy/web"][..], 1),
        (&["why", "sync/all"], 1),
        (&["why", "cm/settings"], 1),
        (&["trace", "deploy/web"], 0),
        (&["trace", "cm/settings"], 0),
        (&["tree", "all"], 0),
        (&["wait", "repo", "--timeout=1s"], 2),
        (&["approve", "all"], 1),
    ] {
        let whole = run(&case, command).await;
        assert_eq!(whole.code, Some(exit), "{whole:#?}");
        let narrow = on_terminal(&case, 40, "NO_COLOR=1", &command.join(" ")).await;
        for line in narrow.lines() {
            assert!(line.chars().count() <= 40, "{command:?}: {narrow}");
        }
        let whole = bare(&format!("{}{}", whole.out, whole.err));
        assert_eq!(bare(&narrow), whole, "{command:?}");
    }
}

/// The help of commands fits too, and loses nothing: whoever needs it at night has a small window beside others.
#[tokio::test]
async fn help_fits_a_narrow_terminal() {
    let case = world().await.case("cli-narrow-help").await;
    for command in [
        "--help",
        "get --help",
        "create secret git --help",
        "events --help",
        "run --help",
    ] {
        let narrow = on_terminal(&case, 40, "NO_COLOR=1", command).await;
        let wide = on_terminal(&case, 400, "NO_COLOR=1", command).await;
        // clap keeps the usage, names of options and examples on their lines.
        let is_prose = |line: &&str| {
            let is_named = line.trim_start().starts_with(['-', '<', '[']);
            !is_named
                && !line.contains("Usage:")
                && !line.contains("towline ")
                && line.contains(' ')
        };
        for line in narrow.lines().filter(is_prose) {
            let is_one_word = line.trim().split(' ').count() == 1;
            assert!(
                line.chars().count() <= 40 || is_one_word,
                "{command}: {line:?}\n{narrow}"
            );
        }
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&narrow), words(&wide), "{command}");
    }
}
