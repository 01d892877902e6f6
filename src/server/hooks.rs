//! The endpoint for webhooks: `POST /hook`, one for all repositories and providers.
//!
//! A delivery is checked in this order, so that a sender without a secret costs a limited amount:
//! the number of connections, the time and size of the head, the time and size of the body, the
//! provider and its proof, and last the content of the body. [`Limits`] has the figures.
//!
//! The check of a signature hashes the body once for every secret. Checks run one at a time on a
//! blocking thread, so that a flood of deliveries takes at most one processor. The bytes that one
//! delivery may hash have a limit too.
//!
//! Every proven delivery gets the same answer, whatever it woke. So the secret of one repository
//! reveals nothing about other repositories.
//!
//! A delivery wakes drivers of this process. A standby has no drivers, so it relays deliveries to
//! the leader, which checks them. The same limits apply to deliveries at a standby.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::PATH;
use super::receivers::{Reached, Receivers};
use super::relay::{RELAYED, relay};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::webhook::{Proof, Provider, Secret};

/// The limits for senders.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. Each carries one delivery.
    pub connections: usize,
    /// Time for the request line and headers.
    pub head_time: Duration,
    /// Size of the request line and headers together, in bytes.
    pub head_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Time for the body.
    pub body_time: Duration,
    /// Size of the body in bytes. GitHub sends up to 25 MB, but only for pushes of thousands of
    /// commits. The next poll finds such a push.
    pub body_bytes: usize,
    /// Bytes of all bodies in memory, over all connections.
    pub held_bytes: usize,
    /// Bytes that the check of one delivery may hash: the size of the body times the number of
    /// secrets.
    pub hashed_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head_time: Duration::from_secs(5),
            head_bytes: 16 << 10,
            headers: 64,
            body_time: Duration::from_secs(10),
            body_bytes: 5 << 20,
            held_bytes: 16 << 20,
            hashed_bytes: 256 << 20,
        }
    }
}

/// The longest time that a check and its answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How many bytes of a refused delivery are still read, so that its sender can read the answer.
const DRAINED: usize = 64 << 10;

/// How long a refused delivery is still read.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The result of a request: the closed set that metrics count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A repository was woken and is polled now.
    Woken,
    /// Proven, but about a ref that its repository does not follow.
    OtherRef,
    /// Proven, but no repository with this secret has the URL in the body.
    Unmatched,
    /// Proven, but not about a push.
    Ignored,
    /// The leader received it and gave this answer.
    Relayed(StatusCode),
    /// This replica is a standby, and it does not know or cannot reach the leader. The sender may
    /// try again. If it does not, the next poll finds the push.
    NoLeader,
    Unsigned,
    WrongSignature,
    Malformed,
    TooLarge,
    Slow,
    Busy,
    WrongMethod,
    WrongPath,
    /// The sender closed the connection before the end of its request.
    Aborted,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Woken => "woken",
            Self::OtherRef => "other_ref",
            Self::Unmatched => "unmatched",
            Self::Ignored => "ignored",
            Self::Relayed(_) => "relayed",
            Self::NoLeader => "no_leader",
            Self::Unsigned => "unsigned",
            Self::WrongSignature => "wrong_signature",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::WrongMethod => "wrong_method",
            Self::WrongPath => "wrong_path",
            Self::Aborted => "aborted",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Woken | Self::OtherRef | Self::Unmatched | Self::Ignored => StatusCode::ACCEPTED,
            Self::Relayed(status) => status,
            Self::NoLeader => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unsigned | Self::WrongSignature => StatusCode::UNAUTHORIZED,
            Self::Malformed | Self::Aborted => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongPath => StatusCode::NOT_FOUND,
        }
    }

    /// An answer with this status and a short text.
    fn answer(self) -> Response<String> {
        let mut answer = Response::new(String::new());
        *answer.status_mut() = self.status();
        if self == Self::WrongMethod {
            let allowed = header::HeaderValue::from_static("POST");
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
        answer
    }
}

/// The endpoint. Clones share it.
#[derive(Clone)]
pub struct Hooks {
    receivers: Receivers,
    leadership: Leadership,
    metrics: Metrics,
    limits: Limits,
    connections: Arc<Semaphore>,
    held: Arc<Semaphore>,
    checking: Arc<Semaphore>,
}

impl Hooks {
    /// An endpoint that wakes the repositories in `receivers`.
    pub fn new(
        receivers: Receivers,
        leadership: Leadership,
        metrics: Metrics,
        limits: Limits,
    ) -> Self {
        Self {
            receivers,
            leadership,
            metrics,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            held: Arc::new(Semaphore::new(limits.held_bytes)),
            checking: Arc::new(Semaphore::new(1)),
        }
    }

    /// Serves until `stop` is set. A delivery in progress at that time gets no answer, so its
    /// sender knows that it failed.
    ///
    /// # Errors
    ///
    /// The listener has no address.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        tracing::info!(address = %listener.local_addr()?, path = PATH, "receiving webhooks");
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => return Ok(()),
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                // Too many open files, or a connection that has ended already.
                Err(error) => {
                    tracing::warn!(%error, "accepting a webhook's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream) {
        match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(permit) => {
                let hooks = self.clone();
                tokio::spawn(async move {
                    hooks.converse(stream).await;
                    drop(permit);
                });
            }
            Err(_) => {
                self.count(None, Outcome::Busy);
                // Sends the answer without waiting: it may get lost.
                let _ = stream.try_write(
                    b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
            }
        }
    }

    /// One connection, one request.
    async fn converse(&self, stream: TcpStream) {
        let limits = &self.limits;
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(request).await));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_buf_size(limits.head_bytes)
            .max_headers(limits.headers)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        let longest = limits.head_time + limits.body_time + ANSWER_TIME;
        match timeout(longest, connection).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) if error.is_timeout() => self.count(None, Outcome::Slow),
            // hyper has answered with 400, 414 or 431.
            Ok(Err(error)) if error.is_parse_too_large() => self.count(None, Outcome::TooLarge),
            Ok(Err(error)) if error.is_parse() => self.count(None, Outcome::Malformed),
            // The sender closed the connection. The request's result has been counted.
            Ok(Err(_)) => (),
            Err(_) => self.count(None, Outcome::Slow),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let (head, mut body) = request.into_parts();
        let provider = Provider::of(&head.headers);
        let outcome = match (head.uri.path(), head.method, provider) {
            (PATH, Method::POST, Some(provider)) => {
                match self.deliver(provider, head.headers, &mut body).await {
                    Ok(outcome) | Err(outcome) => outcome,
                }
            }
            (PATH, Method::POST, None) => Outcome::Unsigned,
            (PATH, ..) => Outcome::WrongMethod,
            _ => Outcome::WrongPath,
        };
        self.count(provider, outcome);
        if !matches!(outcome, Outcome::Slow | Outcome::Aborted) {
            let _ = timeout(DRAIN_TIME, drain(&mut body)).await;
        }
        outcome.answer()
    }

    /// Receives a delivery, checks its proof, and only then parses its body.
    async fn deliver(
        &self,
        provider: Provider,
        headers: HeaderMap,
        body: &mut Incoming,
    ) -> Result<Outcome, Outcome> {
        let proof = provider.proof(&headers).map_err(|_| Outcome::Unsigned)?;
        if !self.leadership.leads() {
            return self.hand_on(headers, body).await;
        }
        let secrets = self.receivers.secrets();
        if secrets.is_empty() || !proof.is_of_body() && proven(&proof, &[], &secrets).is_empty() {
            return Err(Outcome::WrongSignature);
        }
        let body = self.take(body).await?;
        if body.bytes.len().saturating_mul(secrets.len()) > self.limits.hashed_bytes {
            return Err(Outcome::TooLarge);
        }
        let Ok(turn) = Arc::clone(&self.checking).acquire_owned().await else {
            return Err(Outcome::Busy);
        };
        let receivers = self.receivers.clone();
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let secrets = proven(&proof, &body.bytes, &secrets);
            if secrets.is_empty() {
                return Outcome::WrongSignature;
            }
            match provider.push(&headers, &body.bytes) {
                Err(_) => Outcome::Malformed,
                Ok(None) => Outcome::Ignored,
                Ok(Some(push)) => match receivers.wake(&secrets, &push) {
                    Reached::Woken => Outcome::Woken,
                    Reached::OtherRef => Outcome::OtherRef,
                    Reached::Unmatched => Outcome::Unmatched,
                },
            }
        });
        // The check does not panic. If it did, the body would be the cause.
        check.await.map_err(|_| Outcome::Malformed)
    }

    /// Relays a delivery to the leader.
    async fn hand_on(&self, headers: HeaderMap, body: &mut Incoming) -> Result<Outcome, Outcome> {
        // A relayed delivery is not relayed again, so two replicas that each take the other for the
        // leader make no loop.
        let leader = match headers.contains_key(&RELAYED) {
            true => None,
            false => self.leadership.leader(),
        };
        let leader = leader.ok_or(Outcome::NoLeader)?;
        let Taken { bytes, held: _held } = self.take(body).await?;
        match relay(leader, headers, bytes).await {
            Ok(status) => Ok(Outcome::Relayed(status)),
            Err(error) => {
                tracing::warn!(%leader, error = crate::chain(&error), "relaying a webhook to the leader");
                Err(Outcome::NoLeader)
            }
        }
    }

    /// Reads a whole body, within the limit for one body and the limit for all bodies.
    async fn take(&self, body: &mut Incoming) -> Result<Taken, Outcome> {
        let taken = timeout(self.limits.body_time, self.collect(body)).await;
        taken.map_err(|_| Outcome::Slow)?
    }

    async fn collect(&self, body: &mut Incoming) -> Result<Taken, Outcome> {
        if body.size_hint().lower() > self.limits.body_bytes as u64 {
            return Err(Outcome::TooLarge);
        }
        let mut taken = Taken {
            bytes: Vec::new(),
            held: None,
        };
        while let Some(chunk) = chunk(body).await {
            let chunk = chunk.map_err(|_| Outcome::Aborted)?;
            if taken.bytes.len() + chunk.len() > self.limits.body_bytes {
                return Err(Outcome::TooLarge);
            }
            let more = u32::try_from(chunk.len()).map_err(|_| Outcome::TooLarge)?;
            let more = Arc::clone(&self.held)
                .try_acquire_many_owned(more)
                .map_err(|_| Outcome::Busy)?;
            match &mut taken.held {
                Some(held) => held.merge(more),
                None => taken.held = Some(more),
            }
            taken.bytes.extend_from_slice(&chunk);
        }
        Ok(taken)
    }

    fn count(&self, provider: Option<Provider>, outcome: Outcome) {
        let provider = provider.map_or("unknown", Provider::as_str);
        tracing::debug!(provider, outcome = outcome.as_str(), "webhook");
        self.metrics.webhook(provider, outcome.as_str());
    }
}

/// A body, and its share of the memory limit for bodies.
struct Taken {
    bytes: Vec<u8>,
    held: Option<OwnedSemaphorePermit>,
}

/// The secrets that the proof was made with. Tries all of them, so that the time does not reveal
/// which one matched.
fn proven(proof: &Proof, body: &[u8], secrets: &[Secret]) -> Vec<Secret> {
    let is_it = |secret: &&Secret| proof.is_of(secret, body);
    secrets.iter().filter(is_it).cloned().collect()
}

/// The next bytes of a body; trailers are skipped.
async fn chunk(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await? {
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_) => continue,
            },
            Err(error) => return Some(Err(error)),
        }
    }
}

async fn drain(body: &mut Incoming) {
    let mut left = DRAINED;
    while left > 0
        && let Some(Ok(chunk)) = chunk(body).await
    {
        left = left.saturating_sub(chunk.len());
    }
}
