//! Where desired state comes from. What a source publishes is a [`crate::content::Tree`].
//!
//! - `git`: repositories, fetched into object databases on disk.
//! - `folder`: a folder on disk, as it is.
//! - `path`, `listing`: how paths and symbolic links are followed, the same for both.

mod error;
mod folder;
mod git;
mod listing;
mod path;

pub use error::{Error, Reported};
pub use folder::Folder;
pub use git::{
    Cache, CacheSettings, Credentials, CredentialsError, FetchRequest, Fetched, Proxy, Reference,
    Snapshot,
};
