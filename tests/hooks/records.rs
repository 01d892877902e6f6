//! What a real Helm shows of the releases of Syncs.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use serde_json::{Value, json};
use towline::api::Sync;

use super::{begin, push, release, script, values};
use crate::tenants::{ALL, grant};
use crate::world::{Case, PATIENCE, condition, world};
use towline_testing::helm::Helm;
use towline_testing::wait::eventually;

/// Both versions of Helm with the world's cluster.
async fn helms(case: &Case<'_>) -> [Helm; 2] {
    let config = case.world.cp.kubeconfig_path();
    [Helm::three(&config).await, Helm::of(&config).await]
}

async fn asked(helm: &Helm, case: &Case<'_>, args: &[&str]) -> String {
    let place = ["--namespace", &case.namespace];
    helm.run(&[args, &place[..]].concat()).await
}

async fn json_of(helm: &Helm, case: &Case<'_>, args: &[&str]) -> Value {
    let text = asked(helm, case, &[args, &["--output=json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text}"))
}

/// Revision and status of each entry of `helm history`.
async fn history(helm: &Helm, case: &Case<'_>, release: &str) -> Vec<(u64, String)> {
    let all = json_of(helm, case, &["history", release]).await;
    let all = all.as_array().unwrap().iter();
    all.map(|entry| {
        let status = entry["status"].as_str().unwrap().to_owned();
        (entry["revision"].as_u64().unwrap(), status)
    })
    .collect()
}

/// The Secrets of all records.
async fn records(case: &Case<'_>) -> Vec<Secret> {
    let params = ListParams::default().labels("owner=helm");
    case.api::<Secret>().list(&params).await.unwrap().items
}

fn states(entries: &[(u64, &str)]) -> Vec<(u64, String)> {
    let entries = entries.iter();
    entries
        .map(|(revision, status)| (*revision, (*status).to_owned()))
        .collect()
}

pub(super) fn warnings(sync: &Sync) -> String {
    sync.status.clone().unwrap_or_default().warnings.join("\n")
}

#[tokio::test]
async fn helm_reads_the_releases_of_a_sync_as_its_own() {
    let case = world().await.case("record-read").await;
    let token =
        json!({"metadata": {"name": "given"}, "stringData": {"values.yaml": "token: hunter2\n"}});
    case.make::<Secret>(token).await;
    let notes = "Thank you for {{ .Chart.Name }}, {{ .Values.who }}. ";
    let files = [
        (
            "chart/values.yaml",
            "who: nobody\nreplicas: 1\nsize: {cpu: 1, memory: 2}\n".to_owned(),
        ),
        (
            "chart/templates/NOTES.txt",
            format!("{notes}{}", "x".repeat(3000)),
        ),
        (
            "chart/templates/hook.yaml",
            script("migrate", "pre-install,pre-upgrade", -3),
        ),
        ("chart/templates/test.yaml", script("probe", "test", 0)),
        ("chart/prod.yaml", "who: team\nsize: {cpu: 4}\n".to_owned()),
        ("chart/crds/none.yaml", String::new()),
        values("one"),
    ];
    let helm = json!({
        "valuesFiles": ["prod.yaml"],
        "valuesFrom": [{"kind": "Secret", "name": "given"}],
        "values": {"who": "all", "empty": null},
    });
    let spec = json!({"helm": helm, "commonMetadata": {"labels": {"team": "blue"}}});
    let commit = begin(&case, &files, spec).await;
    let sync = case.synced("web", &commit).await;
    assert_eq!(release(&sync).record.unwrap().version, 1);
    let both = helms(&case).await;
    for helm in &both {
        let list = json_of(helm, &case, &["list"]).await;
        let entry = &list.as_array().unwrap()[0];
        for (field, value) in [
            ("name", "web"),
            ("revision", "1"),
            ("status", "deployed"),
            ("chart", "shop-1.2.3"),
            ("namespace", &*case.namespace),
        ] {
            assert_eq!(entry[field], value, "{list}");
        }
        let given = json_of(helm, &case, &["get", "values", "web"]).await;
        let size = json!({"cpu": 4});
        assert_eq!(
            given,
            json!({"who": "all", "size": size, "token": "hunter2", "empty": null})
        );
        let all = json_of(helm, &case, &["get", "values", "--all", "web"]).await;
        assert_eq!(
            (&all["replicas"], &all["size"]["memory"]),
            (&json!(1), &json!(2))
        );
        let manifest = asked(helm, &case, &["get", "manifest", "web"]).await;
        for part in [
            "# Source: shop/templates/map.yaml",
            "value: one",
            "team: blue",
        ] {
            assert!(manifest.contains(part), "{manifest}");
        }
        assert!(!manifest.contains("migrate"), "{manifest}");
        let hooks = asked(helm, &case, &["get", "hooks", "web"]).await;
        for part in [
            "# Source: shop/templates/hook.yaml",
            "name: migrate",
            "name: probe",
        ] {
            assert!(hooks.contains(part), "{hooks}");
        }
        let notes = asked(helm, &case, &["get", "notes", "web"]).await;
        assert!(notes.contains("Thank you for shop, all. xxx"), "{notes}");
        let metadata = json_of(helm, &case, &["get", "metadata", "web"]).await;
        assert_eq!(metadata["version"], "1.2.3", "{metadata}");
        let status = asked(helm, &case, &["status", "web"]).await;
        for part in ["STATUS: deployed", "REVISION: 1"] {
            assert!(status.contains(part), "{status}");
        }
        let history = asked(helm, &case, &["history", "web"]).await;
        assert!(history.contains(&commit), "{history}");
        asked(helm, &case, &["get", "all", "web"]).await;
    }

    // Once for a content: neither a commit that changes nothing nor a verification reads or writes a record.
    let mark = case.world.cp.audit().mark();
    let elsewhere = case.push(&[("README.md", Some("x"))], "elsewhere").await;
    case.synced("web", &elsewhere).await;
    let requests = case.requests(mark).await;
    let about = requests
        .iter()
        .filter(|request| request.resource == "secrets");
    let about: Vec<_> = about.filter(|request| request.name != "given").collect();
    assert!(about.is_empty(), "{about:?}");

    let two = push(&case, &[values("two")]).await;
    case.synced("web", &two).await;
    let expected = states(&[(1, "superseded"), (2, "deployed")]);
    for helm in &both {
        assert_eq!(history(helm, &case, "web").await, expected);
        let list = json_of(helm, &case, &["list"]).await;
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!(list[0]["revision"], "2");
    }
    // A person's request brings back a record that somebody has deleted.
    case.delete::<Secret>("sh.helm.release.v1.web.v2").await;
    case.reconcile("web").await;
    assert_eq!(history(&both[1], &case, "web").await, expected);

    for value in ["three", "four", "five", "six"] {
        let commit = push(&case, &[values(value)]).await;
        case.synced("web", &commit).await;
    }
    let mut expected: Vec<_> = (2..=6)
        .map(|number| (number, "superseded".to_owned()))
        .collect();
    expected[4].1 = "deployed".to_owned();
    for helm in &both {
        assert_eq!(history(helm, &case, "web").await, expected);
    }
    // No value of a Secret is in what the Sync says of itself.
    let sync = case.live::<Sync>("web").await.to_string();
    assert!(!sync.contains("hunter2"), "{sync}");

    // Another name is another release, as in Helm.
    let renamed = json!({"spec": {"helm": {"releaseName": "site"}}});
    case.patch::<Sync>("web", renamed).await;
    eventually("only the release of the new name", PATIENCE, async || {
        let names = records(&case).await.into_iter();
        let names: Vec<_> = names.filter_map(|secret| secret.metadata.name).collect();
        match names.len() == 1 && names[0].contains(".site.v") {
            true => Ok(()),
            false => Err(names),
        }
    })
    .await;
    case.delete::<Sync>("web").await;
    eventually("the records go with the Sync", PATIENCE, async || {
        let left = records(&case).await.len();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_prevents_a_record_is_a_warning_and_no_failure() {
    let case = world().await.case("record-rights").await;
    grant(&case, "applier", ALL, "configmaps").await;
    let spec = json!({"serviceAccountName": "applier"});
    let commit = begin(&case, &[values("one")], spec).await;
    let what = "a warning names the missing right";
    let sync = case
        .until("web", what, |sync| {
            condition(sync, "Ready").0 == "True" && !warnings(sync).is_empty()
        })
        .await;
    let warning = warnings(&sync);
    for part in [
        "release web",
        "may not list Secret in namespace",
        "spec.helm.releaseRecord: false",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    case.synced("web", &commit).await;
    assert!(records(&case).await.is_empty());
    // The right comes, and a person asks.
    grant(
        &case,
        "applier",
        "get,list,create,patch,delete",
        "configmaps,secrets",
    )
    .await;
    let there = async |case: &Case<'_>| {
        eventually("the record is written", PATIENCE, async || {
            let sync = case.reconcile("web").await;
            let warning = warnings(&sync);
            match warning.is_empty() && records(case).await.len() == 1 {
                true => Ok(()),
                false => Err(warning),
            }
        })
        .await;
    };
    there(&case).await;

    // A Helm that is at work is left alone.
    let number = |number: &str, status: &str| json!({"owner": "helm", "name": "web", "version": number, "status": status});
    let pending = json!({"metadata": {"name": "sh.helm.release.v1.web.v2", "labels": number("2", "pending-upgrade")}});
    case.make::<Secret>(pending).await;
    let two = push(&case, &[values("two")]).await;
    let what = "a warning names Helm's work";
    let sync = case
        .until("web", what, |sync| {
            warnings(sync).contains("Helm is at work")
        })
        .await;
    assert!(warnings(&sync).contains("sh.helm.release.v1.web.v2"));
    case.synced("web", &two).await;
    case.delete::<Secret>("sh.helm.release.v1.web.v2").await;
    let what = "it goes on by itself";
    let sync = case
        .until("web", what, |sync| {
            let status = sync.status.clone().unwrap_or_default();
            let record = status.release.and_then(|release| release.record);
            record.is_some_and(|record| record.version == 2)
        })
        .await;
    assert_eq!(warnings(&sync), "");

    // Another Sync with a release of the same name has no record, and says so.
    let spec =
        json!({"path": "chart", "helm": {"releaseName": "web"}, "targetNamespace": case.namespace});
    case.repo.commit(
        &[
            (
                "other/Chart.yaml",
                Some("apiVersion: v2\nname: other\nversion: 1.0.0\n"),
            ),
            (
                "other/templates/a.yaml",
                Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"),
            ),
        ],
        "another chart",
    );
    case.announce().await;
    let spec = {
        let mut spec = spec;
        spec["path"] = json!("other");
        spec
    };
    case.sync("other", spec).await;
    let what = "a warning names the other Sync";
    let sync = case
        .until("other", what, |sync| {
            warnings(sync).contains("is the record of Sync")
        })
        .await;
    assert!(warnings(&sync).contains("/web"), "{}", warnings(&sync));

    // Without a wish for records there is none, and nothing is said.
    let off = json!({"path": "other", "helm": {"releaseName": "quiet", "releaseRecord": false}});
    case.delete::<Sync>("other").await;
    case.sync("quiet", off).await;
    let sync = case.ready_becomes("quiet", "True", "Converged").await;
    assert!(!sync.is_empty());
    let quiet = case.live::<Sync>("quiet").await;
    assert_eq!(quiet["status"]["release"]["record"], Value::Null);
    let names = records(&case).await.into_iter();
    let mut names = names.filter_map(|secret| secret.metadata.name);
    assert!(names.all(|name| name.contains(".web.v")));
}

#[tokio::test]
async fn helm_shows_a_release_that_has_failed() {
    let case = world().await.case("record-failed").await;
    let first = begin(&case, &[values("one")], json!({})).await;
    case.synced("web", &first).await;
    // The API server takes no key with a space.
    let bad = script("migrate", "pre-upgrade", 0).replace("run:", "\"not a key\":");
    let hook = "chart/templates/hook.yaml";
    push(&case, &[values("two"), (hook, bad)]).await;
    case.ready_becomes("web", "False", "HookFailed").await;
    let helm = &helms(&case).await[1];
    let shows = async |expected: &[(u64, &str)]| {
        let expected = states(expected);
        eventually("the history", PATIENCE, async || {
            let found = history(helm, &case, "web").await;
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    };
    shows(&[(1, "deployed"), (2, "failed")]).await;
    let status = asked(helm, &case, &["status", "web"]).await;
    for part in ["STATUS: failed", "REVISION: 2"] {
        assert!(status.contains(part), "{status}");
    }
    let history = asked(helm, &case, &["history", "web"]).await;
    assert!(history.contains("Upgrade \"web\" failed: "), "{history}");
    assert!(history.contains("pre-upgrade hook ConfigMap"), "{history}");
    case.has("live", "value", Some("one")).await;
    // Each content once, however often its hook is tried.
    case.reconcile("web").await;
    shows(&[(1, "deployed"), (2, "failed")]).await;

    let good = script("migrate", "pre-upgrade", 0);
    let third = push(&case, &[values("two"), (hook, good)]).await;
    case.synced("web", &third).await;
    shows(&[(1, "superseded"), (2, "failed"), (3, "deployed")]).await;

    // A first install that fails after it was applied has a record too, which goes with its Sync.
    let bad = script("never", "post-install", 0).replace("run:", "\"not a key\":");
    let files = [
        (
            "other/Chart.yaml",
            "apiVersion: v2\nname: other\nversion: 1.0.0\n".to_owned(),
        ),
        ("other/templates/hook.yaml", bad),
        (
            "other/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n".to_owned(),
        ),
    ];
    push(&case, &files).await;
    case.sync("other", json!({"path": "other"})).await;
    case.ready_becomes("other", "False", "HookFailed").await;
    eventually("a record of the first install", PATIENCE, async || {
        let found = json_of(helm, &case, &["list", "--failed"]).await;
        let all = found.as_array().unwrap();
        let is = |entry: &Value| entry["name"] == "other" && entry["status"] == "failed";
        all.iter().any(is).then_some(()).ok_or(found)
    })
    .await;
    case.delete::<Sync>("other").await;
    eventually("it goes with the Sync", PATIENCE, async || {
        let names = records(&case).await.into_iter();
        let mut names = names.filter_map(|secret| secret.metadata.name);
        let left = names.find(|name| name.contains(".other."));
        left.is_none().then_some(())
    })
    .await;
}

/// A release on which Helm works is not taken over until it has ended.
#[tokio::test]
async fn a_release_on_which_helm_works_is_not_taken_over() {
    let case = world().await.case("record-pending").await;
    let labels =
        json!({"owner": "helm", "name": "web", "version": "4", "status": "pending-upgrade"});
    let name = "sh.helm.release.v1.web.v4";
    case.make::<Secret>(json!({"metadata": {"name": name, "labels": labels}}))
        .await;
    let commit = begin(&case, &[values("one")], json!({})).await;
    let message = case
        .ready_becomes("web", "False", "OwnershipConflict")
        .await;
    assert!(
        message.contains(name) && message.contains("pending-upgrade"),
        "{message}"
    );
    case.has("live", "value", None).await;
    // Helm's upgrade has ended.
    let ended = json!({"metadata": {"labels": {"status": "deployed"}}});
    case.patch::<Secret>(name, ended).await;
    case.reconcile("web").await;
    let sync = case.synced("web", &commit).await;
    assert_eq!(release(&sync).record.unwrap().version, 5);
}
