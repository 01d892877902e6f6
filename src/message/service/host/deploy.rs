//! Deployments on GitHub and GitLab, by their public documentation. Pure.
//!
//! A deployment is looked for before one is made. So a retry, a restart and another replica go on with the one that exists.

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::list::{Listed, listed, or_default};
use super::project::HostProject;
use super::{NotReportable, Repository, get, line, project, request};
use crate::api::short_commits;
use crate::intent::Service;
use crate::message::{Deployment, DeploymentState, Destination, Request};

/// The deployments of one page, as many as both hosts give: those of a commit, by all Syncs of the environment. GitLab
/// cannot be asked for those of a commit, so the newest of the environment are read.
const PAGE: usize = 100;

/// The environment whose earlier deployments GitHub leaves active.
const PRODUCTION: &str = "production";

/// A host is being told of a deployment: requests, each of which follows from the answer to the one before.
#[derive(Clone)]
pub struct Deploying {
    deployment: Deployment,
    project: HostProject,
    next: DeployStep,
    /// The deployment, and whether it was there already.
    own: Option<(u64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DeployStep {
    /// Look whether the deployment exists.
    Look,
    /// Make it.
    Make,
    /// Say how this one goes.
    Tell(u64),
    /// Give this environment of GitLab its URL.
    Link(u64),
    /// Look for the deployment of the commit that was live before.
    LookBack,
    /// Say that this one is not live any more.
    Retire(u64),
    Done,
}

impl Deploying {
    /// Begins to tell a host of a deployment.
    ///
    /// # Errors
    ///
    /// [`NotReportable`], if the repository is none of the host's, or the host keeps no deployments.
    pub fn new(
        deployment: Deployment,
        repository: Option<&Repository>,
        to: &Destination,
    ) -> Result<Self, NotReportable> {
        if !to.service.keeps_deployments() {
            return Err(NotReportable::NoDeployments);
        }
        Ok(Self {
            deployment,
            project: project(repository, to)?,
            next: DeployStep::Look,
            own: None,
        })
    }

    /// The next request. None if the host knows everything.
    pub fn request(&self, to: &Destination) -> Option<Request> {
        let base = self.project.repository(to);
        let all = format!("{base}/deployments");
        let is_gitlab = to.service == Service::GitLab;
        let put = |url: String, body: Value| Request {
            method: Method::PUT,
            ..request(url, to, &body)
        };
        Some(match self.next {
            DeployStep::Done => return None,
            DeployStep::Look => get(&format!("{all}?{}", self.query(is_gitlab)), to),
            DeployStep::LookBack => get(&format!("{all}?{}", self.query_back(is_gitlab)), to),
            DeployStep::Make if is_gitlab => request(all, to, &self.on_gitlab()),
            DeployStep::Make => request(all, to, &self.on_github()),
            DeployStep::Tell(id) if is_gitlab => {
                put(format!("{all}/{id}"), json!({"status": self.status()}))
            }
            DeployStep::Tell(id) => request(format!("{all}/{id}/statuses"), to, &self.state()),
            DeployStep::Retire(id) if is_gitlab => {
                put(format!("{all}/{id}"), json!({"status": "canceled"}))
            }
            DeployStep::Retire(id) => request(format!("{all}/{id}/statuses"), to, &self.retired()),
            DeployStep::Link(id) => put(
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
            DeployStep::Look if is_gitlab => self.found_on_gitlab(answer),
            DeployStep::Look => self.found_on_github(answer),
            DeployStep::Make | DeployStep::Tell(_) if is_gitlab => self.link(answer),
            DeployStep::Make => serde_json::from_str(answer)
                .ok()
                .map(|OnGitHub { id, .. }| {
                    self.own = Some((id, false));
                    DeployStep::Tell(id)
                }),
            DeployStep::Tell(_) | DeployStep::Link(_) => Some(self.settled(is_gitlab)),
            DeployStep::LookBack => Some(
                self.retires(answer, is_gitlab)
                    .map_or(DeployStep::Done, DeployStep::Retire),
            ),
            DeployStep::Retire(_) | DeployStep::Done => Some(DeployStep::Done),
        };
        let is_read = next.is_some();
        self.next = next.unwrap_or(DeployStep::Look);
        is_read
    }

    fn query(&self, is_gitlab: bool) -> String {
        self.query_of(&self.deployment.commit, is_gitlab)
    }

    fn query_back(&self, is_gitlab: bool) -> String {
        let before = self.deployment.replaces.as_deref();
        self.query_of(before.unwrap_or_default(), is_gitlab)
    }

    fn query_of(&self, commit: &str, is_gitlab: bool) -> String {
        let environment = &self.deployment.environment;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("environment", environment);
        match is_gitlab {
            true => query
                .append_pair("order_by", "id")
                .append_pair("sort", "desc")
                .append_pair("per_page", &PAGE.to_string()),
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

    /// The status of the deployment whose place this one takes.
    fn retired(&self) -> Value {
        let by = short_commits(&self.deployment.commit);
        json!({"state": "inactive", "description": format!("superseded by {by}")})
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
    fn absent(&self) -> DeployStep {
        match self.deployment.state {
            DeploymentState::Inactive => DeployStep::Done,
            _ => DeployStep::Make,
        }
    }

    fn found_on_github(&mut self, answer: &str) -> Option<DeployStep> {
        let own = self.own_on_github(answer, &self.deployment.commit)?;
        self.own = own.map(|id| (id, true));
        Some(own.map_or_else(|| self.absent(), DeployStep::Tell))
    }

    /// The deployment of a commit, or none. Others may deploy the same commit to the same environment: a workflow, or
    /// another Sync.
    fn own_on_github(&self, answer: &str, commit: &str) -> Option<Option<u64>> {
        let found = deployments::<OnGitHub>(answer)?;
        let owner = json!(self.deployment.owner);
        let mut found = found.iter();
        let own = found.find(|one| one.sha == commit && one.payload["towline"] == owner);
        Some(own.map(|own| own.id))
    }

    fn found_on_gitlab(&mut self, answer: &str) -> Option<DeployStep> {
        let Deployment { commit, state, .. } = &self.deployment;
        let Some(own) = own_on_gitlab(answer, commit)? else {
            return Some(self.absent());
        };
        self.own = Some((own.id, true));
        // GitLab refuses a status that it has, and none goes back to running.
        let is_told = own.status == self.status() || *state == DeploymentState::Running;
        Some(match is_told {
            true => self.linked(own.environment),
            false => DeployStep::Tell(own.id),
        })
    }

    fn link(&mut self, answer: &str) -> Option<DeployStep> {
        let told: OnGitLab = serde_json::from_str(answer).ok()?;
        self.own.get_or_insert((told.id, false));
        Some(self.linked(told.environment))
    }

    fn linked(&self, environment: Option<Environment>) -> DeployStep {
        match environment {
            Some(known)
                if self.deployment.url.is_some() && known.external_url != self.deployment.url =>
            {
                DeployStep::Link(known.id)
            }
            _ => self.settled(true),
        }
    }

    /// What follows when the host knows how it goes. Hosts see by themselves that a newer deployment takes the place of an
    /// older one, but not that a commit is live again, and GitHub not for its environment `production`.
    fn settled(&self, is_gitlab: bool) -> DeployStep {
        let is_known = self.own.is_some_and(|(_, was_there)| was_there);
        let is_seen = !is_known && (is_gitlab || !self.is_production());
        match &self.deployment.replaces {
            Some(_) if !is_seen => DeployStep::LookBack,
            _ => DeployStep::Done,
        }
    }

    fn is_production(&self) -> bool {
        self.deployment.environment == PRODUCTION
    }

    /// The deployment of the commit that was live before, if the host does not see that it is not live any more.
    fn retires(&self, answer: &str, is_gitlab: bool) -> Option<u64> {
        let before = self.deployment.replaces.as_deref()?;
        let (own, _) = self.own?;
        let (id, is_live) = match is_gitlab {
            true => {
                let found = own_on_gitlab(answer, before)??;
                (found.id, found.status == "success")
            }
            false => (self.own_on_github(answer, before)??, true),
        };
        let is_seen = id < own && (is_gitlab || !self.is_production());
        (is_live && id != own && !is_seen).then_some(id)
    }
}

/// The deployments of a list. None if it has others alone: one that is there and cannot be read would be made again.
fn deployments<T: DeserializeOwned>(answer: &str) -> Option<Vec<T>> {
    let Listed { items, odd } = listed(answer)?;
    (odd == 0 || !items.is_empty()).then_some(items)
}

/// The deployment of a commit, or none. Those with a job of GitLab's own pipelines cannot be changed.
fn own_on_gitlab(answer: &str, commit: &str) -> Option<Option<OnGitLab>> {
    let found = deployments::<OnGitLab>(answer)?;
    let mut found = found.into_iter();
    Some(found.find(|one| one.sha == commit && one.deployable.is_none()))
}

/// As GitHub writes a deployment.
#[derive(Deserialize)]
struct OnGitHub {
    id: u64,
    #[serde(default, deserialize_with = "or_default")]
    sha: String,
    #[serde(default)]
    payload: Value,
}

/// As GitLab writes a deployment.
#[derive(Deserialize)]
struct OnGitLab {
    id: u64,
    #[serde(default, deserialize_with = "or_default")]
    sha: String,
    #[serde(default, deserialize_with = "or_default")]
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
mod tests;
