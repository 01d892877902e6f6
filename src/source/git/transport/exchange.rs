//! All that one fetch says to a server and hears from it, whatever the protocol.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::agents::{Agents, Client};
use super::remarks::Remarks;
use crate::source::error::{Error, Reported};
use crate::source::git::auth::{Credentials, Proxy};
use crate::source::git::url::RemoteUrl;
use crate::text::redact_url;

thread_local! {
    /// The exchange that this thread is in: libgit2 hands a transport nothing but the URL.
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// Where a server is, how it is reached, and what a fetch from it may cost.
#[derive(Clone, Copy)]
pub(in crate::source::git) struct ExchangeOptions<'a> {
    pub(in crate::source::git) url: &'a str,
    pub(in crate::source::git) agents: &'a Agents,
    pub(in crate::source::git) credentials: &'a Credentials,
    pub(in crate::source::git) proxy: Option<&'a Proxy>,
    pub(in crate::source::git) deadline: Instant,
    /// For the message when the deadline has passed.
    pub(in crate::source::git) timeout: Duration,
    pub(in crate::source::git) max_bytes: u64,
}

/// The exchange that this thread is in.
pub(super) fn current() -> Option<Arc<Exchange>> {
    CURRENT.with_borrow(Clone::clone)
}

/// All that one fetch says to a server and hears from it.
#[derive(Debug)]
pub(in crate::source::git) struct Exchange {
    pub(super) credentials: Credentials,
    proxy: Option<Proxy>,
    pub(super) client: Client,
    /// Where the repository is, once redirects are known.
    pub(super) base: Mutex<RemoteUrl>,
    url: RemoteUrl,
    /// As it was given.
    url_text: String,
    deadline: Instant,
    timeout: Duration,
    max_bytes: u64,
    received: AtomicU64,
    failure: Mutex<Option<Failure>>,
    /// What the server says to people meanwhile.
    remarks: Mutex<Remarks>,
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
    Refused(Reported),
    /// The server's own key is not the right one.
    HostKey(Reported),
    /// The server's own certificate is not one to trust.
    Certificate(Reported),
    NoRepository(Reported),
    Other(Reported),
}

impl Exchange {
    /// The exchange that carries out an options.
    pub(in crate::source::git) fn new(options: ExchangeOptions<'_>) -> Result<Arc<Self>, Error> {
        let url = RemoteUrl::parse(options.url)?;
        Ok(Arc::new(Self {
            credentials: options.credentials.clone(),
            proxy: options.proxy.cloned(),
            client: options.agents.client(options.credentials, options.proxy),
            base: Mutex::new(url.clone()),
            url,
            url_text: options.url.to_owned(),
            deadline: options.deadline,
            timeout: options.timeout,
            max_bytes: options.max_bytes,
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
            remarks: Mutex::default(),
        }))
    }

    /// Runs `work` with this exchange as the one that libgit2's connections belong to.
    pub(in crate::source::git) fn run<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
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

    pub(super) fn url(&self) -> &RemoteUrl {
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
    pub(in crate::source::git) fn in_time(&self) -> bool {
        let late = Instant::now() >= self.deadline;
        if late {
            self.fail(Failure::Late);
        }
        !late
    }

    /// Keeps what the server says to people, for the error in case that the fetch fails.
    pub(in crate::source::git) fn remark(&self, words: &[u8]) {
        self.remarks().add(words);
    }

    fn remarks(&self) -> MutexGuard<'_, Remarks> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the error that libgit2 came back with means, with what the server said.
    pub(in crate::source::git) fn explain(&self, error: &git2::Error) -> Error {
        let remarks = self.remarks().text();
        self.meaning(error)
            .with_remarks(&self.credentials.hide(&self.url_text, &remarks))
    }

    fn meaning(&self, error: &git2::Error) -> Error {
        let url = redact_url(&self.url_text);
        let hide = |words: &str| self.credentials.hide(&self.url_text, words);
        let hidden = |cause: Reported| Reported::new(&hide(&cause.to_string()));
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.clone() {
            None => {
                // It may hold words of the server.
                let words = hide(error.message());
                let error = git2::Error::new(error.code(), error.class(), words);
                Error::from_remote(&self.url_text, &error)
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

    pub(super) fn has_failed(&self) -> bool {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}
