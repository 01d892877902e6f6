//! URLs in kustomizations: which ones name a folder of another Git repository, and at which tag or commit. The grammar is
//! that of kustomize (`api/internal/git/repospec.go`), in which a host may have no scheme and one text names a repository, a path
//! and a ref. So no parser of URLs reads it; the URL that comes out is parsed like every other one when it is fetched. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::inflate::joined;

/// The schemes that kustomize knows.
const SCHEMES: [&str; 4] = ["ssh://", "https://", "http://", "file://"];

/// The longest URL of a base, in bytes. A status and many messages have it.
const MAX_URL: usize = 2 << 10;

/// What stands for itself in the name of a tag that is part of a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'/');

/// How the name of a folder begins at which a tree has a remote base. Messages show it.
const FOLDER: &str = "remote base ";

/// A repository elsewhere, at a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RemoteBase {
    /// Its URL, without user information but for the user of SSH.
    pub url: String,
    /// What of it.
    pub pin: Pin,
    /// Whether its submodules belong to it.
    pub submodules: bool,
}

/// What a base is pinned to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pin {
    /// A tag, without `refs/tags/`.
    Tag(String),
    /// A commit: 40 hexadecimal digits.
    Commit(String),
}

/// A file or folder of a remote base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// The repository.
    pub(super) base: RemoteBase,
    /// The file or folder, from the root of the repository; empty for the root.
    pub(super) path: String,
}

/// Why a URL is no pinned base. Each error says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RemoteError {
    /// Nothing says what of the repository.
    #[error("it is not pinned: add ref= with a tag or a whole commit id to the URL")]
    Unpinned,
    /// A branch moves on.
    #[error("it follows {0}, which moves on: name a tag or a whole commit id")]
    Moving(String),
    /// A file of a web server.
    #[error(
        "it is a file on a web server, and no commit says what is in it: copy it into the repository, or name the folder of \
         its Git repository, with ref= a tag or a whole commit id"
    )]
    File,
    /// Somebody's password is in Git.
    #[error(
        "there are credentials in the URL: take them out of Git, and have new ones made; a base on the server of the \
         GitRepository is fetched with the credentials of that"
    )]
    Credentials,
    /// A scheme that nobody here speaks.
    #[error("its scheme is none that is fetched: name an https or ssh URL")]
    Scheme,
    /// Nobody writes this by hand.
    #[error("it has more than {MAX_URL} bytes")]
    TooLong,
    /// A path on somebody's disk.
    #[error("file:// names a disk: name an https or ssh URL")]
    Disk,
    /// No repository.
    #[error(
        "it names no repository: write https://HOST/REPOSITORY//FOLDER, with ref= a tag or a whole commit id"
    )]
    NoRepository,
    /// A path with `..`.
    #[error("its path leaves its repository")]
    Leaves,
}

impl RemoteBase {
    /// The base that a URL names, whatever its path.
    #[must_use]
    pub fn named(url: &str) -> Option<Self> {
        Some(remote(url)?.ok()?.base)
    }

    /// A URL that names it.
    #[must_use]
    pub fn named_url(&self) -> String {
        let submodules = if self.submodules {
            "&submodules=true"
        } else {
            ""
        };
        let name = utf8_percent_encode(self.pin.name(), PLAIN);
        format!("{}//?ref={name}{submodules}", self.url)
    }

    /// The folder at which a tree has its files. No two bases have the same.
    #[must_use]
    pub fn folder(&self) -> String {
        let place = match self.url.split_once("://") {
            Some(("https", place)) => place.to_owned(),
            Some((scheme, place)) => format!("{scheme} {place}"),
            None => self.url.clone(),
        };
        let submodules = match self.submodules {
            true => " with submodules",
            false => "",
        };
        // A space is in no URL and in no name of a tag.
        format!("{FOLDER}{place} at {}{submodules}", self.pin.name())
    }

    /// The base whose files are in this folder of a tree, of those in `all`.
    pub(super) fn around<'b>(
        folder: &str,
        mut all: impl Iterator<Item = &'b Self>,
    ) -> Option<&'b Self> {
        if !folder.starts_with(FOLDER) {
            return None;
        }
        all.find(|base| {
            let rest = folder.strip_prefix(&*base.folder());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// `https://git.example/a at v1`.
impl std::fmt::Display for RemoteBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.url, self.pin.name())
    }
}

impl Pin {
    /// The tag or the commit.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tag(name) | Self::Commit(name) => name,
        }
    }

    fn of(name: &str) -> Result<Self, RemoteError> {
        if name.is_empty() {
            return Err(RemoteError::Unpinned);
        }
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            return Err(RemoteError::Moving(format!("branch {branch}")));
        }
        let tag = name.strip_prefix("refs/tags/").unwrap_or(name);
        if name == "HEAD" || tag.starts_with("refs/") {
            return Err(RemoteError::Moving(name.to_owned()));
        }
        let is_whole = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(match is_whole {
            true => Self::Commit(name.to_ascii_lowercase()),
            false => Self::Tag(tag.to_owned()),
        })
    }
}

/// What a path in a kustomization names elsewhere. None for a path of the same repository.
pub(super) fn remote(reference: &str) -> Option<Result<Remote, RemoteError>> {
    if reference.contains('\n') || reference.starts_with('/') {
        return None;
    }
    let (place, query) = reference.split_once('?').unwrap_or((reference, ""));
    let place = after(place, "git::").unwrap_or(place);
    let mut schemes = SCHEMES.into_iter();
    let (scheme, rest) = schemes
        .find_map(|scheme| Some((scheme, after(place, scheme)?)))
        .unwrap_or(("", place));
    if scheme == "file://" {
        return Some(Err(RemoteError::Disk));
    }
    if scheme.is_empty() && names_scheme(place) {
        return Some(Err(RemoteError::Scheme));
    }
    let (user, rest) = user(rest);
    if scheme.is_empty() && user.is_none() && has_password(place) {
        return Some(Err(RemoteError::Credentials));
    }
    let github = ["github.com/", "github.com:"];
    let is_github = github.iter().any(|host| after(rest, host).is_some());
    let end = match (scheme, is_github) {
        (_, true) => rest.find(['/', ':']),
        // Without a user or a colon it is a path.
        ("", false) => user
            .and(rest.find(':'))
            .filter(|at| !rest[..*at].contains('/')),
        (_, false) => rest.find('/'),
    };
    let Some(end) = end.filter(|at| *at > 0) else {
        return (!scheme.is_empty()).then_some(Err(RemoteError::NoRepository));
    };
    let server = Server {
        scheme,
        user,
        host: &rest[..end],
        is_github,
    };
    let path = match is_github && !scheme.is_empty() {
        true => after_port(&rest[end..]),
        false => &rest[end + 1..],
    };
    Some(server.remote(path, query))
}

/// Whether a text begins with a scheme: `git+ssh://…`, `s3::https://…`.
fn names_scheme(place: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':');
    let scheme = place.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(fits))
}

/// Whether a text is `user:password@host:path`.
fn has_password(place: &str) -> bool {
    let Some((login, rest)) = place.split_once('@') else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    login.contains(':') && !login.contains('/') && host.contains(':')
}

/// The path after GitHub's name. kustomize drops a port there.
fn after_port(rest: &str) -> &str {
    let after = &rest[1..];
    let path = after.trim_start_matches(|c: char| c.is_ascii_digit());
    match path.strip_prefix('/') {
        Some(path) if rest.starts_with(':') => path,
        _ => after,
    }
}

/// What stands before the path of a repository.
struct Server<'r> {
    /// Empty for `user@host:path`, and for `github.com/…`.
    scheme: &'r str,
    user: Option<&'r str>,
    host: &'r str,
    is_github: bool,
}

/// The parts of a URL.
struct Parts<'r> {
    host: &'r str,
    repository: &'r str,
    path: &'r str,
    /// The ref.
    name: &'r str,
}

impl<'r> Server<'r> {
    fn remote(&self, rest: &'r str, query: &str) -> Result<Remote, RemoteError> {
        // A user alone has been cut off.
        if self.host.contains('@') {
            return Err(RemoteError::Credentials);
        }
        let query = Query::of(query);
        let parts = self.parts(rest, &query.reference)?;
        let is_blank = |c: char| c.is_whitespace() || c.is_control();
        let Parts {
            host,
            repository,
            path,
            name,
        } = parts;
        let repository = repository.trim_matches('/');
        let is_step = |part: &str| matches!(part, "" | "." | "..");
        if [host, repository, path, name]
            .iter()
            .any(|part| part.contains(is_blank))
            || repository.split('/').any(is_step)
        {
            return Err(RemoteError::NoRepository);
        }
        if [host, repository, path, name]
            .map(str::len)
            .iter()
            .sum::<usize>()
            > MAX_URL
        {
            return Err(RemoteError::TooLong);
        }
        let pin = Pin::of(name)?;
        if pin.name().split('/').any(is_step) {
            return Err(RemoteError::NoRepository);
        }
        Ok(Remote {
            base: RemoteBase {
                url: self.url(host, repository),
                pin,
                submodules: query.submodules,
            },
            path: joined("", path.trim_start_matches('/')).ok_or(RemoteError::Leaves)?,
        })
    }

    fn parts<'p>(&self, rest: &'p str, reference: &'p str) -> Result<Parts<'p>, RemoteError>
    where
        'r: 'p,
    {
        let marked = marked(rest);
        let is_web = self.scheme.starts_with("http");
        if marked.is_none() && is_web && reference.is_empty() && is_manifest(rest) {
            return self.raw(rest).ok_or(RemoteError::File);
        }
        let split = marked.or_else(|| first_two(rest));
        let (repository, path) = split.ok_or(RemoteError::NoRepository)?;
        Ok(Parts {
            host: self.host,
            repository,
            path,
            name: reference,
        })
    }

    /// A file as Git hosts give it to browsers: `ORG/REPO/REF/PATH` at raw.githubusercontent.com, `ORG/REPO/raw/REF/PATH`
    /// at GitHub, `GROUP/REPO/-/raw/REF/PATH` at a GitLab.
    fn raw<'p>(&self, rest: &'p str) -> Option<Parts<'p>>
    where
        'r: 'p,
    {
        let is_raw_github = self.host.eq_ignore_ascii_case("raw.githubusercontent.com");
        let (host, repository, rest) = match rest.split_once("/-/raw/") {
            Some((repository, rest)) => (self.host, repository, rest),
            None => {
                let (repository, rest) = first_two(rest)?;
                let rest = rest.strip_prefix('/')?;
                match (is_raw_github, self.is_github) {
                    (true, _) => ("github.com", repository, rest),
                    (_, true) => (self.host, repository, rest.strip_prefix("raw/")?),
                    _ => return None,
                }
            }
        };
        // `refs/tags/v1` has two slashes of its own.
        let own = if rest.starts_with("refs/") { 2 } else { 0 };
        let (end, _) = rest.match_indices('/').nth(own)?;
        Some(Parts {
            host,
            repository,
            path: &rest[end + 1..],
            name: &rest[..end],
        })
    }

    fn url(&self, host: &str, repository: &str) -> String {
        match (self.scheme, self.user, self.is_github) {
            ("ssh://", user, true) => format!("{}@{host}:{repository}", user.unwrap_or("git")),
            ("ssh://", Some(user), false) => format!("ssh://{user}@{host}/{repository}"),
            ("ssh://", None, false) => format!("ssh://{host}/{repository}"),
            ("", Some(user), _) => format!("{user}@{host}:{repository}"),
            ("http://", ..) => format!("http://{host}/{repository}"),
            // A user of https is dropped: credentials are in no URL.
            _ => format!("https://{host}/{repository}"),
        }
    }
}

/// What counts of a query.
struct Query {
    reference: String,
    submodules: bool,
}

impl Query {
    fn of(text: &str) -> Self {
        let filled = |wanted: &str| {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(name, _)| *name == wanted);
            let value = values.next()?.1.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            (!value.is_empty()).then(|| value.into_owned())
        };
        let reference = filled("ref").or_else(|| filled("version"));
        Self {
            reference: reference.unwrap_or_default(),
            submodules: filled("submodules")
                .is_some_and(|value| matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True")),
        }
    }
}

/// Repository and path, where the URL itself says where the repository ends.
fn marked(rest: &str) -> Option<(&str, &str)> {
    if let Some(at) = rest.find("_git/") {
        // Azure DevOps: the next part is the repository.
        let next = at + "_git/".len();
        let end = rest[next..].find('/');
        return Some(rest.split_at(end.map_or(rest.len(), |end| next + end)));
    }
    if let Some((repository, path)) = rest.split_once("//") {
        return Some((repository, path));
    }
    let ends = rest
        .match_indices(".git")
        .map(|(at, suffix)| at + suffix.len());
    let is_end = |end: &usize| rest[*end..].is_empty() || rest[*end..].starts_with('/');
    Some(rest.split_at(ends.into_iter().find(is_end)?))
}

/// Repository and path, where the repository has an owner and a name.
fn first_two(rest: &str) -> Option<(&str, &str)> {
    let owner = rest.find('/')?;
    let end = rest[owner + 1..].find('/');
    Some(rest.split_at(end.map_or(rest.len(), |end| owner + 1 + end)))
}

fn is_manifest(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|suffix| path.ends_with(suffix))
}

/// The user of a URL, and the rest. A password is no part of a user.
fn user(rest: &str) -> (Option<&str>, &str) {
    let is_user = |user: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        user.starts_with(|c: char| c.is_ascii_alphabetic()) && user.chars().all(fits)
    };
    match rest.split_once('@') {
        Some((user, after)) if is_user(user) => (Some(user), after),
        _ => (None, rest),
    }
}

/// What follows a prefix of any case.
fn after<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let start = text.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests;
