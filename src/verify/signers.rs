//! Who may sign, out of a Secret.

use std::collections::BTreeMap;

use super::allowed::{self, AllowedSigner, LineError};
use super::openpgp::{self, Certificate};

/// The Secret's key with SSH signers. Everything else in it are OpenPGP keys, as Flux has it.
pub(super) const ALLOWED_SIGNERS: &str = "allowed_signers";

/// Those whose signatures count.
#[derive(Clone, Debug)]
pub struct Signers {
    /// The Secret that they are from, by namespace and name.
    pub(super) secret: String,
    pub(super) ssh: Vec<AllowedSigner>,
    pub(super) openpgp: Vec<Certificate>,
}

/// Why a Secret does not say who may sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignersError {
    /// Neither SSH nor OpenPGP keys.
    #[error(
        "it holds no signer: put SSH keys under the key allowed_signers, in ssh-keygen's format, or \
         ASCII-armoured OpenPGP public keys under any other"
    )]
    Nothing,
    /// A value is not what it should be.
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
    /// What the Secret called `secret` says. Every key of it must be usable.
    ///
    /// # Errors
    ///
    /// [`SignersError`], which quotes nothing of the values.
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
