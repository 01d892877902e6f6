//! What a signer is called.

use std::fmt;

/// A public key, by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    Ssh(String),
    /// In capital hexadecimal digits, as `gpg` shows it; of a signature that names no more, the key's id.
    OpenPgp(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(fingerprint) => write!(f, "SSH key {fingerprint}"),
            Self::OpenPgp(fingerprint) => write!(f, "OpenPGP key {fingerprint}"),
        }
    }
}

/// Whose signature was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key that the Secret has; of an OpenPGP key its primary one, also where a subkey signed.
    pub key: Key,
    /// What the Secret calls its owner: the principals of an SSH key, the user id of an OpenPGP key.
    pub name: Option<String>,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.key),
            None => self.key.fmt(f),
        }
    }
}
