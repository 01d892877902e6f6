//! Whether a push is about a followed repository and ref.

use super::RepositoryUrl;

/// What was pushed, or which pull requests changed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// All names of the repository in the payload. At least one.
    pub repository: Vec<Name>,
    /// The refs that moved.
    pub refs: Refs,
    /// The repository's default branch, without `refs/heads/`.
    pub default_branch: Option<String>,
}

/// One name of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A URL, for cloning or for a browser.
    Url(RepositoryUrl),
    /// A path on a host that the payload does not name.
    Path(String),
}

/// The refs that were created, updated or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refs {
    /// The payload does not say.
    Unknown,
    /// Full names, as in `refs/heads/main`.
    Named(Vec<String>),
    /// None: a pull request was opened, changed, labelled or closed.
    OfRequest,
}

/// Which refs can change a repository's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The branch that the remote's HEAD names.
    DefaultBranch,
    /// A branch, without `refs/heads/`.
    Branch(String),
    /// A tag, without `refs/tags/`.
    Tag(String),
    /// Any tag, because a version range chooses among them.
    Tags,
    /// A full ref name.
    Name(String),
    /// A commit. No push changes it.
    Commit,
}

impl Push {
    /// Whether the push is about this repository.
    pub fn is_of(&self, url: &RepositoryUrl) -> bool {
        self.repository.iter().any(|name| match name {
            Name::Url(named) => named == url,
            Name::Path(path) => url.has_path(path),
        })
    }

    /// Whether the push moved a followed ref. If the payload has no default branch, any branch may
    /// be the default branch.
    pub fn moves(&self, follows: &Follows) -> bool {
        let refs = match (&self.refs, follows) {
            (_, Follows::Commit) => return false,
            (Refs::OfRequest, _) => return false,
            (Refs::Unknown, _) => return true,
            (Refs::Named(refs), _) => refs,
        };
        let is_followed = |name: &str| {
            let branch = name.strip_prefix("refs/heads/");
            let tag = name.strip_prefix("refs/tags/");
            match follows {
                Follows::DefaultBranch => branch.is_some_and(|branch| {
                    let default = self.default_branch.as_deref();
                    default.is_none_or(|default| default == branch)
                }),
                Follows::Branch(followed) => branch == Some(followed),
                Follows::Tag(followed) => tag == Some(followed),
                Follows::Tags => tag.is_some(),
                Follows::Name(followed) => name == followed,
                Follows::Commit => false,
            }
        };
        refs.iter().any(|name| is_followed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_followed_refs_count() {
        let branch = |name: &str| Follows::Branch(name.to_owned());
        let tag = |name: &str| Follows::Tag(name.to_owned());
        let name = |name: &str| Follows::Name(name.to_owned());
        for (refs, follows, expected) in [
            (&["refs/heads/main"][..], branch("main"), true),
            (&["refs/heads/Main"], branch("main"), false),
            (&["refs/heads/main2"], branch("main"), false),
            (&["refs/heads/team/main"], branch("main"), false),
            (&["refs/tags/main"], branch("main"), false),
            (&["main"], branch("main"), false),
            (&["refs/heads/dev", "refs/heads/main"], branch("main"), true),
            (&[], branch("main"), false),
            (&["refs/tags/v1"], tag("v1"), true),
            (&["refs/tags/v2"], tag("v1"), false),
            (&["refs/heads/v1"], tag("v1"), false),
            (&["refs/tags/v2"], Follows::Tags, true),
            (&["refs/heads/v2"], Follows::Tags, false),
            (&["refs/pull/7/head"], name("refs/pull/7/head"), true),
            (&["refs/pull/8/head"], name("refs/pull/7/head"), false),
            (&["refs/heads/trunk"], Follows::DefaultBranch, true),
            (&["refs/heads/main"], Follows::DefaultBranch, false),
            (&["refs/tags/trunk"], Follows::DefaultBranch, false),
            (&["refs/heads/main"], Follows::Commit, false),
        ] {
            let push = Push {
                repository: Vec::new(),
                refs: Refs::Named(refs.iter().map(|name| (*name).to_owned()).collect()),
                default_branch: Some("trunk".to_owned()),
            };
            assert_eq!(push.moves(&follows), expected, "{refs:?} {follows:?}");
        }
    }

    #[test]
    fn an_unnamed_ref_may_be_any_ref() {
        let mut push = Push {
            repository: Vec::new(),
            refs: Refs::Named(vec!["refs/heads/any".to_owned()]),
            default_branch: None,
        };
        assert!(push.moves(&Follows::DefaultBranch));
        push.refs = Refs::Unknown;
        assert!(push.moves(&Follows::DefaultBranch));
        assert!(push.moves(&Follows::Tags));
        assert!(!push.moves(&Follows::Commit));
        push.refs = Refs::OfRequest;
        assert!(!push.moves(&Follows::DefaultBranch));
    }
}
