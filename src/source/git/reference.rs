//! Which commit of a repository is wanted.

use std::fmt;

use super::range::Range;
pub use crate::intent::GitReference as Reference;
use crate::source::error::{Error, Reported};
use crate::text;

impl fmt::Display for Reference {
    /// Completes the sentence "the remote has no …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default branch"),
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Semver(range) => write!(f, "tag in the range {range}"),
            Self::Name(name) => write!(f, "ref {name}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

impl Reference {
    /// Refuses impossible names, ids and ranges.
    pub(super) fn check(&self) -> Result<(), Error> {
        let valid = match self {
            Self::Default => true,
            Self::Branch(name) => git2::Reference::is_valid_name(&format!("refs/heads/{name}")),
            Self::Tag(name) => git2::Reference::is_valid_name(&format!("refs/tags/{name}")),
            Self::Semver(range) => return range_of(range).map(drop),
            Self::Name(name) => name.starts_with("refs/") && git2::Reference::is_valid_name(name),
            Self::Commit(id) => {
                id.len() == 40 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            }
        };
        if valid { Ok(()) } else { Err(self.invalid()) }
    }

    /// The error for an invalid reference.
    pub(super) fn invalid(&self) -> Error {
        Error::InvalidReference {
            reference: shown(&self.to_string()),
        }
    }
}

/// Reads the range of a [`Reference::Semver`].
pub(super) fn range_of(text: &str) -> Result<Range, Error> {
    Range::parse(text).map_err(|problem| Error::InvalidRange {
        range: shown(text),
        source: Reported::new(&problem.to_string()),
    })
}

fn shown(words: &str) -> String {
    text::shorten(&text::printable(words), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_references_are_refused() {
        let name = |name: &str| Reference::Name(name.into());
        for good in [name("refs/pull/7/head"), Reference::Semver("^1".into())] {
            good.check().unwrap();
        }
        for bad in [
            name("main"),
            name("HEAD"),
            name("refs/"),
            name("refs/a b"),
            name("refs/tags/v1^{}"),
            Reference::Branch("*".into()),
            Reference::Commit("a".repeat(39)),
        ] {
            assert!(
                matches!(bad.check(), Err(Error::InvalidReference { .. })),
                "{bad}"
            );
        }
        let error = Reference::Semver("1.x\n.y".into()).check().unwrap_err();
        assert_eq!(
            crate::chain(&error),
            "1.x.y is not a range of versions: \".y\" is not a version"
        );
    }
}
