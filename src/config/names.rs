//! Names of objects as arguments. They become parts of a URL, so nothing may stand in them that means something there:
//! otherwise a name would reach another object than it says.

use std::fmt;

/// The longest name of an object.
const LONGEST: usize = 253;

/// What a name on the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SteeredName {
    /// `sync/shop`.
    Sync(String),
    /// `repo/shop`.
    Repository(String),
    /// `shop`: a Sync, or a GitRepository.
    Any(String),
}

impl SteeredName {
    /// The name without its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Sync(name) | Self::Repository(name) | Self::Any(name) => name,
        }
    }

    /// Whether it means the object that commands show by this word and name, such as `sync/shop`.
    #[must_use]
    pub fn means(&self, word: &str, name: &str) -> bool {
        let is_kind = match self {
            Self::Sync(_) => word == "sync",
            Self::Repository(_) => word == "repo",
            Self::Any(_) => true,
        };
        is_kind && self.name() == name
    }
}

/// `Sync shop`, for messages.
impl fmt::Display for SteeredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync(name) => write!(f, "Sync {name}"),
            Self::Repository(name) => write!(f, "GitRepository {name}"),
            Self::Any(name) => write!(f, "Sync or GitRepository {name}"),
        }
    }
}

/// Whose events are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsName {
    /// Those of a Sync or a GitRepository; by a name without a kind, of an Alert or a Provider as well.
    Steered(SteeredName),
    /// `alert/chat`.
    Alert(String),
    /// `provider/chat`.
    Provider(String),
}

impl EventsName {
    /// Whether it means the object that commands show by this word and name, such as `alert/chat`.
    #[must_use]
    pub fn means(&self, word: &str, name: &str) -> bool {
        match self {
            Self::Steered(steered) => steered.means(word, name),
            Self::Alert(own) => word == "alert" && own == name,
            Self::Provider(own) => word == "provider" && own == name,
        }
    }
}

/// `Alert chat`, for messages.
impl fmt::Display for EventsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steered(SteeredName::Any(name)) => {
                write!(f, "Sync, GitRepository, Alert or Provider {name}")
            }
            Self::Steered(steered) => steered.fmt(f),
            Self::Alert(name) => write!(f, "Alert {name}"),
            Self::Provider(name) => write!(f, "Provider {name}"),
        }
    }
}

/// Whether it can be the name of an object of any kind. Those of roles may have a colon.
pub(super) fn is_object(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@+=~".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && !matches!(text, "." | "..") && text.bytes().all(is_plain)
}

/// The name of an object.
pub(super) fn object(text: &str) -> Result<String, String> {
    match is_object(text) {
        true => Ok(text.to_owned()),
        false => Err("it is not a name: letters, digits, '-' and '.'".to_owned()),
    }
}

/// A Sync or a GitRepository: its name, `sync/NAME` or `repo/NAME`, with the kinds' other names and with their group.
pub(super) fn steered(text: &str) -> Result<SteeredName, String> {
    let named = match text.split_once('/') {
        None => SteeredName::Any(text.to_owned()),
        Some((kind, name)) => {
            let kind = kind.to_lowercase();
            match kind.trim_end_matches(".towline.dev") {
                "sync" | "syncs" | "tsync" => SteeredName::Sync(name.to_owned()),
                "repo" | "repos" | "gitrepo" | "gitrepository" | "gitrepositories" => {
                    SteeredName::Repository(name.to_owned())
                }
                _ => return Err("name a Sync, such as shop or sync/shop, or repo/shop".to_owned()),
            }
        }
    };
    match is_object(named.name()) {
        true => Ok(named),
        false => Err("it is not a name, such as shop or sync/shop".to_owned()),
    }
}

/// Any resource of towline: its name, or `sync/NAME`, `repo/NAME`, `alert/NAME` or `provider/NAME`, with the kinds' other names.
pub(super) fn events(text: &str) -> Result<EventsName, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("", text));
    let kind = kind.to_lowercase();
    let named = match kind.trim_end_matches(".towline.dev") {
        "alert" | "alerts" => EventsName::Alert(name.to_owned()),
        "provider" | "providers" => EventsName::Provider(name.to_owned()),
        _ => {
            let known = steered(text);
            return known.map(EventsName::Steered).map_err(|error| {
                match error.starts_with("name a Sync") {
                    true => "name a Sync, such as shop or sync/shop, repo/shop, alert/chat or provider/chat".to_owned(),
                    false => error,
                }
            });
        }
    };
    match is_object(name) {
        true => Ok(named),
        false => Err("it is not a name, such as shop or alert/chat".to_owned()),
    }
}

/// The name of a Sync, without its kind.
pub(super) fn sync(text: &str) -> Result<String, String> {
    match steered(text)? {
        SteeredName::Sync(name) | SteeredName::Any(name) => Ok(name),
        SteeredName::Repository(_) => {
            Err("name a Sync, such as shop or sync/shop, and no GitRepository".to_owned())
        }
    }
}

/// The name of a GitRepository, without its kind.
pub(super) fn repository(text: &str) -> Result<String, String> {
    match steered(text)? {
        SteeredName::Repository(name) | SteeredName::Any(name) => Ok(name),
        SteeredName::Sync(_) => {
            Err("name a GitRepository, such as shop or repo/shop, and no Sync".to_owned())
        }
    }
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=63).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it is not the name of a namespace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_means_something_in_a_url() {
        let wrong = [
            "",
            ".",
            "..",
            "/",
            "a/b/c",
            "../x",
            "sync/../x",
            "a?watch=true",
            "a#b",
            "a%2fb",
            "a b",
            "a\n",
            "\u{202e}a",
            "/a",
            "a/",
            "shop/status",
        ];
        for text in wrong {
            assert!(object(text).is_err() && steered(text).is_err(), "{text:?}");
            assert!(namespace(text).is_err(), "{text:?}");
        }
        for text in ["shop", "shop-1.eu", "system:node"] {
            assert!(object(text).is_ok() && steered(text).is_ok(), "{text:?}");
        }
        assert!(namespace("team-a").is_ok() && namespace("Team_a").is_err());
    }

    #[test]
    fn a_name_says_what_it_is_and_a_command_takes_the_kind_that_it_is_about() {
        let (any, a_sync, a_repository) = (
            SteeredName::Any("shop".to_owned()),
            SteeredName::Sync("shop".to_owned()),
            SteeredName::Repository("shop".to_owned()),
        );
        for (text, named, is_sync, is_repository) in [
            ("shop", &any, true, true),
            ("sync/shop", &a_sync, true, false),
            ("tsync/shop", &a_sync, true, false),
            ("Syncs.towline.dev/shop", &a_sync, true, false),
            ("repo/shop", &a_repository, false, true),
            ("gitrepository.towline.dev/shop", &a_repository, false, true),
        ] {
            assert_eq!(&steered(text).unwrap(), named, "{text}");
            assert_eq!(
                sync(text).ok().as_deref(),
                is_sync.then_some("shop"),
                "{text}"
            );
            let is = repository(text).ok();
            assert_eq!(is.as_deref(), is_repository.then_some("shop"), "{text}");
            assert_eq!(named.means("sync", "shop"), is_sync, "{text}");
            assert_eq!(named.means("repo", "shop"), is_repository, "{text}");
            assert!(!named.means("sync", "other"), "{text}");
        }
        assert!(steered("other/shop").is_err() && steered("sync/").is_err());
    }

    #[test]
    fn events_are_those_of_every_kind_of_towline() {
        let words = ["sync", "repo", "alert", "provider"];
        for (text, meant) in [
            ("shop", [true; 4]),
            ("sync/shop", [true, false, false, false]),
            ("gitrepositories/shop", [false, true, false, false]),
            ("alert/shop", [false, false, true, false]),
            ("Alerts.towline.dev/shop", [false, false, true, false]),
            ("provider/shop", [false, false, false, true]),
            ("providers.towline.dev/shop", [false, false, false, true]),
        ] {
            let named = events(text).unwrap();
            assert_eq!(words.map(|word| named.means(word, "shop")), meant, "{text}");
            assert!(
                words.iter().all(|word| !named.means(word, "other")),
                "{text}"
            );
        }
        for wrong in ["pod/shop", "alert/", "alert/../x", "provider/a/b", ""] {
            assert!(events(wrong).is_err(), "{wrong}");
        }
    }
}
