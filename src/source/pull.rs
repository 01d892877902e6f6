//! One connection to a remote: what it has, and a download of what is wanted, as a rule a shallow one.

use std::time::{Duration, Instant};

use git2::{AutotagOption, Direction, FetchOptions, Oid, RemoteCallbacks, RemoteHead, Repository};

use super::credentials::{Credentials, Proxy};
use super::error::Error;
use super::http::{Agents, Exchange};
use super::reference::{Reference, range_of};
use super::{generation, url};

/// What is asked of a remote.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) url: &'a str,
    pub(super) reference: &'a Reference,
    pub(super) agents: &'a Agents,
    pub(super) credentials: &'a Credentials,
    pub(super) proxy: Option<&'a Proxy>,
    /// All commits that lead to the wanted one, too.
    pub(super) full_history: bool,
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
    /// What a revision is called by: `main`, `v1.0`, `refs/pull/7/head`, nothing for a commit.
    pub(super) name: Option<String>,
    /// The commit, with an annotated tag peeled.
    pub(super) commit: Oid,
    /// The annotated tag.
    pub(super) tag: Option<Oid>,
}

/// Connects, finds the target, and downloads it into `repository` unless `has` says that it is
/// there already. `slot` is called before a download, and may wait.
pub(super) fn pull<S>(
    repository: &Repository,
    order: Order<'_>,
    has: impl FnOnce(&Target) -> Result<bool, Error>,
    slot: impl FnOnce() -> Result<S, Error>,
) -> Result<Target, Error> {
    let exchange = Exchange::new(order);
    exchange.run(|| converse(repository, order, &exchange, has, slot))
}

fn converse<S>(
    repository: &Repository,
    order: Order<'_>,
    exchange: &Exchange,
    has: impl FnOnce(&Target) -> Result<bool, Error>,
    slot: impl FnOnce() -> Result<S, Error>,
) -> Result<Target, Error> {
    let explain = |error: git2::Error| exchange.explain(&error);
    // libgit2 chooses the transport by it; where to go, the exchange knows.
    let address = match order.credentials.ssh() {
        Some(_) => "ssh://repository/",
        None => order.url,
    };
    let mut remote = repository.remote_anonymous(address).map_err(explain)?;
    let mut connection = remote
        .connect_auth(Direction::Fetch, Some(callbacks(exchange)), None)
        .map_err(explain)?;
    let target = find(connection.list().map_err(explain)?, order)?;
    if has(&target)? {
        return Ok(target);
    }
    let _slot = slot()?;
    let mut options = FetchOptions::new();
    options
        // 0 is all of it.
        .depth(if order.full_history { 0 } else { 1 })
        .download_tags(AutotagOption::None)
        .remote_callbacks(callbacks(exchange));
    // `download` writes no ref; the name only has to be valid.
    let refspec = format!(
        "+{}:{}",
        target.source,
        generation::private_ref(&target.source)
    );
    let downloaded = connection.remote().download(&[refspec], Some(&mut options));
    match downloaded {
        Ok(()) => checked(repository, order, target),
        Err(error) => Err(refused(order, &target, &error).unwrap_or_else(|| explain(error))),
    }
}

/// Finds the wanted reference among those that the remote has.
fn find(heads: &[RemoteHead<'_>], order: Order<'_>) -> Result<Target, Error> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name);
    let not_found = || Error::RefNotFound {
        url: url::redact(order.url),
        reference: order.reference.to_string(),
    };
    let target = match order.reference {
        Reference::Default => {
            let head = find("HEAD").ok_or_else(not_found)?;
            let source = match head.symref_target() {
                Some(branch) => branch.to_owned(),
                None => unnamed_default(heads, head.oid()).unwrap_or_else(|| "HEAD".to_owned()),
            };
            let name = source.strip_prefix("refs/heads/").unwrap_or(&source);
            Some(Target {
                name: Some(name.to_owned()),
                commit: head.oid(),
                tag: None,
                source,
            })
        }
        Reference::Branch(name) => named(heads, name, format!("refs/heads/{name}")),
        Reference::Tag(name) => named(heads, name, format!("refs/tags/{name}")),
        Reference::Name(name) => named(heads, name, name.clone()),
        Reference::Semver(range) => {
            let tags = heads
                .iter()
                .filter_map(|head| head.name().strip_prefix("refs/tags/"));
            let newest = range_of(range)?.newest(tags);
            newest.and_then(|tag| named(heads, tag, format!("refs/tags/{tag}")))
        }
        Reference::Commit(id) => {
            let commit = Oid::from_str(id).map_err(|_| order.reference.invalid())?;
            // Asked for by name where one has it: not every server hands out commits by their id.
            let named = heads.iter().find(|head| {
                head.oid() == commit
                    && head.name().starts_with("refs/")
                    && !head.name().ends_with("^{}")
            });
            Some(Target {
                source: named.map_or_else(|| id.clone(), |head| head.name().to_owned()),
                name: None,
                commit,
                tag: None,
            })
        }
    };
    target.ok_or_else(not_found)
}

/// The reference `source`, as a revision called `name`; an annotated tag is followed by an entry
/// with what it names.
fn named(heads: &[RemoteHead<'_>], name: &str, source: String) -> Option<Target> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name);
    let head = find(&source)?;
    let peeled = find(&format!("{source}^{{}}"));
    Some(Target {
        name: Some(name.to_owned()),
        commit: peeled.unwrap_or(head).oid(),
        tag: peeled.map(|_| head.oid()),
        source,
    })
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

/// What was downloaded is a commit, with its folder, and the tag that was asked for.
fn checked(repository: &Repository, order: Order<'_>, target: Target) -> Result<Target, Error> {
    let kind = repository
        .odb()
        .and_then(|odb| {
            target.tag.map(|tag| odb.read_header(tag)).transpose()?;
            odb.read_header(target.commit)
        })
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

/// A commit that the server does not have, or does not hand out, or not without its history, is not a
/// fault of the network.
fn refused(order: Order<'_>, target: &Target, error: &git2::Error) -> Option<Error> {
    let by_id = matches!(order.reference, Reference::Commit(id) if *id == target.source);
    let (url, reference) = (url::redact(order.url), order.reference.to_string());
    let text = error.message();
    if text.contains("doesn't support shallow") {
        return Some(Error::ShallowRefused { url });
    }
    if by_id && text.contains("cannot fetch a specific object") {
        return Some(Error::CommitRefused { url, reference });
    }
    // The server's "not our ref" is lost: libgit2 expects another kind of packet at that place.
    if by_id && (text.contains("not our ref") || text.contains("unexpected packet type")) {
        return Some(Error::RefNotFound { url, reference });
    }
    None
}

/// Checks that end a transfer, or the indexing of what it brought, which is late.
fn callbacks(exchange: &Exchange) -> RemoteCallbacks<'_> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.sideband_progress(|_| exchange.in_time());
    callbacks.transfer_progress(|_| exchange.in_time());
    callbacks
}
