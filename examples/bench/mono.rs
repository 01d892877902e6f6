//! Row 4: 250 Syncs of one monorepo, of which one file changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use towline::api::Sync;

use crate::Options;
use crate::bed::{Bed, HOME, Requests, create_sync, has_value, ready_at};
use crate::floor::{Call, Fetcher};
use crate::load::{Load, config_map_file};
use crate::report::{Limit, Report, Row, Unit, best, median, millis, seconds};
use crate::seen;
use towline_testing::usage::{Memory, processor_time};

const SYNCS: usize = 250;
pub const EACH: usize = 4;

/// The numbers of connections for status patches. More of them than of applies are sent at once.
const CONNECTIONS: [usize; 3] = [8, 16, 32];

/// The number of floors for each number of connections.
const FLOORS: usize = 4;

/// The longest time until all Syncs report a commit.
const ALL_REPORT: f64 = 1.5;

pub async fn measure(options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    let rounds = options.rounds.clamp(3, 10);
    let (statuses, connections) = status_floor(&bed).await;
    bed.start_operator().await;
    let repo = bed.git.repo("mono");
    let files: Vec<_> = (0..SYNCS * EACH).map(|index| file(index, "1")).collect();
    let first = repo.commit(&files, "first");
    let all_ready = seen::all(&bed.syncs(), SYNCS, ready_at(&first)).await;
    let started = Instant::now();
    bed.repository("mono", &repo).await;
    let syncs = bed.syncs();
    futures::stream::iter(0..SYNCS)
        .map(|index| create(&syncs, index))
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    let times = all_ready.await.expect("the first sync of all");
    let first_sync = seconds(*times.last().expect("250 times") - started);

    let mut fetcher = Fetcher::new(repo.url());
    fetcher.fetch().await;
    let raw = bed.raw(1).await;
    let twin = Load::new("floor-line", 1);
    raw.send(&Arc::new(twin.namespace_calls())).await;
    raw.send(&Arc::new(twin.config_map_calls())).await;
    let (mut applied, mut reported) = (Vec::new(), Vec::new());
    let (mut fetches, mut applies) = (Vec::new(), Vec::new());
    let mut used = Vec::new();
    let mut requests = json!(null);
    for round in 0..=rounds {
        let index = round * 101 % (SYNCS * EACH);
        let value = format!("line-{round}");
        let commit = repo.commit(&[file(index, &value)], "one file");
        let api = bed.config_maps(HOME);
        let seen_map = seen::once(&api, &Load::name(index), has_value(&value)).await;
        let seen_all = seen::all(&bed.syncs(), SYNCS, ready_at(&commit)).await;
        let (before, mark) = (processor_time(bed.pid()), bed.cp.audit().mark());
        bed.announce("mono").await;
        let triggered = Instant::now();
        let (at, _) = seen_map.await.expect("the changed ConfigMap");
        let times = seen_all.await.expect("the report of all");
        tokio::time::sleep(Duration::from_millis(400)).await;
        let all = Requests::of(bed.cp.audit_since(mark).await);
        let cost = seconds(processor_time(bed.pid()) - before);
        let fetch = millis(fetcher.fetch().await);
        let call = twin.config_map_call(0, &value);
        let apply = millis(raw.send(&Arc::new(vec![call])).await);
        if round == 0 {
            continue; // warm-up
        }
        applied.push(millis(at.saturating_duration_since(triggered)));
        reported.push(seconds(*times.last().expect("250 times") - triggered));
        fetches.push(fetch);
        applies.push(apply);
        used.push(cost);
        requests = all.by_kind();
    }
    report.add(Row {
        number: 4,
        work: format!("one file of {SYNCS} Syncs' monorepo: applied, p50"),
        measured: median(&applied),
        floor: Some(median(&fetches) + median(&applies)),
        unit: Unit::Milliseconds,
        limit: Limit::TimesFloor(1.3),
        details: json!({"all": applied, "fetches": fetches, "applies": applies}),
    });
    report.add(Row {
        number: 4,
        work: format!("… all {SYNCS} report the commit, p50"),
        measured: median(&reported),
        floor: Some(best(&statuses)),
        unit: Unit::Seconds,
        limit: Limit::AtMost(ALL_REPORT),
        details: json!({
            "all": reported, "floors": statuses, "bestConnections": connections,
            "processorSeconds": used, "requests": requests, "firstSyncSeconds": first_sync,
            "memory": Memory::of(bed.pid()).json(),
        }),
    });
}

pub fn file(index: usize, value: &str) -> (String, Option<String>) {
    let name = Load::name(index);
    let path = format!("apps/{:03}/{name}.yaml", index / EACH);
    (path, Some(config_map_file(HOME, &name, value)))
}

pub async fn create(api: &Api<Sync>, index: usize) {
    let name = format!("app-{index:03}");
    create_sync(api, &name, "mono", &format!("apps/{index:03}")).await;
}

/// Sends the same number of raw status patches of towline's size while no operator runs. Returns the
/// times with the best number of connections, and that number.
async fn status_floor(bed: &Bed) -> (Vec<f64>, usize) {
    let syncs = bed.syncs();
    futures::stream::iter(0..SYNCS)
        .map(|index| create(&syncs, index))
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    let mut floors = Vec::new();
    let mut counter = 0;
    for connections in CONNECTIONS {
        let raw = bed.raw(connections).await;
        let mut times = Vec::new();
        for _ in 0..FLOORS {
            counter += 1;
            let calls = (0..SYNCS).map(|index| status_call(index, counter, 1));
            times.push(seconds(raw.send(&Arc::new(calls.collect())).await));
        }
        floors.push(best(&times));
    }
    syncs
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .expect("delete Syncs");
    let fastest = (0..floors.len()).min_by(|a, b| floors[*a].total_cmp(&floors[*b]));
    (floors, CONNECTIONS[fastest.unwrap_or_default()])
}

/// A patch with the fields that towline writes. `changes`: the entries of its history.
pub fn status_call(index: usize, counter: usize, changes: usize) -> Call {
    let revision = format!("main@sha1:{counter:040x}");
    let short = format!("main@sha1:{counter:012x}");
    let now = jiff::Timestamp::now().to_string();
    let second = "2026-01-01T00:00:00Z";
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": 1, "lastTransitionTime": second,
        })
    };
    let equal = format!("{EACH} objects equal {revision}");
    let history = (0..changes).map(|change| {
        json!({
            "revision": format!("main@sha1:{:040x}", counter.saturating_sub(change)),
            "author": "A Developer", "committed": second, "applied": second, "converged": second,
            "created": 0, "changed": 1, "pruned": 0, "healed": 0,
            "objects": [format!("changed ConfigMap {HOME}/{}", Load::name(index * EACH))],
        })
    });
    let status = json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "True", "Converged", &equal),
            condition("Drifted", "False", "InSync", "no object differs from Git"),
            condition("Healthy", "True", "AllHealthy", "every object is healthy"),
        ],
        "summary": equal, "shortRevision": short,
        "lastAttemptedRevision": revision, "lastAppliedRevision": revision,
        "lastChangedRevision": revision,
        "objects": {"desired": EACH, "applied": EACH, "drifted": 0, "unhealthy": 0,
            "waiting": 0, "failed": 0, "unpruned": 0},
        "failures": [], "warnings": [], "notes": null, "finished": [],
        "times": {"committed": now, "observed": now, "applied": now, "converged": now},
        "history": history.collect::<Vec<_>>(),
        "kinds": ["ConfigMap"],
        "lastHandledReconcileAt": null,
    });
    let path = format!("/apis/towline.dev/v1alpha1/namespaces/{HOME}/syncs/app-{index:03}/status");
    Call::merge(&path, &json!({ "status": status }))
}
