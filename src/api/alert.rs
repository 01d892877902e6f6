//! `Alert`: which notices are told, and to whom.

// Clippy mistakes the columns of one definition for duplicated attributes.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames as _;

use super::names::{NAMESPACE_OR_ALL, OBJECT, OBJECT_OR_ALL};
use super::{Condition, Duration, Reason, Time};

/// Which notices of which resources are told, to which Provider, and in which words.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "Alert",
    plural = "alerts",
    category = "gitops",
    namespaced,
    status = "AlertStatus",
    derive = "PartialEq",
    doc = "Which notices of Syncs and GitRepositories are told, and to which Provider.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether messages are delivered"
    ),
    printcolumn(
        name = "Provider",
        type_ = "string",
        json_path = ".spec.providerRef.name",
        description = "Where messages go"
    ),
    printcolumn(
        name = "Open",
        type_ = "integer",
        json_path = ".status.openProblems",
        description = "Problems that were told and are not over"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary",
        description = "What happened last"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AlertSpec {
    /// The Provider that takes the messages, of the same namespace.
    pub provider_ref: ProviderRef,

    /// The resources whose notices are told.
    #[schemars(length(min = 1, max = 64))]
    pub event_sources: Vec<EventSource>,

    /// `info`: all notices. `error`: only what a person may have to act on, and the end of it.
    #[serde(default)]
    pub event_severity: EventSeverity,

    /// The reasons that are told. Without this field, all are. The end of a problem that was told is told as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "reasons_schema")]
    pub reasons: Vec<String>,

    /// Regular expressions, without look-around. Only notices are told whose message matches one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub inclusion_list: Vec<String>,

    /// Regular expressions. Notices whose message matches one of them are not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "patterns_schema")]
    pub exclusion_list: Vec<String>,

    /// Added to every message, such as the name of the cluster. Alertmanager gets them as labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "metadata_schema")]
    pub event_metadata: BTreeMap<String, String>,

    /// How long a message waits for more notices of the same commit and reason, so that many Syncs of one commit make
    /// one message. `ChangeCommitted` does not wait.
    #[serde(default = "default_group_wait")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('10m')").message("groupWait must be at most 10m"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub group_wait: Duration,

    /// The words of messages. Without this field, towline uses its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplate>,

    /// What a Git host keeps of each commit, if the Provider is one. `Statuses`: a status for each Sync. `Deployments`, on
    /// GitHub and GitLab: a deployment for each Sync, in an environment with the URL where it runs.
    #[serde(default)]
    pub commits_as: CommitsAs,

    /// Tell nothing. Notices of this time are not told later either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

fn default_group_wait() -> Duration {
    Duration::from(std::time::Duration::from_secs(5))
}

/// A Provider of the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct ProviderRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
}

/// Resources whose notices are told.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EventSource {
    /// Their kind.
    pub kind: EventSourceKind,

    /// Their name. `*` means all.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_OR_ALL))]
    pub name: String,

    /// Their namespace. The default is the Alert's own namespace. `*` means all. With `--no-cross-namespace`, only the
    /// own namespace can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = NAMESPACE_OR_ALL))]
    pub namespace: Option<String>,

    /// Labels that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "metadata_schema")]
    pub match_labels: BTreeMap<String, String>,
}

/// The kind of the resources whose notices are told.
#[derive(JsonSchema, Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum EventSourceKind {
    /// Syncs.
    Sync,
    /// GitRepositories.
    GitRepository,
}

/// Which notices are told, by how urgent they are.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum EventSeverity {
    /// All.
    #[default]
    Info,
    /// Only what a person may have to act on, and the end of it.
    Error,
}

/// What a Git host keeps of each commit.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum CommitsAs {
    /// A status for each Sync.
    #[default]
    Statuses,
    /// A deployment for each Sync.
    Deployments,
}

/// The words of messages, as templates in the syntax of Jinja.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MessageTemplate {
    /// The title, of one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub title: Option<String>,

    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub body: Option<String>,
}

/// The state of the Alert.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` and `Stalled` only while true (kstatus).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The message of the condition `Ready`, on one line of at most 200 characters.
    #[serde(default)]
    pub summary: Option<String>,

    /// Every notice of an earlier second was told, or was not to be told.
    #[serde(default)]
    pub told_until: Option<Time>,

    /// The notices of that second and of later ones that were told, by their ids, and those of open problems that `open` has
    /// no room for. At most 1,000.
    #[serde(default)]
    pub told: Vec<String>,

    /// The number of problems that were told and are not over.
    #[serde(default)]
    pub open_problems: Option<u32>,

    /// The problems that were told and are not over. At most 200.
    #[serde(default)]
    pub open: Vec<OpenProblem>,
}

/// A problem that was told and is not over.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpenProblem {
    /// The kind of the resource.
    pub kind: String,
    /// The namespace of the resource.
    pub namespace: String,
    /// The name of the resource.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// The revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it began.
    pub since: Time,
}

/// The names of all reasons that a notice can have.
fn reasons_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "enum": Reason::VARIANTS}
    })
}

fn patterns_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": {"type": "string", "minLength": 1, "maxLength": 1024}
    })
}

fn metadata_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 1024}
    })
}
