//! Values that a chart draws at random, or takes from the clock: found by rendering it twice.
//!
//! Such a value is made once, when its object is created. From then on the live object's value is kept, so
//! that a password does not change with every commit. Checksums of such values differ as well, and are kept.

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::Value;

use super::text::{self, Changes};
use super::{TextError, TextId};
use crate::manifest::{Digest, FieldPath};

/// The places of generated values, by text, document and item.
#[derive(Clone, Debug, Default)]
pub struct Generated(HashMap<(TextId, u32, u32), Vec<FieldPath>>);

/// What differs between two renders and cannot be kept from a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// The number of objects, or what they are.
    Objects,
    /// A field that names an object, or that others write as well.
    Field(String),
}

impl Generated {
    /// The generated values of an object; none for most.
    #[must_use]
    pub fn of(&self, text: TextId, document: u32, item: u32) -> &[FieldPath] {
        let found = self.0.get(&(text, document, item));
        found.map_or(&[], Vec::as_slice)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of what differs in a hook, which is made anew each time that it runs: its name may differ as well.
    pub(super) fn note(&mut self, id: TextId, one: &[u8], other: &[u8]) {
        // What is no manifest is refused later, with its file.
        let (Ok(one), Ok(other)) = (objects(one), objects(other)) else {
            return;
        };
        for ((document, item, body), (.., other)) in one.iter().zip(&other) {
            if let Some(paths) = FieldPath::differences(body, other) {
                self.0.insert((id, *document, *item), paths);
            }
        }
    }

    /// Compares a text with what a second render made in its place. Returns what was found, for people.
    ///
    /// # Errors
    /// [`Drawn`] where the difference is not one of values.
    pub(super) fn compare(
        &mut self,
        id: TextId,
        one: &[u8],
        other: &[u8],
    ) -> Result<Vec<String>, Drawn> {
        // What is no manifest is refused later, with its file.
        let (Ok(one), Ok(other)) = (objects(one), objects(other)) else {
            return Ok(Vec::new());
        };
        if one.len() != other.len() {
            return Err(Drawn::Objects);
        }
        let mut found = Vec::new();
        for ((document, item, body), (.., other)) in one.iter().zip(&other) {
            let paths = FieldPath::differences(body, other).ok_or(Drawn::Objects)?;
            if let Some(path) = paths.iter().find(|path| path.is_identity()) {
                return Err(Drawn::Field(path.to_string()));
            }
            if !paths.is_empty() {
                found.push(described(body, &paths));
                self.0.insert((id, *document, *item), paths);
            }
        }
        Ok(found)
    }
}

/// The most places that a warning names of one object.
const NAMED: usize = 5;

fn described(body: &Value, paths: &[FieldPath]) -> String {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let named = paths.iter().take(NAMED).map(ToString::to_string);
    format!(
        "{} {}: {}",
        text("/kind").unwrap_or_default(),
        text("/metadata/name").unwrap_or_default(),
        crate::text::listing(named, paths.len())
    )
}

type Object = (u32, u32, Value);

fn objects(text: &[u8]) -> Result<Vec<Object>, TextError> {
    let changes = Changes::none();
    let mut objects = Vec::new();
    // It never breaks.
    let _flow = text::each_object(text, &changes, |document, item, manifest| {
        objects.push((document, item, manifest.body));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(objects)
}

/// An object without its generated values, so that they do not count as a change.
pub(super) fn without(body: &Value, paths: &[FieldPath]) -> Value {
    let mut body = body.clone();
    for path in paths {
        path.set(&mut body, Value::Null);
    }
    body
}

/// What an object says without its generated values.
pub fn digest(body: &Value, generated: &[FieldPath]) -> Digest {
    match generated {
        [] => Digest::of(body),
        paths => Digest::of(&without(body, paths)),
    }
}

/// Puts the values of the live object in the place of those that were just drawn. A value that the live object
/// lacks is new.
pub fn keep(body: &mut Value, live: &Value, paths: &[FieldPath]) {
    for path in paths {
        if let Some(value) = path.get(live) {
            path.set(body, value.clone());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::ObjectId;

    fn id() -> TextId {
        TextId(ObjectId::new(&[7; 20]))
    }

    fn secret(name: &str, password: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{password: {password}, user: shop}}\n"
        )
    }

    #[test]
    fn a_drawn_value_is_kept_from_the_live_object_and_is_no_change() {
        let (one, other) = (secret("db", "abcd1"), secret("db", "efgh2"));
        let mut generated = Generated::default();
        let found = generated.compare(id(), one.as_bytes(), other.as_bytes());
        assert_eq!(found.unwrap(), ["Secret db: data.password"]);
        let paths = generated.of(id(), 1, 0);
        let body = |text: &str| objects(text.as_bytes()).unwrap().remove(0).2;
        let digest = |text: &str| Digest::of(&without(&body(text), paths));
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&secret("other", "abcd1")));

        let mut sent = body(&other);
        keep(&mut sent, &json!({"data": {"password": "bGl2ZQ=="}}), paths);
        assert_eq!(sent["data"]["password"], "bGl2ZQ==");
        let mut sent = body(&other);
        keep(&mut sent, &json!({"data": {}}), paths);
        assert_eq!(
            sent["data"]["password"], "ZWZnaDI=",
            "a lost key is made anew"
        );
        assert!(generated.of(id(), 2, 0).is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_an_error() {
        let mut generated = Generated::default();
        let mut compare =
            |one: &str, other: &str| generated.compare(id(), one.as_bytes(), other.as_bytes());
        let field = compare(&secret("a", "x"), &secret("b", "x"));
        assert_eq!(field, Err(Drawn::Field("metadata.name".to_owned())));
        let two = format!("{}---\n{}", secret("a", "x"), secret("b", "x"));
        assert_eq!(compare(&secret("a", "x"), &two), Err(Drawn::Objects));
        assert_eq!(compare("[", "]"), Ok(Vec::new()));
    }
}
