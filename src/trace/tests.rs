use super::*;
use crate::message::Answer;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn period(began: i64, ended: i64) -> Period {
    let (began, ended) = (at(began), at(ended));
    Period { began, ended }
}

fn way(end: End) -> Way {
    Way {
        revision: format!("main@sha1:{COMMIT}"),
        observed: Some(at(2)),
        whole: period(0, 60),
        steps: vec![
            (Step::Fetch, period(0, 2)),
            (Step::Render, period(3, 4)),
            (Step::Plan, period(4, 5)),
            (Step::Apply, period(5, 9)),
            (Step::Health, period(9, 60)),
        ],
        changes: [1, 2, 0],
        end,
    }
}

fn about() -> About<'static> {
    About {
        namespace: "shop",
        name: "web",
        uid: "6f1c",
        repository: "repo",
        url: "https://git.example/shop",
    }
}

fn failed(step: Step) -> End {
    End::Failed {
        step: Some(step),
        reason: Reason::HealthFailed,
        message: "Deployment shop/web is not available".to_owned(),
    }
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    let mut all = span.attributes.iter();
    all.find_map(|(is, value)| (*is == name).then_some(value))
}

#[test]
fn the_steps_are_parts_of_the_way() {
    let trace = trace(&about(), &way(End::Converged));
    let names: Vec<&str> = trace.spans.iter().map(|span| span.name).collect();
    assert_eq!(
        names,
        ["deliver", "fetch", "render", "plan", "apply", "health"]
    );
    let (whole, steps) = trace.spans.split_first().unwrap();
    assert_eq!((whole.parent, whole.period), (None, period(0, 60)));
    assert!(steps.iter().all(|step| step.parent == Some(whole.id)));
    assert!(trace.spans.iter().all(|span| span.error.is_none()));
    for (name, value) in [
        ("k8s.namespace.name", "shop"),
        ("towline.sync.name", "web"),
        ("towline.outcome", "converged"),
        ("vcs.ref.head.name", "main"),
        ("vcs.ref.head.revision", COMMIT),
        ("vcs.repository.url.full", "https://git.example/shop"),
    ] {
        let expected = Value::Text(value.to_owned());
        assert_eq!(attribute(whole, name), Some(&expected), "{name}");
    }
    let changed = attribute(&steps[3], "towline.objects.changed");
    assert_eq!(changed, Some(&Value::Number(2)));
}

#[test]
fn a_failure_is_an_error_of_the_way_and_of_its_step() {
    let trace = trace(&about(), &way(failed(Step::Health)));
    let wrong: Vec<&str> = trace
        .spans
        .iter()
        .filter(|span| span.error.is_some())
        .map(|span| span.name)
        .collect();
    assert_eq!(wrong, ["deliver", "health"]);
    let kind = attribute(&trace.spans[0], "error.type");
    assert_eq!(kind, Some(&Value::Text("HealthFailed".to_owned())));
}

#[test]
fn ids_follow_from_the_sync_and_the_revision() {
    let first = trace(&about(), &way(End::Converged));
    let again = trace(&about(), &way(failed(Step::Apply)));
    assert_eq!((first.id, first.spans[0].id), (again.id, again.spans[0].id));
    let other_sync = About {
        uid: "7a2d",
        ..about()
    };
    let other = |way: Way| trace(&about(), &way).id;
    assert_ne!(trace(&other_sync, &way(End::Converged)).id, first.id);
    for changed in [
        Way {
            revision: "main@sha1:ff".to_owned(),
            ..way(End::Converged)
        },
        // The branch was set back to it.
        Way {
            observed: Some(at(900)),
            ..way(End::Converged)
        },
    ] {
        assert_ne!(other(changed), first.id);
    }
    let mut ids: Vec<_> = first.spans.iter().map(|span| span.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn what_recovers_belongs_to_the_way_that_failed() {
    let whole = trace(&about(), &way(failed(Step::Apply)));
    let later = Way {
        whole: period(60, 90),
        steps: Vec::new(),
        ..way(End::Recovered)
    };
    let again = trace(&about(), &later);
    assert_eq!(again.id, whole.id);
    assert_eq!(again.spans.len(), 1);
    assert_eq!(again.spans[0].name, "recover");
    assert_eq!(again.spans[0].parent, Some(whole.spans[0].id));
}

/// Clocks that disagree, and whole seconds of a status, make no span that leaves its way or ends before it begins.
#[test]
fn every_step_is_within_the_way() {
    for (whole, step, expected) in [
        ((10, 20), (5, 15), (10, 15)),
        ((10, 20), (15, 25), (15, 20)),
        ((10, 20), (1, 2), (10, 10)),
        ((10, 20), (30, 40), (20, 20)),
        ((10, 20), (15, 12), (15, 15)),
        ((20, 10), (12, 15), (20, 20)),
    ] {
        let way = Way {
            whole: period(whole.0, whole.1),
            steps: vec![(Step::Apply, period(step.0, step.1))],
            ..way(End::Converged)
        };
        let spans = trace(&about(), &way).spans;
        let found = spans[1].period;
        assert_eq!(found, period(expected.0, expected.1), "{whole:?} {step:?}");
    }
}

#[test]
fn texts_have_a_bound() {
    let long = "x".repeat(100_000);
    let url = format!("https://git.example/{long}");
    let about = About {
        url: &url,
        ..about()
    };
    let mut way = way(End::Failed {
        step: Some(Step::Apply),
        reason: Reason::ApplyFailed,
        message: long.clone(),
    });
    way.revision = format!("{long}@sha1:{COMMIT}");
    let trace = trace(&about, &way);
    assert!(written(&trace).len() < 10_000);
    let commit = attribute(&trace.spans[0], "vcs.ref.head.revision");
    assert_eq!(commit, Some(&Value::Text(COMMIT.to_owned())));
}

/// As in the specification's examples of JSON.
#[test]
fn a_body_is_as_the_specification_says() {
    let trace = trace(&about(), &way(failed(Step::Health)));
    let head = head([("service.name", "towline")]);
    let text = written(&trace);
    let body = body(&head, [&*text, &*text].into_iter());
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let resource = &body["resourceSpans"][0];
    let name = serde_json::json!({"key": "service.name", "value": {"stringValue": "towline"}});
    assert_eq!(resource["resource"]["attributes"][0], name);
    let scope = &resource["scopeSpans"][0];
    assert_eq!(scope["scope"]["name"], "towline");
    let spans = scope["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 12);
    let (whole, apply) = (&spans[0], &spans[4]);
    assert_eq!(whole["traceId"], hex::encode(trace.id));
    assert_eq!(whole["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(whole["spanId"].as_str().unwrap().len(), 16);
    assert_eq!(whole["parentSpanId"], serde_json::Value::Null);
    assert_eq!(apply["parentSpanId"], whole["spanId"]);
    assert_eq!(whole["kind"], 1);
    assert_eq!(whole["startTimeUnixNano"], "1800000000000000000");
    assert_eq!(whole["status"]["code"], 2);
    assert_eq!(apply["status"], serde_json::Value::Null);
    let created = serde_json::json!({"key": "towline.objects.created", "value": {"intValue": "1"}});
    assert_eq!(apply["attributes"][0], created);
}

#[test]
fn an_answer_is_judged_by_the_specification() {
    let taken = |rejected, why: &str| Reply::Taken {
        rejected,
        why: why.to_owned(),
    };
    for (status, body, expected) in [
        (200, "{}", taken(0, "")),
        (200, "", taken(0, "")),
        (200, &*"x".repeat(5000), taken(0, "")),
        (
            200,
            r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#,
            taken(3, "too old"),
        ),
        (
            200,
            r#"{"partialSuccess":{"rejectedSpans":2}}"#,
            taken(2, ""),
        ),
        (
            200,
            r#"{"partialSuccess":{"errorMessage":"deprecated"}}"#,
            taken(0, "deprecated"),
        ),
    ] {
        let answer = Answer {
            status,
            body: body.to_owned(),
            ..Answer::default()
        };
        assert_eq!(judge(&answer, at(0)), expected, "{body}");
    }
    for (status, is_later) in [
        (302, false),
        (400, false),
        (401, false),
        (404, false),
        (413, false),
        (429, true),
        (500, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let answer = Answer {
            status,
            retry_after: Some("7".to_owned()),
            body: r#"{"message":"odd"}"#.to_owned(),
            ..Answer::default()
        };
        match judge(&answer, at(0)) {
            Reply::Later(_, pause) => {
                assert!(is_later, "{status}");
                assert_eq!(pause.map(|pause| pause.as_secs()), Some(7));
            }
            Reply::Refused(why) => {
                assert!(!is_later && why.contains(&status.to_string()), "{why}");
                assert_eq!(why.ends_with(": odd"), [400, 413, 500].contains(&status));
            }
            Reply::Taken { .. } => panic!("{status} is taken"),
        }
    }
}
