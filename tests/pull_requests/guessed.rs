//! What the author of a request could learn of a live Secret by guesses.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::host::Pull;
use super::{LIVE_ONLY, hosted, propose, shop, status};

/// The API server refuses another value for an immutable Secret, and takes the one that it has.
#[tokio::test]
async fn a_guess_at_an_immutable_secret_says_nothing() {
    let (case, host) = hosted("guessed", "github").await;
    let first = shop(&case, json!({})).await;
    for name in ["right", "wrong"] {
        let secret = json!({
            "metadata": {"name": name}, "immutable": true, "stringData": {"password": LIVE_ONLY},
        });
        case.make::<Secret>(secret).await;
    }
    let guess = |name: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {}}}\nimmutable: true\nstringData: {{password: {value}}}\n",
            case.namespace
        )
    };
    let files = [
        ("shop/right.yaml", Some(guess("right", LIVE_ONLY))),
        ("shop/wrong.yaml", Some(guess("wrong", "anything-else"))),
    ];
    let files = files
        .each_ref()
        .map(|(path, text)| (*path, text.as_deref()));
    let head = propose(&case, 6, &first, &files);
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 6,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let (state, text) = status(&host, &head).await;
    assert_eq!((&*state, &*text), ("failure", "2 refused in 1 of 2 Syncs"));
    let comment = &host.comments(6)[0];
    // From its heading to the values, which have a keyed hash each.
    let said = |name: &str| {
        let start = format!("Secret {}/{name}</code>", case.namespace);
        let (_, after) = comment.split_once(&start).unwrap();
        let (said, _) = after.split_once("password").unwrap();
        said.replace(name, "")
    };
    assert!(said("right").contains("is immutable"), "{comment}");
    assert_eq!(said("right"), said("wrong"), "{comment}");
}
