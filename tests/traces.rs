//! Traces of a commit's way, as a receiver with the decoder of the OpenTelemetry Collector gets them.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::prometheus::sample;
use crate::world::election::{ELECTION, leads, standby_with};
use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, PATIENCE, World, config_map, world};
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::otlp::Receiver;
use towline_testing::ports;
use towline_testing::prometheus::scraped;
use towline_testing::recorder::{Answer, Recorder};
use towline_testing::signing::Person;
use towline_testing::wait::eventually;

/// The value of an attribute. Null if it is absent.
fn attribute(holder: &Value, name: &str) -> Value {
    let all = holder["attributes"].as_array().into_iter().flatten();
    let mut all = all.filter(|attribute| attribute["key"] == name);
    let value = all.next().map(|attribute| attribute["value"].clone());
    let value = value.unwrap_or_default();
    match value["intValue"].is_null() {
        true => value["stringValue"].clone(),
        false => value["intValue"].clone(),
    }
}

fn number(span: &Value, field: &str) -> u128 {
    span[field].as_str().unwrap_or_default().parse().unwrap()
}

/// One trace: the span of the whole way, and its steps in the order in which they began.
struct Trace {
    whole: Value,
    steps: Vec<Value>,
}

impl Trace {
    fn names(&self) -> Vec<&str> {
        let steps = self.steps.iter();
        steps.filter_map(|step| step["name"].as_str()).collect()
    }

    fn outcome(&self) -> Value {
        attribute(&self.whole, "towline.outcome")
    }

    /// The names of the spans that are errors.
    fn errors(&self) -> Vec<&str> {
        let spans = std::iter::once(&self.whole).chain(&self.steps);
        let wrong = spans.filter(|span| span["status"]["code"] == 2);
        wrong.filter_map(|span| span["name"].as_str()).collect()
    }
}

/// The traces about a commit.
async fn traces(receiver: &Receiver, commit: &str) -> Vec<Trace> {
    let spans = receiver.spans().await;
    let is_root = |span: &&Value| {
        span["parentSpanId"].as_str().unwrap_or_default().is_empty()
            && attribute(span, "vcs.ref.head.revision") == commit
    };
    let roots = spans.iter().filter(is_root);
    let traces = roots.map(|whole| {
        let is_step = |span: &&Value| {
            span["traceId"] == whole["traceId"] && span["spanId"] != whole["spanId"]
        };
        let mut steps: Vec<Value> = spans.iter().filter(is_step).cloned().collect();
        steps.sort_by_key(|step| number(step, "startTimeUnixNano"));
        Trace {
            whole: whole.clone(),
            steps,
        }
    });
    traces.collect()
}

/// Waits until there is a trace about a commit. Panics if there are two.
async fn traced(receiver: &Receiver, commit: &str) -> Trace {
    eventually("the trace arrives", PATIENCE, async || {
        let mut all = traces(receiver, commit).await;
        match (all.pop(), all.is_empty()) {
            (Some(trace), true) => Ok(trace),
            (Some(_), false) => panic!("{commit} has several traces"),
            (None, _) => Err(receiver.spans().await),
        }
    })
    .await
}

/// Panics unless each step is a part of the way, and begins when the one before it has ended or later.
fn assert_is_in_order(trace: &Trace) {
    let Trace { whole, steps } = trace;
    let (mut last, end) = (
        number(whole, "startTimeUnixNano"),
        number(whole, "endTimeUnixNano"),
    );
    for step in steps {
        let (began, ended) = (
            number(step, "startTimeUnixNano"),
            number(step, "endTimeUnixNano"),
        );
        assert!(
            last <= began && began <= ended && ended <= end,
            "{steps:#?}"
        );
        assert_eq!(step["parentSpanId"], whole["spanId"]);
        last = ended;
    }
}

async fn spans(operator: &Operator, outcome: &str) -> u64 {
    let series = format!("towline_trace_spans_total{{outcome=\"{outcome}\"}}");
    sample(&scraped(operator).await, &series) as u64
}

/// Waits until this many spans had this outcome, or more.
async fn counted(operator: &Operator, outcome: &str, least: u64) {
    eventually(outcome, PATIENCE, async || {
        let found = spans(operator, outcome).await;
        (found >= least).then_some(()).ok_or(found)
    })
    .await;
}

/// Commits a value of the ConfigMap `a`, and waits until it is live.
async fn goes_live(case: &Case<'_>, value: &str) -> String {
    let commit = case
        .push(&[("a.yaml", Some(&*case.map("a", value)))], value)
        .await;
    case.synced("all", &commit).await;
    commit
}

fn files(case: &Case<'_>, value: &str, more: &str) -> [(&'static str, Option<String>); 2] {
    [
        ("a.yaml", Some(case.map("a", value))),
        ("web.yaml", Some(deployment("web", &case.namespace, more))),
    ]
}

/// Commits with a signature.
async fn signed(case: &Case<'_>, ann: &Person, files: &[(&str, Option<String>)]) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, text.as_deref()))
        .collect();
    let commit = ann.commit(&case.repo, &files, "a change");
    case.announce().await;
    commit
}

#[tokio::test]
async fn each_commit_has_one_trace_of_its_way() {
    let receiver = Receiver::start().await;
    let options = Options {
        controllers: true,
        nodes: 1,
        ..Options::default()
    };
    let endpoint = format!("--otlp-endpoint={}", receiver.url());
    let mut world = World::own(options, &[&*endpoint, "--cluster-name=eu-1"]).await;
    let case = world.case("traces").await;
    let ann = Person::with_ssh("ann@example.com");
    let secret = json!({
        "metadata": {"name": "signers"}, "stringData": {"allowed_signers": ann.public},
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let params = PostParams::default();
    case.api().create(&params, &secret).await.unwrap();
    case.repository(json!({"verify": {"secretRef": {"name": "signers"}}}))
        .await;
    case.sync("all", json!({"wait": true, "timeout": "10s"}))
        .await;
    let first = signed(&case, &ann, &files(&case, "first", "")).await;
    case.synced("all", &first).await;
    let trace = traced(&receiver, &first).await;
    assert_eq!(trace.names(), ["render", "plan", "apply", "health"]);

    // One that converges.
    let more = "      terminationGracePeriodSeconds: 5\n";
    let second = signed(&case, &ann, &files(&case, "second", more)).await;
    case.synced("all", &second).await;
    let trace = traced(&receiver, &second).await;
    assert_eq!(
        trace.names(),
        ["fetch", "verify", "render", "plan", "apply", "health"]
    );
    assert_is_in_order(&trace);
    assert_eq!(trace.outcome(), "converged");
    assert_eq!(trace.errors(), Vec::<&str>::new());
    for (name, value) in [
        ("k8s.namespace.name", &*case.namespace),
        ("towline.sync.name", "all"),
        ("towline.repository.name", "repo"),
        ("vcs.ref.head.name", "main"),
        ("vcs.repository.url.full", case.repo.url()),
    ] {
        assert_eq!(attribute(&trace.whole, name), value);
    }
    assert_eq!(attribute(&trace.steps[4], "towline.objects.changed"), "2");
    let resource = receiver.requests().await.unwrap()[0]["resourceSpans"][0]["resource"].take();
    for (name, value) in [
        ("service.name", "towline"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("k8s.cluster.name", "eu-1"),
    ] {
        assert_eq!(attribute(&resource, name), value);
    }
    the_guide_shows(&trace);

    // One that cannot be read.
    let broken = signed(&case, &ann, &[("a.yaml", Some("kind: [".to_owned()))]).await;
    case.ready_becomes("all", "False", "InvalidManifest").await;
    let trace = traced(&receiver, &broken).await;
    assert_eq!(trace.names(), ["fetch", "verify", "render"]);
    assert_eq!(trace.errors(), ["deliver", "render"]);
    let message = trace.whole["status"]["message"].as_str().unwrap();
    assert!(message.contains("a.yaml"), "{message}");
    assert_eq!(attribute(&trace.whole, "error.type"), "InvalidManifest");

    // One that is applied, and is never healthy.
    let sick = signed(&case, &ann, &files(&case, "third", UNSCHEDULABLE)).await;
    case.ready_becomes("all", "False", "HealthFailed").await;
    let trace = traced(&receiver, &sick).await;
    assert_eq!(trace.outcome(), "failed");
    assert_eq!(trace.errors(), ["deliver", "health"]);
    assert_is_in_order(&trace);

    // Another process says none of it again, and goes on.
    let before = receiver.spans().await.len();
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    case.reconcile("all").await;
    let well = signed(&case, &ann, &files(&case, "fourth", "")).await;
    case.synced("all", &well).await;
    let trace = traced(&receiver, &well).await;
    assert_eq!(trace.outcome(), "converged");
    let spans = receiver.spans().await;
    assert_eq!(spans.len(), before + 1 + trace.steps.len(), "{spans:#?}");
    let ids: BTreeSet<&str> = spans
        .iter()
        .filter_map(|span| span["spanId"].as_str())
        .collect();
    assert_eq!(ids.len(), spans.len());
}

/// The guide has a trace as it is received.
fn the_guide_shows(trace: &Trace) {
    let guide = crate::pages::text("docs/guides/traces.md");
    let shown = crate::pages::blocks(&guide, "text");
    let began = number(&trace.whole, "startTimeUnixNano");
    let line = |span: &Value| {
        let after = |field: &str| (number(span, field) - began) / 1_000_000;
        let (from, to) = (after("startTimeUnixNano"), after("endTimeUnixNano"));
        let name = span["name"].as_str().unwrap();
        format!("{name:<8} {from:>6} ms {to:>6} ms\n")
    };
    let lines: String = std::iter::once(&trace.whole)
        .chain(&trace.steps)
        .map(line)
        .collect();
    println!("{lines}");
    let names = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        words.map(str::to_owned).collect()
    };
    assert_eq!(names(&shown[0]), names(&lines));
}

/// A commit that a later one replaces, and one that fails and converges after all.
#[tokio::test]
async fn what_fails_is_told_once_and_what_recovers_belongs_to_it() {
    let receiver = Receiver::start().await;
    let endpoint = format!("--otlp-endpoint={}", receiver.url());
    let world = World::own(Options::default(), &[&*endpoint, "--diff-after=1s"]).await;
    let first = async |namespace: &str| {
        let map = config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "recovers", first, json!({})).await;
    let missing = format!("{}-later", case.namespace);
    let homeless = config_map("b", &missing, "b");
    let commit = case.push(&[("b.yaml", Some(&*homeless))], "homeless").await;
    let trace = traced(&receiver, &commit).await;
    assert_eq!(trace.errors(), ["deliver", "apply"]);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": missing}});
    let namespace: k8s_openapi::api::core::v1::Namespace =
        serde_json::from_value(namespace).unwrap();
    let params = PostParams::default();
    let all = kube::Api::all(case.client.clone());
    all.create(&params, &namespace).await.unwrap();
    case.synced("all", &commit).await;
    let again = eventually("it has recovered", PATIENCE, async || {
        let trace = traced(&receiver, &commit).await;
        let last = trace.steps.last().filter(|last| last["name"] == "recover");
        last.cloned().ok_or(trace.steps)
    })
    .await;
    assert_eq!(again["parentSpanId"], trace.whole["spanId"]);
    assert!(number(&again, "endTimeUnixNano") > number(&trace.whole, "endTimeUnixNano"));
    let content = case.live::<Sync>("all").await["status"]["content"].take();
    assert!(content["failed"].is_string(), "{content}");

    // A commit to another path, or without a change, has no trace.
    let elsewhere = case.push(&[("readme.md", Some("text"))], "elsewhere").await;
    case.synced("all", &elsewhere).await;
    let next = goes_live(&case, "next").await;
    let trace = traced(&receiver, &next).await;
    assert_eq!(trace.outcome(), "converged");
    // Without `wait`, nothing waits for health; without `spec.verify`, no signature is checked.
    assert_eq!(trace.names(), ["fetch", "render", "plan", "apply"]);
    assert!(traces(&receiver, &elsewhere).await.is_empty());
}

/// The receiver hangs, floods, refuses and is busy, and then the operator stops: each is bounded, and no Sync waits.
#[tokio::test]
async fn a_bad_receiver_delays_no_sync() {
    let recorder = Recorder::start();
    recorder.answer(Answer::Hang);
    let cp = ControlPlane::start(Options::default()).await;
    let mut options = OperatorOptions::new(&cp);
    options.env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", recorder.url("/otlp/")),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-token=s3cr3t%20token".to_owned(),
        ),
        ("OTEL_SERVICE_NAME", "gitops".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let mut world = World::with(cp, options).await;
    let first = async |namespace: &str| {
        let map = config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "bad-receiver", first, json!({})).await;
    goes_live(&case, "while it hangs").await;
    let operator = &case.world.operator;
    counted(operator, "delayed", 1).await;

    // The first revision of a Sync has no fetch.
    recorder.answer(Answer::Long(200, 1 << 20));
    counted(operator, "delivered", 4 + 5).await;
    let request = recorder.requests().remove(0);
    assert_eq!(request.line, "POST /otlp/v1/traces HTTP/1.1");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("x-token"), "s3cr3t token");
    let resource = &request.body["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "gitops");

    recorder.answer(Answer::Status(400, ""));
    goes_live(&case, "refused").await;
    counted(operator, "refused", 5).await;
    assert_eq!(spans(operator, "delivered").await, 9);

    let some = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
    recorder.answer(Answer::Json(200, some.to_owned()));
    goes_live(&case, "in part").await;
    counted(operator, "refused", 6).await;
    counted(operator, "delivered", 13).await;

    let delayed = spans(operator, "delayed").await;
    recorder.answer(Answer::Status(429, "Retry-After: 1\r\n"));
    let busy = goes_live(&case, "busy").await;
    counted(operator, "delayed", delayed + 1).await;
    recorder.heal();
    counted(operator, "delivered", 18).await;
    let last = recorder.requests().pop().unwrap();
    assert!(last.body.to_string().contains(&busy));

    recorder.answer(Answer::Hang);
    let end = goes_live(&case, "at the end").await;
    let is_end = |body: &Value| body.to_string().contains(&end);
    recorder.received("the last trace", is_end).await;
    drop(case);
    let log = world.operator.log_path().to_owned();
    assert!(world.operator.terminate(Duration::from_secs(20)).success());
    let log = std::fs::read_to_string(log).unwrap();
    let told = log
        .lines()
        .filter(|line| line.contains("traces are not told"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 3, "delayed, refused, in part: {told:#?}");
    assert!(log.contains("spans of traces are not sent"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
}

#[tokio::test]
async fn what_waits_for_the_receiver_arrives_when_it_is_there() {
    let port = ports::free();
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{port}");
    let world = World::own(Options::default(), &[&*endpoint]).await;
    let first = async |namespace: &str| {
        let map = config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "no-receiver", first, json!({})).await;
    let second = goes_live(&case, "second").await;
    counted(&case.world.operator, "delayed", 1).await;
    let third = goes_live(&case, "third").await;
    let receiver = Receiver::at(port).await;
    for commit in [second, third] {
        assert_eq!(traced(&receiver, &commit).await.outcome(), "converged");
    }
    assert_eq!(spans(&case.world.operator, "dropped").await, 0);
}

/// A commit that the last leader traced has no second trace. One that waits for health when the leader ends has one, by the
/// next leader.
#[tokio::test]
async fn after_a_change_of_the_leader_a_commit_has_one_trace() {
    let receiver = Receiver::start().await;
    let endpoint = format!("--otlp-endpoint={}", receiver.url());
    let args = [ELECTION[0], ELECTION[1], &endpoint];
    let mut world = World::own(Options::default(), &args).await;
    leads(&world.operator).await;
    let mut second = standby_with(&world, &[&endpoint]).await;
    let first = async |namespace: &str| {
        let map = config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(&world, "leaders", first, json!({"wait": true})).await;
    let live = goes_live(&case, "live").await;
    traced(&receiver, &live).await;
    let web = deployment("web", &case.namespace, UNSCHEDULABLE);
    let slow = case.push(&[("web.yaml", Some(&*web))], "slow").await;
    case.ready_becomes("all", "False", "HealthPending").await;
    let waits = case.live::<Sync>("all").await["status"]["content"].take();
    assert_eq!(waits["live"], false, "{waits}");

    let parts = case.into_parts();
    world.operator.terminate(PATIENCE);
    leads(&second).await;
    std::mem::swap(&mut world.operator, &mut second);
    let case = world.resume(parts).await;
    let text = case.map("a", "next");
    let next = case
        .push(&[("web.yaml", None), ("a.yaml", Some(&*text))], "next")
        .await;
    case.synced("all", &next).await;
    assert_eq!(traced(&receiver, &next).await.outcome(), "converged");
    case.reconcile("all").await;
    assert_eq!(traced(&receiver, &live).await.outcome(), "converged");
    // Its leader ended before it had an end, and the next one replaced it.
    let replaced = traces(&receiver, &slow).await;
    assert!(replaced.len() <= 1, "{slow} has {} traces", replaced.len());
}

#[tokio::test]
async fn by_default_there_are_no_traces() {
    let first = async |namespace: &str| {
        let map = config_map("a", namespace, "first");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(world().await, "no-traces", first, json!({})).await;
    case.push(&[("a.yaml", Some("kind: ["))], "broken").await;
    case.ready_becomes("all", "False", "InvalidManifest").await;
    let content = case.live::<Sync>("all").await["status"]["content"].take();
    assert_eq!(content["failed"], Value::Null);
    let text = scraped(&case.world.operator).await;
    assert!(!text.contains("towline_trace_spans_total{"), "{text}");
}
