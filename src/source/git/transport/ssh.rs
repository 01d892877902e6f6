//! Git over SSH for libgit2: one connection that runs one `git-upload-pack`.
//!
//! This uses russh and not libgit2's own transport over libssh2, for three reasons. libssh2 brings
//! OpenSSL, all in C. It has no deadline after the connection is made. It offers a host key to a
//! callback without asking the server for the kinds of key in `known_hosts`. russh is pure Rust,
//! uses the ring crate that TLS uses here already, and is asynchronous, so a deadline cancels every
//! wait. It costs about a hundred small crates, and two minutes of one processor in a clean build.

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
use super::reader::Reader;
use crate::source::error::Reported;
use crate::source::git::auth::{HostKey, Proxy, Ssh, TunnelError};
use crate::text::{printable, start};
use crate::url::{Address, RemoteUrl, SSH_USER};

/// The time limit for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a silent server, as over HTTP.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the server's messages for people is kept, in bytes.
const MAX_WORDS: usize = 300;

/// Receives libgit2's calls.
pub(super) struct Subtransport {
    pub(super) exchange: Arc<Exchange>,
    pub(super) credentials: Arc<Ssh>,
}

impl SmartSubtransport for Subtransport {
    /// libgit2 calls this once, because the transport is not RPC and keeps its stream.
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
            reader: Reader::references(Arc::clone(&self.exchange), 1),
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
    reader: Reader,
}

/// A running `git-upload-pack`.
struct Session {
    /// Held because the connection ends when it is dropped.
    _connection: Handle<Checker>,
    channel: Channel<client::Msg>,
    /// Received bytes that are not read yet.
    pending: io::Cursor<Vec<u8>>,
    words: String,
}

impl Stream {
    /// Waits for `work`, but at most until the exchange's deadline, and at most for `bound`.
    fn wait<T>(
        exchange: &Exchange,
        bound: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> io::Result<T> {
        let end = Instant::now() + bound;
        let until = end.min(exchange.deadline());
        let outcome = runtime::Handle::current().block_on(async {
            tokio::select! {
                outcome = timeout_at(until.into(), work) => outcome,
                reason = exchange.stopped() => Ok(Err(Failure::Stopped(reason))),
            }
        });
        outcome
            .unwrap_or_else(|_| {
                Err(match exchange.may_go_on() {
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
        let start = Instant::now();
        if session.is_read() {
            Self::wait(&exchange, SILENCE_TIMEOUT, session.receive())?;
        }
        let count = session.pending.read(buffer)?;
        self.reader.judge(&buffer[..count], start.elapsed())?;
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
    /// Whether all received bytes are read.
    fn is_read(&self) -> bool {
        self.pending.position() == self.pending.get_ref().len() as u64
    }

    /// Waits for more of the server's data.
    async fn receive(&mut self) -> Result<(), Failure> {
        while self.is_read() {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.pending = io::Cursor::new(data.to_vec()),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_WORDS.saturating_sub(self.words.len());
                    let text = String::from_utf8_lossy(&data);
                    self.words.push_str(start(&printable(&text), room));
                }
                // The exit status and the last messages may come after the end of the data.
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

    /// The error for an end that libgit2 did not ask for.
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

/// Connects, checks the host's key, logs in, and starts the service.
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
                "the server has no host key of the kinds in known_hosts of the Secret",
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

/// A connection to the host, through the proxy's tunnel if there is a proxy.
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
            // The server does not say which hashes it takes. SHA-1 is never used.
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

/// Checks the server's key before any credentials are sent.
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
                "known_hosts in the Secret has another key: the server's key changed, or somebody intercepts the connection"
            }
        };
        let cause = Reported::new(&format!("the server's key is {print}; {problem}"));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        Ok(false)
    }
}
