//! A Git server with the smart HTTP protocol: `git http-backend` behind axum.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_rustls::TlsAcceptor;

use super::{
    cgi,
    repo::{Repo, git},
    scratch::Scratch,
    tls::{Authority, Tls},
};

/// What the server does instead of serving the repository.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Answers with this status, such as 401, 403, 500.
    Status(u16),
    /// Accepts the request and never answers.
    Hang,
    /// Closes the connection in the middle of a pack.
    Cut,
    /// Serves the request after this delay.
    Delay(Duration),
    /// Sends a pack so slowly that it takes minutes, but without long pauses.
    Drip,
}

/// A request that the server has answered, or refused.
#[derive(Clone, Debug)]
pub struct Served {
    /// The repository's name.
    pub repo: String,
    /// `info/refs` or `git-upload-pack`
    pub path: String,
    pub query: String,
    /// The request body's `Content-Encoding`.
    pub encoding: String,
    pub status: u16,
    pub received_bytes: usize,
    pub sent_bytes: usize,
}

/// A running server. It ends on drop.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    /// `http` or `https`
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    backend: PathBuf,
    state: Mutex<ServerState>,
}

#[derive(Debug, Default)]
struct ServerState {
    requests: Vec<Served>,
    /// Keyed by repository name.
    faults: BTreeMap<String, Fault>,
    everywhere: Option<Fault>,
    /// The accepted `Authorization` headers. If there are none, the server accepts every request.
    authorizations: HashSet<String>,
}

impl GitServer {
    /// Starts a server on a free loopback port. The server has its own thread and runtime, so that a test
    /// can block on a Git client.
    pub fn start() -> Self {
        Self::behind(None)
    }

    /// Like [`Self::start`], over TLS, with a certificate for `localhost` that `authority` issued. With
    /// `clients`, the server requires a client certificate of that authority.
    pub fn start_tls(authority: &Authority, clients: Option<&Authority>) -> Self {
        Self::behind(Some(authority.acceptor(clients)))
    }

    fn behind(acceptor: Option<TlsAcceptor>) -> Self {
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let scratch = Scratch::new().expect("a folder for repositories");
        let exec_path = git(scratch.path(), &["--exec-path"], &[]);
        let shared = Arc::new(Shared {
            folder: scratch.path().to_owned(),
            backend: Path::new(exec_path.trim()).join("git-http-backend"),
            state: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = mpsc::channel();
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(serve(state, acceptor, stopped, &bound))
                .expect("serve Git");
        });
        Self {
            address: address.recv().expect("the Git server's address"),
            scheme,
            shared,
            stop: Some(stop),
            thread: Some(thread),
            scratch,
        }
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` since the certificate is for that name.
    pub fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Creates an empty repository, served as [`Repo::url`].
    pub fn repo(&self, name: &str) -> Repo {
        Repo::create(
            &self.scratch.path().join(format!("{name}.git")),
            &self.url(),
        )
    }

    /// Creates an empty repository of an owner, as Git hosts have them: its URL ends with `owner/name.git`.
    pub fn repo_of(&self, owner: &str, name: &str) -> Repo {
        let path = format!("{owner}/{name}.git");
        let base = format!("{}/{owner}", self.url());
        Repo::create(&self.scratch.path().join(path), &base)
    }

    /// From now on, accepts only the users and passwords that were added with this method.
    pub fn allow(&self, user: &str, password: &str) {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.state()
            .authorizations
            .insert(format!("Basic {credentials}"));
    }

    /// From now on, accepts only this user and password.
    pub fn allow_only(&self, user: &str, password: &str) {
        self.state().authorizations.clear();
        self.allow(user, password);
    }

    /// From now on, accepts only this bearer token.
    pub fn allow_token(&self, token: &str) {
        let mut state = self.state();
        state.authorizations.clear();
        state.authorizations.insert(format!("Bearer {token}"));
    }

    /// Applies the fault to every repository until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        self.state().everywhere = Some(fault);
    }

    /// Applies the fault to one repository until [`Self::heal`].
    pub fn fail_repo(&self, name: &str, fault: Fault) {
        self.state().faults.insert(name.to_owned(), fault);
    }

    /// Ends all faults. A request that already hangs is not answered.
    pub fn heal(&self) {
        let mut state = self.state();
        state.everywhere = None;
        state.faults.clear();
    }

    /// The requests so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Served> {
        self.state().requests.clone()
    }

    /// Those for one repository. Tests that share a server count these: others use it at the same time.
    pub fn requests_of(&self, repo: &str) -> Vec<Served> {
        let all = self.requests().into_iter();
        all.filter(|one| one.repo == repo).collect()
    }

    /// Returns the requests so far, and clears the list.
    pub fn take_requests(&self) -> Vec<Served> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.shared.state()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().expect("a Git request panicked")
    }
}

impl ServerState {
    fn fault(&self, repo: &str) -> Option<Fault> {
        self.faults.get(repo).copied().or(self.everywhere)
    }

    fn lets_in(&self, request: &Request) -> bool {
        let given = request.headers().get(header::AUTHORIZATION);
        self.authorizations.is_empty()
            || given
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| self.authorizations.contains(value))
    }
}

async fn serve(
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
    stopped: oneshot::Receiver<()>,
    bound: &mpsc::Sender<SocketAddr>,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    bound
        .send(listener.local_addr()?)
        .map_err(io::Error::other)?;
    let router = Router::new().fallback(answer).with_state(shared);
    let serving = async {
        match acceptor {
            Some(acceptor) => axum::serve(Tls { listener, acceptor }, router).await,
            None => {
                // Without this, the client's delayed acknowledgement of two small segments costs 40 ms a
                // request.
                let listener = listener.tap_io(|stream| {
                    let _ = stream.set_nodelay(true);
                });
                axum::serve(listener, router).await
            }
        }
    };
    tokio::select! {
        served = serving => served,
        // A graceful shutdown would wait for the requests that hang.
        _ = stopped => Ok(()),
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (repo, path) = match request
        .uri()
        .path()
        .trim_start_matches('/')
        .split_once(".git/")
    {
        Some((repo, path)) => (repo.to_owned(), path.to_owned()),
        None => return StatusCode::NOT_FOUND.into_response(),
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    let encoding = encoding
        .map_or("", |value| value.to_str().unwrap_or_default())
        .to_owned();
    let (fault, let_in) = {
        let state = shared.state();
        (state.fault(&repo), state.lets_in(&request))
    };
    let mut received_bytes = 0;
    let (status, body, response) = match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status(status)) => refuse(status),
        _ if !let_in => refuse(401),
        _ => {
            if let Some(Fault::Delay(time)) = fault {
                tokio::time::sleep(time).await;
            }
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            received_bytes = body.len();
            let (folder, backend) = (shared.folder.clone(), shared.backend.clone());
            tokio::task::spawn_blocking(move || cgi::run(&backend, &folder, &head, &body))
                .await
                .expect("run git http-backend")
                .unwrap_or_else(|error| {
                    eprintln!("git http-backend: {error}");
                    refuse(500)
                })
        }
    };
    let is_pack = path == "git-upload-pack";
    let sent_bytes = match fault {
        Some(Fault::Cut) if is_pack => body.len() / 2,
        _ => body.len(),
    };
    shared.state().requests.push(Served {
        repo,
        path,
        query,
        encoding,
        status: status.as_u16(),
        received_bytes,
        sent_bytes,
    });
    let body = match fault {
        Some(Fault::Cut) if is_pack => half(&body),
        Some(Fault::Drip) if is_pack => drip(body),
        _ => body.into(),
    };
    response.body(body).expect("a response")
}

fn refuse(status: u16) -> cgi::Answer {
    let status = StatusCode::from_u16(status).expect("an HTTP status");
    let mut response = Response::builder().status(status);
    if status == StatusCode::UNAUTHORIZED {
        response = response.header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"");
    }
    (status, Bytes::new(), response)
}

/// The first half of a body, then an error. hyper closes the connection at the error.
fn half(body: &Bytes) -> Body {
    let parts = [
        Ok(body.slice(..body.len() / 2)),
        Err(io::Error::other("cut on purpose")),
    ];
    Body::from_stream(futures::stream::iter(parts))
}

/// Sends a byte a second: no long pause, but the body takes minutes.
fn drip(body: Bytes) -> Body {
    Body::from_stream(futures::stream::unfold(0, move |sent| {
        let byte = (sent < body.len()).then(|| body.slice(sent..=sent));
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(byte?), sent + 1))
        }
    }))
}
