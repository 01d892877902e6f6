//! Many notices of one commit and reason make one message. Pure: the current time is an input.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use jiff::Timestamp;

use super::{Id, Item, NoticeState, Subject};
use crate::api::Reason;

/// The most groups of an alert that wait. Notices of more commits join into one group for each reason, so that none is
/// lost and the number of groups stays bounded.
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
}

/// What the notices of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// One message. The commit is none where notices of several commits were joined.
    Message(NoticeState, Reason, Option<String>),
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
pub struct Groups(BTreeMap<Key, Group>);

impl Groups {
    /// Adds a notice to its group. A new group is due after `wait`.
    pub fn add(&mut self, item: Item, now: Timestamp, wait: Duration) {
        let (state, reason) = (item.state, item.notice.reason);
        let commit = item.notice.commit().map(str::to_owned);
        let mut key = Key::Message(state, reason, commit);
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            key = Key::Message(state, reason, None);
        }
        // A new commit is told at once.
        let wait = match reason {
            Reason::ChangeCommitted => Duration::ZERO,
            _ => wait,
        };
        let group = self.0.entry(key).or_insert_with(|| Group {
            items: Vec::new(),
            due: now.saturating_add(wait).unwrap_or(now),
            since: now,
        });
        group.items.push(item);
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
            .0
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
        };
        self.0.insert(key, group);
        replaced
    }

    /// The state that has waited longest, if more of them wait than an alert keeps.
    pub fn overflow(&mut self) -> Option<Item> {
        if self.0.len() <= MOST_STATUSES {
            return None;
        }
        let oldest = self
            .0
            .iter()
            .min_by_key(|(_, group)| group.since)?
            .0
            .clone();
        self.0.remove(&oldest)?.items.pop()
    }

    /// Puts the state of a commit back, to be tried again when it is due. Does nothing if there is a newer one. Returns
    /// what is not needed any more.
    pub fn put_back(&mut self, item: Item, since: Timestamp, due: Timestamp) -> Option<Item> {
        match self.0.entry(Key::of(&item)) {
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
                });
                None
            }
        }
    }

    /// Makes everything due that was put back.
    pub fn hurry(&mut self, now: Timestamp) {
        for group in self.0.values_mut() {
            group.due = group.due.min(now);
        }
    }

    /// When the next group is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.values().map(|group| group.due).min()
    }

    /// Takes the group that is due first, if one is due.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Group> {
        let due = self.0.iter().filter(|(_, group)| group.due <= now);
        let (key, _) = due.min_by_key(|(_, group)| group.due)?;
        let key = key.clone();
        self.0.remove(&key)
    }

    /// Takes a group that is due: of those of one resource the one that has waited longest, though another one may be due
    /// before it.
    pub fn take_due_in_order(&mut self, now: Timestamp) -> Option<Group> {
        let is_due = |group: &Group| group.due <= now;
        let due = self.0.iter().filter(|(_, group)| is_due(group));
        let (next, _) = due.min_by_key(|(_, group)| group.due)?;
        let theirs = self
            .0
            .iter()
            .filter(|(key, group)| is_due(group) && next.is_of_the_same(key));
        let (key, _) = theirs.min_by_key(|(_, group)| group.since)?;
        let key = key.clone();
        self.0.remove(&key)
    }

    /// The states of a resource's commits that wait since before `before`.
    pub fn older(&self, subject: &Subject, before: Timestamp) -> impl Iterator<Item = Id> {
        let theirs = self.0.iter().filter(move |(key, group)| {
            matches!(key, Key::Status(of, _) if of == subject) && group.since < before
        });
        theirs.flat_map(|(_, group)| group.items.iter().map(|item| item.id))
    }

    /// Takes all groups.
    pub fn take_all(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// The number of notices that wait.
    pub fn len(&self) -> usize {
        self.0.values().map(|group| group.items.len()).sum()
    }

    /// Whether no notice waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        assert!(groups.0.len() <= MOST + 2);
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
