//! Relays a delivery from a standby to the leader, unchanged. Only the leader has drivers to wake,
//! and it checks the proof itself. The sender gets the leader's answer.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATH;

/// Marks a delivery that comes from a standby, so that it is not relayed again.
pub(super) static RELAYED: HeaderName = HeaderName::from_static("x-towline-relayed");

/// The time limit for the leader's answer.
const TIME: Duration = Duration::from_secs(8);

/// Headers of a single connection; the next connection gets its own (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why there is no answer from the leader.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("connecting")]
    Connect(#[source] std::io::Error),
    #[error("making the request")]
    Request(#[from] http::Error),
    #[error("sending the request or reading the answer")]
    Talk(#[from] hyper::Error),
    #[error("it did not answer within {} s", TIME.as_secs())]
    Late,
}

/// Relays a delivery and returns the leader's answer.
pub(super) async fn relay(
    leader: SocketAddr,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<StatusCode, RelayError> {
    let answer = timeout(TIME, send(leader, request(leader, headers, body)?)).await;
    answer.map_err(|_| RelayError::Late)?
}

fn request(
    leader: SocketAddr,
    mut headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(header::HOST, leader.to_string())
        .body(Full::from(body))?;
    request.headers_mut().extend(headers);
    let yes = HeaderValue::from_static("1");
    request.headers_mut().insert(RELAYED.clone(), yes);
    Ok(request)
}

async fn send(leader: SocketAddr, request: Request<Full<Bytes>>) -> Result<StatusCode, RelayError> {
    let stream = TcpStream::connect(leader)
        .await
        .map_err(RelayError::Connect)?;
    // A large body is several writes. Without this, the last one waits until the leader has acknowledged those before it.
    stream.set_nodelay(true).map_err(RelayError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends when the sender is dropped. The sender also gets the connection's errors.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.status())
}
