//! A smart-HTTP Git server: Git's own CGI program behind axum.

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

/// What the server does instead of its work.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Answers with this status, such as 401, 403, 500.
    Status(u16),
    /// Takes the request and never answers.
    Hang,
    /// Ends the connection in the middle of a pack.
    Cut,
    /// Does its work after this time.
    Delay(Duration),
    /// Sends a pack so slowly that it takes minutes, and is never silent for long.
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

/// The server. It ends on drop.
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
    /// By the repository's name.
    faults: BTreeMap<String, Fault>,
    everywhere: Option<Fault>,
    /// The `Authorization` headers that it lets in; all, if there are none.
    authorizations: HashSet<String>,
}

impl GitServer {
    /// Starts it on a free loopback port. It has a thread and a runtime of its own, so that a test may
    /// block on a Git client.
    pub fn start() -> Self {
        Self::behind(None)
    }

    /// The same over TLS, with a certificate of `authority` for `localhost`; `clients` are those whose
    /// certificates it wants one of.
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

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`: certificates are for the name.
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

    /// From now on, lets in only who gives one of the users and passwords added so.
    pub fn allow(&self, user: &str, password: &str) {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.state()
            .authorizations
            .insert(format!("Basic {credentials}"));
    }

    /// Asks for this user and password, and takes no other any longer.
    pub fn allow_only(&self, user: &str, password: &str) {
        self.state().authorizations.clear();
        self.allow(user, password);
    }

    /// Asks for this bearer token, and takes nothing else any longer.
    pub fn allow_token(&self, token: &str) {
        let mut state = self.state();
        state.authorizations.clear();
        state.authorizations.insert(format!("Bearer {token}"));
    }

    /// Fails for every repository, until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        self.state().everywhere = Some(fault);
    }

    /// Fails for one repository, until [`Self::heal`].
    pub fn fail_repo(&self, name: &str, fault: Fault) {
        self.state().faults.insert(name.to_owned(), fault);
    }

    /// Ends all faults; a request that hangs goes on to hang.
    pub fn heal(&self) {
        let mut state = self.state();
        state.everywhere = None;
        state.faults.clear();
    }

    /// The requests so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Served> {
        self.state().requests.clone()
    }

    /// Gives the requests so far, and forgets them.
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
                // Two small segments without this cost the client's delayed acknowledgement: 40 ms a
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
        // A graceful end would wait for the requests that hang.
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

/// The first half of a body, and then an error, upon which hyper closes the connection.
fn half(body: &Bytes) -> Body {
    let parts = [
        Ok(body.slice(..body.len() / 2)),
        Err(io::Error::other("cut on purpose")),
    ];
    Body::from_stream(futures::stream::iter(parts))
}

/// A byte a second: never silent for long, and not done for minutes.
fn drip(body: Bytes) -> Body {
    Body::from_stream(futures::stream::unfold(0, move |sent| {
        let byte = (sent < body.len()).then(|| body.slice(sent..=sent));
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(byte?), sent + 1))
        }
    }))
}
