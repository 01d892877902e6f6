//! Conditions by kstatus' rules, their types and their closed set of reasons.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::{EnumString, IntoStaticStr, VariantNames};

/// The condition types that towline writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum ConditionType {
    /// The cluster equals Git and, where `wait` asks for it, is healthy.
    Ready,
    /// Work is in progress (kstatus: only present while true).
    Reconciling,
    /// No progress without a change by a person (kstatus: only present while true).
    Stalled,
    /// Managed objects differ from Git.
    Drifted,
    /// Every managed object is healthy by kstatus' rules.
    Healthy,
    /// The plans of open pull requests are written on them.
    PullRequestsPlanned,
}

impl ConditionType {
    /// The name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The reason of a condition. Conditions, events, logs and metrics use this closed set.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
pub enum Reason {
    /// A new revision was seen.
    ChangeCommitted,
    /// The cluster equals Git.
    Converged,
    /// Desired and observed state have differed for longer than a set time.
    Diff,
    /// A revision was fetched.
    Fetched,
    /// Work is in progress.
    Progressing,
    /// Reconciling is suspended.
    Suspended,
    /// The cluster equals a revision that a person pinned the Sync to.
    Pinned,
    /// A pin has ended.
    Unpinned,
    /// The Sync is pinned to a revision that it cannot be held at.
    PinRefused,
    /// The object is being deleted.
    Deleting,
    /// Drift was found.
    DriftFound,
    /// Drift was corrected.
    DriftCorrected,
    /// A field is left to another controller, which keeps writing it.
    FieldLeft,
    /// A webhook or a policy of the cluster changes a field that Git declares.
    FieldRewritten,
    /// A Job is gone, and nobody saw how it ended.
    NotRunAgain,
    /// No drift is known.
    InSync,
    /// Every object is healthy.
    AllHealthy,
    /// Objects are not healthy yet.
    HealthPending,
    /// Objects report failure, or stayed unhealthy beyond `spec.timeout`.
    HealthFailed,
    /// The remote cannot be reached, or answers with an error.
    FetchFailed,
    /// The remote refuses the credentials.
    AuthenticationFailed,
    /// The Secret with the credentials is missing or malformed.
    CredentialsInvalid,
    /// The revision has no signature of an allowed signer.
    VerificationFailed,
    /// The Secret with the allowed signers is missing or malformed.
    SignersInvalid,
    /// The remote has no such branch, tag or commit.
    RefNotFound,
    /// A file or the repository is over a size limit.
    TooLarge,
    /// The Secret of a webhook is missing, or holds no usable secret.
    WebhookInvalid,
    /// The spec cannot be used.
    InvalidSpec,
    /// The source has no revision yet, or does not exist.
    SourceNotReady,
    /// The path is not in the revision.
    PathNotFound,
    /// The path holds no manifest.
    EmptyRender,
    /// A manifest cannot be read.
    InvalidManifest,
    /// A renderer (kustomize, Helm) refuses the files, or a value that it needs is missing.
    RenderFailed,
    /// A file is encrypted, and none of the Sync's keys decrypts it.
    DecryptionFailed,
    /// A dependency is not ready.
    DependencyNotReady,
    /// Dependencies form a circle.
    DependencyCycle,
    /// Objects wait for their kind to be served.
    KindNotServed,
    /// An object belongs to another Sync.
    OwnershipConflict,
    /// The API server refused an object.
    ApplyFailed,
    /// The API server refuses an object of a revision that `spec.validate` takes as a whole.
    ValidationFailed,
    /// A hook of a chart failed.
    HookFailed,
    /// An object could not be pruned.
    PruneFailed,
    /// A revision would delete more than `spec.pruneLimit` allows, and nobody has approved that.
    PruneHeld,
    /// An object left Git, or its Sync was deleted, and the object was kept.
    Released,
    /// The operator could not talk to the API server.
    ApiUnavailable,
    /// The API server refused a status as it was; it was written in short.
    StatusRefused,
    /// Messages are delivered.
    Delivering,
    /// A service does not take messages.
    DeliveryFailed,
    /// The Secret of a Provider is missing or malformed, or its address cannot be used.
    ProviderInvalid,
    /// The Provider of an Alert or of pull requests does not exist, or cannot be used.
    ProviderNotReady,
    /// Open pull requests have their plans.
    Planned,
    /// Open pull requests cannot be listed, planned or written on.
    PlanFailed,
}

impl Reason {
    /// The reason with this name. None if there is no such reason.
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Whether a Sync that is not ready for this reason waits for something that is expected, so that nobody has to
    /// act.
    pub fn waits(self) -> bool {
        matches!(
            self,
            Self::Progressing
                | Self::HealthPending
                | Self::DependencyNotReady
                | Self::SourceNotReady
                // The definition is usually in the same commit.
                | Self::KindNotServed
        )
    }

    /// The CamelCase name used in conditions, events, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A condition from one step, before it is merged into the present status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The type of the condition.
    pub kind: ConditionType,
    /// `Some(true)` is `True`, `Some(false)` is `False`, `None` is `Unknown`.
    pub status: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// The message for users: the object, the file, the cause, what to do.
    pub message: String,
}

impl Verdict {
    /// A verdict from its parts.
    pub fn new(
        kind: ConditionType,
        status: impl Into<Option<bool>>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status: status.into(),
            reason,
            message: message.into(),
        }
    }
}

/// The longest message that goes into a condition, in bytes; the API's own limit is 32 KiB.
const MAX_MESSAGE: usize = 2048;

/// The conditions after applying `verdicts` to `previous`. Conditions without a verdict are dropped. A
/// transition time changes only when the status does (KEP-1623).
pub fn set_conditions(
    previous: &[Condition],
    verdicts: Vec<Verdict>,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|verdict| {
            let status = match verdict.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = previous
                .iter()
                .find(|c| c.type_ == verdict.kind.as_str() && c.status == status)
                .map_or_else(|| now.clone(), |c| c.last_transition_time.clone());
            Condition {
                type_: verdict.kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: crate::text::shorten(&verdict.message, MAX_MESSAGE),
                observed_generation: generation,
                last_transition_time: since,
            }
        })
        .collect()
}

/// The condition `Ready`. None where there is no status yet.
#[must_use]
pub fn ready(conditions: &[Condition]) -> Option<&Condition> {
    let ready = ConditionType::Ready.as_str();
    conditions.iter().find(|one| one.type_ == ready)
}

/// Since when `Ready` has its status and its reason. `known` is what was said of it `before`; a status of an earlier version says
/// nothing.
#[must_use]
pub fn reason_since(
    (before, known): (&[Condition], Option<&Time>),
    after: &[Condition],
    now: &Time,
) -> Option<Time> {
    let of = |conditions: &'_ [Condition]| {
        let ready = ready(conditions)?;
        Some((ready.status.clone(), ready.reason.clone()))
    };
    match of(before) == of(after) {
        true => known.cloned(),
        false => Some(now.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_a_time_of_its_own() {
        let at = |second| Time(jiff::Timestamp::from_second(second).unwrap());
        let of = |is, reason| {
            let verdict = Verdict::new(ConditionType::Ready, is, reason, "m".to_owned());
            set_conditions(&[], vec![verdict], Some(1), &at(1))
        };
        let waits = of(Some(false), Reason::HealthPending);
        let known = at(5);
        for (before, known, after, since) in [
            (vec![], None, waits.clone(), Some(at(9))),
            (waits.clone(), Some(&known), waits.clone(), Some(at(5))),
            (waits.clone(), None, waits.clone(), None),
            (
                waits.clone(),
                Some(&known),
                of(Some(false), Reason::HealthFailed),
                Some(at(9)),
            ),
            (
                waits,
                Some(&known),
                of(Some(true), Reason::Converged),
                Some(at(9)),
            ),
        ] {
            assert_eq!(reason_since((&before, known), &after, &at(9)), since);
        }
    }

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn ready(status: bool, message: &str) -> Vec<Verdict> {
        vec![Verdict::new(
            ConditionType::Ready,
            status,
            Reason::Converged,
            message,
        )]
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let first = set_conditions(&[], ready(true, "a"), Some(1), &at(1));
        let same = set_conditions(&first, ready(true, "b"), Some(2), &at(2));
        assert_eq!(same[0].last_transition_time, at(1));
        assert_eq!(
            (same[0].message.as_str(), same[0].observed_generation),
            ("b", Some(2))
        );
        let other = set_conditions(&same, ready(false, "b"), Some(2), &at(3));
        assert_eq!(other[0].last_transition_time, at(3));
    }

    #[test]
    fn a_reason_is_found_by_its_name() {
        for reason in [Reason::Converged, Reason::CredentialsInvalid] {
            assert_eq!(Reason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::named("Coverged"), None);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let long = set_conditions(&[], ready(true, &"é".repeat(5000)), None, &at(1));
        assert!(long[0].message.len() <= MAX_MESSAGE);
        assert!(long[0].message.ends_with('…'));
    }
}
