//! Files that are encrypted in Git with [SOPS](https://getsops.io): YAML, JSON, dotenv, INI and whole
//! files, with age and OpenPGP keys. Pure: keys come as values, and what is decrypted stays in memory.
//!
//! The format is that of SOPS 3: each value is sealed by AES-GCM with its path as additional data, and a
//! checksum over all values, the readable ones too, is sealed beside them. It is always compared: a value
//! that somebody changed, moved or took out without the key is an error.

mod file;
mod keys;
mod metadata;
mod sealed;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use self::file::{Format, decrypt, is_encrypted, replace_sealed};
pub use self::keys::{Keys, KeysError};
pub use self::sealed::sealed_field;

/// Why a file cannot be decrypted. It quotes no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Its metadata is incomplete or cannot be read.
    #[error("its sops metadata cannot be read: {0}")]
    Metadata(&'static str),
    /// The file is not valid YAML, JSON, dotenv or INI.
    #[error("it cannot be read as {0}")]
    Syntax(Format),
    /// Keys are needed, but there are none.
    #[error("it is encrypted, and spec.decryption names no Secret with keys")]
    NoKeys,
    /// None of the keys decrypts the file.
    #[error("none of the keys in the Secret opens it: it is encrypted for {0}")]
    NoKeyFits(String),
    /// Only a cloud service or Vault could decrypt the file.
    #[error("it is encrypted for {0}, which towline cannot use; add an age or OpenPGP key to it")]
    Unsupported(String),
    /// The file needs parts of a key from several groups.
    #[error("it is encrypted for several key groups (Shamir), which towline cannot use")]
    KeyGroups,
    /// A value cannot be decrypted with the data key.
    #[error("{0}: the value does not open: it was changed or moved without the key")]
    Value(String),
    /// The checksum does not match.
    #[error(
        "its checksum (mac) does not match: a value was changed without the key; edit it with sops"
    )]
    Checksum,
}
