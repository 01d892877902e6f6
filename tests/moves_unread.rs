//! What leaves a Sync stays while another Sync cannot say whether it wants it.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use serde_json::json;
use towline::api::{GitRepository, Sync};

use crate::moves::{a_and_b, uid, warns};
use crate::world::verdict::named_repository_ready_becomes;
use crate::world::world;
use towline_testing::wait::never;

/// What moves to a Sync that cannot read the commit stays, and so does everything else that may have moved there, until that
/// one can say what it wants. People are told which Sync it is.
#[tokio::test]
async fn into_a_sync_that_cannot_read_the_commit() {
    let case = world().await.case("moves-broken").await;
    a_and_b(&case).await;
    let map = case.map("moves", "git");
    let before = uid(&case, "moves").await;
    let broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [broken\n";
    let moved = case
        .push(
            &[
                ("a/moves.yaml", None),
                ("a/leaves.yaml", None),
                ("b/moves.yaml", Some(&*map)),
                ("b/broken.yaml", Some(broken)),
            ],
            "move",
        )
        .await;
    case.synced("a", &moved).await;
    let b = format!("{}/b", case.namespace);
    warns(&case, "a", Some(&format!("moved to Sync {b} "))).await;
    case.reconcile("a").await;
    never("an object goes", Duration::from_secs(3), async || {
        let gone = uid(&case, "moves").await != before;
        (gone || uid(&case, "leaves").await.is_null()).then_some(())
    })
    .await;
    let mended = case.push(&[("b/broken.yaml", None)], "mend").await;
    for sync in ["a", "b"] {
        case.synced(sync, &mended).await;
    }
    assert_eq!(uid(&case, "moves").await, before);
    case.has("leaves", "value", None).await;
    warns(&case, "a", None).await;
    // Nothing is waited for that does not exist.
    let files = [
        ("a/stays.yaml", None),
        ("a/own.yaml", Some(case.map("own", "git"))),
        ("b/broken.yaml", Some(broken.to_owned())),
    ];
    let third = case.repo.commit(&files, "break it again");
    case.announce().await;
    case.synced("a", &third).await;
    warns(&case, "a", Some(&b)).await;
    case.has("a-stays", "value", Some("git")).await;
    // Nothing moves to a Sync by a commit that leaves its folder as it is, though it cannot be read.
    let fourth = case
        .push(
            &[("c/later.yaml", Some(&*case.map("later", "git")))],
            "later",
        )
        .await;
    case.sync("c", json!({"path": "c"})).await;
    case.synced("c", &fourth).await;
    let files = [
        ("c/later.yaml", None),
        ("c/other.yaml", Some(case.map("other", "git"))),
    ];
    let fifth = case.repo.commit(&files, "leave c");
    case.announce().await;
    case.synced("c", &fifth).await;
    case.has("later", "value", None).await;
    warns(&case, "c", None).await;
    case.has("a-stays", "value", Some("git")).await;
    case.delete::<Sync>("b").await;
    case.has("a-stays", "value", None).await;
    case.has("moves", "value", None).await;
    warns(&case, "a", None).await;
}

/// What was copied to Syncs that cannot be read, and leaves the first one later, stays too.
#[tokio::test]
async fn what_was_copied_before_to_a_sync_that_cannot_be_read() {
    let case = world().await.case("moves-copied").await;
    a_and_b(&case).await;
    let map = |name: &str| Some(case.map(name, "git"));
    let substitute = json!({"from": [{"kind": "Secret", "name": "none"}]});
    case.sync("c", json!({"path": "c", "substitute": substitute}))
        .await;
    let files = [
        ("b/broken.yaml", Some("kind: [".to_owned())),
        ("b/moves.yaml", map("moves")),
        ("c/leaves.yaml", map("leaves")),
    ];
    let copied = case.repo.commit(&files, "copy");
    case.announce().await;
    case.synced("a", &copied).await;
    case.ready_becomes("b", "False", "InvalidManifest").await;
    let both = async || (uid(&case, "moves").await, uid(&case, "leaves").await);
    let before = both().await;
    let files = [("a/moves.yaml", None::<String>), ("a/leaves.yaml", None)];
    let moved = case.repo.commit(&files, "the copies stay");
    case.announce().await;
    case.synced("a", &moved).await;
    for sync in ["b", "c"] {
        let name = format!("{}/{sync}", case.namespace);
        warns(&case, "a", Some(&name)).await;
    }
    assert_eq!(both().await, before);
    case.delete::<Sync>("c").await;
    let mended = case.push(&[("b/broken.yaml", None)], "mend").await;
    for sync in ["a", "b"] {
        case.synced(sync, &mended).await;
    }
    case.has("leaves", "value", None).await;
    assert_eq!(uid(&case, "moves").await, before.0);
    warns(&case, "a", None).await;
}

/// A Sync whose folder is not there, or has nothing in it, wants nothing: what leaves others does not wait for it.
#[tokio::test]
async fn a_sync_without_a_folder_or_with_an_empty_one_keeps_nothing_of_others() {
    let case = world().await.case("moves-no-folder").await;
    a_and_b(&case).await;
    case.push(&[("empty/README.md", Some("nothing yet"))], "a folder")
        .await;
    case.sync("absent", json!({"path": "absent"})).await;
    case.sync("empty", json!({"path": "empty"})).await;
    case.sync("paused", json!({"path": "nowhere", "suspend": true}))
        .await;
    case.ready_becomes("absent", "False", "PathNotFound").await;
    case.ready_becomes("empty", "False", "EmptyRender").await;
    case.ready_becomes("paused", "Unknown", "Suspended").await;
    let gone = case.push(&[("a/leaves.yaml", None)], "leave").await;
    case.synced("a", &gone).await;
    case.has("leaves", "value", None).await;
    // What moves there when it comes stays.
    let map = case.map("moves", "git");
    let before = uid(&case, "moves").await;
    let files = [("a/moves.yaml", None), ("absent/moves.yaml", Some(&*map))];
    let moved = case.push(&files, "the folder comes").await;
    for sync in ["a", "absent"] {
        case.synced(sync, &moved).await;
    }
    assert_eq!(uid(&case, "moves").await, before);
    // A Sync that loses its folder keeps what is live, and what moves away from it.
    let files = [("absent/moves.yaml", None), ("a/moves.yaml", Some(&*map))];
    let back = case.push(&files, "the folder goes").await;
    case.ready_becomes("absent", "False", "PathNotFound").await;
    assert_eq!(uid(&case, "moves").await, before);
    case.delete::<Sync>("absent").await;
    case.synced("a", &back).await;
    assert_eq!(uid(&case, "moves").await, before);
}

/// Two GitRepositories of one URL. What moves to a Sync of the other one stays, although that Sync cannot read the commit.
#[tokio::test]
async fn into_a_sync_of_another_resource_that_cannot_read_the_commit() {
    let case = world().await.case("moves-elsewhere").await;
    let map = |name: &str| case.map(name, "git");
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("a/moves.yaml", map("moves")),
        ("b/stays.yaml", map("b-stays")),
    ];
    let files = files.map(|(path, text)| (path, Some(text)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.repository_named("other", json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.sync("b", json!({"path": "b", "sourceRef": {"name": "other"}}))
        .await;
    for sync in ["a", "b"] {
        case.synced(sync, &first).await;
    }
    let before = uid(&case, "moves").await;
    let files = [
        ("a/moves.yaml", None),
        ("b/moves.yaml", Some(map("moves"))),
        ("b/broken.yaml", Some("kind: [".to_owned())),
    ];
    let moved = case.repo.commit(&files, "move");
    // Nobody tells the other one: this Sync does.
    case.announce().await;
    case.synced("a", &moved).await;
    let b = format!("moved to Sync {}/b ", case.namespace);
    warns(&case, "a", Some(&b)).await;
    case.reconcile("a").await;
    never("an object goes", Duration::from_secs(8), async || {
        (uid(&case, "moves").await != before).then_some(())
    })
    .await;
    let mended = case
        .repo
        .commit(&[("b/broken.yaml", None::<String>)], "mend");
    let now = json!({"metadata": {"annotations": {"towline.dev/requested-at": "now"}}});
    case.announce().await;
    case.patch::<GitRepository>("other", now).await;
    for sync in ["a", "b"] {
        case.synced(sync, &mended).await;
    }
    warns(&case, "a", None).await;
    assert_eq!(uid(&case, "moves").await, before);
}

/// A Sync gets another name in a commit that it cannot read. Nothing goes, and the commit that mends it needs no person.
#[tokio::test]
async fn into_a_sync_of_another_name_that_cannot_read_the_commit() {
    let case = world().await.case("moves-named").await;
    let named = |name: &str| {
        let name = format!(
            "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: {name}, namespace: {}}}\n",
            case.namespace
        );
        Some(format!(
            "{name}spec: {{sourceRef: {{name: repo}}, path: c, prune: true}}\n"
        ))
    };
    let files = [
        ("syncs/one.yaml", named("old")),
        ("c/kept.yaml", Some(case.map("kept", "git"))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("root", json!({"path": "syncs"})).await;
    for sync in ["old", "root"] {
        case.synced(sync, &first).await;
    }
    let before = uid(&case, "kept").await;
    let files = [
        ("syncs/one.yaml", named("new")),
        ("c/broken.yaml", Some("kind: [".to_owned())),
    ];
    case.repo.commit(&files, "another name");
    case.announce().await;
    case.ready_becomes("new", "False", "InvalidManifest").await;
    case.ready_becomes("root", "False", "PruneHeld").await;
    never("an object goes", Duration::from_secs(3), async || {
        (uid(&case, "kept").await != before).then_some(())
    })
    .await;
    let mended = case.push(&[("c/broken.yaml", None)], "mend").await;
    for sync in ["new", "root"] {
        case.synced(sync, &mended).await;
    }
    case.gone::<Sync>("old").await;
    assert_eq!(uid(&case, "kept").await, before);
}

/// What moves to a Sync that is held up at an earlier commit stays until that Sync is there, also if this takes long.
#[tokio::test]
async fn into_a_sync_that_takes_long_at_an_earlier_commit() {
    let case = world().await.case("moves-slow").await;
    a_and_b(&case).await;
    let before = uid(&case, "moves").await;
    // Takes connections, and does not answer.
    let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}/", server.local_addr().unwrap());
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]});
    // They are asked one after the other, and each is given up after ten seconds.
    let webhook = |name: &str| {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": 25, "clientConfig": {"url": url}, "rules": [rule],
            "objectSelector": {"matchLabels": {"slow": case.namespace}},
        })
    };
    let webhook = json!({
        "metadata": {"name": case.namespace},
        "webhooks": [webhook("one.example.com"), webhook("two.example.com")],
    });
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(case.client.clone());
    let webhook = serde_json::from_value(webhook).unwrap();
    webhooks
        .create(&Default::default(), &webhook)
        .await
        .unwrap();
    let slow = format!("metadata:\n  labels: {{slow: {}}}\n", case.namespace);
    let slow = case.map("slow", "git").replace("metadata:\n", &slow);
    tokio::time::sleep(Duration::from_secs(2)).await;
    case.push(&[("b/slow.yaml", Some(&slow))], "it takes long")
        .await;
    let _asked = server.accept().unwrap();
    let map = case.map("moves", "git");
    let files = [("a/moves.yaml", None), ("b/moves.yaml", Some(&*map))];
    let moved = case.push(&files, "move").await;
    case.synced("a", &moved).await;
    let b = format!("moved to Sync {}/b ", case.namespace);
    warns(&case, "a", Some(&b)).await;
    webhooks
        .delete(&case.namespace, &Default::default())
        .await
        .unwrap();
    case.synced("b", &moved).await;
    warns(&case, "a", None).await;
    assert_eq!(uid(&case, "moves").await, before);
}

/// The second Sync's own GitRepository, of the same URL, is suspended. What moves there stays until that one goes on, and
/// nothing else waits for it.
#[tokio::test]
async fn into_a_sync_whose_own_repository_is_suspended() {
    let case = world().await.case("moves-paused-source").await;
    let map = |name: &str| case.map(name, "git");
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("a/moves.yaml", map("moves")),
        ("a/leaves.yaml", map("leaves")),
        ("b/stays.yaml", map("b-stays")),
    ];
    let files = files.map(|(path, text)| (path, Some(text)));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.repository_named("other", json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.sync("b", json!({"path": "b", "sourceRef": {"name": "other"}}))
        .await;
    for sync in ["a", "b"] {
        case.synced(sync, &first).await;
    }
    let before = uid(&case, "moves").await;
    let suspend = |is: bool| json!({"spec": {"suspend": is}});
    case.patch::<GitRepository>("other", suspend(true)).await;
    named_repository_ready_becomes(&case, "other", "Unknown", "Suspended").await;
    // It touches nothing of the other Sync's folder.
    let second = case.push(&[("a/leaves.yaml", None)], "leave").await;
    case.synced("a", &second).await;
    case.has("leaves", "value", None).await;
    let files = [
        ("a/moves.yaml", None),
        ("b/moves.yaml", Some(&*map("moves"))),
    ];
    let moved = case.push(&files, "move").await;
    case.synced("a", &moved).await;
    let b = format!("moved to Sync {}/b ", case.namespace);
    warns(&case, "a", Some(&b)).await;
    case.reconcile("a").await;
    never("an object goes", Duration::from_secs(8), async || {
        (uid(&case, "moves").await != before).then_some(())
    })
    .await;
    case.patch::<GitRepository>("other", suspend(false)).await;
    case.synced("b", &moved).await;
    warns(&case, "a", None).await;
    assert_eq!(uid(&case, "moves").await, before);
}
