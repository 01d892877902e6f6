//! Which of several replicas leads: the one that holds the lease, a `coordination.k8s.io/v1` Lease.
//!
//! Only the leader writes. That does not hang on anybody's good manners: every write passes one gate
//! ([`gate`]), which is open until two thirds of the lease's duration after the last renewal was *sent*,
//! by a clock that also counts while the machine is suspended. Another replica takes the lease when
//! it has not seen it change for the whole duration, by its own clock. What was written in between
//! has the last third to arrive, and is given up by the kernel then.
//!
//! A replica that has lost the lease ends, and is started again as a standby: what it remembers of
//! the cluster is of no use to the one that leads now, and of an ended process it is certain that it
//! does nothing more. Going back to standing by in the same process would save a second and cost that.

mod client;
mod clients;
mod clock;
mod election;
mod gate;
mod lease;

use std::net::SocketAddr;

use tokio::sync::watch;

pub use self::clients::clients;
pub use self::election::Lost;
pub use self::gate::NotLeading;
pub use self::lease::{ElectionSettings, Elector, WEBHOOK_ADDRESS};

/// Whether this replica leads; clones share it. Drivers and webhooks ask it what to do; that nothing is
/// written by one that does not lead is the gate's business.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Sender<Standing>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Leads,
    /// Another replica leads, or none does. Where the leader hears webhooks.
    StandsBy(Option<SocketAddr>),
}

impl Leadership {
    /// That of a replica that has no others beside it.
    pub fn alone() -> Self {
        Self(watch::Sender::new(Standing::Leads))
    }

    /// That of one that stands by, and knows of no leader.
    pub fn standby() -> Self {
        Self(watch::Sender::new(Standing::StandsBy(None)))
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        *self.0.borrow() == Standing::Leads
    }

    /// Waits until this replica leads. Cancel safe.
    pub async fn begun(&self) {
        let mut standing = self.0.subscribe();
        // The sender is ours: it is not gone.
        let _ = standing.wait_for(|is| *is == Standing::Leads).await;
    }

    /// Where the replica that leads hears webhooks, if that is another one and it has said so.
    pub fn leader(&self) -> Option<SocketAddr> {
        match *self.0.borrow() {
            Standing::Leads => None,
            Standing::StandsBy(leader) => leader,
        }
    }

    /// Says that this replica leads from now on.
    pub(crate) fn lead(&self) {
        self.set(Standing::Leads);
    }

    /// Says that this replica does not lead, and where the one that does hears webhooks.
    pub(crate) fn stand_by(&self, leader: Option<SocketAddr>) {
        self.set(Standing::StandsBy(leader));
    }

    fn set(&self, new: Standing) {
        self.0
            .send_if_modified(|standing| std::mem::replace(standing, new) != new);
    }
}
