//! The API server with faults: a server on loopback that forwards to it, and now and then fails in one of the ways
//! in which a real API server, or a load balancer before it, fails. What a control plane that works cannot be made
//! to do is done here; everything else is its own answer.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::control_plane::ControlPlane;
use super::kubeconfig::User;
use super::random::Random;
use super::scratch::Scratch;

/// One way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request is refused with this status, and the server never sees it.
    Refused(u16),
    /// The server does what is asked, and then a load balancer says that it did not answer.
    AnswerLost,
    /// The server does what is asked, and the connection breaks in the middle of its answer.
    AnswerCut,
    /// A watch ends like one that the server closes.
    WatchClosed,
    /// A watch breaks in the middle of an event.
    WatchCut,
    /// A watch ends because the server has forgotten its revision.
    WatchExpired,
    /// A list or watch is refused because the server has forgotten its revision.
    Gone,
}

/// What writes and reads meet.
const OF_REQUESTS: [Fault; 9] = [
    Fault::Refused(409),
    Fault::Refused(429),
    Fault::Refused(500),
    Fault::Refused(502),
    Fault::Refused(503),
    Fault::Refused(504),
    Fault::AnswerLost,
    Fault::AnswerLost,
    Fault::AnswerCut,
];

/// What watches meet.
const OF_WATCHES: [Fault; 6] = [
    Fault::Refused(429),
    Fault::Refused(503),
    Fault::WatchClosed,
    Fault::WatchCut,
    Fault::WatchExpired,
    Fault::Gone,
];

/// How watches end that are open.
const ENDS: [Fault; 3] = [Fault::WatchClosed, Fault::WatchCut, Fault::WatchExpired];

/// The longest life of a watch that a fault ends.
const LONGEST_WATCH: u64 = 1_500;

/// Requests of one kind that always fail.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: Method,
    /// The path ends with this.
    pub path: String,
    pub fault: Fault,
}

/// The server. It ends on drop.
#[derive(Debug)]
pub struct Faults {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    folder: Scratch,
}

struct Shared {
    client: Client,
    state: Mutex<Plan>,
    /// How the watches that are open end.
    ends: watch::Sender<Fault>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What fails, and what has failed.
struct Plan {
    random: Random,
    /// One of so many requests fails; none at 0.
    one_in: u64,
    rule: Option<Rule>,
    met: BTreeMap<Fault, u64>,
    requests: u64,
}

impl Faults {
    /// A server before `control_plane`, for requests of the operator's user. Nothing fails yet.
    pub async fn before(control_plane: &ControlPlane, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("listen");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            client: control_plane.client_for(User::Towline).await,
            state: Mutex::new(Plan {
                random: Random::of(seed),
                one_in: 0,
                rule: None,
                met: BTreeMap::new(),
                requests: 0,
            }),
            ends: watch::Sender::new(Fault::WatchClosed),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serve");
        });
        let folder = Scratch::new().expect("a folder for a kubeconfig");
        write_kubeconfig(&folder, address);
        Self {
            shared,
            task,
            folder,
        }
    }

    /// The kubeconfig that leads to this server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on, one of so many requests fails at random; none with 0.
    pub fn one_in(&self, times: u64) {
        self.plan(|plan| plan.one_in = times);
    }

    /// Ends all watches that are open, in one of the ways of a watch.
    pub fn end_watches(&self) {
        let fault = self.plan(|plan| {
            let fault = *plan.random.pick(&ENDS).expect("a fault");
            *plan.met.entry(fault).or_default() += 1;
            fault
        });
        self.shared.ends.send_replace(fault);
    }

    /// From now on, these requests always fail.
    pub fn always(&self, rule: Option<Rule>) {
        self.plan(|plan| plan.rule = rule);
    }

    /// How often each fault was met.
    pub fn met(&self) -> BTreeMap<Fault, u64> {
        self.plan(|plan| plan.met.clone())
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.plan(|plan| plan.requests)
    }

    fn plan<T>(&self, with: impl FnOnce(&mut Plan) -> T) -> T {
        with(&mut self.shared.state.lock().expect("the plan"))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn write_kubeconfig(folder: &Scratch, address: SocketAddr) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "faults", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "faults", "user": {}}],
        "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "faults"}}],
        "current-context": "faults",
    });
    fs::write(folder.path().join("kubeconfig"), config.to_string()).expect("write a kubeconfig");
}

impl Plan {
    /// The fault that a request meets, and after how many milliseconds.
    fn next(&mut self, request: &Request) -> Option<(Fault, Duration)> {
        self.requests += 1;
        let path = request.uri().path();
        let rule = self.rule.as_ref();
        let ruled =
            rule.filter(|rule| rule.method == request.method() && path.ends_with(&rule.path));
        let fault = match ruled {
            Some(rule) => rule.fault,
            None if self.one_in == 0 || !self.random.chance(self.one_in) => return None,
            None => {
                let faults: &[Fault] = match is_watch(request) {
                    true => &OF_WATCHES,
                    false => &OF_REQUESTS,
                };
                *self.random.pick(faults)?
            }
        };
        *self.met.entry(fault).or_default() += 1;
        let after = Duration::from_millis(self.random.below(LONGEST_WATCH));
        Some((fault, after))
    }
}

fn is_watch(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_watch = is_watch(&request);
    let fault = shared.state.lock().expect("the plan").next(&request);
    match fault {
        Some((Fault::Refused(code), _)) => refusal(code),
        Some((Fault::Gone, _)) => refusal(410),
        Some((Fault::AnswerLost, _)) => {
            drop(forward(&shared.client, request).await);
            refusal(504)
        }
        Some((Fault::AnswerCut, _)) => {
            let answer = forward(&shared.client, request).await;
            let (mut parts, body) = answer.into_parts();
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, cut_answer(body.into_data_stream()))
        }
        None if !is_watch => forward(&shared.client, request).await,
        own => {
            let mut ends = shared.ends.subscribe();
            let end = async move {
                match own {
                    Some((fault, after)) => {
                        tokio::time::sleep(after).await;
                        fault
                    }
                    None => match ends.changed().await {
                        Ok(()) => *ends.borrow(),
                        Err(_) => Fault::WatchClosed,
                    },
                }
            };
            let answer = forward(&shared.client, request).await;
            answer.map(|body| ended_watch(body.into_data_stream(), end))
        }
    }
}

/// The server's own answer.
async fn forward(client: &Client, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let Ok(body) = body else {
        return refusal(400);
    };
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body));
    match client.send(request).await {
        Ok(answer) => answer.map(Body::new),
        // The API server itself is not there.
        Err(_) => refusal(503),
    }
}

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

/// The API server's words for a status.
fn refusal(code: u16) -> Response {
    let (reason, message) = match code {
        409 => (
            "Conflict",
            "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version",
        ),
        410 => (
            "Expired",
            "The resourceVersion for the provided watch is too old.",
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests",
        ),
        500 => ("InternalError", "Internal error occurred: injected"),
        502 => ("", "bad gateway"),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        _ => (
            "Timeout",
            "request did not complete within requested timeout",
        ),
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let code = StatusCode::from_u16(code).expect("a status");
    match code.as_u16() {
        // What stands before an API server does not speak its language.
        502 => (code, "<html>bad gateway</html>").into_response(),
        429 => (code, [JSON, (header::RETRY_AFTER, "1")], status.to_string()).into_response(),
        _ => (code, [JSON], status.to_string()).into_response(),
    }
}

type Chunks = Pin<Box<dyn futures::Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

fn broken() -> std::io::Error {
    std::io::Error::other("the connection breaks")
}

/// The first half of an answer.
fn cut_answer(body: BodyDataStream) -> Body {
    let half = body.map_err(|_| broken()).take(1).map(|chunk| {
        let mut chunk = chunk?;
        chunk.truncate(chunk.len() / 2);
        Ok(chunk)
    });
    let chunks: Chunks = Box::pin(half.chain(stream::once(async { Err(broken()) })));
    Body::from_stream(chunks)
}

/// A watch that ends with the fault that `end` returns.
fn ended_watch(body: BodyDataStream, end: impl Future<Output = Fault> + Send + 'static) -> Body {
    let end = end.shared();
    let events = body.map_err(|_| broken()).take_until(end.clone());
    let last = stream::once(async move { end.now_or_never() }).flat_map(|fault| {
        stream::iter(match fault.unwrap_or(Fault::WatchClosed) {
            Fault::WatchExpired => vec![Ok(Bytes::from(format!("{}\n", expired())))],
            Fault::WatchCut => vec![
                Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"obj")),
                Err(broken()),
            ],
            _ => Vec::new(),
        })
    });
    let chunks: Chunks = Box::pin(events.chain(last));
    Body::from_stream(chunks)
}

fn expired() -> serde_json::Value {
    json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    }})
}
