//! Plans of objects whose kind the cluster does not serve.

use serde_json::json;

use super::host::Pull;
use super::{hosted, propose, shop, status};

#[tokio::test]
async fn a_kind_that_is_not_served_is_no_success_unless_its_definition_comes_with_it() {
    let (case, host) = hosted("kinds", "github").await;
    let first = shop(&case, json!({})).await;
    let namespace = &case.namespace;
    let web = format!(
        "apiVersion: apps/v2\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\n"
    );
    let widget = |name: &str, version: &str| {
        format!(
            "apiVersion: {namespace}.example.com/{version}\nkind: Widget\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        )
    };
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{namespace}.example.com}}\n\
         spec:\n  group: {namespace}.example.com\n  names: {{kind: Widget, plural: widgets}}\n  scope: Namespaced\n  versions:\n  \
         - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}\n"
    );
    let (one, two, later) = (
        widget("one", "v1"),
        widget("two", "v1"),
        widget("three", "v2"),
    );
    let bad = propose(&case, 1, &first, &[("still/web.yaml", Some(&web))]);
    // The Sync that comes first by name has one as well.
    let good = propose(
        &case,
        2,
        &first,
        &[
            ("still/crd.yaml", Some(&definition)),
            ("still/one.yaml", Some(&one)),
            ("shop/two.yaml", Some(&two)),
        ],
    );
    let other = propose(
        &case,
        3,
        &first,
        &[
            ("still/crd.yaml", Some(&definition)),
            ("shop/three.yaml", Some(&later)),
        ],
    );
    host.change(|state| {
        state.base.clone_from(&first);
        let pulls = [(1, &bad), (2, &good), (3, &other)].into_iter();
        state.pulls = pulls
            .map(|(number, head)| Pull {
                number,
                head: head.clone(),
                ..Pull::default()
            })
            .collect();
    });
    for (head, state, text) in [
        (
            &bad,
            "failure",
            "1 not served by the cluster, not tried in 1 of 2 Syncs",
        ),
        (&good, "success", "3 to create in 2 of 2 Syncs"),
        (
            &other,
            "failure",
            "1 to create, 1 not served by the cluster, not tried in 2 of 2 Syncs",
        ),
    ] {
        assert_eq!(
            status(&host, head).await,
            (state.to_owned(), text.to_owned())
        );
    }
    let said = [
        (
            1,
            format!(
                "! not served by the cluster, not tried: <code>Deployment.apps {namespace}/web</code>"
            ),
        ),
        (1, "; it serves apps/v1 Deployment".to_owned()),
        (
            2,
            format!("+ create <code>Widget.{namespace}.example.com {namespace}/two</code>"),
        ),
        (
            3,
            format!("the API server does not serve {namespace}.example.com/v2 Widget"),
        ),
    ];
    for (number, part) in said {
        let comment = &host.comments(number)[0];
        assert!(comment.contains(&part), "{part} is not in\n{comment}");
    }
}
