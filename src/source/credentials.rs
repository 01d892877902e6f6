//! How towline proves to a remote who it is, and by what it knows the remote.

mod https;
mod known_hosts;
mod secret;
mod ssh;

use std::fmt;
use std::sync::Arc;

pub use secret::CredentialsError;

pub(super) use https::{Https, Identity, Trust};
pub(super) use known_hosts::Standing;
pub(super) use ssh::Ssh;

/// What a remote is shown, and what it must show. Made of a Secret by [`Credentials::from_secret`].
///
/// Equal if every value is. Two requests share an answer only if their credentials are equal; other
/// requests for the same URL share the object database alone, and each proves its access by a
/// connection of its own.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nothing: a public repository.
    #[default]
    None,
    /// For `https://`, and `http://` where there is nothing but a password or a token.
    Https(Arc<Https>),
    /// For `ssh://` and `git@host:path`.
    Ssh(Arc<Ssh>),
}

impl fmt::Debug for Credentials {
    /// Names the kind and never its contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Https(_) => "Https(..)",
            Self::Ssh(_) => "Ssh(..)",
        })
    }
}

impl Credentials {
    /// What an HTTP request carries.
    pub(super) fn https(&self) -> Option<&Https> {
        match self {
            Self::Https(https) => Some(https),
            Self::None | Self::Ssh(_) => None,
        }
    }

    /// What an SSH connection takes.
    pub(super) fn ssh(&self) -> Option<&Arc<Ssh>> {
        match self {
            Self::Ssh(ssh) => Some(ssh),
            Self::None | Self::Https(_) => None,
        }
    }
}
