//! How towline proves to a remote who it is, and by what it knows the remote.

mod https;
mod secret;

use std::fmt;
use std::sync::Arc;

pub use secret::CredentialsError;

pub(super) use https::{Https, Identity, Trust};

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
}

impl fmt::Debug for Credentials {
    /// Names the kind and never its contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Https(_) => "Https(..)",
        })
    }
}

impl Credentials {
    /// What an HTTP request carries.
    pub(super) fn https(&self) -> Option<&Https> {
        match self {
            Self::Https(https) => Some(https),
            Self::None => None,
        }
    }
}
