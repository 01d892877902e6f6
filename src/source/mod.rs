//! Where desired state comes from. What a source publishes is a [`crate::content::Tree`].
//!
//! - `git`: repositories, fetched into object databases on disk.

mod git;

pub use git::{
    Cache, CacheSettings, Credentials, CredentialsError, Error, FetchRequest, Fetched, Proxy,
    Reference, Reported, Snapshot,
};
