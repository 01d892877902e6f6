//! A hostile HTTP server: a test chooses the bytes of every answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};

/// A running server. It ends on drop.
pub struct Hostile {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a client has sent.
pub struct Received {
    /// `GET` or `POST`
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Authorization` or `Proxy-Authorization` header. Empty if there is none.
    pub authorization: String,
    /// The `Host` header.
    pub host: String,
}

impl Received {
    /// The credentials that the client sent, in all forms that the server knows: the header, the decoded
    /// pair or the token in it, and the query.
    pub fn secrets(&self) -> String {
        let value = self
            .authorization
            .split(' ')
            .next_back()
            .unwrap_or_default();
        let pair = BASE64_STANDARD.decode(value).unwrap_or_default();
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let pair = String::from_utf8_lossy(&pair);
        let (user, password) = pair.split_once(':').unwrap_or_default();
        format!(
            "{} {user}:{password} {user} {password} {query}",
            self.authorization
        )
    }
}

impl Hostile {
    /// Starts a server that answers one request a connection with the bytes of `answer`, then closes the
    /// connection.
    pub fn start(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let answer = Arc::new(answer);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let answer = Arc::clone(&answer);
                // An error means that the client closed the connection, which is fine.
                thread::spawn(move || converse(stream, &*answer));
            }
        });
        Self {
            address,
            ended,
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(mut stream: TcpStream, answer: impl Fn(&Received) -> Vec<u8>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let header = |wanted: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
        let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let of_proxy = header("proxy-authorization");
    let received = Received {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        authorization: match of_proxy.is_empty() {
            true => header("authorization"),
            false => of_proxy,
        },
        host: header("host"),
    };
    stream.write_all(&answer(&received))?;
    stream.shutdown(Shutdown::Write)?;
    // Reads the rest: closing a connection with unread data resets it, and the client may lose the
    // answer.
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}
