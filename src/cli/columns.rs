//! Texts in the columns of a terminal. Pure.

use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

/// A text of one paragraph in lines of at most `width` columns.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let lines = breaks(text, width).into_iter();
    lines.map(|line| &text[line]).collect()
}

/// The bytes of a text that each of those lines has.
pub(super) fn breaks(text: &str, width: usize) -> Vec<Range<usize>> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let (fits, more) = split(rest, width);
        if more.is_empty() {
            lines.push(start..text.len());
            return lines;
        }
        // A line ends between words, unless one word fills it.
        let end = match more.starts_with(' ') {
            true => fits.len(),
            false => fits.rfind(' ').unwrap_or(fits.len()),
        };
        lines.push(start..start + rest[..end].trim_end().len());
        start = text.len() - rest[end..].trim_start().len();
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
