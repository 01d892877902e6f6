//! Sends traces to a receiver of OpenTelemetry. They wait in a queue of bounded size, so that no Sync waits for the
//! receiver.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::post::{Client, Recipient, Transport};
use super::{SendOutcome, lock};
use crate::backoff::Backoff;
use crate::message::Request;
use crate::metrics::Metrics;
use crate::source::{Credentials, Route};
use crate::text::{Secrets, redact};
use crate::trace::{Reply, Trace, body, head, judge, written};

/// The most bytes of spans that wait. A trace has about three kilobytes. The oldest is dropped first.
const WAITING: usize = 4 << 20;

/// The most bytes of one request, and how long traces wait for others to be sent with them.
const BATCH: usize = 512 << 10;
const GATHER: Duration = Duration::from_secs(1);

/// The time limit of one request, as the specification has it by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// It is in no namespace, and leaves places to all of them.
const RECEIVER: Recipient<'static> = Recipient {
    namespace: "",
    name: "",
    is_proven: true,
};

/// The pauses between tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often the log tells of the same kind of trouble at most.
const TELL_EVERY: Duration = Duration::from_secs(3600);

/// Where traces are sent.
#[derive(Clone)]
pub struct TraceReceiver {
    /// The whole URL.
    pub url: String,
    /// More headers, which may be secret.
    pub headers: Vec<(String, String)>,
    /// Who sends them: the attributes of the resource.
    pub resource: Vec<(String, String)>,
}

/// Shows no header, and no path.
impl fmt::Debug for TraceReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceReceiver").finish_non_exhaustive()
    }
}

/// Traces on their way to a receiver. Clones share them. By default there is no receiver, and nothing is done.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    receiver: TraceReceiver,
    head: String,
    secrets: Secrets,
    queue: Mutex<Queue>,
    added: Notify,
    /// Whether the operator stops: nothing waits for more.
    stopping: watch::Sender<bool>,
    /// How many spans the receiver does not have yet.
    left: watch::Sender<usize>,
    troubles: Mutex<[Option<Instant>; 4]>,
    client: Client,
    metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Written>,
    bytes: usize,
}

/// The spans of a trace, as they are sent.
struct Written {
    text: String,
    spans: usize,
}

/// What the log tells of.
#[derive(Clone, Copy)]
enum Trouble {
    Delayed,
    Refused,
    Rejected,
    Dropped,
}

impl Queue {
    /// Adds a trace, and returns how many spans were dropped for it.
    fn push(&mut self, new: Written) -> usize {
        self.bytes += new.text.len();
        self.waiting.push_back(new);
        let mut dropped = 0;
        while self.bytes > WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.text.len();
            dropped += oldest.spans;
        }
        dropped
    }

    /// Takes what one request has room for: at least one trace.
    fn take(&mut self) -> Vec<Written> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            bytes += next.text.len();
            if bytes > BATCH && !taken.is_empty() {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        self.bytes -= taken.iter().map(|one| one.text.len()).sum::<usize>();
        taken
    }
}

impl Traces {
    /// Traces for a receiver.
    pub fn new(receiver: TraceReceiver, client: Client, metrics: Metrics) -> Self {
        let resource = receiver.resource.iter();
        let head = head(resource.map(|(name, value)| (&**name, &**value)));
        let secrets = Secrets::default();
        for (_, value) in &receiver.headers {
            secrets.add_header(value);
        }
        Self(Some(Arc::new(Inner {
            receiver,
            head,
            secrets,
            queue: Mutex::default(),
            added: Notify::new(),
            stopping: watch::Sender::default(),
            left: watch::Sender::default(),
            troubles: Mutex::default(),
            client,
            metrics,
        })))
    }

    /// Whether there is a receiver.
    pub fn are_told(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a trace. Does not wait.
    pub fn tell(&self, trace: &Trace) {
        let Some(inner) = &self.0 else { return };
        let (text, spans) = (written(trace), trace.spans.len());
        // Before the sender can have sent it.
        inner.left.send_modify(|left| *left += spans);
        let dropped = lock(&inner.queue).push(Written { text, spans });
        if dropped > 0 {
            inner.left.send_modify(|left| *left -= dropped);
            inner.metrics.spans(SendOutcome::Dropped.as_str(), dropped);
            inner.tell_trouble(Trouble::Dropped, || {
                "too many wait for the receiver, and the oldest are dropped".to_owned()
            });
        }
        inner.added.notify_one();
    }

    /// Sends traces for as long as it is polled.
    pub async fn send(self) {
        match &self.0 {
            Some(inner) => inner.send().await,
            None => std::future::pending().await,
        }
    }

    /// Sends all queued spans at once, in place of when a batch is full. Returns how many of them the receiver does not have
    /// after `within`.
    pub async fn flush(&self, within: Duration) -> usize {
        let Some(inner) = &self.0 else { return 0 };
        inner.stopping.send_replace(true);
        let mut left = inner.left.subscribe();
        // The sender is in `inner`, so the wait cannot fail.
        let _ = timeout(within, left.wait_for(|left| *left == 0)).await;
        *inner.left.borrow()
    }
}

impl Inner {
    async fn send(&self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            while lock(&self.queue).waiting.is_empty() {
                self.added.notified().await;
            }
            self.pause(GATHER).await;
            let batch = lock(&self.queue).take();
            let spans = batch.iter().map(|one| one.spans).sum();
            loop {
                match self.try_once(&batch).await {
                    Reply::Later(why, pause) => {
                        self.metrics.spans(SendOutcome::Delayed.as_str(), spans);
                        self.tell_trouble(Trouble::Delayed, || {
                            format!("{why}; they are sent again")
                        });
                        let pause = backoff.pause().max(pause.unwrap_or_default());
                        self.pause(pause).await;
                    }
                    ended => {
                        backoff.reset();
                        self.settle(ended, spans);
                        break;
                    }
                }
            }
            self.left.send_modify(|left| *left -= spans);
        }
    }

    /// Waits, but not while the operator stops.
    async fn pause(&self, pause: Duration) {
        let mut stopping = self.stopping.subscribe();
        if *stopping.borrow() {
            // Not at full speed.
            return tokio::time::sleep(pause.min(FIRST_PAUSE / 4)).await;
        }
        let _ = timeout(pause, stopping.wait_for(|stopping| *stopping)).await;
    }

    async fn try_once(&self, batch: &[Written]) -> Reply {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(self.receiver.headers.iter().cloned());
        let request = Request {
            method: Method::POST,
            url: self.receiver.url.clone(),
            headers,
            body: body(&self.head, batch.iter().map(|one| &*one.text)),
        };
        let transport = Transport::Http(Route::new(&Credentials::None, None));
        match self
            .client
            .send(RECEIVER, transport, request, TIMEOUT)
            .await
        {
            Ok(answer) => judge(&answer, Timestamp::now()),
            Err(error) => Reply::Later(crate::chain(&error), None),
        }
    }

    /// Counts what became of the spans of a request.
    fn settle(&self, reply: Reply, spans: usize) {
        let refused = match reply {
            Reply::Taken { rejected, why } => {
                if rejected > 0 || !why.is_empty() {
                    self.tell_trouble(Trouble::Rejected, || {
                        format!("it does not take {rejected} of {spans} spans: {why}")
                    });
                }
                rejected.min(spans)
            }
            Reply::Refused(why) => {
                self.tell_trouble(Trouble::Refused, || why);
                spans
            }
            Reply::Later(..) => return,
        };
        self.metrics
            .spans(SendOutcome::Delivered.as_str(), spans - refused);
        self.metrics.spans(SendOutcome::Refused.as_str(), refused);
    }

    /// Tells the log, unless it was told of the same kind of trouble lately.
    fn tell_trouble(&self, trouble: Trouble, why: impl FnOnce() -> String) {
        let last = &mut lock(&self.troubles)[trouble as usize];
        if last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        let why = redact(&self.secrets.hide(&why()));
        tracing::warn!(why, "traces are not told to their receiver");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: usize, spans: usize) -> Written {
        let text = "x".repeat(bytes);
        Written { text, spans }
    }

    #[test]
    fn the_queue_has_a_bound_and_keeps_the_newest() {
        let mut queue = Queue::default();
        let dropped: usize = (1..=10)
            .map(|spans| queue.push(written(1 << 20, spans)))
            .sum();
        assert_eq!(dropped, (1..=6).sum::<usize>());
        assert_eq!(queue.bytes, WAITING);
        assert_eq!(queue.waiting.front().unwrap().spans, 7);
        // One that is larger than the queue.
        assert_eq!(queue.push(written(WAITING + 1, 1)), 7 + 8 + 9 + 10 + 1);
        assert_eq!((queue.bytes, queue.waiting.len()), (0, 0));
    }

    #[test]
    fn a_request_has_a_bound_and_at_least_one_trace() {
        let mut queue = Queue::default();
        for bytes in [BATCH / 2, BATCH / 2, 1, BATCH + 1, 5] {
            queue.push(written(bytes, 1));
        }
        let mut sizes = Vec::new();
        while !queue.waiting.is_empty() {
            sizes.push(queue.take().len());
        }
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(queue.bytes, 0);
    }

    #[tokio::test]
    async fn without_a_receiver_nothing_is_done() {
        let traces = Traces::default();
        assert!(!traces.are_told());
        let id = [0; 16];
        let spans = Vec::new();
        traces.tell(&Trace { id, spans });
        assert_eq!(traces.flush(Duration::ZERO).await, 0);
    }
}
