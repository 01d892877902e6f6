//! HTTP clients, one for each combination of authorities, client certificate and proxy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector};

use super::interrupt::InterruptibleTcp;
use crate::source::git::auth::{Credentials, Identity, Proxy, Trust};

/// The time limit for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a silent server. Git's own server sends a keep-alive every five seconds while
/// it prepares a pack.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for the head of an answer. It ends servers that send the head byte by byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections kept for the next poll: in total, for each host, and how long.
const IDLE: (usize, usize, Duration) = (16, 4, Duration::from_secs(75));
/// The buffers of a connection, in bytes. An idle connection keeps them.
const INPUT_BUFFER: usize = 32 << 10;
const OUTPUT_BUFFER: usize = 16 << 10;
/// Some servers answer Git requests only if the client calls itself git.
const USER_AGENT: &str = concat!("git/2.0 (towline ", env!("CARGO_PKG_VERSION"), ")");
/// How many clients are kept beside the plain one. The least recently used one is dropped first.
const MAX_SPECIAL: usize = 32;

/// The clients of all exchanges. Each client has its own idle connections, so no connection is used
/// for a request with another client certificate or other authorities.
pub(in crate::source::git) struct Agents {
    plain: Agent,
    /// In order of use, the latest last.
    special: Mutex<Vec<(AgentSettings, Agent)>>,
}

/// The settings in which clients differ.
#[derive(Clone, Default, PartialEq, Eq)]
struct AgentSettings {
    trust: Trust,
    identity: Option<Identity>,
    /// None uses the environment's proxy.
    proxy: Option<Proxy>,
}

/// The clients of one exchange, and whether its requests carry secrets.
pub(super) struct Client {
    /// For requests to the server that the credentials are for.
    pub(super) trusted: Agent,
    /// For requests to other servers: the same authorities, without the client certificate.
    pub(super) bare: Agent,
    pub(super) authorization: Option<HeaderValue>,
    /// Whether requests to other servers must leave something out.
    pub(super) has_secrets: bool,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Agents")
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Agents {
    pub(in crate::source::git) fn new() -> Self {
        Self {
            plain: agent(&AgentSettings::default()),
            special: Mutex::default(),
        }
    }

    /// The clients for requests with `credentials`.
    pub(super) fn client(&self, credentials: &Credentials, proxy: Option<&Proxy>) -> Client {
        let https = credentials.https();
        let bare = AgentSettings {
            trust: https.map(|https| https.trust.clone()).unwrap_or_default(),
            identity: None,
            proxy: proxy.cloned(),
        };
        let identity = https.and_then(|https| https.identity.clone());
        let authorization = https.and_then(|https| https.authorization.clone());
        let has_secrets = authorization.is_some() || identity.is_some();
        Client {
            bare: self.agent(bare.clone()),
            trusted: self.agent(AgentSettings { identity, ..bare }),
            authorization,
            has_secrets,
        }
    }

    fn agent(&self, wanted: AgentSettings) -> Agent {
        if wanted == AgentSettings::default() {
            return self.plain.clone();
        }
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        let known = special.iter().position(|(settings, _)| *settings == wanted);
        let (settings, agent) = match known {
            Some(index) => special.remove(index),
            None => {
                let agent = agent(&wanted);
                (wanted, agent)
            }
        };
        if special.len() == MAX_SPECIAL {
            special.remove(0);
        }
        special.push((settings, agent.clone()));
        agent
    }
}

/// How other servers than Git's are reached: the authorities, the client certificate, and the proxy. Clones share it.
#[derive(Clone)]
pub struct Route(Arc<AgentSettings>);

impl Route {
    /// The route with what is for TLS of these, and the proxy.
    pub fn new(credentials: &Credentials, proxy: Option<&Proxy>) -> Self {
        let https = credentials.https();
        Self(Arc::new(AgentSettings {
            trust: https.map(|https| https.trust.clone()).unwrap_or_default(),
            identity: https.and_then(|https| https.identity.clone()),
            proxy: proxy.cloned(),
        }))
    }
}

/// HTTP clients for other requests than Git's, with the time limits of Git's clients. Clones share them. A client has a copy of
/// all authorities of the platform, a quarter of a megabyte, so few are kept, and nobody else keeps one.
#[derive(Clone)]
pub struct HttpClients(Arc<Agents>);

impl Default for HttpClients {
    fn default() -> Self {
        Self(Arc::new(Agents::new()))
    }
}

impl HttpClients {
    /// The client of a route.
    pub fn of(&self, route: &Route) -> Agent {
        self.0.agent((*route.0).clone())
    }
}

/// TLS for other protocols than HTTP. None if the client certificate does not fit its key, which the credentials'
/// constructor has checked.
pub fn tls_connector(Route(settings): &Route) -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is skipped, as the platform's verifier does.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let given = CertificateDer::pem_slice_iter(&settings.trust.0);
    roots.add_parsable_certificates(given.flatten());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    let config = match &settings.identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(&identity.chain);
            let key = PrivateKeyDer::from_pem_slice(&identity.key).ok()?;
            let chain = chain.flatten().collect();
            config.with_client_auth_cert(chain, key).ok()?
        }
    };
    Some(TlsConnector::from(Arc::new(config)))
}

/// The platform's authorities and those of `trust`, as in Flux. A Secret for one host must not
/// break a redirect to a server with a public certificate.
fn roots(trust: &Trust) -> RootCerts {
    if trust.0.is_empty() {
        return RootCerts::PlatformVerifier;
    }
    // A certificate that cannot be read is skipped, as the platform's verifier does.
    let platform = rustls_native_certs::load_native_certs().certs;
    let platform = platform
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    RootCerts::from(platform.chain(certificates(&trust.0)))
}

fn client_certificate(identity: &Identity) -> Option<ClientCert> {
    let chain: Vec<_> = certificates(&identity.chain).collect();
    // The credentials' constructor has parsed both and has checked that they match.
    let key = PrivateKey::from_pem(&identity.key).ok()?;
    Some(ClientCert::new_with_certs(&chain, key))
}

fn certificates(pem: &[u8]) -> impl Iterator<Item = Certificate<'static>> {
    parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    })
}

/// A client that keeps idle connections.
fn agent(settings: &AgentSettings) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots(&settings.trust))
        .client_cert(settings.identity.as_ref().and_then(client_certificate))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let mut config = Agent::config_builder();
    if let Some(proxy) = &settings.proxy {
        config = config.proxy(Some(proxy.http()));
    }
    let config = config
        .tls_config(tls)
        .http_status_as_error(false)
        // Redirects are followed by `discover`, which decides for each request what it may carry.
        .max_redirects(0)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections(IDLE.0)
        .max_idle_connections_per_host(IDLE.1)
        .max_idle_age(IDLE.2)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .timeout_per_write(Some(SILENCE_TIMEOUT))
        .timeout_recv_response(Some(HEAD_TIMEOUT))
        .build();
    // The client's own chain of connectors, with reads that can be ended.
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(InterruptibleTcp::default())
            .chain(RustlsConnector::default());
    Agent::with_parts(config, connector, DefaultResolver::default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_shared_and_bounded() {
        let agents = Agents::new();
        let trust = |number: usize| Trust(vec![b'x'; number]);
        let agent = |number| {
            agents.agent(AgentSettings {
                trust: trust(number),
                ..AgentSettings::default()
            })
        };
        for number in 0..2 * MAX_SPECIAL {
            agent(number);
            agent(1);
        }
        let special = agents.special.lock().unwrap();
        assert_eq!(special.len(), MAX_SPECIAL);
        assert!(special.last().unwrap().0.trust == trust(1));
        let twice = special
            .iter()
            .filter(|(settings, _)| settings.trust == trust(1));
        assert_eq!(twice.count(), 1);
    }
}
