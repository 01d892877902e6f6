//! The text that a template becomes with variables' values.

use super::pattern::Pattern;
use super::template::{Operator, Part, Variable, Which};
use super::{ExpandError, Variables};

/// Puts the values of `variables` into `parts`, up to `budget` bytes, which it counts down.
pub(super) fn expand(
    parts: &[Part],
    variables: &Variables,
    budget: &mut usize,
) -> Result<String, ExpandError> {
    let mut text = String::new();
    for part in parts {
        text.push_str(&one(part, variables, budget)?);
    }
    Ok(text)
}

fn one(part: &Part, variables: &Variables, budget: &mut usize) -> Result<String, ExpandError> {
    let text = match part {
        Part::Text(text) => text.clone(),
        Part::Variable(variable) => value_of(variable, variables, budget)?,
    };
    *budget = budget
        .checked_sub(text.len())
        .ok_or(ExpandError::TooLarge)?;
    Ok(text)
}

fn value_of(
    Variable { name, operator }: &Variable,
    variables: &Variables,
    budget: &mut usize,
) -> Result<String, ExpandError> {
    let value = variables.get(name);
    if value.is_none() && variables.strict && !matches!(operator, Operator::Default(_)) {
        return Err(ExpandError::Undefined(name.clone()));
    }
    let value = value.unwrap_or_default();
    let mut argument = |part: &Part| one(part, variables, budget);
    Ok(match operator {
        Operator::Plain | Operator::Unchanged => value.to_owned(),
        Operator::Length => value.len().to_string(),
        Operator::Default(parts) => match value.is_empty() {
            true => expand(parts, variables, budget)?,
            false => value.to_owned(),
        },
        Operator::Lower => value.chars().map(lower).collect(),
        Operator::Upper => value.chars().map(upper).collect(),
        Operator::LowerFirst => first(value, lower),
        Operator::UpperFirst => first(value, upper),
        Operator::Substring(from, length) => {
            let from = argument(from)?;
            let length = length.as_deref().map(argument).transpose()?;
            substring(value, &from, length.as_deref()).to_owned()
        }
        Operator::Trim {
            end,
            longest,
            pattern,
        } => trim(value, &argument(pattern)?, *end, *longest).to_owned(),
        Operator::Replace { which, from, to } => {
            let from = argument(from)?;
            let to = to.as_deref().map(argument).transpose()?;
            replace(value, *which, &from, to.as_deref(), *budget)?
        }
    })
}

fn first(value: &str, change: fn(char) -> char) -> String {
    let mut chars = value.chars();
    match chars.next() {
        Some(first) => change(first).to_string() + chars.as_str(),
        None => String::new(),
    }
}

/// A character that has no single other case stays, as in Flux: `ß`.
fn upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    upper
        .next()
        .filter(|_| upper.next().is_none())
        .unwrap_or(character)
}

fn lower(character: char) -> char {
    let mut lower = character.to_lowercase();
    lower
        .next()
        .filter(|_| lower.next().is_none())
        .unwrap_or(character)
}

/// Positions are bytes, as in Flux. What they cut through is left out as a whole.
fn substring<'v>(value: &'v str, from: &str, length: Option<&str>) -> &'v str {
    let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let Ok(from) = from.parse::<i64>() else {
        return value;
    };
    let from = match from < 0 {
        true => size.saturating_add(from).max(0),
        false => from,
    };
    let end = match length.map(str::parse::<i64>) {
        None => size,
        Some(Err(_)) => return value,
        Some(Ok(length)) if length < 0 => size.saturating_add(length),
        Some(Ok(length)) => from.saturating_add(length).min(size),
    };
    if from >= end {
        return "";
    }
    let at = |position: i64| usize::try_from(position).unwrap_or_default();
    &value[value.ceil_char_boundary(at(from))..value.floor_char_boundary(at(end))]
}

/// A pattern that cannot be read cuts off nothing.
fn trim<'v>(value: &'v str, pattern: &str, end: bool, longest: bool) -> &'v str {
    let Some(pattern) = Pattern::parse(pattern) else {
        return value;
    };
    match end {
        false => &value[pattern.at_start(value, longest).unwrap_or_default()..],
        true => &value[..value.len() - pattern.at_end(value, longest).unwrap_or_default()],
    }
}

fn replace(
    value: &str,
    which: Which,
    from: &str,
    to: Option<&str>,
    budget: usize,
) -> Result<String, ExpandError> {
    let with = to.unwrap_or_default();
    Ok(match (which, to) {
        (Which::First, _) => value.replacen(from, with, 1),
        (Which::All, _) => {
            let growth = value.matches(from).count().saturating_mul(with.len());
            if growth > budget {
                return Err(ExpandError::TooLarge);
            }
            value.replace(from, with)
        }
        (Which::Prefix, Some(with)) => match value.strip_prefix(from) {
            Some(rest) => format!("{with}{rest}"),
            None => value.to_owned(),
        },
        (Which::Suffix, Some(with)) => match value.strip_suffix(from) {
            Some(rest) => format!("{rest}{with}"),
            None => value.to_owned(),
        },
        // Flux replaces a prefix or suffix by nothing only where it is told to by other means.
        (Which::Prefix | Which::Suffix, None) => value.to_owned(),
    })
}
