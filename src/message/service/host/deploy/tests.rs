//! What is asked of a host for a deployment, and in which order.

use super::super::super::destination::tests::{intent, secret};
use super::*;

const COMMIT: &str = "0123456789012345678901234567890123456789";

fn to(service: Service) -> Destination {
    let address = (service == Service::Gitea).then_some("https://git.corp");
    Destination::new(&intent(service, address), Some(&secret(&[("token", "t")]))).unwrap()
}

fn repository(service: Service) -> Repository {
    let host = match service {
        Service::GitLab => "gitlab.com",
        Service::Gitea => "git.corp",
        _ => "github.com",
    };
    Repository {
        host: host.to_owned(),
        path: "/a/b.git".to_owned(),
    }
}

fn deploying(service: Service, state: DeploymentState) -> Result<Deploying, NotReportable> {
    let to = to(service);
    Deploying::new(deployment(state), Some(&repository(service)), &to)
}

fn deployment(state: DeploymentState) -> Deployment {
    Deployment {
        commit: COMMIT.to_owned(),
        reference: "main".to_owned(),
        is_tag: false,
        state,
        owner: "towline/eu/prod/shop".to_owned(),
        environment: "eu/prod/shop 1".to_owned(),
        replaces: None,
        url: (state == DeploymentState::Live).then(|| "https://a.b".to_owned()),
        text: format!("says\n{}", "x".repeat(200)),
    }
}

/// The requests that follow from these answers, with their bodies.
fn said(service: Service, state: DeploymentState, answers: &[Value]) -> Vec<(String, Value)> {
    all_of(service, deploying(service, state).unwrap(), answers)
}

fn all_of(service: Service, mut deploying: Deploying, answers: &[Value]) -> Vec<(String, Value)> {
    let to = to(service);
    let mut said = Vec::new();
    let mut answers = answers.iter();
    while let Some(request) = deploying.request(&to) {
        let Request { method, url, .. } = &request;
        let url = url
            .split_once("/deployments")
            .map_or(&**url, |(_, url)| url);
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        said.push((format!("{method} {url}"), body));
        let answer = answers.next().unwrap_or(&Value::Null).to_string();
        assert!(deploying.take(&answer, &to), "{answer}");
    }
    said
}

fn lines(said: &[(String, Value)]) -> Vec<&str> {
    said.iter().map(|(line, _)| &**line).collect()
}

fn on_github(id: u64, sha: &str, owner: &str) -> Value {
    json!({"id": id, "sha": sha, "payload": {"towline": owner}, "task": "deploy"})
}

fn on_gitlab(status: &str, url: Option<&str>) -> Value {
    json!({
        "id": 42, "sha": COMMIT, "status": status, "deployable": null,
        "environment": {"id": 9, "name": "x", "external_url": url},
    })
}

const LOOK: &str =
    "GET ?environment=eu%2Fprod%2Fshop+1&sha=0123456789012345678901234567890123456789&per_page=100";
const LOOK_AT_GITLAB: &str =
    "GET ?environment=eu%2Fprod%2Fshop+1&order_by=id&sort=desc&per_page=100";

#[test]
fn a_deployment_of_github_is_made_and_told() {
    let others = json!([
        on_github(1, COMMIT, "towline/eu/prod/cart"),
        on_github(2, "ff", "towline/eu/prod/shop"),
        {"id": 3, "sha": COMMIT, "payload": ""},
        {"id": 4, "sha": COMMIT},
    ]);
    let made = on_github(7, COMMIT, "towline/eu/prod/shop");
    let said = said(Service::GitHub, DeploymentState::Live, &[others, made]);
    assert_eq!(lines(&said), [LOOK, "POST ", "POST /7/statuses"]);
    let made = &said[1].1;
    assert_eq!(made["ref"], COMMIT);
    assert_eq!(made["environment"], "eu/prod/shop 1");
    assert_eq!(
        (&made["auto_merge"], &made["required_contexts"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(made["payload"], json!({"towline": "towline/eu/prod/shop"}));
    let told = &said[2].1;
    assert_eq!(
        (&told["state"], &told["environment_url"]),
        (&json!("success"), &json!("https://a.b"))
    );
    let description = told["description"].as_str().unwrap();
    assert!(description.chars().count() <= 140 && description.starts_with("says x"));
}

#[test]
fn a_deployment_that_exists_is_told_and_not_made_again() {
    let known = json!([on_github(7, COMMIT, "towline/eu/prod/shop")]);
    for (state, word) in [
        (DeploymentState::Running, "in_progress"),
        (DeploymentState::Failed, "failure"),
        (DeploymentState::Inactive, "inactive"),
    ] {
        let said = said(Service::GitHub, state, std::slice::from_ref(&known));
        assert_eq!(lines(&said), [LOOK, "POST /7/statuses"]);
        assert_eq!(said[1].1["state"], word);
        assert!(said[1].1.get("environment_url").is_none());
    }
    // What never was deployed needs no deployment to be inactive.
    for service in [Service::GitHub, Service::GitLab] {
        let said = said(service, DeploymentState::Inactive, &[json!([])]);
        assert_eq!(said.len(), 1);
    }
}

#[test]
fn a_deployment_of_gitlab_gets_its_status_and_its_environment_the_url() {
    let url = "PUT https://gitlab.com/api/v4/projects/a%2Fb/environments/9";
    let foreign = json!([
        {"id": 1, "sha": COMMIT, "status": "success", "deployable": {"id": 3}},
        {"id": 2, "sha": "ff", "status": "success"},
    ]);
    let live = DeploymentState::Live;
    let said_of = |state, answers: &[Value]| said(Service::GitLab, state, answers);
    let made = said_of(live, &[foreign, on_gitlab("success", None)]);
    assert_eq!(lines(&made), [LOOK_AT_GITLAB, "POST ", url]);
    assert_eq!(
        made[1].1,
        json!({"environment": "eu/prod/shop 1", "sha": COMMIT, "ref": "main", "tag": false, "status": "success"})
    );
    assert_eq!(made[2].1, json!({"external_url": "https://a.b"}));
    for (state, before, after, lines_of) in [
        (live, "running", Some("https://a.b"), &["PUT /42"][..]),
        (live, "running", Some("https://old"), &["PUT /42", url][..]),
        (live, "success", Some("https://a.b"), &[][..]),
        (live, "success", None, &[url][..]),
        (DeploymentState::Running, "failed", None, &[][..]),
        (DeploymentState::Failed, "running", None, &["PUT /42"][..]),
        (DeploymentState::Inactive, "running", None, &["PUT /42"][..]),
    ] {
        let answers = [json!([on_gitlab(before, after)]), on_gitlab("x", after)];
        let said = said_of(state, &answers);
        assert_eq!(lines(&said)[1..], *lines_of, "{state:?} {before}");
    }
    let failed = said_of(DeploymentState::Failed, &[json!([]), on_gitlab("x", None)]);
    assert_eq!(failed[1].1["status"], "failed");
}

#[test]
fn a_host_without_deployments_and_an_answer_that_is_none_are_refused() {
    let none = deploying(Service::Gitea, DeploymentState::Live).err();
    assert_eq!(none, Some(NotReportable::NoDeployments));
    for service in [Service::GitHub, Service::GitLab] {
        for answer in [
            "",
            "{}",
            "<html>",
            "[{}]",
            "[{\"id\": \"x\"}]",
            "[{\"id\": -1}]",
        ] {
            let mut deploying = deploying(service, DeploymentState::Live).unwrap();
            assert!(!deploying.take(answer, &to(service)), "{answer}");
            assert_eq!(deploying.next, DeployStep::Look);
        }
        let mut making = deploying(service, DeploymentState::Live).unwrap();
        assert!(making.take("[]", &to(service)));
        assert!(!making.take("{\"message\": \"merged\"}", &to(service)));
    }
}

/// The commit that was live before. Answers: what is found of the commit, and of the one before.
#[test]
fn what_was_live_before_is_retired_where_the_host_does_not_see_it() {
    const BEFORE: &str = "ffffffffffffffffffffffffffffffffffffffff";
    let of = |id: u64, sha: &str, status: &str| {
        json!({
            "id": id, "sha": sha, "payload": {"towline": "towline/eu/prod/shop"}, "status": status,
            "deployable": null, "environment": {"id": 9, "external_url": "https://a.b"},
        })
    };
    let asked = |service, environment: &str, found: Value, before: Value| {
        let live = Deployment {
            environment: environment.to_owned(),
            replaces: Some(BEFORE.to_owned()),
            ..deployment(DeploymentState::Live)
        };
        let is_there = found != json!([]);
        let deploying = Deploying::new(live, Some(&repository(service)), &to(service)).unwrap();
        let mut answers = vec![found];
        if !is_there {
            answers.push(of(7, COMMIT, "success"));
        }
        if service == Service::GitHub {
            answers.push(json!({"state": "success"}));
        }
        answers.push(before);
        let said = all_of(service, deploying, &answers);
        let retired = said.iter().skip(1).filter_map(|(line, body)| {
            let is_end = body["state"] == "inactive" || body["status"] == "canceled";
            (is_end || line.starts_with("GET")).then(|| line.split('?').next().unwrap().to_owned())
        });
        retired.collect::<Vec<_>>().join(" ")
    };
    let own = || json!([of(7, COMMIT, "success")]);
    let before = |id: u64| json!([of(id, BEFORE, "success")]);
    let (none, failed) = (json!([]), json!([of(8, BEFORE, "failed")]));
    let (github, gitlab) = (Service::GitHub, Service::GitLab);
    for (service, environment, found, known, wanted) in [
        // A new deployment: the host sees it.
        (github, "staging", none.clone(), before(6), ""),
        (gitlab, "staging", none.clone(), before(6), ""),
        (gitlab, "production", none.clone(), before(6), ""),
        (
            github,
            "production",
            none.clone(),
            before(6),
            "GET  POST /6/statuses",
        ),
        // One that is live again, or was in progress.
        (github, "staging", own(), before(8), "GET  POST /8/statuses"),
        (github, "staging", own(), before(6), "GET "),
        (
            github,
            "production",
            own(),
            before(6),
            "GET  POST /6/statuses",
        ),
        (gitlab, "staging", own(), before(8), "GET  PUT /8"),
        (gitlab, "staging", own(), before(6), "GET "),
        (gitlab, "staging", own(), failed, "GET "),
        // Nothing is known of it, or nothing can be read.
        (github, "staging", own(), none.clone(), "GET "),
        (gitlab, "staging", own(), none, "GET "),
        (github, "staging", own(), json!({"message": "no"}), "GET "),
    ] {
        let said = asked(service, environment, found, known);
        assert_eq!(said, wanted, "{service:?} {environment}");
    }
}
