//! What commands show to somebody with rights in one namespace.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::json;
use towline_testing::scratch::Scratch;

use super::diff::diff;
use super::run_with;
use crate::world::{config_map, world};

#[tokio::test]
async fn a_tree_and_a_diff_leave_out_what_one_may_not_see_and_say_so_once() {
    let case = world().await.case("cli-rights").await;
    let namespace = &case.namespace;
    let other = format!("{namespace}-other");
    let files = [
        ("all/own.yaml", case.map("own", "one")),
        ("all/far.yaml", config_map("far", &other, "one")),
        (
            "all/namespace.yaml",
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n"),
        ),
    ];
    let committed = files.each_ref().map(|(path, text)| (*path, Some(text)));
    let commit = case.repo.commit(&committed, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    case.synced("all", &commit).await;

    let user = format!("viewer-{namespace}");
    case.make::<Role>(json!({
        "metadata": {"name": "viewer"},
        "rules": [
            {"apiGroups": ["towline.dev"], "resources": ["*"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "patch", "create"]},
        ],
    }))
    .await;
    case.make::<RoleBinding>(json!({
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))
    .await;
    let viewer = case
        .world
        .cp
        .kubeconfig_as(&user, &["system:authenticated"]);
    let tree = run_with(Some(&viewer), &["tree", "all", "-n", namespace]).await;
    tree.says(0, &[&format!("ConfigMap {namespace}/own")]);
    assert!(!tree.out.contains("far"), "{tree:#?}");
    for part in [
        &*format!("you may not list configmaps in all namespaces; looked at: {namespace}, {other}"),
        &format!("left out, since you may not list them: configmaps in {other}, namespaces"),
    ] {
        assert!(tree.err.contains(part), "{part} is not in {tree:#?}");
    }
    assert_eq!(tree.err.matches("warning").count(), 1, "{tree:#?}");

    let scratch = Scratch::new().unwrap();
    std::fs::create_dir(scratch.path().join("all")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(scratch.path().join(path), text).unwrap();
    files.iter().for_each(|(path, text)| write(path, text));
    write("all/own.yaml", &case.map("own", "two"));
    let ran = diff(&case, &viewer, scratch.path(), &[]).await;
    ran.says(2, &["+  value: two\n", "all: 1 to change\n"]);
    ran.fails(
        2,
        &["2 objects are left out; of the first one, you have no right to get"],
    );
    // What is nobody's business of this person is all that there is.
    let nobody = case
        .world
        .cp
        .kubeconfig_as("nobody", &["system:authenticated"]);
    run_with(Some(&nobody), &["tree", "all", "-n", namespace])
        .await
        .fails(2, &["you have no right to get syncs"]);
}

#[tokio::test]
async fn events_of_one_second_stand_in_their_order() {
    let case = world().await.case("cli-events-order").await;
    let map = case.map("m", "one");
    let commit = case.repo.commit(&[("all/m.yaml", Some(&*map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all"})).await;
    case.synced("all", &commit).await;
    case.wait_for_event("Converged", &[]).await;
    let viewer = case
        .world
        .cp
        .kubeconfig_for(towline_testing::kubeconfig::User::Person);
    let ran = run_with(Some(&viewer), &["events", "-n", &case.namespace]).await;
    let place = |reason: &str| {
        let place = ran.out.find(reason);
        place.unwrap_or_else(|| panic!("{reason} is not in {ran:#?}"))
    };
    assert!(place("ChangeCommitted") < place("Converged"), "{ran:#?}");
}
