//! `Sync`: the path of a repository that is applied to the cluster, and how.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{NAMESPACE, OBJECT};
use super::render::{CommonMetadata, Decryption, Helm, Kustomize, Renderer, Substitute};
use super::source_ref::SourceRef;
use super::{ChartRelease, Condition, Duration, FailedChange, Time};

/// One path of a repository, applied to the cluster and kept equal to it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "Sync",
    root = "Sync",
    plural = "syncs",
    shortname = "tsync",
    category = "gitops",
    namespaced,
    status = "SyncStatus",
    derive = "PartialEq",
    doc = "One path of a GitRepository, applied to the cluster and kept equal to it.",
    // KEP-3659: a custom resource may be an ApplySet parent if its definition says so.
    label("applyset.kubernetes.io/is-parent-type", "true"),
    validation = Rule::new("!has(self.spec.dependsOn) || self.spec.dependsOn.all(d, d.name != self.metadata.name)").message("a Sync cannot depend on itself"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the cluster equals Git"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.shortRevision", description = "The commit that the cluster now equals"),
    printcolumn(name = "Objects", type_ = "integer", json_path = ".status.objects.desired", description = "Objects that Git asks for"),
    printcolumn(name = "Drifted", type_ = "integer", json_path = ".status.objects.drifted", description = "Objects that differ from Git"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary", description = "What happened last"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourceRef.name", priority = 1, description = "The GitRepository"),
    printcolumn(name = "Path", type_ = "string", json_path = ".spec.path", priority = 1, description = "The folder in it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since creation")
)]
#[serde(rename_all = "camelCase")]
pub struct SyncSpec {
    /// Where the files come from: a GitRepository of the same namespace.
    pub source_ref: SourceRef,

    /// What to apply, and how.
    #[serde(flatten)]
    pub settings: SyncSettings,
}

/// What a Sync applies, and how: its whole spec except for the source, which the inline form in a
/// `GitRepository` does not need.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.renderer) || !(has(self.kustomize) || has(self.helm))").message("renderer takes the place of kustomize and helm: name one of them"))]
pub struct SyncSettings {
    /// Folder (or one file) inside the repository, such as `apps/prod`. Empty means the whole repository.
    /// Files that end in `.yaml`, `.yml` or `.json` are applied, including those in subfolders.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && self.split('/').all(part, part != '..')").message("path must be relative and stay inside the repository"))]
    pub path: String,

    /// Files below `path` to leave out, in the syntax of `.gitignore` and relative to `path`. It has precedence over
    /// `.towlineignore` files and over the GitRepository's `ignore`: `!x.yaml` brings a file back. Files that a
    /// kustomization or chart names are read even if they match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16384))]
    pub ignore: String,

    /// Changes with kustomize to the manifests in `path`, which need not contain a kustomization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<Kustomize>,

    /// How to render the chart in `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Helm>,

    /// Renders `path` with a renderer of your own, in place of kustomize and Helm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renderer: Option<Renderer>,

    /// Variables in manifests, also in rendered ones. Without this field, `${…}` stays unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<Substitute>,

    /// How to decrypt files that SOPS encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,

    /// Labels and annotations of every object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_metadata: Option<CommonMetadata>,

    /// The ServiceAccount of the Sync's namespace in whose name objects are applied, compared and deleted. The default
    /// is the account of `--default-service-account`. Without both, towline uses all of its own rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = OBJECT))]
    pub service_account_name: Option<String>,

    /// Delete objects that left Git. Otherwise they stay, and `status.objects.unpruned` counts them.
    #[serde(default)]
    pub prune: bool,

    /// How much a revision may delete without a person. A revision that would delete more is applied, but deletes
    /// nothing until somebody approves exactly that deletion. Deleting the Sync itself is not limited.
    #[serde(default)]
    pub prune_limit: PruneLimit,

    /// Delete what left Git also if it existed before this Sync applied it. Otherwise such an object is released: it
    /// stays, without towline's label and annotations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune_adopted: bool,

    /// What to do about drift. `Correct`: undo it at once. `Report`: count and report it, but do not
    /// correct it. Commits are still applied.
    #[serde(default)]
    pub mode: Mode,

    /// The namespace of every namespaced object, whatever its manifest says. For a chart, the namespace of the
    /// release: as with Helm, an object whose template names another namespace goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAMESPACE))]
    pub target_namespace: Option<String>,

    /// Syncs of the same namespace that must be ready before a new revision is applied. A Sync with the
    /// same source must be ready at that revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub depends_on: Vec<Dependency>,

    /// Be ready only when every object is healthy by kstatus' rules: Deployments rolled out, Jobs done,
    /// custom resources ready. Waiting never delays a newer commit.
    #[serde(default)]
    pub wait: bool,

    /// How long objects may be unhealthy until the reason becomes `HealthFailed`. towline still watches
    /// them, and they may become healthy later.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("timeout must be 1s to 24h"))]
    #[schemars(schema_with = "duration_schema")]
    pub timeout: Duration,

    /// Time between two full verifications, such as `10m` or `1h`. A full verification applies every
    /// object again. Drift is corrected at once, whatever the interval.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s')").message("interval must be 10s or more"))]
    #[schemars(schema_with = "duration_schema")]
    pub interval: Duration,

    /// Try every changed object of a new revision as a dry run first. If the API server refuses one, nothing of the
    /// revision is applied, and the earlier one stays live.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validate: bool,

    /// Delete an object and make it again where a commit changes a field that cannot be changed. Never a
    /// PersistentVolumeClaim, PersistentVolume, StatefulSet, Namespace or CustomResourceDefinition: for these, and for
    /// single objects of all other kinds, annotate the manifest with `towline.dev/force: enabled`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,

    /// Fields that others set: a number of replicas, an injected certificate. They are sent when their object is
    /// created. From then on towline neither sends nor owns them, and does not count their changes as drift.
    /// `spec.replicas` of what a HorizontalPodAutoscaler of the same Sync scales is left without a rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ignore_fields: Vec<IgnoredFields>,

    /// Stop applying, pruning and correcting. Applied objects stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// What happens to the objects when this Sync is deleted. `MirrorPrune`: delete them if `prune` is
    /// true, otherwise orphan them. `Delete`: delete them, also adopted ones. `Orphan`: keep them, without towline's
    /// label and annotations. Objects with `towline.dev/prune: disabled` are kept in any case.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// How much a revision may delete without a person.
#[derive(JsonSchema, Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PruneLimit {
    /// The largest share of the Sync's objects in percent, if the Sync has ten or more. `100` is no limit. With `0`,
    /// every deletion needs an approval, also of a Sync with fewer objects.
    #[serde(default = "default_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,

    /// What to do about a Namespace that holds other objects, a CustomResourceDefinition that has custom resources, a
    /// PersistentVolumeClaim or PersistentVolume that is bound, and a Sync that would delete its objects. `Hold`: their deletion needs an
    /// approval. `Delete`: it does not.
    #[serde(default)]
    pub contents: Contents,
}

impl Default for PruneLimit {
    fn default() -> Self {
        Self {
            percent: default_percent(),
            contents: Contents::default(),
        }
    }
}

fn default_percent() -> u8 {
    50
}

/// What to do about the deletion of an object that holds something.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Contents {
    /// It needs an approval.
    #[default]
    Hold,
    /// It does not.
    Delete,
}

fn default_timeout() -> Duration {
    std::time::Duration::from_secs(5 * 60).into()
}

fn default_interval() -> Duration {
    std::time::Duration::from_secs(60 * 60).into()
}

/// Durations as in Kubernetes (`30s`, `5m`, `1h30m`). The schema has the bound that CEL's cost estimate
/// requires, and a pattern, so that the API server refuses a typing error.
pub(super) fn duration_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
    })
}

/// Fields of some objects that others set.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredFields {
    /// The group of the objects' kind, such as `apps`. Without it, any group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,

    /// Their kind, such as `Deployment`. `*` matches any text, `?` one character.
    #[serde(default = "any")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,

    /// Their name, with `*` and `?` as above.
    #[serde(default = "any")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Their namespace, with `*` and `?` as above.
    #[serde(default = "any")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// The fields: `spec.replicas`, `webhooks[name=a].clientConfig.caBundle`, `metadata.annotations["a.b/c"]`,
    /// `spec.template.spec.containers[*].image`; or JSON pointers: `/spec/replicas`, `/webhooks/0/clientConfig/caBundle`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    pub fields: Vec<String>,
}

fn any() -> String {
    "*".to_owned()
}

/// A Sync of the same namespace that must be ready first.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
}

/// What to do about drift.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Mode {
    /// Undo it at once.
    #[default]
    Correct,
    /// Count and report it, but do not correct it. Commits are still applied: a commit's changes are
    /// written, a person's are not undone.
    Report,
}

/// What happens to the objects when their Sync is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// Delete them if `prune` is true, otherwise orphan them.
    #[default]
    MirrorPrune,
    /// Delete them.
    Delete,
    /// Keep them, without towline's label and annotations.
    Orphan,
}

/// The state of the Sync.
//
// Atomic: towline is the only writer, and the API server then keeps one owner for the whole status instead of one
// for each of its fields. That is a quarter of the work of a status write.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SyncStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Drifted` and `Healthy` once objects are known; `Reconciling` and `Stalled`
    /// only while true (kstatus).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The message of the condition `Ready`, on one line of at most 200 characters.
    #[serde(default)]
    pub summary: Option<String>,

    /// Since when `Ready` has its status and its reason. The `lastTransitionTime` of a condition is that of its status alone.
    #[serde(default)]
    pub reason_since: Option<Time>,

    /// `lastAppliedRevision` with the first 12 digits of the commit.
    #[serde(default)]
    pub short_revision: Option<String>,

    /// The last attempted revision: `<ref>@sha1:<commit>`.
    #[serde(default)]
    pub last_attempted_revision: Option<String>,

    /// The revision that the cluster now equals.
    #[serde(default)]
    pub last_applied_revision: Option<String>,

    /// The last revision that changed this path.
    #[serde(default)]
    pub last_changed_revision: Option<String>,

    /// The content that was tried last, and the revision that brought it.
    #[serde(default)]
    pub content: Option<DeliveredContent>,

    /// The revisions of the chart, if it is in another GitRepository (`spec.helm.chartRef`).
    #[serde(default)]
    pub chart: Option<ChartRevisions>,

    /// The revision that the Sync is pinned to (`towline pin`).
    #[serde(default)]
    pub pin: Option<PinStatus>,

    /// The remote bases that the live revision is made of (`spec.kustomize.remoteBases`). A commit that a tag had once
    /// stays, also after a restart.
    #[serde(default)]
    pub remote_bases: Vec<FetchedBase>,

    /// The number of objects in each state.
    #[serde(default)]
    pub objects: Option<ObjectCounts>,

    /// The first objects that could not be applied or pruned, or did not become healthy. `objects` has
    /// the total.
    #[serde(default)]
    pub failures: Vec<Failure>,

    /// What a person should know although the revision can be applied: templates that call `lookup`, values
    /// that were drawn at random, fields of kustomize that are deprecated. At most 20.
    #[serde(default)]
    pub warnings: Vec<String>,

    /// The `NOTES.txt` of the chart, where it has at most 2 KiB.
    #[serde(default)]
    pub notes: Option<String>,

    /// Objects that were made to run once and have, as Jobs. They are not made again for the same manifest when they
    /// are gone.
    #[serde(default)]
    #[schemars(length(max = 300))]
    pub finished: Vec<FinishedRun>,

    /// The first 4,096 Jobs that were made, each as a fingerprint of its name and manifest. A Job that was made and is
    /// gone, and that towline did not see go, is not made again for the same manifest.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub made_jobs: Vec<String>,

    /// What is known of the deletion of objects that left Git.
    #[serde(default)]
    pub prune: Option<PruneStatus>,

    /// The release of the chart, and how far its hooks are.
    #[serde(default)]
    pub release: Option<ChartRelease>,

    /// When the revision was committed, observed, applied and converged.
    #[serde(default)]
    pub times: Option<SyncTimes>,

    /// The last revisions that changed this path, newest first.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,

    /// The last revisions of which only a part could be applied, newest first: what they changed is live, unless a later
    /// revision changed it again. `applied` is when the first object was.
    #[serde(default)]
    pub unfinished: Vec<HistoryEntry>,

    /// The first change that failed and is not made good yet: the Sync has not been converged and healthy since.
    #[serde(default)]
    pub failed_change: Option<FailedChange>,

    /// The kinds of the Sync's present and former objects: `Kind.group`. They are also in the annotation
    /// `applyset.kubernetes.io/contains-group-kinds`, which is restored from here if somebody removes it.
    #[serde(default)]
    pub kinds: Vec<String>,

    /// The last `towline.dev/requested-at` that was handled.
    #[serde(default)]
    pub last_handled_reconcile_at: Option<String>,
}

/// The content that was tried last, and the revision that brought it. A revision that changes nothing for a Sync brings
/// no content.
//
// A digest that is none is written as null. Otherwise a merge patch would keep the one before.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveredContent {
    /// `<ref>@sha1:<commit>`. Commit statuses are about this commit.
    pub revision: String,
    /// What identifies the objects. None if the content cannot be used.
    pub digest: Option<String>,
    /// Whether the cluster has been equal to it and, with `wait`, healthy.
    pub live: bool,
    /// Since when, if it is known.
    pub live_since: Option<Time>,
    /// When its trace ended with a failure. None without traces.
    pub failed: Option<Time>,
}

/// A revision that a Sync is pinned to, and the one that it was pinned away from.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PinStatus {
    /// `<ref>@sha1:<commit>`, a revision of the history.
    pub revision: String,
    /// The revision of the chart, if it is in another GitRepository.
    pub chart_revision: Option<String>,
    /// The revision that the Sync was pinned away from. Commit statuses tell of its failure.
    pub away: Option<String>,
    /// What identifies the objects of that revision. None while they are not known. Another content ends the pin.
    pub away_digest: Option<String>,
    /// The newest revision that was found to bring nothing but that content.
    pub seen: Option<String>,
    /// Whether the pin stays until somebody ends it.
    pub hold: bool,
}

/// The revisions of a chart that is in another GitRepository.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartRevisions {
    /// The GitRepository.
    pub source: String,
    /// Its last attempted revision.
    pub last_attempted_revision: Option<String>,
    /// Its revision that the cluster now equals, together with the Sync's own `lastAppliedRevision`.
    pub last_applied_revision: Option<String>,
}

/// A remote base of a kustomization.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct FetchedBase {
    /// The URL of its repository.
    pub url: String,
    /// Its tag, or its commit.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit that is used.
    pub commit: String,
}

/// The number of objects in each state.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectCounts {
    /// Objects in Git.
    pub desired: u32,
    /// Of those, the objects that are applied as in Git.
    pub applied: u32,
    /// Of those, the objects that others have changed since.
    pub drifted: u32,
    /// Of those, the objects that are not healthy by kstatus' rules.
    pub unhealthy: u32,
    /// Of those, the objects that wait until their kind is served.
    pub waiting: u32,
    /// Of those, the objects that the API server refused or that another Sync owns.
    pub failed: u32,
    /// Of those, the objects that an annotation (`reconcile: disabled`, `ssa: Ignore`) leaves as they are. They are
    /// neither applied nor drifted, and their health does not count.
    pub left_alone: u32,
    /// Objects of this Sync that left Git but still exist.
    pub unpruned: u32,
}

/// An object with a problem.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The object: `Kind.group namespace/name`.
    pub object: String,
    /// The file that declares it, and the patches or values that it is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why, from the closed set of condition reasons.
    pub reason: String,
    /// The cause, in the API server's own words if there are any.
    pub message: String,
}

/// What is known of the deletion of objects that left Git.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneStatus {
    /// The number of objects that the Sync had when its last revision was live. `spec.pruneLimit.percent` is a share of
    /// it.
    pub objects: Option<u32>,
    /// When the newest of those objects was created.
    pub newest: Option<Time>,
    /// The deletion that waits for an approval, or that was approved and is under way.
    pub held: Option<HeldPrune>,
    /// Objects that left Git and stay, since something has taken towline's marks off them: `Kind.group namespace/name`. The
    /// first 50.
    pub left_behind: Vec<String>,
}

/// A deletion that needs an approval.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeldPrune {
    /// The SHA-256 of exactly this deletion. The annotation `towline.dev/approve-prune` with this value approves it.
    pub digest: String,
    /// The number of objects that would be deleted.
    pub deletes: u32,
    /// The number of objects that they are a share of.
    pub of: u32,
    /// How many of which kinds: `8 Deployment.apps`. The most come first.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Why it needs an approval.
    #[serde(default)]
    pub because: Vec<String>,
    /// The SHA-256 of what stays. An approval that is carried out in part still holds while this is the same.
    #[serde(default)]
    pub keeps: String,
}

/// An object that has run to its end.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FinishedRun {
    /// The object: `Kind.group namespace/name`.
    pub object: String,
    /// The digest of the manifest that it ran.
    pub digest: String,
}

/// The times of a revision, from its author to the cluster.
//
// A time that is none is written as null. Otherwise a merge patch would keep the last revision's time.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncTimes {
    /// When the commit was made, by its committer's clock.
    pub committed: Option<Time>,
    /// When towline first saw it.
    pub observed: Option<Time>,
    /// When its last object was applied.
    pub applied: Option<Time>,
    /// When the cluster was found equal to it and, with `wait`, healthy.
    pub converged: Option<Time>,
}

/// A revision that changed this path.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// `<ref>@sha1:<commit>`.
    pub revision: String,
    /// The revision of the chart, if it is in another GitRepository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_revision: Option<String>,
    /// The author of the commit. With a chart of another GitRepository, of the one of both commits that came last.
    #[serde(default)]
    pub author: String,
    /// The first line of that commit's message, as far as it has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the commit was made, by its committer's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Time>,
    /// When it was applied.
    pub applied: Time,
    /// When the cluster was found equal to it and, with `wait`, healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged: Option<Time>,
    /// Whether a pin brought it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What identifies its objects. A later revision with the objects of an earlier one takes back what is between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why it counts as a failed change: `Reverted`, `PinnedAway`, `Unhealthy` or `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether objects had failed before it, so that their health says nothing about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unhealthy_before: bool,
    /// Objects created by it.
    #[serde(default)]
    pub created: u32,
    /// Objects changed or taken over by it.
    pub changed: u32,
    /// Objects pruned by it.
    pub pruned: u32,
    /// Objects that others changed, and that were corrected while this revision was applied.
    #[serde(default)]
    pub healed: u32,
    /// The first objects that it created, changed or pruned: `created ConfigMap prod/shop`.
    #[serde(default)]
    pub objects: Vec<String>,
}

impl HistoryEntry {
    /// Whether its commit is older than that of `before`, which it replaced: somebody has reset the branch. The commit may be
    /// of any age, so the time since then says nothing.
    pub(crate) fn is_older_than(&self, before: &Self) -> bool {
        let times = self.committed.as_ref().zip(before.committed.as_ref());
        times.is_some_and(|(own, before)| own.0 < before.0)
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{GitRepository, GitRepositoryStatus, ReleaseRecord, RunningHook};

    /// The fields of `schema` that `written` leaves out. Lists are written whole.
    fn left_out(schema: &Value, written: &Value, path: &str) -> Vec<String> {
        let fields = schema["properties"].as_object().into_iter().flatten();
        fields
            .flat_map(|(name, schema)| match written.get(name) {
                None => vec![format!("{path}.{name}")],
                Some(inner) => left_out(schema, inner, &format!("{path}.{name}")),
            })
            .collect()
    }

    /// A status is a merge patch: a field that it leaves out would keep its value.
    #[test]
    fn fields_without_a_value_are_removed() {
        let sync = SyncStatus {
            chart: Some(ChartRevisions::default()),
            objects: Some(ObjectCounts::default()),
            content: Some(DeliveredContent::default()),
            pin: Some(PinStatus::default()),
            times: Some(SyncTimes::default()),
            failed_change: Some(FailedChange {
                revision: String::new(),
                cause: String::new(),
                since: Time(jiff::Timestamp::UNIX_EPOCH),
                digest: None,
            }),
            prune: Some(PruneStatus {
                held: Some(HeldPrune::default()),
                ..PruneStatus::default()
            }),
            release: Some(ChartRelease {
                running: Some(RunningHook {
                    object: String::new(),
                    since: Time(jiff::Timestamp::UNIX_EPOCH),
                    made: false,
                    uid: None,
                }),
                record: Some(ReleaseRecord::default()),
                ..ChartRelease::default()
            }),
            ..SyncStatus::default()
        };
        for (definition, written) in [
            (Sync::crd(), json!(sync)),
            (GitRepository::crd(), json!(GitRepositoryStatus::default())),
        ] {
            let definition = json!(definition);
            let version = &definition["spec"]["versions"][0];
            let schema = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
            assert!(schema["properties"]["conditions"].is_object());
            let left = left_out(schema, &written, "status");
            assert!(left.is_empty(), "{left:?}");
        }
    }
}
