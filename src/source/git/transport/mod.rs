//! libgit2's transports, on our own HTTP and SSH clients.

mod agents;
mod exchange;
mod http;
mod interrupt;
mod reader;
mod remarks;
mod ssh;
mod wire;

use git2::transport::Transport;

pub(super) use agents::Agents;
pub use agents::{HttpClients, Route, tls_connector};
pub(super) use exchange::{Exchange, ExchangeOptions};

/// Registers this module for `http://`, `https://` and `ssh://`.
///
/// # Safety
///
/// No other thread may use libgit2's transports at the same time.
#[allow(unsafe_code)]
pub(in crate::source::git) unsafe fn register() -> Result<(), git2::Error> {
    for scheme in ["http", "https", "ssh"] {
        // SAFETY: the caller guarantees the same.
        unsafe { git2::transport::register(scheme, transport)? };
    }
    Ok(())
}

fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let exchange = exchange::current();
    let exchange = exchange.ok_or_else(|| git2::Error::from_str("no exchange is under way"))?;
    match exchange.credentials.ssh().cloned() {
        Some(credentials) => {
            let transport = ssh::Subtransport {
                exchange,
                credentials,
            };
            Transport::smart(remote, false, transport)
        }
        None => Transport::smart(remote, true, http::Subtransport(exchange)),
    }
}
