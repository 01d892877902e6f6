//! One connection to a remote: what it has, and a shallow download of what is wanted.

use std::cell::Cell;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, Direction, FetchOptions, Oid, ProxyOptions, RemoteCallbacks, RemoteHead,
    RemoteRedirect, Repository,
};

use super::cache::Reference;
use super::credentials::Credentials;
use super::error::Error;
use super::{generation, url};

/// What is asked of a remote.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) url: &'a str,
    pub(super) reference: &'a Reference,
    pub(super) credentials: &'a Credentials,
    pub(super) deadline: Instant,
    /// For the message when the deadline has passed.
    pub(super) timeout: Duration,
    pub(super) max_bytes: u64,
}

/// Where the wanted reference points on the remote.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `refs/heads/main`, `refs/tags/v1.0`, or a commit id that no reference has.
    pub(super) source: String,
    /// What a revision is called by: `main`, `v1.0`, nothing for a commit.
    pub(super) name: Option<String>,
    /// The commit, with an annotated tag peeled.
    pub(super) commit: Oid,
}

/// Why a download was broken off by ourselves.
#[derive(Clone, Copy)]
enum Stop {
    Late,
    TooLarge,
}

/// Connects, finds the target, and downloads it into `repository` unless `has` says that it is
/// there already. `slot` is called before a download, and may wait.
pub(super) fn pull<S>(
    repository: &Repository,
    order: Order<'_>,
    has: impl FnOnce(&Target) -> Result<bool, Error>,
    slot: impl FnOnce() -> Result<S, Error>,
) -> Result<Target, Error> {
    let remote_error = |error: git2::Error| Error::from_remote(order.url, &error);
    let stop = Cell::new(None);
    let mut remote = repository
        .remote_anonymous(order.url)
        .map_err(remote_error)?;
    let mut connection = remote
        .connect_auth(
            Direction::Fetch,
            Some(callbacks(order, &stop)),
            Some(proxy()),
        )
        .map_err(remote_error)?;
    let target = find(connection.list().map_err(remote_error)?, order)?;
    if has(&target)? {
        return Ok(target);
    }
    let _slot = slot()?;
    let mut options = FetchOptions::new();
    options
        .depth(1)
        .download_tags(AutotagOption::None)
        .follow_redirects(RemoteRedirect::Initial)
        .proxy_options(proxy())
        .remote_callbacks(callbacks(order, &stop));
    // `download` writes no ref; the name only has to be valid.
    let refspec = format!(
        "+{}:{}",
        target.source,
        generation::private_ref(&target.source)
    );
    let downloaded = connection.remote().download(&[refspec], Some(&mut options));
    drop(options);
    match (downloaded, stop.get()) {
        (Ok(()), _) => checked(repository, order, target),
        (Err(_), Some(Stop::TooLarge)) => Err(Error::RepositoryTooLarge {
            url: url::redact(order.url),
            limit: order.max_bytes,
        }),
        (Err(_), Some(Stop::Late)) => Err(Error::Timeout {
            url: url::redact(order.url),
            after: order.timeout,
        }),
        (Err(error), None) => Err(refused(order, &target, &error)),
    }
}

/// Finds the wanted reference among those that the remote has.
fn find(heads: &[RemoteHead<'_>], order: Order<'_>) -> Result<Target, Error> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name);
    let not_found = || Error::RefNotFound {
        url: url::redact(order.url),
        reference: order.reference.to_string(),
    };
    match order.reference {
        Reference::Default => {
            let head = find("HEAD").ok_or_else(not_found)?;
            let source = match head.symref_target() {
                Some(branch) => branch.to_owned(),
                None => unnamed_default(heads, head.oid()).unwrap_or_else(|| "HEAD".to_owned()),
            };
            let name = source.strip_prefix("refs/heads/").unwrap_or(&source);
            Ok(Target {
                name: Some(name.to_owned()),
                commit: head.oid(),
                source,
            })
        }
        Reference::Branch(name) | Reference::Tag(name) => {
            let is_tag = matches!(order.reference, Reference::Tag(_));
            let source = format!("refs/{}/{name}", if is_tag { "tags" } else { "heads" });
            let head = find(&source).ok_or_else(not_found)?;
            let peeled = find(&format!("{source}^{{}}"));
            Ok(Target {
                name: Some(name.clone()),
                commit: peeled.unwrap_or(head).oid(),
                source,
            })
        }
        Reference::Commit(id) => {
            let commit = Oid::from_str(id).map_err(|_| Error::InvalidReference {
                reference: order.reference.to_string(),
            })?;
            // Asked for by name where one has it: not every server hands out commits by their id.
            let named = heads.iter().find(|head| {
                head.oid() == commit
                    && head.name().starts_with("refs/")
                    && !head.name().ends_with("^{}")
            });
            Ok(Target {
                source: named.map_or_else(|| id.clone(), |head| head.name().to_owned()),
                name: None,
                commit,
            })
        }
    }
}

/// Old servers do not say which branch HEAD is: the usual names first, then any with its commit.
fn unnamed_default(heads: &[RemoteHead<'_>], commit: Oid) -> Option<String> {
    let mut branches: Vec<&str> = heads
        .iter()
        .filter(|head| head.oid() == commit && head.name().starts_with("refs/heads/"))
        .map(RemoteHead::name)
        .collect();
    branches.sort_by_key(|name| !matches!(*name, "refs/heads/main" | "refs/heads/master"));
    branches.first().map(|&name| name.to_owned())
}

/// What was downloaded is a commit, with its folder.
fn checked(repository: &Repository, order: Order<'_>, target: Target) -> Result<Target, Error> {
    let kind = repository
        .odb()
        .and_then(|odb| odb.read_header(target.commit))
        .map_err(|error| Error::from_database(&error))?
        .1;
    if kind != git2::ObjectType::Commit {
        return Err(Error::NotACommit {
            url: url::redact(order.url),
            reference: order.reference.to_string(),
        });
    }
    repository
        .find_commit(target.commit)
        .and_then(|commit| commit.tree())
        .map_err(|error| Error::from_database(&error))?;
    Ok(target)
}

/// What a download's error means: a commit that the server does not have, or does not hand out, is
/// not a fault of the network.
fn refused(order: Order<'_>, target: &Target, error: &git2::Error) -> Error {
    let by_id = matches!(order.reference, Reference::Commit(id) if *id == target.source);
    let (url, reference) = (url::redact(order.url), order.reference.to_string());
    let text = error.message();
    if by_id && text.contains("cannot fetch a specific object") {
        Error::CommitRefused { url, reference }
    // The server's "not our ref" is lost: libgit2 expects another kind of packet at that place.
    } else if by_id && (text.contains("not our ref") || text.contains("unexpected packet type")) {
        Error::RefNotFound { url, reference }
    } else {
        Error::from_remote(order.url, error)
    }
}

/// The environment's proxy, as other clients have it (`HTTPS_PROXY`, `NO_PROXY`).
fn proxy<'a>() -> ProxyOptions<'a> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

/// Credentials, and the checks that end a transfer which is late or too large.
fn callbacks<'a>(order: Order<'_>, stop: &'a Cell<Option<Stop>>) -> RemoteCallbacks<'a> {
    let Order {
        deadline,
        max_bytes,
        ..
    } = order;
    let in_time = move || {
        let late = Instant::now() >= deadline;
        if late {
            stop.set(Some(Stop::Late));
        }
        !late
    };
    let mut callbacks = RemoteCallbacks::new();
    order.credentials.answer(&mut callbacks);
    callbacks.sideband_progress(move |_| in_time());
    callbacks.transfer_progress(move |progress| {
        if progress.received_bytes() as u64 > max_bytes {
            stop.set(Some(Stop::TooLarge));
            return false;
        }
        in_time()
    });
    callbacks
}
