//! What the status of a resource says that an alert may have to tell, after a change of the leader.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::{self, Condition, GitRepository, HistoryEntry, Reason, Sync, SyncStatus};
use crate::fleet::{Fleet, Ready, SourceName};
use crate::message::Subject;
use crate::notify::{Level, Notice};
use crate::plan::SyncName;

/// How old news may be. What was not told within this time is not told any more.
const NEWS: Duration = Duration::from_secs(3600);

/// The notices in the status of a Sync: revisions that converged lately, and the present failure or the commit that is
/// under way. They are in the order of time: a status has whole seconds, so the times of two revisions may be the same.
pub(crate) fn of_sync(object: &Sync) -> Vec<Notice> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    let history = &status.history;
    // The history has its newest entry first.
    let oldest_first = history.iter().enumerate().rev();
    let converged = oldest_first.filter_map(|(index, entry)| {
        let at = entry.converged.as_ref()?.0;
        is_news(at).then(|| Notice {
            replaces: live_before(&history[index + 1..]),
            ..converged(object, entry, at)
        })
    });
    let failure = failed(&status.conditions).filter(|(reason, _)| !reason.waits());
    let failure = failure.map(|(reason, ready)| {
        let revision = status.last_attempted_revision.as_deref();
        let kind = (Level::Warning, reason);
        let mut notice = Notice::about(object, kind, revision, ready.message.clone());
        let entry = history
            .iter()
            .find(|entry| Some(&*entry.revision) == revision);
        if let Some(entry) = entry {
            notice = notice.with_change(&entry.author, "");
        }
        let content = status.content.as_ref().filter(|content| !content.live);
        Notice {
            at: ready.last_transition_time.0,
            delivers: content.map(|content| content.revision.clone()),
            ..notice
        }
    });
    converged
        .chain(returned(object, status))
        .chain(failure)
        .chain(under_way(object, status))
        .collect()
}

/// A commit on which work began. The last leader may have told that and ended before it recorded it. Then a newer commit
/// would replace this one unheard, and its status at the Git host would stay pending.
fn under_way(object: &Sync, status: &SyncStatus) -> Option<Notice> {
    let content = status.content.as_ref().filter(|content| !content.live)?;
    let (_, ready) = failed(&status.conditions).filter(|(reason, _)| reason.waits())?;
    let kind = (Level::Normal, Reason::Progressing);
    let notice = Notice::about(object, kind, Some(&content.revision), ready.message.clone());
    Some(Notice {
        delivers: Some(content.revision.clone()),
        ..notice
    })
}

/// A revision whose content had been live before, as that of a revert: the history does not have it.
fn returned(object: &Sync, status: &SyncStatus) -> Option<Notice> {
    let content = status.content.as_ref().filter(|content| content.live)?;
    // Not the time of `status.times`: every later commit and every restart has a new one.
    let at = content.live_since.as_ref()?.0;
    let mut history = status.history.iter();
    let is_known = history.any(|entry| entry.revision == content.revision);
    let kind = (Level::Normal, Reason::Converged);
    let message = format!("the cluster equals {}", content.revision);
    let notice = Notice::about(object, kind, Some(&content.revision), message);
    (!is_known && is_news(at)).then(|| Notice {
        at,
        delivers: Some(content.revision.clone()),
        replaces: live_before(&status.history),
        ..notice
    })
}

/// The newest revision of these that was live.
fn live_before(history: &[HistoryEntry]) -> Option<String> {
    let entry = history.iter().find(|entry| entry.converged.is_some())?;
    Some(entry.revision.clone())
}

fn converged(object: &Sync, entry: &HistoryEntry, at: Timestamp) -> Notice {
    let HistoryEntry {
        revision,
        author,
        subject,
        created,
        changed,
        pruned,
        objects,
        ..
    } = entry;
    let message = format!(
        "the cluster equals {revision} by {author}; {created} created, {changed} changed, {pruned} pruned"
    );
    let kind = (Level::Normal, Reason::Converged);
    let subject = subject.as_deref().unwrap_or_default();
    let notice = Notice::about(object, kind, Some(revision), message).with_change(author, subject);
    Notice {
        at,
        delivers: Some(revision.clone()),
        objects: objects.clone(),
        ..notice
    }
}

/// The notices in the status of a GitRepository: its last commit, and the present failure.
pub(crate) fn of_repository(object: &GitRepository) -> Vec<Notice> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    let revision = status.revision.as_deref();
    let observed = status.observed_at.as_ref().filter(|at| is_news(at.0));
    let committed = revision.zip(observed).map(|(revision, at)| Notice {
        at: at.0,
        ..Notice::about(
            object,
            (Level::Normal, Reason::ChangeCommitted),
            Some(revision),
            revision.to_owned(),
        )
    });
    let failure = failed(&status.conditions).map(|(reason, ready)| Notice {
        at: ready.last_transition_time.0,
        ..Notice::about(
            object,
            (Level::Warning, reason),
            revision,
            ready.message.clone(),
        )
    });
    committed.into_iter().chain(failure).collect()
}

fn is_news(at: Timestamp) -> bool {
    let age = Timestamp::now().duration_since(at);
    Duration::try_from(age).unwrap_or_default() < NEWS
}

/// The condition `Ready`, if it is false.
fn failed(conditions: &[Condition]) -> Option<(Reason, &Condition)> {
    let ready = api::ready(conditions)?;
    let reason = Reason::named(&ready.reason)?;
    (ready.status == "False").then_some((reason, ready))
}

/// The notice that a resource has no problem any more, if that is so.
pub(super) fn over(fleet: &Fleet, subject: &Subject) -> Option<Notice> {
    let Subject {
        kind,
        namespace,
        name,
    } = subject;
    let (exists, ready, well) = match &**kind {
        "Sync" => {
            let sync = SyncName::new(namespace, name);
            let ready = fleet.syncs.read(&sync).figures.ready;
            (fleet.syncs.is_published(&sync), ready, Reason::Converged)
        }
        _ => {
            let source = SourceName::new(namespace, name);
            let ready = fleet.sources.read(&source).ready;
            (fleet.sources.is_published(&source), ready, Reason::Fetched)
        }
    };
    let (reason, message) = match ready {
        _ if !exists => (Reason::Deleting, "it is deleted"),
        Ready { is: true, .. } => (well, "it is ready"),
        Ready {
            reason: Reason::Suspended,
            ..
        } => (Reason::Suspended, "it is suspended"),
        Ready { .. } => return None,
    };
    Some(Notice::about_name(
        (kind, namespace, name),
        (Level::Normal, reason),
        message.to_owned(),
    ))
}

/// How long ago something was.
pub(super) fn age(since: Timestamp, now: Timestamp) -> Duration {
    let age: SignedDuration = now.duration_since(since);
    age.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Machines are fast enough for three commits in a second.
    #[test]
    fn what_a_status_says_is_in_the_order_of_time_though_its_times_are_the_same() {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let entry = |commit: &str, converged: Option<&str>| {
            json!({
                "revision": format!("main@sha1:{commit}"), "author": "Anna", "applied": now, "converged": converged,
                "created": 0, "changed": 1, "pruned": 0,
            })
        };
        let of = |live: &str, reason: &str| -> Sync {
            let history = [
                entry("d", None),
                entry("c", Some(&now)),
                entry("b", Some(&now)),
                entry("a", Some(&now)),
            ];
            let sync = json!({
                "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
                "metadata": {"name": "shop", "namespace": "prod"},
                "spec": {"sourceRef": {"name": "fleet"}},
                "status": {
                    "history": history, "times": {"converged": now},
                    "content": {"revision": format!("main@sha1:{live}"), "live": live != "d",
                        "liveSince": (live != "d" && live != "f").then_some(&now)},
                    "conditions": [{
                        "type": "Ready", "status": if reason == "Converged" { "True" } else { "False" },
                        "reason": reason, "message": "",
                        "lastTransitionTime": now,
                    }],
                },
            });
            serde_json::from_value(sync).unwrap()
        };
        let commits = |sync: &Sync| {
            let all = of_sync(sync).into_iter();
            let commit = |revision: Option<String>| {
                revision?
                    .rsplit_once(':')
                    .map(|(_, commit)| commit.to_owned())
            };
            all.map(|notice| {
                (
                    commit(notice.delivers).unwrap(),
                    commit(notice.replaces),
                    notice.reason,
                )
            })
            .collect::<Vec<_>>()
        };
        let live = |commit: &str, before: Option<&str>| {
            (
                commit.to_owned(),
                before.map(str::to_owned),
                Reason::Converged,
            )
        };
        let all = [live("a", None), live("b", Some("a")), live("c", Some("b"))];
        let failed = ("d".to_owned(), None, Reason::HealthFailed);
        assert_eq!(
            commits(&of("d", "HealthFailed")),
            [&all[..], &[failed]].concat()
        );
        let begun = ("d".to_owned(), None, Reason::Progressing);
        assert_eq!(
            commits(&of("d", "HealthPending")),
            [&all[..], &[begun]].concat()
        );
        // It has been live for longer than is known: a later commit was found equal to it.
        assert_eq!(commits(&of("f", "Converged")), all);
        // One whose content was live before the history begins.
        assert_eq!(
            commits(&of("e", "Converged")),
            [&all[..], &[live("e", Some("c"))]].concat()
        );
    }
}
