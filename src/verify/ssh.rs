//! SSH signatures (OpenSSH's PROTOCOL.sshsig).

use jiff::Timestamp;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::allowed::Limits;
use super::key::{Key, Signer};
use super::refusal::{Place, Why};
use super::shown;
use super::signers::{ALLOWED_SIGNERS, Signers};

/// What Git signs its objects as.
const NAMESPACE: &str = "git";

/// The one version of the format.
const VERSION: u32 = 1;

/// Checks a signature over `payload` that was made at `at`, by its maker's account.
pub(super) fn verify(
    armour: &str,
    payload: &[u8],
    signers: &Signers,
    at: Timestamp,
) -> Result<Signer, Why> {
    let signature = SshSig::from_pem(armour).map_err(|_| Why::Unreadable("it is no SSHSIG"))?;
    if signature.version() != VERSION {
        return Err(Why::Unreadable("it is of an unknown version"));
    }
    if let KeyData::Certificate(_) = signature.public_key() {
        return Err(Why::Unsupported("an SSH certificate"));
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
        let place = Place {
            secret: signers.secret.clone(),
            key: Some(ALLOWED_SIGNERS),
        };
        return Err(Why::Unknown { key, place });
    }
    if signature.namespace() != NAMESPACE {
        let namespace = shown(signature.namespace());
        return Err(Why::Namespace { key, namespace });
    }
    PublicKey::from(signature.public_key().clone())
        .verify(NAMESPACE, payload, &signature)
        .map_err(|_| Why::Mismatch { key: key.clone() })?;
    // A key may have several lines: of other namespaces, or of other times.
    let mut problem = None;
    for line in lines {
        match unfit(&line.limits, at) {
            None => {
                return Ok(Signer {
                    key,
                    name: Some(line.principals.clone()),
                });
            }
            Some(why) => problem = problem.or(Some(why)),
        }
    }
    Err(Why::Unfit {
        key,
        problem: problem.unwrap_or_default(),
    })
}

/// Why a key may not have signed this.
fn unfit(limits: &Limits, at: Timestamp) -> Option<String> {
    if !limits.is_for(NAMESPACE) {
        return Some("may sign for other namespaces than git only".to_owned());
    }
    match (limits.valid_after, limits.valid_before) {
        (Some(after), _) if at < after => Some(format!("is not valid before {after}, at {at}")),
        (_, Some(before)) if at > before => Some(format!("is not valid after {before}, at {at}")),
        _ => None,
    }
}
