//! Who signed a commit or a tag, and whether that person may.
//!
//! ```text
//! raw object ─ object (payload and signature) ─┬─ ssh (allowed: ssh-keygen's ALLOWED SIGNERS) ─┬─ Signer
//!                                              └─ openpgp (keyring: armoured public keys) ─────┴─ Refusal
//! ```
//!
//! What `git verify-commit` and `git verify-tag` take with the same signers is taken here, unless it is
//! weaker than it should be: SHA-1, MD5, RSA below 2,048 bits, DSA. As with Git, an SSH key has to be valid
//! at the time that the committer (the tagger) gave, an OpenPGP key now, and nobody asks whether the
//! committer's address is the signer's.
//!
//! Objects and signatures are hostile; the Secret with the signers is not.

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
pub use refusal::{Part, Refusal, Why};
pub use signers::{Signers, SignersError};

use object::{Signature, Signed, Tag};

/// The longest signature, in bytes. OpenPGP's with a key of 8,192 bits has 1,500.
const MAX_SIGNATURE: usize = 64 * 1024;

/// The longest text out of an object or a key that a message shows, in bytes.
const MAX_SHOWN: usize = 100;

/// An annotated tag as it was asked for, and as it is stored.
#[derive(Clone, Debug)]
pub struct TagObject {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The object's content.
    pub raw: Vec<u8>,
}

/// Which commit, and its content.
#[derive(Clone, Debug)]
pub struct CommitObject {
    /// The full id in hexadecimal.
    pub id: String,
    /// The object's content.
    pub raw: Vec<u8>,
}

/// Checks the signature of a commit; `now` is the time at which OpenPGP keys have to be valid.
///
/// # Errors
///
/// [`Refusal`], of [`Part::Commit`].
pub fn commit(commit: &CommitObject, signers: &Signers, now: Timestamp) -> Result<Signer, Refusal> {
    object::commit(&commit.raw)
        .and_then(|signed| signed_by(&signed, signers, now))
        .map_err(|why| Refusal::new(Part::Commit, why))
}

/// Checks the signature of the tag that a revision was asked for by, and that it is a tag of that name
/// on that very commit: else a signed tag could be passed off as another one.
///
/// # Errors
///
/// [`Refusal`], of [`Part::Tag`]; a lightweight tag (`None`) has no signature.
pub fn tag(
    tag: Option<&TagObject>,
    commit_id: &str,
    signers: &Signers,
    now: Timestamp,
) -> Result<Signer, Refusal> {
    let check = || {
        let tag = tag.ok_or(Why::Lightweight)?;
        let (signed, inside) = object::tag(&tag.raw)?;
        let signer = signed_by(&signed, signers, now)?;
        is_of(&inside, tag, commit_id)?;
        Ok(signer)
    };
    check().map_err(|why| Refusal::new(Part::Tag, why))
}

fn is_of(inside: &Tag<'_>, tag: &TagObject, commit_id: &str) -> Result<(), Why> {
    if inside.name != tag.name.as_bytes() {
        return Err(Why::OtherName {
            name: shown(&String::from_utf8_lossy(inside.name)),
        });
    }
    if inside.kind != b"commit" || inside.target != commit_id.as_bytes() {
        return Err(Why::OtherTarget {
            target: format!(
                "{} {}",
                shown(&String::from_utf8_lossy(inside.kind)),
                shown(&String::from_utf8_lossy(inside.target))
            ),
        });
    }
    Ok(())
}

fn signed_by(signed: &Signed, signers: &Signers, now: Timestamp) -> Result<Signer, Why> {
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

/// One line of bounded length.
fn shown(said: &str) -> String {
    text::shorten(&text::printable(said), MAX_SHOWN)
}
