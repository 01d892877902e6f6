//! Reads a YAML or JSON file with the meaning that it has for kubectl (`sigs.k8s.io/yaml`, which is
//! go-yaml v2).
//!
//! The crate only produces events. Scalars, keys, merges and aliases are resolved here by go-yaml
//! v2's rules, because no YAML 1.2 library has the same rules, and a difference would be another
//! value in the cluster. `tests/golden/yaml` compares both.

mod budget;
mod directive;
mod json;
mod mistake;
mod ordered;
mod scalar;
mod tree;

pub use budget::{MAX_DOCUMENT, MAX_OBJECT, memory};
pub use ordered::{Node, ordered};
use serde_json::Value;

/// One document of a file, not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its position, counted from 1 as kubectl counts: empty documents count too.
    pub number: u32,
    /// Its value, never null.
    pub value: Value,
}

/// Why a file cannot be read. The message names no value, because the file may hold a secret, and a key only if it
/// looks like the name of a field of another kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}, line {line}: {cause}")]
pub struct YamlError {
    /// The document, counted from 1.
    pub document: u32,
    /// The line in the file, counted from 1.
    pub line: u32,
    /// The error.
    pub cause: YamlCause,
}

/// The closed set of errors in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlCause {
    /// Neither YAML nor JSON. The text names the parser's problem.
    #[error("{0}")]
    Syntax(&'static str),
    /// The bytes are not UTF-8.
    #[error("not valid UTF-8")]
    Encoding,
    /// A control character, including NUL.
    #[error("control characters are not allowed")]
    ControlCharacter,
    /// U+0085, U+2028 and U+2029 end a line in YAML 1.1, which kubectl uses, but not in YAML 1.2.
    #[error(
        "a unicode line separator ends a line for kubectl; write it as an escape in a quoted string"
    )]
    LineSeparator,
    /// Text after `---` on its line.
    #[error("only a comment may follow --- on its line")]
    Separator,
    /// A second document without a `---` line before it. kubectl drops it without a message.
    #[error("content after the end of the document; begin a new document with ---")]
    TrailingContent,
    /// The same key twice. kubectl and Helm take the last one.
    #[error("{}", twice(.0.as_deref()))]
    DuplicateKey(Option<Box<str>>),
    /// A key before a `<<` that sets the same key. kubectl and the YAML specification disagree
    /// about the result.
    #[error(
        "a merge (<<) sets a key that the mapping sets before it to another value; put the merge first"
    )]
    MergeConflict,
    /// `<<` with a value that is neither a mapping nor a list of mappings.
    #[error("a merge (<<) needs a mapping or a list of mappings")]
    MergeValue,
    /// A null, a list, a mapping or an unusual number as key.
    #[error("a mapping's key must be a string, a boolean or a plain number")]
    Key,
    /// `[a:, b]`, where kubectl reads the string `a:`.
    #[error("a colon without a space after it in brackets or braces")]
    GluedColon,
    /// `.inf` and `.nan`.
    #[error("a number that JSON cannot hold")]
    NonFinite,
    /// `!!int`, `!!binary` or another tag on a value of another type.
    #[error("a value does not fit its tag")]
    Tag,
    /// An alias within its own anchor.
    #[error("an alias refers to a value that contains it, or to none")]
    Alias,
    /// Aliases expand to more than the limit.
    #[error("aliases expand to more than the limit")]
    AliasBomb,
    /// More than [`MAX_DOCUMENT`] in memory.
    #[error(
        "too large: its values take more than {} MiB of memory, and the API server takes objects of at most {} MiB",
        MAX_DOCUMENT >> 20,
        MAX_OBJECT >> 20
    )]
    TooLarge,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// A directive other than `%YAML 1.1` and `%YAML 1.2`. The text is the directive, where it has the form of one.
    #[error("the directive {} is not supported: remove its line", .0.as_deref().unwrap_or("%"))]
    Directive(Option<Box<str>>),
    /// `<<<<<<<` at the beginning of a line.
    #[error(
        "a merge conflict that was committed: keep one of the two versions, and remove the lines that begin with <<<<<<<, \
         ======= and >>>>>>>"
    )]
    MergeMarkers,
    /// `{{` where YAML has no such thing.
    #[error(
        "a template ({{{{ … }}}}) that nothing has rendered: only the templates of a Helm chart may have one"
    )]
    Template,
}

impl YamlCause {
    /// Without a key, if `text` may be a Secret: a broken one may have anything for a key.
    fn about(self, text: &str) -> Self {
        match self {
            Self::DuplicateKey(_) if !text.contains("kind") || text.contains("Secret") => {
                Self::DuplicateKey(None)
            }
            other => other,
        }
    }

    /// The same key twice. What may be another text than a name is not repeated.
    fn duplicate(key: &str) -> Self {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
        let is_name = !key.is_empty() && key.len() <= LONGEST_KEY && key.chars().all(fits);
        Self::DuplicateKey(is_name.then(|| key.into()))
    }
}

/// The longest key that is repeated, in bytes: that of the longest name in Kubernetes after the prefix of most groups.
const LONGEST_KEY: usize = 100;

fn twice(key: Option<&str>) -> String {
    let key = key.map_or_else(|| "a key".to_owned(), |key| format!("the key {key}"));
    format!(
        "{key} appears twice in one mapping: remove one of the two. kubectl and Helm would take the last"
    )
}

/// How deep values may nest. The JSON reader for answers of the API server has the same limit.
pub(crate) const MAX_DEPTH: usize = 127;

/// The documents of a YAML or JSON file, without empty ones. All are in memory at one time;
/// [`each_document`] has one at a time.
///
/// # Errors
/// The first error in the file.
pub fn documents(text: &[u8]) -> Result<Vec<Document>, YamlError> {
    let mut documents = Vec::new();
    each_document(text, |document| {
        documents.push(document);
        Ok::<(), YamlError>(())
    })?;
    Ok(documents)
}

/// Calls `found` with each document of a YAML or JSON file that is not empty, one after the other.
///
/// Files are split and read as in kubectl: a line that begins with `---` begins a document, and a
/// document that begins with `{` and is valid JSON is JSON.
///
/// # Errors
/// The first error in the file, or of `found`.
pub fn each_document<E: From<YamlError>>(
    text: &[u8],
    mut found: impl FnMut(Document) -> Result<(), E>,
) -> Result<(), E> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = line_at(text, error.valid_up_to());
        fail(1, line, YamlCause::Encoding)
    })?;
    if json::looks_like(text) && json::is_stream(text) {
        return json::stream(text, found);
    }
    let mut budget = tree::AliasBudget::default();
    for (index, chunk) in chunks(text).enumerate() {
        let chunk = chunk.map_err(|error| explained(text, error))?;
        let number = number(index);
        let _room = budget::room_for(chunk.text.len());
        let value = chunk.value(&mut budget).map_err(|(line, cause)| {
            let line = chunk.line + line.saturating_sub(1);
            explained(text, fail(number, line, cause.about(chunk.text)))
        })?;
        if !value.is_null() {
            found(Document { number, value })?;
        }
    }
    Ok(())
}

/// Whether Git left a merge conflict in a text.
#[must_use]
pub fn has_merge_markers(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| mistake::merge_markers(text).is_some())
}

/// The error with the mistake behind it, if the text shows that.
fn explained(text: &str, error: YamlError) -> YamlError {
    use YamlCause as C;
    let YamlError {
        document,
        line,
        cause,
    } = &error;
    let is_form = matches!(cause, C::Syntax(_) | C::Key | C::GluedColon);
    let may_be_merged = is_form
        || matches!(
            cause,
            C::Separator | C::TrailingContent | C::DuplicateKey(_)
        );
    if may_be_merged && let Some(line) = mistake::merge_markers(text) {
        return fail(*document, line, C::MergeMarkers);
    }
    match is_form && mistake::is_template(text, *line) {
        true => fail(*document, *line, C::Template),
        false => error,
    }
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

/// The text of one document, and its first line in the file.
struct Chunk<'a> {
    text: &'a str,
    line: u32,
}

/// Splits as apimachinery's `YAMLReader` does: every line that begins with `---` is a separator,
/// unless nothing comes before it. An open scalar makes no difference.
fn chunks(text: &str) -> impl Iterator<Item = Result<Chunk<'_>, YamlError>> {
    let mut lines = text.split_inclusive('\n').enumerate();
    let (mut begin, mut begin_line, mut offset) = (0, 1, 0);
    let mut count = 0;
    std::iter::from_fn(move || {
        for (index, line) in lines.by_ref() {
            let start = offset;
            offset += line.len();
            let Some(rest) = line.strip_prefix("---") else {
                continue;
            };
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                let error = fail(number(count), number(index), YamlCause::Separator);
                begin = text.len();
                offset = begin;
                lines = "".split_inclusive('\n').enumerate();
                return Some(Err(error));
            }
            if start > begin {
                let chunk = Chunk {
                    text: &text[begin..start],
                    line: begin_line,
                };
                (begin, begin_line) = (offset, number(index).saturating_add(1));
                count += 1;
                return Some(Ok(chunk));
            }
        }
        let rest = &text[begin..];
        begin = text.len();
        (!rest.is_empty()).then_some(Ok(Chunk {
            text: rest,
            line: begin_line,
        }))
    })
}

impl Chunk<'_> {
    /// The value of the chunk, or the line in the chunk and the error.
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
        if directive::are_all(text)? {
            return Ok(Value::Null);
        }
        tree::value(text, budget)
    }
}

/// go-yaml's reader refuses control characters. [`YamlCause::LineSeparator`] explains the others.
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
