//! Notices as events of the API server, for `kubectl describe` and `kubectl events`.
//!
//! kube's own recorder drops a note that comes within six minutes of another one about the same object.
//! Here every notice becomes an event of its own, as long as the queue has room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};

use super::{Notice, Sink};
use crate::api::FIELD_MANAGER;
use crate::backoff::Backoff;
use crate::cluster::Running;
use crate::metrics::Metrics;
use crate::text::shorten;

/// The most notices that wait to be written. A notice has about half a kilobyte, so they take 10 MB at
/// most. Five thousand Syncs that converge at once make ten thousand notices.
const PENDING: usize = 20_000;

/// How many events are written until the writer checks again what else the API server has to do, and how
/// many of them at once. Applies use up to 64 connections, so a few events do not delay them.
const BATCH: usize = 64;
const PARALLEL: usize = 6;

/// The longest wait of a batch for statuses. People and programs wait for the status, and read the events
/// later.
const PATIENCE: Duration = Duration::from_secs(5);

/// With more notices than this, events are not held back for statuses, so that the queue does not fill.
const MANY: usize = PENDING / 4;

/// What towline does about the object of an event.
const ACTION: &str = "Reconcile";

/// By how much events are moved on so that no two have the same time, and how far behind another one's time a notice is a
/// matter of its own.
const MICROSECOND: SignedDuration = SignedDuration::from_micros(1);
const MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// The longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// The work that goes before events.
#[derive(Clone, Default)]
pub struct Before {
    /// The applies of all Syncs.
    pub applies: Running,
    /// The statuses of all resources.
    pub statuses: Running,
}

/// Collects notices. Clones share them.
#[derive(Clone)]
pub struct EventWriter {
    pending: Arc<Pending>,
    metrics: Metrics,
}

#[derive(Default)]
struct Pending {
    queue: Mutex<Queue>,
    added: Notify,
    written: Notify,
    /// Somebody waits until every notice is written.
    hurry: watch::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    /// The time of the last notice that came.
    last: Timestamp,
    /// The number of notices that are being written.
    taken: usize,
}

impl Queue {
    /// The time of an event, by which events are in the order in which their notices came: a cause comes before its effect,
    /// also within one round.
    fn time_of(&mut self, notice: &Notice) -> Timestamp {
        let at = notice.at.round(Unit::Microsecond).unwrap_or(notice.at);
        let is_behind = at <= self.last && self.last.duration_since(at) < MOMENT;
        self.last = match is_behind {
            true => self.last + MICROSECOND,
            false => at,
        };
        self.last
    }

    /// Whether every notice is written.
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken == 0
    }
}

struct Queued {
    notice: Arc<Notice>,
    /// When it came, in order.
    at: Timestamp,
    /// The number of notices that this event counts.
    count: i32,
}

impl Sink for EventWriter {
    fn take(&self, notice: &Arc<Notice>) {
        if notice.is_progress() {
            return;
        }
        let kept = self.pending.push(notice, PENDING);
        if !kept {
            self.metrics.notice_dropped();
        }
    }
}

impl Pending {
    /// Queues a notice. If the queue is full, the notice is joined with one of the same reason about the
    /// same resource. Returns false if there is none.
    fn push(&self, notice: &Arc<Notice>, most: usize) -> bool {
        let mut queue = self.lock();
        let at = queue.time_of(notice);
        let waiting = &mut queue.waiting;
        if waiting.len() < most {
            waiting.push_back(Queued {
                notice: Arc::clone(notice),
                at,
                count: 1,
            });
            drop(queue);
            self.added.notify_one();
            return true;
        }
        let same = |queued: &&mut Queued| {
            queued.notice.reason == notice.reason && queued.notice.about == notice.about
        };
        match waiting.iter_mut().rev().find(same) {
            Some(queued) => {
                queued.notice = Arc::clone(notice);
                queued.at = at;
                queued.count = queued.count.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// Waits until there are notices.
    async fn filled(&self) {
        while self.lock().waiting.is_empty() {
            self.added.notified().await;
        }
    }

    /// Waits until nothing more urgent is written, unless somebody waits for the events themselves.
    async fn give_way(&self, before: &Before, patience: Duration) {
        let mut hurry = self.hurry.subscribe();
        let idle = async {
            before.applies.wait_until_idle().await;
            if self.lock().waiting.len() <= MANY {
                before.statuses.wait_at_most(patience).await;
            }
        };
        tokio::select! {
            () = idle => (),
            _ = hurry.wait_for(|hurry| *hurry) => (),
        }
    }

    /// Takes the oldest notices. [`Pending::put_back`] ends their writing.
    fn take(&self, most: usize) -> Vec<Queued> {
        let mut queue = self.lock();
        let count = queue.waiting.len().min(most);
        queue.taken = count;
        queue.waiting.drain(..count).collect()
    }

    /// Puts back, as the oldest, the notices that could not be written.
    fn put_back(&self, left: Vec<Queued>) {
        let mut queue = self.lock();
        queue.taken = 0;
        for queued in left.into_iter().rev() {
            queue.waiting.push_front(queued);
        }
        self.written.notify_waiters();
    }

    /// Waits until every notice is written.
    async fn all_written(&self) {
        loop {
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            if self.lock().is_empty() {
                return;
            }
            written.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventWriter {
    /// A writer without notices.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            pending: Arc::default(),
            metrics,
        }
    }

    /// Waits until every event is written, for `patience` at most. Returns how many are left. From now on
    /// events wait for nothing else.
    pub async fn flush(&self, patience: Duration) -> usize {
        self.pending.hurry.send_replace(true);
        let written = tokio::time::timeout(patience, self.pending.all_written()).await;
        let queue = self.pending.lock();
        written.map_or(queue.waiting.len() + queue.taken, |()| 0)
    }

    /// Writes the collected notices, for as long as it is polled.
    pub async fn run(self, client: Client, before: Before) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        loop {
            self.pending.filled().await;
            self.pending.give_way(&before, PATIENCE).await;
            let written = stream::iter(self.pending.take(BATCH))
                .map(|queued| write(&client, &self.metrics, queued))
                .buffered(PARALLEL);
            let left: Vec<Queued> = written.filter_map(std::future::ready).collect().await;
            let is_written = left.is_empty();
            self.pending.put_back(left);
            if is_written {
                backoff.reset();
            } else {
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

/// Writes one event. Returns it if the API server is unavailable or busy. An event that the server
/// refuses, for example because the namespace is gone, is dropped and counted.
async fn write(client: &Client, metrics: &Metrics, queued: Queued) -> Option<Queued> {
    let event = event(&queued);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
            tracing::debug!(%status, "the API server refused an event");
            metrics.notice_dropped();
            None
        }
        Err(error) => {
            tracing::debug!(%error, "cannot write an event, trying again");
            Some(queued)
        }
    }
}

fn event(queued: &Queued) -> Event {
    let notice = &*queued.notice;
    let about = (*notice.about).clone();
    let at = Time(notice.at);
    Event {
        metadata: ObjectMeta {
            generate_name: about.name.as_ref().map(|name| format!("{name}-")),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(notice.level.as_str().to_owned()),
        reason: Some(notice.reason.as_str().to_owned()),
        message: Some(shorten(&notice.message, LONGEST_NOTE)),
        source: Some(EventSource {
            component: Some("towline".to_owned()),
            host: None,
        }),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        // The other times are whole seconds. Whoever sets this one has to say what follows as well.
        event_time: Some(MicroTime(queued.at)),
        action: Some(ACTION.to_owned()),
        reporting_component: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(FIELD_MANAGER.to_owned()),
        count: Some(queued.count),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::api::Reason;
    use crate::notify::Level;

    fn notice(name: &str, message: &str) -> Arc<Notice> {
        Arc::new(Notice {
            about: Arc::new(ObjectReference {
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            }),
            revision: Some("main@sha1:abc".to_owned()),
            reason: Reason::Converged,
            level: Level::Normal,
            delivers: None,
            replaces: None,
            change: None,
            objects: Vec::new(),
            message: message.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn five_thousand_syncs_that_converge_at_once_lose_no_notice() {
        let metrics = Metrics::default();
        let writer = EventWriter::new(metrics.clone());
        for number in 0..5000 {
            for message in ["committed", "converged"] {
                writer.take(&notice(&number.to_string(), message));
            }
        }
        assert_eq!(writer.pending.lock().waiting.len(), 10_000);
        assert!(metrics.encode().contains("towline_events_dropped_total 0"));
        let first = writer.pending.take(2);
        assert_eq!(first[1].notice.message, "converged");
        writer.pending.put_back(first);
        let again = writer.pending.take(1);
        assert_eq!(again[0].notice.message, "committed", "the order stays");
    }

    #[test]
    fn a_full_queue_joins_notices_of_one_resource() {
        let pending = Pending::default();
        for name in ["a", "b"] {
            assert!(pending.push(&notice(name, "first"), 2));
        }
        assert!(pending.push(&notice("a", "second"), 2));
        assert!(!pending.push(&notice("c", "first"), 2));
        let queue = pending.lock();
        let event = event(&queue.waiting[0]);
        assert_eq!(
            (event.count, event.message.as_deref()),
            (Some(2), Some("second"))
        );
        assert_eq!(notice("a", "").commit(), Some("abc"));
    }

    #[test]
    fn events_of_one_moment_keep_the_order_of_their_notices() {
        let pending = Pending::default();
        let second = |number| Timestamp::from_second(number).unwrap();
        let times = [7, 7, 7, 9, 8, 3].map(second);
        for at in times {
            let notice = notice("a", "m");
            let notice = Arc::new(Notice {
                at,
                ..Arc::unwrap_or_clone(notice)
            });
            pending.push(&notice, 9);
        }
        let queue = pending.lock();
        let events: Vec<Timestamp> = queue
            .waiting
            .iter()
            .map(|queued| event(queued).event_time.unwrap().0)
            .collect();
        let after = |number, micros| second(number) + SignedDuration::from_micros(micros);
        let expected = [
            second(7),
            after(7, 1),
            after(7, 2),
            second(9),
            second(8),
            second(3),
        ];
        assert_eq!(events, expected);
    }

    #[tokio::test]
    async fn events_wait_for_statuses_but_neither_long_nor_at_a_stop_nor_with_a_long_queue() {
        let patience = Duration::from_millis(600);
        let waited = async |writer: &EventWriter, before: &Before| {
            let started = tokio::time::Instant::now();
            writer.pending.give_way(before, patience).await;
            started.elapsed()
        };
        let (writer, before) = (EventWriter::new(Metrics::default()), Before::default());
        writer.take(&notice("a", "converged"));
        assert!(waited(&writer, &before).await < patience);
        let status = before.statuses.begin();
        assert!(waited(&writer, &before).await >= patience);
        let telling = tokio::spawn({
            let (writer, before) = (writer.clone(), before.clone());
            async move {
                writer
                    .pending
                    .give_way(&before, Duration::from_secs(600))
                    .await;
            }
        });
        tokio::time::sleep(patience / 2).await;
        assert!(!telling.is_finished());
        drop(status);
        telling.await.unwrap();
        let _status = before.statuses.begin();
        for number in 0..MANY {
            writer.take(&notice(&number.to_string(), "converged"));
        }
        assert!(waited(&writer, &before).await < patience);
        writer.pending.take(MANY);
        writer.pending.put_back(Vec::new());
        assert_eq!(writer.flush(Duration::from_millis(20)).await, 1);
        assert!(waited(&writer, &before).await < patience);
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_events_that_are_being_written() {
        let writer = EventWriter::new(Metrics::default());
        let patience = Duration::from_millis(20);
        assert_eq!(writer.flush(patience).await, 0);
        for name in ["a", "b", "c"] {
            writer.take(&notice(name, "converged"));
        }
        let mut taken = writer.pending.take(2);
        assert_eq!(writer.flush(patience).await, 3);
        taken.pop();
        writer.pending.put_back(taken);
        assert_eq!(writer.flush(patience).await, 2, "one was written");
        assert_eq!(writer.pending.take(2).len(), 2);
        let flushed = tokio::spawn({
            let writer = writer.clone();
            async move { writer.flush(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        writer.pending.put_back(Vec::new());
        assert_eq!(flushed.await.unwrap(), 0);
    }
}
