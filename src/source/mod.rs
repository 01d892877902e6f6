//! Where desired state comes from: Git repositories, fetched into bare object databases and read
//! from there.
//!
//! ```text
//! Cache::fetch ─ store (one per URL: lock, generations) ─ pull (one connection)
//!      └→ Snapshot ─ tree_id, listing, read (blocking, straight from the object database)
//! ```
//!
//! There is no work tree and so no lock file that could go stale. A store's folder is
//! `<cache>/<sha256 of the URL>/<generation>`; a commit counts as complete only once a private ref
//! under `refs/towline/` points at it, which is written after everything else.
//!
//! Architecture invariant: nothing outside this module names git2, and no libgit2 message leaves it
//! before it went through `url::redact_text`.

mod cache;
mod credentials;
mod error;
mod generation;
mod http;
mod libgit2;
mod limits;
mod listing;
mod modules;
mod path;
mod pull;
mod range;
mod reference;
mod snapshot;
mod ssh;
mod store;
mod url;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use cache::{Cache, FetchRequest, Fetched};
pub use credentials::{Credentials, CredentialsError, Proxy};
pub use error::{Cause, Error};
pub use limits::Settings;
pub use reference::Reference;
pub use snapshot::Snapshot;
