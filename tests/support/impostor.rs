//! A server or a proxy that plays a Git server: a test chooses the references and the download. It
//! answers `CONNECT` as a proxy does, and then plays the server behind it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A commit that no repository has.
pub const UNKNOWN: &str = "1111111111111111111111111111111111111111";

/// What the server sends after the head of an answer.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes(Vec<u8>),
    /// The bytes, and then the other bytes again and again, after a pause each time.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// The body of the last answer of a download. The answer before it is empty.
    Late(Box<Body>),
}

/// A running server. It ends on drop.
pub struct Impostor {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    references: Body,
    download: Body,
    ended: AtomicBool,
    open: AtomicUsize,
    downloads: Mutex<Vec<String>>,
}

impl Impostor {
    pub fn start(references: Body, download: Body) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            references,
            download,
            ended: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            downloads: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.ended.load(Ordering::Relaxed) {
                    break;
                }
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    state.open.fetch_add(1, Ordering::SeqCst);
                    // An error means that the client has closed the connection.
                    let _ = state.converse(stream);
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Lists `commit` as the branch `main`, and drips its download: a byte in `pause`.
    pub fn dripping(commit: &str, pause: Duration) -> Self {
        let drip = Body::Endless(Vec::new(), b"0".to_vec(), pause);
        Self::start(references(commit), drip)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that the client has not closed.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The bodies of all requests for a download.
    pub fn downloads(&self) -> Vec<String> {
        self.shared.downloads.lock().unwrap().clone()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The list of references of a repository whose branch `main` is at `commit`.
pub fn references(commit: &str) -> Body {
    let capabilities = "multi_ack_detailed side-band-64k ofs-delta shallow allow-tip-sha1-in-want";
    let lines = [
        packet("# service=git-upload-pack\n"),
        b"0000".to_vec(),
        packet(format!("{commit} HEAD\0{capabilities}\n")),
        packet(format!("{commit} refs/heads/main\n")),
        b"0000".to_vec(),
    ];
    Body::Bytes(lines.concat())
}

/// A packet of Git's protocol.
pub fn packet(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut packet = format!("{:04x}", content.len() + 4).into_bytes();
    packet.extend_from_slice(content);
    packet
}

/// An answer with `pack`, in packets of the first band.
pub fn download(pack: &[u8]) -> Body {
    let mut answer = packet("NAK\n");
    for part in pack.chunks(60_000) {
        answer.extend(packet([&[1], part].concat()));
    }
    answer.extend(b"0000");
    Body::Late(Box::new(Body::Bytes(answer)))
}

impl Shared {
    fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let no_roots = Body::Bytes(b"0000".to_vec());
        loop {
            let (head, body) = request(&mut stream)?;
            let (method, path) = head.split_once(' ').unwrap_or_default();
            let (kind, answer) = match method {
                "CONNECT" => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                    continue;
                }
                "GET" if path.contains("/info/refs") => ("advertisement", &self.references),
                _ => {
                    // A client that asks for a shallow copy has a first request without `done`.
                    let is_first = body.contains("deepen") && !body.contains("done");
                    self.downloads.lock().unwrap().push(body);
                    match (&self.download, is_first) {
                        (Body::Late(_), true) => ("result", &no_roots),
                        (Body::Late(download), false) => ("result", &**download),
                        (download, _) => ("result", download),
                    }
                }
            };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-{kind}\r\n\
                 connection: close\r\n\r\n"
            )?;
            return self.send(&mut stream, answer);
        }
    }

    fn send(&self, stream: &mut TcpStream, body: &Body) -> std::io::Result<()> {
        let (bytes, more) = match body {
            Body::Bytes(bytes) => (bytes, None),
            Body::Endless(bytes, more, pause) => (bytes, Some((more, *pause))),
            Body::Late(body) => return self.send(stream, body),
        };
        stream.write_all(bytes)?;
        let Some((more, pause)) = more else {
            return Ok(());
        };
        stream.set_read_timeout(Some(pause.max(Duration::from_millis(1))))?;
        while !self.ended.load(Ordering::Relaxed) {
            stream.write_all(more)?;
            if !pause.is_zero() {
                // Waits, and notices a closed connection at once.
                match stream.read(&mut [0]) {
                    Ok(0) => return Ok(()),
                    Err(error) if !is_timeout(&error) => return Err(error),
                    _ => (),
                }
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// The head and the body of a request.
fn request(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut read = |bytes: &mut Vec<u8>| match stream.read(&mut buffer)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(&buffer[..count]);
            Ok::<_, std::io::Error>(())
        }
    };
    let end = loop {
        match bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => read(&mut bytes)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    while bytes.len() < end + length {
        read(&mut bytes)?;
    }
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Ok((head, body))
}
