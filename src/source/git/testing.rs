//! A remote for tests: a bare repository, and Git's own smart HTTP server in front of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::serve::{Listener, ListenerExt as _};
use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

// Servers that the tests of the whole program have too.
pub(super) use towline_testing::sshd::Sshd;
pub(super) use towline_testing::tls::Authority;
use towline_testing::tls::Tls;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behaviour {
    Serve,
    Status(u16),
    Hang,
    /// The download breaks off in its middle.
    Cut,
    /// The download's answer has a head and no body.
    Stall,
    /// The server does not support shallow downloads.
    Whole,
}

/// A repository that is served under `/repo.git`, and others beside it. `/moved.git` redirects there,
/// and `/away.git` to the same path of another server.
pub(super) struct Remote {
    folder: TempDir,
    pub(super) repository: Repository,
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<RemoteState>>,
    connections: Arc<AtomicUsize>,
}

struct RemoteState {
    behaviour: Behaviour,
    requests: Vec<String>,
    /// The `Authorization` header of each request. Empty if it had none.
    shown: Vec<String>,
    /// The `Authorization` header that the server accepts.
    wanted: Option<String>,
    /// The target of `/away.git`.
    away: String,
}

/// An entry of a commit.
pub(super) enum NewEntry<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Submodule,
    /// A submodule at an existing commit.
    Module(Oid),
}

impl Remote {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        Self::serve("http", listener)
    }

    /// Starts a server with TLS, with a certificate of `authority` for `localhost`. If `clients` is
    /// given, the server requires a client certificate of one of these authorities.
    pub(super) async fn start_tls(authority: &Authority, clients: Option<&Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = authority.acceptor(clients);
        Self::serve("https", Tls { listener, acceptor })
    }

    fn serve<L>(scheme: &'static str, listener: L) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let folder = TempDir::new().unwrap();
        let repository = init(&folder.path().join("repo.git"));
        let state = Arc::new(Mutex::new(RemoteState {
            behaviour: Behaviour::Serve,
            requests: Vec::new(),
            shown: Vec::new(),
            wanted: None,
            away: String::new(),
        }));
        let address = listener.local_addr().unwrap();
        let (shared, root) = (Arc::clone(&state), folder.path().to_owned());
        let handler = move |method, uri, headers, body| {
            answer(
                Arc::clone(&shared),
                root.clone(),
                method,
                uri,
                headers,
                body,
            )
        };
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let listener = listener.tap_io(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let app = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            folder,
            repository,
            address,
            scheme,
            state,
            connections,
        }
    }

    pub(super) fn url(&self) -> String {
        // The certificate is for a name and not for an address.
        let host = match self.scheme {
            "https" => format!("localhost:{}", self.address.port()),
            _ => self.address.to_string(),
        };
        format!("{}://{host}/repo.git", self.scheme)
    }

    /// From now on, answers only requests with this `Authorization` header.
    pub(super) fn want(&self, authorization: &str) {
        self.state.lock().unwrap().wanted = Some(authorization.to_owned());
    }

    /// Sets the target of `/away.git`.
    pub(super) fn redirect_to(&self, url: &str) {
        self.state.lock().unwrap().away = url.to_owned();
    }

    /// The `Authorization` headers since the last call.
    pub(super) fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().shown)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// How many connections were made.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Another repository on the same server, `/<name>.git`.
    pub(super) fn beside(&self, name: &str) -> Repository {
        init(&self.folder.path().join(format!("{name}.git")))
    }

    /// Commits `entries` on top of `branch`, and moves it there.
    pub(super) fn commit(&self, branch: &str, entries: &[(&str, NewEntry<'_>)]) -> Oid {
        commit(&self.repository, branch, entries)
    }

    pub(super) fn set(&self, reference: &str, target: Oid) {
        self.repository
            .reference(reference, target, true, "")
            .unwrap();
    }

    pub(super) fn delete(&self, reference: &str) {
        self.repository
            .find_reference(reference)
            .unwrap()
            .delete()
            .unwrap();
    }

    pub(super) fn annotated_tag(&self, name: &str, target: Oid) {
        let object = self.repository.find_object(target, None).unwrap();
        let tagger = Signature::now("T", "t@example.com").unwrap();
        self.repository
            .tag(name, &object, &tagger, "tag", false)
            .unwrap();
    }

    pub(super) fn configure(&self, key: &str, value: bool) {
        self.repository
            .config()
            .unwrap()
            .set_bool(key, value)
            .unwrap();
    }

    pub(super) fn request(&self, reference: Reference) -> FetchRequest {
        FetchRequest::new("test", self.url(), reference, Duration::from_secs(20))
    }
}

fn init(folder: &std::path::Path) -> Repository {
    let mut options = git2::RepositoryInitOptions::new();
    options
        .bare(true)
        .initial_head("main")
        .external_template(false);
    Repository::init_opts(folder, &options).unwrap()
}

/// Commits `entries` on top of `branch` of `repository`, and moves it there.
pub(super) fn commit(
    repository: &Repository,
    branch: &str,
    entries: &[(&str, NewEntry<'_>)],
) -> Oid {
    let name = format!("refs/heads/{branch}");
    let parent = repository
        .refname_to_id(&name)
        .ok()
        .map(|id| repository.find_commit(id).unwrap());
    let base = match &parent {
        Some(parent) => parent.tree().unwrap(),
        None => {
            let id = repository.treebuilder(None).unwrap().write().unwrap();
            repository.find_tree(id).unwrap()
        }
    };
    let mut update = TreeUpdateBuilder::new();
    for (path, entry) in entries {
        let (content, mode) = match entry {
            NewEntry::File(content) => (*content, FileMode::Blob),
            NewEntry::Link(target) => (target.as_bytes(), FileMode::Link),
            NewEntry::Submodule | NewEntry::Module(_) => {
                let id = match entry {
                    NewEntry::Module(id) => *id,
                    _ => Oid::from_str(&"1".repeat(40)).unwrap(),
                };
                update.upsert(*path, id, FileMode::Commit);
                continue;
            }
        };
        update.upsert(*path, repository.blob(content).unwrap(), mode);
    }
    let tree = update.create_updated(repository, &base).unwrap();
    let tree = repository.find_tree(tree).unwrap();
    let author = Signature::new("A. Author", "a@example.com", &Time::new(1_700_000_000, 60));
    let author = author.unwrap();
    let parents: Vec<_> = parent.iter().collect();
    repository
        .commit(
            Some(&name),
            &author,
            &author,
            "Subject line\n\nBody\n",
            &tree,
            &parents,
        )
        .unwrap()
}

async fn answer(
    state: Arc<Mutex<RemoteState>>,
    root: PathBuf,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let (behaviour, away) = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{method} {uri}"));
        let shown = headers.get("authorization").map(|v| v.to_str().unwrap());
        let shown = shown.unwrap_or_default().to_owned();
        state.shown.push(shown.clone());
        let refused = state.wanted.as_ref().is_some_and(|wanted| *wanted != shown);
        match refused {
            true => (Behaviour::Status(401), String::new()),
            false => (state.behaviour, state.away.clone()),
        }
    };
    match behaviour {
        Behaviour::Status(code) => return empty(StatusCode::from_u16(code).unwrap()),
        Behaviour::Hang => std::future::pending().await,
        _ => (),
    }
    let path = uri.to_string();
    if let Some(rest) = path.strip_prefix("/moved.git/") {
        return redirect(&format!("/repo.git/{rest}"));
    }
    if let Some(rest) = path.strip_prefix("/away.git/") {
        return redirect(&format!("{away}/{rest}"));
    }
    let is_download = method == Method::POST;
    let run = move || backend(&root, &method, &uri, &headers, &body);
    let (content_type, mut body) = tokio::task::spawn_blocking(run).await.unwrap();
    let body = match behaviour {
        Behaviour::Stall if is_download => {
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
        }
        Behaviour::Cut if is_download => {
            body.truncate(body.len() / 2);
            Body::from(body)
        }
        Behaviour::Whole if !is_download => {
            // Keeps the length, because the line begins with it.
            let start = body.windows(9).position(|word| word == b" shallow ");
            body[start.unwrap() + 1] = b'x';
            Body::from(body)
        }
        _ => Body::from(body),
    };
    Response::builder()
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

fn redirect(location: &str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::FOUND)
        .header("location", location)
        .body(Body::empty())
        .unwrap()
}

fn empty(status: StatusCode) -> Response<Body> {
    let challenge = if status == StatusCode::UNAUTHORIZED {
        "Basic realm=x"
    } else {
        "none"
    };
    Response::builder()
        .status(status)
        .header("www-authenticate", challenge)
        .body(Body::empty())
        .unwrap()
}

/// One run of `git http-backend` (CGI): the content type and the body of its answer.
fn backend(
    root: &std::path::Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> (String, Vec<u8>) {
    let header = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    // The backend may answer before it has read everything.
    let _ = writer.join().unwrap();
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: "))
        .unwrap_or_default();
    (content_type.to_owned(), output[end + 4..].to_vec())
}
