//! Names of objects as arguments. They become parts of a URL, so nothing may stand in them that means something there:
//! otherwise a name would reach another object than it says.

/// The longest name of an object.
const LONGEST: usize = 253;

/// The words before a name.
const KINDS: [&str; 8] = [
    "sync",
    "syncs",
    "tsync",
    "repo",
    "repos",
    "gitrepo",
    "gitrepository",
    "gitrepositories",
];

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

/// The name of a Sync, or `sync/NAME`; of a GitRepository, or `repo/NAME`.
pub(super) fn steered(text: &str) -> Result<String, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("sync", text));
    let kind = kind.to_lowercase();
    match KINDS.contains(&kind.trim_end_matches(".towline.dev")) && is_object(name) {
        true => Ok(text.to_owned()),
        false => Err("it is not a name, such as shop or sync/shop".to_owned()),
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
        for text in ["sync/shop", "syncs.towline.dev/shop", "repo/fleet"] {
            assert!(object(text).is_err() && steered(text).is_ok(), "{text:?}");
        }
        assert!(namespace("team-a").is_ok() && namespace("Team_a").is_err());
    }
}
