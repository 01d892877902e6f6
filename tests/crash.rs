//! Programs are killed at different moments. Afterwards the cluster equals Git, and no object is left
//! behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;
use towline::api::{GitRepository, Sync};

use crate::newer::many;
use crate::world::verdict::named_repository_ready_becomes;
use crate::world::{Case, PATIENCE, World, applied, condition};
use towline_testing::control_plane::{Component, Options};
use towline_testing::kubeconfig::User;
use towline_testing::signing::Person;
use towline_testing::wait::{eventually, never};

const COUNT: usize = 300;

/// Waits until some objects are applied, but not all.
async fn half_way(case: &Case<'_>, value: &str) {
    let what = format!("the first objects with {value}");
    let count = eventually(&what, PATIENCE, async || {
        let count = case.maps_with(Some(value)).await;
        (count > 0).then_some(count)
    })
    .await;
    assert!(
        count < COUNT,
        "all were applied before anything could be killed"
    );
}

async fn all(case: &Case<'_>, value: &str, count: usize) {
    let what = format!("{count} objects with {value}");
    eventually(&what, PATIENCE, async || {
        let (is, with) = (
            case.maps_with(None).await,
            case.maps_with(Some(value)).await,
        );
        (is == count && with == count)
            .then_some(())
            .ok_or((is, with))
    })
    .await;
}

fn audited() -> Options {
    Options {
        audit: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_killed_operator_continues_with_the_newest_commit() {
    let mut world = World::own(audited(), &["--diff-after=1s"]).await;

    // While the operator is down, a commit deletes half of the objects that it was applying.
    let case = world.case("killed").await;
    let text = |count, value: &str| many(count, &case.namespace, value);
    case.repo
        .commit(&[("all.yaml", Some(text(COUNT, "first")))], "first");
    let fewer = text(COUNT / 2, "second");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    half_way(&case, "first").await;
    let case = case.into_parts();
    world.operator.kill();
    let second = case.1.commit(&[("all.yaml", Some(fewer))], "second");
    world.operator.restart().await;
    let case = world.resume(case).await;
    case.synced("all", &second).await;
    all(&case, "second", COUNT / 2).await;

    // The Sync is deleted while the operator is down, in the middle of an apply.
    let text = many(COUNT, &case.namespace, "third");
    case.push(&[("all.yaml", Some(&text))], "third").await;
    half_way(&case, "third").await;
    let case = case.into_parts();
    world.operator.kill();
    let case = world.resume(case).await;
    case.delete::<Sync>("all").await;
    assert!(case.maps_with(None).await > 0);
    let case = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(case).await;
    eventually("the Sync is gone", PATIENCE, async || {
        case.live::<Sync>("all").await.is_null().then_some(())
    })
    .await;
    all(&case, "third", 0).await;
}

#[tokio::test]
async fn drift_while_the_operator_is_down_is_healed_or_reported_as_the_mode_says() {
    let mut world = World::own(audited(), &["--diff-after=1s"]).await;
    let case = world.case("down").await;
    let map = |name: &str| case.map(name, "git");
    let names = ["edited", "deleted", "before"];
    let files: Vec<_> = ["correct", "report"]
        .iter()
        .flat_map(|mode| names.map(|name| format!("{mode}-{name}")))
        .map(|name| {
            (
                format!("{}/{name}.yaml", name.split_once('-').unwrap().0),
                Some(map(&name)),
            )
        })
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("correct", json!({"path": "correct"})).await;
    case.sync("report", json!({"path": "report", "mode": "Report"}))
        .await;
    case.synced("correct", &commit).await;
    case.synced("report", &commit).await;
    case.patch::<ConfigMap>("report-before", json!({"data": {"value": "person"}}))
        .await;
    case.ready_becomes("report", "False", "DriftFound").await;
    // The diff is reported once, after the configured time.
    case.wait_for_event("Diff", &["report-before", "was changed by person"])
        .await;

    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for mode in ["correct", "report"] {
        let edit = json!({"data": {"value": "person"}});
        case.patch::<ConfigMap>(&format!("{mode}-edited"), edit)
            .await;
        case.delete::<ConfigMap>(&format!("{mode}-deleted")).await;
    }
    let parts = case.into_parts();
    // The restarted operator reports a diff only after one hour.
    world.operator.restart_with(&["--diff-after=1h"]).await;
    let case = world.resume(parts).await;
    case.has("correct-edited", "value", Some("git")).await;
    case.has("correct-deleted", "value", Some("git")).await;
    case.wait_for_event("DriftCorrected", &["correct-edited", "person"])
        .await;
    let sync = case
        .until("report", "three objects drifted", |sync| {
            let objects = sync.status.as_ref().and_then(|status| status.objects);
            objects.unwrap_or_default().drifted == 3
        })
        .await;
    let message = condition(&sync, "Drifted").2;
    assert!(
        message.contains("report-edited was changed by person"),
        "{message}"
    );
    case.has("report-edited", "value", Some("person")).await;
    case.has("report-before", "value", Some("person")).await;
    case.has("report-deleted", "value", None).await;
    let mut told = case.events("Diff").await;
    // An object that takes long to become ready for the first time is reported, too. That is not drift.
    told.retain(|note| note.contains(" was changed") || note.contains(" was deleted"));
    assert_eq!(told.len(), 1, "{told:?}");

    case.patch::<Sync>("report", json!({"spec": {"mode": "Correct"}}))
        .await;
    for name in names {
        case.has(&format!("report-{name}"), "value", Some("git"))
            .await;
    }
}

/// The newest revision is refused, or waits, for each Sync for another reason. A new process has no target, and goes on
/// with what was live.
#[tokio::test]
async fn what_was_live_is_kept_as_it_is_after_a_restart_while_the_newest_revision_is_held_up() {
    let mut world = World::own(audited(), &[]).await;
    let case = world.case("held-up").await;
    let names = ["refused", "rejected", "waiting", "moved"];
    let map = |name: &str| Some(case.map(name, "git"));
    let mut files: Vec<_> = names
        .iter()
        .map(|name| (format!("{name}/{name}.yaml"), map(name)))
        .collect();
    files.push(("base/base.yaml".to_owned(), map("base")));
    // What a commit renames is not deleted while another commit is held up.
    files.push(("refused/old.yaml".to_owned(), map("old")));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("base", json!({"path": "base"})).await;
    let specs = [
        json!({"path": "refused", "prune": true}),
        json!({"path": "rejected", "validate": true}),
        json!({"path": "waiting", "dependsOn": [{"name": "base"}]}),
        json!({"path": "moved"}),
    ];
    for (name, spec) in names.iter().zip(specs) {
        case.sync(name, spec).await;
        case.synced(name, &first).await;
    }
    let bad = "kind: [";
    let invalid = case.map("Not_A_Name", "git");
    let second = [
        ("base/base.yaml", Some(bad)),
        ("refused/old.yaml", None),
        ("refused/refused.yaml", Some(bad)),
        ("rejected/more.yaml", Some(&invalid)),
        ("moved/moved.yaml", Some(bad)),
    ];
    case.push(&second, "second").await;
    let reasons = [
        "InvalidManifest",
        "ValidationFailed",
        "DependencyNotReady",
        "InvalidManifest",
    ];
    for (name, reason) in names.iter().zip(reasons) {
        let message = case.ready_becomes(name, "False", reason).await;
        assert!(message.ends_with("stays live"), "{name}: {message}");
    }
    // With this path, the revision that was live asks for something else.
    case.patch::<Sync>("moved", json!({"spec": {"path": "base"}}))
        .await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for name in names {
        let edit = json!({"data": {"value": "person"}});
        case.patch::<ConfigMap>(name, edit).await;
    }
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    for (name, reason) in names[..3].iter().zip(reasons) {
        case.has(name, "value", Some("git")).await;
        let message = case.ready_becomes(name, "False", reason).await;
        assert!(message.ends_with("stays live"), "{name}: {message}");
    }
    case.has("old", "value", Some("git")).await;
    let sync = case
        .until("moved", "why its drift stays", |sync| {
            let (.., message) = condition(sync, "Ready");
            message.contains("its drift is not corrected: towline was started meanwhile")
        })
        .await;
    assert_eq!(applied(&sync), format!("main@sha1:{first}"));
    case.has("moved", "value", Some("person")).await;
    case.patch::<Sync>("moved", json!({"spec": {"path": "moved"}}))
        .await;
    case.has("moved", "value", Some("git")).await;

    // Whoever mends Git is not held up by it.
    let map = |name: &str| Some(case.map(name, "git"));
    let mended =
        ["base", "refused", "moved"].map(|name| (format!("{name}/{name}.yaml"), map(name)));
    let mended = mended.iter().map(|(path, text)| (&**path, text.as_deref()));
    let mended: Vec<_> = mended.chain([("rejected/more.yaml", None)]).collect();
    let third = case.push(&mended, "third").await;
    for name in names {
        case.synced(name, &third).await;
    }
    case.has("old", "value", None).await;
}

/// Neither revision is live as a whole. Whether the earlier one is the target again hangs on what the last status says.
#[tokio::test]
async fn nothing_of_what_was_half_applied_goes_after_a_restart_while_the_newest_revision_is_refused()
 {
    let mut world = World::own(audited(), &[]).await;
    let case = world.case("half").await;
    let text = |count, value: &str| many(count, &case.namespace, value);
    let (first, second) = (text(COUNT, "first"), text(COUNT - 1, "second"));
    case.repo.commit(&[("all.yaml", Some(&first))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    all(&case, "first", COUNT).await;
    case.ready_becomes("all", "True", "Converged").await;
    case.push(&[("all.yaml", Some(&second))], "second").await;
    half_way(&case, "second").await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    case.repo.commit(&[("all.yaml", Some("kind: ["))], "third");
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.ready_becomes("all", "False", "InvalidManifest").await;
    never("an object goes", Duration::from_secs(3), async || {
        let count = case.maps_with(None).await;
        (count != COUNT).then_some(count)
    })
    .await;
    case.push(&[("all.yaml", Some(&second))], "fourth").await;
    all(&case, "second", COUNT - 1).await;
}

/// What was live is kept where the repository gives nothing newer, too: nobody asks it, the ref is gone, or its commit is not signed.
#[tokio::test]
async fn what_was_live_is_kept_as_it_is_after_a_restart_while_its_repository_gives_nothing_newer() {
    let mut world = World::own(audited(), &[]).await;
    let case = world.case("nothing-newer").await;
    let ann = Person::with_ssh("ann@example.com");
    let signers =
        json!({"metadata": {"name": "signers"}, "stringData": {"allowed_signers": ann.public}});
    case.make::<Secret>(signers).await;
    let names = ["suspended", "gone", "unsigned"];
    let files = names.map(|name| (format!("{name}/{name}.yaml"), case.map(name, "git")));
    let files = files.iter().map(|(path, text)| (&**path, Some(&**text)));
    let first = ann.commit(&case.repo, &files.collect::<Vec<_>>(), "first");
    case.repo.update_ref("refs/heads/feature", &first);
    let specs = [
        json!({}),
        json!({"ref": {"branch": "feature"}}),
        json!({"verify": {"secretRef": {"name": "signers"}}}),
    ];
    for (name, mut spec) in names.into_iter().zip(specs) {
        spec["sync"] = json!({"path": name, "prune": true});
        case.repository_named(name, spec).await;
        case.synced(name, &first).await;
    }
    let suspended = json!({"spec": {"suspend": true}});
    case.patch::<GitRepository>("suspended", suspended).await;
    named_repository_ready_becomes(&case, "suspended", "Unknown", "Suspended").await;
    case.repo.delete_branch("feature");
    let map = case.map("unsigned", "unsigned");
    case.repo
        .commit(&[("unsigned/unsigned.yaml", Some(map))], "second");
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for name in names {
        let edit = json!({"data": {"value": "person"}});
        case.patch::<ConfigMap>(name, edit).await;
    }
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    for name in names {
        case.has(name, "value", Some("git")).await;
    }
    for (name, status, reason) in [
        ("suspended", "Unknown", "Suspended"),
        ("gone", "False", "RefNotFound"),
        ("unsigned", "False", "VerificationFailed"),
    ] {
        let message = named_repository_ready_becomes(&case, name, status, reason).await;
        let stays = message.ends_with("stays live") || reason == "Suspended";
        assert!(stays, "{name}: {message}");
    }
    let resumed = json!({"spec": {"suspend": false}});
    case.patch::<GitRepository>("suspended", resumed).await;
    named_repository_ready_becomes(&case, "suspended", "True", "Fetched").await;

    // Nobody answers, so that the Sync says what is not done.
    let unreachable = json!({"spec": {"suspend": true, "url": "http://127.0.0.1:9/none.git"}});
    case.patch::<GitRepository>("suspended", unreachable).await;
    named_repository_ready_becomes(&case, "suspended", "Unknown", "Suspended").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let message = case
        .ready_becomes("suspended", "False", "FetchFailed")
        .await;
    let said = "stays live, and its drift is not corrected: towline was started meanwhile, and no revision can be fetched";
    assert!(
        message.contains("cannot be fetched again: ") && message.ends_with(said),
        "{message}"
    );
    let url = json!({"spec": {"url": case.repo.url()}});
    case.patch::<GitRepository>("suspended", url).await;
    case.ready_becomes("suspended", "True", "Converged").await;
}

#[tokio::test]
async fn work_continues_after_the_control_plane_restarts() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("outage").await;
    let text = |value: &str| many(COUNT, &case.namespace, value);
    let (first, second) = (text("first"), text("second"));
    case.repo.commit(&[("all.yaml", Some(first))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;

    // In the middle of an apply.
    half_way(&case, "first").await;
    let parts = case.into_parts();
    world
        .control_plane_mut()
        .restart(Component::ApiServer)
        .await;
    let case = world.resume(parts).await;
    all(&case, "first", COUNT).await;
    case.ready_becomes("all", "True", "Converged").await;

    // While idle: a change at the moment when the server is back is corrected.
    let mut parts = case.into_parts();
    for component in [Component::ApiServer, Component::Etcd] {
        world.control_plane_mut().restart(component).await;
        let case = world.resume(parts).await;
        let client = world.cp.client_for(User::Person).await;
        let maps: kube::Api<ConfigMap> = kube::Api::namespaced(client, &case.namespace);
        let edit = kube::api::Patch::Merge(json!({"data": {"value": "person"}}));
        eventually("the server takes a write", PATIENCE, async || {
            maps.patch("m1", &kube::api::PatchParams::default(), &edit)
                .await
        })
        .await;
        case.has("m1", "value", Some("first")).await;
        parts = case.into_parts();
    }

    // A new commit is applied.
    let case = world.resume(parts).await;
    let second = case.push(&[("all.yaml", Some(&second))], "second").await;
    case.synced("all", &second).await;
    all(&case, "second", COUNT).await;
}
