//! SSH signatures (OpenSSH's PROTOCOL.sshsig).

use jiff::Timestamp;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::allowed::Limits;
use super::key::{Key, Signer};
use super::refusal::{SignatureProblem, SignerLocation};
use super::shown;
use super::signers::{ALLOWED_SIGNERS, Signers};

/// The namespace in which Git signs its objects.
const NAMESPACE: &str = "git";

/// The only version of the format.
const VERSION: u32 = 1;

/// Checks a signature over `payload`. `at` is the time of signing that the object gives.
pub(super) fn verify(
    armour: &str,
    payload: &[u8],
    signers: &Signers,
    at: Timestamp,
) -> Result<Signer, SignatureProblem> {
    let signature = SshSig::from_pem(armour)
        .map_err(|_| SignatureProblem::Unreadable("it is not an SSHSIG"))?;
    if signature.version() != VERSION {
        return Err(SignatureProblem::Unreadable("it has an unknown version"));
    }
    if let KeyData::Certificate(_) = signature.public_key() {
        return Err(SignatureProblem::Unsupported("an SSH certificate"));
    }
    let key = Key::Ssh(
        signature
            .public_key()
            .fingerprint(HashAlg::Sha256)
            .to_string(),
    );
    let lines = signers.ssh.iter();
    let lines: Vec<_> = lines
        .filter(|line| line.key == *signature.public_key())
        .collect();
    if lines.is_empty() {
        let location = SignerLocation {
            secret: signers.secret.clone(),
            key: Some(ALLOWED_SIGNERS),
        };
        return Err(SignatureProblem::Unknown { key, location });
    }
    if signature.namespace() != NAMESPACE {
        let namespace = shown(signature.namespace());
        return Err(SignatureProblem::Namespace { key, namespace });
    }
    PublicKey::from(signature.public_key().clone())
        .verify(NAMESPACE, payload, &signature)
        .map_err(|_| SignatureProblem::Mismatch { key: key.clone() })?;
    // A key may have several lines, for other namespaces or other times.
    let mut problem = None;
    for line in lines {
        match key_problem(&line.limits, at) {
            None => {
                return Ok(Signer {
                    key,
                    name: Some(line.principals.clone()),
                });
            }
            Some(why) => problem = problem.or(Some(why)),
        }
    }
    Err(SignatureProblem::UnusableKey {
        key,
        problem: problem.unwrap_or_default(),
    })
}

/// Why the key may not sign this. None if it may.
fn key_problem(limits: &Limits, at: Timestamp) -> Option<String> {
    if !limits.is_for(NAMESPACE) {
        return Some("may not sign for the namespace git".to_owned());
    }
    match (limits.valid_after, limits.valid_before) {
        (Some(after), _) if at < after => Some(format!("is not valid before {after}, at {at}")),
        (_, Some(before)) if at > before => Some(format!("is not valid after {before}, at {at}")),
        _ => None,
    }
}
