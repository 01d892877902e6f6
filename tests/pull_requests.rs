//! The plans of open pull requests: what is said on the request, and that nothing else happens.

mod flood;
mod forged;
mod guessed;
mod host;
mod kinds;
mod leaving;
mod owned;
mod rendered;
mod woken;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use serde_json::{Value, json};
use towline::api::{GitRepository, Provider};

use self::host::{Host, Pull, TOKEN};
use crate::world::{Case, config_map, world};
use towline_testing::kubeconfig::User;
use towline_testing::recorder::Answer;
use towline_testing::repo::{Change, NewCommit, Parent};
use towline_testing::wait::{PATIENCE, eventually, never};

const PASSWORD: &str = "Passw0rd-of-production";
const LIVE_ONLY: &str = "only-the-cluster-knows";

/// A case whose repository has an owner, with a host, its Provider and a token.
async fn hosted(name: &str, kind: &'static str) -> (Case<'static>, Host) {
    let world = world().await;
    let mut case = world.case(name).await;
    case.repo = world.git.repo_of("team", &case.namespace);
    let host = Host::start(kind);
    let token = json!({"metadata": {"name": "token"}, "stringData": {"token": TOKEN}});
    case.make::<Secret>(token).await;
    let root = if kind == "github" { "/api/v3" } else { "" };
    case.make::<Provider>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Provider",
        "metadata": {"name": "host", "namespace": case.namespace},
        "spec": {"type": kind, "address": host.recorder.url(root), "secretRef": {"name": "token"}, "timeout": "2s"},
    }))
    .await;
    (case, host)
}

/// Asks for plans, with a short interval.
fn plans(more: &Value) -> Value {
    let mut plans = json!({"providerRef": {"name": "host"}, "interval": "10s"});
    for (key, value) in more.as_object().unwrap() {
        plans[key] = value.clone();
    }
    json!({ "pullRequests": plans })
}

/// Commits files to a branch that begins at a commit, and makes it the branch of a pull request.
fn propose(case: &Case<'_>, number: u64, from: &str, files: &[(&str, Option<&str>)]) -> String {
    let changes: Vec<(&str, Change<'_>)> = files
        .iter()
        .map(|(path, text)| (*path, text.map_or(Change::Delete, Change::Write)))
        .collect();
    let branch = format!("feature-{number}");
    let head = case.repo.commit_with(NewCommit {
        branch: &branch,
        parent: Parent::Commit(from),
        message: "proposed",
        changes: &changes,
        ..NewCommit::default()
    });
    // A fork's branch is in no branch of the repository.
    case.repo.delete_branch(&branch);
    case.repo
        .update_ref(&format!("refs/pull/{number}/head"), &head);
    case.repo
        .update_ref(&format!("refs/merge-requests/{number}/head"), &head);
    head
}

/// Waits until the condition about plans has a reason. Returns its message.
async fn planned(case: &Case<'_>, reason: &str) -> String {
    eventually(
        &format!("PullRequestsPlanned: {reason}"),
        PATIENCE,
        async || {
            let object: GitRepository = case.api().get("repo").await.unwrap();
            let status = object.status.unwrap_or_default();
            let mut conditions = status.conditions.iter();
            let found =
                conditions.find(|is| is.type_ == "PullRequestsPlanned" && is.reason == reason);
            found.map(|is| is.message.clone()).ok_or(status.conditions)
        },
    )
    .await
}

/// Waits until a commit has a status. Returns its state and text.
async fn status(host: &Host, commit: &str) -> (String, String) {
    eventually("the status of the head", PATIENCE, async || {
        let found = host.status(commit);
        found.ok_or_else(|| format!("{:#?}", host.recorder.requests()))
    })
    .await
}

/// An account that may read and write ConfigMaps, Secrets and nothing else.
async fn applier(case: &Case<'_>) {
    case.make::<ServiceAccount>(json!({"metadata": {"name": "applier"}}))
        .await;
    case.make::<Role>(json!({
        "metadata": {"name": "applier"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps", "secrets"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"]}],
    }))
    .await;
    case.make::<RoleBinding>(json!({
        "metadata": {"name": "applier"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "applier"},
        "subjects": [{"kind": "ServiceAccount", "name": "applier", "namespace": case.namespace}],
    }))
    .await;
}

/// Everything in the namespace that a plan could have changed.
async fn live(case: &Case<'_>) -> Vec<(String, Option<String>)> {
    let maps = case
        .api::<ConfigMap>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let secrets = case
        .api::<Secret>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let maps = maps.items.into_iter().map(|map| map.metadata);
    let secrets = secrets.items.into_iter().map(|secret| secret.metadata);
    maps.chain(secrets)
        .map(|meta| (meta.name.unwrap(), meta.resource_version))
        .collect()
}

/// Two Syncs, `shop` with a variable from a Secret and the rights of an account, and `still`.
async fn shop(case: &Case<'_>, more: Value) -> String {
    let namespace = &case.namespace;
    let map = |name: &str, value: &str| config_map(name, namespace, value);
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{key: {value}}}\n"
        )
    };
    let uses = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: uses, namespace: {namespace}}}\ndata: {{url: 'user:${{password}}'}}\n"
    );
    let first = case.repo.commit(
        &[
            ("shop/a.yaml", Some(map("a", "one"))),
            ("shop/old.yaml", Some(map("old", "one"))),
            ("shop/keys.yaml", Some(secret("committed-key-1"))),
            ("shop/uses.yaml", Some(uses)),
            ("still/b.yaml", Some(map("b", "one"))),
        ],
        "first",
    );
    let inputs = json!({"metadata": {"name": "inputs"}, "stringData": {"password": PASSWORD}});
    case.make::<Secret>(inputs).await;
    applier(case).await;
    case.repository(plans(&more)).await;
    let from = json!([{"kind": "Secret", "name": "inputs"}]);
    let spec = json!({
        "path": "shop", "serviceAccountName": "applier", "substitute": {"from": from},
    });
    case.sync("shop", spec).await;
    case.sync("still", json!({"path": "still"})).await;
    case.synced("shop", &first).await;
    case.synced("still", &first).await;
    first
}

fn assert_no_secret(host: &Host) {
    let encoded = [
        "UGFzc3cwcmQtb2YtcHJvZHVjdGlvbg",
        "Passw0rd",
        "of-production",
        LIVE_ONLY,
    ];
    for request in host.recorder.requests() {
        let said = String::from_utf8_lossy(&request.bytes);
        for secret in encoded
            .iter()
            .chain(&["committed-key", "Y29tbWl0dGVkLWtleS"])
        {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[tokio::test]
async fn a_pull_request_has_its_plan_and_the_cluster_stays_as_it_is() {
    let (case, host) = hosted("plan", "github").await;
    let namespace = &case.namespace;
    let first = shop(&case, json!({})).await;
    let theirs = json!({"metadata": {"name": "theirs"}, "data": {"a": LIVE_ONLY}});
    case.make::<ConfigMap>(theirs).await;
    let before = live(&case).await;
    let mark = case.world.cp.audit().mark();

    let map = |name: &str, value: &str| config_map(name, namespace, value);
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{key: committed-key-2}}\n"
    );
    // Each piece of the password has a key of its own.
    let thief = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: thief, namespace: {namespace}}}\ndata:\n  all: ${{password}}\n  one: ${{password:0:4}}\n  two: ${{password:4:4}}\n"
    );
    let wrong = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: wrong, namespace: {namespace}}}\ndate: {{}}\n"
    );
    let outside = "apiVersion: v1\nkind: Namespace\nmetadata: {name: made-by-a-request}\n";
    let uses = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: uses, namespace: {namespace}}}\ndata: {{url: plain}}\n"
    );
    // What the live Secret holds. It is shown as a wrong guess would be.
    let guess = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: inputs, namespace: {namespace}}}\nstringData: {{password: {PASSWORD}}}\n"
    );
    let files = [
        ("shop/a.yaml", Some(map("a", "two"))),
        ("shop/old.yaml", None),
        ("shop/new.yaml", Some(map("new", "one"))),
        ("shop/keys.yaml", Some(secret)),
        ("shop/thief.yaml", Some(thief)),
        ("shop/wrong.yaml", Some(wrong)),
        ("shop/theirs.yaml", Some(map("theirs", "mine"))),
        ("shop/uses.yaml", Some(uses)),
        ("shop/outside.yaml", Some(outside.to_owned())),
        ("shop/guess.yaml", Some(guess)),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, text.as_deref()))
        .collect();
    let head = propose(&case, 7, &first, &files);
    // Meanwhile main goes on. A plan is about what the request itself changes.
    let b = map("b", "two");
    let second = case.push(&[("still/b.yaml", Some(&b))], "second").await;
    case.synced("still", &second).await;
    let before_of_b = live(&case).await;
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 7,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    let (state, text) = status(&host, &head).await;
    assert_eq!(state, "failure", "{text}");
    assert!(text.contains("refused in 1 of 2 Syncs"), "{text}");
    let comments = host.comments(7);
    assert_eq!(comments.len(), 1, "{comments:#?}");
    let comment = &comments[0];
    for part in [
        &format!("plan for `{namespace}/repo` on `"),
        &format!("~ change <code>ConfigMap {namespace}/a</code> (<code>shop/a.yaml</code>)"),
        "```diff\n- data.value: \"one\"\n+ data.value: \"two\"\n```",
        &format!("+ create <code>ConfigMap {namespace}/new</code>"),
        &format!("- prune <code>ConfigMap {namespace}/old</code>"),
        &format!("! refused <code>ConfigMap {namespace}/wrong</code>"),
        "field not declared in schema",
        &format!(
            "ConfigMap {namespace}/theirs</code> (<code>shop/theirs.yaml</code>), which exists in the cluster and would be taken over"
        ),
        &format!("~ change <code>Secret {namespace}/keys</code>"),
        &format!("~ change <code>Secret {namespace}/inputs</code>"),
        "- data.key: #",
        "+ data.key: #",
        "- data.url: \"user:x",
        "+ data.url: \"plain\"",
        "+ data.one: \"x",
        "! refused <code>Namespace made-by-a-request</code>",
        "Not touched: `still`",
    ] {
        assert!(comment.contains(part), "{part} is not in\n{comment}");
    }
    assert!(
        planned(&case, "Planned")
            .await
            .contains("1 open request has its plan")
    );

    // The branch changes: the comment does as well.
    let again = map("a", "three");
    let newer = propose(&case, 7, &first, &[("shop/a.yaml", Some(&again))]);
    host.change(|state| state.pulls[0].head.clone_from(&newer));
    let (state, text) = status(&host, &newer).await;
    assert_eq!(
        (&*state, &*text),
        ("success", "1 to change in 1 of 2 Syncs")
    );
    let comments = host.comments(7);
    assert_eq!(comments.len(), 1);
    assert!(
        comments[0].contains("+ data.value: \"three\"") && !comments[0].contains("thief"),
        "{comments:?}"
    );

    // Asked for again, the same plan is not written again. A request that touches no Sync gets no comment.
    let other = propose(&case, 8, &first, &[("README.md", Some("words"))]);
    host.change(|state| {
        state.pulls.push(Pull {
            number: 8,
            head: other.clone(),
            ..Pull::default()
        });
    });
    case.announce().await;
    assert_eq!(
        status(&host, &other).await,
        ("success".to_owned(), "no Sync is touched".to_owned())
    );
    assert!(host.comments(8).is_empty());
    assert_eq!(host.state.lock().unwrap().edits, 2);

    // A closed request is left alone.
    host.change(|state| state.pulls.clear());
    eventually("no request is left", PATIENCE, async || {
        let message = planned(&case, "Planned").await;
        message
            .contains("no open request")
            .then_some(())
            .ok_or(message)
    })
    .await;
    assert_eq!(host.comments(7).len(), 1);

    assert_no_secret(&host);
    assert_eq!(live(&case).await, before_of_b);
    let untouched = |all: &[(String, Option<String>)]| -> Vec<_> {
        all.iter()
            .filter(|(name, _)| name != "b")
            .cloned()
            .collect()
    };
    assert_eq!(untouched(&before), untouched(&before_of_b));
    let account = format!("system:serviceaccount:{namespace}:applier");
    let entries = case.world.cp.audit_since(mark).await;
    let about = |entry: &&towline_testing::audit::Entry| {
        entry.namespace == *namespace
            && ["new", "wrong", "thief", "theirs"].contains(&&*entry.name)
            && entry.user != User::Person.name()
    };
    let tried: Vec<_> = entries
        .iter()
        .filter(about)
        .filter(|entry| entry.is_write())
        .collect();
    assert!(tried.len() >= 4, "{tried:#?}");
    for entry in tried {
        assert!(entry.uri.contains("dryRun=All"), "{entry:#?}");
        assert_eq!(entry.impersonated.as_deref(), Some(&*account), "{entry:#?}");
    }
}

#[tokio::test]
async fn a_request_from_a_fork_needs_the_label() {
    let (case, host) = hosted("fork", "github").await;
    let first = shop(&case, json!({"label": "plan", "limit": 2})).await;
    let map = config_map("a", &case.namespace, "forked");
    let heads: Vec<String> = (1..=4)
        .map(|number| {
            let other = format!("{map}# {number}\n");
            propose(&case, number, &first, &[("shop/a.yaml", Some(&other))])
        })
        .collect();
    let pull = |number: u64, is_fork, labels: &[&'static str]| Pull {
        number,
        head: heads[number as usize - 1].clone(),
        is_fork,
        labels: labels.to_vec(),
    };
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![
            pull(1, true, &["Plan", "bug"]),
            pull(2, true, &["plan"]),
            pull(3, false, &[]),
            pull(4, false, &["plan"]),
        ];
        state.labelled = vec![(2, "ann"), (2, "bob")];
        state.roles = [("ann", json!("read")), ("bob", json!("write"))].into();
    });
    assert_eq!(status(&host, &heads[1]).await.0, "success");
    assert_eq!(status(&host, &heads[2]).await.0, "success");
    let message = planned(&case, "Planned").await;
    assert_eq!(
        message,
        "2 open requests have their plans; 1 request from a fork waits for the label plan; 1 request is over the limit of 2"
    );
    let unasked = async || {
        let is_said = |head: &String| host.status(head).is_some();
        let all = [&heads[0], &heads[3]]
            .into_iter()
            .filter(|head| is_said(head))
            .count();
        (all > 0 || !host.comments(1).is_empty()).then_some(host.recorder.requests())
    };
    never(
        "a plan that nobody asked for",
        std::time::Duration::from_secs(12),
        unasked,
    )
    .await;
    assert!(host.comments(2)[0].contains("forked"));
    // With the mode `Labelled`, a request of the repository itself needs the label as well.
    let labelled = json!({"spec": {"pullRequests": {"mode": "Labelled"}}});
    case.patch::<GitRepository>("repo", labelled).await;
    assert_eq!(status(&host, &heads[3]).await.0, "success");
    eventually("two wait", PATIENCE, async || {
        let message = planned(&case, "Planned").await;
        message
            .contains("2 requests wait for the label plan")
            .then_some(())
            .ok_or(message)
    })
    .await;
}

/// Some people may set labels and may not push. A workflow may set them for strangers.
#[tokio::test]
async fn a_label_counts_if_somebody_set_it_who_may_push() {
    let (case, host) = hosted("labelled", "github").await;
    let first = shop(&case, json!({"label": "plan"})).await;
    let map = config_map("a", &case.namespace, "forked");
    let by = [Some("triager"), Some("labeler[bot]"), None, Some("writer")];
    let pulls = (1..).zip(by).map(|(number, by)| {
        let other = format!("{map}# {number}\n");
        let head = propose(&case, number, &first, &[("shop/a.yaml", Some(&other))]);
        (number, by, head)
    });
    let pulls: Vec<_> = pulls.collect();
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = pulls
            .iter()
            .map(|(number, _, head)| Pull {
                number: *number,
                head: head.clone(),
                is_fork: true,
                labels: vec!["plan"],
            })
            .collect();
        let set = pulls
            .iter()
            .filter_map(|(number, by, _)| Some((*number, (*by)?)));
        state.labelled = set.collect();
        state.roles = [("triager", json!("read")), ("writer", json!("write"))].into();
    });
    assert_eq!(status(&host, &pulls[3].2).await.0, "success");
    let message = planned(&case, "PlanFailed").await;
    for said in [
        "1 of 4 open requests have their plans",
        "#1: its label plan was set by triager, who may not push to the repository",
        "#2: its label plan was set by labeler[bot], who may not push",
        "#3: who set its label plan is not known",
    ] {
        assert!(message.contains(said), "{said}: {message}");
    }
    let comments: Vec<_> = (1..=4).map(|number| host.comments(number).len()).collect();
    assert_eq!(comments, [0, 0, 0, 1]);
    let (state, text) = status(&host, &pulls[0].2).await;
    assert_ne!(state, "success", "{text}");

    // Somebody who may push sets the label anew, and asks for another look.
    host.change(|state| state.labelled.push((1, "writer")));
    case.kubectl_as_person(&[
        "annotate",
        "gitrepository",
        "repo",
        "towline.dev/requested-at=again",
    ])
    .await;
    eventually("the plan", PATIENCE, async || {
        let found = status(&host, &pulls[0].2).await;
        (found.0 == "success").then_some(()).ok_or(found)
    })
    .await;
}

#[tokio::test]
async fn every_host_is_spoken_to_as_it_documents() {
    for kind in ["gitlab", "gitea"] {
        let (case, host) = hosted(kind, kind).await;
        let first = shop(&case, json!({})).await;
        let map = config_map("a", &case.namespace, "two");
        let head = propose(&case, 3, &first, &[("shop/a.yaml", Some(&map))]);
        host.change(|state| {
            state.base.clone_from(&first);
            // What no documentation has hides no other.
            state.odd = vec![json!(null), json!({"id": "x", "number": {}, "iid": "3"})];
            state.pulls = vec![Pull {
                number: 3,
                head: head.clone(),
                ..Pull::default()
            }];
        });
        let (state, text) = status(&host, &head).await;
        assert_eq!(
            (&*state, &*text),
            ("success", "1 to change in 1 of 2 Syncs")
        );
        assert!(host.comments(3)[0].contains("+ data.value: \"two\""));
        let map = config_map("a", &case.namespace, "three");
        let newer = propose(&case, 3, &first, &[("shop/a.yaml", Some(&map))]);
        host.change(|state| state.pulls[0].head.clone_from(&newer));
        assert_eq!(status(&host, &newer).await.0, "success");
        let comments = host.comments(3);
        assert!(
            comments.len() == 1 && comments[0].contains("+ data.value: \"three\""),
            "{comments:?}"
        );
        let message = planned(&case, "Planned").await;
        assert!(
            message.contains("; 2 entries of the host's list cannot be read"),
            "{message}"
        );
        assert_no_secret(&host);
    }
}

#[tokio::test]
async fn a_host_that_fails_has_a_condition_and_delays_no_sync() {
    let (case, host) = hosted("failing", "github").await;
    let first = shop(&case, json!({})).await;
    let map = config_map("a", &case.namespace, "proposed");
    let head = propose(&case, 5, &first, &[("shop/a.yaml", Some(&map))]);
    host.change(|state| {
        state.base.clone_from(&first);
        state.pulls = vec![Pull {
            number: 5,
            head: head.clone(),
            ..Pull::default()
        }];
    });
    for (answer, says) in [
        (Answer::Status(403, ""), "give the token the right"),
        (Answer::Status(404, ""), "does not know the repository"),
        (Answer::Status(500, ""), "a problem of its own"),
        (Answer::Long(200, 100_000), "cannot be read"),
        (Answer::Hang, "did not answer within 2 s"),
    ] {
        host.recorder.answer(answer.clone());
        case.announce().await;
        eventually(says, PATIENCE, async || {
            let message = planned(&case, "PlanFailed").await;
            message.contains(says).then_some(()).ok_or(message)
        })
        .await;
    }
    // While the host hangs, Syncs go on.
    let started = std::time::Instant::now();
    let b = config_map("b", &case.namespace, "while it hangs");
    let second = case.push(&[("still/b.yaml", Some(&b))], "second").await;
    case.synced("still", &second).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
    host.recorder.heal();
    case.announce().await;
    assert_eq!(status(&host, &head).await.0, "success");
    planned(&case, "Planned").await;
    // A Provider that is not there is named.
    let absent = json!({"spec": {"pullRequests": {"providerRef": {"name": "absent"}}}});
    case.patch::<GitRepository>("repo", absent).await;
    let message = planned(&case, "ProviderNotReady").await;
    assert_eq!(message, "Provider absent does not exist");
    let none = json!({"spec": {"pullRequests": null}});
    case.patch::<GitRepository>("repo", none).await;
    eventually("the condition is gone", PATIENCE, async || {
        let object: GitRepository = case.api().get("repo").await.unwrap();
        let conditions = object.status.unwrap_or_default().conditions;
        (conditions.len() == 1).then_some(()).ok_or(conditions)
    })
    .await;
}

#[tokio::test]
async fn a_branch_that_cannot_be_rendered_is_said_to_be_so() {
    let (case, host) = hosted("broken", "github").await;
    let first = shop(&case, json!({})).await;
    let head = propose(&case, 9, &first, &[("shop/a.yaml", Some("kind: ["))]);
    let gone = propose(&case, 10, &first, &[("shop/a.yaml", Some("a: b"))]);
    case.repo.update_ref("refs/pull/10/head", &first);
    host.change(|state| {
        state.base.clone_from(&first);
        let pull = |number, head: &String| Pull {
            number,
            head: head.clone(),
            ..Pull::default()
        };
        state.pulls = vec![pull(9, &head), pull(10, &gone)];
    });
    let (state, text) = status(&host, &head).await;
    assert_eq!(
        (&*state, &*text),
        ("failure", "1 not rendered in 1 of 2 Syncs")
    );
    let comment = &host.comments(9)[0];
    assert!(
        comment.contains("#### `shop`: cannot be rendered") && comment.contains("shop/a.yaml"),
        "{comment}"
    );
    let message = planned(&case, "PlanFailed").await;
    case.wait_for_event("PlanFailed", &[]).await;
    assert!(
        message
            .contains("1 of 2 open requests have their plans; #10: its branch changed meanwhile"),
        "{message}"
    );
    for wrong in [
        json!({"pullRequests": {"mode": "Labelled"}}),
        json!({"pullRequests": {"limit": 0}}),
        json!({"pullRequests": {"interval": "1s"}}),
        json!({"ref": {"branch": null, "tag": "v1"}}),
    ] {
        let api = case.api::<GitRepository>();
        let patch = kube::api::Patch::Merge(json!({ "spec": wrong }));
        let refused = api
            .patch("repo", &kube::api::PatchParams::default(), &patch)
            .await;
        assert!(refused.is_err(), "{wrong}");
    }
}
