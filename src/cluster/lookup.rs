//! Answers `lookup` of charts: reads objects with the rights of an actor, within limits, and subscribes to their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::own_kinds::{Doing, OwnKinds};
use super::refused::WriteError;
use super::touches::{Touched, Touches};
use super::viewer::LookError;
use super::{Actor, Cluster, ServedKind, Viewer};
use crate::chain::refusal;
use crate::manifest::GroupVersionKind;
use crate::render::wasm::{Answer, Finding, Lookup, LookupError, LookupQuery, Sought};

/// How many objects and lists one render may ask for, and from how many namespaces and kinds: each of the latter is watched.
const MOST_ASKED: usize = 100;
const MOST_PLACES: usize = 20;

/// The bytes of all answers of one render, and what the API server may send for them.
const MOST_BYTES: usize = 4 << 20;
const MOST_RECEIVED: usize = 16 << 20;

/// How long the API server may take for all answers of one render: until then the render has its place among those of
/// others. Its own limit counts processor time only.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest name of an object in Kubernetes, and the longest group with a version.
const LONGEST_NAME: usize = 253;
const LONGEST_VERSION: usize = 320;

/// What may be looked up, and by whom.
#[derive(Clone, Debug, Default)]
pub struct LookupScope {
    /// Groups and kinds.
    pub kinds: Vec<(String, String)>,
    /// The only namespace, and why there is only one.
    pub within: Option<(String, &'static str)>,
}

/// The answers for one render: the same question has the same answer until this is dropped.
pub struct Lookups {
    viewer: Viewer,
    scope: LookupScope,
    /// The scope, as a text that identifies it.
    identity: String,
    /// None where nobody waits for changes.
    touches: Option<Touches>,
    /// Where towline itself looks: what it may not look up for Git, and the namespace in which it may all the same.
    own: Option<(Arc<OwnKinds>, Arc<str>)>,
    runtime: Handle,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    answers: BTreeMap<Sought, Looked>,
    places: BTreeSet<(String, Option<String>)>,
    bytes: usize,
    received: usize,
    waited: Duration,
}

struct Looked {
    answer: Answer,
    touched: Option<Touched>,
}

/// Without the answers, which may be secret.
impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookups").field(&self.scope).finish()
    }
}

impl Cluster {
    /// The answers for one render in the name of `actor`, each with a subscription to its changes. To be called in the
    /// runtime that drives the cluster's client.
    pub fn lookups(&self, actor: &Actor, scope: LookupScope) -> Lookups {
        Lookups {
            touches: Some(self.touches.clone()),
            own: actor.is_operator().then(|| {
                let namespace = Arc::clone(&actor.sync.namespace);
                (Arc::clone(&self.own_kinds), namespace)
            }),
            ..Lookups::new(self.viewer(actor), scope)
        }
    }
}

impl Lookups {
    /// The answers for one render as the viewer sees the cluster. To be called in the runtime that drives the viewer's
    /// client.
    #[must_use]
    pub fn new(viewer: Viewer, scope: LookupScope) -> Self {
        let mut kinds = scope.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            viewer,
            identity: format!("{kinds:?}"),
            scope,
            touches: None,
            own: None,
            runtime: Handle::current(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found, with subscriptions. Nothing is known afterwards.
    #[must_use]
    pub fn take(&self) -> Vec<(Sought, Finding, Touched)> {
        let answers = std::mem::take(&mut self.known().answers).into_iter();
        let answers = answers
            .filter_map(|(sought, looked)| Some((sought, looked.answer.seen, looked.touched?)));
        answers.collect()
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn look(&self, sought: &Sought) -> Result<Answer, LookupError> {
        let kind = (sought.group(), &*sought.kind);
        let mut kinds = self.scope.kinds.iter();
        if !kinds.any(|(group, name)| (&**group, &**name) == kind) {
            return Ok(Answer::UNLISTED);
        }
        // Nothing is read for it, so it does not count either.
        if !may_exist(sought) {
            return Ok(Answer::UNLISTED);
        }
        {
            let known = self.known();
            if let Some(looked) = known.answers.get(sought) {
                return Ok(looked.answer.clone());
            }
            if known.answers.len() >= MOST_ASKED {
                return Err(too_much(format!(
                    "more than {MOST_ASKED} objects and lists are looked up: look up a list in place of many objects"
                )));
            }
        }
        let gvk = GroupVersionKind::parse(&sought.api_version, &sought.kind);
        let looked = match gvk.and_then(|gvk| self.viewer.kinds.get(&gvk)) {
            None => Looked {
                answer: Answer::ABSENT,
                touched: self
                    .touches
                    .as_ref()
                    .map(|_| Touched::by_kinds(self.viewer.kinds.changed())),
            },
            Some(served) => self.read(sought, &served).await?,
        };
        let answer = looked.answer.clone();
        self.known().answers.insert(sought.clone(), looked);
        Ok(answer)
    }

    async fn read(&self, sought: &Sought, served: &ServedKind) -> Result<Looked, LookupError> {
        let namespace =
            Some(&*sought.namespace).filter(|name| served.namespaced && !name.is_empty());
        if let Some((only, why)) = &self.scope.within
            && namespace != Some(only)
        {
            return Err(LookupError::Forbidden(format!(
                "only objects of namespace {only} may be looked up: {why}"
            )));
        }
        // As for Helm, no object with a namespace is found without one.
        if served.namespaced && namespace.is_none() && !sought.name.is_empty() {
            return Ok(Looked {
                answer: Answer::ABSENT,
                touched: None,
            });
        }
        self.permit(served, namespace).await?;
        let (room, patience) = {
            let mut known = self.known();
            let place = (served.definition(), namespace.map(str::to_owned));
            known.places.insert(place);
            if known.places.len() > MOST_PLACES {
                return Err(too_much(format!(
                    "objects of more than {MOST_PLACES} kinds and namespaces are looked up"
                )));
            }
            (
                MOST_RECEIVED.saturating_sub(known.received),
                PATIENCE.saturating_sub(known.waited),
            )
        };
        // Subscribes before the read, so that no change in between is missed.
        let touched = self
            .touches
            .as_ref()
            .map(|touches| touches.subscribe(served, namespace, &sought.name));
        let read = self.viewer.look(served, namespace, &sought.name, room);
        let began = Instant::now();
        let read = tokio::time::timeout(patience, read).await;
        self.known().waited += began.elapsed();
        let read = read.unwrap_or_else(|_| Err(LookError::Silent));
        let (object, received) = read.map_err(|error| explained(&error))?;
        let answer = object.map_or(Answer::ABSENT, |object| {
            answer(object, (&served.resource.group, &served.resource.kind))
        });
        let mut known = self.known();
        known.received += received;
        known.bytes += answer.text.as_ref().map_or(0, |text| text.len());
        if known.bytes > MOST_BYTES {
            return Err(too_much(too_large()));
        }
        Ok(Looked { answer, touched })
    }
}

impl Lookups {
    /// Refuses what only towline's rights for itself would show. A Sync uses the Secrets and ConfigMaps of its own
    /// namespace in other ways, too.
    async fn permit(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
    ) -> Result<(), LookupError> {
        let Some((own_kinds, own)) = &self.own else {
            return Ok(());
        };
        if namespace == Some(&**own) {
            return Ok(());
        }
        let permitted = own_kinds.permit(served, namespace, Doing::LookUp).await;
        permitted.map_err(|error| match error {
            WriteError::Refused { message, .. } => LookupError::Forbidden(message),
            error => LookupError::Unavailable(crate::chain(&error)),
        })
    }
}

impl Lookup for Lookups {
    fn find(&self, query: &LookupQuery) -> Result<Answer, LookupError> {
        self.runtime.block_on(self.look(&query.sought()))
    }

    fn scope(&self) -> &str {
        &self.identity
    }
}

fn too_much(what: String) -> LookupError {
    LookupError::TooMuch(what)
}

fn too_large() -> String {
    format!(
        "what is looked up takes more than {} MiB: look up fewer objects",
        MOST_BYTES >> 20
    )
}

/// Why something could not be read. The API server's own words name the verb, the kind and the account.
fn explained(error: &LookError) -> LookupError {
    match error {
        LookError::TooLarge => too_much(too_large()),
        LookError::Silent => LookupError::Unavailable("the API server does not answer".to_owned()),
        LookError::Api(kube::Error::Api(status)) => match status.code {
            401 | 403 => LookupError::Forbidden(refusal(status)),
            _ => LookupError::Unavailable(refusal(status)),
        },
        LookError::Api(_) => LookupError::Unavailable("no answer".to_owned()),
    }
}

/// Whether there can be an object of such a name. A chart makes names of anything.
fn may_exist(sought: &Sought) -> bool {
    let is_name = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        text.len() <= LONGEST_NAME && text.chars().all(fits) && !matches!(text, "." | "..")
    };
    sought.api_version.len() <= LONGEST_VERSION
        && is_name(&sought.name)
        && is_name(&sought.namespace)
        && !sought.namespace.contains(['.', ':'])
}

/// An answer without what changes at every write, so that writes that change nothing render nothing.
fn answer(mut object: Value, (group, kind): (&str, &str)) -> Answer {
    let bookkeeping = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
    };
    bookkeeping(&mut object);
    let items = object.get_mut("items").and_then(Value::as_array_mut);
    items.into_iter().flatten().for_each(bookkeeping);
    let text = object.to_string();
    Answer {
        seen: Finding::Is(Sha256::digest(&text).into()),
        text: Some(text.into()),
        is_secret: (group, kind) == ("", "Secret"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sought(namespace: &str, name: &str) -> Sought {
        Sought {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn names_that_no_object_has_are_not_asked_for() {
        for (namespace, name, may) in [
            ("db", "login", true),
            ("db", "", true),
            ("", "system:node", true),
            ("db", "../../nodes", false),
            ("db", "a?watch=true", false),
            ("..", "login", false),
            ("db", "..", false),
            ("db/secrets", "login", false),
            ("db", &"x".repeat(254), false),
        ] {
            assert_eq!(
                may_exist(&sought(namespace, name)),
                may,
                "{namespace} {name}"
            );
        }
    }

    #[test]
    fn a_write_that_changes_nothing_is_no_other_answer() {
        let object = |version: &str, value: &str| {
            let one = json!({
                "metadata": {"name": "a", "resourceVersion": version, "managedFields": [version]},
                "data": {"value": value},
            });
            (
                answer(one.clone(), ("", "ConfigMap")),
                answer(json!({"items": [one]}), ("", "Secret")),
            )
        };
        let (first, second) = (object("1", "a"), object("2", "a"));
        assert_eq!((first.0.seen, first.1.seen), (second.0.seen, second.1.seen));
        let other = object("2", "b");
        assert_ne!(first.0.seen, other.0.seen);
        assert_ne!(first.1.seen, other.1.seen);
        assert!(!first.0.is_secret && first.1.is_secret);
        let text = first.1.text.unwrap();
        assert!(
            text.contains("\"value\":\"a\"") && !text.contains("managedFields"),
            "{text}"
        );
    }
}
