//! Why a fetch or a read failed.

use std::time::Duration;

use crate::api::Reason;
use crate::content::{ReadError, ReadFault};
use crate::text;

/// Why a revision could not be fetched or read. No message holds user information or the query of a
/// URL. A message does not repeat its cause, so print the whole chain.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    #[error("{url} is not an https, http or ssh URL of a repository")]
    InvalidUrl {
        /// As given, redacted.
        url: String,
    },
    /// The branch, tag or ref has an invalid name, or the commit is not 40 hexadecimal digits.
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
        /// Which part is wrong, and why.
        source: Reported,
    },
    /// The remote cannot be reached, or the connection broke.
    #[error("cannot fetch {url}")]
    Unreachable {
        /// Redacted.
        url: String,
        /// The text of libgit2.
        source: Reported,
    },
    /// The remote wants other credentials (HTTP 401 or 403).
    #[error("{url} refuses the credentials")]
    Authentication {
        /// Redacted.
        url: String,
        /// The text of libgit2.
        source: Reported,
    },
    /// The credentials are for another kind of URL, or an SSH URL has none.
    #[error("{url} needs {needed}")]
    WrongCredentials {
        /// Redacted.
        url: String,
        /// The missing keys of a Secret.
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
    /// The server's certificate is not trusted.
    #[error("the certificate of {url} is refused")]
    Certificate {
        /// Redacted.
        url: String,
        /// Why, and how to solve it.
        source: Reported,
    },
    /// There is no repository at the URL (HTTP 404).
    #[error("no repository at {url}")]
    RepositoryNotFound {
        /// Redacted.
        url: String,
        /// The text of libgit2.
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
    /// The remote sends a commit by its id only if a branch or tag points at it.
    #[error(
        "{url} does not allow fetching {reference} by its id, and no branch or tag points at it"
    )]
    CommitRefused {
        /// Redacted.
        url: String,
        /// `commit 1234…`.
        reference: String,
    },
    /// The remote sends a commit only with its full history.
    #[error("{url} does not send a commit without its history: set spec.fullHistory to true")]
    ShallowRefused {
        /// Redacted.
        url: String,
    },
    /// A submodule that may not be fetched, or whose URL is not known.
    #[error("submodule {path}: {problem}")]
    Submodule {
        /// The submodule's path in the revision, or the path of `.gitmodules`.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A submodule that could not be fetched.
    #[error("submodule {path}")]
    InSubmodule {
        /// The submodule's path in the revision.
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
    /// The fetch took longer than its time limit.
    #[error("fetching {url} took longer than {}s", after.as_secs_f32())]
    Timeout {
        /// Redacted.
        url: String,
        /// The time limit.
        after: Duration,
    },
    /// The remote sent more than the limit of one fetch.
    #[error("{url} is larger than {limit} bytes")]
    RepositoryTooLarge {
        /// Redacted.
        url: String,
        /// In bytes.
        limit: u64,
    },
    /// The remote sends more of something than its limit allows.
    #[error("{url} {excess}")]
    RemoteTooLarge {
        /// Redacted.
        url: String,
        /// What, and its limit.
        excess: Excess,
    },
    /// The remote sends its data too slowly.
    #[error("{url} is too slow: it sent less than {bytes} bytes in {}s", time.as_secs_f32())]
    TooSlow {
        /// Redacted.
        url: String,
        /// The least number of bytes in this time.
        bytes: u64,
        /// Time that was spent waiting for data.
        time: Duration,
    },
    /// The budget of the cache has no room for the copy.
    #[error("the cache has no room for {url}: {budget} may have {limit} bytes ({flag})")]
    NoRoom {
        /// Redacted.
        url: String,
        /// Whose copies.
        budget: &'static str,
        /// In bytes.
        limit: u64,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The fetch ended because other namespaces waited for its place. It is tried again.
    #[error("the fetch of {url} gave way to another namespace")]
    GaveWay {
        /// Redacted.
        url: String,
    },
    /// A file is larger than the limit.
    #[error("{file} has {size} bytes, more than the limit of {limit}")]
    FileTooLarge {
        /// Its path; "the file" where it was asked for by its content.
        file: String,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// A folder has more files than the limit of one listing.
    #[error("{path} holds more than {limit} files and folders")]
    TooManyFiles {
        /// The folder.
        path: String,
        /// Entries.
        limit: usize,
    },
    /// The paths in a folder are longer than the limit of one listing.
    #[error("the paths of the files in {path} have more than {limit} bytes together")]
    PathsTooLong {
        /// The folder.
        path: String,
        /// In bytes.
        limit: usize,
    },
    /// Folders nest deeper than the limit of a listing.
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
    /// The path has a character that no file name can have.
    #[error(
        "path {path} has a NUL character (\\u{{0}}), which no name of a file can have: remove it from the path"
    )]
    PathWithNul {
        /// As given, with the character as a number.
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
    /// A part of the path is not a folder.
    #[error("path {path} is not a folder: {part} is a {kind}")]
    NotAFolder {
        /// As given.
        path: String,
        /// The path of that part.
        part: String,
        /// `file` or `submodule`. The text for a submodule also says what to do.
        kind: &'static str,
    },
    /// A symbolic link points out of the repository.
    #[error("symbolic link {link} leaves the repository")]
    LinkLeaves {
        /// The link's path.
        link: String,
    },
    /// The target of a symbolic link does not exist.
    #[error("symbolic link {link} points at {target}, which is not in the revision")]
    LinkDangles {
        /// The link's path.
        link: String,
        /// The link's target.
        target: String,
    },
    /// Symbolic links form a loop.
    #[error("symbolic link {link} is part of a loop")]
    LinkLoop {
        /// The link's path.
        link: String,
    },
    /// The object database is damaged. The next fetch makes a new one.
    #[error("the cached copy is damaged; it is fetched anew")]
    Corrupt {
        /// The text of libgit2.
        source: Reported,
    },
    /// The cache folder cannot be used, because of permissions or a full disk.
    #[error("cannot {action} in the cache")]
    Cache {
        /// The failed action, as a verb with its object.
        action: &'static str,
        /// The text of the operating system.
        source: Reported,
    },
    /// A folder on disk cannot be read.
    #[error("cannot read {path}")]
    Folder {
        /// The folder or the file in it.
        path: String,
        /// The text of the operating system.
        source: Reported,
    },
    /// A path on disk that is not a folder.
    #[error("{path} is not a folder")]
    NotADirectory {
        /// As given.
        path: String,
    },
    /// A folder on disk that is not the root of a clone.
    #[error("{path} is not the root of a clone")]
    Clone {
        /// As given.
        path: String,
        /// The text of libgit2.
        source: Reported,
    },
    /// A clone on disk does not have a commit.
    #[error("the clone at {path} has no commit {revision}: fetch it first, or name another one")]
    NotInClone {
        /// As given.
        path: String,
        /// As given.
        revision: String,
        /// The text of libgit2.
        source: Reported,
    },
    /// A file changed after it was listed.
    #[error("{file} changed while it was read")]
    Changed {
        /// The file.
        file: String,
    },
    /// The operator is stopping, or the fetch panicked.
    #[error("the fetch was interrupted")]
    Interrupted,
}

impl Error {
    /// The condition reason for this error.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidUrl { .. }
            | Self::InvalidReference { .. }
            | Self::InvalidRange { .. }
            | Self::PathLeaves { .. }
            | Self::PathWithNul { .. }
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
            | Self::RemoteTooLarge { .. }
            | Self::NoRoom { .. }
            | Self::FileTooLarge { .. }
            | Self::TooManyFiles { .. }
            | Self::PathsTooLong { .. }
            | Self::TooDeep { .. } => Reason::TooLarge,
            Self::PathNotFound { .. } | Self::NotAFolder { .. } => Reason::PathNotFound,
            Self::LinkLeaves { .. } | Self::LinkDangles { .. } | Self::LinkLoop { .. } => {
                Reason::InvalidManifest
            }
            Self::Unreachable { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Timeout { .. }
            | Self::TooSlow { .. }
            | Self::GaveWay { .. }
            | Self::Corrupt { .. }
            | Self::Cache { .. }
            | Self::Folder { .. }
            | Self::NotADirectory { .. }
            | Self::Clone { .. }
            | Self::NotInClone { .. }
            | Self::Changed { .. }
            | Self::Interrupted => Reason::FetchFailed,
        }
    }

    /// What the error means to a reader of files. None if the error is about a fetch.
    fn read_fault(&self) -> Option<ReadFault> {
        match self {
            Self::PathNotFound { .. } | Self::NotAFolder { .. } => Some(ReadFault::PathNotFound),
            Self::FileTooLarge { .. }
            | Self::TooManyFiles { .. }
            | Self::PathsTooLong { .. }
            | Self::TooDeep { .. } => Some(ReadFault::TooLarge),
            Self::Corrupt { .. } | Self::Changed { .. } => Some(ReadFault::Damaged),
            Self::PathLeaves { .. } | Self::PathWithNul { .. } => Some(ReadFault::InvalidPath),
            Self::LinkLeaves { .. } | Self::LinkDangles { .. } | Self::LinkLoop { .. } => {
                Some(ReadFault::Unusable)
            }
            _ => None,
        }
    }

    /// Whether a fetch of the same revision may solve it without a change by a person.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// Whether the fetch, or that of a submodule, ended only because other namespaces waited.
    pub(super) fn gave_way(&self) -> bool {
        match self {
            Self::GaveWay { .. } => true,
            Self::InSubmodule { source, .. } => source.gave_way(),
            _ => false,
        }
    }

    /// An error of the operating system in the cache folder.
    pub(super) fn from_io(action: &'static str, error: &std::io::Error) -> Self {
        Self::Cache {
            action,
            source: Reported::new(&error.to_string()),
        }
    }
}

impl From<Error> for ReadError {
    /// An error that is about neither a path nor a file is about the local storage.
    fn from(error: Error) -> Self {
        let fault = error.read_fault().unwrap_or(ReadFault::Unavailable);
        Self::new(fault, error)
    }
}

/// What a remote sends too much of. Completes a sentence that begins with its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// References.
    #[error("has more than {limit} references")]
    References {
        /// References.
        limit: u64,
    },
    /// The list of references.
    #[error("has a list of references of more than {limit} bytes")]
    ReferenceList {
        /// In bytes.
        limit: u64,
    },
    /// Messages, or other packets that are no part of the pack.
    #[error("sends messages of more than {limit} bytes")]
    Messages {
        /// In bytes.
        limit: u64,
    },
    /// Objects in one fetch.
    #[error("sends {count} objects in one fetch, more than the limit of {limit}")]
    Objects {
        /// Objects that the server announces.
        count: u64,
        /// Objects.
        limit: u64,
    },
    /// A commit, tree or tag.
    #[error("sends a {kind} of {size} bytes, more than the limit of {limit}")]
    Object {
        /// `commit`, `tree` or `tag`.
        kind: &'static str,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// An object that is sent as a difference to another one, or that other one.
    #[error(
        "sends a file of {size} bytes as a difference to another one; the limit for both is {limit} \
         bytes: have the server store such files whole (core.bigFileThreshold, or -delta in \
         .gitattributes)"
    )]
    Delta {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// Work for objects that are sent as differences.
    #[error(
        "sends objects as differences in an order in which it takes more than {} seconds of processor time to find what they \
         differ from: repack the repository on the server (git repack -a -d -f)",
        limit.as_secs()
    )]
    Search {
        /// The limit, beside the time for their bytes.
        limit: Duration,
    },
    /// All objects of one fetch.
    #[error("sends objects that have more than {limit} bytes together")]
    Inflated {
        /// In bytes, uncompressed.
        limit: u64,
    },
}

/// The cause of an [`Error`]: a text of libgit2 or the operating system, redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported(pub(super) String);

impl Reported {
    /// The longest cause, in bytes. It has a limit because a remote chooses some of the text.
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
