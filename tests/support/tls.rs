//! TLS for test servers: private certificate authorities and a listener. The unit tests of `source` use
//! it too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A private certificate authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // TLS libraries find an authority by its name, so each authority gets a unique one.
        let name = format!("{:?}", key.public_key_raw());
        params
            .distinguished_name
            .push(DnType::OrganizationName, &name[..40]);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Issues a certificate for `name`. Returns the certificate and its key.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The TLS settings of a server with the name `localhost`. With `clients`, the server requires a
    /// client certificate of that authority.
    pub fn acceptor(&self, clients: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = self.issue("localhost");
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let config = config.with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        Arc::new(roots)
    }
}

/// A listener whose connections have completed the TLS handshake.
pub struct Tls {
    pub listener: TcpListener,
    pub acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            match self.acceptor.accept(stream).into_fallible().await {
                Ok(stream) => return (stream, address),
                // If the connection were closed at once, the TLS alert could be lost together with unread
                // client data.
                Err((_, stream)) => drop(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    drop(stream);
                })),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
