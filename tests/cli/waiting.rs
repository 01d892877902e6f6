//! `towline wait`: for a commit to be live.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use towline::api::{GitRepository, Sync};
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::scratch::Scratch;

use super::run;
use crate::world::{condition, world};

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

    // A commit that a newer one replaced before it was fetched is known by the newer one.
    let suspended = |is: bool| json!({"spec": {"suspend": is}});
    case.patch::<GitRepository>("repo", suspended(true)).await;
    let replaced = case
        .repo
        .commit(&[("a/a.yaml", Some(&*file("a", "replaced")))], "replaced");
    let newer = case
        .repo
        .commit(&[("a/a.yaml", Some(&*file("a", "newer")))], "newer");
    let waiting = of(&replaced, "60s");
    let resumed = async {
        // The wait begins within the second.
        tokio::time::sleep(Duration::from_secs(3)).await;
        case.patch::<GitRepository>("repo", suspended(false)).await;
    };
    let (waited, _) = futures::join!(waiting, resumed);
    waited.says(0, &["sync/a: superseded by main@sha1:", &newer[..12]]);
    // The same, if the wait begins afterwards.
    let began = Instant::now();
    let asked = of(&replaced, "60s").await;
    asked.says(0, &["sync/a: superseded by main@sha1:", &newer[..12]]);
    assert!(began.elapsed() < Duration::from_secs(20), "{asked:#?}");

    // Of several commits at once, the first is known by a clone alone. One that does not exist is replaced by none.
    let skipped = case
        .repo
        .commit(&[("a/a.yaml", Some(&*file("a", "skipped")))], "skipped");
    case.repo
        .commit(&[("a/a.yaml", Some(&*file("a", "between")))], "between");
    let nowhere = "e".repeat(40);
    let waiting = of(&nowhere, "10s");
    let pushed = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let files = [("a/a.yaml", Some(&*file("a", "last")))];
        case.push(&files, "last").await
    };
    let (waited, last) = futures::join!(waiting, pushed);
    waited.says(
        3,
        &[
            "sync/a: not live",
            &last[..12],
            "nothing says that the commit came",
        ],
    );
    case.synced("a", &last).await;
    of(&skipped, "2s")
        .await
        .says(3, &["has not fetched the commit"]);
    let clone = Scratch::new().unwrap();
    let kubeconfig = case.world.cp.kubeconfig_for(User::Person);
    let in_clone = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(clone.path()).args(args);
        let output = command.env("KUBECONFIG", &kubeconfig).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    in_clone(Path::new("git"), &["clone", "-q", case.repo.url(), "."]);
    let args = ["wait", "--commit", &skipped, "-n", &case.namespace];
    let waited = in_clone(&built(), &args);
    assert!(
        waited.contains(&format!("superseded by main@sha1:{}", &last[..12])),
        "{waited}"
    );

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
