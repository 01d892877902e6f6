//! The proxy through which a repository is reached. towline uses only the proxy's tunnel
//! (`CONNECT`, RFC 9110, section 9.3.6), for http, https and ssh alike. So the proxy does not take
//! part in the exchange with the Git server.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use ::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::secret::{CredentialsError, Values, malformed, missing};
use crate::url::{Address, HttpUrl, SshUrl};

/// The longest answer of a proxy that is read, in bytes.
const MAX_ANSWER: usize = 8 << 10;

const NO_ADDRESS: &str = "it is not http://host:port or https://host:port";

/// A proxy. [`Proxy::from_secret`] makes it from a Secret. Two proxies are equal if all values are
/// equal.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    /// Whether the connection to the proxy uses TLS.
    tls: bool,
    /// A name or an address. An IPv6 address has brackets.
    host: String,
    port: u16,
    login: Option<(String, String)>,
    /// The same for the HTTP client.
    http: ureq::Proxy,
}

/// Why the proxy made no tunnel.
#[derive(Debug, thiserror::Error)]
pub(in crate::source::git) enum TunnelError {
    #[error("the proxy cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the proxy refuses its user and password (HTTP status 407)")]
    Login,
    #[error("the proxy answers with HTTP status {0}")]
    Status(u16),
    #[error("the proxy's answer is not a valid answer to CONNECT")]
    Answer,
}

impl fmt::Debug for Proxy {
    /// Prints no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy(..)")
    }
}

impl Proxy {
    /// Reads the proxy for the repository at `url` from `data` of a Secret. The keys are Flux's:
    /// `address` is an http or https URL of a host and a port; `username` and `password` are for
    /// basic authentication.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]. Its text holds no value.
    pub fn from_secret(
        url: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        let values = Values(data);
        let address = values.text("address")?;
        let address = address.ok_or(CredentialsError::Absent { key: "address" })?;
        let wrong = |problem| malformed("address", problem);
        let (tls, host, port) = parse(address).map_err(wrong)?;
        if tls && SshUrl::parse(url).is_some() {
            return Err(wrong("for SSH, only a proxy with http:// is supported"));
        }
        let login = match (values.text("username")?, values.text("password")?) {
            (Some(user), Some(password)) => Some((user.to_owned(), password.to_owned())),
            (Some(_), None) => return Err(missing("username", "password")),
            (None, Some(_)) => return Err(missing("password", "username")),
            (None, None) => None,
        };
        let protocol = match tls {
            true => ureq::ProxyProtocol::Https,
            false => ureq::ProxyProtocol::Http,
        };
        let mut http = ureq::Proxy::builder(protocol).host(&host).port(port);
        if let Some((user, password)) = &login {
            http = http.username(user).password(password);
        }
        let http = http.build().map_err(|_| wrong(NO_ADDRESS))?;
        Ok(Self(Arc::new(Parts {
            tls,
            host,
            port,
            login,
            http,
        })))
    }

    /// Where the proxy is, without its user and password.
    pub(super) fn address(&self) -> String {
        let Parts {
            tls, host, port, ..
        } = &*self.0;
        format!("{tls} {host}:{port}")
    }

    /// The proxy in the form that the HTTP client takes.
    pub(in crate::source::git) fn http(&self) -> ureq::Proxy {
        self.0.http.clone()
    }

    /// Opens a connection to a host through the proxy.
    pub(in crate::source::git) async fn tunnel(
        &self,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, TunnelError> {
        let Parts {
            host: proxy, login, ..
        } = &*self.0;
        let proxy = (proxy.trim_matches(['[', ']']), self.0.port);
        let connected = TcpStream::connect(proxy).await;
        let mut stream = connected.map_err(TunnelError::Unreachable)?;
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some((user, password)) = login {
            let login = STANDARD.encode(format!("{user}:{password}"));
            request += &format!("Proxy-Authorization: Basic {login}\r\n");
        }
        request += "\r\n";
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(TunnelError::Unreachable)?;
        match status(&mut stream).await? {
            200..=299 => Ok(stream),
            407 => Err(TunnelError::Login),
            status => Err(TunnelError::Status(status)),
        }
    }
}

/// Reads the head of the proxy's answer and not one byte more. The bytes after it come from the Git
/// server.
async fn status(stream: &mut TcpStream) -> Result<u16, TunnelError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER {
            return Err(TunnelError::Answer);
        }
        head.push(stream.read_u8().await.map_err(TunnelError::Unreachable)?);
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.split_ascii_whitespace();
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))
        .and_then(|_| words.next()?.parse().ok())
        .ok_or(TunnelError::Answer)
}

/// Reads from `address`: whether it is https, its host, and its port. The error says what is wrong.
fn parse(address: &str) -> Result<(bool, String, u16), &'static str> {
    let url = HttpUrl::parse(address).ok_or_else(|| problem(address))?;
    let Address { user, host, port } = url.address();
    if user.is_some() {
        return Err("put the user under username and password, not in the URL");
    }
    if url.has_path() || url.uri().query().is_some() {
        return Err(NO_ADDRESS);
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((url.is_tls(), format!("[{host}]"), *port));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match host.chars().all(is_name) {
        true => Ok((url.is_tls(), host.clone(), *port)),
        false => Err(NO_ADDRESS),
    }
}

/// What is wrong with an address that is not the URL of an HTTP server.
fn problem(address: &str) -> &'static str {
    let Ok(uri) = address.parse::<Uri>() else {
        return NO_ADDRESS;
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {
            "its port is not a number below 65536"
        }
        (None | Some("http" | "https"), _) => NO_ADDRESS,
        (Some(_), _) => "only http:// and https:// proxies are supported",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn addresses_are_read() {
        for (address, tls, host, port) in [
            ("http://proxy.example:3128", false, "proxy.example", 3128),
            ("http://proxy/", false, "proxy", 80),
            ("HTTPS://10.0.0.1", true, "10.0.0.1", 443),
            ("http://[::1]:8080", false, "[::1]", 8080),
        ] {
            assert_eq!(parse(address), Ok((tls, host.to_owned(), port)));
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_a_value() {
        let http = "https://git.example/r";
        let (good, user) = (("address", "http://p:1"), ("username", "MARK"));
        for (url, pairs, text) in [
            (http, &[user][..], "the Secret has no address"),
            (http, &[("address", "")], "address in the Secret is empty"),
            (
                http,
                &[("address", "MARK:3128")],
                "it is not http://host:port",
            ),
            (
                http,
                &[("address", "socks5://MARK:1")],
                "only http:// and https:// proxies",
            ),
            (
                http,
                &[("address", "http://MARK:MARK@p:1")],
                "put the user under username and password",
            ),
            (http, &[("address", "http://p:0")], "its port is not"),
            (http, &[("address", "http://p:65536")], "its port is not"),
            (http, &[("address", "http://:1")], "it is not http://"),
            (http, &[("address", "http://p/?MARK")], "it is not http://"),
            (http, &[("address", "http://p/MARK")], "it is not http://"),
            (http, &[good, user], "has username but not password"),
            (
                http,
                &[good, ("password", "MARK")],
                "has password but not username",
            ),
            (
                "git@git.example:r",
                &[("address", "https://p")],
                "for SSH, only a proxy with http:// is supported",
            ),
        ] {
            let error = Proxy::from_secret(url, &data(pairs)).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains(text), "{said}");
            assert!(!said.contains("MARK"), "{said}");
        }
        let proxy = Proxy::from_secret(http, &data(&[good, user, ("password", "MARK")])).unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(..)");
    }
}
