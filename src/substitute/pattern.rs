//! Shell patterns, for what `${name#pattern}` and its kin cut off.

/// The longest pattern, in characters: matching takes time by its length.
const MAX_LENGTH: usize = 256;

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Step {
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

impl Step {
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
pub(super) struct Pattern(Vec<Step>);

impl Pattern {
    /// Reads a pattern; none where it is malformed or too long. Nothing is cut off by such a one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > MAX_LENGTH {
            return None;
        }
        let mut chars = text.chars();
        let mut steps = Vec::new();
        while let Some(character) = chars.next() {
            steps.push(match character {
                '*' => Step::Many,
                '?' => Step::One,
                '\\' => Step::Literal(chars.next()?),
                '[' => class(&mut chars)?,
                other => Step::Literal(other),
            });
        }
        Some(Self(steps))
    }

    /// How many bytes the match at the beginning of `text` takes, at least one character; none where it
    /// does not match. `longest`: as many as possible, otherwise as few.
    pub(super) fn at_start(&self, text: &str, longest: bool) -> Option<usize> {
        let steps: Vec<&Step> = self.0.iter().collect();
        matched(&steps, text.chars(), longest)
    }

    /// The same at the end of `text`.
    pub(super) fn at_end(&self, text: &str, longest: bool) -> Option<usize> {
        let steps: Vec<&Step> = self.0.iter().rev().collect();
        matched(&steps, text.chars().rev(), longest)
    }
}

fn class(chars: &mut std::str::Chars<'_>) -> Option<Step> {
    let mut next = chars.next()?;
    let negated = next == '^';
    if negated {
        next = chars.next()?;
    }
    let mut ranges = Vec::new();
    loop {
        if next == ']' && !ranges.is_empty() {
            return Some(Step::Class { negated, ranges });
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
fn matched(steps: &[&Step], text: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
    let mut at: Vec<bool> = vec![false; steps.len() + 1];
    at[0] = true;
    skip_many(steps, &mut at);
    let mut length = 0;
    let mut found = None;
    for character in text {
        length += character.len_utf8();
        let mut next = vec![false; steps.len() + 1];
        for (index, step) in steps.iter().enumerate().filter(|(index, _)| at[*index]) {
            match step {
                Step::Many => next[index] = true,
                step if step.takes(character) => next[index + 1] = true,
                _ => (),
            }
        }
        skip_many(steps, &mut next);
        at = next;
        if at[steps.len()] {
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
fn skip_many(steps: &[&Step], at: &mut [bool]) {
    for (index, step) in steps.iter().enumerate() {
        if at[index] && **step == Step::Many {
            at[index + 1] = true;
        }
    }
}
