//! The names of signers.

use std::fmt;

/// A public key, by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    Ssh(String),
    /// In upper-case hexadecimal digits, as `gpg` shows it. The key's id, if the signature does not
    /// have the fingerprint.
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

/// The owner of a key that made a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key in the Secret. For OpenPGP this is the primary key, even if a subkey signed.
    pub key: Key,
    /// The owner's name in the Secret: the principals of an SSH key, or the user id of an OpenPGP
    /// key.
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
