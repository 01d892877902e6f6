//! Credentials for SSH: a private key, and the trusted host keys.

use std::sync::Arc;

use russh::keys::{Algorithm, Error, PrivateKey, decode_secret_key};

use super::known_hosts::KnownHosts;

/// The credentials for an SSH remote, and the host keys to check.
pub struct Ssh {
    /// The user to log in as, if the Secret has one.
    pub(in crate::source::git) user: Option<String>,
    pub(in crate::source::git) key: Arc<PrivateKey>,
    pub(in crate::source::git) known_hosts: KnownHosts,
    /// The text of the file, for comparison.
    known_hosts_text: String,
}

impl PartialEq for Ssh {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user
            && self.key == other.key
            && self.known_hosts_text == other.known_hosts_text
    }
}

impl Eq for Ssh {}

impl Ssh {
    pub(super) fn new(
        user: Option<&str>,
        key: PrivateKey,
        known_hosts: &str,
    ) -> Result<Self, &'static str> {
        Ok(Self {
            user: user.map(str::to_owned),
            key: Arc::new(key),
            known_hosts: KnownHosts::parse(known_hosts)?,
            known_hosts_text: known_hosts.to_owned(),
        })
    }

    /// The text of the `known_hosts` file.
    pub(super) fn known_hosts_text(&self) -> &str {
        &self.known_hosts_text
    }
}

/// Reads a private key in the format of OpenSSH, PKCS#1, PKCS#8 or SEC1. The error says what is
/// wrong.
pub(super) fn private_key(
    text: &str,
    passphrase: Option<&str>,
) -> Result<PrivateKey, &'static str> {
    // Tries without the passphrase first: the Secret may hold a password beside a plain key.
    let plain = decode_secret_key(text, None);
    let key = match (plain, passphrase) {
        (Ok(key), _) => key,
        (Err(Error::KeyIsEncrypted), None) => {
            return Err("it is encrypted, and the Secret has no password for it");
        }
        (Err(_), None) if text.contains("ENCRYPTED") => {
            return Err("it is encrypted, and the Secret has no password for it");
        }
        (Err(_), None) => return Err("it is not a supported private key"),
        (_, Some(passphrase)) => decode_secret_key(text, Some(passphrase))
            .map_err(|_| "it is not a private key, or password is not its passphrase")?,
    };
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        _ => Err("it is not an ed25519, ecdsa or rsa key"),
    }
}
