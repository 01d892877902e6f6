//! Why a fetch or a read failed.

use std::time::Duration;

use crate::api::Reason;
use crate::content::{ReadError, ReadFault};
use crate::text;

/// Why a revision could not be fetched or read. No message holds user information or the query of
/// a URL. A message does not repeat its cause: print the whole chain.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    #[error("{url} is not an https, http or ssh URL of a repository")]
    InvalidUrl {
        /// As given, redacted.
        url: String,
    },
    /// The branch, tag or ref has an impossible name, or the commit is not 40 hexadecimal digits.
    #[error("{reference} is not a valid reference")]
    InvalidReference {
        /// As given.
        reference: String,
    },
    /// The range of versions cannot be read.
    #[error("{range} is not a range of versions")]
    InvalidRange {
        /// As given.
        range: String,
        /// Which part of it, and why.
        source: Reported,
    },
    /// The remote cannot be reached, or broke off.
    #[error("cannot fetch {url}")]
    Unreachable {
        /// Redacted.
        url: String,
        /// In libgit2's words.
        source: Reported,
    },
    /// The remote wants other credentials (HTTP 401 or 403).
    #[error("{url} refuses the credentials")]
    Authentication {
        /// Redacted.
        url: String,
        /// In libgit2's words.
        source: Reported,
    },
    /// The credentials are for another kind of URL; SSH always needs some.
    #[error("{url} needs {needed}")]
    WrongCredentials {
        /// Redacted.
        url: String,
        /// Which, by the keys of a Secret.
        needed: &'static str,
    },
    /// The server's SSH host key is unknown, changed or revoked.
    #[error("the host key of {url} is refused")]
    HostKey {
        /// Redacted.
        url: String,
        /// Why, with the key's fingerprint.
        source: Reported,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of {url} is refused")]
    Certificate {
        /// Redacted.
        url: String,
        /// Why, and what helps.
        source: Reported,
    },
    /// There is no repository at the URL (HTTP 404).
    #[error("no repository at {url}")]
    RepositoryNotFound {
        /// Redacted.
        url: String,
        /// In libgit2's words.
        source: Reported,
    },
    /// The remote has no such branch, tag or commit.
    #[error("{url} has no {reference}")]
    RefNotFound {
        /// Redacted.
        url: String,
        /// `branch main`, `tag v1.0`, `tag in the range ^1`, `commit 1234…`, `default branch`.
        reference: String,
    },
    /// The remote hands out a commit by its id only if a branch or tag points at it.
    #[error(
        "{url} does not allow fetching {reference} by its id, and no branch or tag points at it"
    )]
    CommitRefused {
        /// Redacted.
        url: String,
        /// `commit 1234…`.
        reference: String,
    },
    /// The remote hands out a commit only with all that led to it.
    #[error("{url} hands out no commit without its history: set spec.fullHistory to true")]
    ShallowRefused {
        /// Redacted.
        url: String,
    },
    /// A submodule that may not be fetched, or that nothing says where to fetch.
    #[error("submodule {path}: {problem}")]
    Submodule {
        /// Where it is in the revision, or the file that names submodules.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A submodule that could not be fetched.
    #[error("submodule {path}")]
    InSubmodule {
        /// Where it is in the revision.
        path: String,
        /// Why.
        source: Box<Self>,
    },
    /// The reference points at a file, a folder or a tag where a commit is needed.
    #[error("{reference} of {url} is not a commit")]
    NotACommit {
        /// Redacted.
        url: String,
        /// `branch main`, `tag v1.0`, `commit 1234…`.
        reference: String,
    },
    /// The fetch took longer than it may.
    #[error("fetching {url} took longer than {}s", after.as_secs_f32())]
    Timeout {
        /// Redacted.
        url: String,
        /// The bound.
        after: Duration,
    },
    /// The remote sent more than one fetch may bring.
    #[error("{url} is larger than {limit} bytes")]
    RepositoryTooLarge {
        /// Redacted.
        url: String,
        /// In bytes.
        limit: u64,
    },
    /// A file is larger than what is read.
    #[error("{file} has {size} bytes, more than the limit of {limit}")]
    FileTooLarge {
        /// Its path; "the file" where it was asked for by its content.
        file: String,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// A folder has more files than one listing holds.
    #[error("{path} holds more than {limit} files and folders")]
    TooManyFiles {
        /// The folder.
        path: String,
        /// Entries.
        limit: usize,
    },
    /// Folders are nested deeper than a listing goes.
    #[error("{path} is nested more than {limit} folders deep")]
    TooDeep {
        /// The folder.
        path: String,
        /// Folders.
        limit: usize,
    },
    /// The path leaves the repository.
    #[error("path {path} leaves the repository")]
    PathLeaves {
        /// As given.
        path: String,
    },
    /// The path is not in the revision.
    #[error("path {path} is not in {revision}")]
    PathNotFound {
        /// As given.
        path: String,
        /// The revision.
        revision: String,
    },
    /// A part of the path is neither a folder nor, at its end, a file.
    #[error("path {path} is not a folder: {part} is a {kind}")]
    NotAFolder {
        /// As given.
        path: String,
        /// The part.
        part: String,
        /// `file` or `submodule`, the latter with what to do.
        kind: &'static str,
    },
    /// A symbolic link points out of the repository.
    #[error("symbolic link {link} leaves the repository")]
    LinkLeaves {
        /// The link's path.
        link: String,
    },
    /// A symbolic link points at nothing.
    #[error("symbolic link {link} points at {target}, which is not in the revision")]
    LinkDangles {
        /// The link's path.
        link: String,
        /// What the link says.
        target: String,
    },
    /// Symbolic links go round in a circle.
    #[error("symbolic link {link} is part of a loop")]
    LinkLoop {
        /// The link's path.
        link: String,
    },
    /// The object database is damaged; the next fetch makes it anew.
    #[error("the cached copy is damaged; it is fetched anew")]
    Corrupt {
        /// In libgit2's words.
        source: Reported,
    },
    /// The cache folder cannot be used: permissions, or a full disk.
    #[error("cannot {action} in the cache")]
    Cache {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// In the operating system's words.
        source: Reported,
    },
    /// A folder on disk cannot be read.
    #[error("cannot read {path}")]
    Folder {
        /// The folder or the file in it.
        path: String,
        /// In the operating system's words.
        source: Reported,
    },
    /// A folder on disk that is none.
    #[error("{path} is not a folder")]
    NotADirectory {
        /// As given.
        path: String,
    },
    /// A file that is not as it was listed.
    #[error("{file} changed while it was read")]
    Changed {
        /// The file.
        file: String,
    },
    /// The operator is stopping, or the fetch died of a defect.
    #[error("the fetch was interrupted")]
    Interrupted,
}

impl Error {
    /// The closed vocabulary's word for this.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidUrl { .. }
            | Self::InvalidReference { .. }
            | Self::InvalidRange { .. }
            | Self::PathLeaves { .. }
            | Self::ShallowRefused { .. }
            | Self::Submodule { .. }
            | Self::NotACommit { .. } => Reason::InvalidSpec,
            Self::Authentication { .. }
            | Self::WrongCredentials { .. }
            | Self::HostKey { .. }
            | Self::Certificate { .. } => Reason::AuthenticationFailed,
            Self::InSubmodule { source, .. } => source.reason(),
            Self::RefNotFound { .. } | Self::CommitRefused { .. } => Reason::RefNotFound,
            Self::RepositoryTooLarge { .. }
            | Self::FileTooLarge { .. }
            | Self::TooManyFiles { .. }
            | Self::TooDeep { .. } => Reason::TooLarge,
            Self::PathNotFound { .. } | Self::NotAFolder { .. } => Reason::PathNotFound,
            Self::LinkLeaves { .. } | Self::LinkDangles { .. } | Self::LinkLoop { .. } => {
                Reason::InvalidManifest
            }
            Self::Unreachable { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Timeout { .. }
            | Self::Corrupt { .. }
            | Self::Cache { .. }
            | Self::Folder { .. }
            | Self::NotADirectory { .. }
            | Self::Changed { .. }
            | Self::Interrupted => Reason::FetchFailed,
        }
    }

    /// What it means to who reads files. None where it is about a fetch.
    fn read_fault(&self) -> Option<ReadFault> {
        match self {
            Self::PathNotFound { .. } | Self::NotAFolder { .. } => Some(ReadFault::PathNotFound),
            Self::FileTooLarge { .. } | Self::TooManyFiles { .. } | Self::TooDeep { .. } => {
                Some(ReadFault::TooLarge)
            }
            Self::Corrupt { .. } | Self::Changed { .. } => Some(ReadFault::Damaged),
            Self::PathLeaves { .. } => Some(ReadFault::InvalidPath),
            Self::LinkLeaves { .. } | Self::LinkDangles { .. } | Self::LinkLoop { .. } => {
                Some(ReadFault::Unusable)
            }
            _ => None,
        }
    }

    /// Whether a fetch of the same revision may put it right, without any change by a person.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// What an error of the operating system in the cache folder means.
    pub(super) fn from_io(action: &'static str, error: &std::io::Error) -> Self {
        Self::Cache {
            action,
            source: Reported::new(&error.to_string()),
        }
    }
}

impl From<Error> for ReadError {
    /// What is not about a path or a file is about the local storage.
    fn from(error: Error) -> Self {
        let fault = error.read_fault().unwrap_or(ReadFault::Unavailable);
        Self::new(fault, error)
    }
}

/// What lies below an [`Error`], in the words of libgit2 or the operating system, redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported(pub(super) String);

impl Reported {
    /// The longest cause, in bytes; a remote chooses some of the text.
    const MAX: usize = 300;

    /// `words`, redacted and shortened.
    pub(super) fn new(words: &str) -> Self {
        Self(text::shorten(
            &text::printable(&text::redact(words)),
            Self::MAX,
        ))
    }
}

impl std::fmt::Display for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reported {}
