//! What a Git server says when something was pushed: who says it, whether that is true, and which
//! repository and refs it is about.
//!
//! ```text
//! headers → Provider, Proof ─┐
//! body ──────────────────────┴→ Proof::is_of(secret) → Provider::push(body) → Push::is_of, Push::moves
//! ```
//!
//! The secret belongs to a repository, and the repository is named in the body, which must not be
//! read before it is proven. So a proof is held against the secrets of all repositories, every one
//! of them, and what the body then names counts only among the repositories whose secret matched.
//! Whoever knows the secret of one repository can therefore make that one be polled, and none else.
//!
//! Nothing of a delivery is believed beyond "poll now": the commit comes from the remote, with
//! towline's own credentials. A replayed delivery is one more poll, so none is remembered.
//!
//! Architecture invariant: no client, no runtime, no file system and no clock; nothing here logs.

mod matching;
mod payload;
mod proof;
mod provider;
mod url;

#[cfg(test)]
mod tests;

pub use matching::{Follows, Name, Push, Refs};
pub use proof::{Proof, Secret};
pub use provider::Provider;
pub use url::RepositoryUrl;

/// Why a delivery is refused. No variant holds anything of the body, a header or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not signed, or not in a form that is known here.
    #[error("no signature or token in a known form")]
    Unsigned,
    /// The body is not what the provider sends; where JSON ended to make sense.
    #[error("payload is not understood (line {line}, column {column})")]
    Malformed {
        /// From 1; 0 where it is valid JSON.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A webhook's secret is empty.
    #[error("webhook secret is empty")]
    EmptySecret,
}

impl From<serde_json::Error> for Error {
    /// The message is dropped: it quotes the body.
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}
