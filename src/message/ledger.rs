//! What an alert has told: which notices are new to it, and which problems are open. Pure.
//!
//! The ledger is written into the Alert's status after each message, so that another replica goes on where this one
//! stopped. A message is sent before the status says so: a replica that ends in between tells it again, with the same
//! id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use strum::VariantNames as _;

use super::{Ended, Id, Item, NoticeState, OpenNotice, Subject};
use crate::api::{OpenProblem, Reason, Time};
use crate::notify::{DIFFERS, Level, Notice};

/// The most ids and open problems that are saved.
const SAVED_IDS: usize = 1000;
const SAVED_PROBLEMS: usize = 200;

/// How the id of an open problem begins that is not among those. It takes a tenth of the room.
const OPEN: &str = "open-";

/// The most notices that wait to be told.
const WAITING: usize = 10_000;

/// By how many seconds the time of a notice and that in a status may differ: a status has the time at which something
/// was found, and the notice is made a little later.
const SLACK: i64 = 2;

/// The form in which a ledger is saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// All notices of earlier seconds were told.
    pub until: Option<Timestamp>,
    /// The notices of that second and later ones that were told.
    pub told: Vec<String>,
    /// The number of open problems.
    pub count: u32,
    /// The first of them.
    pub open: Vec<OpenProblem>,
}

/// What an alert has told.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// All notices of earlier seconds were told, or were not to be told.
    until: i64,
    /// Later ones that were told, and their seconds.
    told: BTreeMap<Id, i64>,
    /// Those that were offered and are not told yet, by second.
    waiting: BTreeSet<(i64, Id)>,
    open: BTreeMap<Subject, BTreeMap<ProblemKey, Open>>,
    /// Open problems of which the last leader saved only the ids. A notice of their resource makes them known.
    unlisted: BTreeSet<Id>,
    /// Whether a revision that converges again is news.
    repeats: bool,
}

/// What tells the open problems of a resource apart: the reason and, for commits that are under way, the revision. Each
/// commit whose work began is heard of until its end is told, although the resource went on to another.
type ProblemKey = (Reason, Option<String>);

#[derive(Clone, Debug)]
struct Open {
    revision: Option<String>,
    since: Timestamp,
    /// Its begin was told.
    told: bool,
    /// Its end waits to be told.
    ending: bool,
    /// What says best what it is, for services that forget problems. A status of a commit is not forgotten.
    notice: Option<Arc<Notice>>,
}

/// Where a notice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A driver, now.
    Driver,
    /// The status of a resource, after a start: it may have been told before.
    Status,
}

impl Ledger {
    /// A ledger of an alert that has told nothing so far. What happened before `now` is not told.
    pub fn new(now: Timestamp) -> Self {
        Self {
            until: now.as_second(),
            told: BTreeMap::new(),
            waiting: BTreeSet::new(),
            open: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            repeats: false,
        }
    }

    /// The ledger that was saved.
    pub fn restored(saved: &Saved, now: Timestamp) -> Self {
        let until = saved.until.unwrap_or(now).as_second();
        let told = saved.told.iter().filter_map(|id| Id::parse(id));
        let unlisted = saved.told.iter().filter_map(|id| id.strip_prefix(OPEN));
        let unlisted = unlisted.filter_map(Id::parse);
        let mut open: BTreeMap<Subject, BTreeMap<ProblemKey, Open>> = BTreeMap::new();
        for problem in &saved.open {
            let subject = Subject::new(&problem.kind, &problem.namespace, &problem.name);
            let Some(reason) = Reason::named(&problem.reason) else {
                continue;
            };
            let was = Open {
                revision: problem.revision.clone(),
                since: problem.since.0,
                told: true,
                ending: false,
                notice: None,
            };
            let key = problem_key(reason, was.revision.as_ref());
            open.entry(subject).or_default().insert(key, was);
        }
        Self {
            until,
            told: told.map(|id| (id, until)).collect(),
            waiting: BTreeSet::new(),
            open,
            unlisted: unlisted.collect(),
            repeats: false,
        }
    }

    /// Says whether a revision that converges again, as after a pin, is news. Otherwise it is told once.
    pub fn repeats_converged(&mut self, repeats: bool) {
        self.repeats = repeats;
    }

    /// Forgets what waits, and tells nothing that happened before `now`. Open problems stay open.
    pub fn skip_to(&mut self, now: Timestamp) {
        self.waiting.clear();
        self.until = self.until.max(now.as_second());
        self.forget_old();
    }

    /// The form to be saved.
    pub fn save(&self) -> Saved {
        let problems = self.problems().filter(|(_, _, open)| open.told);
        let listed = problems.clone().take(SAVED_PROBLEMS);
        // A commit that is told twice as under way has the same status.
        let unlisted = problems.clone().skip(SAVED_PROBLEMS);
        let unlisted = unlisted.filter(|(_, reason, _)| *reason != Reason::Progressing);
        let unlisted = unlisted.map(|(subject, reason, _)| id_of_open(subject, reason));
        let unlisted = unlisted.chain(self.unlisted.iter().copied());
        let unlisted = unlisted.map(|id| format!("{OPEN}{id}"));
        let mut told: Vec<(i64, Id)> = self.told.iter().map(|(id, at)| (*at, *id)).collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        told.truncate(SAVED_IDS);
        Saved {
            until: Timestamp::from_second(self.until).ok(),
            told: told
                .iter()
                .map(|(_, id)| id.to_string())
                .chain(unlisted)
                .take(SAVED_IDS)
                .collect(),
            count: u32::try_from(problems.count() + self.unlisted.len()).unwrap_or(u32::MAX),
            open: listed
                .map(|(subject, reason, open)| OpenProblem {
                    kind: subject.kind.to_string(),
                    namespace: subject.namespace.to_string(),
                    name: subject.name.to_string(),
                    reason: reason.as_str().to_owned(),
                    revision: open.revision.clone(),
                    since: Time(open.since),
                })
                .collect(),
        }
    }

    fn problems(&self) -> impl Iterator<Item = (&Subject, Reason, &Open)> + Clone {
        self.open.iter().flat_map(|(subject, theirs)| {
            theirs
                .iter()
                .map(move |((reason, _), open)| (subject, *reason, open))
        })
    }

    /// Decides what a notice is. None if it is not to be told. `selected` says whether the alert asks for it; the end of
    /// a problem that was told is told in any case.
    pub fn offer(&mut self, notice: &Arc<Notice>, selected: bool, origin: Origin) -> Option<Item> {
        let second = notice.at.as_second();
        let subject = Subject::of(notice);
        self.list(&subject, notice);
        if origin == Origin::Status {
            self.recall(&subject, notice);
        }
        // What ends a problem may have been told as news of the same revision before. A status says only when that
        // news was, which may be the second in which the problem began.
        let is_old = origin == Origin::Status && self.told.contains_key(&Id::of(notice));
        let is_end = ends(notice.reason) && !is_old && self.has_open(&subject, notice.at);
        let is_again = self.repeats && notice.reason == Reason::Converged;
        let id = match is_end || is_again {
            true => Id::at(notice),
            false => Id::of(notice),
        };
        let is_known = self.waiting.contains(&(second, id))
            || self.told.contains_key(&id)
            || origin == Origin::Status && second + SLACK < self.until;
        if is_known || self.waiting.len() >= WAITING {
            return None;
        }
        let (state, ended) = match problem(notice) {
            Some(reason) => {
                if !selected || !self.begin(&subject, reason, notice, origin) {
                    return None;
                }
                (
                    NoticeState::Begins,
                    self.end(&subject, |open| is_replaced(open, reason)),
                )
            }
            None if ends(notice.reason) => {
                let ended = match is_end {
                    true => self.end(&subject, |_| true),
                    false => Vec::new(),
                };
                match (ended.is_empty(), selected) {
                    (true, false) => return None,
                    (true, true) => (NoticeState::News, ended),
                    (false, _) => (NoticeState::Ends, ended),
                }
            }
            None if selected => {
                // Nobody works any more on a commit that was pinned away.
                let is_over = |open| notice.reason == Reason::Pinned && open == Reason::Progressing;
                (NoticeState::News, self.end(&subject, is_over))
            }
            None => return None,
        };
        self.waiting.insert((second, id));
        Some(Item {
            id,
            subject,
            state,
            ended,
            notice: Arc::clone(notice),
        })
    }

    /// Whether a resource has a problem that is not newer than `at`.
    fn has_open(&self, subject: &Subject, at: Timestamp) -> bool {
        let is_open = |open: &Open| !open.ending && open.since <= at;
        let theirs = self.open.get(subject);
        theirs.is_some_and(|theirs| theirs.values().any(is_open))
    }

    /// Opens a problem. False if it is open already.
    fn begin(
        &mut self,
        subject: &Subject,
        reason: Reason,
        notice: &Arc<Notice>,
        origin: Origin,
    ) -> bool {
        let theirs = self.open.entry(subject.clone()).or_default();
        let key = problem_key(reason, notice.revision.as_ref());
        let known = theirs.get_mut(&key).filter(|open| !open.ending);
        // A status does not say which revision a problem is about.
        let is_same =
            |open: &&mut Open| origin == Origin::Status || open.revision == notice.revision;
        let kept = (!notice.is_progress()).then(|| Arc::clone(notice));
        let known = match known {
            Some(open) if is_same(&open) => {
                // The first notice of it may be lost, after a restart.
                open.notice = open.notice.take().or(kept);
                return false;
            }
            known => known,
        };
        let since = known.map_or(notice.at, |open| open.since);
        theirs.insert(
            key,
            Open {
                revision: notice.revision.clone(),
                since,
                told: false,
                ending: false,
                notice: kept,
            },
        );
        true
    }

    /// Makes the open problems of a resource known of which only the ids were saved.
    fn list(&mut self, subject: &Subject, notice: &Notice) {
        if self.unlisted.is_empty() {
            return;
        }
        for reason in Reason::VARIANTS
            .iter()
            .filter_map(|name| Reason::named(name))
        {
            if !self.unlisted.remove(&id_of_open(subject, reason)) {
                continue;
            }
            let open = Open {
                revision: notice.revision.clone(),
                since: notice.at,
                told: true,
                ending: false,
                notice: None,
            };
            let theirs = self.open.entry(subject.clone()).or_default();
            theirs.insert(problem_key(reason, None), open);
        }
    }

    /// Takes what a status says of problems that were told by another leader, whose notices are lost. The status has no
    /// `Diff`: there, the reason why the resource is not ready says what differs.
    fn recall(&mut self, subject: &Subject, notice: &Arc<Notice>) {
        let Some(found) = problem(notice).filter(|_| !notice.is_progress()) else {
            return;
        };
        for ((reason, _), open) in self.open.get_mut(subject).into_iter().flatten() {
            if open.notice.is_some() {
                continue;
            }
            if *reason == found {
                open.notice = Some(Arc::clone(notice));
            } else if *reason == Reason::Diff {
                open.notice = Some(Arc::new(Notice {
                    message: format!("{DIFFERS}{}", notice.message),
                    ..Notice::clone(notice)
                }));
            }
        }
    }

    /// Marks the problems of a resource as over. Returns them.
    fn end(&mut self, subject: &Subject, which: impl Fn(Reason) -> bool) -> Vec<Ended> {
        let all = self.open.get_mut(subject).into_iter().flatten();
        let over = all.filter(|((reason, _), open)| !open.ending && which(*reason));
        over.map(|((reason, _), open)| {
            open.ending = true;
            Ended {
                reason: *reason,
                revision: open.revision.clone(),
                since: open.since,
            }
        })
        .collect()
    }

    /// The resources with an open problem that began before `before`.
    pub fn troubled(&self, before: Timestamp) -> BTreeSet<Subject> {
        let old = self.problems();
        let old = old.filter(|(_, _, open)| !open.ending && open.since < before);
        old.map(|(subject, _, _)| subject.clone()).collect()
    }

    /// The open problems that were told, for services that forget them.
    pub fn open(&self) -> impl Iterator<Item = OpenNotice<'_>> {
        let told = self.problems();
        let told = told.filter(|(_, _, open)| open.told && !open.ending);
        told.map(|(subject, reason, open)| OpenNotice {
            subject,
            reason,
            since: open.since,
            revision: open.revision.as_ref(),
            notice: open.notice.as_deref(),
        })
    }

    /// Records that these were told, or that they never will be.
    pub fn told<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) {
        for item in items {
            let second = item.notice.at.as_second();
            self.waiting.remove(&(second, item.id));
            self.told.insert(item.id, second);
            // The status of the resource does not say that this revision ended a problem.
            self.told.insert(Id::of(&item.notice), second);
            self.settle(item);
        }
        let oldest = self.waiting.first().map(|(second, _)| *second);
        let newest = self.told.values().max().copied();
        if let Some(until) = oldest.or(newest) {
            self.until = self.until.max(until);
        }
        self.forget_old();
    }

    /// Whether a notice was told that is not the end of a problem.
    pub fn has_told(&self, notice: &Notice) -> bool {
        self.told.contains_key(&Id::of(notice))
    }

    /// A newer state of the same commit takes the place of an item that was not told yet.
    pub fn replaced(&mut self, item: &Item) {
        let second = item.notice.at.as_second();
        self.waiting.remove(&(second, item.id));
    }

    fn forget_old(&mut self) {
        let until = self.until;
        self.told.retain(|_, second| *second + SLACK >= until);
    }

    /// Closes the problems that ended with an item, and marks the one that began as told.
    fn settle(&mut self, item: &Item) {
        let Some(theirs) = self.open.get_mut(&item.subject) else {
            return;
        };
        let is_over = |over: &ProblemKey| {
            let mut ended = item.ended.iter();
            ended.any(|ended| problem_key(ended.reason, ended.revision.as_ref()) == *over)
        };
        theirs.retain(|key, open| !(open.ending && is_over(key)));
        if item.state == NoticeState::Begins
            && let Some(open) = theirs.get_mut(&problem_key(
                item.notice.reason,
                item.notice.revision.as_ref(),
            ))
        {
            open.told = true;
        }
        if theirs.is_empty() {
            self.open.remove(&item.subject);
        }
    }
}

/// The id of an open problem.
fn id_of_open(subject: &Subject, reason: Reason) -> Id {
    Id::parts(&[OPEN, &subject.to_string(), reason.as_str()])
}

fn problem_key(reason: Reason, revision: Option<&String>) -> ProblemKey {
    let revision = revision.filter(|_| reason == Reason::Progressing);
    (reason, revision.cloned())
}

/// The problem that a notice begins. A status that was refused and plans that failed have no end that would be told. A
/// commit that is under way counts as one: it has an end that must be told.
fn problem(notice: &Notice) -> Option<Reason> {
    let has_no_end = matches!(notice.reason, Reason::StatusRefused | Reason::PlanFailed);
    let is_problem = notice.level == Level::Warning && !has_no_end;
    (is_problem || notice.is_progress()).then_some(notice.reason)
}

/// Whether a notice with this reason says that a resource has no problem any more.
fn ends(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Converged | Reason::Fetched | Reason::Suspended | Reason::Deleting
    )
}

/// Whether the problem `open` is over when `new` begins. A resource has one reason at a time; `Diff` is about all of
/// them.
fn is_replaced(open: Reason, new: Reason) -> bool {
    open != new && open != Reason::Diff && new != Reason::Diff
}

#[cfg(test)]
mod tests;
