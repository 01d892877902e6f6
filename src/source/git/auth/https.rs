//! Credentials for HTTP: an `Authorization` header, and TLS authorities and a client certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// The credentials that an HTTP remote gets.
#[derive(PartialEq, Eq)]
pub struct Https {
    /// The header's value, marked as sensitive.
    pub(in crate::source::git) authorization: Option<HeaderValue>,
    pub(in crate::source::git) trust: Trust,
    pub(in crate::source::git) identity: Option<Identity>,
}

/// Authorities beside the platform's, as PEM. Empty if there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trust(pub(in crate::source::git) Vec<u8>);

/// A client certificate with its chain, and the matching key. Both are PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub(in crate::source::git) chain: Vec<u8>,
    pub(in crate::source::git) key: Vec<u8>,
}

impl Https {
    /// All forms in which a server received the Secret's values.
    pub(super) fn shown(&self) -> Vec<String> {
        let header = self.authorization.as_ref();
        let Some(text) = header.and_then(|value| std::str::from_utf8(value.as_bytes()).ok()) else {
            return Vec::new();
        };
        let (scheme, value) = text.split_once(' ').unwrap_or_default();
        let mut shown = vec![value.to_owned()];
        if scheme == "Basic"
            && let Some(pair) = STANDARD.decode(value).ok()
            && let Ok(pair) = String::from_utf8(pair)
            && let Some((user, password)) = pair.split_once(':')
        {
            shown.extend([user.to_owned(), password.to_owned()]);
        }
        shown
    }
}

/// The header for a user and password (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    header(format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
}

/// The header for a token (RFC 6750).
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    header(format!("Bearer {token}"))
}

fn header(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Trust {
    /// Reads authorities from a PEM bundle. The error says what is wrong with the bundle.
    pub(super) fn new(pem: &[u8]) -> Result<Self, &'static str> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            let added = roots.add(certificate);
            added.map_err(|_| "a certificate in it cannot be used as an authority")?;
        }
        Ok(Self(pem.to_vec()))
    }
}

impl Identity {
    /// Checks a certificate chain and its key. The error says which of the two is wrong, and why.
    pub(super) fn new(chain: &[u8], key: &[u8]) -> Result<Self, (Part, &'static str)> {
        let certificates = certificates(chain).map_err(|problem| (Part::Chain, problem))?;
        let private = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| (Part::Key, "it holds no unencrypted PEM private key"))?;
        let provider = ring::default_provider();
        provider
            .key_provider
            .load_private_key(private.clone_key())
            .map_err(|_| (Part::Key, "its kind of private key is not supported"))?;
        // Checks here that the key fits the certificate. Otherwise the HTTP client would panic
        // later.
        CertifiedKey::from_der(certificates, private, &provider)
            .map_err(|_| (Part::Chain, "its first certificate does not match the key"))?;
        Ok(Self {
            chain: chain.to_vec(),
            key: key.to_vec(),
        })
    }
}

/// Which of the two an error is about.
pub(super) enum Part {
    Chain,
    Key,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not PEM")?;
    match found.is_empty() {
        true => Err("it holds no PEM certificate"),
        false => Ok(found),
    }
}
