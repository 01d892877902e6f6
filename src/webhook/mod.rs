//! Webhook deliveries of Git servers: who sent one, whether it is genuine, and which repository and
//! refs it is about.
//!
//! ```text
//! headers → Provider, Proof ─┐
//! body ──────────────────────┴→ Proof::is_of(secret) → Provider::push(body) → Push::is_of, Push::moves
//! ```
//!
//! The secret belongs to a repository. Only the body names the repository, and the body must not be
//! parsed before it is proven. So a proof is compared with the secrets of all repositories. Then
//! the body counts only for the repositories whose secret matched. So a sender that knows the
//! secret of one repository can cause a poll of that repository only.
//!
//! towline uses a delivery only as the request "poll now". The commit comes from the remote, with
//! towline's own credentials. A repeated delivery is one more poll, so deliveries are not
//! remembered.
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
pub use proof::{Proof, Secret, signature};
pub use provider::Provider;
pub use url::RepositoryUrl;

/// Why a delivery is refused. No variant holds a part of the body, a header or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no signature, or none in a known form.
    #[error("no signature or token in a known form")]
    Unsigned,
    /// The body does not have the provider's format. The position is the first one with an error.
    #[error("payload is not understood (line {line}, column {column})")]
    Malformed {
        /// Counted from 1. 0 for valid JSON.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A webhook's secret is empty.
    #[error("webhook secret is empty")]
    EmptySecret,
}

impl From<serde_json::Error> for Error {
    /// Drops the message, because it quotes the body.
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}
