//! Deployments, ReplicaSets, StatefulSets and DaemonSets, by the rules of kstatus.

use serde_json::Value;

use super::Health;
use super::fields::{condition, count, has, integer, message, text};

/// The first of `steps` (a number and its name) that is below `wanted`.
fn short_of(wanted: i64, unit: &str, steps: &[(i64, &str)]) -> Option<Health> {
    let (there, state) = steps.iter().find(|(there, _)| *there < wanted)?;
    Some(Health::InProgress(format!(
        "{there} of {wanted} {unit} {state}"
    )))
}

fn surplus(wanted: i64, there: i64) -> Option<Health> {
    let message = || format!("{} old replicas still to go", there - wanted);
    (there > wanted).then(|| Health::InProgress(message()))
}

fn first(steps: impl IntoIterator<Item = Option<Health>>) -> Health {
    steps
        .into_iter()
        .flatten()
        .next()
        .unwrap_or(Health::Current)
}

/// The controllers' default is 1.
fn wanted_replicas(object: &Value) -> i64 {
    integer(object, "/spec/replicas").unwrap_or(1)
}

/// With what the Deployment knows of its newest ReplicaSet: why that makes no pods, such as a quota or a policy.
pub(super) fn deployment(object: &Value) -> Health {
    let rollout = rollout(object);
    let Some(cause) = replica_failure(object) else {
        return rollout;
    };
    match rollout {
        Health::InProgress(what) => Health::InProgress(format!("{what}; {cause}")),
        Health::Failed(what) => Health::Failed(format!("{what}; {cause}")),
        other => other,
    }
}

fn rollout(object: &Value) -> Health {
    let progressing = condition(object, "Progressing");
    if let Some(condition) = progressing
        && text(condition, "/reason") == "ProgressDeadlineExceeded"
    {
        return Health::Failed(format!(
            "progress deadline exceeded: {}",
            message(condition, "no progress")
        ));
    }
    let wanted = wanted_replicas(object);
    let there = count(object, "/status/replicas");
    let updated = count(object, "/status/updatedReplicas");
    let available = count(object, "/status/availableReplicas");
    let ready = count(object, "/status/readyReplicas");
    first([
        short_of(
            wanted,
            "replicas",
            &[(there, "created"), (updated, "updated")],
        ),
        surplus(wanted, there),
        short_of(updated, "replicas", &[(available, "available")]),
        short_of(wanted, "replicas", &[(ready, "ready")]),
        (!rolled_out(object, progressing))
            .then(|| Health::InProgress("the new replica set is not available yet".to_owned())),
        (!has(object, "Available", "True"))
            .then(|| Health::InProgress("not available yet".to_owned())),
    ])
}

/// Without a deadline (not set, or the largest 32-bit number) the controller writes no
/// `Progressing` condition.
fn rolled_out(object: &Value, progressing: Option<&Value>) -> bool {
    let deadline = integer(object, "/spec/progressDeadlineSeconds").unwrap_or(i64::from(i32::MAX));
    deadline == i64::from(i32::MAX)
        || progressing.is_some_and(|condition| {
            text(condition, "/status") == "True"
                && text(condition, "/reason") == "NewReplicaSetAvailable"
        })
}

fn replica_failure(object: &Value) -> Option<String> {
    let failure = condition(object, "ReplicaFailure").filter(|c| text(c, "/status") == "True")?;
    let why = message(failure, "see the pods");
    Some(format!("pods cannot be created: {why}"))
}

pub(super) fn replica_set(object: &Value) -> Health {
    if let Some(failure) = replica_failure(object) {
        return Health::InProgress(failure);
    }
    let wanted = wanted_replicas(object);
    first([
        short_of(
            wanted,
            "replicas",
            &[
                (count(object, "/status/fullyLabeledReplicas"), "labelled"),
                (count(object, "/status/availableReplicas"), "available"),
                (count(object, "/status/readyReplicas"), "ready"),
            ],
        ),
        surplus(wanted, count(object, "/status/replicas")),
    ])
}

/// A StatefulSet has no condition for a failure. With `OnDelete`, a person does the rollout.
pub(super) fn stateful_set(object: &Value) -> Health {
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::Current;
    }
    let wanted = wanted_replicas(object);
    let there = count(object, "/status/replicas");
    let updated = count(object, "/status/updatedReplicas");
    let steps = [
        (there, "created"),
        (count(object, "/status/readyReplicas"), "ready"),
    ];
    let common = [short_of(wanted, "replicas", &steps), surplus(wanted, there)];
    let partition = integer(object, "/spec/updateStrategy/rollingUpdate/partition");
    if let Some(partition) = partition {
        let partition = short_of(wanted - partition, "replicas", &[(updated, "updated")]);
        return first(common.into_iter().chain([partition]));
    }
    let current = count(object, "/status/currentReplicas");
    let other = text(object, "/status/currentRevision") != text(object, "/status/updateRevision");
    first(common.into_iter().chain([
        short_of(wanted, "replicas", &[(current, "current")]),
        other.then(|| Health::InProgress("the new revision is not everywhere yet".to_owned())),
    ]))
}

pub(super) fn daemon_set(object: &Value) -> Health {
    let observed = integer(object, "/status/observedGeneration");
    let wanted = integer(object, "/status/desiredNumberScheduled");
    let (Some(_), Some(wanted)) = (observed, wanted) else {
        return Health::InProgress("not observed by its controller yet".to_owned());
    };
    let steps = [
        (count(object, "/status/currentNumberScheduled"), "scheduled"),
        (count(object, "/status/updatedNumberScheduled"), "updated"),
        (count(object, "/status/numberAvailable"), "available"),
        (count(object, "/status/numberReady"), "ready"),
    ];
    first([short_of(wanted, "pods", &steps)])
}
