//! Row 8: what the operator uses when it has nothing to do.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::bed::Bed;
use crate::report::{Limit, Report, Row, Unit, median, millis};
use towline_testing::usage::Memory;

const MEBIBYTE: f64 = (1 << 20) as f64;

pub async fn measure(options: &Options, report: &mut Report) {
    let mut bed = Bed::start(options).await;
    bed.start_operator().await;
    let mut starts = Vec::new();
    for _ in 0..options.rounds {
        let operator = bed.operator.as_mut().expect("a running operator");
        operator.kill();
        let started = Instant::now();
        operator.restart().await;
        let page = format!("http://{}/readyz", operator.address());
        ready(page).await;
        starts.push(millis(started.elapsed()));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let memory = Memory::of(bed.pid());
    let program = fs::metadata(format!("/proc/{}/exe", bed.pid())).expect("the program");
    let figure = |work: &str, measured, unit, details| Row {
        number: 8,
        work: work.to_owned(),
        measured,
        floor: None,
        unit,
        limit: Limit::None,
        details,
    };
    let start = median(&starts);
    report.add(figure(
        "start without any Sync: ready, p50",
        start,
        Unit::Milliseconds,
        json!({ "starts": starts }),
    ));
    report.add(figure(
        "memory without any Sync",
        memory.rss,
        Unit::MebiBytes,
        memory.json(),
    ));
    report.add(figure(
        "size of the program",
        program.len() as f64 / MEBIBYTE,
        Unit::MebiBytes,
        json!(null),
    ));
}

/// Polls the page until it answers with success.
async fn ready(page: String) {
    let asked = tokio::task::spawn_blocking(move || {
        while ureq::get(&page).call().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    asked.await.expect("ready");
}
