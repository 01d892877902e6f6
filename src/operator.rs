//! The operator as a whole: settings in, tasks out.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cluster::Cluster;
use crate::config::{LogFormat, RunArgs};
use crate::controller::{self, Context};
use crate::leader::{self, Elector, Leadership, Lost};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::server::{self, Hooks, Limits, Readiness};
use crate::source::{self, Cache, CacheSettings};
use crate::sync::AUDIT;

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
    /// Another replica may do the work by now.
    #[error("this replica leads no longer, and ends to be started again as a standby")]
    Lost(#[from] Lost),
}

/// The longest silence of the API server in the middle of a request.
const SILENCE: Duration = Duration::from_secs(30);

/// The same for a watch, which the server ends after 290 seconds.
const WATCH_SILENCE: Duration = Duration::from_secs(330);

/// Runs until SIGTERM or SIGINT, or until it has lost the lease.
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

/// Targets that are not logged at any level: kube's client logs an answer that it cannot read, in full
/// and be it a Secret; the HTTP client logs URLs with their queries, and what a server says. Of a watch
/// that is interrupted, whoever follows it says why in its own words, and once.
const MUTED: [&str; 4] = [
    "kube_client::client",
    "kube_runtime::watcher",
    "ureq",
    "ureq_proto",
];

fn start_log(args: &RunArgs) -> Result<(), Error> {
    // The audit log is written whatever the level is, unless that names it.
    let mut filter = format!("{AUDIT}=info,{}", args.log_level)
        .parse::<EnvFilter>()
        .map_err(Error::LogLevel)?;
    for target in MUTED {
        let off = format!("{target}=off").parse().map_err(Error::LogLevel)?;
        filter = filter.add_directive(off);
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn operate(args: RunArgs) -> Result<(), Error> {
    let metrics = Metrics::default();
    let readiness = Readiness::default();
    let config = Config::infer().await?;
    let hooks = server::listen(args.webhook_listen).await?;
    let mut elector = match args.leader_elect {
        true => Some(elector(&args, &config, hooks.local_addr()?, &metrics)?),
        false => None,
    };
    let leadership = match &elector {
        Some(elector) => elector.leadership(),
        None => {
            metrics.leads(true);
            Leadership::alone()
        }
    };
    let (client, watching) = clients(config, elector.as_ref(), &metrics)?;
    let cache = Cache::open(CacheSettings::new(&args.cache_dir))?;
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
        leadership.clone(),
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
    let endpoint = Hooks::new(
        context.receivers.clone(),
        leadership,
        metrics,
        Limits::default(),
    );
    let mut ended = stopped.clone();
    let hooks = tokio::spawn(endpoint.serve(hooks, async move {
        let _ = ended.wait_for(|stopped| *stopped).await;
    }));
    let events = tokio::spawn(events);
    let mut drivers = pin!(controller::run(Arc::new(context), watching, readiness));
    tokio::select! {
        () = &mut drivers => (),
        lost = elected(elector.as_mut()) => return Err(lost.into()),
        end = until_failed(server) => end?,
        end = until_failed(hooks) => end?,
        end = signalled() => end?,
        _ = stopped.wait_for(|stopped| *stopped) => (),
    }
    tracing::info!("stopping");
    if let Some(elector) = &mut elector {
        // Drivers are there until the writes that they wait for are answered.
        elector.resign().await;
    }
    let _ = stop.send(true);
    events.abort();
    // Drivers are dropped now: whatever they were doing, the next start finds it on the objects.
    Ok(())
}

/// Clients try nothing again by themselves: kube's own retry covers every verb, up to 15 tries, and
/// would hide from a driver that it should turn to a newer commit.
fn patient(mut config: Config, silence: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(SILENCE);
    config.read_timeout = Some(silence);
    config.write_timeout = Some(SILENCE);
    config
}

/// A client for requests and one for watches, whose requests are counted. Among several replicas, both
/// write only while this one leads.
fn clients(
    config: Config,
    elector: Option<&Elector>,
    metrics: &Metrics,
) -> Result<(Client, Client), kube::Error> {
    let client = |config| match elector {
        Some(elector) => {
            let fenced = elector.client(config)?;
            let namespace = fenced.default_namespace().to_owned();
            let transport = tower::service_fn(move |request| {
                let fenced = fenced.clone();
                async move { fenced.send(request).await }
            });
            let transport = ClientBuilder::new(transport, namespace);
            Ok(transport.with_layer(&metrics.requests()).build())
        }
        None => metrics.client(config),
    };
    Ok((
        client(patient(config.clone(), SILENCE))?,
        client(patient(config, WATCH_SILENCE))?,
    ))
}

fn elector(
    args: &RunArgs,
    config: &Config,
    hooks: SocketAddr,
    metrics: &Metrics,
) -> Result<Elector, kube::Error> {
    let namespace = args.lease_namespace.clone();
    let settings = leader::Settings {
        name: args.lease_name.clone(),
        namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
        duration: args.lease_duration,
        // An address that is any of this machine's is none to connect to.
        advertise: args
            .advertise
            .or(Some(hooks).filter(|bound| !bound.ip().is_unspecified())),
    };
    Elector::new(patient(config.clone(), SILENCE), settings, metrics.clone())
}

/// Why this replica leads no longer; one without others always does.
async fn elected(elector: Option<&mut Elector>) -> Lost {
    match elector {
        Some(elector) => elector.run().await,
        None => std::future::pending().await,
    }
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
