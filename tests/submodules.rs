//! Manifests in submodules.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use towline::api::GitRepository;

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{config_map, world};
use towline_testing::repo::{Change, NewCommit};

fn module(url: &str) -> String {
    format!("[submodule \"lib\"]\n\tpath = apps/lib\n\turl = {url}\n")
}

#[tokio::test]
async fn a_submodule_is_applied_once_the_repository_asks_for_it() {
    let case = world().await.case("submodules").await;
    let library = case.world.git.repo(&format!("{}-lib", case.namespace));
    let publish = |value: &str| {
        let map = config_map("x", &case.namespace, value);
        library.commit(&[("x.yaml", Some(map))], value)
    };
    let first = publish("one");
    let own = config_map("a", &case.namespace, "one");
    let name = |url: &str, commit: &str| {
        case.repo.commit_with(NewCommit {
            changes: &[
                (".gitmodules", Change::Write(&module(url))),
                ("apps/lib", Change::Submodule(commit)),
                ("apps/a.yaml", Change::Write(&own)),
            ],
            ..NewCommit::default()
        })
    };
    let relative = format!("../{}-lib.git", case.namespace);
    let commit = name(&relative, &first);
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps"})).await;
    let message = case.ready_becomes("all", "False", "InvalidManifest").await;
    assert_says(
        &message,
        &["apps/lib is a submodule", "spec.recurseSubmodules"],
    );

    let recurse = |is: bool| json!({"spec": {"recurseSubmodules": is}});
    case.patch::<GitRepository>("repo", recurse(true)).await;
    case.synced("all", &commit).await;
    case.has("x", "value", Some("one")).await;
    case.delete::<ConfigMap>("x").await;
    case.has("x", "value", Some("one")).await;

    // A new commit of the submodule is applied when the repository refers to it.
    let second = publish("two");
    let commit = name(&relative, &second);
    case.announce().await;
    case.synced("all", &commit).await;
    case.has("x", "value", Some("two")).await;

    // No credentials are sent to another server, and applied objects stay.
    name("https://elsewhere.example/lib.git", &first);
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", "InvalidSpec").await;
    assert_says(
        &message,
        &["submodule apps/lib", "another server", "stays live"],
    );
    case.has("x", "value", Some("two")).await;
    case.synced("all", &commit).await;

    // Without the option it is an error again. The objects are not pruned.
    let commit = name(&relative, &second);
    case.announce().await;
    case.synced("all", &commit).await;
    case.patch::<GitRepository>("repo", recurse(false)).await;
    case.ready_becomes("all", "False", "InvalidManifest").await;
    case.has("x", "value", Some("two")).await;
}
