//! Git over SSH, below libgit2: one connection, one `git-upload-pack`, and its two streams.
//!
//! On russh rather than on libgit2's own transport over libssh2: that one would bring OpenSSL, all
//! of it in C; it knows no deadline once it is connected; and it offers a host key to a callback
//! without asking the server for the kinds of key that `known_hosts` has. russh is pure Rust on the
//! ring that TLS uses here already, and asynchronous, so that a deadline cancels whatever it waits
//! for. It costs about a hundred small crates and two minutes of one processor in a clean build.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use russh::client::{self, AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Channel, ChannelMsg, Preferred};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::timeout_at;

use super::exchange::{Exchange, Failure};
use crate::source::error::Reported;
use crate::source::git::auth::{HostKey, Proxy, Ssh, TunnelError};
use crate::source::git::url::{Address, RemoteUrl, SSH_USER};
use crate::text::{printable, start};

/// Longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server, as over HTTP.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// What is kept of a server's words to people, in bytes.
const MAX_WORDS: usize = 300;

/// Where libgit2's calls go.
pub(super) struct Subtransport {
    pub(super) exchange: Arc<Exchange>,
    pub(super) credentials: Arc<Ssh>,
}

impl SmartSubtransport for Subtransport {
    /// Called once: what is not RPC keeps its stream.
    fn action(
        &self,
        _url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        if service != Service::UploadPackLs {
            return Err(git2::Error::from_str("towline never pushes"));
        }
        Ok(Box::new(Stream {
            exchange: Arc::clone(&self.exchange),
            credentials: Arc::clone(&self.credentials),
            session: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

struct Stream {
    exchange: Arc<Exchange>,
    credentials: Arc<Ssh>,
    session: Option<Session>,
}

/// A running `git-upload-pack`.
struct Session {
    /// The connection ends with it.
    _connection: Handle<Checker>,
    channel: Channel<client::Msg>,
    /// What was received and not read yet.
    pending: io::Cursor<Vec<u8>>,
    words: String,
}

impl Stream {
    /// Waits for `work`, but not beyond the exchange's deadline, nor longer than `bound`.
    fn wait<T>(
        exchange: &Exchange,
        bound: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> io::Result<T> {
        let end = Instant::now() + bound;
        let until = end.min(exchange.deadline());
        let outcome = runtime::Handle::current().block_on(timeout_at(until.into(), work));
        outcome
            .unwrap_or_else(|_| {
                Err(match exchange.in_time() {
                    true => Failure::Other(Reported::new("the server is silent")),
                    false => Failure::Late,
                })
            })
            .map_err(|failure| exchange.fail(failure))
    }

    fn session(&mut self) -> io::Result<&mut Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let work = open(&self.exchange, &self.credentials);
                Self::wait(&self.exchange, CONNECT_TIMEOUT, work)?
            }
        };
        Ok(self.session.insert(session))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let exchange = Arc::clone(&self.exchange);
        let session = self.session()?;
        if session.is_read() {
            Self::wait(&exchange, SILENCE_TIMEOUT, session.receive())?;
        }
        let count = session.pending.read(buffer)?;
        exchange.count(count)?;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let exchange = Arc::clone(&self.exchange);
        let session = self.session()?;
        let sent = async {
            let sent = session.channel.data_bytes(buffer.to_vec()).await;
            sent.map_err(|error| session.failure(&error))
        };
        Self::wait(&exchange, SILENCE_TIMEOUT, sent)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    /// Whether nothing of what was received is left.
    fn is_read(&self) -> bool {
        self.pending.position() == self.pending.get_ref().len() as u64
    }

    /// Waits for more of the server's answer.
    async fn receive(&mut self) -> Result<(), Failure> {
        while self.is_read() {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.pending = io::Cursor::new(data.to_vec()),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_WORDS.saturating_sub(self.words.len());
                    let text = String::from_utf8_lossy(&data);
                    self.words.push_str(start(&printable(&text), room));
                }
                // The exit status and the server's last words may follow an end of the data.
                Some(ChannelMsg::Close) | None => return Err(self.ended()),
                Some(_) => (),
            }
        }
        Ok(())
    }

    fn failure(&self, error: &russh::Error) -> Failure {
        match self.words.is_empty() {
            true => Failure::Other(Reported::new(&error.to_string())),
            false => self.ended(),
        }
    }

    /// An end that libgit2 did not ask for.
    fn ended(&self) -> Failure {
        let words = self.words.to_lowercase();
        let mut text = "the server ended the connection".to_owned();
        if !self.words.is_empty() {
            let _ = write!(text, ": {}", self.words);
        }
        let cause = Reported::new(&text);
        let missing = [
            "not found",
            "does not appear to be a git repository",
            "does not exist",
        ];
        match missing.iter().any(|sign| words.contains(sign)) {
            true => Failure::NoRepository(cause),
            false => Failure::Other(cause),
        }
    }
}

/// Connects, checks the host's key, logs in and starts the service.
async fn open(exchange: &Exchange, credentials: &Arc<Ssh>) -> Result<Session, Failure> {
    let other = |text: &str| Failure::Other(Reported::new(text));
    let RemoteUrl::Ssh(url) = exchange.url() else {
        return Err(other("it is not an SSH URL"));
    };
    let address = &url.address;
    let algorithms = credentials
        .known_hosts
        .algorithms(&address.host, address.port);
    if algorithms.is_empty() {
        return Err(Failure::HostKey(Reported::new(
            "known_hosts in the Secret has no key of this host",
        )));
    }
    let config = client::Config {
        preferred: Preferred {
            key: Cow::Owned(algorithms),
            ..Preferred::DEFAULT
        },
        inactivity_timeout: Some(2 * SILENCE_TIMEOUT),
        ..client::Config::default()
    };
    let refused = Arc::new(Mutex::new(None));
    let checker = Checker {
        credentials: Arc::clone(credentials),
        host: address.host.clone(),
        port: address.port,
        refused: Arc::clone(&refused),
    };
    let stream = connect(address, exchange.proxy()).await?;
    let connected = client::connect_stream(Arc::new(config), stream, checker).await;
    let mut connection = connected.map_err(|error| {
        let refused = refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (refused, error) {
            (Some(cause), _) => Failure::HostKey(cause),
            (
                None,
                russh::Error::NoCommonAlgo {
                    kind: AlgorithmKind::Key,
                    ..
                },
            ) => Failure::HostKey(Reported::new(
                "the server has no host key of a kind that known_hosts in the Secret has",
            )),
            (None, error) => other(&error.to_string()),
        }
    })?;
    log_in(&mut connection, address, credentials).await?;
    let start = async {
        let channel = connection.channel_open_session().await?;
        channel.exec(true, url.command()).await?;
        Ok::<_, russh::Error>(channel)
    };
    let channel = start.await.map_err(|error| other(&error.to_string()))?;
    Ok(Session {
        _connection: connection,
        channel,
        pending: io::Cursor::default(),
        words: String::new(),
    })
}

/// A connection to the host, through a proxy's tunnel where there is one.
async fn connect(address: &Address, proxy: Option<&Proxy>) -> Result<TcpStream, Failure> {
    let failed = |text: String| Failure::Other(Reported::new(&text));
    let stream = match proxy {
        None => {
            let address = (address.host.as_str(), address.port);
            let connected = TcpStream::connect(address).await;
            connected.map_err(|error| failed(error.to_string()))?
        }
        Some(proxy) => {
            let tunnel = proxy.tunnel(&address.host, address.port).await;
            tunnel.map_err(|error| match error {
                TunnelError::Login => Failure::Refused(Reported::new(&error.to_string())),
                error => failed(error.to_string()),
            })?
        }
    };
    let prompt = stream.set_nodelay(true);
    prompt.map_err(|error| failed(error.to_string()))?;
    Ok(stream)
}

async fn log_in(
    connection: &mut Handle<Checker>,
    address: &Address,
    credentials: &Ssh,
) -> Result<(), Failure> {
    let failed = |error: russh::Error| Failure::Other(Reported::new(&error.to_string()));
    let user = credentials.user.as_deref().or(address.user.as_deref());
    let hash = match credentials.key.algorithm().is_rsa() {
        true => match connection.best_supported_rsa_hash().await.map_err(failed)? {
            Some(Some(hash)) => Some(hash),
            // The server does not say; never SHA-1.
            _ => Some(HashAlg::Sha512),
        },
        false => None,
    };
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&credentials.key), hash);
    let answer = connection
        .authenticate_publickey(user.unwrap_or(SSH_USER), key)
        .await
        .map_err(failed)?;
    match answer {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { .. } => Err(Failure::Refused(Reported::new(
            "the server does not accept the key (identity in the Secret)",
        ))),
    }
}

/// Decides on the server's key, before anything is said to it.
struct Checker {
    credentials: Arc<Ssh>,
    host: String,
    port: u16,
    refused: Arc<Mutex<Option<Reported>>>,
}

impl client::Handler for Checker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        let known = &self.credentials.known_hosts;
        let print = key.fingerprint(HashAlg::Sha256);
        let problem = match known.judge(&self.host, self.port, key) {
            HostKey::Known => return Ok(true),
            HostKey::Unknown => "known_hosts in the Secret has no key of this host",
            HostKey::Revoked => "known_hosts in the Secret says that it is revoked",
            HostKey::Changed => {
                "known_hosts in the Secret has another: it was changed, or somebody is in between"
            }
        };
        let cause = Reported::new(&format!("the server's key is {print}; {problem}"));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        Ok(false)
    }
}
