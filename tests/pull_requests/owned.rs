//! Plans of what other Syncs have, of branches that are older than what they are compared with, and of deletions that would
//! be held.

use serde_json::json;
use towline::api::Sync;

use super::host::{Host, Pull};
use super::{hosted, plans, propose, shop, status};
use crate::world::{Case, config_map};

fn open(host: &Host, base: &str, heads: &[&String]) {
    host.change(|state| {
        state.base = base.to_owned();
        let pulls = (1..).zip(heads);
        state.pulls = pulls
            .map(|(number, head)| Pull {
                number,
                head: (*head).clone(),
                ..Pull::default()
            })
            .collect();
    });
}

#[tokio::test]
async fn an_object_of_another_sync_is_refused_unless_it_leaves_that_one() {
    let (case, host) = hosted("plan-owned", "github").await;
    let namespace = &case.namespace;
    let first = shop(&case, json!({})).await;
    let b = |value: &str| config_map("b", namespace, value);
    let kept = config_map("kept", namespace, "one");
    let twice = config_map("twice", namespace, "one");
    let same = propose(&case, 1, &first, &[("shop/b.yaml", Some(&b("one")))]);
    let other = propose(&case, 2, &first, &[("shop/b.yaml", Some(&b("two")))]);
    let moves = [
        ("still/b.yaml", None),
        ("still/kept.yaml", Some(&*kept)),
        ("shop/b.yaml", Some(&*b("two"))),
    ]
    .map(|(path, text)| (path, text.map(str::to_owned)));
    let moves = moves
        .each_ref()
        .map(|(path, text)| (*path, text.as_deref()));
    let moved = propose(&case, 3, &first, &moves);
    let both = [
        ("still/twice.yaml", Some(&*twice)),
        ("shop/twice.yaml", Some(&*twice)),
    ];
    let both = propose(&case, 4, &first, &both);
    open(&host, &first, &[&same, &other, &moved, &both]);
    for (head, state, text) in [
        (&same, "failure", "1 refused in 1 of 2 Syncs"),
        (&other, "failure", "1 refused in 1 of 2 Syncs"),
        (
            &moved,
            "success",
            "1 to create, 1 to change in 2 of 2 Syncs",
        ),
        (&both, "failure", "1 to create, 1 refused in 2 of 2 Syncs"),
    ] {
        assert_eq!(
            status(&host, head).await,
            (state.to_owned(), text.to_owned())
        );
    }
    let still = format!("it belongs to Sync {namespace}/still; remove it from one of the two");
    let shop = format!("it belongs to Sync {namespace}/shop; remove it from one of the two");
    for (number, part) in [
        (1, &*still),
        (2, &still),
        (3, "which moves here from another Sync"),
        (3, "1 object moves to another Sync of this repository"),
        (4, &shop),
    ] {
        let comment = &host.comments(number)[0];
        assert!(comment.contains(part), "{part} is not in\n{comment}");
    }
}

/// Main has gone on since the request began: what came since is no change of the request.
#[tokio::test]
async fn what_others_have_merged_meanwhile_is_no_change_of_an_old_branch() {
    let (case, host) = hosted("plan-old", "github").await;
    let namespace = &case.namespace;
    let first = shop(&case, json!({})).await;
    let map = |name: &str, value: &str| config_map(name, namespace, value);
    let untouched = propose(&case, 1, &first, &[("README.md", Some("words"))]);
    let changes = propose(
        &case,
        2,
        &first,
        &[("still/c.yaml", Some(&map("c", "one")))],
    );
    // A folder for a new Sync, another object, another value, and one that goes.
    let newer = case
        .push(
            &[
                ("big/new.yaml", Some(&map("new", "one"))),
                ("still/added.yaml", Some(&map("added", "one"))),
                ("still/b.yaml", Some(&map("b", "two"))),
                ("shop/old.yaml", None),
            ],
            "main goes on",
        )
        .await;
    case.sync("big", json!({"path": "big"})).await;
    for name in ["big", "still", "shop"] {
        case.synced(name, &newer).await;
    }
    open(&host, &first, &[&untouched, &changes]);
    assert_eq!(
        status(&host, &untouched).await,
        ("success".to_owned(), "no Sync is touched".to_owned())
    );
    assert_eq!(
        status(&host, &changes).await,
        (
            "success".to_owned(),
            "1 to create in 1 of 3 Syncs".to_owned()
        )
    );
    // A request that brings the folder of a Sync is about that Sync, and one that takes it away breaks it.
    let gone = propose(&case, 3, &newer, &[("big/new.yaml", None)]);
    let again = map("new", "two");
    let late = propose(&case, 4, &first, &[("big/new.yaml", Some(&again))]);
    host.change(|state| {
        let pull = |number, head: &String| Pull {
            number,
            head: head.clone(),
            ..Pull::default()
        };
        state.pulls = vec![pull(4, &late)];
    });
    assert_eq!(
        status(&host, &late).await,
        (
            "success".to_owned(),
            "1 to change in 1 of 3 Syncs".to_owned()
        )
    );
    open(&host, &newer, &[]);
    host.change(|state| {
        state.pulls = vec![Pull {
            number: 3,
            head: gone.clone(),
            ..Pull::default()
        }];
    });
    assert_eq!(
        status(&host, &gone).await,
        (
            "failure".to_owned(),
            "1 not rendered in 1 of 3 Syncs".to_owned()
        )
    );
}

async fn dozen(case: &Case<'_>) -> String {
    let maps: Vec<(String, String)> = (0..12)
        .map(|number| {
            let map = config_map(&format!("m{number}"), &case.namespace, "one");
            (format!("shop/{number}.yaml"), map)
        })
        .collect();
    let files: Vec<_> = maps
        .iter()
        .map(|(path, text)| (&**path, Some(text)))
        .collect();
    let first = case.repo.commit(&files, "first");
    case.repository(plans(&json!({}))).await;
    case.sync("shop", json!({"path": "shop", "prune": true}))
        .await;
    case.synced("shop", &first).await;
    first
}

#[tokio::test]
async fn a_deletion_that_would_be_held_is_said_to_be_so() {
    let (case, host) = hosted("plan-brake", "github").await;
    let first = dozen(&case).await;
    let less: Vec<String> = (0..8).map(|number| format!("shop/{number}.yaml")).collect();
    let less: Vec<_> = less.iter().map(|path| (&**path, None)).collect();
    let many = propose(&case, 1, &first, &less);
    let few = propose(&case, 2, &first, &less[..2]);
    open(&host, &first, &[&many, &few]);
    for (number, head, count) in [(1, &many, 8), (2, &few, 2)] {
        assert_eq!(
            status(&host, head).await,
            (
                "success".to_owned(),
                format!("{count} to prune in 1 of 1 Syncs")
            )
        );
        let comment = &host.comments(number)[0];
        let held = format!("towline approve shop -n {}", case.namespace);
        for part in ["PruneHeld", "8 of 12 are more than 50 %", &*held] {
            assert_eq!(comment.contains(part), count == 8, "{part}\n{comment}");
        }
    }
    // Whose objects nobody deletes needs no approval.
    let patch = json!({"spec": {"prune": false}});
    case.patch::<Sync>("shop", patch).await;
    let keeps = propose(&case, 3, &first, &less);
    open(&host, &first, &[]);
    host.change(|state| {
        state.pulls = vec![Pull {
            number: 3,
            head: keeps.clone(),
            ..Pull::default()
        }];
    });
    assert_eq!(
        status(&host, &keeps).await,
        (
            "success".to_owned(),
            "8 to release in 1 of 1 Syncs".to_owned()
        )
    );
    assert!(!host.comments(3)[0].contains("PruneHeld"));
}
