//! Sources of desired state. A source publishes a [`crate::content::Tree`].
//!
//! - `git`: repositories, fetched into object databases on disk.
//! - `folder`: a folder on disk, as it is.
//! - `path`, `listing`: how paths and symbolic links are followed. Both sources use them.

mod error;
mod folder;
mod git;
mod listing;
mod path;

pub use error::{Error, Excess, Reported};
pub use folder::Folder;
pub use git::{
    Access, Cache, CacheSettings, Credentials, CredentialsError, FetchRequest, Fetched, Floor,
    HttpClients, LocalClone, PackLimits, Proxy, Reference, Route, Snapshot, WireLimits,
    host_and_path, tls_connector,
};
