//! A service that takes messages, on loopback: it records every request, and answers as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use super::wait::{PATIENCE, eventually};

/// A request that the service got.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The first line: `POST /path HTTP/1.1`.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
    /// The body as JSON.
    pub body: Value,
}

impl Recorded {
    /// The value of a header. Empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

/// How the service answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With a status, more lines of the head, and no body.
    Status(u16, &'static str),
    /// With a status, and a body of this many bytes.
    Long(u16, usize),
    /// With a status and a JSON body.
    Json(u16, String),
    /// Not at all.
    Hang,
}

/// Decides the answer to a request.
type Judge = Box<dyn Fn(&Recorded) -> Answer + Send>;

#[derive(Default)]
struct Inner {
    requests: Vec<Recorded>,
    answer: Option<Answer>,
    judge: Option<Judge>,
}

/// A running service. It ends on drop.
pub struct Recorder {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap()
}

impl Recorder {
    /// A service that takes every request.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let address = listener.local_addr().expect("its address");
        let inner = Arc::<Mutex<Inner>>::default();
        let weak = Arc::downgrade(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), Some(inner)) = (stream, weak.upgrade()) else {
                    return;
                };
                std::thread::spawn(move || serve(stream, &inner));
            }
        });
        Self { address, inner }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Changes how requests are answered from now on.
    pub fn answer(&self, answer: Answer) {
        lock(&self.inner).answer = Some(answer);
    }

    /// From now on, `judge` decides how each request is answered, unless [`Self::answer`] has said it for all.
    pub fn judge(&self, judge: impl Fn(&Recorded) -> Answer + Send + 'static) {
        lock(&self.inner).judge = Some(Box::new(judge));
    }

    /// Ends what [`Self::answer`] said.
    pub fn heal(&self) {
        lock(&self.inner).answer = None;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.inner).requests.clone()
    }

    /// Waits until a request has a body for which `is` holds.
    pub async fn received(&self, what: &str, is: impl Fn(&Value) -> bool) -> Recorded {
        eventually(what, PATIENCE, async || {
            let all = self.requests();
            let found = all.iter().find(|request| is(&request.body)).cloned();
            found.ok_or_else(|| {
                let bodies: Vec<_> = all.iter().map(|request| request.body.to_string()).collect();
                bodies.join("\n")
            })
        })
        .await
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Wakes the listener, which then sees that nobody holds the service any more.
        self.inner = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

/// Serves one connection.
fn serve(stream: TcpStream, inner: &Arc<Mutex<Inner>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let answer = {
            let mut inner = lock(inner);
            let judged = inner.judge.as_ref().map(|judge| judge(&request));
            inner.requests.push(request);
            let answer = inner.answer.clone().or(judged);
            answer.unwrap_or(Answer::Status(200, ""))
        };
        let (status, more, body) = match answer {
            Answer::Status(status, more) => (status, more, String::new()),
            Answer::Long(status, length) => (status, "", "x".repeat(length)),
            Answer::Json(status, body) => (status, "Content-Type: application/json\r\n", body),
            Answer::Hang => {
                std::thread::sleep(Duration::from_secs(60));
                return;
            }
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n{more}\r\n");
        if reader
            .get_mut()
            .write_all((head + &body).as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(Recorded {
        line: line.trim_end().to_owned(),
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes,
    })
}
