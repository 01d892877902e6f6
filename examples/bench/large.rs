//! Rows 5 and 7, and 1 and 6 at 10,000 objects: one large Sync.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use crate::Options;
use crate::bed::{Bed, Requests, has_value};
use crate::floor::{CONNECTIONS, Raw};
use crate::load::Load;
use crate::report::{Limit, Report, Row, Unit, best, median, millis, seconds};
use crate::seen;
use crate::small::{create, memory};
use towline_testing::audit::Entry;
use towline_testing::kubeconfig::User;
use towline_testing::usage::{Memory, processor_time};

const NAME: &str = "large";

/// The number of restarts. Each has its own floor.
const RESTARTS: usize = 2;

/// The number of objects in the measurement that chooses the number of connections.
const SAMPLE: usize = 1_000;

pub async fn measure(options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    let load = Load::new(NAME, options.objects);
    let floor_load = Load::new("floor", options.objects);
    let connections = calibrate(&bed).await;
    let before = bed.server_time();
    let floor = match options.wants(&[1, 7]) {
        true => create(&bed, &floor_load, connections).await,
        false => Duration::ZERO,
    };
    let floors_server = seconds(bed.server_time() - before);
    bed.start_operator().await;
    let repo = bed.git.repo(NAME);
    let commit = repo.commit(&load.files(), "first");
    let (started, before) = (Instant::now(), bed.server_time());
    bed.repository(NAME, &repo).await;
    bed.sync(NAME, NAME, "apps").await;
    let ready = bed.synced(NAME, &commit).await;
    let used = seconds(processor_time(bed.pid()));
    let server = seconds(bed.server_time() - before);
    if options.wants(&[1]) {
        report.add(Row {
            number: 1,
            work: format!("first sync, {} objects", load.objects()),
            measured: seconds(ready - started),
            floor: Some(seconds(floor)),
            unit: Unit::Seconds,
            limit: Limit::TimesFloor(1.3),
            details: json!({
                "connections": connections, "processorSeconds": used,
                "serverSeconds": server, "floorsServerSeconds": floors_server,
            }),
        });
    }
    if options.wants(&[6]) {
        let work = format!("memory, {} objects", load.objects());
        memory(&bed, report, &work, 80.0).await;
    }
    if options.wants(&[5]) {
        drift(&bed, &load, options.rounds, report).await;
    }
    if options.wants(&[7]) {
        let raw = bed.raw(connections).await;
        restart(&mut bed, &load, &floor_load, &raw, report).await;
    }
}

/// The number of connections with the best time for creates.
async fn calibrate(bed: &Bed) -> usize {
    let warm = Load::new("warm", SAMPLE);
    create(bed, &warm, CONNECTIONS[0]).await;
    bed.clear(&warm).await;
    let mut fastest = (Duration::MAX, CONNECTIONS[0]);
    for connections in CONNECTIONS {
        let sample = Load::new(format!("sample-{connections}"), SAMPLE);
        fastest = fastest.min((create(bed, &sample, connections).await, connections));
        bed.clear(&sample).await;
    }
    fastest.1
}

/// A person edits one object. Measures from the answer to the edit until the corrected object is seen.
async fn drift(bed: &Bed, load: &Load, rounds: usize, report: &mut Report) {
    let before = processor_time(bed.pid());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = processor_time(bed.pid()) - before;
    let raw = bed.raw(1).await;
    let twin = Load::new("floor-line", 1);
    raw.send(&Arc::new(twin.namespace_calls())).await;
    raw.send(&Arc::new(twin.config_map_calls())).await;
    let (mut measured, mut applies) = (Vec::new(), Vec::new());
    let mut requests = json!(null);
    for round in 0..=rounds.max(20) {
        let index = (round * 401 + 7) % load.config_maps;
        let (namespace, name) = (load.namespace(index), Load::name(index));
        let api = bed.config_maps(&namespace);
        let edited = seen::once(&api, &name, has_value("by hand")).await;
        let mark = bed.cp.audit().mark();
        let before = api.get(&name).await.expect("get a ConfigMap");
        let version = number(before.resource_version());
        let healed = seen::once(&api, &name, move |map: &_| {
            // The edit makes the next version, and the correction makes the one after it.
            number(map.resource_version()) > version && has_value("1")(map)
        })
        .await;
        bed.edit(&namespace, &name, json!({"value": "by hand"}))
            .await;
        let answered = Instant::now();
        edited.await.expect("the edited ConfigMap");
        let (at, _) = healed.await.expect("the healed ConfigMap");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let all = Requests::of(bed.cp.audit_since(mark).await);
        let call = twin.config_map_call(0, &format!("line-{round}"));
        let apply = raw.send(&Arc::new(vec![call])).await;
        if round == 0 {
            continue; // warm-up
        }
        measured.push(millis(at.saturating_duration_since(answered)));
        applies.push(millis(apply));
        requests = all.by_kind();
    }
    report.add(Row {
        number: 5,
        work: format!("drift on 1 of {} objects healed, p50", load.objects()),
        measured: median(&measured),
        floor: Some(median(&applies)),
        unit: Unit::Milliseconds,
        limit: Limit::AtMost(50.0),
        details: json!({"all": measured, "applies": applies, "requests": requests}),
    });
    report.add(Row {
        number: 5,
        work: "idle: processor time in 10 s".to_owned(),
        measured: millis(idle),
        floor: None,
        unit: Unit::Milliseconds,
        limit: Limit::AtMost(20.0),
        details: json!({"resolutionMilliseconds": 10}),
    });
}

fn number(version: Option<String>) -> u64 {
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
}

/// Restarts the operator when all objects are applied. Measures from its start until the last object is
/// verified.
async fn restart(bed: &mut Bed, load: &Load, twin: &Load, raw: &Raw, report: &mut Report) {
    let again = Arc::new(twin.config_map_calls());
    let (mut measured, mut floors, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut firsts, mut used) = (Vec::new(), Vec::new());
    for _ in 0..RESTARTS {
        // Nothing else runs meanwhile.
        bed.operator.as_mut().expect("an operator").kill();
        floors.push(seconds(raw.send(&again).await));
        let mark = bed.cp.audit().mark();
        let started = Timestamp::now();
        bed.operator.as_mut().expect("an operator").restart().await;
        let verified = verified(bed, load).await;
        let entries = bed.cp.audit_since(mark).await;
        let applies: Vec<&Entry> = entries
            .iter()
            .filter(|entry| entry.user == User::Towline.name() && entry.verb == "patch")
            .filter(|entry| matches!(entry.resource.as_str(), "configmaps" | "namespaces"))
            .collect();
        assert_eq!(applies.len(), load.objects(), "one apply for each object");
        let last = applies.iter().filter_map(|entry| entry.completed).max();
        let first = applies.iter().map(|entry| entry.received).min();
        let since = |at: Option<Timestamp>| {
            let at = at.expect("a time in the audit log");
            at.duration_since(started).as_secs_f64()
        };
        measured.push(since(last));
        firsts.push(since(first));
        used.push(seconds(verified));
        tokio::time::sleep(Duration::from_secs(5)).await;
        memories.push(Memory::of(bed.pid()));
    }
    report.add(Row {
        number: 7,
        work: format!("start with {} objects in place: verified", load.objects()),
        measured: best(&measured),
        floor: Some(best(&floors)),
        unit: Unit::Seconds,
        limit: Limit::TimesFloor(1.3),
        details: json!({
            "all": measured, "floors": floors, "firstApplyAfter": firsts,
            "processorSeconds": used,
            "memory": memories.iter().map(Memory::json).collect::<Vec<_>>(),
        }),
    });
    let last = memories.last().copied().unwrap_or_default();
    report.add(Row {
        number: 6,
        work: format!("memory, {} objects, after a restart", load.objects()),
        measured: last.rss,
        floor: None,
        unit: Unit::MebiBytes,
        limit: Limit::AtMost(80.0),
        details: last.json(),
    });
}

/// Waits until the operator has counted an apply for every object. Returns its processor time so far.
async fn verified(bed: &Bed, load: &Load) -> Duration {
    let address = bed.operator.as_ref().expect("an operator").address();
    let deadline = Instant::now() + Duration::from_secs(280);
    while applies(address).await < load.objects() {
        assert!(Instant::now() < deadline, "not verified in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    processor_time(bed.pid())
}

/// The applies that the operator's metrics count.
async fn applies(address: std::net::SocketAddr) -> usize {
    let text = tokio::task::spawn_blocking(move || scrape(address))
        .await
        .expect("a scrape");
    text.lines()
        .filter(|line| line.starts_with("towline_api_requests_total{on=\"managed\",verb=\"apply\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

fn scrape(address: std::net::SocketAddr) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("connect to the operator");
    let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .expect("ask for metrics");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read metrics");
    text
}
