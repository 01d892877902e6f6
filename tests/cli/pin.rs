//! Back to a revision that was live, and on from there.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};
use towline_testing::control_plane::Options;
use towline_testing::repo::git;
use towline_testing::signing::Person;
use towline_testing::wait::eventually;

use super::{run, run_with};
use crate::world::{Case, PATIENCE, World, applied, condition, world};

/// A case whose Sync `all` is at the second of two commits to `apps`. The second also adds a ConfigMap.
async fn two_commits<'w>(world: &'w World, name: &str) -> (Case<'w>, [String; 2]) {
    let case = world.case(name).await;
    let good = case.map("web", "good");
    let first = case.repo.commit(&[("apps/web.yaml", Some(&good))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps"})).await;
    case.synced("all", &first).await;
    let second = case
        .push(
            &[
                ("apps/web.yaml", Some(&case.map("web", "bad"))),
                ("apps/more.yaml", Some(&case.map("more", "bad"))),
            ],
            "second",
        )
        .await;
    case.synced("all", &second).await;
    (case, [first, second])
}

fn short(commit: &str) -> String {
    format!("main@sha1:{}", &commit[..12])
}

fn pin(sync: &Sync) -> Value {
    let pin = sync.status.as_ref().map(|status| &status.pin);
    serde_json::to_value(pin).unwrap()
}

/// The annotations of a Sync whose names say that they are about a pin.
async fn annotations(case: &Case<'_>, name: &str) -> Vec<String> {
    let sync = case.api::<Sync>().get(name).await.unwrap();
    let all = sync.metadata.annotations.unwrap_or_default();
    let about = all.into_keys().filter(|key| key.contains("pin"));
    about.map(|key| key.replace("towline.dev/", "")).collect()
}

#[tokio::test]
async fn a_bad_commit_is_pinned_away_until_a_commit_brings_other_content() {
    let (case, [first, second]) = two_commits(world().await, "cli-pin").await;
    let pinned = run(&case, &["pin", "all", "--reason", "incident 8"]).await;
    let (to, away) = (short(&first), short(&second));
    pinned.says(
        0,
        &[&format!(
            "sync/all goes back to {to}: pinned by person: incident 8, until a commit brings other content than {away}\n"
        )],
    );
    case.synced("all", &first).await;
    case.has("web", "value", Some("good")).await;
    case.has("more", "value", None).await;
    let message = case.ready_becomes("all", "True", "Pinned").await;
    assert!(
        message.ends_with(&format!(
            "; pinned by person: incident 8, until a commit brings other content than main@sha1:{second}"
        )),
        "{message}"
    );
    run(&case, &["get", "all"])
        .await
        .says(0, &["Ready", &to, "pinned by person: incident 8"]);
    run(&case, &["why", "sync/all"])
        .await
        .says(0, &["is ready", "pinned by person: incident 8"]);
    run(&case, &["history", "all"])
        .await
        .says(0, &[&format!("{to} (pinned)"), &away]);
    let wait = ["wait", "--timeout=10s", "--commit"];
    run(&case, &[&wait[..], &[&second]].concat()).await.says(
        1,
        &[
            "sync/all: failed: pinned away: 1 object equals",
            "incident 8",
        ],
    );
    run(&case, &[&wait[..], &[&first]].concat())
        .await
        .says(0, &["sync/all: live"]);

    // Drift is corrected, and commits to other paths bring nothing back.
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("good")).await;
    let other = case
        .push(&[("docs/readme.md", Some("text"))], "another path")
        .await;
    let sync = case
        .until("all", "the commit was looked at", |sync| {
            pin(sync)["seen"]
                .as_str()
                .unwrap_or_default()
                .ends_with(&other)
        })
        .await;
    assert!(applied(&sync).ends_with(&first), "{:?}", sync.status);
    assert_eq!(condition(&sync, "Ready").1, "Pinned");
    run(&case, &[&wait[..], &[&other]].concat())
        .await
        .says(0, &["changed the content of no Sync"]);
    // What cannot be applied fixes nothing.
    let broken = case
        .push(&[("apps/web.yaml", Some("kind: [\n"))], "broken")
        .await;
    let sync = case
        .until("all", "a warning about the broken commit", |sync| {
            let warnings = sync.status.iter().flat_map(|status| &status.warnings);
            let mut warnings = warnings.filter(|warning| warning.contains(&broken));
            warnings.any(|warning| warning.contains("does not end the pin"))
        })
        .await;
    assert!(applied(&sync).ends_with(&first), "{:?}", sync.status);

    let fix = case
        .push(&[("apps/web.yaml", Some(&case.map("web", "fixed")))], "fix")
        .await;
    case.synced("all", &fix).await;
    case.has("web", "value", Some("fixed")).await;
    case.has("more", "value", Some("bad")).await;
    let sync = case
        .until("all", "no pin", |sync| {
            pin(sync).is_null() && condition(sync, "Ready").1 == "Converged"
        })
        .await;
    assert!(!condition(&sync, "Ready").2.contains("pinned"));
    assert_eq!(
        annotations(&case, "all").await,
        ["unpinned-at", "unpinned-by"]
    );
    let told = async |reason: &str, part: &str| {
        let what = format!("an event {reason} with {part}");
        eventually(&what, PATIENCE, async || {
            let told = case.events(reason).await;
            match told.iter().any(|note| note.contains(part)) {
                true => Ok(()),
                false => Err(told),
            }
        })
        .await;
    };
    told(
        "Pinned",
        &format!("held at main@sha1:{first}: pinned by person"),
    )
    .await;
    told(
        "Unpinned",
        &format!("towline: main@sha1:{fix} brings other content"),
    )
    .await;
    run(&case, &["unpin", "all"])
        .await
        .says(0, &["sync/all is not pinned\n"]);
}

/// It asks for what the pin held, which is live already. What is told of it is about this commit, and not about the pin.
#[tokio::test]
async fn a_revert_that_ends_a_pin_is_told_as_itself() {
    let (case, [first, _]) = two_commits(world().await, "cli-pin-revert").await;
    run(&case, &["pin", "all", "--reason", "incident 9"])
        .await
        .says(0, &["goes back to"]);
    case.synced("all", &first).await;
    let revert = case
        .push(
            &[
                ("apps/web.yaml", Some(&case.map("web", "good"))),
                ("apps/more.yaml", None),
            ],
            "revert",
        )
        .await;
    case.synced("all", &revert).await;
    let equal = format!("equals main@sha1:{revert}");
    eventually("the revert is told", PATIENCE, async || {
        let told = case.events("Converged").await;
        match told.iter().any(|note| note.contains(&equal)) {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
}

#[tokio::test]
async fn a_pin_that_holds_survives_a_restart_without_the_cache() {
    let mut own = World::own(Options::default(), &[]).await;
    let (case, [first, second]) = two_commits(&own, "pin-hold").await;
    let at = first[..9].to_owned();
    run(&case, &["pin", "sync/all", &at, "--hold"]).await.says(
        0,
        &[&short(&first), "pinned by person, until `towline unpin`"],
    );
    case.synced("all", &first).await;
    let newer = case.map("web", "newer");
    let third = case.push(&[("apps/web.yaml", Some(&newer))], "third").await;
    run(&case, &["wait", "all", "--timeout=10s", "--commit", &third])
        .await
        .says(1, &["sync/all: not waited for", "pinned by person"]);
    let parts = case.into_parts();
    own.operator.kill();
    std::fs::remove_dir_all(own.operator.cache_folder()).unwrap();
    own.operator.restart().await;
    let case = own.resume(parts).await;
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("good")).await;
    let sync = case.synced("all", &first).await;
    assert_eq!(condition(&sync, "Ready").1, "Pinned");
    assert_eq!(pin(&sync)["hold"], true);
    // Somebody pins it to the next one, and lets it go on.
    run(&case, &["pin", "all", &short(&second)])
        .await
        .says(0, &[&short(&second)]);
    case.synced("all", &third).await;
    run(&case, &["pin", "all", &first, "--hold"])
        .await
        .says(0, &[]);
    case.synced("all", &first).await;
    run(&case, &["unpin", "all"]).await.says(
        0,
        &[
            "sync/all: unpinned by person; it was held at",
            "pinned by person",
        ],
    );
    case.synced("all", &third).await;
    case.has("web", "value", Some("newer")).await;
}

#[tokio::test]
async fn only_what_was_live_can_be_returned_to() {
    let (case, [first, second]) = two_commits(world().await, "pin-foreign").await;
    let foreign = "0123456789abcdef0123456789abcdef01234567";
    run(&case, &["pin", "all", foreign])
        .await
        .fails(2, &["sync/all has had no revision", "towline history all"]);
    run(&case, &["pin", "all", "main"])
        .await
        .fails(2, &["hexadecimal"]);
    run(&case, &["pin", "all", &second])
        .await
        .fails(2, &["is at", "--hold keeps it there"]);
    run(&case, &["pin", "none"])
        .await
        .fails(2, &["Sync none does not exist"]);
    // A branch that the repository has, and the Sync never followed.
    let aside = git(
        case.repo.path(),
        &["commit-tree", "-m", "aside", &format!("{first}^{{tree}}")],
        b"",
    );
    case.repo.update_ref("refs/heads/aside", aside.trim());
    for (pin, says) in [
        (
            format!("main@sha1:{}", aside.trim()),
            "status.history of the Sync does not have it",
        ),
        (
            format!("aside@sha1:{first}"),
            "status.history of the Sync does not have it",
        ),
        (
            "main".to_owned(),
            "status.history of the Sync does not have it",
        ),
    ] {
        let annotations = json!({"metadata": {"annotations": {"towline.dev/pin": pin}}});
        case.patch::<Sync>("all", annotations).await;
        let what = format!("{pin} is refused");
        let sync = case
            .until("all", &what, |sync| {
                let (status, reason, message) = condition(sync, "Ready");
                (&*status, &*reason) == ("False", "PinRefused") && message.contains(&pin)
            })
            .await;
        let message = condition(&sync, "Ready").2;
        assert!(
            message.contains(says) && message.contains("stays live"),
            "{message}"
        );
        assert!(applied(&sync).ends_with(&second));
        assert_eq!(condition(&sync, "Stalled").0, "True");
    }
    case.has("web", "value", Some("bad")).await;
    run(&case, &["unpin", "all"])
        .await
        .says(0, &["unpinned by person"]);
    case.ready_becomes("all", "True", "Converged").await;

    // A server that sends no commit by its id, until its owner lets it.
    let allow = |allows: &str| {
        let set = ["config", "uploadpack.allowAnySHA1InWant", allows];
        git(case.repo.path(), &set, b"");
    };
    allow("false");
    run(&case, &["pin", "all"]).await.says(0, &[]);
    let sync = case
        .until("all", "the pinned commit cannot be fetched", |sync| {
            let (status, _, message) = condition(sync, "Ready");
            status == "False" && message.contains(&first) && message.contains("stays live")
        })
        .await;
    assert!(applied(&sync).ends_with(&second));
    case.has("web", "value", Some("bad")).await;
    allow("true");
    case.synced("all", &first).await;
    case.has("web", "value", Some("good")).await;
}

#[tokio::test]
async fn a_sync_that_git_declares_keeps_its_pin_and_a_suspended_one_waits() {
    let case = world().await.case("pin-child").await;
    let child = format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: child, namespace: {}}}\n\
         spec: {{sourceRef: {{name: repo}}, path: apps, prune: true}}\n",
        case.namespace
    );
    let good = case.map("web", "good");
    let first = case.repo.commit(
        &[
            ("syncs/child.yaml", Some(&*child)),
            ("apps/web.yaml", Some(&good)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("parent", json!({"path": "syncs"})).await;
    case.synced("child", &first).await;
    let bad = case.map("web", "bad");
    let second = case.push(&[("apps/web.yaml", Some(&bad))], "second").await;
    case.synced("child", &second).await;
    case.synced("parent", &second).await;

    case.patch::<Sync>("child", json!({"spec": {"suspend": true}}))
        .await;
    // The manifest does not declare the field, so it stays.
    case.ready_becomes("child", "Unknown", "Suspended").await;
    run(&case, &["pin", "child", "--reason", "incident 9"])
        .await
        .fails(
            0,
            &[
                "sync/child is suspended",
                "goes back after `towline resume child`",
            ],
        );
    case.until("child", "the pin is known", |sync| {
        condition(sync, "Ready")
            .2
            .contains("pinned by person: incident 9")
    })
    .await;
    case.has("web", "value", Some("bad")).await;
    run(&case, &["resume", "child"]).await.says(0, &[]);
    case.synced("child", &first).await;
    case.has("web", "value", Some("good")).await;

    // The whole parent is applied again.
    run(&case, &["reconcile", "parent", "--wait"])
        .await
        .says(0, &[]);
    assert!(
        annotations(&case, "child")
            .await
            .contains(&"pin".to_owned())
    );
    let sync = case.synced("child", &first).await;
    assert_eq!(condition(&sync, "Ready").1, "Pinned");

    // A revert has the content that is live already.
    let revert = case.push(&[("apps/web.yaml", Some(&good))], "revert").await;
    case.synced("child", &revert).await;
    run(
        &case,
        &["wait", "child", "--timeout=10s", "--commit", &revert],
    )
    .await
    .says(0, &[]);
    assert!(
        !annotations(&case, "child")
            .await
            .contains(&"pin".to_owned())
    );
}

#[tokio::test]
async fn a_pinned_sync_waits_for_no_dependency_and_its_dependents_wait_for_it() {
    let case = world().await.case("pin-depends").await;
    let maps = |value: &str| [case.map("base", value), case.map("app", value)];
    let commit = |[base, app]: &[String; 2], message: &str| {
        let files = [
            ("base/a.yaml", Some(base.clone())),
            ("app/a.yaml", Some(app.clone())),
        ];
        case.repo.commit(&files, message)
    };
    let first = commit(&maps("good"), "first");
    case.repository(json!({})).await;
    case.sync("base", json!({"path": "base"})).await;
    case.sync(
        "app",
        json!({"path": "app", "dependsOn": [{"name": "base"}]}),
    )
    .await;
    case.synced("app", &first).await;
    let second = commit(&maps("bad"), "second");
    case.announce().await;
    case.synced("app", &second).await;
    run(&case, &["pin", "app"]).await.says(0, &[]);
    case.synced("app", &first).await;
    run(&case, &["pin", "base"]).await.says(0, &[]);
    case.synced("base", &first).await;
    run(&case, &["unpin", "app"]).await.says(0, &[]);
    let message = case
        .ready_becomes("app", "False", "DependencyNotReady")
        .await;
    assert!(
        message.contains("base, which is pinned to another revision"),
        "{message}"
    );
    run(&case, &["unpin", "base"]).await.says(0, &[]);
    case.synced("app", &second).await;
}

#[tokio::test]
async fn a_repository_that_moves_ends_no_pin_and_rights_are_named() {
    let (case, [first, second]) = two_commits(world().await, "pin-moves").await;
    run(&case, &["pin", "all"]).await.says(0, &[]);
    case.synced("all", &first).await;
    let moved = case.world.git.repo(&format!("{}-moved", case.namespace));
    let from = case.repo.path().display().to_string();
    git(
        moved.path(),
        &["fetch", "--quiet", &from, "+refs/*:refs/*"],
        b"",
    );
    case.patch::<GitRepository>("repo", json!({"spec": {"url": moved.url()}}))
        .await;
    eventually("the repository is at its new place", PATIENCE, async || {
        let repository = case.api::<GitRepository>().get("repo").await.unwrap();
        let status = repository.status.unwrap();
        let is_there = status.observed_generation == repository.metadata.generation;
        is_there.then_some(()).ok_or(status)
    })
    .await;
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("good")).await;
    let sync = case.synced("all", &first).await;
    assert_eq!(condition(&sync, "Ready").1, "Pinned");
    assert!(pin(&sync)["away"].as_str().unwrap().ends_with(&second));

    // The brake holds a deletion that comes with the way back.
    run(&case, &["unpin", "all"]).await.says(0, &[]);
    case.synced("all", &second).await;
    case.patch::<Sync>("all", json!({"spec": {"pruneLimit": {"percent": 0}}}))
        .await;
    run(&case, &["pin", "all"]).await.says(0, &[]);
    case.ready_becomes("all", "False", "PruneHeld").await;
    case.has("web", "value", Some("good")).await;
    case.has("more", "value", Some("bad")).await;

    let cp = &case.world.cp;
    let nobody = cp.kubeconfig_as("nobody", &["system:authenticated"]);
    let args = ["pin", "all", "--namespace", &case.namespace];
    run_with(Some(&nobody), &args)
        .await
        .fails(2, &["you have no right to get syncs.towline.dev all"]);
}

#[tokio::test]
async fn a_pinned_commit_needs_a_good_signature() {
    let case = world().await.case("pin-signed").await;
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(Person::with_ssh);
    let signers = async |who: &[&Person]| {
        let lines: Vec<&str> = who.iter().map(|one| one.public.as_str()).collect();
        let data = json!({"stringData": {"allowed_signers": lines.join("\n")}});
        case.patch::<Secret>("signers", data).await;
    };
    case.make::<Secret>(json!({"metadata": {"name": "signers"}}))
        .await;
    signers(&[&ann, &bob]).await;
    let map = |value: &str| case.map("web", value);
    let first = ann.commit(&case.repo, &[("a.yaml", Some(&map("good")))], "first");
    let spec = json!({"verify": {"secretRef": {"name": "signers"}}, "sync": {"prune": true}});
    case.repository(spec).await;
    case.synced("repo", &first).await;
    let second = bob.commit(&case.repo, &[("a.yaml", Some(&map("bad")))], "second");
    case.announce().await;
    case.synced("repo", &second).await;
    // She has left.
    signers(&[&bob]).await;
    run(&case, &["pin", "repo"]).await.says(0, &[]);
    let message = case
        .ready_becomes("repo", "False", "VerificationFailed")
        .await;
    let parts = [&*ann.fingerprint, &first, "stays live", "pinned by person"];
    for part in parts {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    case.has("web", "value", Some("bad")).await;
    signers(&[&ann, &bob]).await;
    case.synced("repo", &first).await;
    case.has("web", "value", Some("good")).await;
    // Her key goes again, while her commit is live.
    signers(&[&bob]).await;
    let message = case
        .ready_becomes("repo", "False", "VerificationFailed")
        .await;
    let parts = [&*ann.fingerprint, &first, "stays live", "pinned by person"];
    for part in parts {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("good")).await;
    signers(&[&ann, &bob]).await;
    case.ready_becomes("repo", "True", "Pinned").await;
}

#[tokio::test]
async fn a_revision_of_a_former_source_says_so() {
    let (case, _) = two_commits(world().await, "pin-former").await;
    let other = case.world.git.repo(&format!("{}-other", case.namespace));
    let map = case.map("web", "other");
    let third = other.commit(&[("apps/web.yaml", Some(&map))], "third");
    case.repository_named("other", json!({"url": other.url()}))
        .await;
    case.patch::<Sync>("all", json!({"spec": {"sourceRef": {"name": "other"}}}))
        .await;
    case.synced("all", &third).await;
    run(&case, &["pin", "all"]).await.says(0, &[]);
    let sync = case
        .until("all", "the pinned revision cannot be had", |sync| {
            let (status, reason, _) = condition(sync, "Ready");
            status == "False" && reason == "RefNotFound"
        })
        .await;
    let message = condition(&sync, "Ready").2;
    for part in [
        "GitRepository other cannot give it",
        "spec.sourceRef named another GitRepository",
        "stays live",
    ] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    assert!(applied(&sync).ends_with(&third));
    case.has("web", "value", Some("other")).await;
    run(&case, &["unpin", "all"]).await.says(0, &[]);
    case.ready_becomes("all", "True", "Converged").await;
}

#[tokio::test]
async fn a_chart_of_another_repository_goes_back_and_on() {
    let world = world().await;
    let case = world.case("pin-chart").await;
    let charts = world.git.repo(&format!("{}-charts", case.namespace));
    let template = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{value: {text}}}\n"
        )
    };
    let chart = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";
    let commit = |text: &str| {
        let files = [
            ("shop/Chart.yaml", Some(chart.to_owned())),
            ("shop/templates/map.yaml", Some(template(text))),
        ];
        charts.commit(&files, text)
    };
    let announce = async || {
        let now = jiff::Timestamp::now().to_string();
        let request = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
        case.patch::<GitRepository>("charts", request).await;
    };
    let with_chart = async |commit: &str| {
        let what = format!("ready with chart {commit}");
        case.until("web", &what, |sync| {
            let chart = sync.status.as_ref().and_then(|status| status.chart.clone());
            let applied = chart.and_then(|chart| chart.last_applied_revision);
            condition(sync, "Ready").0 == "True"
                && applied.is_some_and(|applied| applied.ends_with(commit))
        })
        .await
    };
    let good = commit("good");
    case.repo
        .commit(&[("apps/readme.md", Some("values"))], "values");
    case.repository(json!({})).await;
    case.repository_named("charts", json!({"url": charts.url()}))
        .await;
    let helm = json!({"chartRef": {"name": "charts", "path": "shop"}});
    case.sync("web", json!({"path": "apps", "helm": helm}))
        .await;
    with_chart(&good).await;
    let bad = commit("bad");
    announce().await;
    with_chart(&bad).await;
    run(&case, &["pin", "web"])
        .await
        .says(0, &[&format!("with chart {}", short(&good)), &short(&bad)]);
    let sync = with_chart(&good).await;
    assert_eq!(condition(&sync, "Ready").1, "Pinned");
    case.has("web", "value", Some("good")).await;
    let fix = commit("fixed");
    announce().await;
    with_chart(&fix).await;
    case.has("web", "value", Some("fixed")).await;
    assert!(!annotations(&case, "web").await.contains(&"pin".to_owned()));
}
