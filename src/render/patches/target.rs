//! What a patch is for.

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Outcome;
use super::budget::{Budget, PATTERN};
use crate::manifest;

/// What a patch is for. All parts have to fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PatchSelector {
    group: Fits,
    kind: Fits,
    name: Fits,
    namespace: Fits,
    labels: String,
    annotations: String,
}

/// What a part of a target is held against.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
enum Fits {
    #[default]
    All,
    One(String),
    Matching(Regex),
    /// A pattern that is not understood here, or takes too much memory.
    Nothing,
}

/// [`Fits`] as it is written to disk: a pattern is its text.
#[derive(Serialize, Deserialize)]
enum Written {
    All,
    One(String),
    Matching(String),
    Nothing,
}

impl From<Fits> for Written {
    fn from(fits: Fits) -> Self {
        match fits {
            Fits::All => Self::All,
            Fits::One(one) => Self::One(one),
            Fits::Matching(pattern) => Self::Matching(pattern.as_str().to_owned()),
            Fits::Nothing => Self::Nothing,
        }
    }
}

impl From<Written> for Fits {
    fn from(written: Written) -> Self {
        match written {
            Written::All => Self::All,
            Written::One(one) => Self::One(one),
            Written::Matching(pattern) => Self::compiled(&pattern),
            Written::Nothing => Self::Nothing,
        }
    }
}

impl PatchSelector {
    pub(super) fn of(fields: &Map<String, Value>, budget: &mut Budget) -> Option<Self> {
        let text = |field: &str| {
            fields
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let parts = ["group", "kind", "name", "namespace"].map(text);
        let selectors = ["labelSelector", "annotationSelector"].map(text);
        Self::of_parts(parts, selectors, budget)
    }

    /// The target with these patterns of group, kind, name and namespace, and these selectors of labels and annotations. None
    /// if there are too many patterns.
    pub(super) fn of_parts(
        [group, kind, name, namespace]: [&str; 4],
        [labels, annotations]: [&str; 2],
        budget: &mut Budget,
    ) -> Option<Self> {
        Some(Self {
            group: Fits::pattern(group, budget)?,
            kind: Fits::pattern(kind, budget)?,
            name: Fits::pattern(name, budget)?,
            namespace: Fits::pattern(namespace, budget)?,
            labels: labels.to_owned(),
            annotations: annotations.to_owned(),
        })
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let parts = [&self.group, &self.kind, &self.name, &self.namespace];
        let parts = parts.iter().map(|part| match part {
            Fits::All | Fits::Nothing => 0,
            Fits::One(one) => one.len(),
            Fits::Matching(_) => PATTERN,
        });
        parts.sum::<usize>() + self.labels.len() + self.annotations.len() + size_of::<Self>()
    }

    /// The objects that strategic merge patches name themselves.
    pub(super) fn named_in(patch: &[u8]) -> Vec<Self> {
        let documents = manifest::documents(patch).unwrap_or_default();
        let named = documents.iter().filter_map(|document| {
            let value = &document.value;
            let group = value["apiVersion"].as_str()?.rsplit_once('/');
            Some(Self {
                group: Fits::One(group.map_or("", |(group, _)| group).to_owned()),
                kind: Fits::One(value["kind"].as_str()?.to_owned()),
                name: Fits::One(value["metadata"]["name"].as_str()?.to_owned()),
                namespace: match value["metadata"]["namespace"].as_str() {
                    Some(namespace) => Fits::One(namespace.to_owned()),
                    None => Fits::All,
                },
                ..Self::default()
            })
        });
        named.collect()
    }

    /// Whether it is for an object that had one of `names`. `moves`: its namespace may have been another one.
    pub(super) fn is(&self, object: &Outcome<'_>, names: &[String], moves: bool) -> bool {
        let (group, kind) = object.kind;
        let is_there = moves || object.namespace.is_none_or(|name| self.namespace.is(name));
        self.group.is(group)
            && self.kind.is(kind)
            && names.iter().any(|name| self.name.is(name))
            && is_there
            && (self.labels.is_empty() && self.annotations.is_empty() || self.selects(object))
    }

    /// Whether a message names the object that it is for: `Deployment.v1.apps/web.[noNs]`.
    pub(super) fn is_named_in(&self, message: &str) -> bool {
        match (&self.kind, &self.name) {
            (Fits::One(kind), Fits::One(name)) => {
                message.contains(&format!("{kind}.")) && message.contains(&format!("/{name}."))
            }
            _ => false,
        }
    }

    fn selects(&self, object: &Outcome<'_>) -> bool {
        let Some(metadata) = (object.metadata)() else {
            return false;
        };
        let selected = |selector: &str, field: &str| selects(selector, &metadata[field]);
        selected(&self.labels, "labels") && selected(&self.annotations, "annotations")
    }
}

impl Fits {
    /// A regular expression for the whole text, as kustomize has it: without Unicode, as in Go. None if there are too many.
    fn pattern(pattern: &str, budget: &mut Budget) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if pattern.is_empty() {
            return Some(Self::All);
        }
        if pattern.chars().all(is_plain) {
            return Some(Self::One(pattern.to_owned()));
        }
        budget.pattern()?;
        Some(Self::compiled(&format!("^(?:{pattern})$")))
    }

    fn compiled(pattern: &str) -> Self {
        let compiled = RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(PATTERN)
            .dfa_size_limit(PATTERN)
            .build();
        // kustomize itself refuses what is no pattern.
        compiled.map_or(Self::Nothing, Self::Matching)
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == text,
            Self::Matching(pattern) => pattern.is_match(text.as_bytes()),
            Self::Nothing => false,
        }
    }
}

/// Whether a selector of labels, in the syntax of Kubernetes, selects these.
pub(super) fn selects(selector: &str, labels: &Value) -> bool {
    let value = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    let mut depth = 0;
    let is_end = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => (),
        }
        c == ',' && depth == 0
    };
    let mut parts = selector
        .split(is_end)
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.all(|part| {
        let among = |(key, values): (&str, &str)| {
            let values = values.trim().trim_start_matches('(').trim_end_matches(')');
            let is = value(key);
            values.split(',').any(|one| is == Some(one.trim()))
        };
        if let Some(parts) = part.split_once(" notin ") {
            !among(parts)
        } else if let Some(parts) = part.split_once(" in ") {
            among(parts)
        } else if let Some((key, wanted)) = part.split_once("!=") {
            value(key) != Some(wanted.trim())
        } else if let Some((key, wanted)) = part.split_once('=') {
            value(key) == Some(wanted.trim_start_matches('=').trim())
        } else if let Some(key) = part.strip_prefix('!') {
            value(key).is_none()
        } else {
            value(part).is_some()
        }
    })
}
