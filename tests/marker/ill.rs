//! The answers of a hostile Git server. They repeat the credentials in every place from which a client
//! may copy text into a message.

use towline_testing::hostile::Received;

/// The places, each also the name of a repository, and the reason of the resulting failure.
pub const MODES: [(&str, &str); 14] = [
    ("body", "FetchFailed"),
    ("reason", "FetchFailed"),
    ("challenge", "AuthenticationFailed"),
    ("elsewhere", "FetchFailed"),
    ("away", "FetchFailed"),
    ("type", "FetchFailed"),
    ("status", "FetchFailed"),
    ("header", "FetchFailed"),
    ("length", "FetchFailed"),
    ("chunk", "FetchFailed"),
    ("packet", "FetchFailed"),
    ("error", "FetchFailed"),
    ("pack", "FetchFailed"),
    ("refs", "RefNotFound"),
];

const ADVERTISEMENT: &str = "Content-Type: application/x-git-upload-pack-advertisement\r\n";
const RESULT: &str = "Content-Type: application/x-git-upload-pack-result\r\n";
const COMMIT: &str = "0123456789012345678901234567890123456789";

pub fn answer(received: &Received) -> Vec<u8> {
    let (mode, _) = received.path[1..].split_once('.').unwrap_or_default();
    let secrets = received.secrets();
    let words = secrets.replace(' ', "/");
    match (mode, &*received.method) {
        // The client takes the server for a proxy.
        (_, "CONNECT") => {
            let challenge = format!("Proxy-Authenticate: Basic realm=\"{secrets}\"\r\n");
            http(&format!("407 {secrets}"), &challenge, &secrets)
        }
        ("body", _) => http("500 Oh", "Content-Type: text/plain\r\n", &secrets),
        ("reason", _) => http(&format!("500 {secrets}"), "", ""),
        ("challenge", _) => {
            let challenge = format!("WWW-Authenticate: Basic realm=\"{secrets}\"\r\n");
            http("401 Who", &challenge, &secrets)
        }
        ("elsewhere", _) => http(
            "302 Go",
            &format!("Location: ftp://{words}@h/{words}\r\n"),
            "",
        ),
        // A redirect that repeats the query, to a server with another name.
        ("away", _) => {
            let there = received.host.replace("127.0.0.1", "localhost");
            let query = "service=git-upload-pack";
            let to = format!("http://{words}@{there}/error.git/info/refs?{query}&{words}");
            http("302 Go", &format!("Location: {to}\r\n"), "")
        }
        ("type", _) => http("200 OK", &format!("Content-Type: {secrets}\r\n"), &secrets),
        ("status", _) => format!("HTTP/1.1 {secrets}\r\n\r\n").into_bytes(),
        ("header", _) => http("200 OK", &format!("{secrets}\u{1}\r\n"), ""),
        ("length", _) => {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {secrets}\r\n\r\n").into_bytes()
        }
        ("chunk", _) => format!(
            "HTTP/1.1 200 OK\r\n{ADVERTISEMENT}Transfer-Encoding: chunked\r\n\r\n{secrets}\r\n"
        )
        .into_bytes(),
        ("packet", _) => http("200 OK", ADVERTISEMENT, &secrets),
        ("error", _) => {
            let body = format!("{}{}", service(), packet(&format!("ERR {secrets}")));
            http("200 OK", ADVERTISEMENT, &body)
        }
        ("refs", _) => http("200 OK", ADVERTISEMENT, &refs(&words)),
        ("pack", "GET") => http("200 OK", ADVERTISEMENT, &refs("main")),
        ("pack", _) => {
            let shallow = packet(&format!("shallow {COMMIT}"));
            let words = packet(&format!("\u{3}{secrets}\n"));
            let body = format!("{shallow}0000{}{words}0000", packet("NAK\n"));
            http("200 OK", RESULT, &body)
        }
        _ => http("404 No", "", &secrets),
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An advertisement of one branch.
fn refs(branch: &str) -> String {
    let able = "multi_ack side-band-64k ofs-delta shallow agent=git/2.0";
    let line = packet(&format!("{COMMIT} refs/heads/{branch}\0{able}\n"));
    format!("{}{line}0000", service())
}

fn service() -> String {
    packet("# service=git-upload-pack\n") + "0000"
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}
