//! Makes a status small enough for the API server, whatever names, paths, messages and dates a commit holds.
//! Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    AlertStatus, ChartRelease, ChartRevisions, Condition, DeliveredContent, FailedChange, Failure,
    FetchedBase, GitRepositoryStatus, HeldPrune, HistoryEntry, OpenProblem, ProviderStatus,
    PruneStatus, RunningHook, SyncStatus, SyncTimes, Time, summary,
};
use crate::text::{start, visible};

/// The most bytes of a whole status, as JSON. etcd takes 1.5 MB, but a list of ten thousand Syncs must also
/// stay readable.
pub const STATUS_BUDGET: usize = 64 * 1024;

/// How often all bounds are halved, until a status is within its budget.
const HALVINGS: u32 = 8;

/// The longest message of a condition in a status that the API server refused before, in bytes.
const OUTLINE: usize = 256;

/// The first moment that the API server takes: 0001-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_135_596_800;

/// A status that can always be written.
pub trait Status: Serialize + Clone {
    /// The status with every text cut to a bound, and as a whole within [`STATUS_BUDGET`].
    fn fit(&self) -> Self;

    /// What is left when the API server refused the status: conditions in short words, one of which says
    /// why.
    fn outline(&self, why: &str) -> Self;
}

impl Status for SyncStatus {
    fn fit(&self) -> Self {
        smallest(|bounds| bounds.sync(self))
    }

    fn outline(&self, why: &str) -> Self {
        let (conditions, summary) = outlined(&self.conditions, why);
        let fewest = Bounds { halvings: HALVINGS };
        Self {
            observed_generation: self.observed_generation,
            conditions,
            summary,
            objects: self.objects,
            finished: self.finished.iter().take(50).cloned().collect(),
            prune: self.prune.as_ref().map(|prune| fewest.prune(prune)),
            release: self.release.as_ref().map(|release| fewest.release(release)),
            ..Self::default()
        }
    }
}

impl Status for GitRepositoryStatus {
    fn fit(&self) -> Self {
        smallest(|bounds| bounds.repository(self))
    }

    fn outline(&self, why: &str) -> Self {
        let (conditions, summary) = outlined(&self.conditions, why);
        Self {
            observed_generation: self.observed_generation,
            conditions,
            summary,
            ..Self::default()
        }
    }
}

impl Status for AlertStatus {
    fn fit(&self) -> Self {
        smallest(|bounds| bounds.alert(self))
    }

    fn outline(&self, why: &str) -> Self {
        let (conditions, summary) = outlined(&self.conditions, why);
        Self {
            observed_generation: self.observed_generation,
            conditions,
            summary,
            told_until: self.told_until.as_ref().map(fitting),
            open_problems: self.open_problems,
            ..Self::default()
        }
    }
}

impl Status for ProviderStatus {
    fn fit(&self) -> Self {
        smallest(|bounds| bounds.provider(self))
    }

    fn outline(&self, why: &str) -> Self {
        let (conditions, summary) = outlined(&self.conditions, why);
        Self {
            observed_generation: self.observed_generation,
            conditions,
            summary,
        }
    }
}

/// The first of ever smaller forms that is within the budget.
fn smallest<S: Serialize>(form: impl Fn(Bounds) -> S) -> S {
    for halvings in 0..HALVINGS {
        let status = form(Bounds { halvings });
        if size(&status) <= STATUS_BUDGET {
            return status;
        }
    }
    form(Bounds { halvings: HALVINGS })
}

/// Conditions in short words, and the summary of the first.
fn outlined(conditions: &[Condition], why: &str) -> (Vec<Condition>, Option<String>) {
    let mut outlined: Vec<Condition> = conditions.to_vec();
    for condition in &mut outlined {
        condition.message = cut(&condition.message, OUTLINE);
        condition.last_transition_time = fitting(&condition.last_transition_time);
    }
    let summary = outlined.first_mut().map(|first| {
        let why = cut(why, OUTLINE);
        first.message = format!(
            "{} (in short, since the API server refused the whole status: {why})",
            first.message
        );
        summary(&first.message)
    });
    (outlined, summary)
}

/// The bounds of a status' fields.
#[derive(Clone, Copy)]
struct Bounds {
    halvings: u32,
}

impl Bounds {
    fn sync(self, status: &SyncStatus) -> SyncStatus {
        // Every field is named, so that a new one cannot be forgotten.
        let SyncStatus {
            observed_generation,
            conditions,
            summary,
            reason_since,
            short_revision,
            last_attempted_revision,
            last_applied_revision,
            last_changed_revision,
            content,
            chart,
            pin,
            remote_bases,
            objects,
            failures,
            warnings,
            notes,
            finished,
            made_jobs,
            prune,
            release,
            times,
            history,
            unfinished,
            failed_change,
            kinds,
            last_handled_reconcile_at,
        } = status;
        SyncStatus {
            observed_generation: *observed_generation,
            conditions: self.conditions(conditions),
            summary: self.option(summary.as_ref(), 1024),
            reason_since: reason_since.as_ref().map(fitting),
            short_revision: self.option(short_revision.as_ref(), 512),
            last_attempted_revision: self.option(last_attempted_revision.as_ref(), 1024),
            last_applied_revision: self.option(last_applied_revision.as_ref(), 1024),
            last_changed_revision: self.option(last_changed_revision.as_ref(), 1024),
            content: content.as_ref().map(|content| DeliveredContent {
                revision: self.text(&content.revision, 1024),
                digest: content.digest.clone(),
                live: content.live,
                live_since: content.live_since.as_ref().map(fitting),
                failed: content.failed.as_ref().map(fitting),
            }),
            chart: chart.as_ref().map(|chart| self.chart(chart)),
            // A name that is cut would name another revision. All of them are short.
            pin: pin.clone(),
            // A tag whose commit is left out is looked up again.
            remote_bases: self.list(remote_bases, 50, |base| FetchedBase {
                url: self.text(&base.url, 1024),
                reference: self.text(&base.reference, 256),
                commit: base.commit.clone(),
            }),
            objects: *objects,
            failures: self.list(failures, 10, |failure| self.failure(failure)),
            warnings: self.list(warnings, 20, |warning| self.text(warning, 1024)),
            notes: self.option(notes.as_ref(), 2048),
            // A name that is cut would name another object.
            finished: self.list(finished, 300, Clone::clone),
            // Half of the budget at most. Jobs that are left out would run again.
            made_jobs: made_jobs.clone(),
            prune: prune.as_ref().map(|prune| self.prune(prune)),
            release: release.as_ref().map(|release| self.release(release)),
            times: times.as_ref().map(fitting_times),
            history: self.list(history, 10, |entry| self.entry(entry)),
            unfinished: self.list(unfinished, 5, |entry| self.entry(entry)),
            failed_change: failed_change.as_ref().map(|failed| FailedChange {
                revision: self.text(&failed.revision, 512),
                cause: failed.cause.clone(),
                since: fitting(&failed.since),
                digest: failed.digest.clone(),
            }),
            kinds: self.list(kinds, 512, |kind| self.text(kind, 320)),
            last_handled_reconcile_at: self.option(last_handled_reconcile_at.as_ref(), 512),
        }
    }

    fn repository(self, status: &GitRepositoryStatus) -> GitRepositoryStatus {
        let GitRepositoryStatus {
            observed_generation,
            conditions,
            summary,
            reason_since,
            short_revision,
            revision,
            ancestors,
            committed_at,
            observed_at,
            polled_at,
            last_handled_reconcile_at,
        } = status;
        GitRepositoryStatus {
            observed_generation: *observed_generation,
            conditions: self.conditions(conditions),
            summary: self.option(summary.as_ref(), 1024),
            reason_since: reason_since.as_ref().map(fitting),
            short_revision: self.option(short_revision.as_ref(), 512),
            revision: self.option(revision.as_ref(), 1024),
            ancestors: self.list(ancestors, 10, |commit| self.text(commit, 64)),
            committed_at: committed_at.as_ref().map(fitting),
            observed_at: observed_at.as_ref().map(fitting),
            polled_at: polled_at.as_ref().map(fitting),
            last_handled_reconcile_at: self.option(last_handled_reconcile_at.as_ref(), 512),
        }
    }

    fn alert(self, status: &AlertStatus) -> AlertStatus {
        let AlertStatus {
            observed_generation,
            conditions,
            summary,
            told_until,
            told,
            open_problems,
            open,
        } = status;
        AlertStatus {
            observed_generation: *observed_generation,
            conditions: self.conditions(conditions),
            summary: self.option(summary.as_ref(), 1024),
            told_until: told_until.as_ref().map(fitting),
            // An id that is cut would be no id.
            told: self.list(told, 1000, Clone::clone),
            open_problems: *open_problems,
            open: self.list(open, 200, |problem| self.open_problem(problem)),
        }
    }

    fn provider(self, status: &ProviderStatus) -> ProviderStatus {
        let ProviderStatus {
            observed_generation,
            conditions,
            summary,
        } = status;
        ProviderStatus {
            observed_generation: *observed_generation,
            conditions: self.conditions(conditions),
            summary: self.option(summary.as_ref(), 1024),
        }
    }

    /// A name that is cut would name another resource.
    fn open_problem(self, problem: &OpenProblem) -> OpenProblem {
        OpenProblem {
            revision: self.option(problem.revision.as_ref(), 512),
            since: fitting(&problem.since),
            ..problem.clone()
        }
    }

    fn chart(self, chart: &ChartRevisions) -> ChartRevisions {
        let ChartRevisions {
            source,
            last_attempted_revision,
            last_applied_revision,
        } = chart;
        ChartRevisions {
            // A name that is cut would name another resource.
            source: source.clone(),
            last_attempted_revision: self.option(last_attempted_revision.as_ref(), 1024),
            last_applied_revision: self.option(last_applied_revision.as_ref(), 1024),
        }
    }

    fn release(self, release: &ChartRelease) -> ChartRelease {
        ChartRelease {
            failure: self.option(release.failure.as_ref(), 1024),
            running: release.running.as_ref().map(|running| RunningHook {
                since: fitting(&running.since),
                uid: self.option(running.uid.as_ref(), 64),
                ..running.clone()
            }),
            ..release.clone()
        }
    }

    fn conditions(self, conditions: &[Condition]) -> Vec<Condition> {
        self.list(conditions, 16, |condition| Condition {
            message: self.text(&condition.message, 4096),
            last_transition_time: fitting(&condition.last_transition_time),
            ..condition.clone()
        })
    }

    fn failure(self, failure: &Failure) -> Failure {
        let Failure {
            object,
            file,
            reason,
            message,
        } = failure;
        Failure {
            object: self.text(object, 640),
            file: self.option(file.as_ref(), 512),
            reason: self.text(reason, 128),
            message: self.text(message, 1024),
        }
    }

    fn prune(self, prune: &PruneStatus) -> PruneStatus {
        let PruneStatus {
            objects,
            newest,
            held,
            left_behind,
        } = prune;
        PruneStatus {
            objects: *objects,
            newest: newest.as_ref().map(fitting),
            held: held.as_ref().map(|held| {
                let HeldPrune {
                    digest,
                    deletes,
                    of,
                    kinds,
                    because,
                    keeps,
                } = held;
                HeldPrune {
                    // A digest that is cut would approve nothing.
                    digest: digest.clone(),
                    deletes: *deletes,
                    of: *of,
                    kinds: self.list(kinds, 20, |kind| self.text(kind, 320)),
                    because: self.list(because, 10, |why| self.text(why, 512)),
                    keeps: keeps.clone(),
                }
            }),
            // A name that is cut would name another object.
            left_behind: self.list(left_behind, 50, Clone::clone),
        }
    }

    fn entry(self, entry: &HistoryEntry) -> HistoryEntry {
        let HistoryEntry {
            revision,
            chart_revision,
            author,
            subject,
            committed,
            applied,
            converged,
            pinned,
            digest,
            failed,
            unhealthy_before,
            created,
            changed,
            pruned,
            healed,
            objects,
        } = entry;
        HistoryEntry {
            revision: self.text(revision, 512),
            chart_revision: self.option(chart_revision.as_ref(), 512),
            author: self.text(author, 256),
            subject: self.option(subject.as_ref(), 80),
            committed: committed.as_ref().map(fitting),
            applied: fitting(applied),
            converged: converged.as_ref().map(fitting),
            pinned: *pinned,
            digest: digest.clone(),
            failed: failed.clone(),
            unhealthy_before: *unhealthy_before,
            created: *created,
            changed: *changed,
            pruned: *pruned,
            healed: *healed,
            objects: self.list(objects, 5, |object| self.text(object, 512)),
        }
    }

    /// A list with at most `most` entries; fewer after some halvings.
    fn list<T>(self, all: &[T], most: usize, form: impl Fn(&T) -> T) -> Vec<T> {
        // Texts are cut before entries are dropped.
        let most = most >> self.halvings.saturating_sub(3);
        all.iter().take(most.max(1)).map(form).collect()
    }

    fn option(self, text: Option<&String>, max: usize) -> Option<String> {
        text.map(|text| self.text(text, max))
    }

    fn text(self, text: &str, max: usize) -> String {
        cut(text, (max >> self.halvings).max(16))
    }
}

fn fitting_times(times: &SyncTimes) -> SyncTimes {
    let SyncTimes {
        committed,
        observed,
        applied,
        converged,
    } = times;
    SyncTimes {
        committed: committed.as_ref().map(fitting),
        observed: observed.as_ref().map(fitting),
        applied: applied.as_ref().map(fitting),
        converged: converged.as_ref().map(fitting),
    }
}

/// The nearest moment that the API server takes: years 1 to 9999 (RFC 3339).
fn fitting(time: &Time) -> Time {
    match Timestamp::from_second(FIRST_SECOND) {
        Ok(first) if time.0 < first => Time(first),
        _ => time.clone(),
    }
}

/// `text` in at most `max` bytes of JSON as the API server writes it, without what a terminal obeys. `…` marks a cut.
fn cut(text: &str, max: usize) -> String {
    let text = &*visible(text);
    let mut bytes = 0;
    let (mut room, mut kept) = (max.saturating_sub('…'.len_utf8()), 0);
    for (at, c) in text.char_indices() {
        bytes += written(c);
        if bytes > max {
            return format!("{}…", start(text, kept));
        }
        if bytes <= room {
            kept = at + c.len_utf8();
        } else {
            room = 0;
        }
    }
    text.to_owned()
}

/// How many bytes a character takes in JSON that Go writes, which escapes more than the standard asks for.
fn written(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}' => 6,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    }
}

/// How many bytes the status takes as JSON that Go writes.
fn size(status: &impl Serialize) -> usize {
    // A status holds nothing that JSON cannot.
    let text = serde_json::to_string(status).unwrap_or_default();
    let more = |c: char| matches!(c, '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}');
    text.len() + 5 * text.chars().filter(|c| more(*c)).count()
}

#[cfg(test)]
mod tests;
