//! A tour of towline on a real Kubernetes control plane on this machine. One command starts it:
//!
//! ```text
//! cargo run --example demo
//! ```
//!
//! It needs Rust, Go and Git. The manifests that it commits are in `examples/demo/repo`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clone;
mod object_watch;
mod stage;
mod steps;
mod timeline;

use std::{
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;
use timeline::Timeline;

/// Watch a commit become live objects, on a real Kubernetes control plane on this machine.
///
/// Starts etcd, the Kubernetes API server, its controllers and one simulated node. Installs towline's
/// definitions, and starts the operator and a Git server. Then plays a day of a small shop: a first
/// deployment, a change of one line, people who edit the cluster, wrong commits, a rollback. Every step
/// is timed and verified.
///
/// The demo needs Rust, Go and Git, and listens on loopback only. The first run builds Kubernetes, which
/// takes about five minutes; the result stays in ~/.cache/towline. Later runs take half a minute. When
/// the demo ends for any reason, every program that it started ends too.
///
/// Exit code: 0 if every step was verified, 1 if one was not, 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "demo", verbatim_doc_comment)]
struct Args {
    /// Keep everything running until Ctrl-C after the last step, and print the KUBECONFIG and the URL to
    /// push to.
    #[arg(long, verbatim_doc_comment)]
    keep: bool,

    /// Give the operator kustomize and Helm, so that kustomizations and charts can be tried. The first build
    /// takes minutes; the result stays in ~/.cache/towline.
    #[arg(long, verbatim_doc_comment)]
    renderers: bool,

    /// Seconds that each step may take before the demo fails.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let panicked = remember_panics();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let code = runtime.block_on(async {
        let mut stop = [
            signal(SignalKind::interrupt()).expect("listen for SIGINT"),
            signal(SignalKind::terminate()).expect("listen for SIGTERM"),
            signal(SignalKind::hangup()).expect("listen for SIGHUP"),
        ];
        let [interrupt, terminate, hangup] = &mut stop;
        let timeline = Timeline::start();
        // On a signal, the demo's future is dropped, which ends the programs that it started.
        tokio::select! {
            code = play(&args, &timeline, &panicked) => code,
            () = async {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                    _ = hangup.recv() => (),
                }
            } => match timeline.is_over() {
                true => ExitCode::SUCCESS,
                false => {
                    timeline.fail("interrupted", "");
                    ExitCode::from(130)
                }
            },
        }
    });
    // A compiler may still run on another thread. It ends with this process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

/// The whole demo: starts the programs, plays the steps, ends the programs.
async fn play(args: &Args, timeline: &Timeline, panicked: &Panics) -> ExitCode {
    let stage = match caught(Stage::start(timeline, args.renderers), panicked).await {
        Ok(stage) => stage,
        Err(reason) => {
            timeline.fail(&reason, "");
            return ExitCode::FAILURE;
        }
    };
    let patience = Duration::from_secs(args.patience);
    let played = caught(steps::play(&stage, timeline, patience), panicked).await;
    if let Err(reason) = &played {
        timeline.fail(reason, &stage.state().await);
    } else {
        timeline.succeed();
    }
    if args.keep {
        timeline.invite(&stage);
        std::future::pending::<()>().await;
    }
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

type Panics = Arc<Mutex<Option<String>>>;

/// Stores the message of the last panic, so that it is not printed in the middle of the timeline.
fn remember_panics() -> Panics {
    let panicked = Panics::default();
    let kept = Arc::clone(&panicked);
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        let place = info.location().map(|at| format!(" ({at})"));
        let text = format!("{message}{}", place.unwrap_or_default());
        kept.lock()
            .expect("no panic in a panic")
            .get_or_insert(text);
    }));
    panicked
}

/// Turns a panic of the tests' harness into the error of a step.
async fn caught<T>(
    step: impl Future<Output = Result<T, String>>,
    panicked: &Panics,
) -> Result<T, String> {
    let result = AssertUnwindSafe(step).catch_unwind().await;
    result.unwrap_or_else(|_| {
        let message = panicked.lock().expect("no panic in a panic").take();
        Err(message.unwrap_or_default())
    })
}
