//! Why the signature of a revision is refused.

use std::fmt;

use super::key::Key;

/// The part of a revision whose signature was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The commit.
    Commit,
    /// The tag.
    Tag,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "commit",
            Self::Tag => "tag",
        })
    }
}

/// Why a revision must not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} {problem}")]
pub struct Refusal {
    /// The checked part.
    pub part: Part,
    /// The reason.
    pub problem: SignatureProblem,
}

impl Refusal {
    pub(super) fn new(part: Part, problem: SignatureProblem) -> Self {
        Self { part, problem }
    }

    /// The refusal as a sentence about a revision.
    pub fn about(&self, revision: &str) -> String {
        match self.part {
            Part::Commit => format!("{revision} {}", self.problem),
            Part::Tag => format!("the tag of {revision} {}", self.problem),
        }
    }
}

/// What is wrong with a signature. Each text completes a sentence that begins with "the commit" or
/// "the tag".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureProblem {
    /// There is no signature.
    #[error("is unsigned")]
    Unsigned,
    /// The reference names a commit without a tag object, so there is no place for a signature.
    #[error("is a lightweight tag, which cannot be signed")]
    Lightweight,
    /// The object does not have Git's format.
    #[error("is malformed: {0}")]
    Object(&'static str),
    /// The signature does not have a valid format.
    #[error("has a signature that cannot be read: {0}")]
    Unreadable(&'static str),
    /// This kind of signature is not supported.
    #[error("is signed by {0}, which is not supported")]
    Unsupported(&'static str),
    /// The signer is not known.
    #[error("is signed by {key}, which is not in {location}")]
    Unknown {
        /// The key that the signature names as its maker.
        key: Key,
        /// Where the keys of known signers are.
        location: SignerLocation,
    },
    /// The content is not what the key signed.
    #[error("has a signature by {key} that does not match the content")]
    Mismatch {
        /// A key that the Secret has.
        key: Key,
    },
    /// The signature was made for something else, such as a file.
    #[error("is signed by {key} for the namespace {namespace}, not for git")]
    Namespace {
        /// The key that signed.
        key: Key,
        /// As given.
        namespace: String,
    },
    /// The signature hashes with something that can be forged.
    #[error("is signed by {key} with {hash}, which is too weak")]
    WeakHash {
        /// The key that the signature names as its maker.
        key: Key,
        /// Such as `SHA1`.
        hash: String,
    },
    /// The key is known, but must not be used for this signature.
    #[error("is signed by {key}, which {problem}")]
    UnusableKey {
        /// A key that the Secret has.
        key: Key,
        /// For example `is revoked`.
        problem: String,
    },
    /// The tag was signed under another name.
    #[error("was signed as tag {name}")]
    OtherName {
        /// The name in the object.
        name: String,
    },
    /// The tag was signed for another object.
    #[error("was signed on {target}")]
    OtherTarget {
        /// The target in the object.
        target: String,
    },
}

/// Where the keys of known signers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerLocation {
    /// The Secret, as namespace and name.
    pub secret: String,
    /// The key of the Secret, for SSH.
    pub key: Option<&'static str>,
}

impl fmt::Display for SignerLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}", self.secret)?;
        match self.key {
            Some(key) => write!(f, " (key {key})"),
            None => Ok(()),
        }
    }
}
