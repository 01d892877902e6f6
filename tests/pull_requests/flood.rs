//! Plans of requests that are too large.

use serde_json::json;

use super::host::Pull;
use super::{hosted, propose, shop, status};
use crate::world::config_map;

/// The Sync whose ConfigMaps would take all room comes first by its name.
#[tokio::test]
async fn a_flood_hides_nothing_that_grants_rights_and_is_no_success() {
    for (kind, state) in [("github", "failure"), ("gitea", "warning")] {
        let (case, host) = hosted(&format!("flood-{kind}"), kind).await;
        let first = shop(&case, json!({})).await;
        let namespace = &case.namespace;
        let flood: Vec<String> = (0..510)
            .map(|number| config_map(&format!("flood-{number}"), namespace, "water"))
            .collect();
        let binding = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {namespace}-admin}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}\n\
             subjects: [{{kind: ServiceAccount, name: default, namespace: {namespace}}}]\n"
        );
        let head = propose(
            &case,
            1,
            &first,
            &[
                ("shop/flood.yaml", Some(&flood.join("---\n"))),
                ("still/z.yaml", Some(&binding)),
            ],
        );
        host.change(|state| {
            state.base.clone_from(&first);
            state.pulls = vec![Pull {
                number: 1,
                head: head.clone(),
                ..Pull::default()
            }];
        });
        let (is, text) = status(&host, &head).await;
        assert_eq!(is, state, "{text}");
        let begins = "too large, split the request: 11 not tried out, ";
        assert!(text.starts_with(begins), "{text}");
        let comment = &host.comments(1)[0];
        let named = comment.find(&format!(
            "+ create <code>ClusterRoleBinding.rbac.authorization.k8s.io {namespace}-admin</code>"
        ));
        let water = comment.find("/flood-0</code>");
        assert!(named.is_some() && named < water, "{comment}");
        assert!(comment.contains("+ roleRef.name: \"view\""), "{comment}");
        assert!(
            comment.contains("11 more objects differ, and were not tried out"),
            "{comment}"
        );
    }
}
