//! Why a revision is not taken.

use std::fmt;

use super::key::Key;

/// What of a revision was looked at.
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

/// Why a revision must not go live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} {why}")]
pub struct Refusal {
    /// What of it.
    pub part: Part,
    /// Why.
    pub why: Why,
}

impl Refusal {
    pub(super) fn new(part: Part, why: Why) -> Self {
        Self { part, why }
    }

    /// As a sentence about a revision.
    pub fn about(&self, revision: &str) -> String {
        match self.part {
            Part::Commit => format!("{revision} {}", self.why),
            Part::Tag => format!("the tag of {revision} {}", self.why),
        }
    }
}

/// What is wrong with a signature. Texts go on from the name of what was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// There is no signature.
    #[error("is unsigned")]
    Unsigned,
    /// The reference names a commit, and no tag object that could carry a signature.
    #[error("is a lightweight one, which cannot be signed")]
    Lightweight,
    /// The object is not as Git writes it.
    #[error("is malformed: {0}")]
    Object(&'static str),
    /// The signature is not as a tool writes it.
    #[error("has a signature that cannot be read: {0}")]
    Unreadable(&'static str),
    /// A kind of signature that is not verified.
    #[error("is signed by {0}, which is not supported")]
    Unsupported(&'static str),
    /// The signer is a stranger.
    #[error("is signed by {key}, which is not in {place}")]
    Unknown {
        /// Whose signature it claims to be.
        key: Key,
        /// Where signers of its kind are.
        place: Place,
    },
    /// The content is not what the key signed.
    #[error("has a signature of {key} that does not match: one of the two was changed")]
    Mismatch {
        /// A key that the Secret has.
        key: Key,
    },
    /// The signature was made for something else, such as a file.
    #[error("is signed by {key} for the namespace {namespace}, not for git")]
    Namespace {
        /// Whose signature it is.
        key: Key,
        /// As given.
        namespace: String,
    },
    /// The signature hashes with something that can be forged.
    #[error("is signed by {key} with {hash}, which is too weak")]
    WeakHash {
        /// Whose signature it claims to be.
        key: Key,
        /// Such as `SHA1`.
        hash: String,
    },
    /// The key is known, and must not be used for this.
    #[error("is signed by {key}, which {problem}")]
    Unfit {
        /// A key that the Secret has.
        key: Key,
        /// Such as `is revoked`.
        problem: String,
    },
    /// The tag was signed under another name.
    #[error("was signed as tag {name}")]
    OtherName {
        /// What the object says.
        name: String,
    },
    /// The tag was signed on something else.
    #[error("was signed on {target}")]
    OtherTarget {
        /// What the object says.
        target: String,
    },
}

/// Where a signer would have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Secret, by namespace and name.
    pub secret: String,
    /// The key of the Secret, for SSH.
    pub key: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}", self.secret)?;
        match self.key {
            Some(key) => write!(f, " (key {key})"),
            None => Ok(()),
        }
    }
}
