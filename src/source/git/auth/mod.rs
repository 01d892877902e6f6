//! Credentials for a remote, and how a remote's identity is checked.

mod https;
mod known_hosts;
mod proxy;
mod secret;
mod ssh;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::url;
use crate::text::{Secrets, printable};

pub use proxy::Proxy;
pub use secret::CredentialsError;

pub(super) use https::{Https, Identity, Trust};
pub(super) use known_hosts::HostKey;
pub(super) use proxy::TunnelError;
pub(super) use ssh::Ssh;

/// The credentials for a remote, and the checks of its identity. [`Credentials::from_secret`] makes
/// them from a Secret.
///
/// Two credentials are equal if all values are equal. Two requests share an answer only if their
/// credentials are equal. Other requests of the same namespace, URL and route share the object
/// database, but each makes its own connection to prove its access.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// No credentials: a public repository.
    #[default]
    None,
    /// For `https://` URLs. Also for `http://` URLs, if there is only a password or a token.
    Https(Arc<Https>),
    /// For `ssh://` and `git@host:path`.
    Ssh(Arc<Ssh>),
}

impl fmt::Debug for Credentials {
    /// Prints the kind and never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Https(_) => "Https(..)",
            Self::Ssh(_) => "Ssh(..)",
        })
    }
}

impl Credentials {
    /// Removes control characters and the credentials from a text of the server at `url`. A server
    /// may repeat its input in an error.
    pub(super) fn hide(&self, url: &str, words: &str) -> String {
        let secrets = Secrets::default();
        let shown = match self {
            Self::None => Vec::new(),
            Self::Https(https) => https.shown(),
            Self::Ssh(ssh) => ssh.user.clone().into_iter().collect(),
        };
        let in_url = url::secrets(url).map(str::to_owned);
        for value in shown.into_iter().chain(in_url) {
            secrets.add(&value);
        }
        secrets.hide(&printable(words))
    }

    /// What vouches for the server's identity: authorities, or the known host keys.
    fn trust(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Https(https) => &https.trust.0,
            Self::Ssh(ssh) => ssh.known_hosts_text().as_bytes(),
        }
    }

    /// The credentials for an HTTP request.
    pub(super) fn https(&self) -> Option<&Https> {
        match self {
            Self::Https(https) => Some(https),
            Self::None | Self::Ssh(_) => None,
        }
    }

    /// The credentials for an SSH connection.
    pub(super) fn ssh(&self) -> Option<&Arc<Ssh>> {
        match self {
            Self::Ssh(ssh) => Some(ssh),
            Self::None | Self::Https(_) => None,
        }
    }
}

/// Names the way to a server: the proxy, and what vouches for the server's identity. Whoever
/// chooses these may answer in place of the server, so a copy that was fetched on one route is
/// neither shown to nor filled by requests on another.
pub(super) fn route(credentials: &Credentials, proxy: Option<&Proxy>) -> String {
    let proxy = proxy.map(Proxy::address).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(proxy.as_bytes());
    hash.update([0]);
    hash.update(credentials.trust());
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn credentials(url: &str, pairs: &[(&str, &str)]) -> Credentials {
        let data: BTreeMap<_, _> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        Credentials::from_secret(url, &data).unwrap()
    }

    #[test]
    fn credentials_that_a_server_repeats_are_hidden() {
        let basic = [("username", "anna"), ("password", "hunter2")];
        let short = [("username", "git"), ("password", "hunter2")];
        for (pairs, words, shown) in [
            (&basic[..], "no: Basic YW5uYTpodW50ZXIy", "no: Basic ***"),
            (&basic, "anna:hunter2 may not", "*** may not"),
            (&basic, "hun\u{8}ter\n2", "***"),
            (&short, "git: hunter2?", "git: ***?"),
            (&[("bearerToken", "abcdef")], "Bearer abcdef", "Bearer ***"),
            (&[("bearerToken", "abc")], "an abc", "an abc"),
        ] {
            let url = "https://h/r";
            assert_eq!(credentials(url, pairs).hide(url, words), shown);
        }
        let hide = |url, words| Credentials::None.hide(url, words);
        assert_eq!(hide("https://h/r?a=token&b", "a\ttoken"), "a***");
        assert_eq!(hide("ssh://annie@h/r", "annie@h"), "***@h");
    }
}
