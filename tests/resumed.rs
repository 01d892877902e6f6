//! After a restart, while the newest revision is refused: what was live is the target again only if it asks for exactly what
//! was live.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use towline::api::Sync;

use crate::world::{Case, World, condition};
use towline_testing::control_plane::Options;
use towline_testing::renderers;
use towline_testing::repo::git;

async fn edit(case: &Case<'_>, name: &str) {
    let edit = json!({"data": {"value": "person"}});
    case.patch::<ConfigMap>(name, edit).await;
}

async fn tells(case: &Case<'_>, name: &str, part: &str) {
    case.until(name, part, |sync| condition(sync, "Ready").2.contains(part))
        .await;
}

/// The spec or its inputs were changed while nobody looked, so that the same commit asks for something else.
#[tokio::test]
async fn what_was_live_is_not_the_target_where_it_asks_for_something_else_now() {
    let mut world = World::own(Options::default(), &[]).await;
    let other = world.case("resumed-other").await.namespace;
    let case = world.case("resumed").await;
    case.make::<ConfigMap>(json!({"metadata": {"name": "values"}, "data": {"VALUE": "git"}}))
        .await;
    let names = ["moved", "inputs"];
    let first = case.repo.commit(
        &[
            ("moved/moved.yaml", Some(case.map("moved", "git"))),
            ("inputs/inputs.yaml", Some(case.map("inputs", "${VALUE}"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync(
        "moved",
        json!({"path": "moved", "targetNamespace": case.namespace}),
    )
    .await;
    let substitute = json!({"from": [{"kind": "ConfigMap", "name": "values"}]});
    case.sync(
        "inputs",
        json!({"path": "inputs", "substitute": substitute}),
    )
    .await;
    for name in names {
        case.synced(name, &first).await;
    }
    let bad = "kind: [";
    let files = [
        ("moved/moved.yaml", Some(bad)),
        ("inputs/inputs.yaml", Some(bad)),
    ];
    case.push(&files, "second").await;
    for name in names {
        case.ready_becomes(name, "False", "InvalidManifest").await;
    }
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for name in names {
        edit(&case, name).await;
    }
    let target = |name: &str| json!({"spec": {"targetNamespace": name}});
    case.patch::<Sync>("moved", target(&other)).await;
    let value = |value: &str| json!({"data": {"VALUE": value}});
    case.patch::<ConfigMap>("values", value("changed")).await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    for name in names {
        tells(
            &case,
            name,
            "it asks for other objects than those that were live",
        )
        .await;
        case.has(name, "value", Some("person")).await;
    }
    let elsewhere: Api<ConfigMap> = Api::namespaced(case.client.clone(), &other);
    assert!(elsewhere.get_opt("moved").await.unwrap().is_none());
    // Each is put back, without a commit.
    case.patch::<ConfigMap>("values", value("git")).await;
    case.patch::<Sync>("moved", target(&case.namespace)).await;
    for name in names {
        case.has(name, "value", Some("git")).await;
    }
}

/// The branch was overwritten, and the server has dropped what was live.
#[tokio::test]
async fn what_was_live_is_not_asked_for_again_and_again_where_the_server_has_it_no_longer() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("resumed-gone").await;
    let map = case.map("kept", "git");
    let root = case
        .repo
        .commit(&[("README", Some("nothing to apply"))], "root");
    let first = case.repo.commit(&[("all/kept.yaml", Some(&*map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    case.synced("all", &first).await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    case.repo.force_push("main", &root);
    case.repo
        .commit(&[("all/kept.yaml", Some("kind: ["))], "second");
    git(case.repo.path(), &["prune", "--expire=now"], b"");
    assert!(case.repo.resolve(&first).is_none());
    edit(&case, "kept").await;
    let parts = case.into_parts();
    // Without its copy.
    world.operator.restart().await;
    let case = world.resume(parts).await;
    tells(&case, "all", "it cannot be read again: ").await;
    let version = async || case.live::<Sync>("all").await["metadata"]["resourceVersion"].clone();
    let before = version().await;
    let asked = || world.git.requests_of(&case.namespace).len();
    let already = asked();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(asked(), already, "the server said no");
    assert_eq!(version().await, before);
    case.has("kept", "value", Some("person")).await;
    // It is there again.
    case.repo.commit(&[("all/kept.yaml", Some(&*map))], "third");
    case.announce().await;
    case.has("kept", "value", Some("git")).await;
}

/// A base of another repository is fetched again, too, and a tag that moved meanwhile changes nothing.
#[tokio::test]
async fn what_was_live_with_a_remote_base_is_the_target_again() {
    let folder = tokio::task::spawn_blocking(renderers::folder).await;
    let renderers = format!("--renderers-dir={}", folder.unwrap().display());
    let mut world = World::own(Options::default(), &[&renderers]).await;
    let case = world.case("resumed-base").await;
    let base = world.git.repo("resumed-base-library");
    let files = |value: &str| {
        [
            (
                "kustomization.yaml",
                Some("resources: [map.yaml]\n".to_owned()),
            ),
            ("map.yaml", Some(case.map("based", value))),
        ]
    };
    let one = base.commit(&files("git"), "one");
    base.tag("v1", &one);
    let overlay = format!("resources: ['{}?ref=v1']\n", base.url());
    let path = "all/kustomization.yaml";
    let first = case.repo.commit(&[(path, Some(overlay))], "first");
    case.repository(json!({})).await;
    let spec = json!({"path": "all", "kustomize": {"remoteBases": "Pinned"}});
    case.sync("all", spec).await;
    case.synced("all", &first).await;
    case.push(&[(path, Some("resources: [none.yaml]\n"))], "second")
        .await;
    case.ready_becomes("all", "False", "RenderFailed").await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let two = base.commit(&[("map.yaml", Some(case.map("based", "two")))], "two");
    base.delete_tag("v1");
    base.tag("v1", &two);
    edit(&case, "based").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.has("based", "value", Some("git")).await;
    let message = case.ready_becomes("all", "False", "RenderFailed").await;
    assert!(message.ends_with("stays live"), "{message}");
}

/// The process ended before a status said that a later revision was being applied. The objects say it.
#[tokio::test]
async fn what_a_later_revision_has_overtaken_is_not_put_back() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("resumed-early").await;
    let files = |name: &str, value: &str| {
        let once = "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}\n";
        let map = case.map(&format!("{name}-once"), value);
        let once = map.replace("metadata:\n", once);
        [
            (
                format!("{name}/map.yaml"),
                Some(case.map(&format!("{name}-map"), value)),
            ),
            (format!("{name}/once.yaml"), Some(once)),
        ]
    };
    let both =
        |of_early: &str, of_late: &str| [files("early", of_early), files("late", of_late)].concat();
    case.repo.commit(&both("zero", "zero"), "zero");
    case.repository(json!({})).await;
    for name in ["early", "late"] {
        case.sync(name, json!({"path": name})).await;
        case.ready_becomes(name, "True", "Converged").await;
    }
    let first = case.repo.commit(&both("first", "first"), "first");
    case.announce().await;
    for name in ["early", "late"] {
        case.synced(name, &first).await;
    }
    let before = case.live::<Sync>("early").await["status"].clone();
    let second = case.repo.commit(&files("early", "second"), "second");
    case.announce().await;
    case.synced("early", &second).await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let status = kube::api::Patch::Merge(json!({"status": before}));
    let syncs = case.api::<Sync>();
    let params = kube::api::PatchParams::default();
    let written = syncs.patch_status("early", &params, &status).await;
    written.unwrap();
    let bad = [
        ("early/bad.yaml", Some("kind: [")),
        ("late/bad.yaml", Some("kind: [")),
    ];
    case.repo.commit(&bad, "third");
    edit(&case, "late-map").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    tells(
        &case,
        "early",
        "what it was applying then was not applied to its end",
    )
    .await;
    // What is made once has the digest of another revision for good.
    case.has("late-map", "value", Some("first")).await;
    case.has("late-once", "value", Some("zero")).await;
    case.has("early-map", "value", Some("second")).await;
    let mended = case
        .push(&[("early/bad.yaml", None), ("late/bad.yaml", None)], "mend")
        .await;
    for name in ["early", "late"] {
        case.synced(name, &mended).await;
    }
}

/// A Sync was suspended before the start. What leaves it goes to the Sync that wants it, as it does without a restart.
#[tokio::test]
async fn what_leaves_a_suspended_sync_is_another_ones_after_a_restart() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("resumed-paused").await;
    crate::moves::a_and_b(&case).await;
    let suspend = json!({"spec": {"suspend": true}});
    case.patch::<Sync>("a", suspend).await;
    case.ready_becomes("a", "Unknown", "Suspended").await;
    let uids = async |case: &Case<'_>| {
        let of = async |name: &str| crate::moves::uid(case, name).await;
        (of("moves").await, of("leaves").await, of("a-stays").await)
    };
    let before = uids(&case).await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let more =
        ["moves", "a-stays"].map(|name| (format!("b/{name}.yaml"), Some(case.map(name, "b"))));
    let files = [
        ("a/moves.yaml".to_owned(), None),
        ("a/leaves.yaml".to_owned(), None),
    ];
    case.repo.commit(&[&more[..], &files].concat(), "move");
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.has("moves", "value", Some("b")).await;
    // Both ask for this one, and the first one has it.
    let a = format!("{}/a-stays in b/a-stays.yaml", case.namespace);
    case.until("b", "what is not its own", |sync| {
        let (_, reason, message) = condition(sync, "Ready");
        reason == "OwnershipConflict" && message.contains(&a) && !message.contains("/moves ")
    })
    .await;
    assert_eq!(uids(&case).await, before);
    case.has("leaves", "value", Some("git")).await;
    case.repo
        .commit(&[("b/a-stays.yaml", None::<String>)], "one of the two");
    let resume = json!({"spec": {"suspend": false}});
    case.patch::<Sync>("a", resume).await;
    case.announce().await;
    case.has("leaves", "value", None).await;
    for name in ["a", "b"] {
        case.ready_becomes(name, "True", "Converged").await;
    }
    case.has("a-stays", "value", Some("git")).await;
    assert_eq!(crate::moves::uid(&case, "moves").await, before.0);
}

/// A Sync waits for a dependency, and the commit that it waits with moves an object away from it, also if that comes while
/// towline is down. The other Sync has the object at once, and nobody takes it back.
#[tokio::test]
async fn what_leaves_a_sync_that_waits_is_another_ones_at_once() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("resumed-waits").await;
    let map = |name: &str, value: &str| case_map(&case.namespace, name, value);
    let files = [
        ("a/stays.yaml", map("stays", "git")),
        ("a/one.yaml", map("one", "a")),
        ("a/two.yaml", map("two", "a")),
        ("b/own.yaml", map("own", "git")),
        ("late/late.yaml", map("late", "git")),
    ];
    let files = files.map(|(path, text)| (path, Some(text)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("late", json!({"path": "late"})).await;
    case.synced("late", &first).await;
    case.sync("a", json!({"path": "a", "dependsOn": [{"name": "late"}]}))
        .await;
    case.sync("b", json!({"path": "b"})).await;
    for name in ["a", "b"] {
        case.synced(name, &first).await;
    }
    let uids = async |case: &Case<'_>| {
        let of = async |name: &str| crate::moves::uid(case, name).await;
        (of("one").await, of("two").await, of("stays").await)
    };
    let before = uids(&case).await;
    let broken = map("late", "git").replace("\ndata:", "\ndota:");
    let files = [
        ("late/late.yaml", Some(&*broken)),
        ("a/one.yaml", None),
        ("b/one.yaml", Some(&*map("one", "b"))),
    ];
    let second = case.push(&files, "one moves").await;
    case.ready_becomes("a", "False", "DependencyNotReady").await;
    case.synced("b", &second).await;
    let stays = async |case: &Case<'_>, name: &str| {
        towline_testing::wait::never("it is taken back", Duration::from_secs(4), async || {
            let data = case.data(name).await;
            (data != Some(json!({"value": "b"}))).then_some(data)
        })
        .await;
    };
    stays(&case, "one").await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let two = case_map(&case.namespace, "two", "b");
    let files = [("a/two.yaml", None), ("b/two.yaml", Some(&*two))];
    let third = case.repo.commit(&files, "two moves");
    edit(&case, "stays").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.synced("b", &third).await;
    case.has("stays", "value", Some("git")).await;
    for name in ["one", "two"] {
        stays(&case, name).await;
    }
    case.ready_becomes("a", "False", "DependencyNotReady").await;
    let late = case_map(&case.namespace, "late", "git");
    let mended = case.push(&[("late/late.yaml", Some(&*late))], "mend").await;
    for name in ["late", "a", "b"] {
        case.synced(name, &mended).await;
    }
    assert_eq!(uids(&case).await, before);
    for name in ["one", "two"] {
        case.has(name, "value", Some("b")).await;
    }
}

fn case_map(namespace: &str, name: &str, value: &str) -> String {
    crate::world::config_map(name, namespace, value)
}

/// A Sync got another name while towline was down: a person deleted the one, and made the other. The new one may wait for a
/// dependency.
#[tokio::test]
async fn a_sync_of_another_name_has_the_objects_of_the_one_that_was_deleted_meanwhile() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("resumed-named").await;
    let names = ["one", "two"];
    let files = names.map(|name| (format!("{name}/map.yaml"), Some(case.map(name, "git"))));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    for name in names {
        case.sync(name, json!({"path": name})).await;
        case.synced(name, &first).await;
    }
    case.sync("never", json!({"path": "nowhere"})).await;
    case.ready_becomes("never", "False", "PathNotFound").await;
    let uids = async |case: &Case<'_>| {
        let of = async |name: &str| crate::moves::uid(case, name).await;
        (of("one").await, of("two").await)
    };
    let before = uids(&case).await;
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for name in names {
        case.delete::<Sync>(name).await;
    }
    case.sync("new-one", json!({"path": "one"})).await;
    let waits = json!({"path": "two", "dependsOn": [{"name": "never"}]});
    case.sync("new-two", waits).await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.synced("new-one", &first).await;
    for name in names {
        case.gone::<Sync>(name).await;
    }
    case.ready_becomes("new-two", "False", "DependencyNotReady")
        .await;
    assert_eq!(uids(&case).await, before);
    case.delete::<Sync>("never").await;
    let no_dependency = json!({"spec": {"dependsOn": []}});
    case.patch::<Sync>("new-two", no_dependency).await;
    case.synced("new-two", &first).await;
    assert_eq!(uids(&case).await, before);
}
