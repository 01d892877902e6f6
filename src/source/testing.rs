//! A remote for tests: a bare repository, and Git's own smart HTTP server in front of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, Uri};
use axum::serve::ListenerExt as _;
use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::*;

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
}

/// A repository that is served under `/repo.git`.
pub(super) struct Remote {
    _folder: TempDir,
    pub(super) repository: Repository,
    address: SocketAddr,
    state: Arc<Mutex<(Behaviour, Vec<String>)>>,
    connections: Arc<AtomicUsize>,
}

/// An entry of a commit.
pub(super) enum Entry<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Submodule,
}

impl Remote {
    pub(super) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options
            .bare(true)
            .initial_head("main")
            .external_template(false);
        let repository = Repository::init_opts(folder.path().join("repo.git"), &options).unwrap();
        let state = Arc::new(Mutex::new((Behaviour::Serve, Vec::new())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, root) = (Arc::clone(&state), folder.path().to_owned());
        let handler =
            move |method: Method, uri: Uri, headers: axum::http::HeaderMap, body: Bytes| {
                let behaviour = {
                    let mut state = shared.lock().unwrap();
                    state.1.push(format!("{method} {uri}"));
                    state.0
                };
                let root = root.clone();
                async move {
                    if let Some(rest) = uri.to_string().strip_prefix("/moved.git/") {
                        return Response::builder()
                            .status(StatusCode::FOUND)
                            .header("location", format!("/repo.git/{rest}"))
                            .body(Body::empty())
                            .unwrap();
                    }
                    match behaviour {
                        Behaviour::Status(code) => empty(StatusCode::from_u16(code).unwrap()),
                        Behaviour::Hang => std::future::pending().await,
                        _ => {
                            let is_download = method == Method::POST;
                            let answer = tokio::task::spawn_blocking(move || {
                                backend(&root, &method, &uri, &headers, &body)
                            });
                            let (content_type, mut body) = answer.await.unwrap();
                            let length = body.len();
                            if behaviour == Behaviour::Cut && is_download {
                                body.truncate(length / 2);
                            }
                            if behaviour == Behaviour::Stall && is_download {
                                let never =
                                    futures::stream::pending::<Result<Bytes, std::io::Error>>();
                                return Response::builder()
                                    .header("content-type", content_type)
                                    .body(Body::from_stream(never))
                                    .unwrap();
                            }
                            Response::builder()
                                .header("content-type", content_type)
                                .body(Body::from(body))
                                .unwrap()
                        }
                    }
                }
            };
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let listener = listener.tap_io(move |stream| {
            counter.fetch_add(1, Ordering::Relaxed);
            stream.set_nodelay(true).unwrap();
        });
        let app = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            _folder: folder,
            repository,
            address,
            state,
            connections,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/repo.git", self.address)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().0 = behaviour;
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().1)
    }

    /// The connections that were ever made.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Commits `entries` on top of `branch`, and moves it there.
    pub(super) fn commit(&self, branch: &str, entries: &[(&str, Entry<'_>)]) -> Oid {
        let name = format!("refs/heads/{branch}");
        let parent = self
            .repository
            .refname_to_id(&name)
            .ok()
            .map(|id| self.repository.find_commit(id).unwrap());
        let base = match &parent {
            Some(parent) => parent.tree().unwrap(),
            None => {
                let id = self.repository.treebuilder(None).unwrap().write().unwrap();
                self.repository.find_tree(id).unwrap()
            }
        };
        let mut update = TreeUpdateBuilder::new();
        for (path, entry) in entries {
            let (content, mode) = match entry {
                Entry::File(content) => (*content, FileMode::Blob),
                Entry::Link(target) => (target.as_bytes(), FileMode::Link),
                Entry::Submodule => {
                    update.upsert(
                        *path,
                        Oid::from_str(&"1".repeat(40)).unwrap(),
                        FileMode::Commit,
                    );
                    continue;
                }
            };
            update.upsert(*path, self.repository.blob(content).unwrap(), mode);
        }
        let tree = update.create_updated(&self.repository, &base).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let author = Signature::new("A. Author", "a@example.com", &Time::new(1_700_000_000, 60));
        let author = author.unwrap();
        let parents: Vec<_> = parent.iter().collect();
        self.repository
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
        FetchRequest {
            url: self.url(),
            reference,
            timeout: Duration::from_secs(20),
            known: None,
            credentials: Credentials::None,
        }
    }
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
    headers: &axum::http::HeaderMap,
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
    // The backend may answer without having read everything.
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
