//! What is told, once, and what is still open.

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
