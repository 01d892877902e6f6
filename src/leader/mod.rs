//! Which of several replicas leads: the holder of a `coordination.k8s.io/v1` Lease.
//!
//! Only the leader writes, and this does not depend on the other modules. Every write passes one
//! gate ([`gate`]). The gate is open until two thirds of the lease's duration after the last
//! renewal was *sent*. It uses a clock that also counts while the machine is suspended. Another
//! replica takes the lease only if the lease did not change for its whole duration, by the other
//! replica's own clock. A write that is late has the last third of that time to arrive. After that,
//! the kernel gives up on it.
//!
//! A replica that has lost the lease ends its process, and starts again as a standby. Its memory of
//! the cluster is out of date, and an ended process certainly writes nothing. To become a standby
//! in the same process would save a second, but would lose that certainty.

mod client;
mod clients;
mod clock;
mod connection;
mod election;
mod gate;
mod key;
mod lease;

use std::net::SocketAddr;

use tokio::sync::watch;

pub use self::clients::clients;
pub use self::election::LostLease;
pub use self::gate::NotLeading;
pub use self::key::{KeyName, key};
pub use self::lease::{ElectionSettings, Elector, LEASE_LABEL, WEBHOOK_ADDRESS};

/// Whether this replica leads. Clones share it. Drivers and webhooks use it to decide what to do.
/// It does not protect against writes; the gate does.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Sender<Role>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leads,
    /// Another replica leads, or none. The leader's address for webhooks.
    StandsBy(Option<SocketAddr>),
}

impl Leadership {
    /// The state of the only replica.
    pub fn alone() -> Self {
        Self(watch::Sender::new(Role::Leads))
    }

    /// The state of a standby that knows no leader.
    pub fn standby() -> Self {
        Self(watch::Sender::new(Role::StandsBy(None)))
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        *self.0.borrow() == Role::Leads
    }

    /// Waits until this replica leads. Cancel safe.
    pub async fn begun(&self) {
        let mut role = self.0.subscribe();
        // This value owns the sender, so the wait cannot fail.
        let _ = role.wait_for(|is| *is == Role::Leads).await;
    }

    /// The address for webhooks of another replica that leads, if it has published one.
    pub fn leader(&self) -> Option<SocketAddr> {
        match *self.0.borrow() {
            Role::Leads => None,
            Role::StandsBy(leader) => leader,
        }
    }

    /// Records that this replica leads from now on.
    pub(crate) fn lead(&self) {
        self.set(Role::Leads);
    }

    /// Records that this replica does not lead, and the leader's address for webhooks.
    pub(crate) fn stand_by(&self, leader: Option<SocketAddr>) {
        self.set(Role::StandsBy(leader));
    }

    fn set(&self, new: Role) {
        self.0
            .send_if_modified(|role| std::mem::replace(role, new) != new);
    }
}
