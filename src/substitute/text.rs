//! How YAML would write a string, and what it reads back: whether a substituted string stays one.

use serde_json::Value;

use crate::manifest;

/// How YAML writes a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: `${replicas}` is a number once its variable is replaced.
    Plain,
    /// In quotes, or as a block of lines: it stays a string.
    Quoted,
}

/// How go-yaml, which Flux writes by, writes a string that holds `$`, so that is no number, boolean or
/// null by itself.
pub(super) fn style(text: &str) -> Style {
    let is_indicator = |character| "#,[]{}&*!|>'\"%@`".contains(character);
    let followed_by_space = |at: usize| text[at..].chars().nth(1).is_none_or(char::is_whitespace);
    let quoted = text.starts_with(is_indicator)
        || (text.starts_with(['-', '?']) && followed_by_space(0))
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.contains(|character: char| character.is_control() || character == '\u{feff}')
        || text.match_indices(':').any(|(at, _)| followed_by_space(at))
        || text.contains(" #");
    match quoted {
        true => Style::Quoted,
        false => Style::Plain,
    }
}

/// What YAML reads a text as that stands without quotes. A text that is no single value there stays a
/// string: Flux refuses such an object.
pub(super) fn read(text: &str) -> Value {
    let document = format!("value: {text}\n");
    let mut documents = manifest::documents(document.as_bytes()).unwrap_or_default();
    match (documents.pop(), documents.is_empty()) {
        (
            Some(manifest::Document {
                value: Value::Object(mut fields),
                ..
            }),
            true,
        ) if fields.len() == 1 => fields.remove("value").unwrap_or(Value::Null),
        _ => Value::String(text.to_owned()),
    }
}
