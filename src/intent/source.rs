//! What the driver of a source is told to do.

use std::sync::Arc;
use std::time::Duration;

/// The longest time limit of one fetch. A fetch holds one of the few places that all namespaces
/// share, so no resource may hold it for days.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// What the driver of a source is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceIntent {
    /// Counts the changes of what is asked for.
    pub generation: Option<i64>,
    /// Changes when somebody asks for a fetch now.
    pub requested_at: Option<String>,
    /// The source is to be deleted.
    pub deleting: bool,
    /// Time between two polls.
    pub interval: Duration,
    /// The longest that one fetch may take. A fetch ends after [`MAX_TIMEOUT`] in any case.
    pub timeout: Duration,
    /// Do not fetch. Says who suspended it and why.
    pub suspended: Option<String>,
    /// Which files are left out for all who use the source, in the syntax of gitignore.
    pub ignore: Arc<str>,
    /// The Secret with the credentials.
    pub credentials: Option<String>,
    /// The Secret with the proxy.
    pub proxy: Option<String>,
    /// The Secret with the webhook's token, where pushes are announced.
    pub webhook: Option<String>,
    /// Whose signature a revision needs.
    pub verify: Option<VerifyIntent>,
    /// Which pull requests to plan.
    pub pull_requests: Option<PullRequestsIntent>,
    /// What to fetch.
    pub git: GitIntent,
}

/// Which pull requests to plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestsIntent {
    /// The Provider of the host, in the namespace of the source.
    pub provider: String,
    /// Whether a request needs the label even if its branch is in the repository itself.
    pub only_labelled: bool,
    /// The label with which a plan is asked for.
    pub label: Option<String>,
    /// Time between two looks.
    pub interval: Duration,
    /// The most requests.
    pub limit: usize,
}

/// Which commits of which Git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitIntent {
    /// The URL of the repository.
    pub url: String,
    /// Which commit to follow.
    pub reference: GitReference,
    /// Fetch submodules too.
    pub recurse_submodules: bool,
    /// Fetch all commits that lead to the one that is followed.
    pub full_history: bool,
}

/// Which commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GitReference {
    /// The branch that the remote's HEAD names.
    Default,
    /// A branch, without `refs/heads/`.
    Branch(String),
    /// A tag, without `refs/tags/`. An annotated tag means the commit that it points at.
    Tag(String),
    /// The tag with the highest version in a range, in the syntax of Masterminds/semver.
    Semver(String),
    /// A full name: `refs/pull/7/head`.
    Name(String),
    /// A full commit id. The server must allow fetching it by id, or a branch or tag must point at
    /// it.
    Commit(String),
}

impl GitReference {
    /// Whether it follows tags.
    pub fn is_tag(&self) -> bool {
        match self {
            Self::Tag(_) | Self::Semver(_) => true,
            Self::Name(name) => name.starts_with("refs/tags/"),
            Self::Default | Self::Branch(_) | Self::Commit(_) => false,
        }
    }
}

/// Whose signature a revision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyIntent {
    /// What has to be signed.
    pub part: SignedPart,
    /// The Secret with the keys of those who may sign.
    pub signers: String,
}

/// What has to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedPart {
    /// The commit.
    Commit,
    /// The annotated tag that the reference names.
    Tag,
    /// Both.
    CommitAndTag,
}
