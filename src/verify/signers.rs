//! Reads the signers from a Secret.

use std::collections::BTreeMap;

use super::allowed::{self, AllowedSigner, LineError};
use super::openpgp::{self, Certificate};

/// The key of the Secret with the SSH signers. As in Flux, all other keys hold OpenPGP keys.
pub(super) const ALLOWED_SIGNERS: &str = "allowed_signers";

/// The signers whose signatures are accepted.
#[derive(Clone, Debug)]
pub struct Signers {
    /// The Secret with the signers, as namespace and name.
    pub(super) secret: String,
    pub(super) ssh: Vec<AllowedSigner>,
    pub(super) openpgp: Vec<Certificate>,
}

/// Why the Secret cannot be used for the check of signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignersError {
    /// Neither SSH keys nor OpenPGP keys.
    #[error(
        "it holds no signer: put SSH keys under the key allowed_signers, in ssh-keygen's format, or \
         ASCII-armoured OpenPGP public keys under any other"
    )]
    Nothing,
    /// A value does not have the right format.
    #[error("key {key}: {problem}")]
    Malformed {
        /// The Secret's key.
        key: String,
        /// What is wrong with its value.
        problem: &'static str,
    },
    /// A line of `allowed_signers` cannot be used.
    #[error("key allowed_signers, {0}")]
    Line(#[from] LineError),
}

impl Signers {
    /// Reads the Secret called `secret`. Every key in it must be usable.
    ///
    /// # Errors
    ///
    /// [`SignersError`], which quotes no value.
    pub fn from_secret(
        secret: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, SignersError> {
        let mut signers = Self {
            secret: secret.to_owned(),
            ssh: Vec::new(),
            openpgp: Vec::new(),
        };
        for (key, value) in data {
            let malformed = |problem| SignersError::Malformed {
                key: key.clone(),
                problem,
            };
            let text = std::str::from_utf8(value).map_err(|_| malformed("it is not text"))?;
            if key == ALLOWED_SIGNERS {
                signers.ssh = allowed::parse(text)?;
            } else {
                openpgp::add(&mut signers.openpgp, text).map_err(malformed)?;
            }
        }
        match signers.ssh.is_empty() && signers.openpgp.is_empty() {
            true => Err(SignersError::Nothing),
            false => Ok(signers),
        }
    }
}
