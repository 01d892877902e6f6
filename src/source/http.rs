//! Git's smart HTTP protocol, below libgit2: what it asks for as requests of our own HTTP client.
//!
//! libgit2's own client knows no deadline, sends a request's head and body as two segments without
//! `TCP_NODELAY` (40 ms a request against a server that delays its acknowledgements, twice a
//! fetch), opens a connection for every poll, bounds no answer, and can trust one set of
//! certificates per process only. This one has the deadline of the fetch on every read, keeps
//! connections between polls, and counts bytes.

mod agents;
mod place;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use rustls::{AlertDescription, CertificateError};
use ureq::Body;
use ureq::http::Response;

use super::credentials::{Credentials, Proxy, TunnelError};
use super::error::{Cause, Error};
use super::pull::Order;
use super::url;
use agents::Client;

pub(super) use agents::Agents;
pub(super) use place::same_origin;

/// Redirects of the first request that are followed, as Git does.
const MAX_REDIRECTS: usize = 5;
/// Reads of an answer's rest, so that its connection can be used again.
const MAX_REST_READS: usize = 16;

thread_local! {
    /// The exchange that this thread is in: libgit2 hands a transport nothing but the URL.
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// Registers this module for `http://` and `https://`, and `source::ssh` for `ssh://`.
///
/// # Safety
///
/// No other thread may use libgit2's transports meanwhile.
#[allow(unsafe_code)]
pub(super) unsafe fn register() -> Result<(), git2::Error> {
    for scheme in ["http", "https", "ssh"] {
        // SAFETY: as this function's.
        unsafe { git2::transport::register(scheme, transport)? };
    }
    Ok(())
}

fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let current = CURRENT.with_borrow(Clone::clone);
    let exchange = current.ok_or_else(|| git2::Error::from_str("no exchange is under way"))?;
    match exchange.credentials.ssh().cloned() {
        Some(credentials) => {
            let transport = super::ssh::Subtransport {
                exchange,
                credentials,
            };
            Transport::smart(remote, false, transport)
        }
        None => Transport::smart(remote, true, Subtransport(exchange)),
    }
}

/// All that one fetch says to a server and hears from it.
#[derive(Debug)]
pub(super) struct Exchange {
    credentials: Credentials,
    proxy: Option<Proxy>,
    client: Client,
    /// Where the repository is, once redirects are known.
    base: Mutex<String>,
    url: String,
    deadline: Instant,
    timeout: Duration,
    max_bytes: u64,
    received: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// Why an exchange ended early: libgit2 passes on nothing but a text.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Late,
    TooLarge,
    Status(u16),
    /// An answer to a request that went without the credentials.
    StatusElsewhere(u16),
    /// The server does not accept the key or the client certificate.
    Refused(Cause),
    /// The server's own key is not the right one.
    HostKey(Cause),
    /// The server's own certificate is not one to trust.
    Certificate(Cause),
    NoRepository(Cause),
    Other(Cause),
}

impl Exchange {
    /// The exchange that carries out an order.
    pub(super) fn new(order: Order<'_>) -> Arc<Self> {
        Arc::new(Self {
            credentials: order.credentials.clone(),
            proxy: order.proxy.cloned(),
            client: order.agents.client(order.credentials, order.proxy),
            base: Mutex::new(order.url.to_owned()),
            url: order.url.to_owned(),
            deadline: order.deadline,
            timeout: order.timeout,
            max_bytes: order.max_bytes,
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// Runs `work` with this exchange as the one that libgit2's connections belong to.
    pub(super) fn run<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        CURRENT.set(Some(Arc::clone(self)));
        let _reset = Reset;
        work()
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Adds to what was received, which may be too much.
    pub(super) fn count(&self, bytes: usize) -> io::Result<()> {
        let before = self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        match before + bytes as u64 > self.max_bytes {
            true => Err(self.fail(Failure::TooLarge)),
            false => Ok(()),
        }
    }

    /// Whether there is time left; if not, that is the exchange's failure.
    pub(super) fn in_time(&self) -> bool {
        let late = Instant::now() >= self.deadline;
        if late {
            self.fail(Failure::Late);
        }
        !late
    }

    /// What the error that libgit2 came back with means.
    pub(super) fn explain(&self, error: &git2::Error) -> Error {
        let url = url::redact(&self.url);
        let hide = |words: &str| self.credentials.hide(&self.url, words);
        let hidden = |cause: Cause| Cause::new(&hide(&cause.to_string()));
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.clone() {
            None => {
                // It may hold words of the server.
                let words = hide(error.message());
                let error = git2::Error::new(error.code(), error.class(), words);
                Error::from_remote(&self.url, &error)
            }
            Some(Failure::Late) => Error::Timeout {
                url,
                after: self.timeout,
            },
            Some(Failure::TooLarge) => Error::RepositoryTooLarge {
                url,
                limit: self.max_bytes,
            },
            Some(Failure::Status(status)) => Error::from_status(url, status),
            Some(Failure::StatusElsewhere(status)) => Error::from_status_elsewhere(url, status),
            Some(Failure::Refused(cause)) => Error::Authentication {
                url,
                source: hidden(cause),
            },
            Some(Failure::HostKey(cause)) => Error::HostKey {
                url,
                source: hidden(cause),
            },
            Some(Failure::Certificate(source)) => Error::Certificate { url, source },
            Some(Failure::NoRepository(cause)) => Error::RepositoryNotFound {
                url,
                source: hidden(cause),
            },
            Some(Failure::Other(cause)) => Error::Unreachable {
                url,
                source: hidden(cause),
            },
        }
    }

    /// Keeps the first failure, and makes an error of it for libgit2.
    pub(super) fn fail(&self, failure: Failure) -> io::Error {
        let text = format!("{failure:?}");
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
        io::Error::other(text)
    }

    fn has_failed(&self) -> bool {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn fail_http(&self, error: ureq::Error) -> io::Error {
        let failure = match error {
            ureq::Error::Timeout(ureq::Timeout::Global) => Failure::Late,
            other => failure_of(&other),
        };
        self.fail(failure)
    }

    fn fail_with(&self, text: &str) -> io::Error {
        self.fail(Failure::Other(Cause::new(text)))
    }

    /// Sends a request, and returns its answer's body.
    fn ask(&self, service: Service, body: &[u8]) -> io::Result<ureq::BodyReader<'static>> {
        let (url, answer, wanted) = match service {
            Service::UploadPackLs => {
                let (url, answer) = self.discover()?;
                (url, answer, "application/x-git-upload-pack-advertisement")
            }
            Service::UploadPack => {
                let url = place::endpoint(&self.base(), "git-upload-pack", "");
                let answer = self.send(&url, Some(body))?;
                (url, answer, "application/x-git-upload-pack-result")
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(io::Error::other("towline never pushes"));
            }
        };
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(
                self.fail(match self.client.has_secrets && !self.is_home(&url) {
                    true => Failure::StatusElsewhere(status),
                    false => Failure::Status(status),
                }),
            );
        }
        let content_type = answer.headers().get("content-type");
        if content_type.map(|value| value.as_bytes()) != Some(wanted.as_bytes()) {
            return Err(self.fail_with("the answer is not that of a Git server"));
        }
        if service == Service::UploadPackLs
            && let Some(base) = place::base(&url)
        {
            // Later requests go where the first one was redirected to.
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
        }
        Ok(answer.into_body().into_reader())
    }

    /// The first request, with the URL that it ended up at.
    fn discover(&self) -> io::Result<(String, Response<Body>)> {
        let mut url = place::endpoint(&self.base(), "info/refs", "service=git-upload-pack");
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(&url, None)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((url, answer));
            }
            let location = answer.headers().get("location");
            let next = location.and_then(|value| place::follow(&url, value.to_str().ok()?));
            let Some(next) = next else {
                return Err(self.fail_with("the server redirects to where towline does not follow"));
            };
            self.finish(answer.into_body().into_reader());
            url = next;
        }
        Err(self.fail_with("the server redirects too often"))
    }

    /// One request: a POST of `body`, or a GET. Only the server of the URL as given is shown the
    /// credentials.
    fn send(&self, url: &str, body: Option<&[u8]>) -> io::Result<Response<Body>> {
        if !self.in_time() {
            return Err(self.fail(Failure::Late));
        }
        let client = &self.client;
        let (agent, authorization) = match self.is_home(url) {
            true => (&client.trusted, client.authorization.as_ref()),
            false => (&client.bare, None),
        };
        let left = Some(self.deadline.saturating_duration_since(Instant::now()));
        let answer = match body {
            None => {
                let mut request = agent.get(url);
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                request.config().timeout_global(left).build().call()
            }
            Some(body) => {
                let mut request = agent.post(url);
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                request
                    .header("content-type", "application/x-git-upload-pack-request")
                    .header("accept", "application/x-git-upload-pack-result")
                    .config()
                    .timeout_global(left)
                    .build()
                    .send(body)
            }
        };
        answer.map_err(|error| self.fail_http(error))
    }

    /// Whether `url` is on the server that the credentials are for.
    fn is_home(&self, url: &str) -> bool {
        place::same_origin(&self.url, url)
    }

    /// Reads the little that may be left (the last chunk's mark), so that the connection can be
    /// used again.
    fn finish(&self, mut answer: ureq::BodyReader<'static>) {
        let mut rest = [0; 4096];
        for _ in 0..MAX_REST_READS {
            if self.has_failed() || !matches!(answer.read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }

    fn base(&self) -> String {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        base.clone()
    }
}

struct Subtransport(Arc<Exchange>);

impl SmartSubtransport for Subtransport {
    fn action(
        &self,
        _url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        Ok(Box::new(Stream {
            exchange: Arc::clone(&self.0),
            service,
            request: Vec::new(),
            answer: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer.
struct Stream {
    exchange: Arc<Exchange>,
    service: Service,
    request: Vec<u8>,
    answer: Option<ureq::BodyReader<'static>>,
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => {
                let answer = self.exchange.ask(self.service, &self.request)?;
                self.answer.insert(answer)
            }
        };
        let count = answer
            .read(buffer)
            .map_err(|error| self.exchange.fail_http(ureq::Error::from(error)))?;
        self.exchange.count(count)?;
        Ok(count)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.exchange.finish(answer);
        }
    }
}

/// What an error of the HTTP client means. Those of TLS say what to do about it.
fn failure_of(error: &ureq::Error) -> Failure {
    if let ureq::Error::ConnectProxyFailed(why) = error {
        return match why.contains("407") {
            true => Failure::Refused(Cause::new(&TunnelError::Login.to_string())),
            false => Failure::Other(Cause::new(&format!("there is no tunnel: {why}"))),
        };
    }
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Failure::Certificate(Cause::new(
                "it is signed by an authority that is not known; ca.crt in the Secret adds one",
            ))
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied,
        )) => Failure::Refused(Cause::new(&format!(
            "the server wants another client certificate (tls.crt and tls.key in the Secret): {error}"
        ))),
        _ => Failure::Other(Cause::new(&error.to_string())),
    }
}
