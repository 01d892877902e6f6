//! How towline proves to a remote who it is.

use std::fmt;

/// What a remote is shown. A user and password, a bearer token, an SSH identity with its known
/// hosts, and certificates become variants of this type: a header that `http::Exchange::ask` adds
/// (only while the repository is on the host of the URL as given: the first request follows
/// redirects to any host), certificates in an `http::agent` of their own.
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
