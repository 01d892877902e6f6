//! One connection to a remote: lists its references, and downloads the wanted commit, usually
//! without history.

use git2::{AutotagOption, Direction, FetchOptions, RemoteCallbacks, Repository};

use super::generation;
use super::reference::Reference;
use super::resolve::{ResolvedRef, resolve};
use super::transport::{Exchange, ExchangeOptions};
use crate::source::error::Error;
use crate::text::redact_url;

/// What to fetch from a remote.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    /// The remote, and how to reach it.
    pub(super) exchange: ExchangeOptions<'a>,
    pub(super) reference: &'a Reference,
    /// Also download all ancestors of the wanted commit.
    pub(super) full_history: bool,
}

/// Connects, finds the target, and downloads it into `repository`, unless `has` says that the
/// target is there already. Calls `slot` before a download; `slot` may wait.
pub(super) fn pull<S>(
    repository: &Repository,
    order: Order<'_>,
    has: impl FnOnce(&ResolvedRef) -> Result<bool, Error>,
    slot: impl FnOnce() -> Result<S, Error>,
) -> Result<ResolvedRef, Error> {
    let exchange = Exchange::new(order.exchange, repository.path())?;
    exchange.run(|| converse(repository, order, &exchange, has, slot))
}

fn converse<S>(
    repository: &Repository,
    order: Order<'_>,
    exchange: &Exchange,
    has: impl FnOnce(&ResolvedRef) -> Result<bool, Error>,
    slot: impl FnOnce() -> Result<S, Error>,
) -> Result<ResolvedRef, Error> {
    let explain = |error: git2::Error| exchange.explain(&error);
    // libgit2 chooses the transport by this address. The exchange holds the real URL.
    let address = match order.exchange.credentials.ssh() {
        Some(_) => "ssh://repository/",
        None => order.exchange.url,
    };
    let mut remote = repository.remote_anonymous(address).map_err(explain)?;
    let mut connection = remote
        .connect_auth(Direction::Fetch, Some(callbacks(exchange)), None)
        .map_err(explain)?;
    let target = resolve(
        connection.list().map_err(explain)?,
        order.exchange.url,
        order.reference,
    )?;
    if has(&target)? {
        return Ok(target);
    }
    let _slot = slot()?;
    let mut options = FetchOptions::new();
    options
        // Depth 0 is the full history.
        .depth(if order.full_history { 0 } else { 1 })
        .download_tags(AutotagOption::None)
        .remote_callbacks(callbacks(exchange));
    // `download` writes no ref. The name only has to be valid.
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

/// Checks that the download holds the commit, its root folder, and the tag if one was asked for.
fn checked(
    repository: &Repository,
    order: Order<'_>,
    target: ResolvedRef,
) -> Result<ResolvedRef, Error> {
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
            url: redact_url(order.exchange.url),
            reference: order.reference.to_string(),
        });
    }
    repository
        .find_commit(target.commit)
        .and_then(|commit| commit.tree())
        .map_err(|error| Error::from_database(&error))?;
    Ok(target)
}

/// Translates an error. If the server does not have the commit, does not send it, or does not send
/// it without its history, the network is not at fault.
fn refused(order: Order<'_>, target: &ResolvedRef, error: &git2::Error) -> Option<Error> {
    let by_id = matches!(order.reference, Reference::Commit(id) if *id == target.source);
    let (url, reference) = (redact_url(order.exchange.url), order.reference.to_string());
    let text = error.message();
    if text.contains("doesn't support shallow") {
        return Some(Error::ShallowRefused { url });
    }
    if by_id && text.contains("cannot fetch a specific object") {
        return Some(Error::CommitRefused { url, reference });
    }
    // The server's "not our ref" is lost, because libgit2 expects another kind of packet there.
    if by_id && (text.contains("not our ref") || text.contains("unexpected packet type")) {
        return Some(Error::RefNotFound { url, reference });
    }
    None
}

/// Callbacks that end a transfer, or the indexing of a received pack, when it is late.
fn callbacks(exchange: &Exchange) -> RemoteCallbacks<'_> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.sideband_progress(|words| {
        exchange.remark(words);
        exchange.may_go_on()
    });
    callbacks.transfer_progress(|progress| {
        exchange.may_go_on() && exchange.may_search(progress.indexed_deltas())
    });
    callbacks
}
