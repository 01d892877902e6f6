//! The endpoint for webhooks: `POST /hook`, one for all repositories and providers.
//!
//! A delivery is checked in this order, so that a sender without a secret costs a bounded amount: the number of
//! connections, the time and size of the head, the time and size of the body, the provider and its proof,
//! and last the content of the body. [`Limits`] has the figures.
//!
//! Checking a signature hashes the body once for every secret. Checks run on a thread of their own, one at a
//! time, so that a flood takes one processor at most. The bytes that one delivery may hash are bounded too.
//!
//! Every delivery that is proven gets the same answer, whatever it reached. So the secret of one repository does
//! not reveal which other repositories there are, nor what they follow.
//!
//! A delivery wakes drivers of this process. A standby has no drivers: it relays deliveries to the leader, which
//! checks them. The same limits bound what a standby takes in.

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

/// What a sender may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one delivery each.
    pub connections: usize,
    /// Time for the request line and headers.
    pub head_time: Duration,
    /// Their size together, in bytes.
    pub head_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Time for the body.
    pub body_time: Duration,
    /// Its size in bytes. GitHub sends up to 25 MB, but for pushes of thousands of commits only:
    /// those wait for the next poll.
    pub body_bytes: usize,
    /// Bytes of bodies held at a time, of all connections together.
    pub held_bytes: usize,
    /// Bytes that one delivery's check may hash: its body times the number of secrets.
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

/// What is still read of a delivery that is refused, so that its sender gets to see the answer.
const DRAINED: usize = 64 << 10;

/// The same, for how long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What became of a request: the closed set that metrics count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A repository is polled now.
    Woken,
    /// Proven, and about a ref that its repository does not follow.
    OtherRef,
    /// Proven, and about a repository that is not here.
    Nobody,
    /// Proven, and not about a push.
    Ignored,
    /// The leader got it, and gave this answer.
    Relayed(StatusCode),
    /// This replica stands by, and the leader is not known or not reached. The sender may try again;
    /// if it does not, the next poll finds what was pushed.
    NoLeader,
    Unsigned,
    WrongSignature,
    Malformed,
    TooLarge,
    Slow,
    Busy,
    WrongMethod,
    WrongPath,
    /// The sender left before it had said everything.
    Aborted,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Woken => "woken",
            Self::OtherRef => "other_ref",
            Self::Nobody => "unmatched",
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
            Self::Woken | Self::OtherRef | Self::Nobody | Self::Ignored => StatusCode::ACCEPTED,
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

    /// The status and nothing more.
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

/// The endpoint; clones share it.
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
    /// An endpoint that wakes these receivers.
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

    /// Serves until `stop` comes. A delivery that is under way then is not answered, and its sender
    /// knows that it failed.
    ///
    /// # Errors
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
                // Too many open files, or a connection that ended already.
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
                // Whether this arrives does not matter enough to wait for it.
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
            // hyper has answered 400, 414 or 431.
            Ok(Err(error)) if error.is_parse_too_large() => self.count(None, Outcome::TooLarge),
            Ok(Err(error)) if error.is_parse() => self.count(None, Outcome::Malformed),
            // The sender left; what became of its request has been counted.
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

    /// Takes a delivery in, has it proven, and only then reads it.
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
                    Reached::Nobody => Outcome::Nobody,
                },
            }
        });
        // It does not panic; if it did, that was about the body.
        check.await.map_err(|_| Outcome::Malformed)
    }

    /// Hands a delivery on to the leader.
    async fn hand_on(&self, headers: HeaderMap, body: &mut Incoming) -> Result<Outcome, Outcome> {
        // Two replicas that each take the other for the leader send nothing in a circle.
        let leader = match headers.contains_key(&RELAYED) {
            true => None,
            false => self.leadership.leader(),
        };
        let leader = leader.ok_or(Outcome::NoLeader)?;
        let Taken { bytes, held: _held } = self.take(body).await?;
        match relay(leader, headers, bytes).await {
            Ok(status) => Ok(Outcome::Relayed(status)),
            Err(error) => {
                tracing::warn!(%leader, error = crate::chain(&error), "handing a webhook on");
                Err(Outcome::NoLeader)
            }
        }
    }

    /// A whole body, within its limits and within what all bodies together may hold.
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

/// A body, and its share of what may be held.
struct Taken {
    bytes: Vec<u8>,
    held: Option<OwnedSemaphorePermit>,
}

/// The secrets that the proof was made with. All are tried, so that the time tells nothing of which.
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
