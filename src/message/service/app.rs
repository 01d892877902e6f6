//! A GitHub App: it signs a short-lived proof of who it is. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use serde_json::json;

use super::secret::{DestinationError, text, text_of_lines};
use crate::intent::Service;

/// The keys of the Secret, which are those of Flux.
const ID: &str = "githubAppID";
const INSTALLATION: &str = "githubAppInstallationID";
const KEY: &str = "githubAppPrivateKey";

/// How long a proof holds. GitHub takes ten minutes, and its clock may be behind.
const PROOF: SignedDuration = SignedDuration::from_mins(9);
const BEHIND: SignedDuration = SignedDuration::from_mins(1);

/// The kind of signature that GitHub wants.
const SCHEME: SignatureScheme = SignatureScheme::RSA_PKCS1_SHA256;

/// An App and its installation.
#[derive(Clone)]
pub struct App {
    id: String,
    installation: String,
    key: Arc<dyn SigningKey>,
}

impl PartialEq for App {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.installation == other.installation
            && Arc::ptr_eq(&self.key, &other.key)
    }
}

impl Eq for App {}

/// Shows no secret.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App {} at {}", self.id, self.installation)
    }
}

/// Refuses a Secret whose App cannot be used.
///
/// # Errors
///
/// [`DestinationError`]. Its text holds no value.
pub fn check_app(secret: &BTreeMap<String, Vec<u8>>) -> Result<(), DestinationError> {
    App::read(Service::GitHub, Some(secret)).map(drop)
}

impl App {
    /// Reads an App from a Secret. None if the Secret has no App.
    pub(super) fn read(
        service: Service,
        secret: Option<&BTreeMap<String, Vec<u8>>>,
    ) -> Result<Option<Self>, DestinationError> {
        let of = |key| text(secret, key);
        if service != Service::GitHub {
            return Ok(None);
        }
        let (id, installation) = (of(ID)?, of(INSTALLATION)?);
        let pem = text_of_lines(secret, KEY)?;
        if id.is_none() && installation.is_none() && pem.is_none() {
            return Ok(None);
        }
        let need = |value: Option<String>, key| value.ok_or(DestinationError::Absent(key));
        let (id, installation) = (need(id, ID)?, need(installation, INSTALLATION)?);
        let pem = need(pem, KEY)?;
        if !installation.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DestinationError::Malformed(
                INSTALLATION,
                "it is not a number",
            ));
        }
        let wrong = |problem| DestinationError::Malformed(KEY, problem);
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| wrong("it holds no unencrypted PEM private key"))?;
        let key = any_supported_type(&key)
            .ok()
            .filter(|key| key.choose_scheme(&[SCHEME]).is_some());
        Ok(Some(Self {
            id,
            installation,
            key: key.ok_or_else(|| wrong("it is not an RSA key of 2048 bits or more"))?,
        }))
    }

    /// The number of the installation.
    pub(super) fn installation(&self) -> &str {
        &self.installation
    }

    /// The proof of who it is: a JSON Web Token by RS256. None if the key cannot sign.
    pub(super) fn proof(&self, now: Timestamp) -> Option<String> {
        let encode = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let second = |by: SignedDuration| Some(now.checked_add(by).ok()?.as_second());
        let head = encode(json!({"alg": "RS256", "typ": "JWT"}));
        let claims = encode(json!({
            "iat": second(-BEHIND)?, "exp": second(PROOF)?, "iss": self.id,
        }));
        let signed = format!("{head}.{claims}");
        let signer = self.key.choose_scheme(&[SCHEME])?;
        let signature = signer.sign(signed.as_bytes()).ok()?;
        Some(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }
}
