//! Git repositories, fetched into bare object databases and read from there.
//!
//! ```text
//! Cache::fetch ─ store (one per copy key: lock, generations) ─ pull (one connection)
//!      └→ Snapshot ─ tree_id, listing, read (blocking, straight from the object database)
//! ```
//!
//! There is no work tree, so there is no lock file that could go stale. A store's folder is
//! `<cache>/ns-<namespace>/<sha256 of the URL>-<sha256 of the route>`, with a folder for each
//! generation. A commit is complete if a private ref under `refs/towline/` points at it. A fetch
//! writes that ref last.
//!
//! - `copy_key`: who shares a store.
//! - `turns`, `stop`, `ticket`, `budget`: what all fetches share, and how namespaces share it fairly.
//! - `pack`: a pack is judged before libgit2 sees it.
//! - `auth`: credentials for a server, and the check of its identity.
//! - `transport`: the protocol with a server, over HTTP and SSH.
//!
//! Architecture invariant: only this module uses git2, and every libgit2 message is redacted before
//! it leaves the module.

mod access;
mod auth;
mod budget;
mod cache;
mod copy_key;
mod entry;
mod error;
mod generation;
mod libgit2;
mod limits;
mod local;
mod modules;
mod pack;
mod pull;
mod range;
mod reference;
mod request;
mod resolve;
mod snapshot;
mod stop;
mod store;
mod ticket;
mod transport;
mod turns;
mod url;
mod view;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use access::Access;
pub use auth::{Credentials, CredentialsError, Proxy};
pub use cache::Cache;
pub use limits::{CacheSettings, Floor, PackLimits, WireLimits};
pub use local::LocalClone;
pub use reference::Reference;
pub use request::{FetchRequest, Fetched};
pub use snapshot::Snapshot;
pub use transport::{HttpClients, Route, tls_connector};
pub use url::host_and_path;
