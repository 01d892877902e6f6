//! Whether a commit has arrived in a Sync, as far as statuses can tell. Pure.
//!
//! A Sync's history names the commits that changed its content. A commit that it has applied and that is not in its
//! history changed nothing for it.

use jiff::Timestamp;

use super::standing::{ResourceState, Standing, ready};
use crate::api::{GitRepository, Sync, SyncStatus, short_commits};
use crate::intent::SyncIntent;

/// How a Sync stands to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is live, or has been.
    Live,
    /// A newer revision is live, which this is.
    Superseded(String),
    /// It changed nothing for this Sync.
    Untouched,
    /// It may still come. Why it has not.
    Pending(String),
    /// It does not come without a person. Why.
    Failed(String),
    /// The Sync does not follow its source at present. Why.
    Left(String),
}

/// What the source of a Sync has of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach<'a> {
    /// Nothing so far.
    NotYet,
    /// Its revision is this commit.
    There,
    /// It had the commit, or went past it: its revision is this one, which came after the commit.
    Beyond(&'a str),
    /// It went on to this revision. Nothing says that the commit came before it, or that there is such a commit.
    Elsewhere(&'a str),
}

/// What is known of a commit beside statuses: by a clone that the command runs in.
pub(super) trait History {
    /// Whether a commit is one of the repository with this URL.
    fn has(&self, commit: &str, url: &str) -> bool;
    /// Whether `older` comes before the commit `newer`. None if that is not known.
    fn is_before(&self, older: &str, newer: &str) -> Option<bool>;
}

/// Whether a revision (`main@sha1:0123…`) is of this commit, which may be shortened.
pub(super) fn is_of(revision: &str, commit: &str) -> bool {
    let (_, whole) = revision.rsplit_once(':').unwrap_or(("", revision));
    whole.starts_with(commit)
}

fn is(revision: Option<&str>, commit: &str) -> bool {
    revision.is_some_and(|revision| is_of(revision, commit))
}

/// How a Sync stands to a commit.
pub(super) fn arrival(commit: &str, sync: &Sync, reach: Reach<'_>) -> Arrival {
    let Standing { state, .. } = Standing::of(sync);
    if let ResourceState::Deleting = state {
        return Arrival::Left("it is being deleted".to_owned());
    }
    let status = sync.status.clone().unwrap_or_default();
    if let Some(arrival) = pinned(commit, sync, &status) {
        return arrival;
    }
    let history = &status.history;
    let attempted = status.last_attempted_revision.as_deref();
    let place = history
        .iter()
        .position(|entry| is_of(&entry.revision, commit));
    if let Some(place) = place {
        let newest = &history[0];
        return match (place, &newest.converged) {
            (0, Some(_)) if is(attempted, commit) && !matches!(state, ResourceState::Suspended) => {
                undecided(sync, &state, Arrival::Live)
            }
            (0, Some(_)) => Arrival::Live,
            (_, Some(_)) => Arrival::Superseded(newest.revision.clone()),
            _ if history[place].converged.is_some() => Arrival::Live,
            (_, None) => undecided(sync, &state, Arrival::Live),
        };
    }
    if is(status.last_applied_revision.as_deref(), commit) {
        return Arrival::Untouched;
    }
    if is(attempted, commit) {
        let reads = Arrival::Pending("it reads the commit".to_owned());
        return undecided(sync, &state, reads);
    }
    if let ResourceState::Suspended = state {
        return undecided(sync, &state, Arrival::Live);
    }
    match reach {
        Reach::NotYet => {
            let source = SyncIntent::from(sync).source;
            Arrival::Pending(format!("GitRepository {source} has not fetched the commit"))
        }
        Reach::There => Arrival::Pending(waits(&state, "it has not read the commit")),
        Reach::Elsewhere(later) => {
            let source = SyncIntent::from(sync).source;
            Arrival::Pending(format!(
                "GitRepository {source} has {}, and nothing says that the commit came before that",
                short_commits(later)
            ))
        }
        Reach::Beyond(later) => {
            let (_, whole) = later.rsplit_once(':').unwrap_or(("", later));
            match arrival(whole, sync, Reach::There) {
                Arrival::Live => Arrival::Superseded(later.to_owned()),
                other => other,
            }
        }
    }
}

/// How a pinned Sync stands to a commit that it is held away from. None if the pin does not concern the commit.
fn pinned(commit: &str, sync: &Sync, status: &SyncStatus) -> Option<Arrival> {
    let pin = status.pin.as_ref()?;
    if is_of(&pin.revision, commit) {
        return None;
    }
    let message = ready(sync).map_or("", |ready| &*ready.message);
    // What came after the revision that the Sync went back to.
    let mut newer = status.history.iter().filter(|entry| !entry.pinned);
    let mut newer = newer
        .by_ref()
        .take_while(|entry| entry.revision != pin.revision);
    // With a chart of another repository, the commit of the Sync's own comes first.
    let away = pin.away.as_deref().and_then(|away| away.split(' ').next());
    if is(away, commit) || newer.any(|entry| is_of(&entry.revision, commit)) {
        return Some(Arrival::Failed(format!("pinned away: {message}")));
    }
    // It has the content of the one that was pinned away.
    if is(
        pin.seen.as_deref().and_then(|seen| seen.split(' ').next()),
        commit,
    ) {
        return Some(Arrival::Untouched);
    }
    let is_known = status
        .history
        .iter()
        .any(|entry| is_of(&entry.revision, commit));
    (pin.hold && !is_known).then(|| Arrival::Left(message.to_owned()))
}

/// What follows from the state of a Sync that has reached a commit.
fn undecided(sync: &Sync, state: &ResourceState, is_ready: Arrival) -> Arrival {
    match state {
        ResourceState::Ready => is_ready,
        ResourceState::Failing(reason) => {
            let message = ready(sync).map_or("", |ready| &ready.message);
            Arrival::Failed(format!("{reason}: {message}"))
        }
        ResourceState::Suspended => Arrival::Left(Standing::of(sync).message),
        ResourceState::Waiting(_) | ResourceState::Unseen | ResourceState::Deleting => {
            Arrival::Pending(waits(state, "it works"))
        }
    }
}

fn waits(state: &ResourceState, otherwise: &str) -> String {
    match state {
        ResourceState::Waiting(reason) | ResourceState::Failing(reason) => reason.clone(),
        _ => otherwise.to_owned(),
    }
}

/// What a repository has of a commit that was there at the time `since`; `syncs` are those that follow it.
pub(super) fn reach<'a>(
    commit: &str,
    repository: &'a GitRepository,
    since: Timestamp,
    syncs: &[&Sync],
    history: &dyn History,
) -> Reach<'a> {
    let Some(status) = &repository.status else {
        return Reach::NotYet;
    };
    let Some(revision) = status.revision.as_deref() else {
        return Reach::NotYet;
    };
    if is_of(revision, commit) {
        return Reach::There;
    }
    if status.ancestors.iter().any(|one| is_of(one, commit)) {
        return Reach::Beyond(revision);
    }
    // What a poll finds that began after the commit had been pushed came after it. One that had begun before may find the
    // commit's parent. If nobody knows the commit, it may not have been pushed, or not exist.
    let polled = status.polled_at.as_ref();
    let has_moved = polled.is_some_and(|polled| polled.0 >= since);
    let (_, id) = revision.rsplit_once(':').unwrap_or(("", revision));
    let is_proven = match history.is_before(commit, id) {
        Some(is_before) => is_before,
        None => has_moved && history.has(commit, &repository.spec.url),
    };
    // Times of statuses are whole seconds. Where two commits came in one, a Sync that has gone on to another revision says
    // that there is one.
    let has_gone_on = syncs.iter().any(|sync| {
        let mut history = sync.status.iter().flat_map(|status| &status.history);
        history
            .position(|entry| is_of(&entry.revision, commit))
            .is_some_and(|place| place > 0)
    });
    // What was first seen after the commit had been applied is newer.
    let applied = syncs.iter().filter_map(|sync| {
        let history = &sync.status.as_ref()?.history;
        let entry = history
            .iter()
            .find(|entry| is_of(&entry.revision, commit))?;
        Some(entry.applied.0)
    });
    let applied = applied.min();
    let observed = status.observed_at.as_ref().map(|time| time.0);
    let is_newer = applied.zip(observed).is_some_and(|(applied, observed)| {
        observed > applied || has_gone_on && observed == applied
    });
    match (is_proven || is_newer, has_moved) {
        (true, _) => Reach::Beyond(revision),
        (false, true) => Reach::Elsewhere(revision),
        (false, false) => Reach::NotYet,
    }
}

#[cfg(test)]
mod tests;
