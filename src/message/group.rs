//! Many notices of one commit and reason make one message. Pure: the current time is an input.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use jiff::Timestamp;

use super::{Id, Item, NoticeState, Subject};
use crate::api::Reason;

/// From so many groups of an alert on that wait, notices of further commits join into one group for each reason, so that
/// none is lost. Only a notice that would overtake another one of its resource gets a group of its own: the ledger has a
/// bound of its own for all that waits.
const MOST: usize = 200;

/// The most statuses of commits of an alert that wait. A host may be away for hours, and commits go on.
const MOST_STATUSES: usize = 5_000;

/// The notices of one message.
#[derive(Clone, Debug)]
pub struct Group {
    /// The notices, in the order in which they came.
    pub items: Vec<Item>,
    /// When the message is due.
    pub due: Timestamp,
    /// When it was made.
    pub since: Timestamp,
    /// Of two that are due at once, the one with the smaller number is told first.
    pub number: u64,
}

impl Group {
    /// Its place among those that wait.
    fn turn(&self) -> Turn {
        (self.due, self.number)
    }
}

/// When a group is told: when it is due, and its number.
type Turn = (Timestamp, u64);

/// What the notices of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// One message, and its number. The commit is none where notices of several commits were joined.
    Message(NoticeState, Reason, Option<String>, u64),
    /// One status of a commit, of which the last one counts. The commit is none where it is the end of all that are under
    /// way.
    Status(Subject, Option<String>),
}

impl Key {
    /// Whether both are states of one resource's commits, or the same.
    fn is_of_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Status(one, _), Self::Status(other, _)) => one == other,
            _ => self == other,
        }
    }

    /// The key of a commit's status.
    fn of(item: &Item) -> Self {
        let commit = item.notice.commit().map(str::to_owned);
        Self::Status(item.subject.clone(), commit)
    }
}

impl Item {
    /// Whether it is a problem or the end of one, and not only news.
    fn is_ordered(&self) -> bool {
        self.state != NoticeState::News
    }

    /// What would have ended with an older item ends with this one.
    fn takes_over(&mut self, older: &Self) {
        for ended in &older.ended {
            if !self.ended.contains(ended) {
                self.ended.push(ended.clone());
            }
        }
    }
}

/// The groups of an alert that wait for more notices.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    waiting: BTreeMap<Key, Group>,
    /// When the last problem, or end of one, of each resource is told.
    last: BTreeMap<Subject, Turn>,
    /// The number of the newest group.
    newest: u64,
}

impl Groups {
    /// Adds a notice to its group. A new group is due after `wait`. The problems of a resource and their ends are told in
    /// the order in which they came: a service would keep open what is over, or close what goes on.
    pub fn add(&mut self, item: Item, now: Timestamp, wait: Duration) {
        let (state, reason) = (item.state, item.notice.reason);
        let is_ordered = item.is_ordered();
        let last = self.last.get(&item.subject).copied();
        let last = last.filter(|_| is_ordered);
        let mut commit = item.notice.commit().map(str::to_owned);
        if self.waiting.len() >= MOST && self.newest_of(state, reason, commit.clone()).is_none() {
            commit = None;
        }
        let known = self.newest_of(state, reason, commit.clone());
        if let Some(group) = known.filter(|group| last.is_none_or(|last| last <= group.turn())) {
            let turn = group.turn();
            if is_ordered {
                self.last.insert(item.subject.clone(), turn);
            }
            if let Some(group) = self.newest_of(state, reason, commit) {
                group.items.push(item);
            }
            return;
        }
        // A new commit is told at once.
        let wait = match reason {
            Reason::ChangeCommitted => Duration::ZERO,
            _ => wait,
        };
        let due = now.saturating_add(wait).unwrap_or(now);
        let due = last.map_or(due, |(last, _)| due.max(last));
        let number = self.next_number();
        if is_ordered {
            self.last.insert(item.subject.clone(), (due, number));
        }
        let group = Group {
            items: vec![item],
            due,
            since: now,
            number,
        };
        let key = Key::Message(state, reason, commit, number);
        self.waiting.insert(key, group);
    }

    /// The newest group of these notices.
    fn newest_of(
        &mut self,
        state: NoticeState,
        reason: Reason,
        commit: Option<String>,
    ) -> Option<&mut Group> {
        let first = Key::Message(state, reason, commit.clone(), 0);
        let last = Key::Message(state, reason, commit, u64::MAX);
        let (_, group) = self.waiting.range_mut(first..=last).next_back()?;
        Some(group)
    }

    fn next_number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Adds the state of a commit, in the place of an older one of that commit that waits. A state that is no more under
    /// way takes the place of all that are. Returns what was replaced.
    pub fn set(&mut self, mut item: Item, now: Timestamp, wait: Duration) -> Vec<Item> {
        let key = Key::of(&item);
        let is_final = !item.notice.is_progress();
        let is_replaced = |known: &Key, group: &Group| {
            let is_under_way = || group.items.iter().all(|item| item.notice.is_progress());
            *known == key
                || is_final
                    && matches!(known, Key::Status(subject, _) if *subject == item.subject)
                    && is_under_way()
        };
        let replaced: Vec<Item> = self
            .waiting
            .extract_if(.., |known, group| is_replaced(known, group))
            .flat_map(|(_, group)| group.items)
            .collect();
        for replaced in &replaced {
            item.takes_over(replaced);
        }
        let wait = match item.notice.reason {
            Reason::Converged => Duration::ZERO,
            _ => wait,
        };
        let group = Group {
            items: vec![item],
            due: now.saturating_add(wait).unwrap_or(now),
            since: now,
            number: self.next_number(),
        };
        self.waiting.insert(key, group);
        replaced
    }

    /// The state that has waited longest, if more of them wait than an alert keeps.
    pub fn overflow(&mut self) -> Option<Item> {
        if self.waiting.len() <= MOST_STATUSES {
            return None;
        }
        let oldest = self
            .waiting
            .iter()
            .min_by_key(|(_, group)| group.since)?
            .0
            .clone();
        self.waiting.remove(&oldest)?.items.pop()
    }

    /// Puts the state of a commit back, to be tried again when it is due. Does nothing if there is a newer one. Returns
    /// what is not needed any more.
    pub fn put_back(&mut self, item: Item, since: Timestamp, due: Timestamp) -> Option<Item> {
        let number = self.next_number();
        match self.waiting.entry(Key::of(&item)) {
            Entry::Occupied(mut newer) => {
                if let Some(newer) = newer.get_mut().items.first_mut() {
                    newer.takes_over(&item);
                }
                Some(item)
            }
            Entry::Vacant(place) => {
                place.insert(Group {
                    items: vec![item],
                    due,
                    since,
                    number,
                });
                None
            }
        }
    }

    /// Makes everything due that was put back. The order stays.
    pub fn hurry(&mut self, now: Timestamp) {
        let mut all: Vec<&mut Group> = self.waiting.values_mut().collect();
        all.sort_unstable_by_key(|group| group.turn());
        for group in all {
            self.newest += 1;
            (group.due, group.number) = (group.due.min(now), self.newest);
            for item in group.items.iter().filter(|item| item.is_ordered()) {
                self.last.insert(item.subject.clone(), group.turn());
            }
        }
    }

    /// When the next group is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.values().map(|group| group.due).min()
    }

    /// Takes the group that is due first, if one is due.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Group> {
        let due = self.waiting.iter().filter(|(_, group)| group.due <= now);
        let (key, _) = due.min_by_key(|(_, group)| group.turn())?;
        let key = key.clone();
        let taken = self.waiting.remove(&key)?;
        for item in &taken.items {
            if self.last.get(&item.subject) == Some(&taken.turn()) {
                self.last.remove(&item.subject);
            }
        }
        Some(taken)
    }

    /// Takes a group that is due: of those of one resource the one that has waited longest, though another one may be due
    /// before it.
    pub fn take_due_in_order(&mut self, now: Timestamp) -> Option<Group> {
        let is_due = |group: &Group| group.due <= now;
        let due = self.waiting.iter().filter(|(_, group)| is_due(group));
        let (next, _) = due.min_by_key(|(_, group)| group.due)?;
        let theirs = self
            .waiting
            .iter()
            .filter(|(key, group)| is_due(group) && next.is_of_the_same(key));
        let (key, _) = theirs.min_by_key(|(_, group)| group.since)?;
        let key = key.clone();
        self.waiting.remove(&key)
    }

    /// The states of a resource's commits that wait since before `before`.
    pub fn older(&self, subject: &Subject, before: Timestamp) -> impl Iterator<Item = Id> {
        let theirs = self.waiting.iter().filter(move |(key, group)| {
            matches!(key, Key::Status(of, _) if of == subject) && group.since < before
        });
        theirs.flat_map(|(_, group)| group.items.iter().map(|item| item.id))
    }

    /// Takes all groups.
    pub fn take_all(&mut self) -> Vec<Group> {
        self.last.clear();
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// The number of notices that wait.
    pub fn len(&self) -> usize {
        self.waiting.values().map(|group| group.items.len()).sum()
    }

    /// Whether no notice waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::Ended;
    use crate::message::testing::notice;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(name: &str, reason: Reason, commit: &str) -> Item {
        let mut notice = notice(name, reason, 1);
        notice.revision = Some(format!("main@sha1:{commit}"));
        Item {
            id: Id::of(&notice),
            subject: Subject::of(&notice),
            state: NoticeState::News,
            ended: Vec::new(),
            notice: Arc::new(notice),
        }
    }

    #[test]
    fn notices_of_one_commit_and_reason_make_one_message() {
        let mut groups = Groups::default();
        let wait = Duration::from_secs(5);
        for number in 0..50 {
            let name = number.to_string();
            groups.add(item(&name, Reason::Converged, "a"), at(number / 20), wait);
            groups.add(item(&name, Reason::Converged, "b"), at(1), wait);
        }
        groups.add(item("0", Reason::Diff, "a"), at(3), wait);
        groups.add(item("0", Reason::ChangeCommitted, "a"), at(3), wait);
        assert_eq!(groups.next_due(), Some(at(3)));
        let first = groups.take_due(at(3)).unwrap();
        assert_eq!(first.items[0].notice.reason, Reason::ChangeCommitted);
        assert!(groups.take_due(at(4)).is_none());
        let sizes: Vec<usize> = std::iter::from_fn(|| groups.take_due(at(8)))
            .map(|group| group.items.len())
            .collect();
        assert_eq!(sizes, [50, 50, 1]);
        assert!(groups.is_empty());
    }

    /// What is told, in order: which problem of which resource begins or ends.
    fn told(groups: &mut Groups) -> Vec<String> {
        let due = std::iter::from_fn(|| groups.take_due(at(1000)));
        due.flat_map(|group| group.items)
            .filter(Item::is_ordered)
            .map(|item| format!("{} {}", item.subject.name, item.state.as_str()))
            .collect()
    }

    #[test]
    fn the_problems_of_a_resource_and_their_ends_are_told_in_their_order() {
        let wait = Duration::from_secs(5);
        let add = |groups: &mut Groups, name: &str, begins: bool, second: i64| {
            let mut one = item(name, Reason::ApplyFailed, "a");
            if !begins {
                one = item(name, Reason::Converged, "a");
            }
            one.state = match begins {
                true => NoticeState::Begins,
                false => NoticeState::Ends,
            };
            groups.add(one, at(second), wait);
        };
        let mut groups = Groups::default();
        // The end of the first is due before the begin of the second, whose own end comes into the time of the first's.
        for (name, begins, second) in [
            ("x", true, 0),
            ("x", false, 1),
            ("y", true, 5),
            ("y", false, 5),
        ] {
            add(&mut groups, name, begins, second);
        }
        assert_eq!(
            told(&mut groups),
            ["x begins", "y begins", "x ends", "y ends"]
        );
        // It comes and goes while the service is away.
        for second in 0..6 {
            add(&mut groups, "x", second % 2 == 0, second);
            add(&mut groups, "z", second % 2 == 1, second);
        }
        let all = told(&mut groups);
        for (name, first) in [("x", "begins"), ("z", "ends")] {
            let theirs: Vec<_> = all
                .iter()
                .filter_map(|line| line.strip_prefix(name))
                .collect();
            assert_eq!(theirs.len(), 6, "{all:?}");
            assert_eq!(theirs[0].trim(), first, "{all:?}");
            assert!(theirs.windows(2).all(|two| two[0] != two[1]), "{all:?}");
        }
        assert!(groups.last.is_empty());
        // To be in a hurry does not change it.
        add(&mut groups, "x", true, 0);
        groups.add(item("x", Reason::ChangeCommitted, "b"), at(1), wait);
        add(&mut groups, "x", false, 2);
        groups.hurry(at(2));
        add(&mut groups, "x", true, 2);
        assert_eq!(told(&mut groups), ["x begins", "x ends", "x begins"]);
    }

    /// Whatever comes in whatever order, with however many commits.
    #[test]
    fn no_order_of_notices_changes_that_of_one_resource() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let mut groups = Groups::default();
            let mut added: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let note = |list: &mut BTreeMap<String, Vec<String>>, item: &Item| {
                let line = format!("{} {}", item.state.as_str(), item.notice.message);
                let name = item.subject.name.to_string();
                list.entry(name).or_default().push(line);
            };
            for step in 0..400_i64 {
                let name = random(4).to_string();
                let commit = random(300).to_string();
                let reason = [Reason::ApplyFailed, Reason::HealthFailed, Reason::Converged];
                let reason = reason[random(3) as usize];
                let mut one = item(&name, reason, &commit);
                one.state = match reason {
                    Reason::Converged => NoticeState::Ends,
                    _ => NoticeState::Begins,
                };
                let notice = Arc::make_mut(&mut one.notice);
                notice.message = step.to_string();
                note(&mut added, &one);
                groups.add(one, at(step / 10), Duration::from_secs(5));
                if random(60) == 0 {
                    groups.hurry(at(step / 10));
                }
                let taken = (random(5) == 0).then(|| groups.take_due(at(step / 10)));
                if let Some(group) = taken.flatten() {
                    group.items.iter().for_each(|item| note(&mut found, item));
                }
            }
            while let Some(group) = groups.take_due(at(1000)) {
                group.items.iter().for_each(|item| note(&mut found, item));
            }
            assert_eq!(found, added);
        }
    }

    #[test]
    fn groups_are_bounded_and_lose_nothing() {
        let mut groups = Groups::default();
        for number in 0..10_000 {
            let commit = number.to_string();
            let reason = match number % 2 {
                0 => Reason::Converged,
                _ => Reason::ApplyFailed,
            };
            groups.add(item("shop", reason, &commit), at(0), Duration::ZERO);
        }
        assert!(groups.waiting.len() <= MOST + 2);
        assert_eq!(groups.len(), 10_000);
        assert_eq!(groups.take_all().len(), MOST + 2);
    }

    fn ended(revision: &str) -> Ended {
        Ended {
            reason: Reason::Progressing,
            revision: Some(revision.to_owned()),
            since: at(0),
        }
    }

    /// What is due, as its reason and its commit.
    fn due(groups: &mut Groups, second: i64) -> Vec<(Reason, String)> {
        let due = std::iter::from_fn(|| groups.take_due(at(second)));
        due.map(|group| {
            let notice = &group.items[0].notice;
            (
                notice.reason,
                notice.commit().unwrap_or_default().to_owned(),
            )
        })
        .collect()
    }

    #[test]
    fn the_last_state_of_a_commit_takes_the_place_of_those_that_wait() {
        let wait = Duration::from_secs(5);
        let mut groups = Groups::default();
        let set = |groups: &mut Groups, reason, commit: &str| {
            groups.set(item("shop", reason, commit), at(0), wait).len()
        };
        assert_eq!(set(&mut groups, Reason::Progressing, "a"), 0);
        assert_eq!(set(&mut groups, Reason::Progressing, "b"), 0);
        let other = item("cart", Reason::Progressing, "a");
        groups.set(other, at(0), wait);
        assert_eq!(
            set(&mut groups, Reason::Converged, "b"),
            2,
            "nothing is under way"
        );
        let converged = (Reason::Converged, "b".to_owned());
        assert_eq!(due(&mut groups, 0), [converged], "success does not wait");
        let pending = (Reason::Progressing, "a".to_owned());
        assert_eq!(due(&mut groups, 5), [pending], "that of the other Sync");
        assert_eq!(set(&mut groups, Reason::ApplyFailed, "a"), 0);
        assert_eq!(
            set(&mut groups, Reason::Converged, "b"),
            0,
            "a stays failed"
        );
        assert_eq!(groups.len(), 2);
    }

    #[test]
    fn states_of_one_sync_keep_their_order_though_a_later_one_is_due_first() {
        let mut groups = Groups::default();
        let put = |groups: &mut Groups, name: &str, commit: &str, since: i64, due: i64| {
            let live = item(name, Reason::Converged, commit);
            assert!(groups.put_back(live, at(since), at(due)).is_none());
        };
        put(&mut groups, "shop", "a", 1, 5);
        put(&mut groups, "shop", "b", 2, 2);
        put(&mut groups, "cart", "c", 1, 3);
        put(&mut groups, "shop", "d", 0, 9);
        let older = |groups: &Groups, before| {
            let subject = Subject::of(&item("shop", Reason::Converged, "b").notice);
            groups.older(&subject, at(before)).count()
        };
        assert_eq!((older(&groups, 2), older(&groups, 0)), (2, 0));
        let order = std::iter::from_fn(|| groups.take_due_in_order(at(6)));
        let order: Vec<_> = order
            .map(|group| {
                group.items[0]
                    .notice
                    .commit()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        assert_eq!(order, ["a", "b", "c"], "d is not due");
    }

    #[test]
    fn the_states_that_wait_are_bounded() {
        let mut groups = Groups::default();
        for number in 0..=MOST_STATUSES {
            assert!(groups.overflow().is_none());
            let failed = item("shop", Reason::ApplyFailed, &number.to_string());
            groups.set(failed, at(number as i64), Duration::from_secs(5));
        }
        let oldest = groups.overflow().unwrap();
        assert_eq!(oldest.notice.commit(), Some("0"));
        assert!(groups.overflow().is_none());
        assert_eq!(groups.len(), MOST_STATUSES);
    }

    #[test]
    fn what_is_put_back_gives_way_to_what_is_newer_and_loses_no_end() {
        let mut groups = Groups::default();
        let mut failed = item("shop", Reason::ApplyFailed, "b");
        failed.ended = vec![ended("main@sha1:a")];
        assert!(groups.put_back(failed.clone(), at(0), at(9)).is_none());
        assert_eq!(due(&mut groups, 8), []);
        assert_eq!(groups.next_due(), Some(at(9)));
        groups.hurry(at(1));
        assert_eq!(groups.next_due(), Some(at(1)));
        let replaced = groups.set(item("shop", Reason::Converged, "b"), at(1), Duration::ZERO);
        assert_eq!(replaced.len(), 1);
        let replaced = groups.put_back(failed, at(0), at(1));
        assert!(replaced.is_some());
        let group = groups.take_due(at(1)).unwrap();
        assert_eq!(group.items[0].notice.reason, Reason::Converged);
        assert_eq!(group.items[0].ended, [ended("main@sha1:a")]);
    }
}
