//! Whether a live object has reached the state in its spec.
//!
//! The rules are those of kstatus (`sigs.k8s.io/cli-utils/pkg/kstatus`), as Flux and `kubectl` tools
//! apply them: first the rules for every kind, then the rule for the kind, then a `Ready` condition.
//! towline differs from kstatus in five points, and the functions say why. A Job must complete. A failed
//! pod has failed. A pod that cannot be scheduled is in progress, because kstatus needs a clock for its
//! rule. A SealedSecret, which has no `Ready` condition, must be unsealed. towline's own kinds are in progress until
//! they have a status.

mod cause;
mod exposed;
mod fields;
mod kinds;
mod pods;
mod workloads;

use serde_json::Value;

pub use self::cause::PodCause;
pub use self::exposed::{Exposed, exposed, url};
use crate::manifest::GroupKind;
use fields::{condition, integer, message, text};

/// The health that an object's status shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The object has reached the state in its spec.
    Current,
    /// The object is in progress, or its controller has not seen it. The text says what is missing.
    InProgress(String),
    /// The object's controller has failed or cannot continue. The text says why.
    Failed(String),
    /// The object is being deleted. The text says what delays the deletion.
    Terminating(String),
}

impl Health {
    /// Whether the object has reached the state in its spec.
    pub fn is_current(&self) -> bool {
        *self == Self::Current
    }
}

/// The health of a live object.
pub fn assess(kind: &GroupKind, object: &Value) -> Health {
    if let Some(decided) = of_metadata(object) {
        return decided;
    }
    if &*kind.group == "towline.dev"
        && let Some(decided) = kinds::own(&kind.kind, object)
    {
        return decided;
    }
    if let Some(decided) = of_conditions(object) {
        return decided;
    }
    if !needs_body(kind) {
        return Health::Current;
    }
    match (&*kind.group, &*kind.kind) {
        ("apps" | "extensions", "Deployment") => workloads::deployment(object),
        ("apps" | "extensions", "ReplicaSet") => workloads::replica_set(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps" | "extensions", "DaemonSet") => workloads::daemon_set(object),
        ("batch", "Job") => pods::job(object),
        ("", "Pod") => pods::pod(object),
        ("", "PersistentVolumeClaim") => kinds::claim(object),
        ("", "Service") => kinds::service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => kinds::definition(object),
        ("bitnami.com", "SealedSecret") => kinds::sealed_secret(object),
        _ => by_ready(object),
    }
}

/// Whether a live object was made to run once, and has, with or without success: a Job, a pod that is not
/// restarted, or what says when it was completed (Tekton's runs, Argo's workflows).
pub fn has_finished(kind: &GroupKind, object: &Value) -> bool {
    match (&*kind.group, &*kind.kind) {
        ("batch", "Job") => pods::is_over(object),
        ("", "Pod") => pods::has_ended(object),
        ("" | "apps" | "batch", _) => false,
        _ => ["/status/completionTime", "/status/finishedAt"]
            .iter()
            .any(|time| !text(object, time).is_empty()),
    }
}

/// How a live object has ended that was made to run once, as Helm sees it: a Job or a pod. `None` while it runs. All
/// others have done what they are for when they are there.
pub fn outcome(kind: &GroupKind, object: &Value) -> Option<Result<(), String>> {
    match (&*kind.group, &*kind.kind) {
        ("batch", "Job") => pods::job_outcome(object),
        ("", "Pod") => pods::pod_outcome(object),
        _ => Some(Ok(())),
    }
}

/// Whether a live object that was made to run once does its work at this moment: a container of it runs.
pub fn works(kind: &GroupKind, object: &Value) -> bool {
    outcome(kind, object).is_none() && pods::runs(object)
}

/// Which container of a live pod is to blame for it not running or not ending well, and for what.
pub fn blame(pod: &Value) -> Option<String> {
    pods::blame(pod)
}

/// The pod that says most about why a workload is not healthy. None where all of them are well.
pub fn cause(pods: &[Value]) -> Option<PodCause<'_>> {
    cause::cause(pods)
}

/// The labels of the pods of a live workload, as the API server takes them; none where it has no such selector.
pub fn pod_selector(workload: &Value) -> Option<String> {
    cause::pod_selector(workload)
}

/// Whether objects of a kind have pods of their own, or are one.
pub fn has_pods(kind: &GroupKind) -> bool {
    matches!(
        (&*kind.group, &*kind.kind),
        (
            "apps" | "extensions",
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"
        ) | ("batch", "Job")
            | ("", "Pod")
    )
}

/// Whether more than the metadata must be seen. False for built-in kinds without a status, or with
/// a status that does not help. An object of these kinds is [`Health::Current`] unless it is being
/// deleted. Of an Ingress, [`exposed`] reads the body.
pub fn needs_body(kind: &GroupKind) -> bool {
    let none: &[&str] = match &*kind.group {
        "" => &[
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "LimitRange",
            "Endpoints",
            "Namespace",
            "Event",
            "PodTemplate",
            "ResourceQuota",
        ],
        "rbac.authorization.k8s.io" => {
            &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]
        }
        "networking.k8s.io" => &["NetworkPolicy", "IngressClass", "IPAddress", "ServiceCIDR"],
        "storage.k8s.io" => &[
            "StorageClass",
            "CSIDriver",
            "CSINode",
            "CSIStorageCapacity",
            "VolumeAttributesClass",
        ],
        "scheduling.k8s.io" => &["PriorityClass"],
        "node.k8s.io" => &["RuntimeClass"],
        "admissionregistration.k8s.io" => &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
        "discovery.k8s.io" => &["EndpointSlice"],
        "coordination.k8s.io" => &["Lease"],
        "apps" => &["ControllerRevision"],
        "batch" => &["CronJob"],
        "flowcontrol.apiserver.k8s.io" => &["FlowSchema", "PriorityLevelConfiguration"],
        "resource.k8s.io" => &["DeviceClass"],
        _ => &[],
    };
    !none.contains(&&*kind.kind)
}

/// The first rules for every kind: deletion, and an unobserved generation.
fn of_metadata(object: &Value) -> Option<Health> {
    if !text(object, "/metadata/deletionTimestamp").is_empty() {
        return Some(Health::Terminating(held_by(object)));
    }
    let generation = integer(object, "/metadata/generation");
    let observed = integer(object, "/status/observedGeneration");
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        return Some(Health::InProgress(format!(
            "generation {generation} is not observed yet, only {observed}"
        )));
    }
    None
}

/// The next rules for every kind: the conditions `Reconciling` and `Stalled`.
fn of_conditions(object: &Value) -> Option<Health> {
    for found in fields::conditions(object) {
        if text(found, "/status") != "True" {
            continue;
        }
        match text(found, "/type") {
            "Reconciling" => return Some(Health::InProgress(message(found, "reconciling"))),
            "Stalled" => return Some(Health::Failed(message(found, "stalled"))),
            _ => {}
        }
    }
    None
}

/// The condition of a Namespace whose kinds are not all known.
const UNDISCOVERED: &str = "NamespaceDeletionDiscoveryFailure";

/// What holds an object that is being deleted: its finalizers, or what a Namespace or a definition says of the
/// objects in it.
pub fn what_holds(object: &Value) -> String {
    let said = fields::conditions(object).iter().filter(|condition| {
        let kind = text(condition, "/type");
        let about = kind.starts_with("Namespace") || kind == "Terminating";
        about && text(condition, "/status") == "True"
    });
    let mut said: Vec<&Value> = said.collect();
    // An aggregated API server that does not answer is told of in every Namespace, and in many words. They would hide
    // what is left in this one.
    said.sort_by_key(|condition| match text(condition, "/type") {
        "NamespaceFinalizersRemaining" => 0,
        "NamespaceContentRemaining" => 1,
        UNDISCOVERED => 3,
        _ => 2,
    });
    let said = said.into_iter().map(|condition| {
        let said = message(condition, "");
        let apis = said.split_once("server APIs: ");
        match apis.filter(|_| text(condition, "/type") == UNDISCOVERED) {
            Some((_, apis)) => format!(
                "an APIService does not answer, which holds it (delete it if it was uninstalled): {apis}"
            ),
            None => said,
        }
    });
    let said: Vec<String> = said.filter(|said| !said.is_empty()).collect();
    match said.is_empty() {
        true => held_by(object),
        false => fields::shortened(&said.join("; ")),
    }
}

fn held_by(object: &Value) -> String {
    let finalizers: Vec<_> = fields::list(object, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .take(3)
        .collect();
    if finalizers.is_empty() {
        "being deleted".to_owned()
    } else {
        fields::shortened(&format!("being deleted, held by {}", finalizers.join(", ")))
    }
}

/// The last rule: the `Ready` condition. Without one, the object is current.
fn by_ready(object: &Value) -> Health {
    match condition(object, "Ready") {
        Some(ready) if text(ready, "/status") != "True" => {
            Health::InProgress(message(ready, "not ready"))
        }
        _ => Health::Current,
    }
}

#[cfg(test)]
mod tests;
