//! Plans of what leaves Git.

use serde_json::json;
use towline::api::Sync;

use super::host::Pull;
use super::{hosted, propose, shop, status};

/// `prune: false` is the default.
#[tokio::test]
async fn what_leaves_git_and_stays_is_named() {
    let (case, host) = hosted("leaving", "github").await;
    let first = shop(&case, json!({})).await;
    case.patch::<Sync>("shop", json!({"spec": {"prune": false}}))
        .await;
    let head = propose(&case, 1, &first, &[("shop/old.yaml", None)]);
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 1,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let (state, text) = status(&host, &head).await;
    assert_eq!(
        (&*state, &*text),
        ("success", "1 to release in 1 of 2 Syncs")
    );
    let comment = &host.comments(1)[0];
    for part in [
        &*format!("= release <code>ConfigMap {}/old</code>", case.namespace),
        "spec.prune of the Sync is false",
    ] {
        assert!(comment.contains(part), "{part} is not in\n{comment}");
    }
}
