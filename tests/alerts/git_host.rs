//! GitHub and GitLab as far as deployments go, at a recorder, by their public documentation.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use towline_testing::recorder::{Answer, Recorded, Recorder};
use towline_testing::wait::{PATIENCE, eventually};

pub(super) const TOKEN: &str = "ghp_s3cretToken0123456789";

/// What a host has: its deployments, each with its states in `said`.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) deployments: Vec<Value>,
    /// The states in the order in which they came, each with the place of its deployment.
    told: Vec<(usize, String)>,
    /// The commit whose deployments GitHub does not show to the token.
    hides: Option<String>,
    /// The URLs of environments, on GitLab.
    pub(super) urls: Vec<Value>,
    /// Answers so to the request that makes a deployment, although it is made.
    loses: Option<Answer>,
}

#[derive(Clone)]
pub(super) struct Host {
    pub(super) service: Arc<Recorder>,
    pub(super) kept: Arc<Mutex<Kept>>,
}

impl Host {
    pub(super) fn start(judge: fn(&Recorded, &mut Kept) -> Answer) -> Self {
        let service = Arc::new(Recorder::start());
        let kept = Arc::<Mutex<Kept>>::default();
        let inner = Arc::clone(&kept);
        service.judge(move |request| judge(request, &mut inner.lock().unwrap()));
        Self { service, kept }
    }

    pub(super) fn lose(&self, answer: Option<Answer>) {
        self.kept.lock().unwrap().loses = answer;
    }

    /// The commits with a deployment, in the order in which the deployments were made.
    pub(super) fn made(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let commits = kept.deployments.iter();
        commits
            .filter_map(|one| one["sha"].as_str().map(str::to_owned))
            .collect()
    }

    /// The commits whose deployments GitHub shows as active. A success makes the earlier deployments of its environment
    /// inactive, except those of `production`.
    pub(super) fn active(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let all: &[Value] = &kept.deployments;
        let mut active = BTreeSet::<usize>::new();
        for (number, state) in &kept.told {
            let environment = &all[*number]["environment"];
            if state == "success" && environment != "production" {
                active.retain(|other| other > number || all[*other]["environment"] != *environment);
            }
            match &**state {
                "success" => active.insert(*number),
                _ => active.remove(number),
            };
        }
        let commits = active.iter().map(|number| all[*number]["sha"].as_str());
        commits.flatten().map(str::to_owned).collect()
    }

    /// The states in the order in which they came, each with its commit.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let kept = self.kept.lock().unwrap();
        let commit_of = |number: &usize| kept.deployments[*number]["sha"].to_string();
        let told = kept.told.iter();
        told.map(|(number, state)| (commit_of(number), state.clone()))
            .collect()
    }

    /// From now on, the deployments of this commit are shown to nobody.
    pub(super) fn hide(&self, commit: Option<&str>) {
        self.kept.lock().unwrap().hides = commit.map(str::to_owned);
    }

    /// The deployments of a commit.
    pub(super) fn of(&self, commit: &str) -> Vec<Value> {
        let kept = self.kept.lock().unwrap();
        let theirs = kept.deployments.iter();
        let theirs = theirs.filter(|one| one["sha"] == json!(commit));
        theirs.cloned().collect()
    }

    /// Waits until a commit has one deployment with these states. Returns it. It may have been in progress first: a slow
    /// machine tells that.
    pub(super) async fn has(&self, commit: &str, states: &[&str]) -> Value {
        eventually(&format!("{commit}: {states:?}"), PATIENCE, async || {
            let found = self.of(commit);
            let is_wanted = |state: &&str| states.contains(state) || !IN_PROGRESS.contains(state);
            let said = found.iter().map(|one| {
                let said = states_of(one);
                said.into_iter()
                    .filter(|state| is_wanted(&&**state))
                    .collect::<Vec<_>>()
            });
            match said.collect::<Vec<_>>() == [states] {
                true => Ok(found[0].clone()),
                false => Err(format!("{found:#?} of {:#?}", self.service.requests())),
            }
        })
        .await
    }
}

const IN_PROGRESS: [&str; 2] = ["in_progress", "running"];

fn states_of(deployment: &Value) -> Vec<String> {
    let said = deployment["said"].as_array().into_iter().flatten();
    let states = said.map(|said| said["state"].as_str().unwrap_or_default());
    states.map(str::to_owned).collect()
}

/// Method, path and query of a request.
fn parts(request: &Recorded) -> (String, Vec<String>, Vec<(String, String)>) {
    let mut line = request.line.split(' ');
    let (method, url) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let path = path.trim_start_matches('/').split('/').map(str::to_owned);
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    (method.to_owned(), path.collect(), query.collect())
}

fn refused(status: u16, what: &str) -> Answer {
    Answer::Json(status, json!({"message": what}).to_string())
}

fn is_commit(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_short(value: &Value, longest: usize) -> bool {
    value.as_str().unwrap_or_default().chars().count() <= longest
}

/// By docs.github.com/rest/deployments: `deployments` and `statuses`.
pub(super) fn github(request: &Recorded, kept: &mut Kept) -> Answer {
    let (method, path, query) = parts(request);
    let body = &request.body;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if request.header("authorization") != format!("Bearer {TOKEN}") {
        return refused(401, "Bad credentials");
    }
    if request.header("accept") != "application/vnd.github+json" {
        return refused(415, "accept");
    }
    let is_hidden = |sha: &String| query.iter().any(|(_, value)| value == sha);
    if kept.hides.as_ref().is_some_and(is_hidden) {
        return refused(403, "Forbidden");
    }
    match (&*method, &path[..]) {
        ("GET", ["api", "v3", "repos", "team", _, "deployments"]) => {
            let is = |one: &&Value| {
                let mut wanted = query.iter().filter(|(key, _)| key != "per_page");
                wanted.all(|(key, value)| one[key] == json!(value))
            };
            let found: Vec<&Value> = kept.deployments.iter().rev().filter(is).collect();
            Answer::Json(200, json!(found).to_string())
        }
        ("POST", ["api", "v3", "repos", "team", _, "deployments"]) => {
            let is_good = is_commit(&body["ref"])
                && body["auto_merge"] == json!(false)
                && body["required_contexts"] == json!([])
                && is_short(&body["environment"], 255)
                && is_short(&body["description"], 140);
            if !is_good {
                return refused(422, "Validation Failed");
            }
            let made = json!({
                "id": kept.deployments.len() + 1, "sha": body["ref"], "environment": body["environment"],
                "payload": body["payload"], "said": [], "filler": "x".repeat(6000),
            });
            kept.deployments.push(made.clone());
            let answer = Answer::Json(201, made.to_string());
            kept.loses.clone().unwrap_or(answer)
        }
        (
            "POST",
            [
                "api",
                "v3",
                "repos",
                "team",
                _,
                "deployments",
                id,
                "statuses",
            ],
        ) => {
            let states = ["in_progress", "success", "failure", "inactive"];
            let is_good = states.contains(&body["state"].as_str().unwrap_or_default())
                && is_short(&body["description"], 140);
            let number = id.parse::<usize>().unwrap_or_default();
            let known = number.checked_sub(1);
            let known = known.and_then(|index| kept.deployments.get_mut(index));
            match known.filter(|_| is_good) {
                Some(known) => known["said"].as_array_mut().unwrap().push(body.clone()),
                None => return refused(422, "Validation Failed"),
            }
            let state = body["state"].as_str().unwrap_or_default();
            kept.told.push((number - 1, state.to_owned()));
            Answer::Json(201, json!({"state": body["state"]}).to_string())
        }
        _ => refused(404, "Not Found"),
    }
}

/// By docs.gitlab.com/api/deployments and docs.gitlab.com/api/environments.
pub(super) fn gitlab(request: &Recorded, kept: &mut Kept) -> Answer {
    let (method, path, query) = parts(request);
    let body = &request.body;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if request.header("private-token") != TOKEN {
        return refused(401, "401 Unauthorized");
    }
    let is_status = |value: &Value| {
        let words = ["running", "success", "failed", "canceled"];
        words.contains(&value.as_str().unwrap_or_default())
    };
    match (&*method, &path[..]) {
        ("GET", ["api", "v4", "projects", _, "deployments"]) => {
            let named = query.iter().find(|(key, _)| key == "environment");
            let is = |one: &&Value| {
                Some(&one["environment"]["name"]) == named.map(|(_, name)| json!(name)).as_ref()
            };
            let found: Vec<&Value> = kept.deployments.iter().rev().filter(is).collect();
            Answer::Json(200, json!(found).to_string())
        }
        ("POST", ["api", "v4", "projects", _, "deployments"]) => {
            let is_good = is_commit(&body["sha"])
                && is_status(&body["status"])
                && body["tag"].is_boolean()
                && !body["ref"].as_str().unwrap_or_default().is_empty()
                && is_short(&body["environment"], 255);
            if !is_good {
                return refused(400, "bad request");
            }
            let made = json!({
                "id": kept.deployments.len() + 1, "sha": body["sha"], "ref": body["ref"], "status": body["status"],
                "environment": {"id": 9, "name": body["environment"], "external_url": kept.urls.last()},
                "deployable": null, "said": [{"state": body["status"]}],
            });
            kept.deployments.push(made.clone());
            Answer::Json(201, made.to_string())
        }
        ("PUT", ["api", "v4", "projects", _, "deployments", id]) => {
            let number = id.parse::<usize>().unwrap_or_default();
            let known = number.checked_sub(1);
            let Some(known) = known.and_then(|index| kept.deployments.get_mut(index)) else {
                return refused(404, "404 Not found");
            };
            if !is_status(&body["status"]) || known["status"] == body["status"] {
                return refused(400, "Cannot transition status");
            }
            known["status"] = body["status"].clone();
            let said = json!({"state": body["status"]});
            known["said"].as_array_mut().unwrap().push(said);
            Answer::Json(200, known.to_string())
        }
        ("PUT", ["api", "v4", "projects", _, "environments", "9"]) => {
            kept.urls.push(body["external_url"].clone());
            for known in &mut kept.deployments {
                known["environment"]["external_url"] = body["external_url"].clone();
            }
            Answer::Json(200, json!({"id": 9}).to_string())
        }
        _ => refused(404, "404 Not found"),
    }
}
