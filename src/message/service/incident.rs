//! Services that keep a problem until it is over. They take no news.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Destination, Message, Problem, Request, json, key};
use crate::text::shorten;

/// How long Alertmanager keeps a problem that is not sent again.
pub(in crate::message) const KEPT: Duration = Duration::from_secs(300);

/// Alertmanager: `POST /api/v2/alerts`. All problems of a message are in one request.
pub(super) fn alertmanager(message: &Message, to: &Destination) -> Option<Request> {
    if message.problems.is_empty() {
        return None;
    }
    let alerts = message.problems.iter();
    let alerts: Vec<Value> = alerts.map(|problem| alert(message, problem)).collect();
    let url = to.address.with_path("/api/v2/alerts");
    Some(json(url, to, &Value::Array(alerts)))
}

/// An alert is known by its labels, so they must be the same when it ends.
fn alert(message: &Message, problem: &Problem) -> Value {
    let own = [
        ("alertname", format!("Towline{}", problem.reason.as_str())),
        ("reason", problem.reason.as_str().to_owned()),
        ("severity", "error".to_owned()),
        ("kind", problem.subject.kind.to_string()),
        ("namespace", problem.subject.namespace.to_string()),
        ("name", problem.subject.name.to_string()),
    ];
    let mut labels = Map::new();
    for (name, value) in &message.metadata {
        let mut name = label_name(name);
        // Ours tell one problem from another, so they win. The other one is kept as Prometheus keeps labels of a target that
        // clash with its own.
        if own.iter().any(|(ours, _)| *ours == name) {
            name.insert_str(0, "exported_");
        }
        labels.insert(name, json!(value));
    }
    for (name, value) in own {
        labels.insert(name.to_owned(), json!(value));
    }
    let mut annotations = Map::new();
    annotations.insert(
        "summary".to_owned(),
        json!(format!("{}: {}", problem.reason.as_str(), problem.subject)),
    );
    annotations.insert("description".to_owned(), json!(problem.message));
    for (name, value) in [
        ("revision", &problem.revision),
        ("author", &problem.author),
        ("runbook", &Some(problem.reason_page.clone())),
        ("way_out", &Some(problem.reason.way_out().to_owned())),
    ] {
        if let Some(value) = value {
            annotations.insert(name.to_owned(), json!(value));
        }
    }
    // Alertmanager takes no end before the begin, and both may be in one second.
    let until = match problem.until {
        Some(until) => until.max(problem.since),
        None => soon(message.at),
    };
    json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": problem.since.to_string(),
        "endsAt": until.to_string(),
        "generatorURL": problem.commit_url.clone().unwrap_or_default(),
    })
}

fn soon(at: Timestamp) -> Timestamp {
    at.saturating_add(KEPT).unwrap_or(at)
}

/// The name in the form of a label: letters, digits and `_`, and no digit at the start.
fn label_name(name: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut label: String = name
        .chars()
        .map(|c| if valid(c) { c } else { '_' })
        .collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) || label.is_empty() {
        label.insert(0, '_');
    }
    label
}

/// `PagerDuty`: Events API version 2. A request has one problem.
pub(super) fn pagerduty(message: &Message, to: &Destination) -> Vec<Request> {
    let problems = message.problems.iter();
    let event = |problem: &Problem| {
        let mut event = json!({
            "routing_key": to.token(),
            "event_action": match problem.until {
                None => "trigger",
                Some(_) => "resolve",
            },
            "dedup_key": key(message, problem, 255),
        });
        if let (Some(fields), None) = (event.as_object_mut(), problem.until) {
            fields.insert("client".to_owned(), json!("towline"));
            fields.insert("payload".to_owned(), payload(message, problem));
            let links = problem.commit_url.iter();
            let links: Vec<Value> = links
                .map(|url| json!({"href": url, "text": "Commit"}))
                .collect();
            fields.insert("links".to_owned(), json!(links));
        }
        json(to.address.with_path("/v2/enqueue"), to, &event)
    };
    problems.map(event).collect()
}

fn payload(message: &Message, problem: &Problem) -> Value {
    let summary = format!(
        "{}: {}: {}",
        problem.reason.as_str(),
        problem.subject,
        problem.message
    );
    json!({
        "summary": shorten(&summary, 1000),
        "source": problem.subject.to_string(),
        "severity": "error",
        "timestamp": problem.since.to_string(),
        "component": &*problem.subject.name,
        "group": &*problem.subject.namespace,
        "class": problem.reason.as_str(),
        "custom_details": {
            "revision": problem.revision,
            "author": problem.author,
            "metadata": message.metadata,
            "reasonPage": problem.reason_page,
            "wayOut": problem.reason.way_out(),
        },
    })
}

/// Opsgenie: "Create Alert" and "Close Alert" of the Alert API.
pub(super) fn opsgenie(message: &Message, to: &Destination) -> Vec<Request> {
    let problems = message.problems.iter();
    let request = |problem: &Problem| {
        let alias = key(message, problem, 512);
        if problem.until.is_some() {
            let alias =
                percent_encoding::utf8_percent_encode(&alias, percent_encoding::NON_ALPHANUMERIC);
            let url = format!("/v2/alerts/{alias}/close?identifierType=alias");
            let note = json!({"source": "towline", "note": problem.message});
            return json(to.address.below(&url), to, &note);
        }
        let mut details = Map::new();
        for (name, value) in &message.metadata {
            details.insert(name.clone(), json!(value));
        }
        for (name, value) in [
            ("revision", &problem.revision),
            ("author", &problem.author),
            ("commit", &problem.commit_url),
        ] {
            if let Some(value) = value {
                details.insert(name.to_owned(), json!(value));
            }
        }
        let title = format!("{}: {}", problem.reason.as_str(), problem.subject);
        let alert = json!({
            "message": shorten(&title, 130),
            "alias": alias,
            "description": shorten(&problem.message, 14_000),
            "tags": ["towline", problem.reason.as_str()],
            "details": details,
            "entity": shorten(&problem.subject.to_string(), 500),
            "source": "towline",
            "priority": "P3",
        });
        json(to.address.below("/v2/alerts"), to, &alert)
    };
    problems.map(request).collect()
}
