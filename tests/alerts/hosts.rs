//! Git hosts check what they get as they document it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use towline::api::{Alert, Provider};

use super::{becomes, make_secret, provider};
use crate::world::{Case, config_map, world};
use towline_testing::recorder::{Answer, Recorded, Recorder};
use towline_testing::wait::{PATIENCE, eventually};

/// A Git host: its type, the path of its address, and what it makes of a request.
struct Host {
    kind: &'static str,
    address: &'static str,
    secret: &'static [(&'static str, &'static str)],
    /// The path that takes a status, with `REPO` and `SHA` in it.
    path: &'static str,
    /// The states in its words: success and failure.
    states: [&'static str; 2],
    check: fn(&Recorded) -> Result<(), &'static str>,
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

/// Whether a text has 1 to so many characters.
fn has(body: &Value, field: &str, most: usize) -> bool {
    (1..=most).contains(&text(body, field).chars().count())
}

fn basic(login: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(login))
}

fn need(is: bool, what: &'static str) -> Result<(), &'static str> {
    is.then_some(()).ok_or(what)
}

/// By docs.gitlab.com/api/commits: the state, and `name` and `description` of at most 255 characters.
fn gitlab(request: &Recorded) -> Result<(), &'static str> {
    let body = &request.body;
    let states = [
        "pending", "running", "success", "failed", "canceled", "skipped",
    ];
    need(request.header("private-token") == "t0ken", "token")?;
    need(request.header("authorization").is_empty(), "two tokens")?;
    need(states.contains(&text(body, "state")), "state")?;
    need(
        has(body, "name", 255) && has(body, "description", 255),
        "texts",
    )
}

/// By the Swagger of Gitea and Forgejo: `CreateStatusOption`.
fn gitea(request: &Recorded) -> Result<(), &'static str> {
    let body = &request.body;
    let states = ["pending", "success", "error", "failure", "warning"];
    need(request.header("authorization") == "token t0ken", "token")?;
    need(states.contains(&text(body, "state")), "state")?;
    need(
        has(body, "context", 255) && has(body, "description", 255),
        "texts",
    )
}

/// By developer.atlassian.com, commit statuses of Bitbucket Cloud: key and URL are required, and a key has 40 characters.
fn bitbucket(request: &Recorded) -> Result<(), &'static str> {
    let body = &request.body;
    let states = ["SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"];
    need(
        request.header("authorization") == basic("me:app-password"),
        "login",
    )?;
    need(states.contains(&text(body, "state")), "state")?;
    need(has(body, "key", 40) && has(body, "name", 255), "key")?;
    need(
        text(body, "url").starts_with("http") && has(body, "description", 255),
        "url",
    )
}

/// By developer.atlassian.com, builds of Bitbucket Data Center.
fn data_center(request: &Recorded) -> Result<(), &'static str> {
    let body = &request.body;
    let states = ["SUCCESSFUL", "FAILED", "INPROGRESS", "CANCELLED", "UNKNOWN"];
    need(request.header("authorization") == "Bearer t0ken", "token")?;
    need(states.contains(&text(body, "state")), "state")?;
    need(has(body, "key", 255) && has(body, "name", 255), "key")?;
    need(
        text(body, "url").starts_with("http") && has(body, "description", 255),
        "url",
    )
}

/// By learn.microsoft.com, Statuses - Create.
fn azure(request: &Recorded) -> Result<(), &'static str> {
    let (body, context) = (&request.body, &request.body["context"]);
    let states = [
        "notSet",
        "pending",
        "succeeded",
        "failed",
        "error",
        "notApplicable",
    ];
    need(request.header("authorization") == basic(":t0ken"), "token")?;
    need(states.contains(&text(body, "state")), "state")?;
    need(
        has(context, "name", 255) && has(context, "genre", 255),
        "context",
    )?;
    need(has(body, "description", 255), "description")
}

const HOSTS: [Host; 5] = [
    Host {
        kind: "gitlab",
        address: "/gitlab",
        secret: &[("token", "t0ken")],
        path: "/gitlab/api/v4/projects/team%2Fproject%2F_git%2FREPO/statuses/SHA",
        states: ["success", "failed"],
        check: gitlab,
    },
    Host {
        kind: "gitea",
        address: "/gitea/",
        secret: &[("token", "t0ken")],
        path: "/gitea/api/v1/repos/team/REPO/statuses/SHA",
        states: ["success", "failure"],
        check: gitea,
    },
    Host {
        kind: "bitbucket",
        address: "/cloud",
        secret: &[("token", "me:app-password")],
        path: "/cloud/2.0/repositories/team/REPO/commit/SHA/statuses/build",
        states: ["SUCCESSFUL", "FAILED"],
        check: bitbucket,
    },
    Host {
        kind: "bitbucketserver",
        address: "/center/rest/api/latest",
        secret: &[("token", "t0ken")],
        path: "/center/rest/api/latest/projects/team/repos/REPO/commits/SHA/builds",
        states: ["SUCCESSFUL", "FAILED"],
        check: data_center,
    },
    Host {
        kind: "azuredevops",
        address: "",
        secret: &[("token", "t0ken")],
        path: "/team/project/_apis/git/repositories/REPO/commits/SHA/statuses?api-version=7.1",
        states: ["succeeded", "failed"],
        check: azure,
    },
];

/// Repositories of Azure DevOps, and of groups below groups of GitLab, have more parts in their paths.
fn is_deep(host: &Host) -> bool {
    matches!(host.kind, "azuredevops" | "gitlab")
}

/// A Provider of a host, and an Alert about one Sync.
async fn told(case: &Case<'_>, service: &Recorder, host: &Host) {
    let secret: serde_json::Map<String, Value> = host
        .secret
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    make_secret(case, host.kind, Value::Object(secret)).await;
    let spec = json!({
        "type": host.kind, "address": service.url(host.address), "secretRef": {"name": host.kind},
    });
    provider(case, host.kind, spec).await;
    let sync = match is_deep(host) {
        true => "a-sync-of-a-repository-with-more-parts-in-its-path",
        false => "a-sync-with-a-name-that-is-too-long-for-some",
    };
    case.make::<Alert>(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Alert",
        "metadata": {"name": host.kind, "namespace": case.namespace},
        "spec": {
            "providerRef": {"name": host.kind}, "groupWait": "1ms",
            "eventSources": [{"kind": "Sync", "name": sync}],
        },
    }))
    .await;
    becomes::<Alert>(case, host.kind, "True", "Delivering").await;
}

#[tokio::test]
async fn each_host_takes_what_it_gets() {
    let world = world().await;
    let mut case = world.case("hosts").await;
    let deep = world.git.repo_of("team/project/_git", &case.namespace);
    case.repo = world.git.repo_of("team", &case.namespace);
    let service = Recorder::start();
    let name = case.namespace.clone();
    service.judge(move |request| {
        let at = |host: &&Host| {
            let path = host.path.replace("REPO", &name);
            let (before, after) = path.split_once("SHA").unwrap();
            let line = request.line.strip_prefix("POST ");
            let rest = line.and_then(|line| line.strip_prefix(before));
            rest.is_some_and(|rest| rest.len() > 40 && rest[40..] == format!("{after} HTTP/1.1"))
        };
        let is_json = request.header("content-type") == "application/json";
        match HOSTS.iter().find(at).map(|host| (host.check)(request)) {
            Some(Ok(())) if is_json => Answer::Json(201, "{}".to_owned()),
            Some(checked) => Answer::Json(400, json!({"message": checked.err()}).to_string()),
            None => Answer::Status(404, ""),
        }
    });
    for host in &HOSTS {
        told(&case, &service, host).await;
    }
    let good = |name: &str| config_map(name, &case.namespace, "one");
    let commits = [(&case.repo, "a"), (&deep, "b")].map(|(repo, name)| {
        let first = repo.commit(&[("a.yaml", Some(&good(name)))], "good");
        (first, repo)
    });
    case.repository(json!({})).await;
    case.repository_named("deep", json!({"url": deep.url()}))
        .await;
    case.sync("a-sync-with-a-name-that-is-too-long-for-some", json!({}))
        .await;
    let spec = json!({"sourceRef": {"name": "deep"}});
    case.sync("a-sync-of-a-repository-with-more-parts-in-its-path", spec)
        .await;
    let firsts = commits.each_ref().map(|(first, _)| first.clone());
    has_all(&case, &service, &firsts, 0).await;
    let seconds = commits.map(|(_, repo)| repo.commit(&[("a.yaml", Some("kind: ["))], "bad"));
    case.announce().await;
    announce_deep(&case).await;
    has_all(&case, &service, &seconds, 1).await;
    for host in &HOSTS {
        becomes::<Provider>(&case, host.kind, "True", "Delivering").await;
        becomes::<Alert>(&case, host.kind, "True", "Delivering").await;
    }
}

async fn announce_deep(case: &Case<'_>) {
    let now = json!({"metadata": {"annotations": {"towline.dev/requested-at": "now"}}});
    case.patch::<towline::api::GitRepository>("deep", now).await;
}

/// Waits until each host has the state of its commit.
async fn has_all(case: &Case<'_>, service: &Recorder, [flat, deep]: &[String; 2], state: usize) {
    for host in &HOSTS {
        let commit = match is_deep(host) {
            true => deep,
            false => flat,
        };
        let path = host
            .path
            .replace("REPO", &case.namespace)
            .replace("SHA", commit);
        eventually(host.kind, PATIENCE, async || {
            let all = service.requests();
            let found = all.iter().any(|request| {
                request.line == format!("POST {path} HTTP/1.1")
                    && request.body["state"] == json!(host.states[state])
            });
            found.then_some(()).ok_or_else(|| format!("{all:#?}"))
        })
        .await;
    }
}
