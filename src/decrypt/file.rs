//! Files in the forms that SOPS knows: read, opened, and written in the same form.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha512};

use super::metadata::Metadata;
use super::sealed::{DataKey, Opened, SEALED, is_opened_in_the_cluster};
use super::{DecryptError, Keys};
use crate::manifest::{Node, ordered};

/// The start of a checksum over sealed values only: the SHA-256 of `sops`.
const ONLY_SEALED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The form of a file, by its name, as SOPS and Flux choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`.
    Yaml,
    /// `.json`.
    Json,
    /// `.env`.
    Dotenv,
    /// `.ini`.
    Ini,
    /// Anything else: SOPS wraps its bytes into JSON.
    Binary,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Dotenv => "dotenv",
            Self::Ini => "INI",
            Self::Binary => "a file that SOPS encrypted whole",
        })
    }
}

impl Format {
    /// The form that a file's name says.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.rsplit('/').next().unwrap_or(path).rsplit_once('.') {
            Some((_, "yaml" | "yml")) => Self::Yaml,
            Some((_, "json")) => Self::Json,
            Some((_, "env")) => Self::Dotenv,
            Some((_, "ini")) => Self::Ini,
            _ => Self::Binary,
        }
    }
}

/// Whether a file has SOPS metadata, so that it must be decrypted before use. Cheap.
#[must_use]
pub fn is_encrypted(content: &[u8]) -> bool {
    let has = |mark: &[u8]| content.windows(mark.len()).any(|window| window == mark);
    has(SEALED.as_bytes()) && has(b"sops")
}

/// Decrypts the file `path`, without its SOPS metadata: YAML and JSON as JSON documents, the others in
/// their own form. None for a file without SOPS metadata, and for one of objects that a controller in the cluster opens.
///
/// # Errors
/// [`DecryptError`]. Nothing of a file that fails is returned.
pub fn decrypt(
    path: &str,
    content: &[u8],
    keys: Option<&Keys>,
) -> Result<Option<Vec<u8>>, DecryptError> {
    let format = Format::of(path);
    let Some((documents, metadata)) = read(format, content)? else {
        return Ok(None);
    };
    let metadata = Metadata::read(metadata)?;
    let key = keys.ok_or(DecryptError::NoKeys)?.open(&metadata)?;
    let mut walk = Walk {
        key: &key,
        metadata: &metadata,
        checksum: Sha512::new(),
    };
    if metadata.only_sealed {
        walk.checksum.update(ONLY_SEALED);
    }
    let mut opened = Vec::new();
    for document in documents {
        opened.extend(walk.node(document, &mut Vec::new())?);
    }
    let sum = hex::encode_upper(walk.checksum.finalize());
    let wanted = key.open(&metadata.checksum, &metadata.changed);
    if wanted != Some(Opened::Value(Value::String(sum))) {
        return Err(DecryptError::Checksum);
    }
    write(format, opened).map(Some)
}

/// The file `path` without its SOPS metadata, as [`decrypt`] writes it, with what `stand_in` makes of each sealed value
/// and its type. Needs no key, and checks nothing. A file without SOPS metadata is none.
///
/// # Errors
/// [`DecryptError`].
pub fn replace_sealed(
    path: &str,
    content: &[u8],
    stand_in: &dyn Fn(&str, &str) -> Value,
) -> Result<Option<Vec<u8>>, DecryptError> {
    let format = Format::of(path);
    let Some((documents, _)) = read(format, content)? else {
        return Ok(None);
    };
    let replaced = documents.into_iter();
    let replaced = replaced.filter_map(|document| replaced_node(document, stand_in));
    write(format, replaced.collect()).map(Some)
}

/// A node with stand-ins; none for a sealed comment.
fn replaced_node(node: Node, stand_in: &dyn Fn(&str, &str) -> Value) -> Option<Node> {
    Some(match node {
        Node::Map(fields) => {
            let fields = fields.into_iter();
            let fields =
                fields.filter_map(|(name, node)| Some((name, replaced_node(node, stand_in)?)));
            Node::Map(fields.collect())
        }
        Node::List(items) => {
            let items = items.into_iter();
            Node::List(
                items
                    .filter_map(|item| replaced_node(item, stand_in))
                    .collect(),
            )
        }
        Node::Scalar(Value::String(text)) if text.starts_with(SEALED) => {
            let kind = text.rsplit_once("type:").map_or("", |(_, kind)| kind);
            match kind.trim_end_matches(']') {
                "comment" => return None,
                kind => Node::Scalar(stand_in(&text, kind)),
            }
        }
        Node::Scalar(value) => Node::Scalar(value),
    })
}

type Read = (Vec<Node>, Value);

/// The documents without SOPS metadata, and that; none where there is none.
fn read(format: Format, content: &[u8]) -> Result<Option<Read>, DecryptError> {
    let (mut documents, metadata) = match format {
        Format::Yaml | Format::Json | Format::Binary => {
            if !is_encrypted(content) {
                return Ok(None);
            }
            let documents = ordered(content).map_err(|_| DecryptError::Syntax(format))?;
            if is_for_the_cluster(&documents) {
                return Ok(None);
            }
            (documents, None)
        }
        Format::Dotenv => {
            let (fields, metadata) = dotenv(content)?;
            (vec![Node::Map(fields)], metadata)
        }
        Format::Ini => {
            let (sections, metadata) = ini(content)?;
            (vec![Node::Map(sections)], metadata)
        }
    };
    let mut metadata = metadata;
    for document in &mut documents {
        if let Node::Map(fields) = document
            && let Some(at) = fields.iter().position(|(name, _)| name == "sops")
        {
            let (_, found) = fields.remove(at);
            // SOPS writes the same into each document.
            metadata.get_or_insert(Value::from(found));
        }
    }
    Ok(metadata.map(|metadata| (documents, metadata)))
}

/// Whether all documents are objects that are opened in the cluster.
fn is_for_the_cluster(documents: &[Node]) -> bool {
    let is_null = |node: &&Node| matches!(node, Node::Scalar(Value::Null));
    let mut objects = documents.iter().filter(|node| !is_null(node)).peekable();
    objects.peek().is_some()
        && objects.all(|node| {
            let Node::Map(fields) = node else {
                return false;
            };
            let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted);
            let text = |name: &str| match field(name) {
                Some((_, Node::Scalar(Value::String(text)))) => text.as_str(),
                _ => "",
            };
            is_opened_in_the_cluster(text("apiVersion"), text("kind"), field("sops").is_some())
        })
}

struct Walk<'f> {
    key: &'f DataKey,
    metadata: &'f Metadata,
    checksum: Sha512,
}

impl Walk<'_> {
    /// A node, opened; none for a comment.
    fn node(&mut self, node: Node, path: &mut Vec<String>) -> Result<Option<Node>, DecryptError> {
        Ok(Some(match node {
            Node::Map(fields) => {
                let mut opened = Vec::with_capacity(fields.len());
                for (name, node) in fields {
                    path.push(name.clone());
                    let node = self.node(node, path)?;
                    path.pop();
                    opened.extend(node.map(|node| (name, node)));
                }
                Node::Map(opened)
            }
            // Items have their list's path.
            Node::List(items) => {
                let mut opened = Vec::with_capacity(items.len());
                for item in items {
                    opened.extend(self.node(item, path)?);
                }
                Node::List(opened)
            }
            Node::Scalar(Value::Null) => Node::Scalar(Value::Null),
            Node::Scalar(value) => match self.scalar(value, path)? {
                Opened::Value(value) => Node::Scalar(value),
                Opened::Comment => return Ok(None),
            },
        }))
    }

    fn scalar(&mut self, value: Value, path: &[String]) -> Result<Opened, DecryptError> {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_sealed = self.metadata.is_sealed(&keys);
        let opened = match is_sealed {
            false => Opened::Value(value),
            true => {
                let opened = value
                    .as_str()
                    .and_then(|text| self.key.open(text, &format!("{}:", keys.join(":"))));
                opened.ok_or_else(|| DecryptError::Value(keys.join(".")))?
            }
        };
        if let Opened::Value(value) = &opened
            && (is_sealed || !self.metadata.only_sealed)
        {
            self.checksum.update(bytes(value).as_bytes());
        }
        Ok(opened)
    }
}

/// A value in the form that the checksum uses.
fn bytes(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            // Without an exponent, as Go's FormatFloat(value, 'f', -1, 64).
            Some(float) => float.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn write(format: Format, documents: Vec<Node>) -> Result<Vec<u8>, DecryptError> {
    let syntax = || DecryptError::Syntax(format);
    let mut text = String::new();
    match format {
        Format::Yaml | Format::Json => {
            for (index, document) in documents.into_iter().enumerate() {
                if index > 0 {
                    text.push_str("---\n");
                }
                let _ = writeln!(text, "{}", Value::from(document));
            }
        }
        Format::Binary => {
            let data = documents.into_iter().next().map(Value::from);
            let data = data
                .as_ref()
                .and_then(|data| data.get("data"))
                .and_then(Value::as_str);
            text.push_str(data.ok_or_else(syntax)?);
        }
        Format::Dotenv => {
            for (name, value) in fields(documents) {
                let value = bytes(&Value::from(value)).replace('\n', "\\n");
                let _ = writeln!(text, "{name}={value}");
            }
        }
        Format::Ini => {
            for (section, values) in fields(documents) {
                if section != "DEFAULT" {
                    let _ = writeln!(text, "[{section}]");
                }
                for (name, value) in fields(vec![values]) {
                    let _ = writeln!(text, "{name} = {}", bytes(&Value::from(value)));
                }
            }
        }
    }
    Ok(text.into_bytes())
}

/// The fields of mappings, in their order.
fn fields(nodes: Vec<Node>) -> impl Iterator<Item = (String, Node)> {
    let maps = nodes.into_iter().filter_map(|node| match node {
        Node::Map(fields) => Some(fields),
        _ => None,
    });
    maps.flatten()
}

type Fields = (Vec<(String, Node)>, Option<Value>);

/// `NAME=value` lines; metadata are those whose names begin with `sops_`.
fn dotenv(content: &[u8]) -> Result<Fields, DecryptError> {
    let syntax = || DecryptError::Syntax(Format::Dotenv);
    let text = std::str::from_utf8(content).map_err(|_| syntax())?;
    let (mut fields, mut metadata) = (Vec::new(), Vec::new());
    for line in text
        .split('\n')
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, value) = line.split_once('=').ok_or_else(syntax)?;
        let value = value.replace("\\n", "\n");
        match name.strip_prefix("sops_") {
            Some(name) => metadata.push((name.to_owned(), value)),
            None => fields.push((name.to_owned(), Node::Scalar(Value::String(value)))),
        }
    }
    Ok((fields, nested(metadata)?))
}

/// Sections of `name = value` lines; metadata are the section `sops`.
fn ini(content: &[u8]) -> Result<Fields, DecryptError> {
    let syntax = || DecryptError::Syntax(Format::Ini);
    let text = std::str::from_utf8(content).map_err(|_| syntax())?;
    let mut sections: Vec<(String, Vec<(String, Node)>)> = vec![("DEFAULT".to_owned(), Vec::new())];
    let mut metadata = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            sections.push((name.trim().to_owned(), Vec::new()));
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(syntax)?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        match sections.last_mut() {
            Some((section, _)) if section == "sops" => {
                metadata.push((name, value.replace("\\n", "\n")));
            }
            Some((_, fields)) => fields.push((name, Node::Scalar(Value::String(value)))),
            None => return Err(syntax()),
        }
    }
    sections.retain(|(name, fields)| name != "sops" && !(name == "DEFAULT" && fields.is_empty()));
    let sections = sections
        .into_iter()
        .map(|(name, fields)| (name, Node::Map(fields)));
    Ok((sections.collect(), nested(metadata)?))
}

/// Metadata from its flat form: `age__list_0__map_enc`.
fn nested(flat: Vec<(String, String)>) -> Result<Option<Value>, DecryptError> {
    let clash = || DecryptError::Metadata("a list has a value of its own");
    let mut root: BTreeMap<String, Value> = BTreeMap::new();
    let mut lists: BTreeMap<String, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    for (name, value) in flat {
        let value = Value::String(value);
        let item = name
            .split_once("__list_")
            .and_then(|(list, rest)| Some((list, rest.split_once("__map_")?)));
        match item {
            None => drop(root.insert(name, value)),
            Some((list, (index, field))) => {
                let items = lists.entry(list.to_owned()).or_default();
                let item = items.entry(index.to_owned()).or_default();
                item.insert(field.to_owned(), value);
            }
        }
    }
    for (list, items) in lists {
        let items = items.into_values().map(Value::Object).collect();
        if root.insert(list, Value::Array(items)).is_some() {
            return Err(clash());
        }
    }
    let root: Map<String, Value> = root.into_iter().collect();
    Ok((!root.is_empty()).then_some(Value::Object(root)))
}
