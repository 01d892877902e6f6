//! `towline pin` and `towline unpin`: back to a revision that was live, and on from there.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::access::Access;
use super::annotate::{now, who};
use super::arrival::is_of;
use super::standing::Steered as _;
use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::api::{
    HistoryEntry, PIN, PIN_CHART, PIN_HOLD, PIN_REASON, PINNED_AT, PINNED_AWAY, PINNED_BY, Sync,
    SyncStatus, UNPINNED_AT, UNPINNED_BY, short_commits,
};
use crate::config::{PinArgs, UnpinArgs};
use crate::intent::{PinIntent, SyncIntent};

/// The most revisions that the history of a Sync keeps.
const KEPT: usize = 10;

/// Why there is nothing to go back to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum PinError {
    /// It was never live. Of any other commit, nobody knows whether it is one of the repository's branch.
    #[error(
        "sync/{name} has had no revision {commit}; only one that was live can be returned to: towline history {name}"
    )]
    NoSuch {
        /// The Sync.
        name: String,
        /// What was asked for.
        commit: String,
    },
    /// It is not among the revisions that a status keeps, which are as many as it can keep.
    #[error(
        "{commit} is none of the {kept} newest revisions of sync/{name}, and older ones are not kept, so it is not known whether it was \
         live; the oldest that can be returned to is {oldest}. To go back further, revert in Git"
    )]
    TooOld {
        /// The Sync.
        name: String,
        /// What was asked for.
        commit: String,
        /// How many revisions are kept.
        kept: usize,
        /// The oldest of them.
        oldest: String,
    },
    /// It begins several.
    #[error("{commit} is the beginning of several revisions: {}", .of.join(", "))]
    Ambiguous {
        /// What was asked for.
        commit: String,
        /// The revisions.
        of: Vec<String>,
    },
    /// No other revision has converged.
    #[error("no earlier revision of sync/{0} has converged: towline history {0}")]
    NothingEarlier(String),
    /// It would change nothing.
    #[error("sync/{name} is at {revision}, which is the newest that it has; --hold keeps it there")]
    AtIt {
        /// The Sync.
        name: String,
        /// The revision.
        revision: String,
    },
}

/// Holds a Sync at an earlier revision, and records who did it and why.
pub(super) async fn pin(args: &PinArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let entry = choose(&sync, args.revision.as_deref(), args.hold)?;
    let who = who(&access).await?;
    let annotations = json!({
        PIN: entry.revision, PIN_CHART: entry.chart_revision, PINNED_AWAY: away(&sync),
        PIN_HOLD: args.hold.then_some("true"), PIN_REASON: args.reason,
        PINNED_BY: who, PINNED_AT: now(), UNPINNED_BY: null, UNPINNED_AT: null,
    });
    let pinned = patched(&access, name, &annotations).await?;
    let (by_whom, until) = in_words(SyncIntent::from(&pinned).pin.as_ref());
    Terminal::say(&format!(
        "sync/{name} goes back to {}: {by_whom}, {until}\n",
        shown(entry)
    ))?;
    if entry.converged.is_none() {
        Terminal::note(&format!(
            "towline: warning: {} was applied, but has never converged",
            shown(entry)
        ));
    }
    if let Some(suspended) = sync.suspended() {
        Terminal::note(&format!(
            "towline: warning: sync/{name} is {suspended}; it goes back after `towline resume {name}`"
        ));
    }
    Ok(Exit::Done)
}

/// Lets a Sync go on to the newest revision, and records who did it.
pub(super) async fn unpin(args: &UnpinArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let Some(was) = SyncIntent::from(&sync).pin else {
        Terminal::say(&format!("sync/{name} is not pinned\n"))?;
        return Ok(Exit::Done);
    };
    let who = who(&access).await?;
    let annotations = json!({
        PIN: null, PIN_CHART: null, PINNED_AWAY: null, PIN_HOLD: null, PIN_REASON: null,
        PINNED_BY: null, PINNED_AT: null, UNPINNED_BY: who, UNPINNED_AT: now(),
    });
    patched(&access, name, &annotations).await?;
    Terminal::say(&format!(
        "sync/{name}: unpinned by {who}; it was held at {}, {}",
        short_commits(&was.revision),
        was.by_whom
    ))?;
    Ok(Exit::Done)
}

async fn patched(access: &Access, name: &str, annotations: &Value) -> Result<Sync, CliError> {
    let patch = json!({"metadata": {"annotations": annotations}});
    Ok(access.patch::<Sync>(name, &patch).await?)
}

/// Who pinned a Sync, and when that ends.
fn in_words(pin: Option<&PinIntent>) -> (String, String) {
    let Some(PinIntent {
        away,
        holds,
        by_whom,
        ..
    }) = pin
    else {
        return ("pinned".to_owned(), String::new());
    };
    let until = match away.as_ref().filter(|_| !holds) {
        Some(away) => format!(
            "until a commit brings other content than {}",
            short_commits(away)
        ),
        None => "until `towline unpin`".to_owned(),
    };
    (by_whom.clone(), until)
}

fn shown(entry: &HistoryEntry) -> String {
    match &entry.chart_revision {
        None => short_commits(&entry.revision),
        Some(chart) => short_commits(&format!("{} with chart {chart}", entry.revision)),
    }
}

/// The revision that is not wanted: the one that brought the present content. For a Sync that is pinned already, the one
/// that it was pinned away from.
fn away(sync: &Sync) -> Option<String> {
    if let Some(PinIntent {
        away: Some(away), ..
    }) = SyncIntent::from(sync).pin
    {
        return Some(away);
    }
    let status = sync.status.clone().unwrap_or_default();
    let content = status.content.map(|content| content.revision);
    let own = content.or(status.last_attempted_revision)?;
    let chart = status.chart.and_then(|chart| chart.last_attempted_revision);
    Some(match chart {
        None => own,
        Some(chart) => format!("{own} with chart {chart}"),
    })
}

/// Whether everything that was tried is applied, so that the first entry of the history is what is live.
fn is_at_newest(status: &SyncStatus) -> bool {
    let chart = status.chart.clone().unwrap_or_default();
    status.last_attempted_revision == status.last_applied_revision
        && chart.last_attempted_revision == chart.last_applied_revision
}

/// The entry of the history to go back to.
fn choose<'s>(
    sync: &'s Sync,
    commit: Option<&str>,
    holds: bool,
) -> Result<&'s HistoryEntry, PinError> {
    let name = sync.name_any();
    let status = sync.status.as_ref();
    let history = status.map_or(&[][..], |status| &status.history);
    let live = history.first().filter(|_| status.is_some_and(is_at_newest));
    let id = |entry: &HistoryEntry| (entry.revision.clone(), entry.chart_revision.clone());
    let is_live = |entry: &HistoryEntry| live.map(id) == Some(id(entry));
    let away = SyncIntent::from(sync).pin.and_then(|pin| pin.away);
    // With a chart of another repository, the two revisions are one text.
    let is_away = |entry: &HistoryEntry| {
        let whole = match &entry.chart_revision {
            None => entry.revision.clone(),
            Some(chart) => format!("{} with chart {chart}", entry.revision),
        };
        away.as_ref() == Some(&whole)
    };
    let Some(commit) = commit else {
        let pin = SyncIntent::from(sync).pin;
        let pinned = pin.map(|pin| (pin.revision, pin.chart));
        // Where it was live first. A pin brings a revision back, as a newer entry.
        let pinned =
            pinned.and_then(|pinned| history.iter().rposition(|entry| id(entry) == pinned));
        if let Some(pinned) = pinned.filter(|_| holds) {
            return Ok(&history[pinned]);
        }
        let older = pinned.map_or(history, |pinned| &history[pinned + 1..]);
        let mut earlier = older.iter().filter(|entry| entry.converged.is_some());
        let found = earlier.find(|entry| !is_live(entry) && !is_away(entry));
        return found.ok_or(PinError::NothingEarlier(name));
    };
    let found: Vec<&HistoryEntry> = history
        .iter()
        .filter(|entry| is_of(&entry.revision, commit))
        .collect();
    let mut of: Vec<String> = found.iter().map(|entry| entry.revision.clone()).collect();
    of.sort();
    of.dedup();
    if of.len() > 1 {
        let (commit, of) = (commit.to_owned(), of);
        return Err(PinError::Ambiguous { commit, of });
    }
    // Of one commit with several charts, the one before is meant.
    let other = found.iter().find(|entry| !is_live(entry));
    let Some(entry) = other.or(found.first()) else {
        let commit = commit.to_owned();
        return Err(match history.last() {
            Some(oldest) if history.len() >= KEPT => PinError::TooOld {
                name,
                commit,
                kept: history.len(),
                oldest: shown(oldest),
            },
            _ => PinError::NoSuch { name, commit },
        });
    };
    if is_live(entry) && !holds && away.is_none() {
        let revision = shown(entry);
        return Err(PinError::AtIt { name, revision });
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::super::standing::testing::sync;
    use super::*;

    fn revision(digit: char) -> String {
        format!("main@sha1:{}", digit.to_string().repeat(40))
    }

    fn entry(digit: char, chart: Option<char>, converged: bool) -> Value {
        let mut entry = json!({
            "revision": revision(digit), "applied": "2026-01-02T03:04:05Z", "changed": 1, "pruned": 0,
        });
        if converged {
            entry["converged"] = "2026-01-02T03:04:06Z".into();
        }
        if let Some(chart) = chart {
            entry["chartRevision"] = revision(chart).into();
        }
        entry
    }

    /// A Sync that has tried and applied these commits, with this history, newest first.
    fn at(tried: char, applied: char, history: &[Value], away: Option<char>) -> Sync {
        let status = json!({
            "history": history, "lastAppliedRevision": revision(applied),
            "lastAttemptedRevision": revision(tried), "content": {"revision": revision(tried)},
        });
        let annotations = match away {
            None => json!({}),
            Some(away) => json!({PIN: revision('0'), PINNED_AWAY: revision(away)}),
        };
        sync(&status, &json!({"annotations": annotations}))
    }

    #[test]
    fn without_a_revision_it_is_the_last_that_was_good() {
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|digit| entry(digit, None, true));
        let mut back = b.clone();
        back["pinned"] = true.into();
        let sick = entry('c', None, false);
        for (what, sync, found) in [
            (
                "the newest is bad",
                at('c', 'c', &[c.clone(), b.clone(), a.clone()], None),
                Some('b'),
            ),
            (
                "it never converged",
                at('c', 'c', &[sick.clone(), b.clone()], None),
                Some('b'),
            ),
            (
                "it is refused",
                at('c', 'b', &[b.clone(), a.clone()], None),
                Some('b'),
            ),
            (
                "other paths changed since",
                at('d', 'd', &[c.clone(), b.clone()], None),
                Some('b'),
            ),
            (
                "the one before was bad, too",
                at('d', 'd', &[b.clone(), sick, a.clone()], None),
                Some('a'),
            ),
            (
                "that one is bad as well",
                at(
                    'b',
                    'b',
                    &[b.clone(), c.clone(), b.clone(), a.clone()],
                    Some('c'),
                ),
                Some('a'),
            ),
            (
                "the one that it is pinned to is bad as well, and a newer one was pinned away before",
                pinned_to('b', &[back, d, c, b.clone(), a]),
                Some('a'),
            ),
            (
                "there is nothing else",
                at('b', 'b', std::slice::from_ref(&b), None),
                None,
            ),
            ("there is nothing", at('b', 'b', &[], None), None),
        ] {
            let chosen = choose(&sync, None, false).map(|entry| entry.revision.clone());
            let found = found.map(revision);
            let nothing = || PinError::NothingEarlier("shop".to_owned());
            assert_eq!(chosen, found.ok_or_else(nothing), "{what}");
        }
    }

    /// A Sync that is pinned to this revision, with this history.
    fn pinned_to(digit: char, history: &[Value]) -> Sync {
        let mut sync = at('d', digit, history, Some('d'));
        let annotations = sync.metadata.annotations.as_mut().unwrap();
        annotations.insert(PIN.to_owned(), revision(digit));
        sync
    }

    #[test]
    fn a_pin_that_is_to_hold_stays_where_it_is() {
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|digit| entry(digit, None, true));
        let mut back = b.clone();
        back["pinned"] = true.into();
        let sync = pinned_to('b', &[back, d, c, b, a]);
        let chosen = choose(&sync, None, true).unwrap();
        assert_eq!(chosen.revision, revision('b'));
    }

    #[test]
    fn a_revision_is_one_of_the_history() {
        let mut twin = entry('a', None, true);
        twin["revision"] = format!("main@sha1:aaaaaaaa{}", "b".repeat(32)).into();
        let history = [entry('b', None, true), entry('a', None, true), twin];
        let sync = at('b', 'b', &history, None);
        let of = |commit: &str, holds| {
            choose(&sync, Some(commit), holds).map(|entry| entry.revision.clone())
        };
        let whole = "a".repeat(40);
        assert_eq!(of(&whole, false), Ok(revision('a')));
        assert!(
            matches!(of("aaaaaaa", false), Err(PinError::Ambiguous { of, .. }) if of.len() == 2)
        );
        assert!(matches!(of("ccccccc", false), Err(PinError::NoSuch { .. })));
        // Of a full history, nobody knows what was before.
        let full: Vec<Value> = ('0'..='9').map(|digit| entry(digit, None, true)).collect();
        let full = at('0', '0', &full, None);
        let error = choose(&full, Some("ccccccc"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("none of the 10 newest revisions"), "{error}");
        assert!(error.contains("main@sha1:999999999999"), "{error}");
        assert!(matches!(of("bbbbbbb", false), Err(PinError::AtIt { .. })));
        assert_eq!(of("bbbbbbb", true), Ok(revision('b')), "it stays there");
    }

    #[test]
    fn a_chart_of_another_repository_goes_back_as_well() {
        let history = [entry('a', Some('2'), true), entry('a', Some('1'), true)];
        let mut sync = at('a', 'a', &history, None);
        let chart = json!({"source": "charts", "lastAttemptedRevision": revision('2'),
            "lastAppliedRevision": revision('2')});
        let status = sync.status.as_mut().unwrap();
        status.chart = serde_json::from_value(chart).unwrap();
        for commit in [None, Some("aaaaaaa")] {
            let chosen = choose(&sync, commit, false).unwrap();
            assert_eq!(chosen.chart_revision, Some(revision('1')), "{commit:?}");
        }
        let both = format!("{} with chart {}", revision('a'), revision('2'));
        assert_eq!(away(&sync), Some(both));
    }

    #[test]
    fn what_is_not_wanted_stays_the_same() {
        let history = [entry('a', None, true)];
        assert_eq!(away(&at('b', 'a', &history, None)), Some(revision('b')));
        assert_eq!(
            away(&at('a', 'a', &history, Some('c'))),
            Some(revision('c'))
        );
        assert_eq!(away(&sync(&Value::Null, &json!({}))), None);
    }
}
