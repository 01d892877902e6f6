//! Requests to the operator's endpoints. Each is sent as raw bytes on a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use super::operator::Operator;

/// The address at which the operator receives webhooks.
pub fn endpoint(operator: &Operator) -> SocketAddr {
    operator
        .find_address("receiving webhooks")
        .expect("an operator that receives webhooks")
}

/// The body that GitHub sends for a push to a branch.
pub fn pushed(url: &str, branch: &str) -> String {
    json!({"ref": format!("refs/heads/{branch}"), "repository": {"clone_url": url}}).to_string()
}

/// GitHub's request with this body, signed with `secret`.
pub fn signed(secret: &str, body: &str) -> String {
    signed_event("push", secret, body)
}

/// GitHub's request of another event.
pub fn signed_event(event: &str, secret: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    let tag = mac.chain_update(body).finalize().into_bytes();
    let signature: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let head = format!("X-GitHub-Event: {event}\r\nX-Hub-Signature-256: sha256={signature}\r\n");
    post(&head, body)
}

/// A webhook request. `head` holds header lines, each with its line break.
pub fn post(head: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /hook HTTP/1.1\r\nHost: towline\r\nConnection: close\r\n\
         Content-Type: application/json\r\n{head}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A GET request.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: towline\r\nConnection: close\r\n\r\n")
}

/// Sends a request. Returns the answer as far as it was received.
pub async fn send(address: SocketAddr, request: String) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(address).expect("connect to the operator");
        stream
            .write_all(request.as_bytes())
            .expect("send a request");
        let mut answer = Vec::new();
        // A server that refuses the request may close the connection before it has read everything.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::task::spawn_blocking(exchange)
        .await
        .expect("an answer")
}
