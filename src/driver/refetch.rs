//! Fetches a revision again that was live before: for a pin, and after a start.

use std::sync::Arc;

use crate::api::Reason;
use crate::fleet::SourceName;
use crate::intent::{SignedPart, VerifyIntent};
use crate::source::{self, Access, Cache, Reference, Snapshot};

/// Why a revision that was live cannot be fetched again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefetchError {
    /// It is written wrongly.
    #[error("it is not of the form BRANCH@sha1:COMMIT")]
    Malformed,
    /// The tag whose signature is needed is at another commit now.
    #[error(
        "spec.verify of the GitRepository asks for a signed tag, and tag {0} is at another commit now"
    )]
    TagMoved(String),
    /// The server does not have it, or sends no commit by its id.
    #[error(
        "GitRepository {repository} cannot give it: spec.fullHistory there makes towline keep earlier commits, unless \
         spec.sourceRef named another GitRepository when this revision was live"
    )]
    Refused {
        /// The GitRepository that is followed now.
        repository: String,
        /// What the server said.
        source: source::Error,
    },
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] source::Error),
}

impl RefetchError {
    /// The reason of the condition.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Malformed | Self::TagMoved(_) => Reason::VerificationFailed,
            Self::Refused { source, .. } | Self::Fetch(source) => source.reason(),
        }
    }
}

/// The name and the commit of a revision: `main@sha1:…` or `sha1:…`.
fn parts(revision: &str) -> Option<(Option<&str>, &str)> {
    let (name, commit) = match revision.rsplit_once('@') {
        Some((name, commit)) => (Some(name), commit),
        None => (None, revision),
    };
    let commit = commit.strip_prefix("sha1:")?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (commit.len() == 40 && commit.bytes().all(is_digit)).then_some((name, commit))
}

/// Whether the signature of a tag is needed, and so the tag.
pub(crate) fn needs_tag(verify: Option<&VerifyIntent>) -> bool {
    verify.is_some_and(|verify| verify.part != SignedPart::Commit)
}

/// Fetches a revision that was live. A commit is fetched by its id, for its branch has moved on. The signature of a tag needs
/// the tag.
///
/// # Errors
/// [`RefetchError`], if the server does not give it.
pub(crate) async fn refetched(
    cache: &Cache,
    source: &SourceName,
    (revision, by_tag): (&str, bool),
    access: &Access,
) -> Result<Arc<Snapshot>, RefetchError> {
    let (name, commit) = parts(revision).ok_or(RefetchError::Malformed)?;
    let reference = match name.filter(|_| by_tag) {
        Some(name) if name.starts_with("refs/") => Reference::Name(name.to_owned()),
        Some(name) => Reference::Tag(name.to_owned()),
        None => Reference::Commit(commit.to_owned()),
    };
    let by_id = matches!(reference, Reference::Commit(_));
    let request = access.again(&source.namespace, reference);
    let fetched = cache.fetch(request).await;
    let fetched = fetched.map_err(|source_error| match source_error {
        source::Error::CommitRefused { .. } | source::Error::RefNotFound { .. } if by_id => {
            RefetchError::Refused {
                repository: source.name.to_string(),
                source: source_error,
            }
        }
        error => RefetchError::Fetch(error),
    })?;
    let snapshot = fetched.snapshot();
    if snapshot.revision.commit.to_string() != commit {
        return Err(RefetchError::TagMoved(name.unwrap_or_default().to_owned()));
    }
    Ok(Arc::new(snapshot.named(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_has_a_name_and_a_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let revision = |name: &str| format!("{name}sha1:{commit}");
        for (text, found) in [
            (revision("main@"), Some((Some("main"), commit))),
            (revision("feature@2@"), Some((Some("feature@2"), commit))),
            (
                revision("refs/pull/7/head@"),
                Some((Some("refs/pull/7/head"), commit)),
            ),
            (revision(""), Some((None, commit))),
            (commit.to_owned(), None),
            ("main".to_owned(), None),
            ("main@sha1:0123".to_owned(), None),
            (format!("main@sha1:{}", commit.to_uppercase()), None),
            (format!("main@sha256:{commit}"), None),
        ] {
            assert_eq!(parts(&text), found, "{text}");
        }
    }
}
