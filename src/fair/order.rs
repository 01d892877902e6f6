//! Who is next. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Free slots, and who waits for one. A slot goes to the tenant that has the fewest; among equals, to the one that
/// was served the longest time ago. Within a tenant, members share in the same way, and within a member it goes to who
/// came first. So a namespace with a hundred Syncs does not hold up another one with one, nor does a Sync with a
/// thousand objects hold up its neighbour with one.
#[derive(Debug)]
pub(crate) struct Order {
    all: u32,
    free: u32,
    /// The most slots of one tenant: its slow work leaves some for others.
    of_tenant: u32,
    /// Counts who came and who was served.
    clock: u64,
    tenants: Shares<Shares<VecDeque<u64>>>,
}

/// A place in the queue, or a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    tenant: Arc<str>,
    member: Arc<str>,
    /// In the order in which they came.
    pub(crate) number: u64,
}

/// Those who share. Thousands may wait, so who is next is known without a look at each.
#[derive(Debug, Default)]
struct Shares<T> {
    all: HashMap<Arc<str>, Share<T>>,
    /// Those who wait for a slot.
    waiting: BTreeMap<Rank, Arc<str>>,
}

/// How many slots somebody has, when a slot was served last, and when the first came. The lowest is next.
type Rank = (u32, u64, u64);

/// What one of them has.
#[derive(Debug, Default)]
struct Share<T> {
    /// How many wait or have a slot.
    present: u32,
    running: u32,
    /// When it was served last.
    served: u64,
    /// When the first of those came.
    came: u64,
    inner: T,
}

impl<T> Share<T> {
    fn waits(&self) -> bool {
        self.present > self.running
    }

    fn rank(&self) -> Rank {
        (self.running, self.served, self.came)
    }

    fn serve(&mut self, clock: u64) {
        self.running += 1;
        self.served = clock;
    }

    fn end(&mut self, slots: u32) {
        self.present -= 1;
        self.running -= slots;
    }
}

impl<T: Default> Shares<T> {
    /// Adds one who waits.
    fn join(&mut self, name: &Arc<str>, clock: u64, inner: impl FnOnce(&mut T)) {
        let came = |share: &mut Share<T>| {
            if share.present == 0 {
                share.came = clock;
            }
            share.present += 1;
            inner(&mut share.inner);
        };
        if !self.all.contains_key(name) {
            self.all.insert(Arc::clone(name), Share::default());
        }
        self.change(name, came);
    }

    /// Changes a share, and its place. Forgets one that has nothing left.
    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Share<T>)) {
        let Some(share) = self.all.get_mut(name) else {
            return;
        };
        self.waiting.remove(&share.rank());
        change(share);
        if share.waits() {
            self.waiting.insert(share.rank(), Arc::clone(name));
        } else if share.present == 0 {
            self.all.remove(name);
        }
    }

    /// Who is next of those with fewer than `most` slots.
    fn next(&self, most: u32) -> Option<(&Arc<str>, &Share<T>)> {
        let ((running, ..), name) = self.waiting.first_key_value()?;
        let share = self.all.get(name).filter(|_| *running < most)?;
        Some((name, share))
    }
}

impl Order {
    /// So many slots, of which one tenant may have `of_tenant`.
    pub(crate) fn new(slots: u32, of_tenant: u32) -> Self {
        Self {
            all: slots,
            free: slots,
            of_tenant,
            clock: 0,
            tenants: Shares::default(),
        }
    }

    /// The number of free slots.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Whether all slots are free.
    pub(crate) fn is_idle(&self) -> bool {
        self.free == self.all
    }

    /// Joins the queue.
    pub(crate) fn join(&mut self, tenant: &Arc<str>, member: &Arc<str>) -> Ticket {
        self.clock += 1;
        let clock = self.clock;
        self.tenants.join(tenant, clock, |members| {
            members.join(member, clock, |waiting| waiting.push_back(clock));
        });
        Ticket {
            tenant: Arc::clone(tenant),
            member: Arc::clone(member),
            number: self.clock,
        }
    }

    /// Leaves the queue without a slot.
    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        self.end(ticket, 0, |waiting| {
            waiting.retain(|number| *number != ticket.number);
        });
    }

    /// Takes a slot, if there is one and it is this ticket's turn.
    pub(crate) fn take(&mut self, ticket: &Ticket) -> bool {
        let is_next = self.next().is_some_and(|next| next == *ticket);
        if is_next {
            self.serve(ticket);
        }
        is_next
    }

    /// Gives a slot, if one is free, to whose turn it is.
    pub(crate) fn give(&mut self) -> Option<Ticket> {
        let next = self.next()?;
        self.serve(&next);
        Some(next)
    }

    /// Gives a slot back.
    pub(crate) fn give_back(&mut self, ticket: &Ticket) {
        self.free += 1;
        self.end(ticket, 1, |_| ());
    }

    fn serve(&mut self, ticket: &Ticket) {
        self.free -= 1;
        self.clock += 1;
        let clock = self.clock;
        self.tenants.change(&ticket.tenant, |tenant| {
            tenant.serve(clock);
            tenant.inner.change(&ticket.member, |member| {
                member.serve(clock);
                member.inner.pop_front();
            });
        });
    }

    /// Forgets one who had so many slots.
    fn end(&mut self, ticket: &Ticket, slots: u32, waiting: impl FnOnce(&mut VecDeque<u64>)) {
        self.tenants.change(&ticket.tenant, |tenant| {
            tenant.end(slots);
            tenant.inner.change(&ticket.member, |member| {
                member.end(slots);
                waiting(&mut member.inner);
            });
        });
    }

    /// Whose turn it is, if a slot is free.
    fn next(&self) -> Option<Ticket> {
        if self.free == 0 {
            return None;
        }
        let (tenant, share) = self.tenants.next(self.of_tenant)?;
        let (member, share) = share.inner.next(u32::MAX)?;
        Some(Ticket {
            tenant: Arc::clone(tenant),
            member: Arc::clone(member),
            number: *share.inner.front()?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Serves all that wait with one slot, and names them in order.
    fn served(order: &mut Order) -> String {
        let mut served = String::new();
        while let Some(ticket) = order.give() {
            served.push_str(&ticket.tenant);
            served.push_str(&ticket.member);
            order.give_back(&ticket);
        }
        served
    }

    /// Each word is a tenant with a member: `a1`; a letter alone is a tenant with one member.
    fn join(order: &mut Order, who: &[&str]) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for who in who {
            let (tenant, member) = who.split_at(1);
            tickets.push(order.join(&tenant.into(), &member.into()));
        }
        tickets
    }

    #[test]
    fn tenants_take_turns_however_many_each_has_waiting_and_so_do_their_members() {
        for (came, expected) in [
            (&[][..], ""),
            (&["a", "a", "a"], "aaa"),
            (&["a", "a", "a", "a", "b"], "abaaa"),
            (&["a", "a", "b", "b", "c"], "abcab"),
            (&["a1", "a1", "a1", "a2"], "a1a2a1a1"),
            (&["a1", "a1", "a2", "a2", "b1", "b1"], "a1b1a2b1a1a2"),
        ] {
            let mut order = Order::new(1, 1);
            join(&mut order, came);
            assert_eq!(served(&mut order), expected, "{came:?}");
            assert!(order.tenants.all.is_empty() && order.is_idle());
        }
    }

    #[test]
    fn a_slot_goes_to_the_tenant_that_has_the_fewest() {
        let mut order = Order::new(2, 2);
        let first = join(&mut order, &["a", "a", "a"]);
        assert!(!order.take(&first[1]), "it came later");
        assert!(order.take(&first[0]) && order.take(&first[1]));
        assert!(!order.take(&first[2]), "no slot is free");
        let late = join(&mut order, &["b"]);
        order.give_back(&first[0]);
        assert!(!order.take(&first[2]), "b has none");
        assert!(order.take(&late[0]));
        order.give_back(&first[1]);
        assert!(order.take(&first[2]) && !order.is_idle());
    }

    #[test]
    fn a_tenant_leaves_some_slots_for_others() {
        let mut order = Order::new(3, 2);
        let many = join(&mut order, &["a", "a", "a"]);
        assert!(order.take(&many[0]) && order.take(&many[1]));
        assert!(order.give().is_none(), "one stays free");
        let few = join(&mut order, &["b"]);
        assert_eq!(order.give().as_ref(), few.first());
        order.give_back(&many[0]);
        assert_eq!(order.give().as_ref(), many.last());
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let mut order = Order::new(1, 1);
        let all = join(&mut order, &["a1", "a1", "a2", "b"]);
        order.leave(&all[0]);
        order.leave(&all[3]);
        assert_eq!(served(&mut order), "a1a2");
        assert!(order.tenants.all.is_empty() && order.is_idle());
    }

    /// The same decisions, by a look at everybody.
    #[derive(Default)]
    struct Plain {
        /// Who waits and who has a slot: tenant, member, number, and whether it has a slot.
        present: Vec<(Ticket, bool)>,
        /// When each was served last, and when the first of those came who are present.
        served: HashMap<(Arc<str>, Option<Arc<str>>), u64>,
        came: HashMap<(Arc<str>, Option<Arc<str>>), u64>,
    }

    impl Plain {
        fn rank(&self, tenant: &Arc<str>, member: Option<&Arc<str>>) -> Rank {
            let is_theirs = |ticket: &Ticket| {
                ticket.tenant == *tenant && member.is_none_or(|member| ticket.member == *member)
            };
            let running = self
                .present
                .iter()
                .filter(|(ticket, runs)| *runs && is_theirs(ticket));
            let who = (Arc::clone(tenant), member.cloned());
            let of = |times: &HashMap<_, u64>| times.get(&who).copied().unwrap_or_default();
            (running.count() as u32, of(&self.served), of(&self.came))
        }

        fn next(&self, most: u32) -> Option<Ticket> {
            let waiting = self
                .present
                .iter()
                .filter(|(_, runs)| !runs)
                .map(|(ticket, _)| ticket);
            let waiting = waiting.filter(|ticket| self.rank(&ticket.tenant, None).0 < most);
            let next = waiting.min_by_key(|ticket| {
                let Ticket {
                    tenant,
                    member,
                    number,
                } = ticket;
                (
                    self.rank(tenant, None),
                    self.rank(tenant, Some(member)),
                    *number,
                )
            });
            next.cloned()
        }

        fn both(ticket: &Ticket) -> [(Arc<str>, Option<Arc<str>>); 2] {
            let tenant = || Arc::clone(&ticket.tenant);
            [
                (tenant(), None),
                (tenant(), Some(Arc::clone(&ticket.member))),
            ]
        }

        fn forget(&mut self, ticket: &Ticket) {
            self.present.retain(|(other, _)| other != ticket);
            for who in Self::both(ticket) {
                let is_present = self
                    .present
                    .iter()
                    .any(|(other, _)| Self::both(other).contains(&who));
                if !is_present {
                    self.served.remove(&who);
                    self.came.remove(&who);
                }
            }
        }
    }

    #[test]
    fn who_is_next_is_who_would_be_by_a_look_at_everybody() {
        let mut order = Order::new(5, 3);
        let mut plain = Plain::default();
        let mut random = 7_u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (what, of) = ((random >> 33) % 8, (random >> 40) as usize);
            let has_slot = what == 6;
            let of_kind: Vec<Ticket> = plain
                .present
                .iter()
                .filter(|(_, runs)| *runs == has_slot)
                .map(|(ticket, _)| ticket.clone())
                .collect();
            match what {
                0..3 if plain.present.len() < 30 => {
                    let tenant: Arc<str> = format!("t{}", of % 4).into();
                    let member: Arc<str> = format!("m{}", of / 4 % 4).into();
                    let ticket = order.join(&tenant, &member);
                    for who in Plain::both(&ticket) {
                        plain.came.entry(who).or_insert(ticket.number);
                    }
                    plain.present.push((ticket, false));
                }
                3..6 => {
                    let expected = plain.next(3).filter(|_| order.free() > 0);
                    let given = order.give();
                    assert_eq!(given, expected);
                    if let Some(given) = given {
                        for who in Plain::both(&given) {
                            plain.served.insert(who, order.clock);
                        }
                        let place = plain
                            .present
                            .iter_mut()
                            .find(|(ticket, _)| *ticket == given);
                        place.unwrap().1 = true;
                    }
                }
                6 if !of_kind.is_empty() => {
                    let ticket = &of_kind[of % of_kind.len()];
                    order.give_back(ticket);
                    plain.forget(ticket);
                }
                7 if !of_kind.is_empty() => {
                    let ticket = &of_kind[of % of_kind.len()];
                    order.leave(ticket);
                    plain.forget(ticket);
                }
                _ => (),
            }
        }
    }
}
