//! Variables in manifests: `${cluster}`, `${replicas:=2}`, `$${literal}`. Pure.
//!
//! Syntax, defaults and opt-out are Flux's (`spec.postBuild`), whose substitution works on the text of
//! each object as YAML. Here it works on the object's values, with the same outcome where Flux has one:
//! a string that YAML writes without quotes is read again after substitution, so that `${replicas}`
//! becomes a number; one that needs quotes or several lines stays a string. So no value can break out of
//! the field that it is put into. A field that takes texts only, such as a label, gets a text: with Flux, the API server
//! refuses the number.

mod expand;
mod pattern;
mod template;
mod text;
mod texts;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::manifest::SUBSTITUTE;

pub use self::template::SyntaxError;
use self::template::{Operator, Part, Variable};
use self::text::Style;
use self::texts::Fields;

/// Annotations and labels that take an object out, with the value `disabled`: ours and Flux's.
pub const OPT_OUT: [&str; 2] = [SUBSTITUTE, "kustomize.toolkit.fluxcd.io/substitute"];

/// The most bytes that the substituted texts of one object may have: what the API server takes.
const MAX_BYTES: usize = 3 << 20;

/// Why a text cannot be expanded. It quotes no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The text is not of the grammar.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A variable without value and default, where every one must have one.
    #[error("variable {0} has no value; give it one in spec.substitute, or a default: ${{{0}:=…}}")]
    Undefined(String),
    /// The result is larger than any object may be.
    #[error("the substituted text is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Two keys of a mapping became the same.
    #[error("two keys became the same by substitution")]
    SameKey,
}

/// Where in an object substitution failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}")]
pub struct SubstituteError {
    /// The field: `spec.template.spec.containers[0].image`.
    pub field: String,
    /// Why.
    #[source]
    pub source: ExpandError,
}

/// A variable's name that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("variable {0:?}: a name has letters, digits and _ only, and does not begin with a digit")]
pub struct NameError(pub String);

/// Variables and their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
    /// Whether a variable without value and default is an error, not an empty text.
    pub strict: bool,
}

/// Values may be secrets: names only.
impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Variables {
    /// Sets a variable; the last value of a name counts. Line breaks leave the value, as in Flux.
    ///
    /// # Errors
    /// [`NameError`] where the name is none.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), NameError> {
        let is_letter = |character: char| character.is_ascii_alphabetic() || character == '_';
        let is_name =
            name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit());
        if !is_name {
            return Err(NameError(name.to_owned()));
        }
        self.values.insert(name.to_owned(), value.replace('\n', ""));
        Ok(())
    }

    /// A variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Names and values, in the order of the names: what a content key is made of.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Puts variables into all strings of an object, unless it opts out.
///
/// # Errors
/// The first field that cannot be expanded, and why.
pub fn substitute(object: &mut Value, variables: &Variables) -> Result<(), SubstituteError> {
    if opts_out(object) {
        return Ok(());
    }
    let mut walk = Walk {
        variables,
        fields: Fields::of(object),
        budget: MAX_BYTES,
        path: Vec::new(),
    };
    walk.value(object).map_err(|source| SubstituteError {
        field: walk.path.concat().trim_start_matches('.').to_owned(),
        source,
    })
}

/// A variable without value and default in what names the object, where substitution would leave nothing. Without the
/// variable, an error about the name would be of no help.
#[must_use]
pub fn unset_in_name(object: &Value, variables: &Variables) -> Option<SubstituteError> {
    if opts_out(object) {
        return None;
    }
    let fields = ["apiVersion", "kind", "metadata", "metadata.name", NAMESPACE];
    fields.into_iter().find_map(|field| {
        let mut parts = field.split('.');
        let text = parts.try_fold(object, |value, part| value.get(part))?;
        let name = unset_in(text.as_str()?, variables)?;
        Some(SubstituteError {
            field: field.to_owned(),
            source: ExpandError::Undefined(name),
        })
    })
}

const NAMESPACE: &str = "metadata.namespace";

/// A variable without value and default in the namespace of an object. Substitution leaves no namespace then.
#[must_use]
pub fn unset_in_namespace(object: &Value, variables: &Variables) -> Option<String> {
    let namespace = object.get("metadata")?.get("namespace")?.as_str()?;
    match opts_out(object) {
        true => None,
        false => unset_in(namespace, variables),
    }
}

/// The first variable without value and default in a text.
fn unset_in(text: &str, variables: &Variables) -> Option<String> {
    if !is_template(text) {
        return None;
    }
    let is_unset = |Variable { name, operator }: &Variable| {
        !matches!(operator, Operator::Default(_)) && variables.get(name).is_none()
    };
    let parts = template::parse(text).ok()?;
    parts.into_iter().find_map(|part| match part {
        Part::Variable(variable) if is_unset(&variable) => Some(variable.name),
        _ => None,
    })
}

/// Whether label or annotation keeps an object as it is.
fn opts_out(object: &Value) -> bool {
    ["annotations", "labels"].iter().any(|marks| {
        let marks = object
            .get("metadata")
            .and_then(|metadata| metadata.get(marks));
        OPT_OUT.iter().any(|name| {
            let value = marks.and_then(|marks| marks.get(name));
            value.and_then(Value::as_str) == Some("disabled")
        })
    })
}

struct Walk<'v> {
    variables: &'v Variables,
    fields: Fields,
    budget: usize,
    /// Where it is; where it failed, after an error.
    path: Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value) -> Result<(), ExpandError> {
        match value {
            Value::String(text) => {
                if let Some(replaced) = self.text(text)? {
                    *value = replaced;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push(format!("[{index}]"));
                    self.value(item)?;
                    self.path.pop();
                }
            }
            Value::Object(fields) => self.fields(fields)?,
            Value::Null | Value::Bool(_) | Value::Number(_) => (),
        }
        Ok(())
    }

    fn fields(&mut self, fields: &mut Map<String, Value>) -> Result<(), ExpandError> {
        for (name, value) in fields.iter_mut() {
            self.path.push(format!(".{name}"));
            self.value(value)?;
            self.path.pop();
        }
        if !fields.keys().any(|name| is_template(name)) {
            return Ok(());
        }
        for (name, value) in std::mem::take(fields) {
            let renamed = match is_template(&name) {
                true => self.key(&name)?,
                false => name,
            };
            if fields.insert(renamed, value).is_some() {
                return Err(ExpandError::SameKey);
            }
        }
        Ok(())
    }

    /// What a key becomes. No field and no label has an empty one.
    fn key(&mut self, name: &str) -> Result<String, ExpandError> {
        let key = self.expanded(name)?;
        match unset_in(name, self.variables) {
            Some(variable) if key.is_empty() => Err(ExpandError::Undefined(variable)),
            _ => Ok(key),
        }
    }

    /// What a string becomes; none where it stays.
    fn text(&mut self, text: &str) -> Result<Option<Value>, ExpandError> {
        if !is_template(text) {
            return Ok(None);
        }
        let expanded = self.expanded(text)?;
        Ok(Some(match text::style(text) {
            Style::Plain => match text::read(&expanded) {
                value @ (Value::String(_) | Value::Null) => value,
                _ if self.fields.take_text(&self.path) => Value::String(expanded),
                value => value,
            },
            Style::Quoted => Value::String(expanded),
        }))
    }

    fn expanded(&mut self, text: &str) -> Result<String, ExpandError> {
        let parts = template::parse(text)?;
        expand::expand(&parts, self.variables, &mut self.budget)
    }
}

/// Whether substitution could change a text.
fn is_template(text: &str) -> bool {
    text.contains("${") || text.contains("$$")
}

#[cfg(test)]
mod tests;
