//! The operator as a whole: settings in, tasks out.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cluster::Cluster;
use crate::config::{LogFormat, RunArgs};
use crate::controller::{self, Context};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::server::{self, Hooks, Limits, Readiness};
use crate::source::{self, Cache, Settings};

/// Why the operator could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster is configured, as kubectl would look for one.
    #[error("finding the cluster, as kubectl does: in the pod, else by KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// The cluster's client cannot be made.
    #[error("connecting to the cluster")]
    Client(#[from] kube::Error),
    /// The cache cannot be opened.
    #[error("opening the cache")]
    Cache(#[from] source::Error),
    /// The log level is no filter.
    #[error("reading --log-level")]
    LogLevel(#[source] tracing_subscriber::filter::ParseError),
    /// The address cannot be listened on, or signals cannot be.
    #[error("listening")]
    Listen(#[from] std::io::Error),
}

/// The longest silence of the API server in the middle of a request.
const SILENCE: Duration = Duration::from_secs(30);

/// The same for a watch, which the server ends after 290 seconds.
const WATCH_SILENCE: Duration = Duration::from_secs(330);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`Error`]: what could not be started.
pub fn run(args: RunArgs) -> Result<(), Error> {
    start_log(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Listen)?;
    let end = runtime.block_on(operate(args));
    // A fetch that is under way ends with the process; the cache bears that.
    runtime.shutdown_background();
    end
}

fn start_log(args: &RunArgs) -> Result<(), Error> {
    // kube logs an answer that it cannot read in full, a Secret's too.
    let client = "kube_client::client=off".parse();
    // Whoever follows a watch says in its own words, and once, why it is interrupted.
    let watcher = "kube_runtime::watcher=off".parse();
    let filter = args
        .log_level
        .parse::<EnvFilter>()
        .map_err(Error::LogLevel)?
        .add_directive(client.map_err(Error::LogLevel)?)
        .add_directive(watcher.map_err(Error::LogLevel)?);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

async fn operate(args: RunArgs) -> Result<(), Error> {
    let metrics = Metrics::default();
    let readiness = Readiness::default();
    let (client, watching) = clients().await?;
    let cache = Cache::open(Settings::new(&args.cache_dir))?;
    let cluster = Cluster::new(
        client.clone(),
        watching.clone(),
        args.watch_namespace.clone(),
        metrics.clone(),
    );
    let (notifier, events) =
        Notifier::new(client.clone(), cluster.applies.clone(), metrics.clone());
    let context = Context::new(
        client,
        cluster,
        cache,
        notifier,
        metrics.clone(),
        args.diff_after,
        args.watch_namespace,
    );
    let (stop, mut stopped) = watch::channel(false);
    let mut ended = stopped.clone();
    let server = tokio::spawn(server::serve(
        args.listen,
        metrics.clone(),
        readiness.clone(),
        async move {
            let _ = ended.wait_for(|stopped| *stopped).await;
        },
    ));
    let hooks = Hooks::new(context.receivers.clone(), metrics, Limits::default());
    let mut ended = stopped.clone();
    let hooks = tokio::spawn(hooks.serve(args.webhook_listen, async move {
        let _ = ended.wait_for(|stopped| *stopped).await;
    }));
    let events = tokio::spawn(events);
    let drivers = controller::run(Arc::new(context), watching, readiness);
    tokio::select! {
        () = drivers => (),
        end = until_failed(server) => end?,
        end = until_failed(hooks) => end?,
        end = signalled() => end?,
        _ = stopped.wait_for(|stopped| *stopped) => (),
    }
    // Drivers are dropped by now: whatever they were doing, the next start finds it on the objects.
    tracing::info!("stopping");
    let _ = stop.send(true);
    events.abort();
    Ok(())
}

/// A client for requests and one for watches. Neither tries again by itself: kube's own retry covers
/// every verb, up to 15 tries, and would hide from a driver that it should turn to a newer commit.
async fn clients() -> Result<(Client, Client), Error> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(SILENCE);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(SILENCE);
    let mut watching = config.clone();
    watching.read_timeout = Some(WATCH_SILENCE);
    Ok((Client::try_from(config)?, Client::try_from(watching)?))
}

async fn until_failed(
    server: tokio::task::JoinHandle<std::io::Result<()>>,
) -> Result<(), std::io::Error> {
    match server.await {
        Ok(end) => end,
        Err(died) => Err(std::io::Error::other(died)),
    }
}

async fn signalled() -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}
