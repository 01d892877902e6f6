//! A Git host that answers as its documented API does, as far as plans need it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use towline_testing::recorder::{Answer, Recorded, Recorder};

pub const TOKEN: &str = "s3cretToken0123456789";

/// An open pull request.
#[derive(Clone, Default)]
pub struct Pull {
    pub number: u64,
    pub head: String,
    pub is_fork: bool,
    pub labels: Vec<&'static str>,
}

#[derive(Default)]
pub struct State {
    pub pulls: Vec<Pull>,
    /// By their ids: the number of the request, and the text.
    pub comments: BTreeMap<u64, (u64, String)>,
    /// Name and state of statuses, and their texts.
    pub statuses: Vec<(String, Value)>,
    /// The newest commit that a request and `main` have both.
    pub base: String,
    /// How often a comment was written over, and how many were made.
    pub edits: usize,
    made: u64,
    /// How long the text of each request is.
    pub filler: usize,
    /// The comments that the token may not write over: those of others.
    pub others: Vec<u64>,
    /// Who set the label of each request: the number, and the name.
    pub labelled: Vec<(u64, &'static str)>,
    /// What people may do, in the words of the host.
    pub roles: BTreeMap<&'static str, Value>,
    /// What its lists have beside requests and comments.
    pub odd: Vec<Value>,
}

pub struct Host {
    pub recorder: Recorder,
    pub state: Arc<Mutex<State>>,
}

impl Host {
    /// A host of a type of Provider.
    pub fn start(kind: &'static str) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let recorder = Recorder::start();
        let shared = Arc::clone(&state);
        recorder.judge(move |request| answer(kind, request, &mut shared.lock().unwrap()));
        Self { recorder, state }
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The comments on a request.
    pub fn comments(&self, number: u64) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let on = state.comments.values().filter(|(of, _)| *of == number);
        on.map(|(_, text)| text.clone()).collect()
    }

    /// The last state and text of the statuses of a commit.
    pub fn status(&self, commit: &str) -> Option<(String, String)> {
        let state = self.state.lock().unwrap();
        let (_, last) = state.statuses.iter().rev().find(|(of, _)| of == commit)?;
        let text = |field: &str| last[field].as_str().unwrap_or_default().to_owned();
        Some((text("state"), text("description")))
    }
}

fn is_commit(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn answer(kind: &str, request: &Recorded, state: &mut State) -> Answer {
    let mut line = request.line.split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let ok = |body: Value| Answer::Json(200, body.to_string());
    let bad = |status, what: &str| Answer::Json(status, json!({"message": what}).to_string());
    let is_known = match kind {
        "github" => request.header("authorization") == format!("Bearer {TOKEN}"),
        "gitlab" => request.header("private-token") == TOKEN,
        _ => request.header("authorization") == format!("token {TOKEN}"),
    };
    let is_write = !request.body.is_null();
    let text = request.body["body"].as_str().unwrap_or_default().to_owned();
    let longest = if kind == "gitlab" { 1_000_000 } else { 65_536 };
    match () {
        () if !is_known => return bad(401, "Bad credentials"),
        () if request.header("user-agent").is_empty() => return bad(403, "user-agent"),
        () if is_write && request.header("content-type") != "application/json" => {
            return bad(415, "content-type");
        }
        () if kind == "github" && request.header("accept") != "application/vnd.github+json" => {
            return bad(415, "accept");
        }
        () if is_write && text.chars().count() > longest => return bad(422, "body is too long"),
        () => (),
    }
    let rest = match (kind, &path[..]) {
        ("github", ["api", "v3", "repos", "team", _, rest @ ..])
        | ("gitea", ["api", "v1", "repos", "team", _, rest @ ..]) => rest,
        ("gitlab", ["api", "v4", "projects", project, rest @ ..])
            if project.starts_with("team%2F") =>
        {
            rest
        }
        _ => return bad(404, "Not Found"),
    };
    let has = |part: &str| query.split('&').any(|is| is == part);
    match (method, rest) {
        ("GET", ["pulls"]) if has("state=open") => ok(list(kind, state)),
        ("GET", ["merge_requests"]) if has("state=opened") && has("target_branch=main") => {
            ok(merge_requests(state))
        }
        ("GET", ["compare", range]) if kind == "github" => match range.split_once("...") {
            Some(("main", head)) if is_commit(head) => {
                ok(json!({"merge_base_commit": {"sha": state.base}}))
            }
            _ => bad(404, "no such range"),
        },
        ("GET", ["repository", "merge_base"]) if has("refs%5B%5D=main") => {
            ok(json!({"id": state.base}))
        }
        ("GET", ["issues", number, "comments"]) | ("GET", ["merge_requests", number, "notes"]) => {
            let of: u64 = number.parse().unwrap();
            let on = state.comments.iter().filter(|(_, (on, _))| *on == of);
            let on =
                on.map(|(id, (_, text))| json!({"id": id, "body": text, "user": {"login": "bot"}}));
            ok(state.odd.iter().cloned().chain(on).collect())
        }
        ("GET", ["issues", number, "events"]) if kind == "github" => {
            let set = labelled(number, state);
            ok(set
                .map(|(who, label)| json!({"event": "labeled", "label": {"name": label}, "actor": {"login": who}}))
                .collect())
        }
        ("GET", ["collaborators", who, "permission"]) if kind == "github" => {
            match state.roles.get(who) {
                Some(role) => ok(json!({"permission": role, "user": {"login": who}})),
                None => bad(404, "is not a user"),
            }
        }
        ("POST", ["issues", number, "comments"])
        | ("POST", ["merge_requests", number, "notes"]) => {
            state.made += 1;
            let id = 1000 + state.made;
            state.comments.insert(id, (number.parse().unwrap(), text));
            Answer::Json(201, json!({ "id": id }).to_string())
        }
        ("PATCH", ["issues", "comments", id]) | ("PUT", ["merge_requests", _, "notes", id]) => {
            let id: u64 = id.parse().unwrap();
            match state.comments.get_mut(&id) {
                _ if state.others.contains(&id) => bad(403, "Forbidden"),
                Some((_, known)) => {
                    *known = text;
                    state.edits += 1;
                    ok(json!({}))
                }
                None => bad(404, "Not Found"),
            }
        }
        ("POST", ["statuses", commit]) if is_commit(commit) => {
            state
                .statuses
                .push(((*commit).to_owned(), request.body.clone()));
            Answer::Json(201, "{}".to_owned())
        }
        _ => bad(404, "Not Found"),
    }
}

/// Who set each of the labels of a request.
fn labelled(number: &str, state: &State) -> impl Iterator<Item = (&'static str, &'static str)> {
    let number: u64 = number.parse().unwrap();
    let by = state.labelled.iter().filter(move |(of, _)| *of == number);
    let pull = state.pulls.iter().find(move |pull| pull.number == number);
    let labels = pull.map(|pull| pull.labels.clone()).unwrap_or_default();
    by.flat_map(move |(_, who)| labels.clone().into_iter().map(move |label| (*who, label)))
}

fn list(kind: &str, state: &State) -> Value {
    let pulls = state.pulls.iter().map(|pull| {
        let labels: Vec<Value> = pull.labels.iter().map(|name| json!({"name": name})).collect();
        let mut listed = json!({
            "number": pull.number, "state": "open", "labels": labels, "body": "x".repeat(state.filler),
            "head": {"ref": "feature", "sha": pull.head, "repo": {"id": if pull.is_fork { 2 } else { 1 }}},
            "base": {"ref": "main", "sha": state.base, "repo": {"id": 1}},
        });
        if kind == "gitea" {
            listed["merge_base"] = state.base.as_str().into();
        }
        listed
    });
    state.odd.iter().cloned().chain(pulls).collect()
}

fn merge_requests(state: &State) -> Value {
    let requests = state.pulls.iter().map(|pull| {
        json!({
            "iid": pull.number, "id": 9000 + pull.number, "sha": pull.head, "target_branch": "main",
            "source_project_id": if pull.is_fork { 2 } else { 1 }, "target_project_id": 1, "labels": pull.labels,
            "description": "x".repeat(state.filler),
        })
    });
    state.odd.iter().cloned().chain(requests).collect()
}
