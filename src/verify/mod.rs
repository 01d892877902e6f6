//! Checks who signed a commit or a tag, and whether that signer is allowed.
//!
//! ```text
//! raw object ─ object (payload and signature) ─┬─ ssh (allowed: ssh-keygen's ALLOWED SIGNERS) ─┬─ Signer
//!                                              └─ openpgp (keyring: armoured public keys) ─────┴─ Refusal
//! ```
//!
//! This accepts the same signatures as `git verify-commit` and `git verify-tag` with the same
//! signers, except weak ones: SHA-1, MD5, RSA below 2,048 bits, and DSA. As in Git, an SSH key must
//! be valid at the time that the committer or tagger wrote, and an OpenPGP key must be valid now.
//! As in Git, the committer's address need not be the signer's.
//!
//! Objects and signatures are hostile input. The Secret with the signers is trusted.

mod allowed;
mod key;
mod object;
mod openpgp;
mod refusal;
mod signers;
mod ssh;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use jiff::Timestamp;

use crate::text;

pub use allowed::LineError;
pub use key::{Key, Signer};
pub use refusal::{Part, Refusal, SignatureProblem};
pub use signers::{Signers, SignersError};

use object::{Signature, Signed, Tag};

/// The longest signature, in bytes. An OpenPGP signature by a key of 8,192 bits has 1,500 bytes.
const MAX_SIGNATURE: usize = 64 * 1024;

/// The longest text from an object or a key in a message, in bytes.
const MAX_SHOWN: usize = 100;

/// An annotated tag: the name that was asked for, and the stored object.
#[derive(Clone, Debug)]
pub struct TagObject {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The object's content.
    pub raw: Vec<u8>,
}

/// A commit: its id, and the stored object.
#[derive(Clone, Debug)]
pub struct CommitObject {
    /// The full id in hexadecimal.
    pub id: String,
    /// The object's content.
    pub raw: Vec<u8>,
}

/// Checks the signature of a commit. OpenPGP keys must be valid at `now`.
///
/// # Errors
///
/// [`Refusal`] of [`Part::Commit`].
pub fn commit(commit: &CommitObject, signers: &Signers, now: Timestamp) -> Result<Signer, Refusal> {
    object::commit(&commit.raw)
        .and_then(|signed| signed_by(&signed, signers, now))
        .map_err(|problem| Refusal::new(Part::Commit, problem))
}

/// Checks the signature of the tag that the reference named. Also checks that the object is a tag
/// of that name on that commit. Otherwise somebody could present a signed tag as another one.
///
/// # Errors
///
/// [`Refusal`] of [`Part::Tag`]. A lightweight tag (`None`) has no signature.
pub fn tag(
    tag: Option<&TagObject>,
    commit_id: &str,
    signers: &Signers,
    now: Timestamp,
) -> Result<Signer, Refusal> {
    let check = || {
        let tag = tag.ok_or(SignatureProblem::Lightweight)?;
        let (signed, inside) = object::tag(&tag.raw)?;
        let signer = signed_by(&signed, signers, now)?;
        is_of(&inside, tag, commit_id)?;
        Ok(signer)
    };
    check().map_err(|problem| Refusal::new(Part::Tag, problem))
}

fn is_of(inside: &Tag<'_>, tag: &TagObject, commit_id: &str) -> Result<(), SignatureProblem> {
    if inside.name != tag.name.as_bytes() {
        return Err(SignatureProblem::OtherName {
            name: shown(&String::from_utf8_lossy(inside.name)),
        });
    }
    if inside.kind != b"commit" || inside.target != commit_id.as_bytes() {
        return Err(SignatureProblem::OtherTarget {
            target: format!(
                "{} {}",
                shown(&String::from_utf8_lossy(inside.kind)),
                shown(&String::from_utf8_lossy(inside.target))
            ),
        });
    }
    Ok(())
}

fn signed_by(
    signed: &Signed,
    signers: &Signers,
    now: Timestamp,
) -> Result<Signer, SignatureProblem> {
    match &signed.signature {
        Signature::Ssh(armour) => {
            let at = signed.at.unwrap_or(now);
            ssh::verify(armour, &signed.payload, signers, at)
        }
        Signature::OpenPgp(armour) => {
            let (certificates, secret) = (&signers.openpgp, &signers.secret);
            openpgp::verify(armour, &signed.payload, certificates, secret, now)
        }
    }
}

/// One line of limited length.
fn shown(said: &str) -> String {
    text::shorten(&text::printable(said), MAX_SHOWN)
}
