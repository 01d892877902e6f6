//! YAML as SOPS reads it: in the order of the file, since its checksum goes by that, and with the scalars
//! of go-yaml v3, for which `yes`, `on` and their like are strings.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;

use super::{
    MAX_DEPTH, YamlCause, YamlError, budget, check_characters, chunks, fail, number, scalar, tree,
};

/// The most nodes of one file.
const MAX_NODES: usize = 500_000;

/// A value of a file, in the file's order.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A string, number, boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Vec<(String, Node)>),
}

/// The documents of a file, without empty ones.
///
/// # Errors
/// What is no YAML, or uses aliases or merges: SOPS writes none.
pub fn ordered(text: &[u8]) -> Result<Vec<Node>, YamlError> {
    let text = std::str::from_utf8(text).map_err(|_| fail(1, 1, YamlCause::Encoding))?;
    let mut documents = Vec::new();
    let mut nodes = 0;
    for (index, chunk) in chunks(text).enumerate() {
        let chunk = chunk?;
        let _room = budget::room_for(chunk.text.len());
        let at = |(line, cause): (u32, YamlCause)| {
            fail(number(index), chunk.line + line.saturating_sub(1), cause)
        };
        check_characters(chunk.text).map_err(at)?;
        let node = document(chunk.text, &mut nodes).map_err(at)?;
        documents.extend(node);
    }
    Ok(documents)
}

/// A list or mapping that is not complete yet; of a mapping, the key whose value comes next.
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

fn document(text: &str, nodes: &mut usize) -> Result<Option<Node>, (u32, YamlCause)> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event
            .map_err(|error| (tree::line(error.marker().line()), tree::cause(error.kind())))?;
        let fail = |cause| (tree::line(span.start.line()), cause);
        *nodes += 1;
        if *nodes > MAX_NODES || open.len() > MAX_DEPTH {
            return Err(fail(YamlCause::TooDeep));
        }
        let done = match event {
            Event::Alias(_) => return Err(fail(YamlCause::Alias)),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Map(fields, _)) => Node::Map(fields),
                None => return Err(fail(YamlCause::Syntax("unbalanced document"))),
            },
            Event::Scalar(text, style, _, tag) => {
                if let Some(Open::Map(fields, key @ None)) = open.last_mut() {
                    if scalar::is_merge(&text, style, tag.as_deref()) {
                        return Err(fail(YamlCause::MergeValue));
                    }
                    if fields.iter().any(|(name, _)| *name == text) {
                        return Err(fail(YamlCause::DuplicateKey(None)));
                    }
                    *key = Some(text.into_owned());
                    continue;
                }
                let is_old_boolean = style == ScalarStyle::Plain && is_old_boolean(&text);
                let moment = (style == ScalarStyle::Plain && tag.is_none()).then(|| moment(&text));
                Node::Scalar(match moment.flatten() {
                    Some(moment) => Value::String(moment),
                    None if is_old_boolean => Value::String(text.into_owned()),
                    None => scalar::value(&text, style, tag.as_deref()).map_err(fail)?,
                })
            }
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map(fields, key)) => {
                let name = key.take().ok_or_else(|| fail(YamlCause::Key))?;
                fields.push((name, done));
            }
        }
    }
    Ok(root.filter(|root| *root != Node::Scalar(Value::Null)))
}

/// Booleans of YAML 1.1 that go-yaml v3 reads as strings.
fn is_old_boolean(text: &str) -> bool {
    ["y", "yes", "on", "n", "no", "off"].contains(&text.to_ascii_lowercase().as_str())
}

/// A date is the moment that it begins with for go-yaml v3, and SOPS' checksum counts it so. A date with a
/// time stays as it is written, which is how SOPS writes it.
fn moment(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let mut part = |lengths: std::ops::RangeInclusive<usize>| -> Option<u32> {
        let part = parts.next()?;
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        (lengths.contains(&part.len()) && is_number).then(|| part.parse().ok())?
    };
    let (year, month, day) = (part(4..=4)?, part(1..=2)?, part(1..=2)?);
    let is_date = parts.next().is_none() && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| format!("{year:04}-{month:02}-{day:02}T00:00:00Z"))
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        match node {
            Node::Scalar(value) => value,
            Node::List(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Node::Map(fields) => {
                let fields = fields.into_iter();
                Self::Object(
                    fields
                        .map(|(name, node)| (name, Self::from(node)))
                        .collect(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_scalars_are_those_of_sops() {
        let text =
            b"z: yes\na: 012\nb: [1.50, true, null, 'x']\n---\n# c\n---\n{\"k\": {\"y\": 1}}\n";
        let scalar = |value: serde_json::Value| Node::Scalar(value);
        let documents = ordered(text).unwrap();
        assert_eq!(
            documents[0],
            Node::Map(vec![
                ("z".into(), scalar("yes".into())),
                ("a".into(), scalar(10.into())),
                (
                    "b".into(),
                    Node::List(vec![
                        scalar(1.5.into()),
                        scalar(true.into()),
                        scalar(Value::Null),
                        scalar("x".into())
                    ])
                ),
            ])
        );
        assert_eq!(documents.len(), 2);
        for (bad, cause) in [
            ("a: &x 1\nb: *x\n", YamlCause::Alias),
            ("a: 1\na: 2\n", YamlCause::DuplicateKey(None)),
            ("a:\n  <<: {b: 1}\n", YamlCause::MergeValue),
        ] {
            assert_eq!(ordered(bad.as_bytes()).unwrap_err().cause, cause);
        }
        assert!(ordered("[".repeat(10_000).as_bytes()).is_err());
    }
}
