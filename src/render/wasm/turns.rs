//! Whose turn it is to render. Pure.

use std::collections::HashMap;
use std::sync::Arc;

/// Free slots, and who waits for one. A slot goes to the tenant that has the fewest; among equals, to the one that
/// was served the longest time ago; within a tenant, to who came first. So a namespace with a hundred Syncs does
/// not hold up another one with one.
#[derive(Debug)]
pub(super) struct Turns {
    all: u32,
    free: u32,
    /// Counts who came and who was served.
    clock: u64,
    waiting: Vec<Ticket>,
    tenants: HashMap<Arc<str>, Tenant>,
}

/// A place in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    tenant: Arc<str>,
    number: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    /// Its renders that wait or run.
    present: u32,
    running: u32,
    /// When it was served last.
    served: u64,
}

impl Turns {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            all: slots,
            free: slots,
            clock: 0,
            waiting: Vec::new(),
            tenants: HashMap::new(),
        }
    }

    /// Whether nothing renders.
    pub(super) fn is_idle(&self) -> bool {
        self.free == self.all
    }

    /// Joins the queue.
    pub(super) fn join(&mut self, tenant: &Arc<str>) -> Ticket {
        self.clock += 1;
        let ticket = Ticket {
            tenant: Arc::clone(tenant),
            number: self.clock,
        };
        self.waiting.push(ticket.clone());
        self.tenants.entry(Arc::clone(tenant)).or_default().present += 1;
        ticket
    }

    /// Takes a slot, if there is one and it is this ticket's turn.
    pub(super) fn take(&mut self, ticket: &Ticket) -> bool {
        let Some(next) = self.next().filter(|_| self.free > 0) else {
            return false;
        };
        if self.waiting[next] != *ticket {
            return false;
        }
        self.waiting.swap_remove(next);
        self.free -= 1;
        self.clock += 1;
        if let Some(tenant) = self.tenants.get_mut(&ticket.tenant) {
            tenant.running += 1;
            tenant.served = self.clock;
        }
        true
    }

    /// Gives a slot back.
    pub(super) fn give_back(&mut self, ticket: &Ticket) {
        self.free += 1;
        if let Some(tenant) = self.tenants.get_mut(&ticket.tenant) {
            tenant.running -= 1;
            tenant.present -= 1;
            if tenant.present == 0 {
                self.tenants.remove(&ticket.tenant);
            }
        }
    }

    /// The position of the ticket whose turn it is.
    fn next(&self) -> Option<usize> {
        let rank = |ticket: &Ticket| {
            let tenant = self.tenants.get(&ticket.tenant);
            let (running, served) = tenant.map_or((0, 0), |tenant| (tenant.running, tenant.served));
            (running, served, ticket.number)
        };
        let waiting = self.waiting.iter().enumerate();
        let next = waiting.min_by_key(|(_, ticket)| rank(ticket));
        next.map(|(position, _)| position)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Serves all that wait with one slot, and names the tenants in order.
    fn served(turns: &mut Turns) -> String {
        let mut order = String::new();
        while let Some(next) = turns.next() {
            let ticket = turns.waiting[next].clone();
            assert!(turns.take(&ticket));
            order.push_str(&ticket.tenant);
            turns.give_back(&ticket);
        }
        order
    }

    fn join(turns: &mut Turns, tenants: &str) -> Vec<Ticket> {
        let tenants = tenants.chars().map(|tenant| tenant.to_string());
        tenants.map(|tenant| turns.join(&tenant.into())).collect()
    }

    #[test]
    fn tenants_take_turns_however_many_each_has_waiting() {
        for (came, order) in [
            ("", ""),
            ("aaa", "aaa"),
            ("aaaab", "abaaa"),
            ("aaabbc", "abcaba"),
        ] {
            let mut turns = Turns::new(1);
            join(&mut turns, came);
            assert_eq!(served(&mut turns), order, "{came}");
            assert!(turns.tenants.is_empty() && turns.is_idle());
        }
    }

    #[test]
    fn a_slot_goes_to_the_tenant_that_has_the_fewest() {
        let mut turns = Turns::new(2);
        let first = join(&mut turns, "aaa");
        assert!(!turns.take(&first[1]), "it came later");
        assert!(turns.take(&first[0]) && turns.take(&first[1]));
        assert!(!turns.take(&first[2]), "no slot is free");
        let late = join(&mut turns, "b");
        turns.give_back(&first[0]);
        assert!(!turns.take(&first[2]), "b has none");
        assert!(turns.take(&late[0]));
        turns.give_back(&first[1]);
        assert!(turns.take(&first[2]) && !turns.is_idle());
    }
}
