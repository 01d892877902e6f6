//! Row 10: a healthy Sync alone, and beside Syncs that fail, that wait and that flood.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;
use towline_testing::repo::Repo;
use towline_testing::usage::processor_time;

use crate::Options;
use crate::bed::{Bed, HOME, create_sync, has_value};
use crate::load::config_map_file;
use crate::report::{Limit, Report, Row, Unit, median, millis, seconds};
use crate::seen;
use crate::small::AFTERWARDS;

/// Syncs with an object that the API server refuses, Syncs that wait for one of these, and repositories with a
/// commit every second, each with a Sync.
const FAILING: usize = 100;
const WAITING: usize = 100;
const FLOODING: usize = 10;

/// The objects that each of their commits changes.
const FLOOD: usize = 20;
const EVERY: Duration = Duration::from_secs(1);

pub async fn measure(options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    bed.start_operator().await;
    let repo = bed.git.repo("healthy");
    let first = repo.commit(&[healthy("first")], "first");
    bed.repository("healthy", &repo).await;
    bed.sync("healthy", "healthy", ".").await;
    bed.synced("healthy", &first).await;
    let alone = commits(&bed, &repo, "alone", options.rounds).await;

    others(&bed).await;
    let floods: Vec<Repo> = (0..FLOODING)
        .map(|index| bed.git.repo(&format!("flood-{index}")))
        .collect();
    for (index, repo) in floods.iter().enumerate() {
        let name = format!("flood-{index}");
        repo.commit(&flood(index, 0), "first");
        bed.repository(&name, repo).await;
        bed.sync(&name, &name, ".").await;
    }
    // What fails and waits is in its pauses then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (over, floods_so_far) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = processor_time(bed.pid());
    let started = Instant::now();
    let measured = async {
        let times = commits(&bed, &repo, "beside", options.rounds).await;
        over.store(true, Ordering::Relaxed);
        times
    };
    let flooding = async {
        let mut next = tokio::time::interval(EVERY);
        while !over.load(Ordering::Relaxed) {
            next.tick().await;
            let round = floods_so_far.fetch_add(1, Ordering::Relaxed) + 1;
            for (index, repo) in floods.iter().enumerate() {
                repo.commit(&flood(index, round), "flood");
                bed.announce(&format!("flood-{index}")).await;
            }
        }
    };
    let (beside, ()) = tokio::join!(measured, flooding);
    report.add(Row {
        number: 10,
        work: format!(
            "one line beside {FAILING} failing, {WAITING} waiting, {FLOODING} flooding Syncs"
        ),
        measured: median(&beside),
        floor: Some(median(&alone)),
        unit: Unit::Milliseconds,
        limit: Limit::TimesFloor(2.0),
        details: json!({
            "beside": beside, "alone": alone,
            "floods": floods_so_far.into_inner(), "seconds": seconds(started.elapsed()),
            "processorSeconds": seconds(processor_time(bed.pid()) - before),
        }),
    });
}

/// The milliseconds from the answer to the trigger until the changed line is seen.
async fn commits(bed: &Bed, repo: &Repo, what: &str, rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for round in 0..=rounds {
        let value = format!("{what}-{round}");
        repo.commit(&[healthy(&value)], "one line");
        let api = bed.config_maps(HOME);
        let seen = seen::once(&api, "healthy", has_value(&value)).await;
        bed.announce("healthy").await;
        let triggered = Instant::now();
        let (at, _) = seen.await.expect("the changed ConfigMap");
        tokio::time::sleep(AFTERWARDS).await;
        // The first warms up.
        if round > 0 {
            times.push(millis(at.saturating_duration_since(triggered)));
        }
    }
    times
}

/// Makes the Syncs that fail, and those that wait for one of them.
async fn others(bed: &Bed) {
    let repo = bed.git.repo("failing");
    let refused = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "Refused_By_Validation", "namespace": HOME},
    });
    let files: Vec<_> = (0..FAILING)
        .map(|index| (format!("{index}/refused.yaml"), Some(refused.to_string())))
        .collect();
    repo.commit(&files, "refused");
    bed.repository("failing", &repo).await;
    let api = Arc::new(bed.syncs());
    futures::stream::iter(0..FAILING)
        .map(|index| {
            let api = Arc::clone(&api);
            async move {
                create_sync(
                    &api,
                    &format!("failing-{index}"),
                    "failing",
                    &index.to_string(),
                )
                .await;
            }
        })
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    futures::stream::iter(0..WAITING)
        .map(|index| {
            let api = Arc::clone(&api);
            async move {
                let object = json!({
                    "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
                    "metadata": {"name": format!("waiting-{index}"), "namespace": HOME},
                    "spec": {
                        "sourceRef": {"name": "healthy"}, "path": "none", "prune": true,
                        "dependsOn": [{"name": format!("failing-{}", index % FAILING)}],
                    },
                });
                let object = serde_json::from_value(object).expect("a Sync");
                api.create(&Default::default(), &object)
                    .await
                    .expect("create a Sync");
            }
        })
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
}

fn healthy(value: &str) -> (String, Option<String>) {
    let text = config_map_file(HOME, "healthy", value);
    ("healthy.yaml".to_owned(), Some(text))
}

fn flood(index: usize, round: usize) -> Vec<(String, Option<String>)> {
    let file = |object| {
        let name = format!("flood-{index}-{object}");
        let text = config_map_file(HOME, &name, &round.to_string());
        (format!("{object}.yaml"), Some(text))
    };
    (0..FLOOD).map(file).collect()
}
