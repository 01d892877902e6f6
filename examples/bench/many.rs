//! Row 9: many small Syncs of one repository: installed, every app changed, one file changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use towline_testing::usage::{Memory, processor_time};

use crate::Options;
use crate::bed::{Bed, Requests, ready_at};
use crate::commands;
use crate::floor::Call;
use crate::load::Load;
use crate::mono::{EACH, create, file, status_call};
use crate::report::{Limit, Report, Row, Unit, best, median, seconds};
use crate::seen;
use crate::told;

/// The numbers of connections that are tried. The best result is the floor.
const CONNECTIONS: [usize; 3] = [8, 16, 32];

/// The limit of the operator's peak memory at 1,000 Syncs, in MiB.
const PEAK: f64 = 60.0;

/// The number of measurements of each change.
const ROUNDS: usize = 3;

/// The entries of a Sync's history in the middle one of the rounds: it was installed, and changed twice.
const CHANGES: usize = 3;

/// Seconds that the raw requests take with the best number of connections: the same applies, and one status patch
/// for each Sync. They end when a watch has seen all statuses, as those of towline.
struct Floors {
    install: f64,
    every: f64,
    one: f64,
}

/// The results of one change.
pub struct Run {
    pub seconds: f64,
    pub processor: f64,
    /// Processor seconds of the API server.
    server: f64,
    requests: serde_json::Value,
}

pub async fn measure(options: &Options, report: &mut Report) {
    let syncs = options.syncs;
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    create_all(&bed, syncs).await;
    let floors = floors(&bed, syncs).await;
    bed.start_operator().await;
    // Waits until every Sync has reported the missing repository, which is not part of the figures.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let repo = bed.git.repo("mono");
    let all = 0..syncs * EACH;
    let commit = repo.commit(
        &all.map(|index| file(index, "1")).collect::<Vec<_>>(),
        "first",
    );
    let install = run(&bed, syncs, &commit, async || {
        bed.repository("mono", &repo).await;
    })
    .await;

    let (mut every, mut one) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let files = every_app(syncs, &format!("every-{round}"));
        let commit = repo.commit(&files, "every app");
        every.push(
            run(&bed, syncs, &commit, async || {
                bed.announce("mono").await;
            })
            .await,
        );
        let index = round * 101 % (syncs * EACH);
        let commit = repo.commit(&[file(index, &format!("one-{round}"))], "one file");
        one.push(
            run(&bed, syncs, &commit, async || {
                bed.announce("mono").await;
            })
            .await,
        );
    }

    let work = format!("{syncs} Syncs of {EACH} objects");
    let rows = [
        (format!("{work}: installed"), &[install][..], floors.install),
        ("… every app changed, p50".to_owned(), &every, floors.every),
        (
            "… one file changed, all report it, p50".to_owned(),
            &one,
            floors.one,
        ),
    ];
    for (work, runs, floor) in rows {
        add(report, work, runs, floor);
    }
    let memory = Memory::of(bed.pid());
    report.add(Row {
        number: 9,
        work: "… memory: peak".to_owned(),
        measured: memory.peak,
        floor: None,
        unit: Unit::MebiBytes,
        limit: match syncs {
            0..=1_000 => Limit::AtMost(PEAK),
            _ => Limit::None,
        },
        details: memory.json(),
    });
    report.add(Row {
        number: 9,
        work: "… notices dropped".to_owned(),
        measured: dropped(&bed).await,
        floor: None,
        unit: Unit::Count,
        limit: Limit::AtMost(0.0),
        details: json!(null),
    });
    if options.wants(&[11]) {
        commands::get(&bed, syncs, report).await;
    }
    if options.wants(&[12]) {
        told::measure(&bed, &repo, syncs, every, report).await;
    }
}

/// One file of each Sync, with this value.
pub fn every_app(syncs: usize, value: &str) -> Vec<(String, Option<String>)> {
    (0..syncs).map(|sync| file(sync * EACH, value)).collect()
}

fn add(report: &mut Report, work: String, runs: &[Run], floor: f64) {
    let all: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
    let used: Vec<f64> = runs.iter().map(|run| run.processor).collect();
    let server: Vec<f64> = runs.iter().map(|run| run.server).collect();
    report.add(Row {
        number: 9,
        work,
        measured: median(&all),
        floor: Some(floor),
        unit: Unit::Seconds,
        limit: Limit::TimesFloor(1.3),
        details: json!({
            "all": all, "processorSeconds": used, "serverProcessorSeconds": server,
            "requests": runs.last().map(|run| run.requests.clone()),
        }),
    });
}

/// Measures from the end of `trigger` until all Syncs report the commit.
pub async fn run(bed: &Bed, syncs: usize, commit: &str, trigger: impl AsyncFnOnce()) -> Run {
    let all = seen::all(&bed.syncs(), syncs, ready_at(commit)).await;
    let (before, mark) = (processor_time(bed.pid()), bed.cp.audit().mark());
    let server = bed.server_time();
    trigger().await;
    let started = Instant::now();
    let times = all.await.expect("the report of all");
    // Later writes, above all events, must not disturb the next change.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let last = times.last().expect("a Sync");
    Run {
        seconds: seconds(last.saturating_duration_since(started)),
        processor: seconds(processor_time(bed.pid()) - before),
        server: seconds(bed.server_time() - server),
        requests: Requests::of(bed.cp.audit_since(mark).await).by_kind(),
    }
}

async fn create_all(bed: &Bed, syncs: usize) {
    let api = bed.syncs();
    futures::stream::iter(0..syncs)
        .map(|index| create(&api, index))
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
}

/// Measures the raw requests while no operator runs. The Syncs stay.
async fn floors(bed: &Bed, syncs: usize) -> Floors {
    let load = Load::new("floor-many", syncs * EACH);
    bed.raw(8)
        .await
        .send(&Arc::new(load.namespace_calls()))
        .await;
    let (mut install, mut every, mut one) = (Vec::new(), Vec::new(), Vec::new());
    let mut counter = 0;
    for connections in CONNECTIONS {
        let raw = bed.raw(connections).await;
        bed.clear(&load).await;
        for (times, applies, changes) in [
            (&mut install, (0..syncs * EACH).collect::<Vec<_>>(), 1),
            (
                &mut every,
                (0..syncs).map(|sync| sync * EACH).collect(),
                CHANGES,
            ),
            (&mut one, vec![0], CHANGES),
        ] {
            counter += 1;
            let value = counter.to_string();
            let applies = applies
                .iter()
                .map(|index| load.config_map_call(*index, &value));
            let statuses = (0..syncs).map(|index| status_call(index, counter, changes));
            let calls: Arc<Vec<Call>> = Arc::new(applies.chain(statuses).collect());
            let revision = format!("{counter:040x}");
            let all = seen::all(&bed.syncs(), syncs, ready_at(&revision)).await;
            let started = Instant::now();
            raw.send(&calls).await;
            let seen = all.await.expect("the statuses of all");
            let last = seen.last().expect("a Sync");
            times.push(seconds(last.saturating_duration_since(started)));
        }
    }
    bed.clear(&load).await;
    let api = bed.syncs();
    let all = ListParams::default();
    api.delete_collection(&DeleteParams::default(), &all)
        .await
        .expect("delete Syncs");
    create_all(bed, syncs).await;
    Floors {
        install: best(&install),
        every: best(&every),
        one: best(&one),
    }
}

/// The dropped notices that the operator's metrics count.
async fn dropped(bed: &Bed) -> f64 {
    let page = bed.operator().page_as("/metrics", "text/plain").await;
    let page = page.expect("scrape the operator");
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("towline_events_dropped_total "));
    line.and_then(|count| count.trim().parse().ok())
        .expect("the count of dropped notices")
}
