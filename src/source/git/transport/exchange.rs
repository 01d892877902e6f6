//! The state of one fetch's conversation with a server, for both protocols.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::agents::{Agents, Client};
use super::interrupt::with_reads;
use super::remarks::Remarks;
use super::wire::WireProblem;
use crate::source::error::{Error, Excess, Reported};
use crate::source::git::auth::{Credentials, Proxy};
use crate::source::git::budget::Full;
use crate::source::git::limits::{Floor, WireLimits};
use crate::source::git::pack::PackProblem;
use crate::source::git::stop::StopReason;
use crate::source::git::ticket::{NoTurn, Ticket};
use crate::source::git::url;
use crate::text::redact_url;
use crate::url::RemoteUrl;

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
    /// Its deadline, and what it may use.
    pub(in crate::source::git) ticket: &'a Arc<Ticket>,
    /// The time limit, for the error message.
    pub(in crate::source::git) timeout: Duration,
    pub(in crate::source::git) max_bytes: u64,
    pub(in crate::source::git) floor: Floor,
    pub(in crate::source::git) wire: WireLimits,
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
    ticket: Arc<Ticket>,
    timeout: Duration,
    max_bytes: u64,
    floor: Floor,
    wire: WireLimits,
    /// The folder of the repository that is fetched into.
    store: PathBuf,
    received: AtomicU64,
    /// The bytes of the objects of the pack.
    inflated: AtomicU64,
    /// The thread's processor time when libgit2 began to make objects of differences.
    search_began: Mutex<Option<Duration>>,
    /// When reads end, if not only with the fetch.
    reads_end: Mutex<Option<Instant>>,
    /// Whether the last answer ended in the middle, or with a pack. No other answer may follow it.
    pub(super) is_open: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// Messages of the server for people.
    remarks: Mutex<Remarks>,
}

/// Why an exchange ended early. libgit2 keeps only the text of an error.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Late,
    Stopped(StopReason),
    TooLarge,
    TooSlow,
    /// The server sends what is refused.
    Wire(WireProblem),
    /// The cache has no room.
    Full(Full),
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
    /// Makes the exchange for `options`, for a fetch into the repository in `store`.
    pub(in crate::source::git) fn new(
        options: ExchangeOptions<'_>,
        store: &Path,
    ) -> Result<Arc<Self>, Error> {
        let url = url::parse(options.url)?;
        Ok(Arc::new(Self {
            credentials: options.credentials.clone(),
            proxy: options.proxy.cloned(),
            client: options.agents.client(options.credentials, options.proxy),
            base: Mutex::new(url.clone()),
            url,
            url_text: options.url.to_owned(),
            ticket: Arc::clone(options.ticket),
            timeout: options.timeout,
            max_bytes: options.max_bytes,
            floor: options.floor,
            wire: options.wire,
            store: store.to_owned(),
            received: AtomicU64::new(0),
            inflated: AtomicU64::new(0),
            search_began: Mutex::new(None),
            reads_end: Mutex::new(None),
            is_open: AtomicBool::new(false),
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
        let this = Arc::clone(self);
        with_reads(Rc::new(move || this.may_wait()), work)
    }

    pub(super) fn url(&self) -> &RemoteUrl {
        &self.url
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.ticket.deadline
    }

    pub(super) fn floor(&self) -> Floor {
        self.floor
    }

    pub(super) fn wire_limits(&self) -> WireLimits {
        self.wire
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    /// Waits until the fetch has to end.
    pub(super) async fn stopped(&self) -> StopReason {
        self.ticket.stop.told().await
    }

    /// Books bytes of a pack. Fails if the cache has no room for them.
    pub(super) fn spend(&self, bytes: u64) -> io::Result<()> {
        match bytes {
            0 => Ok(()),
            bytes => (self.ticket.spend)(bytes).map_err(|full| self.fail(Failure::Full(full))),
        }
    }

    /// Waits until this fetch may use much memory.
    pub(super) fn become_large(&self) -> io::Result<()> {
        self.ticket.become_large().map_err(|problem| {
            self.fail(match problem {
                NoTurn::Late => Failure::Late,
                NoTurn::Stopped(reason) => Failure::Stopped(reason),
            })
        })
    }

    /// Counts received bytes. Fails if there are too many.
    pub(super) fn count(&self, bytes: usize) -> io::Result<()> {
        let before = self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        match before + bytes as u64 > self.max_bytes {
            true => Err(self.fail(Failure::TooLarge)),
            false => Ok(()),
        }
    }

    /// Whether the deadline has not passed and nobody has ended the fetch. Otherwise, records that
    /// as the failure.
    pub(in crate::source::git) fn may_go_on(&self) -> bool {
        if let Some(reason) = self.ticket.stop.reason() {
            self.fail(Failure::Stopped(reason));
            return false;
        }
        let is_late = Instant::now() >= self.ticket.deadline;
        if is_late {
            self.fail(Failure::Late);
        }
        !is_late
    }

    /// Takes note of how many bytes the objects of the pack have.
    pub(super) fn inflates(&self, bytes: u64) {
        self.inflated.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Whether libgit2 may go on to make objects of differences, of which it has made `made`. Otherwise, records that the
    /// search for their bases takes too long.
    pub(in crate::source::git) fn may_search(&self, made: usize) -> bool {
        if made == 0 {
            return true;
        }
        let now = thread_time();
        let began = {
            let began = self.search_began.lock();
            *began
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(now)
        };
        let limit = self.wire.pack.search;
        let inflated = self.inflated.load(Ordering::Relaxed);
        let is_over = now.saturating_sub(began) > limit + work(made, inflated);
        if is_over {
            let problem = PackProblem::TooMuchSearch { limit };
            self.fail(Failure::Wire(WireProblem::Pack(problem)));
        }
        !is_over
    }

    /// Whether a read may still wait for data.
    fn may_wait(&self) -> bool {
        let is_over = |end: Instant| Instant::now() >= end;
        self.may_go_on() && !self.reads_end().is_some_and(is_over)
    }

    /// Ends the following reads at a time.
    pub(super) fn wait_until(&self, end: Option<Instant>) {
        *self.reads_end() = end;
    }

    fn reads_end(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reads_end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
            Some(Failure::Stopped(StopReason::Abandoned)) => Error::Interrupted,
            Some(Failure::Stopped(StopReason::GaveWay)) => Error::GaveWay { url },
            Some(Failure::TooLarge) => Error::RepositoryTooLarge {
                url,
                limit: self.max_bytes,
            },
            Some(Failure::TooSlow) => Error::TooSlow {
                url,
                bytes: self.floor.bytes,
                time: self.floor.time,
            },
            Some(Failure::Wire(problem)) => match excess(problem) {
                Some(excess) => Error::RemoteTooLarge { url, excess },
                None => Error::Unreachable {
                    url,
                    source: Reported::new("the server does not follow Git's protocol"),
                },
            },
            Some(Failure::Full(full)) => no_room(url, full),
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

/// The processor time that it takes at most to make objects of so many differences, and of so many bytes, once their bases are
/// known. It takes a tenth of that.
fn work(made: usize, bytes: u64) -> Duration {
    const EACH: Duration = Duration::from_micros(500);
    const BYTES_IN_A_SECOND: u64 = 32 << 20;
    let each = EACH.saturating_mul(u32::try_from(made).unwrap_or(u32::MAX));
    each.saturating_add(Duration::from_secs(bytes / BYTES_IN_A_SECOND))
}

/// The processor time that this thread has used. On a busy machine, other time says little.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// What a server sent too much of. None if it only breaks the protocol.
fn excess(problem: WireProblem) -> Option<Excess> {
    Some(match problem {
        WireProblem::Invalid | WireProblem::Pack(PackProblem::Invalid) => return None,
        WireProblem::TooManyReferences { limit } => Excess::References { limit },
        WireProblem::ListTooLong { limit } => Excess::ReferenceList { limit },
        WireProblem::TooManyWords { limit } => Excess::Messages { limit },
        WireProblem::Pack(problem) => match problem {
            PackProblem::Invalid => return None,
            PackProblem::TooManyObjects { count, limit } => Excess::Objects { count, limit },
            PackProblem::ObjectTooLarge { kind, size, limit } => {
                Excess::Object { kind, size, limit }
            }
            PackProblem::DeltaTooLarge { size, limit } => Excess::Delta { size, limit },
            PackProblem::TooLargeInflated { limit } => Excess::Inflated { limit },
            PackProblem::TooMuchSearch { limit } => Excess::Search { limit },
        },
    })
}

fn no_room(url: String, full: Full) -> Error {
    let (budget, limit, flag) = match full {
        Full::Namespace(limit) => (
            "the copies of this namespace",
            limit,
            "--cache-size-per-namespace",
        ),
        Full::Cache(limit) => ("all copies", limit, "--cache-size"),
    };
    Error::NoRoom {
        url,
        budget,
        limit,
        flag,
    }
}
