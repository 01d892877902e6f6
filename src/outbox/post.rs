//! Sends requests, with limits on their time, their number and their answers.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// How many of them may be to services that have taken nothing yet, or whose last request failed. So a namespace with
/// services that hang has a place left for one that does not.
const UNPROVEN: u32 = 48;
const UNPROVEN_OF_NAMESPACE: u32 = 3;

/// How much of an answer is kept and read, in bytes: its long texts are read, and not kept.
#[derive(Clone, Copy)]
struct Room {
    kept: usize,
    read: usize,
}

/// For the answer to a message. A host answers with the deployment or the comment that was made.
const TOLD: Room = Room {
    kept: 64 << 10,
    read: 1 << 20,
};

/// For the answer to a question. A list of pull requests holds the texts of their authors.
const ASKED: Room = Room {
    kept: 3 << 20,
    read: 128 << 20,
};

const USER_AGENT: &str = concat!("towline/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The service did not answer in time.
    #[error("it did not answer within {} s", seconds(*.0))]
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

/// Whole seconds, and parts of one where it is less.
fn seconds(time: Duration) -> f64 {
    match time.as_secs_f64() {
        whole if whole >= 1.0 => whole.round(),
        part => part,
    }
}

/// How a service is reached.
#[derive(Clone)]
pub enum Transport {
    /// HTTP.
    Http(Route),
    /// SMTP.
    Mail(Route),
}

/// To whom a request is sent.
#[derive(Clone, Copy)]
pub(super) struct Recipient<'a> {
    pub(super) namespace: &'a str,
    /// The name of the Provider.
    pub(super) name: &'a str,
    /// Whether the last request to it was taken.
    pub(super) is_proven: bool,
}

/// Sends requests. Clones share the limits and the connections.
#[derive(Clone)]
pub struct Client {
    permits: Arc<Permits>,
    unproven: Arc<Permits>,
    clients: HttpClients,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            permits: Permits::new(PARALLEL, PARALLEL_OF_NAMESPACE),
            unproven: Permits::new(UNPROVEN, UNPROVEN_OF_NAMESPACE),
            clients: HttpClients::default(),
        }
    }
}

impl Client {
    /// Sends a request when there is room for it, and returns the answer.
    pub(super) async fn send(
        &self,
        to: Recipient<'_>,
        transport: Transport,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, PostError> {
        let (namespace, name) = (Arc::from(to.namespace), Arc::from(to.name));
        let _place = match to.is_proven {
            true => None,
            false => Some(self.unproven.take(&namespace, &name).await),
        };
        let _permit = self.permits.take(&namespace, &name).await;
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
    let (began, limit) = (Instant::now(), Some(timeout));
    // A connection has a limit of its own, which may be shorter.
    let explain = |error| match error {
        ureq::Error::Timeout(_) => PostError::Late(began.elapsed().min(timeout)),
        other => PostError::Unreachable(Box::new(other)),
    };
    let is_question = request.method == Method::GET;
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
            // The limits of the client are those for Git, which may be shorter.
            let asked = agent.configure_request(asked).timeout_global(limit);
            let asked = asked.timeout_per_read(limit).timeout_per_write(limit);
            agent.run(asked.timeout_recv_response(limit).build())
        }
        _ => {
            let told = head.body(request.body);
            let told = agent.configure_request(told.map_err(|error| explain(error.into()))?);
            let told = told.timeout_global(limit);
            let told = told.timeout_per_read(limit).timeout_per_write(limit);
            agent.run(told.timeout_recv_response(limit).build())
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
    let body = read(answer.body_mut().as_reader(), is_question);
    Ok(Answer {
        status: answer.status().as_u16(),
        retry_after,
        rate_reset,
        body,
    })
}

/// Reads an answer without its long texts; that to a question, with comments of towline. The status has said everything that
/// is needed, so an answer that breaks off is an answer.
fn read(mut from: impl Read, is_question: bool) -> String {
    let room = match is_question {
        true => ASKED,
        false => TOLD,
    };
    let (mut lean, mut all) = (Lean::new(is_question), 0);
    let mut piece = [0; 16 << 10];
    while lean.len() < room.kept && all < room.read {
        let Ok(read @ 1..) = from.read(&mut piece) else {
            break;
        };
        all += read;
        lean.take(piece.get(..read).unwrap_or_default());
    }
    lean.finish(room.kept)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;
    use crate::source::Credentials;

    /// A server that answers each request after a time. Its address.
    fn answers_after(pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let _ = connection.read(&mut [0; 4096]);
                std::thread::sleep(pause);
                let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        url
    }

    fn request(url: &str) -> Request {
        Request {
            method: Method::POST,
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    #[tokio::test]
    async fn services_that_hang_leave_a_place_to_one_that_does_not() {
        let client = Client::default();
        let send = |name: &'static str, is_proven, url: &str| {
            let (client, request) = (client.clone(), request(url));
            let to = Recipient {
                namespace: "prod",
                name,
                is_proven,
            };
            let transport = Transport::Http(Route::new(&Credentials::default(), None));
            async move {
                let timeout = Duration::from_secs(20);
                client.send(to, transport, request, timeout).await
            }
        };
        let never = answers_after(Duration::from_secs(3600));
        let hang = ["a", "b", "c", "d", "e"].map(|name| tokio::spawn(send(name, false, &never)));
        while client.permits.free() > PARALLEL - UNPROVEN_OF_NAMESPACE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let good = send("good", true, &answers_after(Duration::ZERO));
        let answer = tokio::time::timeout(Duration::from_secs(10), good).await;
        assert_eq!(answer.unwrap().unwrap().status, 200);
        hang.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// The limits of the client are those for Git servers.
    #[test]
    fn a_request_has_the_whole_of_its_own_time() {
        let short = Some(Duration::from_millis(100));
        let agent: Agent = Agent::config_builder()
            .timeout_per_read(short)
            .timeout_per_write(short)
            .timeout_recv_response(short)
            .build()
            .into();
        let slow = answers_after(Duration::from_millis(700));
        let answer = send(&agent, request(&slow), Duration::from_secs(20));
        assert_eq!(answer.unwrap().status, 200);
        let never = answers_after(Duration::from_secs(3600));
        let late = send(&agent, request(&never), Duration::from_secs(1)).unwrap_err();
        assert_eq!(late.to_string(), "it did not answer within 1 s");
    }

    /// One text without an end, and how much of it was read.
    #[derive(Default)]
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
            piece.fill(b'x');
            if self.0 == 0 {
                piece[0] = b'"';
            }
            self.0 += piece.len();
            Ok(piece.len())
        }
    }

    #[test]
    fn an_answer_without_an_end_takes_little() {
        for (is_question, room) in [(false, TOLD), (true, ASKED)] {
            let mut endless = Endless::default();
            assert_eq!(read(&mut endless, is_question), "\"");
            assert_eq!(endless.0, room.read);
            // Nothing of it is a long text.
            let mut odd = std::io::repeat(b'x');
            assert_eq!(read(&mut odd, is_question).len(), room.kept);
        }
    }

    #[test]
    fn the_answer_to_a_comment_keeps_its_id_whatever_its_text_holds() {
        let text = format!("<!-- towline/a -->{}", "\\u003c\\n".repeat(20_000));
        let answer = format!("{{\"body\": \"{text}\", \"id\": 7}}");
        assert!(answer.len() > TOLD.kept);
        let read = read(answer.as_bytes(), false);
        assert_eq!(read, "{\"body\": \"\", \"id\": 7}");
    }
}
