//! The Sync as the parent of its ApplySet (KEP-3659): finalizer, id, tooling, and the kinds of its
//! members. A kind is written before its first object. So no object is ever applied without a record,
//! even if the operator is killed at any point.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMetaExt as _;
use tokio::time::Instant;

use crate::api::{FINALIZER, Sync};
use crate::driver::is_gone;
use crate::manifest::GroupKind;
use crate::plan::{CONTAINS, PARENT_ID, TOOLING, contains};
use crate::sync::Driver;
use crate::sync::memory::CorrectionBackoff;

/// The field manager of these labels and annotations. A Sync may itself be a managed object, whose fields
/// another manager owns.
const PARENT_MANAGER: &str = "towline-parent";

/// The first pause before marks that could not be written are written again.
const RETRY: Duration = Duration::from_secs(1);

impl Driver {
    /// Makes sure that the Sync has its labels and annotations, and names at least `kinds`.
    pub(super) async fn mark(&mut self, kinds: &BTreeSet<GroupKind>) -> Result<(), kube::Error> {
        let id = self.name.applyset_id();
        let marks = self.inbox.marks();
        self.state.parent.marked |= marks.are_complete(&id, &self.state.parent.contained);
        if self.state.parent.marked && kinds.is_subset(&self.state.parent.contained) {
            return Ok(());
        }
        let all = self.state.parent.contained.union(kinds).cloned().collect();
        self.write_marks(Some(all)).await
    }

    /// Writes again what somebody took off, whatever else the Sync waits for.
    pub(in crate::sync) async fn keep_marks(&mut self) {
        let (marks, version) = (self.inbox.marks(), self.inbox.version());
        let parent = &self.state.parent;
        let are_due = parent.marked || !parent.contained.is_empty();
        // The watch may not have delivered the last write yet.
        if !are_due
            || version < parent.version
            || marks.are_complete(&self.name.applyset_id(), &parent.contained)
        {
            return;
        }
        let now = Instant::now();
        let next = parent.restored.as_ref().map(CorrectionBackoff::next);
        if let Some(at) = next.filter(|at| *at > now) {
            // Somebody takes them off again and again.
            self.state.timers.marks = Some(at);
            return;
        }
        tracing::info!(sync = %self.name, "finalizer, labels or annotations were taken off the Sync; writing them again");
        let kinds = self.state.parent.contained.clone();
        let again = CorrectionBackoff::again(parent.restored.as_ref(), now);
        self.state.parent.restored = Some(again);
        match self.write_marks(Some(kinds)).await {
            Ok(()) => (),
            // If it was deleted, or made anew, the watch says so before that.
            Err(error) => {
                self.state.timers.marks = Some(again.next().max(now + RETRY));
                tracing::warn!(sync = %self.name, error = crate::chain(&error), "writing the marks of a Sync");
            }
        }
    }

    /// Names exactly `kinds`, after a prune has removed the last object of other kinds.
    pub(super) async fn narrow(&mut self, kinds: BTreeSet<GroupKind>) -> Result<(), kube::Error> {
        if kinds == self.state.parent.contained {
            return Ok(());
        }
        self.write_marks(Some(kinds)).await
    }

    /// Removes the finalizer, the labels and the annotations, so that the API server deletes the Sync.
    pub(super) async fn unmark(&mut self) -> Result<(), kube::Error> {
        self.write_marks(None).await
    }

    async fn write_marks(&mut self, kinds: Option<BTreeSet<GroupKind>>) -> Result<(), kube::Error> {
        let mut meta = kube::api::ObjectMeta::default();
        if let Some(kinds) = &kinds {
            let tooling = format!("towline/v{}", env!("CARGO_PKG_VERSION"));
            meta.finalizers = Some(vec![FINALIZER.to_owned()]);
            meta.labels = Some([(PARENT_ID.to_owned(), self.name.applyset_id())].into());
            meta.annotations = Some(
                [
                    (TOOLING.to_owned(), tooling),
                    (CONTAINS.to_owned(), contains(kinds.iter())),
                ]
                .into(),
            );
        }
        // An apply without the uid would create a deleted Sync again.
        meta.uid = self.inbox.uid();
        let uid = meta.uid.clone();
        let api: Api<Sync> = Api::namespaced(self.context.client.clone(), &self.name.namespace);
        let params = PatchParams::apply(PARENT_MANAGER).force();
        let patch = Patch::Apply(meta.into_request_partial::<Sync>());
        match api.patch_metadata(&self.name.name, &params, &patch).await {
            // If the object with this uid is gone, the apply is a conflict.
            Err(error)
                if kinds.is_none()
                    && is_gone(&api, &self.name.name, uid.as_deref(), &error).await =>
            {
                Ok(())
            }
            answer => {
                let written = answer?.metadata.resource_version;
                let parent = &mut self.state.parent;
                parent.marked = kinds.is_some();
                parent.version = written.and_then(|is| is.parse().ok()).unwrap_or_default();
                parent.contained = kinds.unwrap_or_default();
                Ok(())
            }
        }
    }
}
