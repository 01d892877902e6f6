//! A number of permits that tasks wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::order::{Order, Ticket};

/// Permits, shared fairly between tenants and their members: see [`Order`].
pub(crate) struct Permits(Mutex<PermitState>);

struct PermitState {
    order: Order,
    /// Those who have no permit yet, by the number of their tickets.
    waiting: HashMap<u64, oneshot::Sender<()>>,
}

/// A permit, or a place in the queue for one, until it is dropped.
pub(crate) struct Permit {
    permits: Arc<Permits>,
    ticket: Ticket,
}

impl Permits {
    /// So many permits, of which one tenant may have `of_tenant`.
    pub(crate) fn new(number: u32, of_tenant: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(PermitState {
            order: Order::new(number, of_tenant),
            waiting: HashMap::new(),
        })))
    }

    /// Waits for a permit.
    pub(crate) async fn take(self: &Arc<Self>, tenant: &Arc<str>, member: &Arc<str>) -> Permit {
        let (give, given) = oneshot::channel();
        let permit = {
            let mut state = self.state();
            let ticket = state.order.join(tenant, member);
            state.waiting.insert(ticket.number, give);
            state.settle();
            Permit {
                permits: Arc::clone(self),
                ticket,
            }
        };
        // The sender is dropped only with the permit.
        let _ = given.await;
        permit
    }

    /// The number of permits that nobody has.
    pub(crate) fn free(&self) -> u32 {
        self.state().order.free()
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitState {
    /// Gives permits to those whose turn it is.
    fn settle(&mut self) {
        while let Some(ticket) = self.order.give() {
            if let Some(give) = self.waiting.remove(&ticket.number) {
                // Who does not wait any longer gives it back when its place is dropped.
                let _ = give.send(());
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.state();
        match state.waiting.remove(&self.ticket.number) {
            Some(_) => state.order.leave(&self.ticket),
            None => state.order.give_back(&self.ticket),
        }
        state.settle();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_has_none_is_next_and_who_gives_up_is_passed_over() {
        let permits = Permits::new(2, 2);
        let [many, few, one, two] = ["many", "few", "one", "two"].map(Arc::<str>::from);
        let first = permits.take(&many, &one).now_or_never().unwrap();
        let second = permits.take(&many, &one).now_or_never().unwrap();
        assert_eq!(permits.free(), 0);
        let mut third = pin!(permits.take(&many, &one));
        assert!((&mut third).now_or_never().is_none());
        let mut other = pin!(permits.take(&few, &one));
        assert!((&mut other).now_or_never().is_none());
        // One that gives up while it waits, and one that gives up with a permit that it never saw.
        assert!(permits.take(&few, &one).now_or_never().is_none());
        let mut given_up = Box::pin(permits.take(&few, &two));
        assert!((&mut given_up).now_or_never().is_none());
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "few has none");
        let other = (&mut other).now_or_never().unwrap();
        drop((second, other));
        drop(given_up);
        let third = (&mut third).now_or_never().unwrap();
        assert_eq!(permits.free(), 1);
        drop(third);
        let state = permits.state();
        assert!(state.order.is_idle() && state.waiting.is_empty());
    }
}
