//! Row 11: commands for people, as whole processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;

use crate::bed::{Bed, HOME};
use crate::floor::CONNECTIONS;
use crate::load::Load;
use crate::report::{Limit, Report, Row, Unit, best, median, millis, seconds};
use towline_testing::kubeconfig::{User, client};
use towline_testing::operator::built;
use towline_testing::renderers;
use towline_testing::scratch::Scratch;

/// The number of runs of a command.
const RUNS: usize = 5;

/// The longest time of `towline get` with 1,000 Syncs, in milliseconds.
const GET: f64 = 300.0;

/// Measures `towline get` over all Syncs, beside the raw list of them.
pub async fn get(bed: &Bed, syncs: usize, report: &mut Report) {
    let program = program(bed).await;
    let kubeconfig = bed.cp.kubeconfig_for(User::Person);
    let client = client(&kubeconfig).await;
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        floors.push(millis(listed(&client).await));
        let args = ["get", "-n", HOME];
        times.push(millis(run(&program, &kubeconfig, &args, syncs).await));
    }
    report.add(Row {
        number: 11,
        work: format!("towline get, {syncs} Syncs, p50"),
        measured: median(&times),
        floor: Some(median(&floors)),
        unit: Unit::Milliseconds,
        limit: match syncs {
            0..=1_000 => Limit::AtMost(GET),
            _ => Limit::None,
        },
        details: json!({"all": times, "floors": floors}),
    });
}

/// The time of the raw list of all Syncs, as the API server has them in memory.
async fn listed(client: &Client) -> Duration {
    let get = |path: String| {
        http::Request::get(path)
            .body(Vec::new())
            .expect("a request")
    };
    // The first request opens the connection.
    let version = client.request_text(get("/version".to_owned())).await;
    version.expect("the version");
    let list = format!("/apis/towline.dev/v1alpha1/namespaces/{HOME}/syncs?resourceVersion=0");
    let started = Instant::now();
    client.request_text(get(list)).await.expect("the Syncs");
    started.elapsed()
}

/// Measures `towline diff` of a folder that differs in one object, and of one that differs in all, beside raw dry-run
/// applies of as many objects.
pub async fn diff(bed: &Bed, load: &Load, report: &mut Report) {
    let twin = Load::new("floor-diff", load.config_maps);
    let calls = || [twin.namespace_calls(), twin.config_map_calls()].concat();
    bed.raw(CONNECTIONS[0]).await.send(&Arc::new(calls())).await;
    let dry: Arc<Vec<_>> = Arc::new(calls().into_iter().map(|call| call.dry()).collect());

    let folders = [vec![0], (0..load.config_maps).collect()].map(|differing: Vec<usize>| {
        let scratch = Scratch::new().expect("a folder");
        let changed = differing.iter().map(|index| load.changed(*index, "local"));
        for (path, text) in load.files().into_iter().chain(changed) {
            let path = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
            std::fs::write(path, text.unwrap_or_default()).expect("write a file");
        }
        scratch
    });
    let program = program(bed).await;
    let modules = tokio::task::spawn_blocking(renderers::folder)
        .await
        .expect("the renderers");
    let modules = modules.display().to_string();
    let kubeconfig = bed.cp.kubeconfig_for(User::Person);
    let (mut times, mut floors) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..RUNS {
        for connections in CONNECTIONS {
            floors.push(seconds(bed.raw(connections).await.send(&dry).await));
        }
        for (times, folder) in times.iter_mut().zip(&folders) {
            let folder = folder.path().display().to_string();
            #[rustfmt::skip]
            let args = [
                "diff", &*load.prefix, "-n", HOME, "--root", &*folder, "--renderers-dir", &*modules,
            ];
            times.push(seconds(run(&program, &kubeconfig, &args, 1).await));
        }
    }
    bed.clear(&twin).await;
    let works = [
        format!("towline diff of {} objects, one differs", load.objects()),
        format!("… {} of them differ", load.config_maps),
    ];
    for (work, times) in works.into_iter().zip(times) {
        report.add(Row {
            number: 11,
            work,
            measured: best(&times),
            floor: Some(best(&floors)),
            unit: Unit::Seconds,
            limit: Limit::TimesFloor(1.3),
            details: json!({"all": times, "floors": floors, "medianRatio": median(&times) / median(&floors)}),
        });
    }
}

async fn program(bed: &Bed) -> PathBuf {
    match &bed.program {
        Some(program) => program.clone(),
        None => tokio::task::spawn_blocking(built)
            .await
            .expect("a built program"),
    }
}

/// Runs the command, and makes sure that it printed something of that many objects.
async fn run(program: &Path, kubeconfig: &Path, args: &[&str], lines: usize) -> Duration {
    let mut command = Command::new(program);
    command.args(args).env("KUBECONFIG", kubeconfig);
    command.stdin(Stdio::null());
    let started = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("a finished command")
        .expect("run a command");
    let took = started.elapsed();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.lines().count() > lines,
        "{args:?} printed {printed:.200}, {}",
        String::from_utf8_lossy(&output.stderr)
    );
    took
}
