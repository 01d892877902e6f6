//! Events: "change committed", "diff", "converged" and what else a person at 3 a.m. looks for with
//! `kubectl describe` and `kubectl events`.
//!
//! kube's own recorder drops a new note within six minutes of the last one; here every note matters,
//! so each becomes an event of its own.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::sync::mpsc;

use crate::api::Reason;
use crate::cluster::Applies;
use crate::metrics::Metrics;
use crate::text;

/// How urgent an event is, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something happened as it should.
    Normal,
    /// A person may have to act.
    Warning,
}

/// Queues events; a task writes them, so that no driver waits for one.
#[derive(Clone)]
pub struct Notifier {
    queue: mpsc::Sender<Event>,
    metrics: Metrics,
}

/// Events that wait to be written; more are dropped and counted.
const QUEUE: usize = 1024;

/// The longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

impl Notifier {
    /// A notifier, and the task that writes what it is given.
    pub fn new(
        client: Client,
        applies: Applies,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()>) {
        let (queue, events) = mpsc::channel(QUEUE);
        let write = write(client, applies, events, metrics.clone());
        (Self { queue, metrics }, write)
    }

    /// Queues an event about `object`.
    pub fn tell<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        level: Level,
        reason: Reason,
        note: &str,
    ) {
        let about = object.object_ref(&());
        let name = object.name_any();
        tracing::info!(
            kind = %K::kind(&()), namespace = about.namespace.as_deref(), name,
            reason = reason.as_str(), "{note}"
        );
        if self
            .queue
            .try_send(event(about, level, reason, note))
            .is_err()
        {
            self.metrics.notice_dropped();
        }
    }
}

async fn write(
    client: Client,
    applies: Applies,
    mut events: mpsc::Receiver<Event>,
    metrics: Metrics,
) {
    while let Some(event) = events.recv().await {
        applies.quiet().await;
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "writing an event");
            metrics.notice_dropped();
        }
    }
}

fn event(about: ObjectReference, level: Level, reason: Reason, note: &str) -> Event {
    let now = Time(Timestamp::now());
    Event {
        metadata: ObjectMeta {
            generate_name: about.name.as_ref().map(|name| format!("{name}-")),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(
            match level {
                Level::Normal => "Normal",
                Level::Warning => "Warning",
            }
            .to_owned(),
        ),
        reason: Some(reason.as_str().to_owned()),
        message: Some(text::shorten(note, LONGEST_NOTE)),
        source: Some(EventSource {
            component: Some("towline".to_owned()),
            host: None,
        }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    }
}
