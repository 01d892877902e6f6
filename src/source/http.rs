//! Git's smart HTTP protocol, below libgit2: what it asks for as requests of our own HTTP client.
//!
//! libgit2's own client knows no deadline, sends a request's head and body as two segments without
//! `TCP_NODELAY` (40 ms a request against a server that delays its acknowledgements, twice a
//! fetch), opens a connection for every poll, bounds no answer, and can trust one set of
//! certificates per process only. This one has the deadline of the fetch on every read, keeps
//! connections between polls, and counts bytes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, ResponseExt as _};

use super::error::{Cause, Error};
use super::url;

/// Longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server. Git's own sends a sign of life every five seconds while it prepares
/// a pack.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept for the next poll: how many, how many a host, and for how long.
const IDLE: (usize, usize, Duration) = (16, 4, Duration::from_secs(75));
/// Buffers of a connection, in bytes; an idle one keeps them.
const INPUT_BUFFER: usize = 32 << 10;
const OUTPUT_BUFFER: usize = 16 << 10;
/// Redirects of the first request that are followed, as Git does.
const MAX_REDIRECTS: u32 = 5;
/// Reads of an answer's rest, so that its connection can be used again.
const MAX_REST_READS: usize = 16;
/// Some servers give Git's answers to Git alone.
const USER_AGENT: &str = concat!("git/2.0 (towline ", env!("CARGO_PKG_VERSION"), ")");

thread_local! {
    /// The exchange that this thread is in: libgit2 hands a transport nothing but the URL.
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// A client for all exchanges; it keeps idle connections. The proxy is the environment's.
pub(super) fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections(IDLE.0)
        .max_idle_connections_per_host(IDLE.1)
        .max_idle_age(IDLE.2)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .timeout_per_write(Some(SILENCE_TIMEOUT))
        .build()
        .new_agent()
}

/// Registers this module for `http://` and `https://`.
///
/// # Safety
///
/// No other thread may use libgit2's transports meanwhile.
#[allow(unsafe_code)]
pub(super) unsafe fn register() -> Result<(), git2::Error> {
    for scheme in ["http", "https"] {
        // SAFETY: as this function's.
        unsafe { git2::transport::register(scheme, transport)? };
    }
    Ok(())
}

fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let current = CURRENT.with_borrow(Clone::clone);
    let exchange = current.ok_or_else(|| git2::Error::from_str("no exchange is under way"))?;
    Transport::smart(remote, true, Subtransport(exchange))
}

/// All that one fetch says to a server and hears from it.
#[derive(Debug)]
pub(super) struct Exchange {
    agent: Agent,
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
enum Failure {
    Late,
    TooLarge,
    Status(u16),
    Other(Cause),
}

impl Exchange {
    /// An exchange about the repository at `url`, which may take until `deadline` (`timeout` is for
    /// the message) and bring `max_bytes`.
    pub(super) fn new(
        agent: Agent,
        url: &str,
        deadline: Instant,
        timeout: Duration,
        max_bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            agent,
            base: Mutex::new(url.to_owned()),
            url: url.to_owned(),
            deadline,
            timeout,
            max_bytes,
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
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.clone() {
            None => Error::from_remote(&self.url, error),
            Some(Failure::Late) => Error::Timeout {
                url,
                after: self.timeout,
            },
            Some(Failure::TooLarge) => Error::RepositoryTooLarge {
                url,
                limit: self.max_bytes,
            },
            Some(Failure::Status(status)) => Error::from_status(url, status),
            Some(Failure::Other(source)) => Error::Unreachable { url, source },
        }
    }

    /// Keeps the first failure, and makes an error of it for libgit2.
    fn fail(&self, failure: Failure) -> io::Error {
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
            other => Failure::Other(Cause::new(&other.to_string())),
        };
        self.fail(failure)
    }

    /// Sends a request, and returns its answer's body.
    fn ask(&self, service: Service, body: &[u8]) -> io::Result<ureq::BodyReader<'static>> {
        if !self.in_time() {
            return Err(self.fail(Failure::Late));
        }
        let base = self.base().clone();
        let (answer, wanted) = match service {
            Service::UploadPackLs => {
                let request = self
                    .agent
                    .get(endpoint(&base, "info/refs", "service=git-upload-pack"))
                    .config()
                    .timeout_global(Some(self.left()))
                    .https_only(base.starts_with("https:"))
                    .max_redirects(MAX_REDIRECTS)
                    .build();
                (
                    request.call(),
                    "application/x-git-upload-pack-advertisement",
                )
            }
            Service::UploadPack => {
                let request = self
                    .agent
                    .post(endpoint(&base, "git-upload-pack", ""))
                    .config()
                    .timeout_global(Some(self.left()))
                    .max_redirects(0)
                    .build()
                    .header("content-type", "application/x-git-upload-pack-request")
                    .header("accept", "application/x-git-upload-pack-result");
                (request.send(body), "application/x-git-upload-pack-result")
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(io::Error::other("towline never pushes"));
            }
        };
        let answer = answer.map_err(|error| self.fail_http(error))?;
        if answer.status() != 200 {
            return Err(self.fail(Failure::Status(answer.status().as_u16())));
        }
        if answer
            .headers()
            .get("content-type")
            .map(|value| value.as_bytes())
            != Some(wanted.as_bytes())
        {
            let cause = Cause::new("the answer is not that of a Git server");
            return Err(self.fail(Failure::Other(cause)));
        }
        if service == Service::UploadPackLs {
            self.redirected(&answer.get_uri().to_string());
        }
        Ok(answer.into_body().into_reader())
    }

    /// Later requests go where the first one was redirected to.
    fn redirected(&self, uri: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        if let Some(base) = path.strip_suffix("/info/refs") {
            let query = query.replace("service=git-upload-pack", "");
            let query = query.trim_end_matches('&');
            *self.base() = if query.is_empty() {
                base.to_owned()
            } else {
                format!("{base}?{query}")
            };
        }
    }

    fn base(&self) -> std::sync::MutexGuard<'_, String> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The URL of a service of the repository at `base`, whose query, if any, is kept.
fn endpoint(base: &str, path: &str, query: &str) -> String {
    let (folder, own) = base.split_once('?').unwrap_or((base, ""));
    let folder = folder.trim_end_matches('/');
    let queries: Vec<&str> = [own, query].into_iter().filter(|q| !q.is_empty()).collect();
    if queries.is_empty() {
        format!("{folder}/{path}")
    } else {
        format!("{folder}/{path}?{}", queries.join("&"))
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
        let before = self
            .exchange
            .received
            .fetch_add(count as u64, Ordering::Relaxed);
        if before + count as u64 > self.exchange.max_bytes {
            return Err(self.exchange.fail(Failure::TooLarge));
        }
        Ok(count)
    }
}

impl Drop for Stream {
    /// Reads the little that may be left (the last chunk's mark), so that the connection can be
    /// used again.
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take() else {
            return;
        };
        let mut rest = [0; 4096];
        for _ in 0..MAX_REST_READS {
            if self.exchange.has_failed() || !matches!(answer.read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn services_have_their_urls() {
        for (base, path, query, url) in [
            (
                "http://h/r.git",
                "git-upload-pack",
                "",
                "http://h/r.git/git-upload-pack",
            ),
            (
                "http://h/r/",
                "info/refs",
                "service=x",
                "http://h/r/info/refs?service=x",
            ),
            (
                "http://h/r?t=1",
                "info/refs",
                "service=x",
                "http://h/r/info/refs?t=1&service=x",
            ),
            (
                "http://h/r?t=1",
                "git-upload-pack",
                "",
                "http://h/r/git-upload-pack?t=1",
            ),
        ] {
            assert_eq!(endpoint(base, path, query), url);
        }
    }

    #[test]
    fn a_redirect_moves_the_base() {
        let soon = Instant::now();
        let exchange = Exchange::new(agent(), "http://h/r", soon, Duration::ZERO, 1);
        for (uri, base) in [
            (
                "https://i/s.git/info/refs?service=git-upload-pack",
                "https://i/s.git",
            ),
            (
                "https://i/s/info/refs?t=1&service=git-upload-pack",
                "https://i/s?t=1",
            ),
            ("https://i/login", "https://i/s?t=1"),
        ] {
            exchange.redirected(uri);
            assert_eq!(*exchange.base(), base);
        }
    }
}
