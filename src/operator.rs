//! The whole operator: makes its parts from the settings, and runs its tasks.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::allowance::Allowance;
use crate::api::{Alert, GitRepository, Provider, Sync};
use crate::backoff::Backoff;
use crate::cluster::{Clients, Cluster, ClusterSettings};
use crate::config::RunArgs;
use crate::driver::{Context, Policy, StatusWrites, Turns, supervise};
use crate::fleet::{Fleet, Series};
use crate::leader::{self, ElectionSettings, Elector, KeyName, Leadership, LostLease};
use crate::log;
use crate::metrics::{Metrics, Renders};
use crate::notify::{Before, EventWriter, Notifier, Sink};
use crate::outbox::{self, Outbox, Traces};
use crate::plan::{Appliers, Key};
use crate::proposal;
use crate::render::wasm::{Disk, Renderers};
use crate::secrets::{ConfigMaps, Secrets};
use crate::server::{self, Hooks, Limits, Readiness, Receivers};
use crate::source::{self, Cache, CacheSettings};

/// How many bytes the ConfigMaps and Secrets may have that Syncs name, and those of one namespace. In memory they take a
/// few times as much.
const INPUTS: usize = 64 << 20;
const INPUTS_OF_NAMESPACE: usize = 32 << 20;

/// How long a stop waits for events that are not written yet. Kubernetes kills the process 30 s after
/// it asked for the stop.
const LAST_EVENTS: Duration = Duration::from_secs(3);

/// The same for messages to services.
const LAST_MESSAGES: Duration = Duration::from_secs(3);

/// Why the operator could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster is configured in the places where kubectl looks for one.
    #[error("finding the cluster, as kubectl does: in the pod, else by KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// The kubeconfig that an argument names cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
    /// The kubeconfig is not YAML. The cause would quote its lines, and they hold credentials.
    #[error("the kubeconfig is not valid YAML")]
    NotYaml,
    /// The client of the cluster cannot be made.
    #[error("connecting to the cluster")]
    Client(#[from] kube::Error),
    /// The cache cannot be opened.
    #[error("opening the cache at {folder} (--cache-dir)")]
    Cache {
        /// Its folder.
        folder: String,
        /// What happened.
        source: source::Error,
    },
    /// The log level is not a valid filter.
    #[error("reading --log-level")]
    LogLevel(#[source] tracing_subscriber::filter::ParseError),
    /// The process cannot listen on an address or for signals.
    #[error("listening")]
    Listen(#[from] std::io::Error),
    /// This replica has lost the lease. Another replica may lead now.
    #[error("this replica no longer leads; it exits and starts again as a standby")]
    Lease(#[from] LostLease),
}

/// Runs until SIGTERM or SIGINT, or until the lease is lost.
///
/// # Errors
///
/// [`Error`]: the part that could not start.
pub fn run(args: RunArgs) -> Result<(), Error> {
    log::start(&args).map_err(Error::LogLevel)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Listen)?;
    let end = runtime.block_on(operate(args));
    // A running fetch ends with the process. The cache is safe against that.
    runtime.shutdown_background();
    end
}

async fn operate(args: RunArgs) -> Result<(), Error> {
    let metrics = Metrics::default();
    let readiness = Readiness::default();
    let config = config(&args).await?;
    let hooks = server::listen(args.webhook_listen).await?;
    let mut elector = match args.leader_elect {
        true => Some(elector(&args, &config, hooks.local_addr()?, &metrics)?),
        false => None,
    };
    let stop = watch::Sender::new(false);
    let server = server::serve(
        args.listen,
        metrics.clone(),
        readiness.clone(),
        stopped(&stop),
    );
    let server = tokio::spawn(server);
    let leadership = leadership(elector.as_ref(), &metrics);
    let clients = leader::clients(&config, elector.as_ref(), &metrics)?;
    let key_name = KeyName {
        namespace: own_namespace(&args, &config),
        name: args.key_secret.clone(),
    };
    // A standby of the first version with a key cannot do more before there is one.
    let absent = || readiness.set_all();
    let key = tokio::select! {
        key = leader::key(&clients.requests, &key_name, &leadership, absent) => key,
        lost = elected(elector.as_mut()) => return Err(lost.into()),
        end = signalled() => {
            resign(&mut elector).await;
            return Ok(end?);
        }
    };
    let Parts {
        context,
        tellers,
        before,
    } = parts(args, &clients, key, &leadership, &metrics)?;
    let receivers = context.receivers.clone();
    let endpoint = Hooks::new(receivers, leadership, metrics, Limits::default());

    let hooks = tokio::spawn(endpoint.serve(hooks, stopped(&stop)));
    let writing = tokio::spawn(tellers.events.clone().run(clients.requests, before));
    let sending = tokio::spawn(tellers.outbox.traces.clone().send());
    let mut drivers = pin!(drive(context, clients.watches, readiness));
    tokio::select! {
        () = &mut drivers => (),
        lost = elected(elector.as_mut()) => return Err(lost.into()),
        end = until_failed(server) => end?,
        end = until_failed(hooks) => end?,
        end = signalled() => end?,
    }
    tracing::info!("stopping");
    // Without the lease no event can be written, and no message be told: the next leader would tell it too.
    tellers.flush().await;
    // The drivers still exist, so that writes they wait for get their answers.
    resign(&mut elector).await;
    stop.send_replace(true);
    writing.abort();
    sending.abort();
    // The drivers are dropped now. The next start reads their progress from the objects.
    Ok(())
}

/// The cluster, as kubectl finds it, or as the arguments name it.
async fn config(args: &RunArgs) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = match (&args.kubeconfig, &args.context) {
        (None, None) => return Ok(Config::infer().await?),
        (None, Some(_)) => Config::from_kubeconfig(&options).await,
        (Some(path), _) => match Kubeconfig::read_from(path) {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) => Err(error),
        },
    };
    config.map_err(|error| match error {
        KubeconfigError::Parse(_) => Error::NotYaml,
        other => Error::Kubeconfig(other),
    })
}

/// What [`operate`] runs.
struct Parts {
    context: Arc<Context>,
    tellers: Tellers,
    /// What events wait for.
    before: Before,
}

/// Makes the parts that need the operator's key.
fn parts(
    args: RunArgs,
    clients: &Clients,
    key: Key,
    leadership: &Leadership,
    metrics: &Metrics,
) -> Result<Parts, Error> {
    let cache = Cache::open(CacheSettings {
        volume_bytes: args.cache_size,
        namespace_bytes: args.cache_size_per_namespace,
        ..CacheSettings::new(&args.cache_dir)
    });
    let cache = cache.map_err(|source| Error::Cache {
        folder: args.cache_dir.display().to_string(),
        source,
    })?;
    let disk_key = key.digest_for("what renderers made, on disk", "");
    let disk = Disk::open(args.cache_dir.clone(), disk_key, cache.rendered_bytes());
    let renderers = Renderers::at(args.renderers_dir.clone()).with(disk);
    metrics.register(Renders(renderers.clone()));
    let cluster = Cluster::new(
        clients.clone(),
        ClusterSettings {
            key: key.clone(),
            namespace: args.watch_namespace.clone(),
            appliers: Appliers::with(args.takeover_managers.clone()),
            show_values: args.show_values,
        },
        metrics.clone(),
    );
    let fleet = Fleet::default();
    metrics.register(Series::new(fleet.clone(), leadership.clone()));
    let tellers = Tellers::new(&args, &fleet, metrics);
    let statuses = StatusWrites::default();
    let before = Before {
        applies: cluster.running_applies.clone(),
        statuses: statuses.running.clone(),
    };
    let requests = &clients.requests;
    let context = Arc::new(Context {
        secrets: Secrets::new(requests.clone()),
        config_maps: ConfigMaps::new(requests.clone()),
        inputs: Allowance::new(INPUTS, INPUTS_OF_NAMESPACE),
        client: requests.clone(),
        cluster,
        cache,
        notifier: tellers.notifier(),
        outbox: tellers.outbox.clone(),
        metrics: metrics.clone(),
        diff_after: args.diff_after,
        failure_window: args.failure_window,
        namespace: args.watch_namespace,
        leadership: leadership.clone(),
        policy: Policy {
            default_service_account: args.default_service_account,
            no_cross_namespace: args.no_cross_namespace,
            cluster_name: args.cluster_name,
            docs_url: args.docs_url,
            min_interval: args.min_interval,
        },
        receivers: Receivers::default(),
        fleet,
        renderers,
        key,
        turns: Turns::default(),
        statuses,
    });
    Ok(Parts {
        context,
        tellers,
        before,
    })
}

/// Who tells people and services what happens.
struct Tellers {
    events: EventWriter,
    outbox: Outbox,
}

impl Tellers {
    fn new(args: &RunArgs, fleet: &Fleet, metrics: &Metrics) -> Self {
        let mut outbox = Outbox::new(fleet.clone(), metrics.clone());
        outbox.traces = traces(args, outbox.client.clone(), metrics);
        Self {
            events: EventWriter::new(metrics.clone()),
            outbox,
        }
    }

    fn notifier(&self) -> Notifier {
        let sinks: [Arc<dyn Sink>; 2] =
            [Arc::new(self.events.clone()), Arc::new(self.outbox.clone())];
        Notifier::new(sinks)
    }

    /// Tells what still waits, as far as it is taken in time.
    async fn flush(&self) {
        let (unwritten, untold, unsent) = tokio::join!(
            self.events.flush(LAST_EVENTS),
            self.outbox.flush(LAST_MESSAGES),
            self.outbox.traces.flush(LAST_MESSAGES)
        );
        if unsent > 0 {
            tracing::warn!(
                unsent,
                "spans of traces are not sent: their receiver does not take them in time"
            );
        }
        if untold > 0 {
            tracing::warn!(
                untold,
                "messages are not sent: their services do not take them in time"
            );
        }
        if unwritten > 0 {
            tracing::warn!(
                unwritten,
                "events are lost: the API server does not take them in time"
            );
        }
    }
}

/// Gives the lease back, if there is one, so that another replica need not wait until it expires.
async fn resign(elector: &mut Option<Elector>) {
    if let Some(elector) = elector {
        elector.resign().await;
    }
}

/// Runs all drivers and watches, as long as it is polled.
async fn drive(context: Arc<Context>, watching: Client, readiness: Readiness) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    while let Err(error) = context.cluster.discover().await {
        tracing::warn!(%error, "asking the API server what it serves; retrying");
        tokio::time::sleep(backoff.pause()).await;
    }
    let syncs = supervise::<Sync>(Arc::clone(&context), watching.clone(), &readiness);
    let repositories =
        supervise::<GitRepository>(Arc::clone(&context), watching.clone(), &readiness);
    let alerts = supervise::<Alert>(Arc::clone(&context), watching.clone(), &readiness);
    let providers = supervise::<Provider>(Arc::clone(&context), watching.clone(), &readiness);
    tokio::join!(
        context.cluster.follow(),
        context
            .secrets
            .follow(watching.clone(), context.namespace.as_deref()),
        context
            .config_maps
            .follow(watching.clone(), context.namespace.as_deref()),
        syncs,
        repositories,
        alerts,
        providers,
        proposal::follow(Arc::clone(&context)),
    );
}

/// Completes when the operator stops.
fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        // Without a sender, the operator has stopped as well.
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
}

fn leadership(elector: Option<&Elector>, metrics: &Metrics) -> Leadership {
    match elector {
        Some(elector) => elector.leadership(),
        None => {
            metrics.leads(true);
            Leadership::alone()
        }
    }
}

/// Traces, if somebody asks for them. Platforms set the variables for all programs, so a wrong one ends none: OpenTelemetry's
/// specification asks for a warning.
fn traces(args: &RunArgs, client: outbox::Client, metrics: &Metrics) -> Traces {
    match args.traces.receiver(args.cluster_name.as_deref()) {
        Ok(Some(receiver)) => Traces::new(receiver, client, metrics.clone()),
        Ok(None) => Traces::default(),
        Err(error) => {
            tracing::warn!(%error, "no traces are made");
            Traces::default()
        }
    }
}

fn elector(
    args: &RunArgs,
    config: &Config,
    hooks: SocketAddr,
    metrics: &Metrics,
) -> Result<Elector, kube::Error> {
    let settings = ElectionSettings {
        name: args.lease_name.clone(),
        namespace: own_namespace(args, config),
        duration: args.lease_duration,
        // Other replicas cannot connect to an address that means "every address".
        advertise: args
            .advertise
            .or(Some(hooks).filter(|bound| !bound.ip().is_unspecified())),
    };
    Elector::new(config.clone(), settings, metrics.clone())
}

/// Where the Lease and the key's Secret are.
fn own_namespace(args: &RunArgs, config: &Config) -> String {
    let namespace = args.lease_namespace.clone();
    namespace.unwrap_or_else(|| config.default_namespace.clone())
}

/// Why this replica no longer leads. Without other replicas, this never returns.
async fn elected(elector: Option<&mut Elector>) -> LostLease {
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
