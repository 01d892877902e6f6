//! Texts in the columns of a terminal. Pure.

use unicode_width::UnicodeWidthChar as _;

/// A text of one paragraph in lines of at most `width` columns.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let (fits, more) = split(rest, width);
        if more.is_empty() {
            lines.push(fits);
            return lines;
        }
        // A line ends between words, unless one word fills it.
        let end = match more.starts_with(' ') {
            true => fits.len(),
            false => fits.rfind(' ').unwrap_or(fits.len()),
        };
        lines.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
}

/// The start of a text that fits into `width` columns, and the rest.
pub(super) fn split(text: &str, width: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or_default();
        if used > width {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("abcdefghijk", 8), ["abcdefgh", "ijk"]);
        assert_eq!(wrapped("", 8), [""]);
    }
}
