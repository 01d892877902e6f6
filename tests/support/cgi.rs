//! CGI (the Common Gateway Interface), as far as `git http-backend` needs it.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use axum::{
    body::Bytes,
    http::{StatusCode, header, request, response},
    response::Response,
};

/// Status, body, and a response builder without the body, so that the caller can cut the body.
pub type Answer = (StatusCode, Bytes, response::Builder);

/// Passes a request to `git http-backend` for the repositories in `folder`.
pub fn run(
    backend: &Path,
    folder: &Path,
    head: &request::Parts,
    body: &Bytes,
) -> io::Result<Answer> {
    let field = |name| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut child = Command::new(backend)
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROTOCOL", field("git-protocol"))
        // With a user set, `git http-backend` allows a push.
        .env("REMOTE_USER", "git")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", field(header::CONTENT_TYPE.as_str()))
        .env(
            "HTTP_CONTENT_ENCODING",
            field(header::CONTENT_ENCODING.as_str()),
        )
        // The whole body is in memory, so its length is known even if the request was chunked and gave
        // none.
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no standard input"))?;
    let body = body.clone();
    // The program may answer before it has read the whole body, or may not read it at all.
    let writer = thread::spawn(move || {
        let _ = input.write_all(&body);
    });
    let output = child.wait_with_output()?;
    let _ = writer.join();
    parse(&output.stdout).ok_or_else(|| io::Error::other("an answer without headers"))
}

fn parse(output: &[u8]) -> Option<Answer> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut status = StatusCode::OK;
    let mut builder = Response::builder();
    for line in std::str::from_utf8(&output[..end]).ok()?.lines() {
        let (name, value) = line.split_once(": ")?;
        if name.eq_ignore_ascii_case("status") {
            status = value.split(' ').next()?.parse().ok()?;
        } else {
            builder = builder.header(name, value);
        }
    }
    let body = Bytes::copy_from_slice(&output[end + 4..]);
    Some((status, body, builder.status(status)))
}
