//! The floor: the time that a simple client needs for the same writes and the same fetch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Request, header};
use kube::Client;
use serde_json::Value;
use towline::source::{Cache, CacheSettings, FetchRequest, Fetched, Reference, Snapshot};

use towline_testing::control_plane::ControlPlane;
use towline_testing::scratch::Scratch;

/// The numbers of connections that are tried. The best result is the floor.
pub const CONNECTIONS: [usize; 3] = [8, 12, 16];

/// One write.
#[derive(Clone, Debug)]
pub struct Call {
    uri: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Call {
    /// A server-side apply with the parameters that towline uses.
    pub fn apply(path: &str, body: &Value) -> Self {
        Self {
            uri: format!("{path}?fieldManager=bench&force=true&fieldValidation=Strict"),
            content_type: "application/apply-patch+yaml",
            body: body.to_string().into_bytes(),
        }
    }

    /// The same write, tried and not kept.
    pub fn dry(self) -> Self {
        Self {
            uri: format!("{}&dryRun=All", self.uri),
            ..self
        }
    }

    pub fn merge(path: &str, body: &Value) -> Self {
        Self {
            uri: format!("{path}?fieldManager=bench"),
            content_type: "application/merge-patch+json",
            body: body.to_string().into_bytes(),
        }
    }
}

/// Open connections to the API server. Each client has one connection, because HTTP/1.1 sends one request
/// at a time.
pub struct Raw {
    clients: Vec<Client>,
}

impl Raw {
    pub async fn new(control_plane: &ControlPlane, connections: usize) -> Self {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let client = control_plane.client().await;
            client
                .apiserver_version()
                .await
                .expect("warm up a connection");
            clients.push(client);
        }
        Self { clients }
    }

    /// Sends all calls. Returns the duration.
    pub async fn send(&self, calls: &Arc<Vec<Call>>) -> Duration {
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let workers: Vec<_> = self
            .clients
            .iter()
            .map(|client| {
                let (client, calls, next) = (client.clone(), Arc::clone(calls), Arc::clone(&next));
                tokio::spawn(async move {
                    while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                        one(&client, call).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.expect("a worker of the floor");
        }
        started.elapsed()
    }
}

async fn one(client: &Client, call: &Call) {
    let request = Request::patch(&call.uri)
        .header(header::CONTENT_TYPE, call.content_type)
        .header(
            header::ACCEPT,
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        )
        .body(call.body.clone())
        .expect("a request");
    client
        .request_text(request)
        .await
        .expect("the floor's write");
}

/// A fetch without anything else, with its own cache.
pub struct Fetcher {
    cache: Cache,
    url: String,
    known: Option<Arc<Snapshot>>,
    _folder: Scratch,
}

impl Fetcher {
    pub fn new(url: &str) -> Self {
        let folder = Scratch::new().expect("a folder for a cache");
        Self {
            cache: Cache::open(CacheSettings::new(folder.path().join("cache")))
                .expect("open a cache"),
            url: url.to_owned(),
            known: None,
            _folder: folder,
        }
    }

    /// Fetches new commits. Returns the duration.
    pub async fn fetch(&mut self) -> Duration {
        let started = Instant::now();
        let main = Reference::Branch("main".to_owned());
        let request = FetchRequest {
            known: self.known.clone(),
            ..FetchRequest::new("bench", &self.url, main, Duration::from_secs(60))
        };
        let (Fetched::New(snapshot) | Fetched::Unchanged(snapshot)) =
            self.cache.fetch(request).await.expect("fetch");
        self.known = Some(snapshot);
        started.elapsed()
    }
}
