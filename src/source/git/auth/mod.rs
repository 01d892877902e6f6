//! How towline proves to a remote who it is, and by what it knows the remote.

mod https;
mod known_hosts;
mod proxy;
mod secret;
mod ssh;

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use super::url;
use crate::text::printable;

pub use proxy::Proxy;
pub use secret::CredentialsError;

pub(super) use https::{Https, Identity, Trust};
pub(super) use known_hosts::HostKey;
pub(super) use proxy::TunnelError;
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
    /// Shortest value that is looked for in a server's words, in bytes; a shorter one is part of any
    /// word, and to cut it out would tell it.
    const MIN_HIDDEN: usize = 4;

    /// What the server of the repository at `url` says, without control characters and without what
    /// it was shown: one that is hostile, or merely talkative, repeats it in its errors.
    pub(super) fn hide(&self, url: &str, words: &str) -> String {
        let mut values = match self {
            Self::None => Vec::new(),
            Self::Https(https) => https.shown(),
            Self::Ssh(ssh) => ssh.user.clone().into_iter().collect(),
        };
        values.extend(url::secrets(url).map(str::to_owned));
        values.retain(|value| value.len() >= Self::MIN_HIDDEN);
        // One may be part of another.
        values.sort_by_key(|value| Reverse(value.len()));
        let words = printable(words);
        values
            .iter()
            .fold(words, |words: String, value| words.replace(value, "***"))
    }

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
    fn a_server_repeats_nothing_that_it_was_shown() {
        let basic = [("username", "anna"), ("password", "hunter2")];
        let short = [("username", "git"), ("password", "hunter2")];
        for (pairs, words, shown) in [
            (&basic[..], "no: Basic YW5uYTpodW50ZXIy", "no: Basic ***"),
            (&basic, "anna:hunter2 may not", "***:*** may not"),
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
