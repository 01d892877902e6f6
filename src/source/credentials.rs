//! How towline proves to a remote who it is.

use std::fmt;

use git2::RemoteCallbacks;

/// What a remote is shown. A user and password, a bearer token, an SSH identity with its known
/// hosts, and certificates become variants of this type.
///
/// Two requests share an answer only if their credentials are equal.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nothing: a public repository.
    #[default]
    None,
}

impl fmt::Debug for Credentials {
    /// Names the variant and never its contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
        })
    }
}

impl Credentials {
    /// Adds to `callbacks` what answers a remote's challenge. libgit2 follows a redirect of the
    /// first request to any host: a variant that holds a secret must compare the host it is asked
    /// for with the repository's own.
    pub(super) fn answer(&self, callbacks: &mut RemoteCallbacks<'_>) {
        match self {
            Self::None => callbacks.credentials(|_, _, _| {
                Err(git2::Error::new(
                    git2::ErrorCode::Auth,
                    git2::ErrorClass::Http,
                    "the server asks for credentials and there are none",
                ))
            }),
        };
    }
}
