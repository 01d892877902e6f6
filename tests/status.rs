//! Status, columns, events and labels are correct.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use towline::api::{GitRepository, Sync};

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, PATIENCE, World, condition, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::wait::eventually;

fn secret(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         stringData: {{password: hunter2}}\n"
    )
}

async fn case(name: &str) -> (Case<'static>, String) {
    let files = async |namespace: &str| {
        vec![
            (
                "apps/map.yaml".to_owned(),
                config_map("map", namespace, "git"),
            ),
            ("apps/secret.yaml".to_owned(), secret("secret", namespace)),
            ("apps/web.yaml".to_owned(), deployment("web", namespace, "")),
        ]
    };
    Case::started(
        world().await,
        name,
        files,
        json!({"path": "apps", "wait": true}),
    )
    .await
}

#[tokio::test]
async fn status_says_which_revision_is_live_since_when() {
    let (case, first) = case("status").await;
    let changed = case.map("map", "second");
    let second = case
        .push(
            &[
                ("apps/map.yaml", Some(&changed)),
                ("apps/secret.yaml", None),
            ],
            "second",
        )
        .await;
    case.synced("all", &second).await;
    let third = case.push(&[("readme.md", Some("hello"))], "third").await;
    let sync = case.synced("all", &third).await;
    let generation = sync.metadata.generation;
    let status = sync.status.unwrap();
    let revision = |commit: &str| Some(format!("main@sha1:{commit}"));
    assert_eq!(status.last_attempted_revision, revision(&third));
    assert_eq!(status.last_applied_revision, revision(&third));
    assert_eq!(status.last_changed_revision, revision(&second));
    assert_eq!(status.observed_generation, generation);
    let history: Vec<_> = status
        .history
        .iter()
        .map(|entry| {
            let counts = [entry.created, entry.changed, entry.pruned, entry.healed];
            (Some(entry.revision.clone()), counts)
        })
        .collect();
    assert_eq!(
        history,
        [
            (revision(&second), [0, 1, 1, 0]),
            (revision(&first), [3, 0, 0, 0])
        ]
    );
    let counts = serde_json::to_value(status.objects).unwrap();
    let expected = json!({
        "desired": 2, "applied": 2, "drifted": 0, "unhealthy": 0, "waiting": 0, "failed": 0,
        "leftAlone": 0,
        "unpruned": 0,
    });
    assert_eq!(counts, expected);
    let times = status.times.unwrap();
    let times = [
        times.committed,
        times.observed,
        times.applied,
        times.converged,
    ];
    let times: Vec<_> = times.into_iter().map(Option::unwrap).collect();
    assert!(times.is_sorted_by_key(|time| time.0), "{times:?}");
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect();
    let ready = ("Ready", "True", "Converged");
    let expected = [
        ready,
        ("Drifted", "False", "InSync"),
        ("Healthy", "True", "AllHealthy"),
    ];
    assert_eq!(types, expected);

    // The repository's status is written separately, and may come after the Sync's.
    eventually("the repository's revision", PATIENCE, async || {
        let repository: GitRepository = case.api().get("repo").await.unwrap();
        let seen = repository.status.unwrap().revision;
        (seen == revision(&third)).then_some(()).ok_or(seen)
    })
    .await;
    // One event for each revision that changed something, and one for each revision that was fetched.
    for (reason, count) in [("Converged", 2), ("ChangeCommitted", 3)] {
        eventually(reason, PATIENCE, async || {
            let notes = case.events(reason).await;
            (notes.len() == count).then_some(()).ok_or(notes)
        })
        .await;
    }
    case.wait_for_event("ChangeCommitted", &[&second, "second"])
        .await;
    case.wait_for_event("Converged", &[&second, "1 changed, 1 pruned"])
        .await;
}

/// The times in a Sync's status; null where there is none.
fn times(sync: &Sync) -> Value {
    let status = sync.status.as_ref().unwrap();
    serde_json::to_value(&status.times).unwrap()
}

#[tokio::test]
async fn a_revision_that_comes_back_has_its_own_times() {
    let case = world().await.case("times").await;
    let namespace = &case.namespace;
    let files = [
        ("one/a.yaml", Some(case.map("a", "one"))),
        (
            "two/web.yaml",
            Some(deployment("web", namespace, UNSCHEDULABLE)),
        ),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "one", "wait": true})).await;
    let before = times(&case.synced("all", &first).await);
    // Times are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let refused = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: x, namespace: {namespace}}}, \
         spec: {{ports: [{{port: 0}}]}}}}"
    );
    case.push(&[("one/x.yaml", Some(&refused))], "refused")
        .await;
    let refused = case
        .until("all", "the second revision is refused", |sync| {
            condition(sync, "Ready").1 == "ApplyFailed"
        })
        .await;
    assert_ne!(times(&refused)["committed"], before["committed"]);
    case.repo.force_push("main", &first);
    case.announce().await;
    let again = times(&case.synced("all", &first).await);
    assert_eq!(again["committed"], before["committed"]);
    assert!(again["applied"].is_string(), "{again}");
    assert!(again["converged"].is_string(), "{again}");

    // Other content of the same revision.
    case.patch::<Sync>("all", json!({"spec": {"path": "two"}}))
        .await;
    let pending = case
        .until("all", "the other path is applied", |sync| {
            sync.status.as_ref().unwrap().observed_generation == Some(2)
                && condition(sync, "Ready").1 == "HealthPending"
        })
        .await;
    assert_eq!(times(&pending)["converged"], Value::Null);
    assert!(times(&pending)["applied"].is_string());
}

#[tokio::test]
async fn what_a_terminal_obeys_is_shown_as_a_number() {
    let case = world().await.case("terminal").await;
    let refused = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {}}}, \
             spec: {{ports: [{{port: 0}}]}}}}",
            case.namespace
        )
    };
    let files = [
        ("\u{1b}[2Jx.yaml", Some(refused("left"))),
        ("\u{202e}lmay.yaml", Some(refused("right"))),
    ];
    case.repo.commit(&files, "one\u{202e}\u{1b}[2J");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let refused = case
        .until("all", "both are refused", |sync| {
            let status = sync.status.as_ref();
            status.is_some_and(|status| status.failures.len() == 2)
        })
        .await;
    let status = serde_json::to_string(&refused.status).unwrap();
    for name in [r"\u{1b}[2Jx.yaml", r"\u{202e}lmay.yaml"] {
        let as_json = name.replace('\\', r"\\");
        assert!(status.contains(&as_json), "{status}");
        case.wait_for_event("ApplyFailed", &[name]).await;
    }
    case.wait_for_event("ChangeCommitted", &["one"]).await;
    let mut texts = vec![status];
    for reason in ["ChangeCommitted", "ApplyFailed"] {
        texts.extend(case.events(reason).await);
    }
    for text in texts {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
}

#[tokio::test]
async fn a_slow_convergence_is_reported_once() {
    let world = World::own(Options::default(), &["--diff-after=1s"]).await;
    let case = world.case("once").await;
    let map = |value| case.map("map", value);
    case.repo
        .commit(&[("map.yaml", Some(map("first")))], "first");
    case.sync("all", json!({})).await;
    case.wait_for_event("Diff", &["does not exist"]).await;
    case.repository(json!({})).await;
    case.wait_for_event("Converged", &["1 created"]).await;
    let edit = json!({"data": {"value": "person"}});
    case.patch::<ConfigMap>("map", edit).await;
    case.wait_for_event("DriftCorrected", &["map"]).await;
    let second = map("second");
    let second = case.push(&[("map.yaml", Some(&second))], "second").await;
    case.wait_for_event("Converged", &[&second]).await;
    let told = case.events("Converged").await;
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn kubectl_waits_and_shows_what_a_person_asks_for() {
    let (case, first) = case("columns").await;
    for kind in ["syncs", "gitrepositories"] {
        case.kubectl_as_person(&[
            "wait",
            "--for=condition=Ready",
            "--all",
            kind,
            "--timeout=30s",
        ])
        .await;
    }
    let syncs = case.kubectl_as_person(&["get", "syncs"]).await;
    let repositories = case.kubectl_as_person(&["get", "gitrepositories"]).await;
    let short = format!("main@sha1:{}", &first[..12]);
    let message = format!("3 objects equal {short}");
    for (table, columns, parts) in [
        (
            syncs,
            "NAME READY REVISION OBJECTS DRIFTED STATUS AGE",
            vec!["all", "True", &message],
        ),
        (
            repositories,
            "NAME READY REVISION STATUS AGE",
            vec!["repo", "True", &short],
        ),
    ] {
        let (head, row) = table.split_once('\n').unwrap();
        assert_eq!(
            head.split_whitespace().collect::<Vec<_>>().join(" "),
            columns
        );
        assert!(
            parts.iter().all(|part| row.contains(part)),
            "{parts:?} in: {row}"
        );
        assert!(
            !row.contains(&first),
            "the whole commit is in the status: {row}"
        );
    }
}

#[tokio::test]
async fn parent_and_members_carry_the_labels_of_an_apply_set() {
    let (case, _) = case("applyset").await;
    let namespace = &case.namespace;
    let parent = format!("all.{namespace}.Sync.towline.dev");
    let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(parent));
    let id = format!("applyset-{id}-v1");
    let sync = case.live::<Sync>("all").await;
    let metadata = &sync["metadata"];
    assert_eq!(metadata["labels"]["applyset.kubernetes.io/id"], json!(id));
    let tooling = format!("towline/v{}", env!("CARGO_PKG_VERSION"));
    let annotations = |sync: &Value| sync["metadata"]["annotations"].clone();
    let marks = |kinds: &str| {
        json!({
            "applyset.kubernetes.io/tooling": tooling,
            "applyset.kubernetes.io/contains-group-kinds": kinds,
        })
    };
    assert_eq!(
        annotations(&sync),
        marks("ConfigMap,Deployment.apps,Secret")
    );
    for (kind, object) in [
        ("/ConfigMap", case.live::<ConfigMap>("map").await),
        ("/Secret", case.live::<Secret>("secret").await),
    ] {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap();
        assert_eq!(
            metadata["labels"],
            json!({"applyset.kubernetes.io/part-of": id})
        );
        let identity = format!("{namespace}/all:{kind}:{namespace}/{name}");
        assert_eq!(
            metadata["annotations"]["towline.dev/identity"],
            json!(identity)
        );
    }

    let second = case
        .push(
            &[("apps/secret.yaml", None), ("apps/web.yaml", None)],
            "fewer kinds",
        )
        .await;
    case.synced("all", &second).await;
    eventually("the kinds that are left", PATIENCE, async || {
        let mut left = annotations(&case.live::<Sync>("all").await);
        left.as_object_mut()
            .unwrap()
            .remove("towline.dev/requested-at");
        (left == marks("ConfigMap")).then_some(()).ok_or(left)
    })
    .await;
}
