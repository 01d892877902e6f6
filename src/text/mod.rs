//! Texts for people: redacted, shortened, on one line. Pure.
//!
//! Every text with words of a user or a server goes through here before it becomes part of a log,
//! an event, a condition or an error.

use std::borrow::Cow;

mod redact;
mod secrets;

pub use redact::{redact, redact_url};
pub use secrets::Secrets;

/// `text` in at most `max` bytes. A longer text is cut after a character, and `…` marks the cut.
pub fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub('…'.len_utf8());
    format!("{}…", start(text, room))
}

/// The start of `text`: whole characters, at most `max` bytes.
pub fn start(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// `text` without what a terminal obeys, line breaks among it.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !is_obeyed(*c)).collect()
}

/// `text` with what a terminal obeys written as a number: `\u{1b}`. Line breaks and tabs stay. A file's name can be
/// found by it.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |c: char| is_obeyed(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// The same on one line: line breaks and tabs are written as `\n` and `\t`.
pub fn visible_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Control characters, those that turn the direction of what follows or end a line, and those that nobody sees: with
/// them a text reads as another one. Joiners stay, since words of some languages and emoji need them.
fn is_obeyed(c: char) -> bool {
    c.is_control() || is_unseen(c)
}

fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Why the port of a URL cannot be used. A client that reads no port goes to that of the scheme, which is somebody else.
/// None if it is from 1 to 65535, or if there is none.
pub fn port_problem(authority: &str) -> Option<&'static str> {
    let server = authority.rsplit('@').next().unwrap_or_default();
    // The address of an IPv6 host has colons too.
    let after_host = server.rsplit(']').next().unwrap_or_default();
    let (_, port) = after_host.rsplit_once(':')?;
    let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if is_digits => None,
        _ => Some("its port is no number from 1 to 65535"),
    }
}

/// `a; b; and 7 more`: the names of some of `total` things.
pub fn listing(named: impl IntoIterator<Item = String>, total: usize) -> String {
    let named: Vec<String> = named.into_iter().collect();
    let list = named.join("; ");
    match total.saturating_sub(named.len()) {
        0 => list,
        more => format!("{list}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_from_1_to_65535() {
        for good in [
            "h", "h:1", "h:65535", "u:p@h", "u:p@h:80", "[::1]", "[::1]:80",
        ] {
            assert_eq!(port_problem(good), None, "{good}");
        }
        for wrong in [
            "h:", "h:0", "h:65536", "h:99999", "h:+80", "h:x", "[::1]:0", "u:p@h:-1",
        ] {
            assert!(port_problem(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_cut_after_a_character() {
        for (text, max, short) in [
            ("", 5, ""),
            ("abcde", 5, "abcde"),
            ("abcdef", 5, "ab…"),
            ("aéééé", 5, "a…"),
            ("éé", 3, "…"),
        ] {
            assert_eq!(shorten(text, max), short);
        }
        assert_eq!(start("éé", 3), "é");
        assert_eq!(start("a", 3), "a");
    }

    #[test]
    fn a_list_says_how_many_it_leaves_out() {
        let named = || ["a", "b"].map(str::to_owned);
        assert_eq!(listing(named(), 2), "a; b");
        assert_eq!(listing(named(), 9), "a; b; and 7 more");
        assert_eq!(listing([], 0), "");
    }

    #[test]
    fn what_is_printable_has_no_control_characters() {
        assert_eq!(printable("a\x1b[31mb\n\0é\u{202e}c\u{2066}"), "a[31mbéc");
        // What turns the direction, ends a line, or is not seen.
        for c in
            "\u{9b}\u{200e}\u{200f}\u{61c}\u{2028}\u{2029}\u{200b}\u{feff}\u{2063}\u{ad}\u{e0041}"
                .chars()
        {
            assert_eq!(printable(&format!("a{c}b")), "ab", "{c:?}");
            let shown = visible(&format!("a{c}b")).into_owned();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        // Words of Persian and emoji.
        for text in [
            "\u{645}\u{6cc}\u{200c}\u{62e}",
            "\u{1f468}\u{200d}\u{1f469}",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_shown_as_a_number() {
        assert_eq!(visible("é\n\tb"), "é\n\tb");
        assert_eq!(
            visible("a\x1b[2J\r\u{202e}lmay.é"),
            "a\\u{1b}[2J\\u{d}\\u{202e}lmay.é"
        );
    }
}
