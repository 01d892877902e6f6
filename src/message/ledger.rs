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

/// The problem that a notice begins. A status that was refused has no end that would be told. A commit that is under way
/// counts as one: it has an end that must be told.
fn problem(notice: &Notice) -> Option<Reason> {
    let is_problem = notice.level == Level::Warning && notice.reason != Reason::StatusRefused;
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
mod tests {
    use super::*;
    use crate::message::testing::notice;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    struct Case(Ledger);

    impl Case {
        fn offer(&mut self, name: &str, reason: Reason, second: i64) -> Option<Item> {
            self.0.offer(
                &Arc::new(notice(name, reason, second)),
                true,
                Origin::Driver,
            )
        }

        /// Another replica begins with what this one has saved.
        fn restarted(&self, now: i64) -> Self {
            Self(Ledger::restored(&self.0.save(), at(now)))
        }

        fn again(&mut self, name: &str, reason: Reason, second: i64) -> Option<Item> {
            self.0.offer(
                &Arc::new(notice(name, reason, second)),
                true,
                Origin::Status,
            )
        }
    }

    fn reasons(item: &Item) -> Vec<Reason> {
        item.ended.iter().map(|ended| ended.reason).collect()
    }

    #[test]
    fn a_problem_begins_once_and_ends_once() {
        let mut case = Case(Ledger::new(at(0)));
        let begin = case.offer("shop", Reason::Diff, 1).unwrap();
        assert_eq!(begin.state, NoticeState::Begins);
        assert!(case.offer("shop", Reason::Diff, 2).is_none());
        assert!(case.offer("cart", Reason::Diff, 2).is_some());
        case.0.told([&begin]);
        assert!(case.offer("shop", Reason::Diff, 3).is_none());
        let end = case.offer("shop", Reason::Converged, 4).unwrap();
        assert_eq!(
            (end.state, reasons(&end)),
            (NoticeState::Ends, vec![Reason::Diff])
        );
        case.0.told([&end]);
        let again = case.offer("shop", Reason::Converged, 5);
        assert!(again.is_none(), "it is no news of this revision");
        assert!(case.offer("shop", Reason::Diff, 6).is_some(), "a new one");
    }

    #[test]
    fn a_problem_of_another_commit_is_told_and_another_reason_replaces_one() {
        let mut case = Case(Ledger::new(at(0)));
        assert!(case.offer("shop", Reason::ApplyFailed, 1).is_some());
        let mut next = notice("shop", Reason::ApplyFailed, 2);
        next.revision = Some("main@sha1:ff".to_owned());
        let next = Arc::new(next);
        let item = case.0.offer(&next, true, Origin::Driver).unwrap();
        assert_eq!((item.state, reasons(&item)), (NoticeState::Begins, vec![]));
        case.offer("shop", Reason::Diff, 2).unwrap();
        let item = case.offer("shop", Reason::HealthFailed, 3).unwrap();
        assert_eq!(reasons(&item), [Reason::ApplyFailed]);
        let end = case.offer("shop", Reason::Converged, 4).unwrap();
        let mut ended = reasons(&end);
        ended.sort_unstable();
        assert_eq!(ended, [Reason::Diff, Reason::HealthFailed]);
    }

    /// A Sync goes from one commit to the next before the first is live, also across a restart.
    #[test]
    fn each_commit_under_way_ends_with_the_one_that_is_live() {
        let revision = |commit: &str| Some(format!("main@sha1:{commit}"));
        let of = |reason, commit, second| {
            let mut notice = notice("shop", reason, second);
            notice.revision = revision(commit);
            Arc::new(notice)
        };
        let mut ledger = Ledger::new(at(0));
        let offer = |ledger: &mut Ledger, reason, commit, second| {
            ledger.offer(&of(reason, commit, second), true, Origin::Driver)
        };
        let first = offer(&mut ledger, Reason::Progressing, "a", 1).unwrap();
        assert_eq!(
            (first.state, reasons(&first)),
            (NoticeState::Begins, vec![])
        );
        assert!(offer(&mut ledger, Reason::Progressing, "a", 2).is_none());
        let second = offer(&mut ledger, Reason::Progressing, "b", 3).unwrap();
        assert_eq!(reasons(&second), [], "a is still under way");
        ledger.told([&first, &second]);
        let mut next = Ledger::restored(&ledger.save(), at(10));
        assert!(offer(&mut next, Reason::Progressing, "b", 11).is_none());
        let live = offer(&mut next, Reason::Converged, "c", 12).unwrap();
        let ended = live.ended.iter().map(|ended| ended.revision.clone());
        assert_eq!(ended.collect::<Vec<_>>(), [revision("a"), revision("b")]);
        next.told([&live]);
        assert_eq!(next.save().count, 0);
    }

    #[test]
    fn the_end_of_a_problem_is_told_although_nobody_asks_for_it() {
        let mut ledger = Ledger::new(at(0));
        let mut offer = |reason, second, selected| {
            let notice = Arc::new(notice("shop", reason, second));
            ledger.offer(&notice, selected, Origin::Driver)
        };
        assert!(offer(Reason::Converged, 1, false).is_none());
        assert!(offer(Reason::Diff, 2, true).is_some());
        assert!(offer(Reason::ApplyFailed, 3, false).is_none());
        let end = offer(Reason::Converged, 4, false).unwrap();
        assert_eq!(reasons(&end), [Reason::Diff]);
        assert!(offer(Reason::Converged, 5, false).is_none());
    }

    #[test]
    fn after_a_restart_what_was_told_is_not_told_again_and_the_rest_is() {
        let mut case = Case(Ledger::new(at(0)));
        let told = case.offer("a", Reason::Converged, 10).unwrap();
        let lost = case.offer("b", Reason::Converged, 10).unwrap();
        let late = case.offer("c", Reason::Converged, 12).unwrap();
        let diff = case.offer("d", Reason::Diff, 12).unwrap();
        case.0.told([&told, &late, &diff]);
        let mut next = case.restarted(20);
        for (name, second, is_told) in [("a", 10, false), ("b", 10, true), ("c", 12, false)] {
            let again = next.again(name, Reason::Converged, second);
            assert_eq!(again.is_some(), is_told, "{name}");
        }
        assert!(next.again("old", Reason::Converged, 7).is_none());
        assert!(next.offer("d", Reason::Diff, 21).is_none(), "it is open");
        let end = next.offer("d", Reason::Converged, 22).unwrap();
        assert_eq!(
            (end.state, reasons(&end)),
            (NoticeState::Ends, vec![Reason::Diff])
        );
        // A driver's notice is told, even if the clock of the last leader went ahead.
        assert!(next.offer("e", Reason::Converged, 5).is_some());
        case.0.told([&lost]);
        assert!(
            case.restarted(20)
                .again("b", Reason::Converged, 10)
                .is_none()
        );
    }

    /// A service that forgets problems is told each one as at first: as its notice said it, or as the status does.
    #[test]
    fn an_open_problem_keeps_what_was_said_of_it() {
        let said = |ledger: &Ledger, wanted: Reason| {
            let mut open = ledger.open();
            let open = open.find(|open| open.reason == wanted).unwrap();
            open.notice.map(|notice| notice.message.clone())
        };
        let both = |case: &Case| [Reason::Diff, Reason::ApplyFailed].map(|of| said(&case.0, of));
        let mut case = Case(Ledger::new(at(0)));
        let problems = [Reason::Diff, Reason::ApplyFailed];
        let items = problems.map(|reason| case.offer("shop", reason, 1).unwrap());
        case.0.told(&items);
        let mut later = notice("shop", Reason::ApplyFailed, 2);
        later.message = "the same in other words".to_owned();
        let later = case.0.offer(&Arc::new(later), true, Origin::Driver);
        assert!(later.is_none());
        let first = Some("shop says <b>&".to_owned());
        assert_eq!(both(&case), [first.clone(), first.clone()]);
        let mut next = case.restarted(9);
        assert_eq!(both(&next), [None, None]);
        assert!(next.again("shop", Reason::ApplyFailed, 1).is_none());
        let differs = Some("Git and the cluster differ: shop says <b>&".to_owned());
        assert_eq!(both(&next), [differs, first.clone()]);
        // A driver may say it before.
        let mut next = case.restarted(9);
        assert!(next.offer("shop", Reason::Diff, 11).is_none());
        assert_eq!(both(&next), [first, None]);
    }

    /// More problems are open than the status lists.
    #[test]
    fn after_a_restart_no_open_problem_begins_again_however_many_there_are() {
        let mut case = Case(Ledger::new(at(0)));
        let names: Vec<String> = (0..900).map(|number| format!("app-{number}")).collect();
        let reasons = [Reason::Diff, Reason::ApplyFailed];
        let of = |index: usize| reasons[index % 2];
        let second = |index: usize| i64::try_from(index).unwrap();
        for (index, name) in names.iter().enumerate() {
            let item = case.offer(name, of(index), second(index)).unwrap();
            case.0.told([&item]);
        }
        // It is saved again before all of them were heard of.
        for mut next in [case.restarted(2009), case.restarted(2009).restarted(2019)] {
            assert_eq!(next.0.save().count, 900);
            for (index, name) in names.iter().enumerate() {
                let again = match index % 3 {
                    0 => next.again(name, of(index), second(index)),
                    _ => next.offer(name, of(index), 2021),
                };
                assert!(again.is_none(), "{name}");
            }
            assert_eq!(next.0.save().count, 900);
            for name in &names {
                let end = next.offer(name, Reason::Converged, 2022).unwrap();
                assert_eq!(end.state, NoticeState::Ends, "{name}");
                next.0.told([&end]);
            }
            assert_eq!(next.0.save().count, 0);
        }
        // One that ended before anything else was heard of it.
        let mut next = case.restarted(2009);
        let end = next.offer("app-899", Reason::Converged, 2022).unwrap();
        assert_eq!((end.state, end.ended.len()), (NoticeState::Ends, 1));
        assert!(next.offer("app-899", Reason::ApplyFailed, 2023).is_some());
    }

    /// The times of statuses are whole seconds.
    #[test]
    fn what_was_told_before_a_problem_of_the_same_second_does_not_end_it() {
        let mut case = Case(Ledger::new(at(0)));
        let news = case.offer("a", Reason::Converged, 10).unwrap();
        case.0.told([&news]);
        let begin = case.offer("a", Reason::InvalidManifest, 10).unwrap();
        case.0.told([&begin]);
        let mut next = case.restarted(11);
        assert!(next.again("a", Reason::Converged, 10).is_none());
        let end = next.offer("a", Reason::Converged, 12).unwrap();
        assert_eq!(reasons(&end), [Reason::InvalidManifest]);
    }

    #[test]
    fn what_happened_before_an_alert_existed_is_not_told() {
        let mut case = Case(Ledger::new(at(100)));
        assert!(case.again("a", Reason::Converged, 97).is_none());
        assert!(case.again("a", Reason::ApplyFailed, 100).is_some());
    }

    #[test]
    fn the_saved_form_and_the_waiting_notices_are_bounded() {
        let mut case = Case(Ledger::new(at(0)));
        let mut items = Vec::new();
        for number in 0..WAITING + 10 {
            items.extend(case.offer(&number.to_string(), Reason::ApplyFailed, 1));
        }
        assert_eq!(items.len(), WAITING);
        case.0.told(&items);
        let saved = case.0.save();
        assert_eq!(
            (saved.told.len(), saved.open.len()),
            (SAVED_IDS, SAVED_PROBLEMS)
        );
        assert_eq!(saved.count as usize, WAITING);
    }
}
