//! Counts the requests to the API server, in a layer of the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri, header};
use kube::client::Body;
use tower::{Layer, Service};

use super::Metrics;

/// The HTTP status of the answer to a request on a managed object. The request carries it as an
/// extension, because kube's client does not return the status of a success.
#[derive(Clone, Debug, Default)]
pub struct Answered(Arc<AtomicU16>);

impl Answered {
    /// Whether the object was created by the request.
    pub fn created(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 201
    }
}

/// Wraps a client's transport.
#[derive(Clone)]
pub struct CountRequests {
    metrics: Metrics,
}

impl CountRequests {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// A transport that counts its requests.
pub struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        let managed = request.extensions().get::<Answered>().cloned();
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let on = match managed {
                Some(answered) => {
                    answered.0.store(code, Ordering::Relaxed);
                    "managed"
                }
                None => "other",
            };
            metrics.request(on, verb, code);
            answer
        })
    }
}

/// The verb, with Kubernetes' name if there is one.
pub(super) fn verb<B>(request: &Request<B>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let asks = |words: &[&str]| query.split('&').any(|part| words.contains(&part));
    match *request.method() {
        Method::GET if asks(&["watch=true", "watch=1"]) => "watch",
        Method::GET if names_an_object(request.uri()) => "get",
        Method::GET => "list",
        _ if asks(&["dryRun=All"]) => "dry-run",
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => match request.headers().get(header::CONTENT_TYPE) {
            Some(kind) if kind.as_bytes().starts_with(b"application/apply") => "apply",
            _ => "patch",
        },
    }
}

/// Whether a path has more than a group, a version, a namespace and a resource.
fn names_an_object(uri: &Uri) -> bool {
    let mut parts = uri.path().trim_matches('/').split('/');
    let prefix = match parts.next() {
        Some("api") => 1,
        _ => 2,
    };
    let rest: Vec<&str> = parts.skip(prefix).collect();
    match rest.as_slice() {
        ["namespaces", _, _, more @ ..] => !more.is_empty(),
        rest => rest.len() > 1,
    }
}
