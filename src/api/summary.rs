//! The short form of messages and revisions, for the columns of `kubectl get`.

use crate::text::visible;

/// The longest line in a column, in characters.
const LONGEST: usize = 200;

/// The number of a commit's digits in a column.
const DIGITS: usize = 12;

/// Digits of a whole commit id (SHA-1, SHA-256).
const WHOLE: [usize; 2] = [40, 64];

/// A message on one line of at most 200 characters, with short commits. The count of items that the
/// message does not name ("and 34 more") at its end is kept.
pub fn summary(message: &str) -> String {
    let message = visible(message);
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = short_commits(&words.join(" "));
    let length = line.chars().count();
    if length <= LONGEST {
        return line;
    }
    let end = match more(&line) {
        Some(more) => format!("… {more}"),
        None => "…".to_owned(),
    };
    let kept = LONGEST - end.chars().count();
    let head: String = line.chars().take(kept).collect();
    format!("{}{end}", head.trim_end_matches([' ', ';', ',', ':']))
}

/// The text with every whole commit id cut to twelve digits. The value of an annotation in a command stays whole: it is
/// there to be copied.
pub fn short_commits(text: &str) -> String {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.bytes().position(is_digit) {
        let run = rest[start..]
            .bytes()
            .take_while(|byte| is_digit(*byte))
            .count();
        let is_value = rest[..start].ends_with('=');
        let kept = match WHOLE.contains(&run) && !is_value {
            true => DIGITS,
            false => run,
        };
        short.push_str(&rest[..start + kept]);
        rest = &rest[start + run..];
    }
    short.push_str(rest);
    short
}

/// The last `and 34 more` of a line.
fn more(line: &str) -> Option<&str> {
    let (start, _) = line.rmatch_indices("and ").find(|(start, and)| {
        let number = &line[start + and.len()..];
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && number[digits..].starts_with(" more")
    })?;
    let end = line[start..].find(" more")? + " more".len();
    Some(&line[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_short_message_stays_but_for_its_commits() {
        let said = format!("fetched main@sha1:{COMMIT}, signed by é\n and others");
        let line = "fetched main@sha1:0123456789ab, signed by é and others";
        assert_eq!(summary(&said), line);
        assert_eq!(summary("a\tb\u{1b}[2J\nc"), "a b\\u{1b}[2J c");
        assert_eq!(short_commits("abc 0123 deadbeef"), "abc 0123 deadbeef");
        assert_eq!(short_commits(COMMIT), "0123456789ab");
        let longer = format!("{COMMIT}00");
        assert_eq!(short_commits(&longer), longer, "that is no commit");
    }

    #[test]
    fn a_long_message_is_cut_and_still_says_how_many_there_are() {
        let named = "a.yaml: it is é wrong; ".repeat(30);
        for said in [
            format!("{named}and 34 more"),
            format!("{named}and 34 more; main@sha1:{COMMIT} stays live"),
        ] {
            let line = summary(&said);
            assert_eq!(line.chars().count().max(190), line.chars().count());
            assert!(
                line.chars().count() <= LONGEST && line.ends_with("… and 34 more"),
                "{line}"
            );
        }
        assert!(summary(&named).ends_with('…'));
    }
}
