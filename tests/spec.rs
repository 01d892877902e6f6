//! Options of the specs: inline Syncs, references, and the forms of manifests.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};

use crate::world::verdict::{
    assert_says, named_repository_ready_becomes, repository_ready_becomes,
};
use crate::world::{Case, PATIENCE, config_map, world};
use towline_testing::repo::{Change, NewCommit};
use towline_testing::wait::eventually;

/// Waits until the Sync `repo` is gone.
async fn child_gone(case: &Case<'_>) {
    eventually("the child Sync is gone", PATIENCE, async || {
        let child = case.api::<Sync>().get_opt("repo").await.unwrap();
        child.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_inline_sync_is_created_and_deleted_with_its_repository() {
    let case = world().await.case("inline").await;
    let file = |name: &str| Some(config_map(name, &case.namespace, "one"));
    let first = case.repo.commit(
        &[("a/a.yaml", file("a")), ("b/b.yaml", file("b"))],
        "two folders",
    );
    case.repository(json!({"sync": {"path": "a", "prune": true}}))
        .await;
    let child = case.synced("repo", &first).await;
    case.has("a", "value", Some("one")).await;
    let repository = case.api::<GitRepository>().get("repo").await.unwrap();
    let owners = child.metadata.owner_references.unwrap_or_default();
    assert_eq!(owners.len(), 1);
    assert_eq!(Some(&owners[0].uid), repository.metadata.uid.as_ref());
    assert_eq!(owners[0].controller, Some(true));

    // The child follows the spec.
    let other = json!({"spec": {"sync": {"path": "b"}}});
    case.patch::<GitRepository>("repo", other).await;
    case.has("b", "value", Some("one")).await;
    case.has("a", "value", None).await;

    // When a person deletes the child, it is created again.
    let uid = child.metadata.uid;
    case.delete::<Sync>("repo").await;
    let again = case
        .until("repo", "another child", |sync| sync.metadata.uid != uid)
        .await;
    assert!(again.metadata.owner_references.is_some());
    case.synced("repo", &first).await;
    case.has("b", "value", Some("one")).await;

    // A second deletion is undone too.
    case.delete::<Sync>("repo").await;
    let uid = again.metadata.uid;
    case.until("repo", "a third child", |sync| sync.metadata.uid != uid)
        .await;
    case.synced("repo", &first).await;

    // When the spec no longer asks for the child, the child and its objects are deleted.
    let none = json!({"spec": {"sync": null}});
    case.patch::<GitRepository>("repo", none).await;
    child_gone(&case).await;
    case.has("b", "value", None).await;

    // The child and its objects are deleted with the repository, too.
    let back = json!({"spec": {"sync": {"path": "a", "prune": true}}});
    case.patch::<GitRepository>("repo", back).await;
    case.has("a", "value", Some("one")).await;
    case.delete::<GitRepository>("repo").await;
    child_gone(&case).await;
    case.has("a", "value", None).await;
}

#[tokio::test]
async fn a_foreign_sync_of_the_same_name_is_left_alone() {
    let case = world().await.case("inline-foreign").await;
    let map = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a/a.yaml", Some(&map))], "first");
    case.sync("repo", json!({"path": "elsewhere"})).await;
    case.repository(json!({"sync": {"path": "a"}})).await;
    let message = repository_ready_becomes(&case, "False", "InvalidSpec").await;
    let name = format!("Sync {}/repo", case.namespace);
    assert_says(&message, &[&name, "does not belong to this repository"]);
    let foreign = case.api::<Sync>().get("repo").await.unwrap();
    assert_eq!(foreign.spec.settings.path, "elsewhere");
    case.delete::<Sync>("repo").await;
    case.synced("repo", &first).await;
    repository_ready_becomes(&case, "True", "Fetched").await;

    // If the API server refuses the child, the repository's condition gives the error.
    let itself = json!({"spec": {"sync": {"dependsOn": [{"name": "repo"}]}}});
    case.patch::<GitRepository>("repo", itself).await;
    let message = repository_ready_becomes(&case, "False", "InvalidSpec").await;
    assert_says(&message, &[&name, "a Sync cannot depend on itself"]);
}

#[tokio::test]
async fn manifests_in_every_form() {
    let case = world().await.case("forms").await;
    let namespace = case.namespace.as_str();
    let map = |name: &str| config_map(name, namespace, "one");
    let json = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace}, "data": {"value": "one"},
        })
    };
    let list =
        json!({"apiVersion": "v1", "kind": "List", "items": [json("list-a"), json("list-b")]});
    let typed = format!(
        "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {{name: typed, namespace: {namespace}}}\n  data: {{value: one}}\n"
    );
    let documents = format!(
        "---\n{}---\n# nothing\n---\n{}...\n",
        map("doc-a"),
        map("doc-b")
    );
    let files = [
        ("documents.yml", documents),
        ("list.yaml", list.to_string()),
        ("object.json", json("json").to_string()),
        ("typed.yaml", typed),
        ("deep/er/x.yaml", map("deep")),
        ("README.md", "# {not yaml".to_owned()),
        (".github/workflow.yaml", "on: push".to_owned()),
        ("values.yaml", "replicas: 1".to_owned()),
        ("chart/templates/x.yaml", "a: {{ .Values.x }}".to_owned()),
        (
            ".towlineignore",
            "values.yaml\n/chart/\n# a comment\n*-test.yaml\n!keep-test.yaml\n".to_owned(),
        ),
        ("broken-test.yaml", "{".to_owned()),
        ("keep-test.yaml", map("kept")),
    ];
    let mut changes: Vec<(&str, Change<'_>)> = files
        .iter()
        .map(|(path, text)| (*path, Change::Write(text)))
        .collect();
    let shared = map("linked");
    changes.push(("shared/x.yaml", Change::Write(&shared)));
    changes.push(("linked.yaml", Change::Symlink("shared/x.yaml")));
    let ignore = ("shared/.towlineignore", Change::Write("*\n"));
    changes.push(ignore);
    let commit = case.repo.commit_with(NewCommit {
        changes: &changes,
        ..NewCommit::default()
    });
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let sync = case.synced("all", &commit).await;
    let names = [
        "list-a", "list-b", "json", "typed", "doc-a", "doc-b", "deep", "kept", "linked",
    ];
    for name in names {
        case.has(name, "value", Some("one")).await;
    }
    let objects = sync.status.unwrap().objects.unwrap();
    assert_eq!(objects.desired as usize, names.len());

    // An object is removed from a list.
    let shorter = json!({"apiVersion": "v1", "kind": "List", "items": [json("list-b")]});
    let shorter = shorter.to_string();
    let commit = case.push(&[("list.yaml", Some(&shorter))], "shorter").await;
    case.synced("all", &commit).await;
    case.has("list-a", "value", None).await;
    case.has("list-b", "value", Some("one")).await;

    // A path may be one file.
    case.sync("one", json!({"path": "deep/er/x.yaml"})).await;
    let message = case
        .ready_becomes("one", "False", "OwnershipConflict")
        .await;
    assert_says(&message, &["in deep/er/x.yaml (document 1)"]);
}

#[tokio::test]
async fn a_tag_or_a_commit_is_followed() {
    let case = world().await.case("refs").await;
    let commit = |value| {
        let map = config_map("x", &case.namespace, value);
        case.repo.commit(&[("x.yaml", Some(map))], value)
    };
    let (one, two, three) = (commit("one"), commit("two"), commit("three"));
    case.repo.tag("v1", &one);
    case.repo.annotated_tag("v2", &two, "the second");
    let only = |reference: serde_json::Value| json!({"spec": {"ref": reference}});
    case.repository(json!({"ref": {"tag": "v1"}})).await;
    case.sync("all", json!({})).await;
    let sync = case.synced("all", &one).await;
    let revision = format!("v1@sha1:{one}");
    assert_eq!(sync.status.unwrap().last_applied_revision, Some(revision));
    case.has("x", "value", Some("one")).await;

    case.patch::<GitRepository>("repo", only(json!({"tag": "v2"})))
        .await;
    case.synced("all", &two).await;
    case.has("x", "value", Some("two")).await;

    // A commit has precedence over a tag, and a tag over a branch.
    case.patch::<GitRepository>("repo", only(json!({"commit": three, "branch": "main"})))
        .await;
    case.synced("all", &three).await;
    case.has("x", "value", Some("three")).await;
    case.patch::<GitRepository>("repo", only(json!({"commit": null})))
        .await;
    case.synced("all", &two).await;
    case.has("x", "value", Some("two")).await;

    // A tag that moves is followed.
    case.repo.tag("v2", &one);
    case.announce().await;
    case.synced("all", &one).await;
    case.has("x", "value", Some("one")).await;
}

#[tokio::test]
async fn a_path_may_be_written_as_people_write_paths() {
    let case = world().await.case("paths").await;
    let kustomization = "resources: [k.yaml]\n".to_owned();
    let files = [
        ("root.yaml", case.map("root", "one")),
        ("folders/a/a.yaml", case.map("a", "one")),
        ("folders/b/b.yaml", case.map("b", "one")),
        ("folders/k/k.yaml", case.map("k", "one")),
        ("folders/k/kustomization.yaml", kustomization),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, Some(text)));
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    for (name, path, ignore) in [
        ("root", "./", "/folders/"),
        ("a", "./folders/a/", ""),
        ("b", "folders//b", ""),
        ("k", "folders/./k", ""),
    ] {
        case.sync(name, json!({"path": path, "ignore": ignore}))
            .await;
    }
    for name in ["root", "a", "b", "k"] {
        case.synced(name, &commit).await;
        case.has(name, "value", Some("one")).await;
    }
    // Another way to write the same path changes nothing.
    let dot = json!({"spec": {"path": "."}});
    let generation = case.patch::<Sync>("root", dot).await.metadata.generation;
    case.until("root", "the other path is seen", |sync| {
        let status = sync.status.as_ref();
        status.is_some_and(|status| status.observed_generation == generation)
    })
    .await;
    case.synced("root", &commit).await;
    case.has("root", "value", Some("one")).await;
}

/// A template that leaves a field empty makes a null. The API server keeps it where a schema allows it.
#[tokio::test]
async fn null_in_a_kind_of_towline_means_absent() {
    let case = world().await.case("null-fields").await;
    let specs = [
        json!({"url": case.repo.url(), "ref": {"branch": "main"}}),
        json!({"sourceRef": {"name": "repo"}, "renderer": {"name": "none"}}),
        json!({"type": "generic", "address": "http://127.0.0.1:1/"}),
        json!({"providerRef": {"name": "p"}, "eventSources": [{"kind": "Sync", "name": "*"}]}),
    ];
    let kinds = ["GitRepository", "Sync", "Provider", "Alert"];
    for (kind, spec) in kinds.into_iter().zip(specs) {
        let definition = towline::api::crds()
            .into_iter()
            .find(|definition| definition.spec.names.kind == kind)
            .unwrap();
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let mut nulls = spec.clone();
        add_nulls(&schema["openAPIV3Schema"]["properties"]["spec"], &mut nulls);
        let group = GroupVersionKind::gvk("towline.dev", "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&group, &definition.spec.names.plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(case.client.clone(), &case.namespace, &resource);
        let stored = async |spec: &Value| {
            let mut object = DynamicObject::new("nulls", &resource);
            object.data = json!({ "spec": spec });
            let dry = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            api.create(&dry, &object).await.unwrap().data["spec"].clone()
        };
        assert_eq!(stored(&nulls).await, stored(&spec).await, "{kind}");
    }
}

/// Sets each field of `schema` that `value` does not have to null.
fn add_nulls(schema: &Value, value: &mut Value) {
    let fields = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in fields {
        match &mut value[name] {
            absent @ Value::Null => *absent = Value::Null,
            found => add_nulls(field, found),
        }
    }
}

/// A field that a template left empty: `sync:` without a value is no wish for a Sync of the whole repository.
#[tokio::test]
async fn a_sync_that_is_null_is_none() {
    let case = world().await.case("null-sync").await;
    let repository = |sync: &str| {
        format!(
            "apiVersion: towline.dev/v1alpha1\nkind: GitRepository\nmetadata: {{name: child, namespace: {}}}\n\
             spec:\n  url: {}\n  ref: {{branch: main, tag: null}}\n  verify: ~\n  sync:{sync}\n",
            case.namespace,
            case.repo.url()
        )
    };
    let first = case.repo.commit(
        &[
            ("all/repo.yaml", Some(repository(""))),
            ("app/a.yaml", Some(config_map("a", &case.namespace, "one"))),
        ],
        "a field without a value",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    case.synced("all", &first).await;
    named_repository_ready_becomes(&case, "child", "True", "Fetched").await;
    assert!(case.api::<Sync>().get_opt("child").await.unwrap().is_none());
    let second = repository(" {path: app, prune: true, deletionPolicy: Orphan}");
    let second = case
        .push(&[("all/repo.yaml", Some(&second))], "a Sync")
        .await;
    case.synced("all", &second).await;
    case.has("a", "value", Some("one")).await;
    // Nulling it takes it away, as leaving it out does, also while others write the object.
    let third = repository(" null");
    let writes = async {
        let until = Instant::now() + Duration::from_secs(2);
        for count in 0.. {
            let note =
                json!({"metadata": {"annotations": {"example.com/count": format!("{count}")}}});
            case.patch::<GitRepository>("child", note).await;
            if Instant::now() > until {
                break;
            }
        }
    };
    let pushes = async {
        let third = case
            .push(&[("all/repo.yaml", Some(&third))], "no Sync")
            .await;
        case.synced("all", &third).await;
    };
    tokio::join!(writes, pushes);
    eventually("the child Sync is gone", PATIENCE, async || {
        let child = case.api::<Sync>().get_opt("child").await.unwrap();
        child.is_none().then_some(())
    })
    .await;
}
