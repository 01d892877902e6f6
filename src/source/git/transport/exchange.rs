//! The state of one fetch's conversation with a server, for both protocols.

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
    /// The exchange that this thread works for. libgit2 gives a transport only the URL.
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// The server, how to reach it, and the limits of a fetch.
#[derive(Clone, Copy)]
pub(in crate::source::git) struct ExchangeOptions<'a> {
    pub(in crate::source::git) url: &'a str,
    pub(in crate::source::git) agents: &'a Agents,
    pub(in crate::source::git) credentials: &'a Credentials,
    pub(in crate::source::git) proxy: Option<&'a Proxy>,
    pub(in crate::source::git) deadline: Instant,
    /// The time limit, for the error message.
    pub(in crate::source::git) timeout: Duration,
    pub(in crate::source::git) max_bytes: u64,
}

/// The exchange that this thread works for.
pub(super) fn current() -> Option<Arc<Exchange>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The state of one fetch's conversation with a server.
#[derive(Debug)]
pub(in crate::source::git) struct Exchange {
    pub(super) credentials: Credentials,
    proxy: Option<Proxy>,
    pub(super) client: Client,
    /// The repository's URL after redirects.
    pub(super) base: Mutex<RemoteUrl>,
    url: RemoteUrl,
    /// The URL as given.
    url_text: String,
    deadline: Instant,
    timeout: Duration,
    max_bytes: u64,
    received: AtomicU64,
    failure: Mutex<Option<Failure>>,
    /// Messages of the server for people.
    remarks: Mutex<Remarks>,
}

/// Why an exchange ended early. libgit2 keeps only the text of an error.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Late,
    TooLarge,
    Status(u16),
    /// An HTTP status for a request that was sent without the credentials.
    StatusElsewhere(u16),
    /// The server does not accept the key or the client certificate.
    Refused(Reported),
    /// The server's host key is not accepted.
    HostKey(Reported),
    /// The server's certificate is not accepted.
    Certificate(Reported),
    NoRepository(Reported),
    Other(Reported),
}

impl Exchange {
    /// Makes the exchange for `options`.
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

    /// Runs `work` with this exchange as the one of the thread's libgit2 connections.
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

    /// Counts received bytes. Fails if there are too many.
    pub(super) fn count(&self, bytes: usize) -> io::Result<()> {
        let before = self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        match before + bytes as u64 > self.max_bytes {
            true => Err(self.fail(Failure::TooLarge)),
            false => Ok(()),
        }
    }

    /// Whether the deadline has not passed. If it has, records that as the failure.
    pub(in crate::source::git) fn in_time(&self) -> bool {
        let late = Instant::now() >= self.deadline;
        if late {
            self.fail(Failure::Late);
        }
        !late
    }

    /// Keeps a message of the server for people, for use in an error.
    pub(in crate::source::git) fn remark(&self, words: &[u8]) {
        self.remarks().add(words);
    }

    fn remarks(&self) -> MutexGuard<'_, Remarks> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Translates an error of libgit2, with the recorded failure and the server's messages.
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
                // The text may hold words of the server.
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

    /// Records the first failure, and makes an error of it for libgit2.
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
