//! Git repositories, fetched into bare object databases and read from there.
//!
//! ```text
//! Cache::fetch ─ store (one per URL: lock, generations) ─ pull (one connection)
//!      └→ Snapshot ─ tree_id, listing, read (blocking, straight from the object database)
//! ```
//!
//! There is no work tree and so no lock file that could go stale. A store's folder is
//! `<cache>/<sha256 of the URL>/<generation>`. A commit counts as complete once a private ref under
//! `refs/towline/` points at it; that ref is written after everything else.
//!
//! - `auth`: what a server is shown, and by what it is known.
//! - `transport`: what libgit2 says to a server, over HTTP and SSH.
//!
//! Architecture invariant: nothing outside this module names git2, and no libgit2 message leaves it
//! before it was redacted.

mod auth;
mod cache;
mod entry;
mod error;
mod generation;
mod libgit2;
mod limits;
mod modules;
mod pull;
mod range;
mod reference;
mod request;
mod resolve;
mod snapshot;
mod store;
mod transport;
mod url;
mod view;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use auth::{Credentials, CredentialsError, Proxy};
pub use cache::Cache;
pub use limits::CacheSettings;
pub use reference::Reference;
pub use request::{FetchRequest, Fetched};
pub use snapshot::Snapshot;
