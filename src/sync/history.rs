//! What the status keeps of a revision: its times, and its entry in the history. Pure.

use jiff::Timestamp;

use super::audit::Action;
use super::report::{Live, Tally};
use super::timers::count;
use crate::api::{HistoryEntry, SyncTimes, Time};
use crate::manifest::ObjectKey;
use crate::text::{redact, shorten, visible};

/// Revisions in `status.unfinished` and in `status.history`.
const UNFINISHED: usize = 5;
const HISTORY: usize = 10;

/// The longest subject of a commit, in bytes: ten of them are in each of a thousand statuses.
const LONGEST_SUBJECT: usize = 72;

fn subject(of_commit: &str) -> Option<String> {
    let subject = shorten(&redact(&visible(of_commit)), LONGEST_SUBJECT);
    (!subject.is_empty()).then_some(subject)
}

impl SyncTimes {
    /// The live revision before it is applied.
    pub(super) fn of(live: &Live) -> Self {
        Self {
            committed: Some(live.committed.clone()),
            observed: Some(live.observed.clone()),
            applied: None,
            converged: None,
        }
    }
}

impl HistoryEntry {
    /// Whether the newest revision of a history came back by a reset of the branch.
    pub(super) fn came_back(history: &[Self]) -> bool {
        matches!(history, [last, before, ..] if last.is_older_than(before))
    }

    /// Drops what the history has no room for: first what is there again, so that pins that come and go push no other revision
    /// out. The newest two say what is live and what was before, and the oldest is where the history begins.
    pub(super) fn trim(history: &mut Vec<Self>) {
        while history.len() > HISTORY {
            let inner = || (2..history.len() - 1).rev();
            let is_again = |index: &usize| {
                let mut others = history.iter().enumerate();
                others.any(|(other, entry)| other != *index && entry.is_same(&history[*index]))
            };
            let pinned = inner().find(|index| history[*index].pinned && is_again(index));
            let index = pinned.or_else(|| inner().find(is_again));
            history.remove(index.unwrap_or(history.len() - 1));
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.revision, &self.chart_revision) == (&other.revision, &other.chart_revision)
    }

    /// Adds changes that came after the revision had been applied.
    pub(super) fn add(&mut self, changes: &[(Action, ObjectKey)]) {
        let mut tally = Tally {
            named: std::mem::take(&mut self.objects),
            ..Tally::default()
        };
        tally.add(changes);
        self.created = self.created.saturating_add(count(tally.created));
        self.changed = self.changed.saturating_add(count(tally.changed));
        self.pruned = self.pruned.saturating_add(count(tally.pruned));
        self.objects = tally.named;
    }

    /// Whether it is about this revision.
    pub(super) fn is_of(&self, live: &Live) -> bool {
        (&self.revision, &self.chart_revision) == (&live.revision, &live.chart)
    }

    /// Takes note of what a revision has changed so far that is not applied to its end. It may never be.
    pub(super) fn note_unfinished(
        unfinished: &mut Vec<Self>,
        live: &Live,
        tally: &Tally,
        now: Timestamp,
    ) {
        if tally.total() == 0 {
            return;
        }
        let known = unfinished
            .first()
            .filter(|entry| entry.is_of(live))
            .cloned();
        let entry = match known {
            // After a restart, only what was changed since is counted.
            Some(known) if known.total() >= tally.total() => return,
            Some(known) => Self::of(live, tally, &known.applied),
            None => Self::of(live, tally, &Time(now)),
        };
        unfinished.retain(|entry| !entry.is_of(live));
        unfinished.insert(0, entry);
        unfinished.truncate(UNFINISHED);
    }

    /// The number of its changes.
    fn total(&self) -> u32 {
        [self.changed, self.pruned]
            .into_iter()
            .fold(self.created, u32::saturating_add)
    }

    /// A revision that has just been applied.
    pub(super) fn of(live: &Live, tally: &Tally, now: &Time) -> Self {
        Self {
            revision: live.revision.clone(),
            chart_revision: live.chart.clone(),
            author: live.author.clone(),
            subject: subject(&live.subject),
            committed: Some(live.committed.clone()),
            applied: now.clone(),
            converged: None,
            pinned: false,
            digest: None,
            failed: None,
            unhealthy_before: false,
            created: count(tally.created),
            changed: count(tally.changed),
            pruned: count(tally.pruned),
            healed: 0,
            objects: tally.named.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The revisions of a history after these were live one after the other, the newest last; `p` marks what a pin brought back.
    fn after(steps: &[String]) -> Vec<String> {
        let mut history: Vec<HistoryEntry> = Vec::new();
        for step in steps {
            let revision = step.trim_end_matches('p');
            let entry = HistoryEntry {
                revision: revision.to_owned(),
                pinned: revision != step,
                ..HistoryEntry::of(
                    &Live {
                        revision: String::new(),
                        chart: None,
                        author: String::new(),
                        subject: String::new(),
                        reverts: None,
                        committed: Time(Timestamp::UNIX_EPOCH),
                        observed: Time(Timestamp::UNIX_EPOCH),
                        fetch: None,
                    },
                    &Tally::default(),
                    &Time(Timestamp::UNIX_EPOCH),
                )
            };
            history.insert(0, entry);
            HistoryEntry::trim(&mut history);
        }
        assert!(history.len() <= HISTORY);
        let mut known: Vec<String> = history.into_iter().map(|entry| entry.revision).collect();
        known.sort();
        known.dedup();
        known
    }

    #[test]
    fn pins_that_come_and_go_push_no_revision_out() {
        let commits = |count: usize| (0..count).map(|number| format!("c{number}"));
        let mut steps: Vec<String> = commits(8).collect();
        let all: Vec<String> = commits(8).collect();
        for _ in 0..20 {
            steps.extend(["c6p".to_owned(), "c7".to_owned()]);
        }
        assert_eq!(after(&steps), all);
        // Another commit comes, and is pinned away too.
        steps.extend(["c8", "c7p", "c8", "c6p", "c8"].map(str::to_owned));
        let known = after(&steps);
        assert_eq!(known, commits(9).collect::<Vec<_>>());
        // Without pins, the oldest goes.
        let many = after(&commits(12).collect::<Vec<_>>());
        assert_eq!(many.len(), HISTORY);
        assert!(!many.contains(&"c1".to_owned()) && many.contains(&"c2".to_owned()));
    }

    #[test]
    fn a_subject_is_short_and_shows_no_secret() {
        assert_eq!(subject(""), None);
        assert_eq!(subject("fix the shop").as_deref(), Some("fix the shop"));
        let long = subject(&"é".repeat(200)).unwrap();
        assert!(long.len() <= LONGEST_SUBJECT, "{long}");
        let told = subject("use https://me:hunter2@git.example/a").unwrap();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
