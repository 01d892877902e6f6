//! What a YAML or JSON file means, as kubectl takes it (`sigs.k8s.io/yaml`, which is go-yaml v2).
//!
//! The crate is used for its events only. Scalars, keys, merges and aliases are resolved here, after
//! go-yaml v2's rules: no YAML 1.2 library resolves them that way, and a difference is a field with
//! another value in the cluster. `tests/golden/yaml` holds both against each other.

mod json;
mod scalar;
mod tree;

use serde_json::Value;

/// One object-bearing document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its 1-based position, counted as kubectl counts: an empty document has a number too.
    pub number: u32,
    /// What it says; never null.
    pub value: Value,
}

/// Why a file cannot be read. Its message names no key and no value: the file may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}, line {line}: {cause}")]
pub struct YamlError {
    /// The 1-based document.
    pub document: u32,
    /// The 1-based line within the file.
    pub line: u32,
    /// What is wrong there.
    pub cause: YamlCause,
}

/// The closed set of what can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlCause {
    /// Neither YAML nor JSON; the text says what the parser stumbled over.
    #[error("{0}")]
    Syntax(&'static str),
    /// Bytes that are not text.
    #[error("not valid UTF-8")]
    Encoding,
    /// A control character, NUL among them.
    #[error("control characters are not allowed")]
    ControlCharacter,
    /// U+0085, U+2028 and U+2029 end a line in YAML 1.1 (so for kubectl) and do not in YAML 1.2.
    #[error(
        "a unicode line separator ends a line for kubectl; write it as an escape in a quoted string"
    )]
    LineSeparator,
    /// Text after `---` on its line.
    #[error("only a comment may follow --- on its line")]
    Separator,
    /// A second document that no `---` line begins; kubectl drops it without a word.
    #[error("content after the end of the document; begin a new document with ---")]
    TrailingContent,
    /// The same key twice.
    #[error("a key appears twice in one mapping")]
    DuplicateKey,
    /// A key before a `<<` that brings the same key: kubectl and the YAML specification disagree.
    #[error("a merge (<<) sets a key that the mapping sets before it; put the merge first")]
    MergeConflict,
    /// `<<` with something else.
    #[error("a merge (<<) needs a mapping or a list of mappings")]
    MergeValue,
    /// A null, a list, a mapping or an odd number as key.
    #[error("a mapping's key must be a string, a boolean or a plain number")]
    Key,
    /// `[a:, b]`, where kubectl reads the string `a:`.
    #[error("a colon without a space after it in brackets or braces")]
    GluedColon,
    /// `.inf` and `.nan`.
    #[error("a number that JSON cannot hold")]
    NonFinite,
    /// `!!int`, `!!binary` and others on a value that is none.
    #[error("a value does not fit its tag")]
    Tag,
    /// An alias within its own anchor.
    #[error("an alias refers to a value that contains it, or to none")]
    Alias,
    /// An alias bomb.
    #[error("aliases expand to too much")]
    AliasBomb,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
}

/// How deep values may nest: as deep as the JSON reader of the API's answers goes.
pub(crate) const MAX_DEPTH: usize = 127;

/// The documents of a YAML or JSON file, without the empty ones.
///
/// Files are split and read as kubectl does it: documents at lines beginning with `---`, JSON
/// wherever a document begins with `{` and is JSON.
pub fn documents(text: &[u8]) -> Result<Vec<Document>, YamlError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = line_at(text, error.valid_up_to());
        fail(1, line, YamlCause::Encoding)
    })?;
    if json::looks_like(text) {
        match json::stream(text) {
            Ok(documents) => return Ok(documents),
            Err(json::Failure::Meaning(error)) => return Err(error),
            Err(json::Failure::NotJson) => {}
        }
    }
    let mut budget = tree::AliasBudget::default();
    let mut documents = Vec::new();
    for (index, chunk) in chunks(text)?.into_iter().enumerate() {
        let number = number(index);
        let value = chunk
            .value(&mut budget)
            .map_err(|(line, cause)| fail(number, chunk.line + line.saturating_sub(1), cause))?;
        if !value.is_null() {
            documents.push(Document { number, value });
        }
    }
    Ok(documents)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(1))
}

fn fail(document: u32, line: u32, cause: YamlCause) -> YamlError {
    YamlError {
        document,
        line,
        cause,
    }
}

fn line_at(text: &[u8], offset: usize) -> u32 {
    let before = text.get(..offset).unwrap_or(text);
    number(before.iter().filter(|byte| **byte == b'\n').count())
}

/// The text of one document and the line of the file on which it begins.
struct Chunk<'a> {
    text: &'a str,
    line: u32,
}

/// Splits as apimachinery's `YAMLReader` does: every line that begins with `---` separates, unless
/// nothing precedes it; it is not looked at whether a scalar is open.
fn chunks(text: &str) -> Result<Vec<Chunk<'_>>, YamlError> {
    let mut chunks = Vec::new();
    let (mut begin, mut begin_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err(fail(
                    number(chunks.len()),
                    number(index),
                    YamlCause::Separator,
                ));
            }
            if offset > begin {
                chunks.push(Chunk {
                    text: &text[begin..offset],
                    line: begin_line,
                });
                (begin, begin_line) = (end, number(index).saturating_add(1));
            }
        }
        offset = end;
    }
    if offset > begin {
        chunks.push(Chunk {
            text: &text[begin..],
            line: begin_line,
        });
    }
    Ok(chunks)
}

impl Chunk<'_> {
    /// What the chunk says, or the line within it and the cause.
    fn value(&self, budget: &mut tree::AliasBudget) -> Result<Value, (u32, YamlCause)> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(self.text);
        if json::looks_like(text) {
            match json::one(text) {
                Ok(value) => return Ok(value),
                Err(json::Failure::Meaning(error)) => return Err((error.line, error.cause)),
                Err(json::Failure::NotJson) => {}
            }
        }
        check_characters(text)?;
        tree::value(text, budget)
    }
}

/// go-yaml's reader refuses control characters; see [`YamlCause::LineSeparator`] for the others.
fn check_characters(text: &str) -> Result<(), (u32, YamlCause)> {
    let plain = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    if text.bytes().all(plain) {
        return Ok(());
    }
    for (offset, character) in text.char_indices() {
        let cause = match character {
            '\u{85}' | '\u{2028}' | '\u{2029}' => YamlCause::LineSeparator,
            '\t' | '\n' | '\r' | ' '..='~' => continue,
            '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => continue,
            _ => YamlCause::ControlCharacter,
        };
        return Err((line_at(text.as_bytes(), offset), cause));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
