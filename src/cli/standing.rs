//! How a Sync or a GitRepository stands, by its status. Pure.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::access::Namespaced;
use super::table::Cell;
use super::terminal::Paint;
use crate::api::{self, Condition, GitRepository, Reason, SUSPENDED_AT, Sync};
use crate::intent::{SourceIntent, SyncIntent};

/// What commands ask of both kinds.
pub(super) trait Steered: Namespaced + serde::Serialize {
    /// The word before a name: `sync/shop`.
    const WORD: &'static str;
    /// If it is suspended, who did it and why.
    fn suspended(&self) -> Option<String>;
    /// What its status says. Nothing, if there is none.
    fn told(&self) -> Told<'_>;

    /// The conditions of its status.
    fn conditions(&self) -> &[Condition] {
        self.told().conditions
    }
}

/// What the statuses of both kinds say.
#[derive(Clone, Copy, Default)]
pub(super) struct Told<'a> {
    pub(super) conditions: &'a [Condition],
    /// The generation that the status is about. None: there is no status.
    pub(super) observed_generation: Option<i64>,
    /// The last request to reconcile that was handled.
    pub(super) handled: Option<&'a str>,
    /// Since when `Ready` has its reason. Statuses of earlier versions do not say it.
    pub(super) reason_since: Option<Timestamp>,
    /// The revision with a short commit.
    pub(super) revision: &'a str,
    /// The message of `Ready` on one line.
    pub(super) summary: &'a str,
}

impl Steered for Sync {
    const WORD: &'static str = "sync";

    fn suspended(&self) -> Option<String> {
        SyncIntent::from(self).suspended
    }

    fn told(&self) -> Told<'_> {
        let status = self.status.as_ref();
        status.map_or_else(Told::default, |status| Told {
            conditions: &status.conditions,
            observed_generation: status.observed_generation,
            handled: status.last_handled_reconcile_at.as_deref(),
            reason_since: status.reason_since.as_ref().map(|since| since.0),
            revision: status.short_revision.as_deref().unwrap_or_default(),
            summary: status.summary.as_deref().unwrap_or_default(),
        })
    }
}

impl Steered for GitRepository {
    const WORD: &'static str = "repo";

    fn suspended(&self) -> Option<String> {
        SourceIntent::from(self).suspended
    }

    fn told(&self) -> Told<'_> {
        let status = self.status.as_ref();
        status.map_or_else(Told::default, |status| Told {
            conditions: &status.conditions,
            observed_generation: status.observed_generation,
            handled: status.last_handled_reconcile_at.as_deref(),
            reason_since: status.reason_since.as_ref().map(|since| since.0),
            revision: status.short_revision.as_deref().unwrap_or_default(),
            summary: status.summary.as_deref().unwrap_or_default(),
        })
    }
}

/// In which state something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResourceState {
    /// It is as Git says.
    Ready,
    /// It waits for something that is expected, or works. With the reason.
    Waiting(String),
    /// Somebody has to act. With the reason.
    Failing(String),
    /// A person stopped it.
    Suspended,
    /// It is being deleted.
    Deleting,
    /// The operator has not written a status of it.
    Unseen,
}

impl ResourceState {
    /// The state in one word.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Ready => "Ready",
            Self::Waiting(reason) | Self::Failing(reason) => reason,
            Self::Suspended => "Suspended",
            Self::Deleting => "Deleting",
            Self::Unseen => "Unknown",
        }
    }

    fn paint(&self) -> Paint {
        match self {
            Self::Ready => Paint::Green,
            Self::Failing(_) => Paint::Red,
            Self::Suspended => Paint::Dim,
            Self::Waiting(_) | Self::Deleting | Self::Unseen => Paint::Yellow,
        }
    }
}

/// How one object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) namespace: String,
    /// `sync/shop`
    pub(super) name: String,
    pub(super) state: ResourceState,
    /// Since when it is in this state.
    pub(super) since: Option<Timestamp>,
    pub(super) revision: String,
    /// The message of `Ready`; of a suspended one, who suspended it and why.
    pub(super) message: String,
}

impl Standing {
    /// Reads an object.
    pub(super) fn of<K: Steered>(object: &K) -> Self {
        let is_current = object.told().observed_generation >= object.meta().generation;
        let ready = ready(object);
        let suspended = object.suspended();
        let state = match ready {
            _ if object.meta().deletion_timestamp.is_some() => ResourceState::Deleting,
            _ if suspended.is_some() => ResourceState::Suspended,
            None => ResourceState::Unseen,
            Some(_) if !is_current => {
                ResourceState::Waiting(Reason::Progressing.as_str().to_owned())
            }
            Some(ready) if ready.status == "True" => ResourceState::Ready,
            Some(ready) if Reason::named(&ready.reason).is_some_and(Reason::waits) => {
                ResourceState::Waiting(ready.reason.clone())
            }
            Some(ready) => ResourceState::Failing(ready.reason.clone()),
        };
        let message = match state {
            ResourceState::Suspended => suspended.unwrap_or_default(),
            ResourceState::Unseen => {
                "towline has not seen it yet: is the operator running, and does it drive this \
                 namespace?"
                    .to_owned()
            }
            _ => object.told().summary.to_owned(),
        };
        let since = match state {
            ResourceState::Suspended => annotation(object, SUSPENDED_AT).parse().ok(),
            _ => {
                let changed = ready.map(|ready| ready.last_transition_time.0);
                object.told().reason_since.or(changed)
            }
        };
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: format!("{}/{}", K::WORD, object.name_any()),
            state,
            since,
            revision: object.told().revision.to_owned(),
            message,
        }
    }

    /// Whether it is as Git says.
    pub(super) fn is_ready(&self) -> bool {
        self.state == ResourceState::Ready
    }

    /// Its cells under [`HEADS`].
    pub(super) fn row(&self, now: Timestamp) -> Vec<Cell> {
        let since = self.since.map(|since| ago(since, now)).unwrap_or_default();
        vec![
            Cell::from(&*self.namespace),
            Cell::from(&*self.name),
            Cell::new(self.state.word(), self.state.paint()),
            Cell::from(&*since),
            Cell::from(&*self.revision),
            Cell::from(&*self.message),
        ]
    }
}

/// The heads of a table of standings.
pub(super) const HEADS: [&str; 6] = ["NAMESPACE", "NAME", "STATE", "SINCE", "REVISION", "MESSAGE"];

/// The condition `Ready`.
pub(super) fn ready<K: Steered>(object: &K) -> Option<&Condition> {
    api::ready(object.conditions())
}

fn annotation<'a, K: Steered>(object: &'a K, name: &str) -> &'a str {
    object.annotations().get(name).map_or("", String::as_str)
}

/// The time between two points as one number: `45s`, `12m`, `7h`, `3d`.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use serde_json::{Value, json};

    use crate::api::Sync;

    /// A Sync `shop` whose generation is 1, with this status; `more` is added to its metadata.
    pub(in crate::cli) fn sync(status: &Value, more: &Value) -> Sync {
        let mut meta = json!({"name": "shop", "namespace": "team-a", "generation": 1});
        for (key, value) in more.as_object().into_iter().flatten() {
            meta[key] = value.clone();
        }
        let mut status = status.clone();
        if status.is_object() {
            status["observedGeneration"] = 1.into();
        }
        serde_json::from_value(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": meta,
            "spec": {"sourceRef": {"name": "fleet"}}, "status": status,
        }))
        .unwrap()
    }

    /// Conditions with this `Ready`.
    pub(in crate::cli) fn ready(status: &str, reason: &str, message: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-02T03:04:05Z"}])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::testing::{ready, sync};
    use super::*;
    use crate::api::{Abridged, SUSPEND_REASON, SUSPENDED_BY};

    #[test]
    fn every_state_has_its_word() {
        let status =
            |status, reason| json!({"conditions": ready(status, reason, "m"), "summary": "m"});
        let plain = json!({});
        for (status, meta, word, message) in [
            (status("True", "Converged"), plain.clone(), "Ready", "m"),
            (
                status("False", "HealthPending"),
                plain.clone(),
                "HealthPending",
                "m",
            ),
            (
                status("False", "ApplyFailed"),
                plain.clone(),
                "ApplyFailed",
                "m",
            ),
            (
                status("True", "Converged"),
                json!({"generation": 2}),
                "Progressing",
                "m",
            ),
            (Value::Null, plain, "Unknown", "operator"),
            (
                status("True", "Converged"),
                json!({"deletionTimestamp": "2026-01-02T03:04:05Z"}),
                "Deleting",
                "m",
            ),
        ] {
            let standing = Standing::of(&sync(&status, &meta));
            assert_eq!(standing.state.word(), word);
            assert!(standing.message.contains(message), "{standing:?}");
            assert_eq!(standing.is_ready(), word == "Ready");
        }
    }

    #[test]
    fn a_state_begins_with_its_reason() {
        let mut status = json!({"conditions": ready("False", "HealthFailed", "m")});
        let of = |status: &Value| Standing::of(&sync(status, &json!({}))).since;
        assert_eq!(of(&status), "2026-01-02T03:04:05Z".parse().ok());
        status["reasonSince"] = "2026-01-02T03:09:05Z".into();
        assert_eq!(of(&status), "2026-01-02T03:09:05Z".parse().ok());
    }

    #[test]
    fn a_suspended_one_says_who_did_it_and_why() {
        let annotations = json!({
            SUSPENDED_BY: "alice", SUSPEND_REASON: "incident 7", SUSPENDED_AT: "2026-01-02T03:04:05Z",
        });
        let mut object = sync(&Value::Null, &json!({"annotations": annotations}));
        object.spec.settings.suspend = true;
        let standing = Standing::of(&object);
        assert_eq!(standing.state, ResourceState::Suspended);
        assert_eq!(standing.message, "suspended by alice: incident 7");
        assert_eq!(standing.since, "2026-01-02T03:04:05Z".parse().ok());
        let hostile = "\u{1b}[2J\u{202e}not me\n".to_owned();
        let annotations = object.metadata.annotations.as_mut().unwrap();
        annotations.insert(SUSPEND_REASON.to_owned(), hostile);
        assert_eq!(
            Standing::of(&object).message,
            "suspended by alice: [2Jnot me"
        );
        object.metadata.annotations = None;
        assert_eq!(Standing::of(&object).message, "suspended");
    }

    #[test]
    fn times_are_short() {
        let then: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            let now = then + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(ago(then, now), text);
        }
        let before = then - jiff::SignedDuration::from_secs(9);
        assert_eq!(ago(then, before), "0s", "the other clock is ahead");
    }

    fn assert_same<K: Steered + Abridged>(object: &Value) {
        let full: K = serde_json::from_value(object.clone()).unwrap();
        let brief: K::Brief = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(Standing::of(&brief.into()), Standing::of(&full));
    }

    #[test]
    fn a_table_shows_the_same_of_less() {
        let status = json!({
            "observedGeneration": 3, "summary": "4 objects", "reasonSince": "2026-01-02T03:09:05Z", "shortRevision": "main@sha1:0123456789ab",
            "conditions": ready("False", "ApplyFailed", "no"), "history": [],
        });
        let suspended = json!({
            SUSPENDED_BY: "alice", SUSPEND_REASON: "incident", SUSPENDED_AT: "2026-01-02T03:04:05Z",
        });
        let metas = [
            json!({"generation": 3}),
            json!({"generation": 4, "annotations": suspended, "managedFields": [{"manager": "a"}]}),
            json!({"generation": 3, "deletionTimestamp": "2026-01-02T03:04:05Z"}),
        ];
        for mut meta in metas {
            meta["name"] = "shop".into();
            meta["namespace"] = "team-a".into();
            for (status, suspend) in [(&status, false), (&status, true), (&Value::Null, false)] {
                let spec = json!({"sourceRef": {"name": "fleet"}, "suspend": suspend});
                assert_same::<Sync>(&json!({
                    "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
                    "metadata": meta, "spec": spec, "status": status,
                }));
                let spec = json!({"url": "https://git.example/fleet", "suspend": suspend});
                assert_same::<GitRepository>(&json!({
                    "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
                    "metadata": meta, "spec": spec, "status": status,
                }));
            }
        }
    }
}
