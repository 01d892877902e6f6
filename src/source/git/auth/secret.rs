//! Reads credentials from a Secret, by Flux's keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Credentials;
use super::https::{self, Https, Identity, Part, Trust};
use super::ssh::{Ssh, private_key};
use crate::url::{Address, RemoteUrl};

/// The keys for an `http` or `https` URL.
const HTTPS_KEYS: &str = "username and password, bearerToken, ca.crt, tls.crt and tls.key";

/// The keys for an `ssh` URL.
const SSH_KEYS: &str = "identity and known_hosts, password for an encrypted identity";

/// Why a Secret cannot be used. The text names keys and never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The URL has another scheme.
    #[error("there are no credentials for URLs of this kind")]
    Scheme,
    /// The Secret has no key that fits the URL.
    #[error("the Secret has none of the keys for {scheme} URLs: {keys}")]
    Nothing {
        /// `https`, `http` or `ssh`.
        scheme: &'static str,
        /// The keys, as text.
        keys: &'static str,
    },
    /// A required key is missing.
    #[error("the Secret has no {key}")]
    Absent {
        /// Which.
        key: &'static str,
    },
    /// A key is there without its partner.
    #[error("the Secret has {key} but not {missing}")]
    Missing {
        /// The key that is there.
        key: &'static str,
        /// The key that is missing.
        missing: &'static str,
    },
    /// A key without a value.
    #[error("{key} in the Secret is empty")]
    Empty {
        /// Which.
        key: &'static str,
    },
    /// The Secret has two ways to log in.
    #[error("the Secret has both {one} and {other}: keep one of them")]
    Both {
        /// A key.
        one: &'static str,
        /// Another.
        other: &'static str,
    },
    /// A value does not have the format that its key asks for.
    #[error("{key} in the Secret cannot be used: {problem}")]
    Malformed {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Credentials {
    /// Reads the credentials for the repository at `url` from `data` of a Secret.
    ///
    /// The keys are Flux's. For HTTP: `username` with `password`, or `bearerToken`; `ca.crt` (or
    /// `caFile`), in addition to the platform's authorities; `tls.crt` with `tls.key` (or
    /// `certFile` with `keyFile`). For SSH: `identity`, with its passphrase in `password`;
    /// `known_hosts`, which is required; `username`, which wins over the user in the URL. If both
    /// spellings of a key are there, the first wins. Keys for another scheme are ignored, so one
    /// Secret can serve both. The Secret must hold at least one key for this scheme.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]. Its text holds no value.
    pub fn from_secret(
        url: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        match RemoteUrl::parse(url) {
            Some(RemoteUrl::Http(server)) if server.is_tls() => https(&Values(data)),
            Some(RemoteUrl::Http(_)) => http(&Values(data)),
            Some(RemoteUrl::Ssh(server)) => ssh(&Values(data), &server.address),
            None => Err(CredentialsError::Scheme),
        }
    }

    /// Whether the host keys know the server of a URL. Only SSH has some.
    pub fn knows_host_of(&self, url: &str) -> bool {
        match (self, RemoteUrl::parse(url)) {
            (Self::Ssh(ssh), Some(RemoteUrl::Ssh(server))) => {
                let Address { host, port, .. } = &server.address;
                ssh.known_hosts.has_key_of(host, *port)
            }
            _ => true,
        }
    }
}

/// The data of a Secret.
pub(super) struct Values<'a>(pub(super) &'a BTreeMap<String, Vec<u8>>);

impl<'a> Values<'a> {
    /// The value of `key`. An empty value is an error.
    fn bytes(&self, key: &'static str) -> Result<Option<&'a [u8]>, CredentialsError> {
        match self.0.get(key) {
            Some(value) if value.is_empty() => Err(CredentialsError::Empty { key }),
            value => Ok(value.map(Vec::as_slice)),
        }
    }

    /// The value of the first spelling that is there, and that spelling.
    fn either(
        &self,
        keys: [&'static str; 2],
    ) -> Result<Option<(&'static str, &'a [u8])>, CredentialsError> {
        let [first, second] = keys;
        let key = if self.0.contains_key(first) {
            first
        } else {
            second
        };
        Ok(self.bytes(key)?.map(|value| (key, value)))
    }

    /// The value of `key` as text.
    fn lines(&self, key: &'static str) -> Result<Option<&'a str>, CredentialsError> {
        self.bytes(key)?
            .map(|value| std::str::from_utf8(value).map_err(|_| malformed(key, "it is not UTF-8")))
            .transpose()
    }

    /// The value of `key` as one line of text. A line break at the end is cut off: it is a usual
    /// mistake, and would become part of the password.
    pub(super) fn text(&self, key: &'static str) -> Result<Option<&'a str>, CredentialsError> {
        let text = self.lines(key)?;
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            let problem = "it holds a line break or another control character";
            return Err(malformed(key, problem));
        }
        Ok(text)
    }
}

pub(super) fn malformed(key: &'static str, problem: &'static str) -> CredentialsError {
    CredentialsError::Malformed { key, problem }
}

fn https(values: &Values<'_>) -> Result<Credentials, CredentialsError> {
    let authorization = authorization(values)?;
    let trust = match values.either(["ca.crt", "caFile"])? {
        Some((key, pem)) => Some(Trust::new(pem).map_err(|problem| malformed(key, problem))?),
        None => None,
    };
    let identity = identity(values)?;
    if authorization.is_none() && trust.is_none() && identity.is_none() {
        return Err(nothing("https", HTTPS_KEYS));
    }
    Ok(Credentials::Https(Arc::new(Https {
        authorization,
        trust: trust.unwrap_or_default(),
        identity,
    })))
}

fn http(values: &Values<'_>) -> Result<Credentials, CredentialsError> {
    let authorization = authorization(values)?;
    if authorization.is_none() {
        return Err(nothing("http", "username and password, bearerToken"));
    }
    Ok(Credentials::Https(Arc::new(Https {
        authorization,
        trust: Trust::default(),
        identity: None,
    })))
}

fn ssh(values: &Values<'_>, address: &Address) -> Result<Credentials, CredentialsError> {
    let (identity, known_hosts) = match (values.lines("identity")?, values.lines("known_hosts")?) {
        (Some(identity), Some(known_hosts)) => (identity, known_hosts),
        (None, None) => return Err(nothing("ssh", SSH_KEYS)),
        (Some(_), None) => return Err(missing("identity", "known_hosts")),
        (None, Some(_)) => return Err(missing("known_hosts", "identity")),
    };
    let key = private_key(identity, values.text("password")?)
        .map_err(|problem| malformed("identity", problem))?;
    let ssh = Ssh::new(values.text("username")?, key, known_hosts)
        .map_err(|problem| malformed("known_hosts", problem))?;
    match ssh.known_hosts.problem(&address.host, address.port) {
        Some(problem) => Err(malformed("known_hosts", problem)),
        None => Ok(Credentials::Ssh(Arc::new(ssh))),
    }
}

pub(super) fn missing(key: &'static str, missing: &'static str) -> CredentialsError {
    CredentialsError::Missing { key, missing }
}

fn nothing(scheme: &'static str, keys: &'static str) -> CredentialsError {
    CredentialsError::Nothing { scheme, keys }
}

fn authorization(values: &Values<'_>) -> Result<Option<::http::HeaderValue>, CredentialsError> {
    let user = values.text("username")?;
    let password = values.text("password")?;
    let token = values.text("bearerToken")?;
    match (user, password, token) {
        (Some(_), _, Some(_)) => Err(both("username", "bearerToken")),
        (_, Some(_), Some(_)) => Err(both("password", "bearerToken")),
        (Some(_), None, None) => Err(missing("username", "password")),
        (None, Some(_), None) => Err(missing("password", "username")),
        (Some(user), Some(_), None) if user.contains(':') => {
            Err(malformed("username", "it holds a colon"))
        }
        (Some(user), Some(password), None) => Ok(https::basic(user, password)),
        (None, None, Some(token)) if token.bytes().any(|byte| !byte.is_ascii_graphic()) => {
            let problem = "it holds a character that a token cannot have";
            Err(malformed("bearerToken", problem))
        }
        (None, None, Some(token)) => Ok(https::bearer(token)),
        (None, None, None) => Ok(None),
    }
}

fn both(one: &'static str, other: &'static str) -> CredentialsError {
    CredentialsError::Both { one, other }
}

fn identity(values: &Values<'_>) -> Result<Option<Identity>, CredentialsError> {
    let chain = values.either(["tls.crt", "certFile"])?;
    let key = values.either(["tls.key", "keyFile"])?;
    match (chain, key) {
        (None, None) => Ok(None),
        (Some((key, _)), None) => Err(missing(key, "tls.key")),
        (None, Some((key, _))) => Err(missing(key, "tls.crt")),
        (Some((chain_key, chain)), Some((key_key, key))) => Identity::new(chain, key)
            .map(Some)
            .map_err(|(part, problem)| match part {
                Part::Chain => malformed(chain_key, problem),
                Part::Key => malformed(key_key, problem),
            }),
    }
}

#[cfg(test)]
mod tests;
