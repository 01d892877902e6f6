//! Who is next. Pure.

use std::collections::{HashMap, VecDeque};
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

/// Those who share, with what each has.
type Shares<T> = HashMap<Arc<str>, Share<T>>;

#[derive(Debug, Default)]
struct Share<T> {
    /// How many wait or have a slot.
    present: u32,
    running: u32,
    /// When it was served last.
    served: u64,
    inner: T,
}

impl<T> Share<T> {
    fn waits(&self) -> bool {
        self.present > self.running
    }

    fn serve(&mut self, clock: u64) {
        self.running += 1;
        self.served = clock;
    }
}

/// Of those who wait and have fewer than `most`. The first of two equals is who came first.
fn next_of<T>(
    shares: &Shares<T>,
    most: u32,
    came: impl Fn(&T) -> Option<u64>,
) -> Option<(&Arc<str>, &Share<T>)> {
    shares
        .iter()
        .filter(|(_, share)| share.waits() && share.running < most)
        .min_by_key(|(_, share)| (share.running, share.served, came(&share.inner)))
}

fn first_of_member(waiting: &VecDeque<u64>) -> Option<u64> {
    waiting.front().copied()
}

fn first_of_tenant(members: &Shares<VecDeque<u64>>) -> Option<u64> {
    let waiting = members.values().map(|member| &member.inner);
    waiting.filter_map(first_of_member).min()
}

impl Order {
    /// So many slots, of which one tenant may have `of_tenant`.
    pub(crate) fn new(slots: u32, of_tenant: u32) -> Self {
        Self {
            all: slots,
            free: slots,
            of_tenant,
            clock: 0,
            tenants: HashMap::new(),
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
        let share = self.tenants.entry(Arc::clone(tenant)).or_default();
        share.present += 1;
        let share = share.inner.entry(Arc::clone(member)).or_default();
        share.present += 1;
        share.inner.push_back(self.clock);
        Ticket {
            tenant: Arc::clone(tenant),
            member: Arc::clone(member),
            number: self.clock,
        }
    }

    /// Leaves the queue without a slot.
    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        if let Some(tenant) = self.tenants.get_mut(&ticket.tenant)
            && let Some(member) = tenant.inner.get_mut(&ticket.member)
        {
            member.inner.retain(|number| *number != ticket.number);
        }
        self.end(ticket, 0);
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
        self.end(ticket, 1);
    }

    fn serve(&mut self, ticket: &Ticket) {
        self.free -= 1;
        self.clock += 1;
        if let Some(tenant) = self.tenants.get_mut(&ticket.tenant) {
            tenant.serve(self.clock);
            if let Some(member) = tenant.inner.get_mut(&ticket.member) {
                member.serve(self.clock);
                member.inner.pop_front();
            }
        }
    }

    /// Forgets one who had so many slots, and those who have nothing left.
    fn end(&mut self, ticket: &Ticket, slots: u32) {
        let Some(tenant) = self.tenants.get_mut(&ticket.tenant) else {
            return;
        };
        tenant.present -= 1;
        tenant.running -= slots;
        if let Some(member) = tenant.inner.get_mut(&ticket.member) {
            member.present -= 1;
            member.running -= slots;
            if member.present == 0 {
                tenant.inner.remove(&ticket.member);
            }
        }
        if tenant.present == 0 {
            self.tenants.remove(&ticket.tenant);
        }
    }

    /// Whose turn it is, if a slot is free.
    fn next(&self) -> Option<Ticket> {
        if self.free == 0 {
            return None;
        }
        let (tenant, share) = next_of(&self.tenants, self.of_tenant, first_of_tenant)?;
        let (member, share) = next_of(&share.inner, u32::MAX, first_of_member)?;
        Some(Ticket {
            tenant: Arc::clone(tenant),
            member: Arc::clone(member),
            number: first_of_member(&share.inner)?,
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
            assert!(order.tenants.is_empty() && order.is_idle());
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
        assert!(order.tenants.is_empty() && order.is_idle());
    }
}
