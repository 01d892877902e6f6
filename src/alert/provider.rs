//! The driver of one `Provider`: reads its Secrets, opens its service, and reports how the service takes messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::news::{news, refused};
use crate::api::{
    ConditionType, Provider, ProviderStatus, Reason, Status as _, Time, Verdict, set_conditions,
    summary,
};
use crate::driver::{Context, Driven, StatusBackoff, StatusOf, StatusRefusal, write_status};
use crate::intent::{ProviderIntent, Service};
use crate::message::{Destination, DestinationError};
use crate::outbox::{Endpoint, Health, Name, ProviderView, Transport};
use crate::secrets::{SecretName, ValueError, Watched};
use crate::source::{Credentials, CredentialsError, Proxy, Route};

/// How long to wait until a Secret is read again that the API server did not return.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// An hour is as good as never: the wait simply starts again.
const HOUR: Duration = Duration::from_secs(3600);

impl Driven for Provider {
    fn announce(&self, context: &Context) {
        context
            .outbox
            .providers
            .add(&name(self), ProviderView::default);
    }

    fn reserve(context: &Context, namespace: &str, name: &str, _uid: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        let broken = ProviderView::Broken(None, "its spec cannot be read".to_owned());
        context.outbox.providers.publish(&name, broken);
    }

    fn all_announced(context: &Context) {
        context.outbox.providers.complete();
    }

    async fn standby(_: Arc<Context>, _: watch::Receiver<Arc<Self>>) {
        // A service needs no preparation. The supervisor ends this.
        std::future::pending::<()>().await;
    }

    fn drive(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send {
        Driver::new(context, object).run()
    }

    fn forget(context: &Context, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        context.outbox.providers.remove(&name);
    }

    fn tidy(_: &Arc<Context>, _: Vec<Arc<Self>>) {}
}

fn name(object: &Provider) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Why a Provider cannot be used.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("spec.secretRef: {0}")]
    Secret(#[source] ValueError<DestinationError>),
    #[error("{0}")]
    Spec(#[from] DestinationError),
    #[error("spec.{0}: {1}")]
    Tls(&'static str, #[source] ValueError<CredentialsError>),
}

impl OpenError {
    /// Whether the API server is at fault.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Secret(error) => error.is_unavailable(),
            Self::Tls(_, error) => error.is_unavailable(),
            Self::Spec(_) => false,
        }
    }
}

struct Driver {
    context: Arc<Context>,
    name: Name,
    object: watch::Receiver<Arc<Provider>>,
    secret: Watched<Destination>,
    certificates: Watched<Credentials>,
    proxy: Watched<Proxy>,
    /// The generation for which the service was opened.
    opened: Option<Option<i64>>,
    view: ProviderView,
    /// The reason of `ProviderView::Broken`.
    broken: Reason,
    health: Option<watch::Receiver<Health>>,
    again: Option<Instant>,
    status: ProviderStatus,
    write_again: Option<Instant>,
    status_backoff: StatusBackoff,
    status_refusal: StatusRefusal,
}

impl Driver {
    fn new(context: Arc<Context>, object: watch::Receiver<Arc<Provider>>) -> Self {
        let first = object.borrow().clone();
        Self {
            context,
            name: name(&first),
            object,
            secret: Watched::default(),
            certificates: Watched::default(),
            proxy: Watched::default(),
            opened: None,
            view: ProviderView::default(),
            broken: Reason::ProviderInvalid,
            health: None,
            again: None,
            status: first.status.clone().unwrap_or_default(),
            write_again: None,
            status_backoff: StatusBackoff::default(),
            status_refusal: StatusRefusal::default(),
        }
    }

    async fn run(mut self) {
        loop {
            let object = self.object.borrow_and_update().clone();
            let intent = ProviderIntent::from(&*object);
            if self.opened != Some(intent.generation) {
                self.publish(&intent).await;
                self.opened = Some(intent.generation);
            }
            self.report(&intent).await;
            if self.wait().await.is_err() {
                return;
            }
        }
    }

    /// Opens the service, or finds out why that is not possible, and tells the alerts.
    async fn publish(&mut self, intent: &ProviderIntent) {
        (self.again, self.health) = (None, None);
        self.view = match intent.suspend {
            true => ProviderView::Suspended(intent.service),
            false => match self.open(intent).await {
                Ok(endpoint) => {
                    self.health = Some(endpoint.health());
                    ProviderView::Open(Arc::new(endpoint))
                }
                Err(error) => {
                    self.broken = match error.is_unavailable() {
                        true => Reason::ApiUnavailable,
                        false => Reason::ProviderInvalid,
                    };
                    let retries = self.broken == Reason::ApiUnavailable;
                    self.again = retries.then(|| Instant::now() + READ_AGAIN);
                    ProviderView::Broken(Some(intent.service), error.to_string())
                }
            },
        };
        let providers = &self.context.outbox.providers;
        providers.update(&self.name, |view| *view = self.view.clone());
    }

    async fn open(&mut self, intent: &ProviderIntent) -> Result<Endpoint, OpenError> {
        let secrets = &self.context.secrets;
        let namespace = self.name.0.clone();
        let named = |name: &str| SecretName::new(&namespace, name);
        // What is read of the Secret depends on the spec.
        let purpose = format!("{intent:?}");
        let destination = match &intent.secret {
            None => {
                self.secret.clear();
                Destination::new(intent, None)?
            }
            Some(secret) => {
                let parse = |data: &BTreeMap<_, _>| Destination::new(intent, Some(data));
                let name = named(secret);
                let read = self.secret.get(secrets, &name, &purpose, parse);
                read.await.map_err(OpenError::Secret)?
            }
        };
        let url = destination.address.tls_url();
        let credentials = match &intent.certificates {
            None => {
                self.certificates.clear();
                Credentials::default()
            }
            Some(secret) => {
                let parse = |data: &BTreeMap<_, _>| Credentials::from_secret(&url, data);
                let name = named(secret);
                let read = self.certificates.get(secrets, &name, &url, parse);
                read.await
                    .map_err(|error| OpenError::Tls("certSecretRef", error))?
            }
        };
        let proxy = match &intent.proxy {
            None => {
                self.proxy.clear();
                None
            }
            Some(secret) => {
                let parse = |data: &BTreeMap<_, _>| Proxy::from_secret(&url, data);
                let name = named(secret);
                let read = self.proxy.get(secrets, &name, &url, parse);
                let read = read.await;
                Some(read.map_err(|error| OpenError::Tls("proxySecretRef", error))?)
            }
        };
        let route = Route::new(&credentials, proxy.as_ref());
        let transport = match intent.service {
            Service::Email => Transport::Mail(route),
            _ => Transport::Http(route),
        };
        Ok(Endpoint::new(
            destination,
            &self.name,
            transport,
            intent.timeout,
            self.context.outbox.client.clone(),
        ))
    }

    /// Waits for the next event about this Provider.
    async fn wait(&mut self) -> Result<(), ()> {
        let again = self.again.unwrap_or_else(|| Instant::now() + HOUR);
        let write_again = self.write_again.unwrap_or_else(|| Instant::now() + HOUR);
        let health = &mut self.health;
        let unhealthy = async {
            match health {
                // The sender lives as long as the endpoint, which this driver holds.
                Some(health) => drop(health.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.object.changed() => return changed.map_err(drop),
            () = self.secret.changed() => self.opened = None,
            () = self.certificates.changed() => self.opened = None,
            () = self.proxy.changed() => self.opened = None,
            () = tokio::time::sleep_until(again) => self.opened = None,
            () = unhealthy => (),
            () = tokio::time::sleep_until(write_again) => (),
        }
        Ok(())
    }

    /// The conditions, of which the first is `Ready`.
    fn verdicts(&self) -> Vec<Verdict> {
        let ready = |status: Option<bool>, reason, message: String| {
            Verdict::new(ConditionType::Ready, status, reason, message)
        };
        let stalled =
            |reason, message: &str| Verdict::new(ConditionType::Stalled, true, reason, message);
        match &self.view {
            ProviderView::Suspended(_) => {
                let message = "suspended: set spec.suspend to false to send again";
                vec![ready(None, Reason::Suspended, message.to_owned())]
            }
            ProviderView::Broken(_, why) => vec![
                ready(Some(false), self.broken, why.clone()),
                stalled(
                    self.broken,
                    "correct the Secret or the spec; a changed Secret is used at once",
                ),
            ],
            ProviderView::Open(endpoint) => {
                let at = endpoint.destination.address.origin();
                let health = self.health.as_ref().map(|health| health.borrow().clone());
                match health.unwrap_or_default() {
                    Health {
                        failure: Some(why),
                        sends_again,
                        ..
                    } => {
                        let failed =
                            ready(Some(false), Reason::DeliveryFailed, format!("{at}: {why}"));
                        let again = Verdict::new(
                            ConditionType::Reconciling,
                            true,
                            Reason::Progressing,
                            "messages wait, and are sent again",
                        );
                        let again = sends_again.then_some(again);
                        std::iter::once(failed).chain(again).collect()
                    }
                    Health {
                        delivered: true, ..
                    } => vec![ready(
                        Some(true),
                        Reason::Delivering,
                        format!("{at} takes messages"),
                    )],
                    Health { .. } => vec![ready(
                        Some(true),
                        Reason::Delivering,
                        format!("messages go to {at}; none was sent yet"),
                    )],
                }
            }
            ProviderView::Unknown | ProviderView::Absent => Vec::new(),
        }
    }

    async fn report(&mut self, intent: &ProviderIntent) {
        let verdicts = self.verdicts();
        let now = Time(Timestamp::now());
        let status = ProviderStatus {
            observed_generation: intent.generation,
            summary: verdicts.first().map(|ready| summary(&ready.message)),
            conditions: set_conditions(&self.status.conditions, verdicts, intent.generation, &now),
        }
        .fit();
        let is_due = self.write_again.is_some_and(|at| at <= Instant::now());
        if status == self.status && !is_due {
            return;
        }
        let news = news(
            &**self.object.borrow(),
            &self.status.conditions,
            &status.conditions,
        );
        self.status = status;
        let (namespace, name) = &self.name;
        let of = StatusOf {
            namespace,
            name,
            version: None,
        };
        let written = write_status::<Provider>(&self.context, of, &self.status).await;
        match &written {
            Ok(_) => {
                self.write_again = None;
                self.status_backoff.reset();
            }
            Err(error) => {
                self.write_again = Some(Instant::now() + self.status_backoff.pause(error));
                let error = crate::chain(error);
                tracing::warn!(%namespace, %name, error, "writing the status of a Provider");
            }
        }
        let refused = refused(&**self.object.borrow(), &mut self.status_refusal, &written);
        for notice in news.into_iter().chain(refused) {
            self.context.notifier.tell(notice);
        }
    }
}
