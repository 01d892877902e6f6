//! Git's smart HTTP protocol for libgit2, on our own HTTP client.
//!
//! libgit2's own client has no deadline, no limit on an answer, and one set of certificates for the
//! whole process. It opens a connection for every poll. It sends the head and body of a request in
//! two segments without `TCP_NODELAY`, which costs 40 ms a request against a server that delays its
//! acknowledgements. This client applies the fetch's deadline to every read, keeps connections
//! between polls, and counts bytes.

use std::io::{self, Read, Write};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use rustls::{AlertDescription, CertificateError};
use ureq::Body;
use ureq::http::Response;

use super::exchange::{Exchange, Failure};
use super::reader::Reader;
use crate::source::error::Reported;
use crate::source::git::auth::TunnelError;
use crate::url::{HttpUrl, RemoteUrl};

/// How many redirects of the first request are followed, as in Git.
const MAX_REDIRECTS: usize = 5;
/// How many reads may finish an answer so that its connection can be used again.
const MAX_REST_READS: usize = 16;
/// How long they may take.
const MAX_REST_TIME: Duration = Duration::from_secs(1);

impl Exchange {
    fn fail_http(&self, error: ureq::Error) -> io::Error {
        let failure = match error {
            ureq::Error::Timeout(ureq::Timeout::Global) => Failure::Late,
            other => failure_of(&other),
        };
        self.fail(failure)
    }

    fn fail_with(&self, text: &str) -> io::Error {
        self.fail(Failure::Other(Reported::new(text)))
    }

    /// Sends a request and returns the body of the answer.
    fn ask(&self, service: Service, body: &[u8]) -> io::Result<ureq::BodyReader<'static>> {
        let (url, answer, wanted) = match service {
            Service::UploadPackLs => {
                let (url, answer) = self.discover()?;
                (url, answer, "application/x-git-upload-pack-advertisement")
            }
            Service::UploadPack => {
                let url = self.endpoint("git-upload-pack", "")?;
                let answer = self.send(&url, Some(body))?;
                (url, answer, "application/x-git-upload-pack-result")
            }
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(io::Error::other("towline never pushes"));
            }
        };
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(
                self.fail(match self.client.has_secrets && !self.is_home(&url) {
                    true => Failure::StatusElsewhere(status),
                    false => Failure::Status(status),
                }),
            );
        }
        let content_type = answer.headers().get("content-type");
        if content_type.map(|value| value.as_bytes()) != Some(wanted.as_bytes()) {
            return Err(self.fail_with("the answer does not come from a Git server"));
        }
        if service == Service::UploadPackLs
            && let Some(base) = url.base()
        {
            // Later requests go to the server that the first request was redirected to.
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = RemoteUrl::Http(base);
        }
        Ok(answer.into_body().into_reader())
    }

    /// Sends the first request, follows its redirects, and returns the final URL.
    fn discover(&self) -> io::Result<(HttpUrl, Response<Body>)> {
        let mut url = self.endpoint("info/refs", "service=git-upload-pack")?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(&url, None)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((url, answer));
            }
            let location = answer.headers().get("location");
            let next = location.and_then(|value| url.follow(value.to_str().ok()?));
            let Some(next) = next else {
                return Err(
                    self.fail_with("the server redirects to a URL that towline does not follow")
                );
            };
            self.finish(answer.into_body().into_reader());
            url = next;
        }
        Err(self.fail_with("the server redirects too often"))
    }

    /// Sends one request: a POST of `body`, or a GET. Only the server of the given URL gets the
    /// credentials.
    fn send(&self, url: &HttpUrl, body: Option<&[u8]>) -> io::Result<Response<Body>> {
        if !self.may_go_on() {
            return Err(io::Error::other("the fetch has ended"));
        }
        let client = &self.client;
        let (agent, authorization) = match self.is_home(url) {
            true => (&client.trusted, client.authorization.as_ref()),
            false => (&client.bare, None),
        };
        let left = Some(self.deadline().saturating_duration_since(Instant::now()));
        let answer = match body {
            None => {
                let mut request = agent.get(url.uri());
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                request.config().timeout_global(left).build().call()
            }
            Some(body) => {
                let mut request = agent.post(url.uri());
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                request
                    .header("content-type", "application/x-git-upload-pack-request")
                    .header("accept", "application/x-git-upload-pack-result")
                    .config()
                    .timeout_global(left)
                    .build()
                    .send(body)
            }
        };
        answer.map_err(|error| self.fail_http(error))
    }

    /// Whether `url` is on the server that the credentials are for.
    fn is_home(&self, url: &HttpUrl) -> bool {
        matches!(self.url(), RemoteUrl::Http(home) if home.same_origin(url))
    }

    /// Reads the rest of an answer (the mark of the last chunk), so that the connection can be used
    /// again.
    fn finish(&self, mut answer: ureq::BodyReader<'static>) {
        let mut rest = [0; 4096];
        self.wait_until(Some(Instant::now() + MAX_REST_TIME));
        for _ in 0..MAX_REST_READS {
            if self.has_failed() || !matches!(answer.read(&mut rest), Ok(1..)) {
                break;
            }
        }
        self.wait_until(None);
    }

    /// The URL of a service of the repository.
    fn endpoint(&self, service: &str, query: &str) -> io::Result<HttpUrl> {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let url = match &*base {
            RemoteUrl::Http(base) => base.endpoint(service, query),
            RemoteUrl::Ssh(_) => None,
        };
        drop(base);
        url.ok_or_else(|| self.fail_with("no URL of a Git service can be made from its URL"))
    }
}

pub(super) struct Subtransport(pub(super) Arc<Exchange>);

impl SmartSubtransport for Subtransport {
    fn action(
        &self,
        _url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        Ok(Box::new(Stream {
            exchange: Arc::clone(&self.0),
            service,
            request: Vec::new(),
            answer: None,
            reader: match service {
                // The first empty packet ends the name of the service.
                Service::UploadPackLs => Reader::references(Arc::clone(&self.0), 2),
                _ => Reader::answer(Arc::clone(&self.0)),
            },
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer.
struct Stream {
    exchange: Arc<Exchange>,
    service: Service,
    request: Vec<u8>,
    answer: Option<ureq::BodyReader<'static>>,
    reader: Reader,
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => {
                let answer = self.exchange.ask(self.service, &self.request)?;
                self.answer.insert(answer)
            }
        };
        let start = Instant::now();
        let count = answer
            .read(buffer)
            .map_err(|error| self.exchange.fail_http(ureq::Error::from(error)))?;
        self.reader.judge(&buffer[..count], start.elapsed())?;
        Ok(count)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.exchange.finish(answer);
        }
    }
}

/// Translates an error of the HTTP client. TLS errors say how to solve the problem.
fn failure_of(error: &ureq::Error) -> Failure {
    if let ureq::Error::ConnectProxyFailed(why) = error {
        return match why.contains("407") {
            true => Failure::Refused(Reported::new(&TunnelError::Login.to_string())),
            false => Failure::Other(Reported::new(&format!("the proxy opened no tunnel: {why}"))),
        };
    }
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Failure::Certificate(Reported::new(
                "an unknown authority signed it; add the authority as ca.crt in the Secret",
            ))
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied,
        )) => Failure::Refused(Reported::new(&format!(
            "the server wants another client certificate (tls.crt and tls.key in the Secret): {error}"
        ))),
        _ => Failure::Other(Reported::new(&error.to_string())),
    }
}
