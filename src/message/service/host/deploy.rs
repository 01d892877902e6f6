//! Deployments on GitHub and GitLab, by their public documentation. Pure.
//!
//! A deployment is looked for before one is made. So a retry, a restart and another replica go on with the one that exists.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::Place;
use super::{Repository, Unfit, get, line, place, request};
use crate::intent::Service;
use crate::message::{Deployment, DeploymentState, Destination, Request};

/// The deployments of one page. GitLab cannot be asked for those of a commit, so the newest of the environment are read.
const PAGE: usize = 30;
const PAGE_OF_ENVIRONMENT: usize = 50;

/// A host is being told of a deployment: requests, each of which follows from the answer to the one before.
#[derive(Clone)]
pub struct Deploying {
    deployment: Deployment,
    place: Place,
    next: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Look whether the deployment exists.
    Look,
    /// Make it.
    Make,
    /// Say how this one goes.
    Tell(u64),
    /// Give this environment of GitLab its URL.
    Link(u64),
    Done,
}

impl Deploying {
    /// Begins to tell a host of a deployment.
    ///
    /// # Errors
    ///
    /// [`Unfit`], if the repository is none of the host's, or the host keeps no deployments.
    pub fn new(
        deployment: Deployment,
        repository: Option<&Repository>,
        to: &Destination,
    ) -> Result<Self, Unfit> {
        if !to.service.keeps_deployments() {
            return Err(Unfit::NoDeployments);
        }
        Ok(Self {
            deployment,
            place: place(repository, to)?,
            next: Step::Look,
        })
    }

    /// The next request. None if the host knows everything.
    pub fn request(&self, to: &Destination) -> Option<Request> {
        let base = self.place.repository(to);
        let all = format!("{base}/deployments");
        let is_gitlab = to.service == Service::GitLab;
        let put = |url: String, body: Value| Request {
            method: Method::PUT,
            ..request(url, to, &body)
        };
        Some(match self.next {
            Step::Done => return None,
            Step::Look => get(&format!("{all}?{}", self.query(is_gitlab)), to),
            Step::Make if is_gitlab => request(all, to, &self.on_gitlab()),
            Step::Make => request(all, to, &self.on_github()),
            Step::Tell(id) if is_gitlab => {
                put(format!("{all}/{id}"), json!({"status": self.status()}))
            }
            Step::Tell(id) => request(format!("{all}/{id}/statuses"), to, &self.state()),
            Step::Link(id) => put(
                format!("{base}/environments/{id}"),
                json!({"external_url": self.deployment.url}),
            ),
        })
    }

    /// Takes the answer to the request. False if it does not say what it should.
    #[must_use]
    pub fn take(&mut self, answer: &str, to: &Destination) -> bool {
        let is_gitlab = to.service == Service::GitLab;
        let next = match self.next {
            Step::Look if is_gitlab => self.found_on_gitlab(answer),
            Step::Look => self.found_on_github(answer),
            Step::Make | Step::Tell(_) if is_gitlab => self.link(answer),
            Step::Make => serde_json::from_str(answer)
                .ok()
                .map(|OnGitHub { id, .. }| Step::Tell(id)),
            Step::Tell(_) | Step::Link(_) | Step::Done => Some(Step::Done),
        };
        let is_read = next.is_some();
        self.next = next.unwrap_or(Step::Look);
        is_read
    }

    fn query(&self, is_gitlab: bool) -> String {
        let Deployment {
            environment,
            commit,
            ..
        } = &self.deployment;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("environment", environment);
        match is_gitlab {
            true => query
                .append_pair("order_by", "id")
                .append_pair("sort", "desc")
                .append_pair("per_page", &PAGE_OF_ENVIRONMENT.to_string()),
            false => query
                .append_pair("sha", commit)
                .append_pair("per_page", &PAGE.to_string()),
        };
        query.finish()
    }

    /// The deployment of GitHub. Nothing is merged and no check is waited for: the commit is applied already.
    fn on_github(&self) -> Value {
        let Deployment {
            commit,
            environment,
            owner,
            text,
            ..
        } = &self.deployment;
        json!({
            "ref": commit,
            "environment": environment,
            "auto_merge": false,
            "required_contexts": [],
            "payload": {"towline": owner},
            "description": line(text, 140),
        })
    }

    /// A status of it. After success, GitHub makes the earlier deployments of the environment inactive.
    fn state(&self) -> Value {
        let mut state = json!({
            "state": match self.deployment.state {
                DeploymentState::Running => "in_progress",
                DeploymentState::Live => "success",
                DeploymentState::Failed => "failure",
                DeploymentState::Inactive => "inactive",
            },
            "description": line(&self.deployment.text, 140),
        });
        if let Some(url) = &self.deployment.url {
            state["environment_url"] = json!(url);
        }
        state
    }

    fn on_gitlab(&self) -> Value {
        let Deployment {
            commit,
            reference,
            is_tag,
            environment,
            ..
        } = &self.deployment;
        json!({
            "environment": environment,
            "sha": commit,
            "ref": reference,
            "tag": is_tag,
            "status": self.status(),
        })
    }

    fn status(&self) -> &'static str {
        match self.deployment.state {
            DeploymentState::Running => "running",
            DeploymentState::Live => "success",
            DeploymentState::Failed => "failed",
            DeploymentState::Inactive => "canceled",
        }
    }

    /// What follows if there is no such deployment: that a commit is not live needs none.
    fn absent(&self) -> Step {
        match self.deployment.state {
            DeploymentState::Inactive => Step::Done,
            _ => Step::Make,
        }
    }

    /// Others may deploy the same commit to the same environment: a workflow, or another Sync.
    fn found_on_github(&self, answer: &str) -> Option<Step> {
        let found: Vec<OnGitHub> = serde_json::from_str(answer).ok()?;
        let Deployment { commit, owner, .. } = &self.deployment;
        let own = found
            .iter()
            .find(|one| one.sha == *commit && one.payload["towline"] == json!(owner));
        Some(own.map_or_else(|| self.absent(), |own| Step::Tell(own.id)))
    }

    /// Deployments with a job of GitLab's own pipelines cannot be changed.
    fn found_on_gitlab(&self, answer: &str) -> Option<Step> {
        let found: Vec<OnGitLab> = serde_json::from_str(answer).ok()?;
        let Deployment { commit, state, .. } = &self.deployment;
        let own = found
            .into_iter()
            .find(|one| one.sha == *commit && one.deployable.is_none());
        let Some(own) = own else {
            return Some(self.absent());
        };
        // GitLab refuses a status that it has, and none goes back to running.
        let is_told = own.status == self.status() || *state == DeploymentState::Running;
        Some(match is_told {
            true => self.linked(own.environment),
            false => Step::Tell(own.id),
        })
    }

    fn link(&self, answer: &str) -> Option<Step> {
        let told: OnGitLab = serde_json::from_str(answer).ok()?;
        Some(self.linked(told.environment))
    }

    fn linked(&self, environment: Option<Environment>) -> Step {
        match environment {
            Some(known)
                if self.deployment.url.is_some() && known.external_url != self.deployment.url =>
            {
                Step::Link(known.id)
            }
            _ => Step::Done,
        }
    }
}

/// As GitHub writes a deployment.
#[derive(Deserialize)]
struct OnGitHub {
    id: u64,
    #[serde(default)]
    sha: String,
    #[serde(default)]
    payload: Value,
}

/// As GitLab writes a deployment.
#[derive(Deserialize)]
struct OnGitLab {
    id: u64,
    #[serde(default)]
    sha: String,
    #[serde(default)]
    status: String,
    environment: Option<Environment>,
    deployable: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Environment {
    id: u64,
    external_url: Option<String>,
}

#[cfg(test)]
mod tests {
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

    fn deploying(service: Service, state: DeploymentState) -> Result<Deploying, Unfit> {
        let deployment = Deployment {
            commit: COMMIT.to_owned(),
            reference: "main".to_owned(),
            is_tag: false,
            state,
            owner: "towline/eu/prod/shop".to_owned(),
            environment: "eu/prod/shop 1".to_owned(),
            url: (state == DeploymentState::Live).then(|| "https://a.b".to_owned()),
            text: format!("says\n{}", "x".repeat(200)),
        };
        Deploying::new(deployment, Some(&repository(service)), &to(service))
    }

    /// The requests that follow from these answers, with their bodies.
    fn said(service: Service, state: DeploymentState, answers: &[Value]) -> Vec<(String, Value)> {
        let (to, mut deploying) = (to(service), deploying(service, state).unwrap());
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

    const LOOK: &str = "GET ?environment=eu%2Fprod%2Fshop+1&sha=0123456789012345678901234567890123456789&per_page=30";
    const LOOK_AT_GITLAB: &str =
        "GET ?environment=eu%2Fprod%2Fshop+1&order_by=id&sort=desc&per_page=50";

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
        assert_eq!(none, Some(Unfit::NoDeployments));
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
                assert_eq!(deploying.next, Step::Look);
            }
            let mut making = deploying(service, DeploymentState::Live).unwrap();
            assert!(making.take("[]", &to(service)));
            assert!(!making.take("{\"message\": \"merged\"}", &to(service)));
        }
    }
}
