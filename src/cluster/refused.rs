//! Why an object could not be written, from what the API server said.

use std::fmt;
use std::sync::Arc;

use kube::core::Status;
use serde_json::Value;

use crate::api::GROUP;
use crate::manifest::ObjectKey;
use crate::plan::{Indivisible, Refusal, RefusalCause, is_immutable};
use crate::text::shorten;

/// The prefix of the labels of an ApplySet (KEP-3659).
const SET: &str = "applyset.kubernetes.io";

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server refused it, in its own words (secrets removed).
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's message.
        message: String,
        /// The server's reasons, each with its field.
        causes: Causes,
    },
    /// The object's namespace does not exist.
    #[error("{message}")]
    NoNamespace {
        /// The server's message.
        message: String,
    },
    /// A field cannot be left to others by itself.
    #[error(transparent)]
    Indivisible(#[from] Indivisible),
    /// The server no longer serves the kind.
    #[error("the API server does not serve this kind")]
    NotServed,
    /// The server could not be reached, or asked to slow down, at every try.
    #[error("the API server does not answer, or asks to wait")]
    Unavailable(#[source] kube::Error),
    /// The object that was written has not the marks that were sent.
    #[error(
        "it was written, but without towline's {mark}: an admission webhook or a policy takes it away, so that towline \
         cannot know the object as its own: exempt labels and annotations of {GROUP} and {SET} from it"
    )]
    Unmarked {
        /// The mark that is missing.
        mark: &'static str,
        /// The uid of the object, if the request made it.
        made: Option<Arc<str>>,
    },
    /// The server's answer cannot be parsed.
    #[error("the API server's answer cannot be read: {0}")]
    Answer(String),
}

/// Why a request was refused, in the server's own words. They may repeat a secret, so they are never shown.
#[derive(Clone, Default, PartialEq)]
pub struct Causes(Refusal);

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} causes", self.0.causes.len())
    }
}

impl Causes {
    /// The server's message.
    pub(super) fn said(&self) -> &str {
        &self.0.said
    }
}

impl WriteError {
    /// Whether the API server read the object and found it invalid.
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code: 422, .. })
    }

    /// Whether a change was refused that a new object would not be refused for: a field cannot be changed.
    pub fn is_immutable(&self) -> bool {
        match self {
            Self::Refused { code, causes, .. } => is_immutable(*code, &causes.0),
            _ => false,
        }
    }

    pub(super) fn causes(&self) -> &[RefusalCause] {
        match self {
            Self::Refused { causes, .. } => &causes.0.causes,
            _ => &[],
        }
    }

    /// Whether all that is wrong is that an object has a port or an address.
    pub fn is_only_allocated(&self) -> bool {
        let causes = self.causes();
        let is_allocated = |cause: &RefusalCause| cause.message.contains("is already allocated");
        !causes.is_empty() && causes.iter().all(is_allocated)
    }

    /// Whether the actor has no right to write there. The API server asks for rights first: to an actor with rights in
    /// single namespaces it says this of a namespace that does not exist, too.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Refused {
                code: 403, causes, ..
            } => denied(&causes.0.said).is_some_and(|(_, verb)| verb != IMPERSONATION),
            _ => false,
        }
    }

    /// What the API server said, if it refused the object. It may repeat a secret.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { causes, .. } => Some(causes.0.clone()),
            _ => None,
        }
    }

    /// The same error, of a request that has made the object with this uid.
    pub(super) fn after_making(mut self, uid: &Arc<str>) -> Self {
        if let Self::Unmarked { made, .. } = &mut self {
            *made = Some(Arc::clone(uid));
        }
        self
    }

    /// Whether the request may have been carried out all the same.
    pub(super) fn may_have_written(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code >= 500,
            // The first apply of several may have been carried out.
            Self::Unavailable(_)
            | Self::Answer(_)
            | Self::Indivisible(_)
            | Self::Unmarked { .. } => true,
            Self::NoNamespace { .. } | Self::NotServed => false,
        }
    }

    /// A refusal without causes.
    #[cfg(test)]
    pub(crate) fn refused(code: u16, message: &str) -> Self {
        let refusal = Refusal {
            said: message.to_owned(),
            causes: Vec::new(),
        };
        Self::Refused {
            code,
            message: message.to_owned(),
            causes: Causes(refusal),
        }
    }
}

/// The verb of the right to act in another's name.
const IMPERSONATION: &str = "impersonate";

/// User and verb of the API server's sentence on a missing right.
fn denied(message: &str) -> Option<(&str, &str)> {
    let (_, rest) = message.split_once("is forbidden: User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, _) = rest.split_once(" resource ")?;
    Some((user, verb))
}

/// Whether a message is the API server's sentence on a missing right, from its first word on. The server has not read the
/// object then, so the sentence repeats no value of it: a namespace in it may be a value as well.
pub(super) fn is_about_right(key: &ObjectKey, message: &str) -> bool {
    let Some((about, _)) = message.split_once(" is forbidden: User \"") else {
        return false;
    };
    let resource = about.strip_suffix(&format!(" \"{}\"", key.name));
    let resource = resource.unwrap_or(about);
    !resource.contains([' ', '"']) && denied(message).is_some()
}

/// What somebody may not do, from the API server's sentence on it: `… is forbidden: User "…" cannot patch resource
/// "…"`. The server names the resource; people know the kind.
pub(super) fn missing_right(key: &ObjectKey, message: &str) -> Option<String> {
    let (user, verb) = denied(message)?;
    let who = match user.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("ServiceAccount {}", account.replacen(':', "/", 1)),
        None => format!("user {user}"),
    };
    Some(match (verb, &key.namespace) {
        (IMPERSONATION, _) => {
            format!("{who} may not impersonate the account that acts for this Sync")
        }
        (_, Some(namespace)) => {
            format!("{who} may not {verb} {} in namespace {namespace}", key.kind)
        }
        (_, None) => format!("{who} may not {verb} {}", key.kind),
    })
}

/// The API server's words when it cannot parse an apply, which it reads as YAML.
const UNREADABLE: &str = "error converting YAML to JSON";

/// The longest key that the API server's parser of YAML takes, in bytes with its quotes.
const LONGEST_KEY: usize = 1024;

/// What is wrong with an object that the API server could not parse: a key that is too long. Its own words are about
/// braces and commas, which nobody wrote.
pub(super) fn long_key(said: &str, object: &[u8]) -> Option<String> {
    let object = said
        .contains(UNREADABLE)
        .then(|| serde_json::from_slice(object).ok())??;
    let (place, length) = key_of_length(&object, "")?;
    let place = match &*place {
        "" => "the object",
        place => place,
    };
    Some(format!(
        "a key in {place} has {length} bytes, but the API server takes keys of at most {LONGEST_KEY}"
    ))
}

fn key_of_length(value: &Value, place: &str) -> Option<(String, usize)> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, inner)| {
            if key.len() + 2 > LONGEST_KEY {
                return Some((place.to_owned(), key.len()));
            }
            let dot = if place.is_empty() { "" } else { "." };
            key_of_length(
                inner,
                &shorten(&format!("{place}{dot}{key}"), LONGEST_PLACE),
            )
        }),
        Value::Array(items) => items
            .iter()
            .find_map(|item| key_of_length(item, &format!("{place}[]"))),
        _ => None,
    }
}

/// The longest place in such a message, in bytes.
const LONGEST_PLACE: usize = 256;

pub(super) fn causes(status: &Status) -> Causes {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes = causes.map(|cause| RefusalCause {
        field: cause.field.clone(),
        reason: cause.reason.clone(),
        message: cause.message.clone(),
    });
    Causes(Refusal {
        said: status.message.clone(),
        causes: causes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    #[test]
    fn a_key_that_no_parser_of_yaml_takes_is_told_by_its_place() {
        let said = "error decoding YAML: error converting YAML to JSON: yaml: did not find expected ',' or '}'";
        let told = |object: Value| long_key(said, object.to_string().as_bytes());
        let long = "k".repeat(1023);
        for (object, place) in [
            (serde_json::json!({"data": {&long: "b"}}), "data"),
            (serde_json::json!({&long: "b"}), "the object"),
            (
                serde_json::json!({"spec": {"rules": [{"a": 1}, {"match": {&long: 1}}]}}),
                "spec.rules[].match",
            ),
        ] {
            let expected = format!(
                "a key in {place} has 1023 bytes, but the API server takes keys of at most 1024"
            );
            assert_eq!(told(object), Some(expected));
        }
        assert_eq!(told(serde_json::json!({"data": {"k": long}})), None);
        let object = serde_json::json!({"data": {&long: "b"}}).to_string();
        assert_eq!(long_key("no room", object.as_bytes()), None);
    }

    #[test]
    fn only_the_sentence_on_a_missing_right_is_one() {
        let key = ObjectKey {
            kind: GroupKind::new("apps", "Deployment"),
            namespace: None,
            name: "web".into(),
        };
        let cannot = "User \"a\" cannot patch resource \"deployments\"";
        for (message, is) in [
            (
                format!("deployments.apps \"web\" is forbidden: {cannot}"),
                true,
            ),
            (format!("deployments.apps is forbidden: {cannot}"), true),
            (
                format!("deployments.apps \"other\" is forbidden: {cannot}"),
                false,
            ),
            (
                format!("deployments.apps \"web\" is forbidden: no hunter2: {cannot}"),
                false,
            ),
            (
                format!("admission webhook \"a\" denied: hunter2 is forbidden: {cannot}"),
                false,
            ),
            (
                "deployments.apps \"web\" is forbidden: User \"hunter2\"".to_owned(),
                false,
            ),
        ] {
            assert_eq!(is_about_right(&key, &message), is, "{message}");
        }
    }

    #[test]
    fn a_missing_right_is_told_with_verb_kind_and_account() {
        let key = |namespace: Option<&str>| ObjectKey {
            kind: GroupKind::new("apps", "Deployment"),
            namespace: namespace.map(Into::into),
            name: "web".into(),
        };
        let said = "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:team-a:app\" cannot patch \
                    resource \"deployments\" in API group \"apps\" in the namespace \"prod\"";
        for (namespace, message, right) in [
            (
                Some("prod"),
                said,
                Some("ServiceAccount team-a/app may not patch Deployment.apps in namespace prod"),
            ),
            (
                None,
                said,
                Some("ServiceAccount team-a/app may not patch Deployment.apps"),
            ),
            (
                Some("prod"),
                "x is forbidden: User \"someone\" cannot delete resource \"deployments\"",
                Some("user someone may not delete Deployment.apps in namespace prod"),
            ),
            (
                Some("prod"),
                "serviceaccounts \"app\" is forbidden: User \"system:serviceaccount:towline:towline\" cannot \
                 impersonate resource \"serviceaccounts\"",
                Some(
                    "ServiceAccount towline/towline may not impersonate the account that acts for this Sync",
                ),
            ),
            (
                Some("prod"),
                "pods \"a\" is forbidden: exceeded quota",
                None,
            ),
        ] {
            let found = missing_right(&key(namespace), message);
            assert_eq!(found.as_deref(), right, "{message}");
            let impersonates = right.is_some_and(|right| right.contains("impersonate"));
            let error = WriteError::refused(403, message);
            assert_eq!(error.is_denied(), right.is_some() && !impersonates);
        }
    }
}
