//! Sends requests, with limits on their time, their number and their answers.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ureq::Agent;

use super::mail::{self, MailError};
use crate::fair::Permits;
use crate::message::{Answer, Lean, Request};
use crate::source::{HttpClients, Route};

/// How many requests are sent at a time: in total, and for one namespace. A request holds a thread, and a slow service
/// holds it for up to a minute.
const PARALLEL: u32 = 64;
const PARALLEL_OF_NAMESPACE: u32 = 4;

/// How much is kept of an answer to a message, and of one to a question, in bytes. A host answers with the deployment that
/// was made.
const LONGEST_ANSWER: usize = 64 << 10;
const LONGEST_READ: usize = 3 << 20;

/// How much of an answer is read, with the long texts that are not kept.
const MOST_READ: usize = 128 << 20;

const USER_AGENT: &str = concat!("towline/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The service did not answer in time.
    #[error("it did not answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The service cannot be reached.
    #[error("it cannot be reached")]
    Unreachable(#[source] Box<ureq::Error>),
    /// The mail server cannot be reached, or does not speak as it must.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The request ended without a result.
    #[error("the request was given up")]
    GivenUp,
}

/// How a service is reached.
#[derive(Clone)]
pub enum Transport {
    /// HTTP.
    Http(Route),
    /// SMTP.
    Mail(Route),
}

/// Sends requests. Clones share the limits and the connections.
#[derive(Clone)]
pub struct Client {
    permits: Arc<Permits>,
    clients: HttpClients,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            permits: Permits::new(PARALLEL, PARALLEL_OF_NAMESPACE),
            clients: HttpClients::default(),
        }
    }
}

impl Client {
    /// Sends a request when there is room for it, and returns the answer.
    pub(super) async fn send(
        &self,
        namespace: &str,
        transport: Transport,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, PostError> {
        let namespace = Arc::from(namespace);
        let _permit = self.permits.take(&namespace, &namespace).await;
        match transport {
            Transport::Http(route) => {
                let clients = self.clients.clone();
                let sent = tokio::task::spawn_blocking(move || {
                    send(&clients.of(&route), request, timeout)
                });
                sent.await.unwrap_or(Err(PostError::GivenUp))
            }
            Transport::Mail(route) => {
                let sent = tokio::time::timeout(timeout, mail::send(&route, &request, timeout));
                Ok(sent.await.map_err(|_| PostError::Late(timeout))??)
            }
        }
    }
}

fn send(agent: &Agent, request: Request, timeout: Duration) -> Result<Answer, PostError> {
    let explain = |error| match error {
        ureq::Error::Timeout(_) => PostError::Late(timeout),
        other => PostError::Unreachable(Box::new(other)),
    };
    let longest = match request.method {
        Method::GET => LONGEST_READ,
        _ => LONGEST_ANSWER,
    };
    let mut head = http::Request::builder()
        .method(&request.method)
        .uri(&request.url)
        .header("user-agent", USER_AGENT);
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let answer = match request.method {
        Method::GET => {
            let asked = head.body(()).map_err(|error| explain(error.into()))?;
            let asked = agent.configure_request(asked);
            agent.run(asked.timeout_global(Some(timeout)).build())
        }
        _ => {
            let told = head.body(request.body);
            let told = agent.configure_request(told.map_err(|error| explain(error.into()))?);
            agent.run(told.timeout_global(Some(timeout)).build())
        }
    };
    let mut answer = answer.map_err(explain)?;
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let retry_after = header("retry-after");
    let is_limited = |left: &String| left.trim() == "0";
    let rate_reset = ["x-ratelimit", "ratelimit"].iter().find_map(|name| {
        header(&format!("{name}-remaining"))
            .filter(is_limited)
            .map(|_| header(&format!("{name}-reset")).unwrap_or_default())
    });
    let body = read(answer.body_mut().as_reader(), longest);
    Ok(Answer {
        status: answer.status().as_u16(),
        retry_after,
        rate_reset,
        body,
    })
}

/// Reads an answer without its long texts. The status has said everything that is needed, so an answer that breaks off is an
/// answer.
fn read(mut from: impl Read, longest: usize) -> String {
    let (mut lean, mut all) = (Lean::default(), 0);
    let mut piece = [0; 16 << 10];
    while lean.len() < longest && all < MOST_READ {
        let Ok(read @ 1..) = from.read(&mut piece) else {
            break;
        };
        all += read;
        lean.take(piece.get(..read).unwrap_or_default());
    }
    lean.finish(longest)
}
