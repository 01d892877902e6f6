//! Rows 1 to 3, and 6 at 1,000 objects: one Sync of 1,010 objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::bed::{Bed, HOME, Requests, has_value, ready_at, way};
use crate::commands;
use crate::floor::{CONNECTIONS, Fetcher};
use crate::load::Load;
use crate::pushed;
use crate::report::{Limit, Report, Row, Unit, best, median, millis, seconds};
use crate::seen;
use towline_testing::usage::{Memory, processor_time};

const CONFIG_MAPS: usize = 1_000;

/// The number of first syncs, and of floors for each number of connections.
const REPEATS: usize = 3;

/// The longest wait for status and events, which come after the measured write.
pub const AFTERWARDS: Duration = Duration::from_millis(400);

pub async fn measure(options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    bed.start_operator().await;
    let load = first_sync(&bed, report, options.wants(&[1])).await;
    if options.wants(&[6]) {
        memory(&bed, report, "memory, 1,010 objects", 40.0).await;
    }
    if options.wants(&[2]) {
        one_line(&bed, &load, options.rounds, report).await;
        pushed::measure(&bed, &load, options.rounds, report).await;
    }
    if options.wants(&[3]) {
        nothing(&bed, report).await;
    }
    if options.wants(&[11]) {
        commands::diff(&bed, &load, report).await;
    }
}

/// Alternates floors and first syncs, so that both run under the same conditions. The last load stays.
async fn first_sync(bed: &Bed, report: &mut Report, wanted: bool) -> Load {
    let repeats = if wanted { REPEATS } else { 1 };
    let (mut floors, mut measured, mut used) = (Vec::new(), Vec::new(), Vec::new());
    let mut best_connections = (f64::MAX, 0);
    let mut requests = json!(null);
    let warm = Load::new("warm", CONFIG_MAPS);
    let raw = bed.raw(CONNECTIONS[1]).await;
    raw.send(&Arc::new(warm.namespace_calls())).await;
    raw.send(&Arc::new(warm.config_map_calls())).await;
    bed.clear(&warm).await;
    let mut kept = None;
    for round in 0..repeats {
        for connections in CONNECTIONS.into_iter().filter(|_| wanted) {
            let load = Load::new(format!("floor-{round}-{connections}"), CONFIG_MAPS);
            let took = create(bed, &load, connections).await.as_secs_f64();
            if took < best_connections.0 {
                best_connections = (took, connections);
            }
            floors.push(took);
            bed.clear(&load).await;
        }
        if let Some(name) = kept.take() {
            bed.delete_sync(name).await;
        }
        let load = Load::new(format!("small-{round}"), CONFIG_MAPS);
        let name = ["small-0", "small-1", "small-2"][round];
        let repo = bed.git.repo(name);
        let commit = repo.commit(&load.files(), "first");
        let (before, mark) = (processor_time(bed.pid()), bed.cp.audit().mark());
        let started = Instant::now();
        bed.repository(name, &repo).await;
        bed.sync(name, name, "apps").await;
        let ready = bed.synced(name, &commit).await;
        measured.push((ready - started).as_secs_f64());
        used.push(seconds(processor_time(bed.pid()) - before));
        tokio::time::sleep(AFTERWARDS).await;
        requests = Requests::of(bed.cp.audit_since(mark).await).by_kind();
        kept = Some(name);
    }
    if wanted {
        report.add(Row {
            number: 1,
            work: format!("first sync, {} objects", warm.objects()),
            measured: best(&measured),
            floor: Some(best(&floors)),
            unit: Unit::Seconds,
            limit: Limit::TimesFloor(1.3),
            details: json!({
                "all": measured, "floors": floors, "bestConnections": best_connections.1,
                "medianRatio": median(&measured) / median(&floors), "requests": requests,
                "processorSeconds": used,
            }),
        });
    }
    Load::new(format!("small-{}", repeats - 1), CONFIG_MAPS)
}

/// Creates a load with a simple client, Namespaces first.
pub async fn create(bed: &Bed, load: &Load, connections: usize) -> Duration {
    let raw = bed.raw(connections).await;
    let (first, rest) = (load.namespace_calls(), load.config_map_calls());
    raw.send(&Arc::new(first)).await + raw.send(&Arc::new(rest)).await
}

/// Measures memory in a steady state, and its peak.
pub async fn memory(bed: &Bed, report: &mut Report, work: &str, limit: f64) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let memory = Memory::of(bed.pid());
    report.add(Row {
        number: 6,
        work: work.to_owned(),
        measured: memory.rss,
        floor: None,
        unit: Unit::MebiBytes,
        limit: Limit::AtMost(limit),
        details: memory.json(),
    });
    report.add(Row {
        number: 6,
        work: format!("{work}: peak"),
        measured: memory.peak,
        floor: None,
        unit: Unit::MebiBytes,
        limit: Limit::None,
        details: memory.json(),
    });
}

/// Changes one line of one ConfigMap. Measures from the answer to the trigger until the new value is
/// seen.
async fn one_line(bed: &Bed, load: &Load, rounds: usize, report: &mut Report) {
    let name = load.prefix.as_str();
    let repo = bed.git.repo(name);
    let mut fetcher = Fetcher::new(repo.url());
    fetcher.fetch().await;
    let raw = bed.raw(1).await;
    let twin = Load::new("floor-line", 1);
    raw.send(&Arc::new(twin.namespace_calls())).await;
    raw.send(&Arc::new(twin.config_map_calls())).await;
    let (mut measured, mut fetches, mut applies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut counts, mut kinds, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    let before = processor_time(bed.pid());
    for round in 0..=rounds {
        let index = (round * 37) % load.config_maps;
        let value = format!("line-{round}");
        let commit = repo.commit(&[load.changed(index, &value)], "one line");
        let map = Load::name(index);
        let api = bed.config_maps(&load.namespace(index));
        let applied = seen::once(&api, &map, has_value(&value)).await;
        let synced = seen::once(&bed.syncs(), name, ready_at(&commit)).await;
        let mark = bed.cp.audit().mark();
        bed.announce(name).await;
        let triggered = Instant::now();
        let (at, _) = applied.await.expect("the changed ConfigMap");
        let latency = millis(at.saturating_duration_since(triggered));
        synced.await.expect("the Sync");
        tokio::time::sleep(AFTERWARDS).await;
        let entries = bed.cp.audit_since(mark).await;
        ways.push(way(&entries));
        let requests = Requests::of(entries);
        // The same commit through another cache, then one apply, while nothing else runs.
        let fetch = millis(fetcher.fetch().await);
        let call = twin.config_map_call(0, &value);
        let apply = millis(raw.send(&Arc::new(vec![call])).await);
        if round == 0 {
            continue; // warm-up
        }
        measured.push(latency);
        counts.push(requests.total() as f64);
        kinds.push(requests.by_kind());
        fetches.push(fetch);
        applies.push(apply);
    }
    let floor = median(&fetches) + median(&applies);
    report.add(Row {
        number: 2,
        work: "one line changed, trigger to applied, p50".to_owned(),
        measured: median(&measured),
        floor: Some(floor),
        unit: Unit::Milliseconds,
        limit: Limit::TimesFloor(1.3),
        details: json!({
            "all": measured, "fetches": fetches, "applies": applies, "ways": ways,
            "processorSecondsEach":
                seconds(processor_time(bed.pid()) - before) / (rounds + 1) as f64,
        }),
    });
    report.add(Row {
        number: 2,
        work: "one line changed, API requests, most".to_owned(),
        measured: counts.iter().copied().fold(0.0, f64::max),
        floor: None,
        unit: Unit::Count,
        limit: Limit::AtMost(6.0),
        details: json!({"namespace": HOME, "all": counts, "requests": kinds}),
    });
}

/// Measures polls that find nothing new.
async fn nothing(bed: &Bed, report: &mut Report) {
    const POLLS: u32 = 10;
    let name = bed.syncs().list(&kube::api::ListParams::default()).await;
    let name = kube::ResourceExt::name_any(&name.expect("list Syncs").items[0]);
    let (before, mark) = (processor_time(bed.pid()), bed.cp.audit().mark());
    for _ in 0..POLLS {
        let asked = bed.announce(&name).await;
        let handled = seen::once(&bed.repositories(), &name, move |repository| {
            let status = repository.status.as_ref();
            status.is_some_and(|s| s.last_handled_reconcile_at.as_ref() == Some(&asked))
        })
        .await;
        handled.await.expect("the GitRepository");
    }
    tokio::time::sleep(AFTERWARDS).await;
    let requests = Requests::of(bed.cp.audit_since(mark).await);
    let used = processor_time(bed.pid()) - before;
    report.add(Row {
        number: 3,
        work: "nothing to do: requests on managed objects".to_owned(),
        measured: requests.managed() as f64,
        floor: Some(0.0),
        unit: Unit::Count,
        limit: Limit::AtMost(0.0),
        details: json!({"polls": POLLS, "requests": requests.by_kind()}),
    });
    report.add(Row {
        number: 3,
        work: "nothing to do: processor time of a poll".to_owned(),
        measured: millis(used) / f64::from(POLLS),
        floor: None,
        unit: Unit::Milliseconds,
        limit: Limit::None,
        details: json!({"polls": POLLS, "resolutionMilliseconds": 10.0 / f64::from(POLLS)}),
    });
}
