//! Decides what a replica does about the lease, from its own observations and its own clock. The
//! clocks of two machines are never compared. The rules are those of client-go's `leaderelection`.

use std::fmt;
use std::time::Duration;

use super::clock::Moment;

/// The times of an election, all computed from the duration of the lease. They have client-go's
/// proportions (15, 10 and 2 seconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long other replicas respect a lease after they last saw it change.
    pub(super) lease: Duration,
    /// How long the holder may write, counted from before it sent the last renewal. This is shorter
    /// than `lease`, to leave time for requests on the wire and for clocks of different speed.
    pub(super) deadline: Duration,
    /// The pause between two renewals.
    pub(super) renewal: Duration,
    /// The pause between two reads by a standby.
    pub(super) look: Duration,
}

impl Terms {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            deadline: lease * 2 / 3,
            renewal: lease * 2 / 15,
            look: (lease / 15).min(Duration::from_secs(1)),
        }
    }

    /// How long a write may be on its way after the last time at which it may start.
    pub(super) fn margin(&self) -> Duration {
        self.lease - self.deadline
    }

    /// The time limit of one request. Two tries fit before the deadline.
    pub(super) fn patience(&self) -> Duration {
        self.deadline / 2
    }
}

/// The content of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseRecord {
    /// The holder. None if the lease was released.
    pub(super) holder: Option<String>,
    /// The holder's own time of renewal. It only serves to tell two records apart.
    pub(super) renewed: Option<jiff::Timestamp>,
    /// How long the lease is valid after each renewal.
    pub(super) lease: Duration,
}

/// The next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read again later.
    StandBy,
    /// Try to take the lease.
    Take,
    /// Renew it.
    Renew,
    /// Stop writing.
    Stop(LostLease),
}

/// Why a replica no longer leads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostLease {
    /// The lease could not be renewed in time.
    #[error("the lease {lease} could not be renewed within {}", seconds(.deadline))]
    Expired {
        /// Namespace and name.
        lease: String,
        /// For how long it tried.
        deadline: Duration,
    },
    /// Another replica holds the lease, or a person has changed it.
    #[error("the lease {lease} is held by {}", .holder.as_deref().unwrap_or("nobody"))]
    Taken {
        /// Namespace and name.
        lease: String,
        /// The new holder.
        holder: Option<String>,
    },
}

fn seconds(duration: &Duration) -> impl fmt::Display + use<> {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A replica that leads or waits to lead.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    /// Namespace and name of the lease, for messages.
    lease: String,
    terms: Terms,
    /// The last content of the lease, and when it was first seen.
    last_seen: Option<(LeaseRecord, Moment)>,
    /// When the last successful renewal was sent. None on a standby.
    renewed: Option<Moment>,
}

impl Candidate {
    pub(super) fn new(identity: String, lease: String, terms: Terms) -> Self {
        Self {
            identity,
            lease,
            terms,
            last_seen: None,
            renewed: None,
        }
    }

    /// Records the server's answer. `now` is after the answer. If the lease does not exist, the
    /// last record stays valid, because its holder may not know yet that somebody deleted the
    /// lease.
    pub(super) fn observe(&mut self, record: Option<LeaseRecord>, now: Moment) {
        let Some(record) = record else { return };
        if self
            .last_seen
            .as_ref()
            .is_none_or(|(known, _)| *known != record)
        {
            self.last_seen = Some((record, now));
        }
    }

    /// Records that the server accepted a renewal, or the first lease, that was sent at `sent`.
    pub(super) fn renewed(&mut self, record: LeaseRecord, sent: Moment) {
        self.last_seen = Some((record, sent));
        self.renewed = Some(sent);
    }

    pub(super) fn leads(&self) -> bool {
        self.renewed.is_some()
    }

    pub(super) fn holder(&self) -> Option<&str> {
        let (record, _) = self.last_seen.as_ref()?;
        record.holder.as_deref()
    }

    /// The time until which this replica may write.
    pub(super) fn may_write_until(&self) -> Option<Moment> {
        Some(self.renewed? + self.terms.deadline)
    }

    pub(super) fn next(&self, now: Moment) -> Next {
        let mine = self.holder() == Some(&self.identity);
        if let Some(until) = self.may_write_until() {
            return match (mine, now < until) {
                (true, true) => Next::Renew,
                (true, false) => Next::Stop(LostLease::Expired {
                    lease: self.lease.clone(),
                    deadline: self.terms.deadline,
                }),
                (false, _) => Next::Stop(LostLease::Taken {
                    lease: self.lease.clone(),
                    holder: self.holder().map(str::to_owned),
                }),
            };
        }
        match &self.last_seen {
            // There never was a lease.
            None => Next::Take,
            Some((LeaseRecord { holder: None, .. }, _)) => Next::Take,
            // This replica holds it: the answer to an earlier attempt was lost.
            Some(_) if mine => Next::Take,
            Some((record, since)) if now >= *since + record.lease => Next::Take,
            Some(_) => Next::StandBy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    fn record(holder: &str, renewed: i64) -> LeaseRecord {
        LeaseRecord {
            holder: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
            renewed: jiff::Timestamp::from_second(renewed).ok(),
            lease: Duration::from_secs(15),
        }
    }

    fn candidate() -> Candidate {
        let terms = Terms::new(Duration::from_secs(15));
        Candidate::new("me".to_owned(), "ns/towline".to_owned(), terms)
    }

    fn leader(since: u64) -> Candidate {
        let mut candidate = candidate();
        candidate.renewed(record("me", 1), at(since));
        candidate
    }

    #[test]
    fn the_proportions_are_those_of_client_go() {
        let terms = Terms::new(Duration::from_secs(15));
        assert_eq!(terms.deadline, Duration::from_secs(10));
        assert_eq!(terms.renewal, Duration::from_secs(2));
        assert_eq!(terms.look, Duration::from_secs(1));
        assert_eq!(terms.margin(), Duration::from_secs(5));
    }

    #[test]
    fn a_standby_takes_what_is_free_and_waits_for_what_is_not() {
        // The observations with their times, and the action at second 100.
        type Observations<'a> = &'a [(Option<LeaseRecord>, u64)];
        let table: [(&str, Observations<'_>, Next); 10] = [
            ("no lease", &[(None, 99)], Next::Take),
            ("given back", &[(Some(record("", 9)), 99)], Next::Take),
            ("another's", &[(Some(record("b", 9)), 99)], Next::StandBy),
            ("not yet old", &[(Some(record("b", 9)), 86)], Next::StandBy),
            ("old", &[(Some(record("b", 9)), 85)], Next::Take),
            (
                "old, and seen again",
                &[(Some(record("b", 9)), 85), (Some(record("b", 9)), 99)],
                Next::Take,
            ),
            (
                "renewed",
                &[(Some(record("b", 9)), 85), (Some(record("b", 10)), 86)],
                Next::StandBy,
            ),
            (
                "handed on",
                &[(Some(record("b", 9)), 85), (Some(record("c", 9)), 99)],
                Next::StandBy,
            ),
            (
                "deleted a moment ago",
                &[(Some(record("b", 9)), 99), (None, 99)],
                Next::StandBy,
            ),
            (
                "its own, whose answer got lost",
                &[(Some(record("me", 9)), 99)],
                Next::Take,
            ),
        ];
        for (name, seen, next) in table {
            let mut candidate = candidate();
            for (record, when) in seen {
                candidate.observe(record.clone(), at(*when));
            }
            assert_eq!(candidate.next(at(100)), next, "{name}");
            assert!(!candidate.leads() && candidate.may_write_until().is_none());
        }
    }

    #[test]
    fn the_holder_says_how_long_its_lease_counts() {
        let mut candidate = candidate();
        let long = LeaseRecord {
            lease: Duration::from_secs(60),
            ..record("b", 9)
        };
        candidate.observe(Some(long), at(0));
        assert_eq!(candidate.next(at(59)), Next::StandBy);
        assert_eq!(candidate.next(at(60)), Next::Take);
    }

    #[test]
    fn clocks_of_others_do_not_matter() {
        let mut candidate = candidate();
        for (turn, renewed) in [5_000_000_000, -5_000_000_000, 0].into_iter().enumerate() {
            let now = 20 * turn as u64;
            candidate.observe(Some(record("b", renewed)), at(now));
            assert_eq!(candidate.next(at(now + 14)), Next::StandBy);
            assert_eq!(candidate.next(at(now + 15)), Next::Take);
        }
    }

    #[test]
    fn a_leader_renews_and_stops_at_its_deadline_before_the_others_wait_is_over() {
        let leader = leader(100);
        assert_eq!(leader.may_write_until(), Some(at(110)));
        assert_eq!(leader.next(at(101)), Next::Renew);
        assert_eq!(
            leader.next(Moment::from_nanos(at(110).nanos() - 1)),
            Next::Renew
        );
        for late in [110, 115, 10_000] {
            let next = leader.next(at(late));
            assert!(
                matches!(next, Next::Stop(LostLease::Expired { .. })),
                "{late}"
            );
        }
        let mut standby = candidate();
        // The replica cannot have seen the renewal before it was sent.
        standby.observe(Some(record("me-too", 1)), at(100));
        assert_eq!(standby.next(at(114)), Next::StandBy);
    }

    #[test]
    fn a_leader_that_sees_another_holder_stops_whatever_the_time() {
        for (holder, says) in [("b", "is held by b"), ("", "is held by nobody")] {
            let mut leader = leader(100);
            leader.observe(Some(record(holder, 2)), at(101));
            let Next::Stop(lost) = leader.next(at(101)) else {
                panic!("{leader:?}");
            };
            assert_eq!(lost.to_string(), format!("the lease ns/towline {says}"));
        }
    }

    #[test]
    fn a_leader_whose_lease_was_deleted_makes_it_again() {
        let mut leader = leader(100);
        leader.observe(None, at(101));
        assert_eq!(leader.next(at(101)), Next::Renew);
    }
}
