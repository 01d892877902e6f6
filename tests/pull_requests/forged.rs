//! Comments of others that look like towline's.

use serde_json::json;

use super::host::{Host, Pull};
use super::{hosted, propose, shop, status};
use crate::world::{Case, config_map};

/// Another commit of the request that has its plan. Returns the value in it.
async fn push(case: &Case<'_>, host: &Host, first: &str, value: &str) {
    let map = config_map("a", &case.namespace, value);
    let head = propose(case, 6, first, &[("shop/a.yaml", Some(&map))]);
    host.change(|state| {
        first.clone_into(&mut state.base);
        state.pulls = vec![Pull {
            number: 6,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    assert_eq!(status(host, &head).await.0, "success");
}

/// The comments by their ids, and whether each has a value.
fn with(host: &Host, value: &str) -> Vec<(u64, bool)> {
    let state = host.state.lock().unwrap();
    let all = state.comments.iter();
    all.map(|(id, (_, text))| (*id, text.contains(value)))
        .collect()
}

#[tokio::test]
async fn a_comment_of_somebody_else_is_never_taken_for_the_plan() {
    let (case, host) = hosted("forged", "github").await;
    let first = shop(&case, json!({})).await;
    host.change(|state| {
        let early = (6, "what a nice request".to_owned());
        state.comments.insert(1, early.clone());
        state.comments.insert(2, early);
        state.others = vec![2];
    });
    push(&case, &host, &first, "value-1").await;
    assert_eq!(
        with(&host, "value-1"),
        [(1, false), (2, false), (1001, true)]
    );
    let first_of_all = host.recorder.requests().into_iter().find_map(|request| {
        let text = request.body["body"].as_str()?;
        request.line.contains("comments").then(|| text.to_owned())
    });
    let first_of_all = first_of_all.unwrap();
    // Comments that are older than the plan become copies of it: of what it is, and of what it was for a moment.
    host.change(|state| {
        let plan = state.comments[&1001].1.clone();
        assert_ne!(plan, first_of_all);
        state.comments.insert(1, (6, plan.clone()));
        state.comments.insert(2, (6, first_of_all.clone()));
        state.comments.insert(5000, (6, plan));
    });
    push(&case, &host, &first, "value-2").await;
    let expected = [(1, false), (2, false), (1001, true), (5000, false)];
    assert_eq!(with(&host, "value-2"), expected);
    // A person deletes the plan: it is written anew, and the copies stay what they are.
    host.change(|state| drop(state.comments.remove(&1001)));
    push(&case, &host, &first, "value-3").await;
    let expected = [(1, false), (2, false), (1002, true), (5000, false)];
    assert_eq!(with(&host, "value-3"), expected);
    // What others write may be as long as the host lets them.
    host.change(|state| {
        state.filler = 4 << 20;
        state.comments.insert(5000, (6, "y".repeat(4 << 20)));
    });
    push(&case, &host, &first, "value-4").await;
    assert_eq!(with(&host, "value-4"), expected);
}
