//! The custom resources `GitRepository`, `Sync`, `Alert` and `Provider`, group `towline.dev`, version `v1alpha1`.
//!
//! No other room names a field of the wire format. Status follows kstatus, as Flux does: `Ready` is
//! always present, `Reconciling` and `Stalled` only while they are true.

mod alert;
mod alert_intent;
mod brief;
mod change;
mod condition;
mod fit;
mod intent;
mod names;
mod provider;
mod release;
mod render;
mod repository;
mod schema;
mod secret_ref;
mod source_ref;
mod summary;
mod sync;
mod way_out;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use alert::{Alert, AlertSpec, AlertStatus, OpenProblem, ProviderRef};
pub use brief::{Abridged, Brief};
pub use change::{ChangeFailure, FailedChange};
pub use condition::{ConditionType, Reason, Verdict, ready, reason_since, set_conditions};
pub use fit::{STATUS_BUDGET, Status};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use kube::core::Duration;
pub use provider::{Provider, ProviderSpec, ProviderStatus, ProviderType};
pub use release::{ChartRelease, HookStage, ReleaseRecord, RunningHook};
pub use render::{
    CommonMetadata, Decryption, DecryptionProvider, Helm, Image, KeeperKind, Kustomize, LookupKind,
    Patch, PatchTarget, RemoteBases, Renderer, Substitute, SubstituteFrom, ValuesFrom,
};
pub use repository::{
    GitRef, GitRepository, GitRepositorySpec, GitRepositoryStatus, PullRequestMode,
    PullRequestPlans, Verification, VerificationMode, Webhook,
};
pub use secret_ref::SecretRef;
pub use source_ref::{ChartRef, SourceKind, SourceRef};
pub use summary::{short_commits, summary};
pub use sync::{
    ChartRevisions, Contents, DeletionPolicy, DeliveredContent, Dependency, Failure, FetchedBase,
    FinishedRun, HeldPrune, HistoryEntry, IgnoredFields, Mode, ObjectCounts, PinStatus, PruneLimit,
    PruneStatus, Sync, SyncSettings, SyncSpec, SyncStatus, SyncTimes,
};

/// The API group of towline's kinds, and the prefix of its annotations.
pub const GROUP: &str = "towline.dev";

/// Annotation that requests a reconcile now. Its value is copied to `status.lastHandledReconcileAt`.
pub const REQUESTED_AT: &str = "towline.dev/requested-at";

/// Annotation of a Sync that stands before its `spec.deletionPolicy`: `Orphan` lets a Sync go whose objects cannot be
/// deleted.
pub const DELETION_POLICY: &str = "towline.dev/deletion-policy";

/// Annotation of a Sync that approves a deletion: its value is the digest in `status.prune.held`.
pub const APPROVE_PRUNE: &str = "towline.dev/approve-prune";

/// Annotation of a Sync that names the environment of its deployments on a Git host.
pub const ENVIRONMENT: &str = "towline.dev/environment";

/// Annotation of a Sync with the URL where its objects run, for the environment of its deployments.
pub const ENVIRONMENT_URL: &str = "towline.dev/environment-url";

/// Annotations by which `towline suspend` records who suspended a resource, when, and why.
pub const SUSPENDED_BY: &str = "towline.dev/suspended-by";
/// See [`SUSPENDED_BY`].
pub const SUSPENDED_AT: &str = "towline.dev/suspended-at";
/// See [`SUSPENDED_BY`].
pub const SUSPEND_REASON: &str = "towline.dev/suspend-reason";

/// Annotations by which `towline resume` records who let a suspended resource go on, and when.
pub const RESUMED_BY: &str = "towline.dev/resumed-by";
/// See [`RESUMED_BY`].
pub const RESUMED_AT: &str = "towline.dev/resumed-at";

/// Annotation that holds a Sync at a revision of its `status.history`: `main@sha1:…`. An annotation, and no field of the
/// spec: a Sync that is itself applied from Git keeps it, since no manifest declares it.
pub const PIN: &str = "towline.dev/pin";
/// The revision of the chart that belongs to [`PIN`], if the chart is in another GitRepository.
pub const PIN_CHART: &str = "towline.dev/pin-chart";
/// The revision that the Sync was pinned away from. With it, the pin ends when a newer commit brings other content.
pub const PINNED_AWAY: &str = "towline.dev/pinned-away";
/// `true`: the pin stays until somebody ends it.
pub const PIN_HOLD: &str = "towline.dev/pin-hold";
/// Annotations by which `towline pin` records who pinned a Sync, when, and why.
pub const PINNED_BY: &str = "towline.dev/pinned-by";
/// See [`PINNED_BY`].
pub const PINNED_AT: &str = "towline.dev/pinned-at";
/// See [`PINNED_BY`].
pub const PIN_REASON: &str = "towline.dev/pin-reason";

/// The annotations by which people ask something of a driver.
pub const REQUESTS: [&str; 9] = [
    REQUESTED_AT,
    APPROVE_PRUNE,
    DELETION_POLICY,
    PIN,
    PIN_CHART,
    PINNED_AWAY,
    PIN_HOLD,
    PINNED_BY,
    PIN_REASON,
];

/// Annotations that record who ended a pin, and when: a person, or towline for a commit.
pub const UNPINNED_BY: &str = "towline.dev/unpinned-by";
/// See [`UNPINNED_BY`].
pub const UNPINNED_AT: &str = "towline.dev/unpinned-at";

/// The field manager of everything that towline writes.
pub const FIELD_MANAGER: &str = "towline";

/// The finalizer that keeps a deleted `Sync` until its deletion policy has been carried out.
pub const FINALIZER: &str = "towline.dev/sync";

/// The custom resource definitions, in the order in which they are written to `crds/`.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        Alert::crd(),
        GitRepository::crd(),
        Provider::crd(),
        Sync::crd(),
    ];
    for crd in &mut crds {
        let versions = crd.spec.versions.iter_mut();
        let schemas = versions.filter_map(|version| version.schema.as_mut());
        schemas
            .filter_map(|schema| schema.open_api_v3_schema.as_mut())
            .for_each(|schema| {
                schema::use_known_formats(schema);
                schema::forbid_nulls(schema);
            });
    }
    crds
}
