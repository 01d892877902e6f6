//! Shell patterns, for what `${name#pattern}` and its kin cut off.

/// The longest pattern, in characters: matching takes time by its length.
const MAX_LENGTH: usize = 256;

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum PatternPart {
    /// Any characters, none among them.
    Many,
    /// Any one character.
    One,
    /// This character.
    Literal(char),
    /// A character of a class: `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl PatternPart {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Many | Self::One => true,
            Self::Literal(wanted) => *wanted == character,
            Self::Class { negated, ranges } => {
                let inside = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character));
                inside != *negated
            }
        }
    }
}

/// A shell pattern: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a character that stands for itself. `*`
/// and `?` match slashes too.
pub(super) struct Pattern(Vec<PatternPart>);

impl Pattern {
    /// Reads a pattern; none where it is malformed or too long. Nothing is cut off by such a one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > MAX_LENGTH {
            return None;
        }
        let mut chars = text.chars();
        let mut parts = Vec::new();
        while let Some(character) = chars.next() {
            parts.push(match character {
                '*' => PatternPart::Many,
                '?' => PatternPart::One,
                '\\' => PatternPart::Literal(chars.next()?),
                '[' => class(&mut chars)?,
                other => PatternPart::Literal(other),
            });
        }
        Some(Self(parts))
    }

    /// How many bytes the match at the beginning of `text` takes, at least one character; none where it
    /// does not match. `longest`: as many as possible, otherwise as few.
    pub(super) fn at_start(&self, text: &str, longest: bool) -> Option<usize> {
        let parts: Vec<&PatternPart> = self.0.iter().collect();
        matched(&parts, text.chars(), longest)
    }

    /// The same at the end of `text`.
    pub(super) fn at_end(&self, text: &str, longest: bool) -> Option<usize> {
        let parts: Vec<&PatternPart> = self.0.iter().rev().collect();
        matched(&parts, text.chars().rev(), longest)
    }
}

fn class(chars: &mut std::str::Chars<'_>) -> Option<PatternPart> {
    let mut next = chars.next()?;
    let negated = next == '^';
    if negated {
        next = chars.next()?;
    }
    let mut ranges = Vec::new();
    loop {
        if next == ']' && !ranges.is_empty() {
            return Some(PatternPart::Class { negated, ranges });
        }
        let low = escaped(next, chars)?;
        next = chars.next()?;
        let mut high = low;
        if next == '-' {
            let character = chars.next()?;
            high = escaped(character, chars)?;
            next = chars.next()?;
        }
        ranges.push((low, high));
    }
}

/// A character of a class: `-` and `]` only behind a backslash.
fn escaped(character: char, chars: &mut std::str::Chars<'_>) -> Option<char> {
    match character {
        '-' | ']' => None,
        '\\' => chars.next(),
        other => Some(other),
    }
}

/// Follows all ways through the pattern at once, so that the time is bounded by text × pattern.
fn matched(
    parts: &[&PatternPart],
    text: impl Iterator<Item = char>,
    longest: bool,
) -> Option<usize> {
    let mut at: Vec<bool> = vec![false; parts.len() + 1];
    at[0] = true;
    skip_many(parts, &mut at);
    let mut length = 0;
    let mut found = None;
    for character in text {
        length += character.len_utf8();
        let mut next = vec![false; parts.len() + 1];
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| at[*index]) {
            match part {
                PatternPart::Many => next[index] = true,
                part if part.takes(character) => next[index + 1] = true,
                _ => (),
            }
        }
        skip_many(parts, &mut next);
        at = next;
        if at[parts.len()] {
            found = Some(length);
            if !longest {
                break;
            }
        }
        if !at.contains(&true) {
            break;
        }
    }
    found
}

/// `*` also matches nothing.
fn skip_many(parts: &[&PatternPart], at: &mut [bool]) {
    for (index, part) in parts.iter().enumerate() {
        if at[index] && **part == PatternPart::Many {
            at[index + 1] = true;
        }
    }
}
