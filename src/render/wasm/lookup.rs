//! What charts ask the cluster for by `lookup`, and what they are told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::text::{Secrets, printable, shorten};

/// An object of the cluster that a chart asks for by `lookup`. An empty `name` asks for a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookupQuery {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Empty for all, and for kinds without namespaces.
    #[serde(default)]
    pub namespace: String,
    /// Empty for a list.
    #[serde(default)]
    pub name: String,
    /// The templates that have a `lookup` in them: one of these asked.
    #[serde(default)]
    pub templates: Vec<String>,
}

impl LookupQuery {
    /// What it is about, whoever asks.
    #[must_use]
    pub fn sought(&self) -> Sought {
        Sought {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// What a [`LookupQuery`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sought {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Empty for all, and for kinds without namespaces.
    pub namespace: String,
    /// Empty for a list.
    pub name: String,
}

impl Sought {
    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The same question once more.
    #[must_use]
    pub fn query(&self) -> LookupQuery {
        LookupQuery {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            templates: Vec::new(),
        }
    }
}

/// `Secret db/login`, `every Secret of namespace db`.
impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |text: &str| shorten(&printable(text), LONGEST_NAME);
        let (kind, namespace, name) = (word(&self.kind), word(&self.namespace), word(&self.name));
        match (&*namespace, &*name) {
            ("", "") => write!(f, "every {kind}"),
            (namespace, "") => write!(f, "every {kind} of namespace {namespace}"),
            ("", name) => write!(f, "{kind} {name}"),
            (namespace, name) => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// What a query found, as far as it identifies what is rendered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was not looked for: nobody allows it.
    Unlisted,
    /// There is none.
    Absent,
    /// The digest of the answer.
    Is([u8; 32]),
}

impl Finding {
    /// Identifies it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Unlisted => b"unlisted",
            Self::Absent => b"absent",
            Self::Is(digest) => digest,
        }
    }
}

/// A query, and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The query.
    pub query: LookupQuery,
    /// What it found.
    pub seen: Finding,
}

/// The answer to a query.
#[derive(Clone)]
pub struct Answer {
    /// What identifies it.
    pub seen: Finding,
    /// The object or the list, as JSON. None where there is none, or it is not looked for.
    pub text: Option<Arc<str>>,
    /// Whether it holds values that no text for users may show.
    pub is_secret: bool,
}

impl Answer {
    /// The answer to what is not looked for.
    pub const UNLISTED: Self = Self {
        seen: Finding::Unlisted,
        text: None,
        is_secret: false,
    };

    /// The answer where there is none.
    pub const ABSENT: Self = Self {
        seen: Finding::Absent,
        text: None,
        is_secret: false,
    };
}

/// Without the content, which may be secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.seen).finish()
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// It may not be read.
    #[error("{0}")]
    Forbidden(String),
    /// The cluster does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// More is asked for than a limit.
    #[error("{0}")]
    TooMuch(String),
}

/// Answers `lookup`.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The answer. The same query has the same answer for as long as this exists. Blocks.
    ///
    /// # Errors
    /// [`LookupError`], which ends the render.
    fn find(&self, query: &LookupQuery) -> Result<Answer, LookupError>;

    /// Identifies what may be looked for.
    fn scope(&self) -> &str;
}

/// Adds what it finds in Secrets to the values that no text for users may show.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) inner: Arc<dyn Lookup>,
    pub(super) secrets: Secrets,
}

impl Lookup for Noting {
    fn find(&self, query: &LookupQuery) -> Result<Answer, LookupError> {
        let answer = self.inner.find(query)?;
        if let Some(text) = answer.text.as_ref().filter(|_| answer.is_secret) {
            let object: Value = serde_json::from_str(text).unwrap_or_default();
            let items = object["items"].as_array().into_iter().flatten();
            for secret in items.chain([&object]) {
                self.secrets.add_all(&secret["data"]);
            }
        }
        Ok(answer)
    }

    fn scope(&self) -> &str {
        self.inner.scope()
    }
}

/// A warning for each template that asks the cluster for what is not looked for.
pub(super) fn unanswered(lookups: &[Asked]) -> Vec<String> {
    let unlisted = || {
        let all = lookups.iter();
        all.filter(|asked| asked.seen == Finding::Unlisted)
            .map(|asked| &asked.query)
    };
    let templates: BTreeSet<&str> = unlisted()
        .flat_map(|query| query.templates.iter().map(String::as_str))
        .collect();
    let kinds: BTreeSet<&str> = unlisted().map(|query| query.kind.as_str()).collect();
    let shown = kinds.iter().take(MAX_ASKING);
    let mut shown: Vec<String> = shown.map(|kind| shorten(kind, LONGEST_KIND)).collect();
    if kinds.len() > shown.len() {
        shown.push("…".to_owned());
    }
    let warning = |template| {
        format!(
            "{template} calls lookup ({}), which finds nothing here, as with `helm template`: it finds the kinds that \
             spec.helm.lookup lists",
            shown.join(", ")
        )
    };
    templates
        .into_iter()
        .take(MAX_ASKING)
        .map(warning)
        .collect()
}

/// The most templates with `lookup` that are named, and the most kinds that they ask for.
const MAX_ASKING: usize = 10;

/// The longest name of a kind, and the longest other name, that is shown, in bytes.
const LONGEST_KIND: usize = 80;
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: &str, seen: Finding) -> Asked {
        let query = LookupQuery {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: "db".to_owned(),
            name: "login".to_owned(),
            templates: vec!["shop/templates/a.yaml".to_owned()],
        };
        Asked { query, seen }
    }

    #[test]
    fn only_what_is_not_looked_for_is_warned_of() {
        let all = [
            asked("Secret", Finding::Absent),
            asked("Node", Finding::Unlisted),
            asked("Pod", Finding::Is([0; 32])),
        ];
        let [warning] = &unanswered(&all)[..] else {
            panic!("{:?}", unanswered(&all));
        };
        assert!(warning.starts_with("shop/templates/a.yaml calls lookup (Node), "));
        assert!(unanswered(&all[..1]).is_empty());
    }

    #[test]
    fn values_of_secrets_that_are_found_are_hidden() {
        #[derive(Debug)]
        struct Always(bool);
        impl Lookup for Always {
            fn find(&self, _: &LookupQuery) -> Result<Answer, LookupError> {
                let one =
                    r#"{"data":{"password":"aHVudGVyMg=="},"metadata":{"name":"login-of-all"}}"#;
                Ok(Answer {
                    seen: Finding::Is([0; 32]),
                    text: Some(format!(r#"{{"items":[{one}]}}"#).into()),
                    is_secret: self.0,
                })
            }
            fn scope(&self) -> &str {
                ""
            }
        }
        for is_secret in [true, false] {
            let secrets = Secrets::default();
            let inner = Arc::new(Always(is_secret));
            let noting = Noting {
                inner,
                secrets: secrets.clone(),
            };
            noting
                .find(&asked("Secret", Finding::Absent).query)
                .unwrap();
            let hidden = secrets.hide("hunter2 and aHVudGVyMg== of login-of-all");
            let wanted = match is_secret {
                true => "*** and *** of login-of-all",
                false => "hunter2 and aHVudGVyMg== of login-of-all",
            };
            assert_eq!(hidden, wanted);
        }
    }

    #[test]
    fn what_is_sought_is_said_in_words() {
        let sought = |namespace: &str, name: &str| Sought {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(sought("db", "x").to_string(), "Deployment db/x");
        assert_eq!(sought("", "x").to_string(), "Deployment x");
        assert_eq!(
            sought("db", "").to_string(),
            "every Deployment of namespace db"
        );
        assert_eq!(sought("", "").group(), "apps");
    }
}
