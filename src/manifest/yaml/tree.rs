//! Builds a value from the events of one document: aliases, merges, keys, and their limits.

use std::collections::{BTreeSet, HashMap};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use super::budget::{self, Meter};
use super::{MAX_DEPTH, YamlCause, scalar};

/// How much the anchors and aliases of one file may copy, in the weight of [`Sized`]: about 16 MiB.
///
/// A Kubernetes object has at most 1.5 MiB, so a refused file could not have been applied.
pub(super) struct AliasBudget(usize);

impl Default for AliasBudget {
    fn default() -> Self {
        Self(16 << 20)
    }
}

impl AliasBudget {
    fn charge(&mut self, weight: usize) -> Result<(), YamlCause> {
        self.0 = self.0.checked_sub(weight).ok_or(YamlCause::AliasBomb)?;
        Ok(())
    }
}

/// A value, its approximate size in bytes, and how deep it nests.
#[derive(Clone)]
struct Sized {
    value: Value,
    weight: usize,
    /// What it takes in memory.
    memory: usize,
    height: usize,
}

/// The weight of an empty value.
const NODE: usize = 32;

enum Frame {
    Seq {
        anchor: usize,
        items: Vec<Value>,
        weight: usize,
        memory: usize,
        height: usize,
    },
    Map {
        anchor: usize,
        map: Mapping,
        weight: usize,
        memory: usize,
        height: usize,
    },
}

#[derive(Default)]
struct Mapping {
    entries: Map<String, Value>,
    key: Option<Key>,
    /// Keys that were set only by a merge.
    merged: BTreeSet<String>,
}

enum Key {
    Merge,
    Name(String),
}

/// The value of the document in `text`, or the line in it and the error.
pub(super) fn value(text: &str, budget: &mut AliasBudget) -> Result<Value, (u32, YamlCause)> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        budget,
        meter: Meter::default(),
        anchors: HashMap::new(),
        frames: Vec::new(),
        root: None,
        documents: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| (line(error.marker().line()), cause(error.kind())))?;
        if is_glued_colon(text, &event, &span) {
            return Err((line(span.start.line()), YamlCause::GluedColon));
        }
        builder
            .event(event)
            .map_err(|cause| (line(span.start.line()), cause))?;
    }
    Ok(builder.root.unwrap_or(Value::Null))
}

/// Whether this is the empty value of `[a:, b]`, which is the string `a:` for go-yaml. The parser
/// puts the empty value at the colon.
fn is_glued_colon(text: &str, event: &Event<'_>, span: &Span) -> bool {
    if !matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..)) || !span.is_empty() {
        return false;
    }
    let rest = span
        .start
        .byte_offset()
        .and_then(|at| text.get(at..))
        .unwrap_or_default();
    rest.strip_prefix(':')
        .is_some_and(|rest| rest.starts_with([',', ']', '}', '[', '{']))
}

pub(super) fn line(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}

struct Builder<'b> {
    budget: &'b mut AliasBudget,
    meter: Meter,
    anchors: HashMap<usize, Sized>,
    frames: Vec<Frame>,
    root: Option<Value>,
    documents: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), YamlCause> {
        match event {
            Event::DocumentStart(..) => self.document(),
            Event::Alias(anchor) => self.alias(anchor),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                if self.expects_key() && scalar::is_merge(&text, style, tag) {
                    return self.set_key(Key::Merge);
                }
                let weight = NODE + text.len();
                // A value in a mapping and its key are both scalars here.
                let memory = budget::entry(text.len());
                self.meter.charge(memory)?;
                let value = scalar::value(&text, style, tag)?;
                self.complete(
                    anchor,
                    Sized {
                        value,
                        weight,
                        memory,
                        height: 0,
                    },
                )
            }
            Event::SequenceStart(_, anchor, _) => self.open(Frame::Seq {
                anchor,
                items: Vec::new(),
                weight: NODE,
                memory: budget::scalar(),
                height: 0,
            }),
            Event::MappingStart(_, anchor, _) => self.open(Frame::Map {
                anchor,
                map: Mapping::default(),
                weight: NODE,
                memory: budget::map(),
                height: 0,
            }),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn document(&mut self) -> Result<(), YamlCause> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(YamlCause::TrailingContent);
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Map { map, .. }) if map.key.is_none())
    }

    fn set_key(&mut self, key: Key) -> Result<(), YamlCause> {
        let Some(Frame::Map { map, .. }) = self.frames.last_mut() else {
            return Err(YamlCause::Key);
        };
        map.key = Some(key);
        Ok(())
    }

    fn open(&mut self, frame: Frame) -> Result<(), YamlCause> {
        if self.expects_key() {
            return Err(YamlCause::Key);
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err(YamlCause::TooDeep);
        }
        let (Frame::Seq { memory, .. } | Frame::Map { memory, .. }) = &frame;
        self.meter.charge(*memory)?;
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlCause> {
        match self.frames.pop() {
            Some(Frame::Seq {
                anchor,
                items,
                weight,
                memory,
                height,
            }) => {
                let value = Value::Array(items);
                self.complete(
                    anchor,
                    Sized {
                        value,
                        weight,
                        memory,
                        height: height + 1,
                    },
                )
            }
            Some(Frame::Map {
                anchor,
                map,
                weight,
                memory,
                height,
            }) => {
                let value = Value::Object(map.entries);
                self.complete(
                    anchor,
                    Sized {
                        value,
                        weight,
                        memory,
                        height: height + 1,
                    },
                )
            }
            None => Err(YamlCause::Syntax("unbalanced document")),
        }
    }

    fn alias(&mut self, anchor: usize) -> Result<(), YamlCause> {
        let sized = self.anchors.get(&anchor).ok_or(YamlCause::Alias)?;
        self.budget.charge(sized.weight)?;
        self.meter.charge(sized.memory)?;
        if self.frames.len() + sized.height > MAX_DEPTH {
            return Err(YamlCause::TooDeep);
        }
        let sized = sized.clone();
        self.attach(sized)
    }

    fn complete(&mut self, anchor: usize, sized: Sized) -> Result<(), YamlCause> {
        if anchor != 0 {
            self.budget.charge(sized.weight)?;
            self.meter.charge(sized.memory)?;
            self.anchors.insert(anchor, sized.clone());
        }
        self.attach(sized)
    }

    fn attach(&mut self, sized: Sized) -> Result<(), YamlCause> {
        match self.frames.last_mut() {
            None => self.root = Some(json_number(sized.value)),
            Some(Frame::Seq {
                items,
                weight,
                memory,
                height,
                ..
            }) => {
                items.push(json_number(sized.value));
                *weight += sized.weight;
                *memory += sized.memory;
                *height = (*height).max(sized.height);
            }
            Some(Frame::Map {
                map,
                weight,
                memory,
                height,
                ..
            }) => {
                map.put(sized.value)?;
                *weight += sized.weight;
                *memory += sized.memory;
                *height = (*height).max(sized.height);
            }
        }
        Ok(())
    }
}

impl Mapping {
    /// Adds the next key or value, whichever is expected.
    fn put(&mut self, value: Value) -> Result<(), YamlCause> {
        match self.key.take() {
            None => self.key = Some(Key::Name(scalar::key(value)?)),
            Some(Key::Name(name)) => {
                let merged = self.merged.remove(&name);
                if !merged && self.entries.contains_key(&name) {
                    return Err(YamlCause::duplicate(&name));
                }
                self.entries.insert(name, json_number(value));
            }
            Some(Key::Merge) => self.merge(value)?,
        }
        Ok(())
    }

    /// Merges mappings. Of several mappings, the first one wins. For a key that the mapping sets
    /// before the merge, kubectl uses the merged value and YAML the mapping's own. So such a key is
    /// an error, unless both are the same.
    fn merge(&mut self, value: Value) -> Result<(), YamlCause> {
        let sources = match value {
            Value::Object(map) => vec![Value::Object(map)],
            Value::Array(items) => items,
            _ => return Err(YamlCause::MergeValue),
        };
        let mut union = Map::new();
        for source in sources {
            let Value::Object(source) = source else {
                return Err(YamlCause::MergeValue);
            };
            for (name, value) in source {
                union.entry(name).or_insert(value);
            }
        }
        for (name, value) in union {
            match self.entries.get(&name) {
                Some(own) if *own == value => (),
                Some(_) => return Err(YamlCause::MergeConflict),
                None => {
                    self.merged.insert(name.clone());
                    self.entries.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

fn json_number(value: Value) -> Value {
    match &value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().and_then(scalar::float).unwrap_or(value)
        }
        _ => value,
    }
}

/// Our own words for the parser's category of error, because the parser's texts may quote the file.
pub(super) fn cause(kind: &ErrorKind) -> YamlCause {
    use ErrorKind as E;
    YamlCause::Syntax(match kind {
        E::RecursionLimitExceeded => return YamlCause::TooDeep,
        E::UnknownAnchor => return YamlCause::Alias,
        E::BomInsideDocument => "a byte-order mark inside the document",
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabAtBlockScalarStart => "a tab in the indentation: use spaces",
        E::InvalidIndentation | E::InvalidBlockScalarIndent | E::InvalidQuotedScalarIndent => {
            "wrong indentation"
        }
        E::UnclosedQuotedScalar => "a quoted string is not closed",
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            "text after a quoted string"
        }
        E::UnknownQuotedScalarEscape
        | E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape => "an unknown escape",
        E::UnclosedFlowCollection { .. }
        | E::MismatchedFlowCollectionEnd { .. }
        | E::MisplacedFlowCollectionEnd
        | E::UnexpectedEofFlowSequence
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofImplicitFlowMapping
        | E::ExpectedFlowMappingSeparator
        | E::ExpectedFlowSequenceSeparator => {
            "brackets or braces do not match, or a comma is missing"
        }
        E::ExpectedBlockMappingKey => "a key was expected: check the indentation",
        E::ExpectedBlockSequenceEntry | E::BlockSequenceEntryNotAllowed => {
            "a list entry is not allowed here: check the indentation"
        }
        E::SimpleKeyExpected | E::InvalidSimpleKey => "a key without its colon",
        E::UnexpectedCharacter { .. } => "a character that cannot begin a value: quote it",
        E::ExpectedDocumentStart | E::InvalidDocumentEnd | E::MissingDocumentEndBeforeDirective => {
            "a document may not begin or end here"
        }
        _ => "not valid YAML",
    })
}
