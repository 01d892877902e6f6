//! The Sync as the parent of its ApplySet (KEP-3659): finalizer, id, tooling, and the kinds of its
//! members. A kind is written before its first object. So no object is ever applied without a record,
//! even if the operator is killed at any point.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMetaExt as _;

use crate::api::{FINALIZER, Sync};
use crate::driver::is_gone;
use crate::manifest::GroupKind;
use crate::plan::{CONTAINS, PARENT_ID, TOOLING, contains};
use crate::sync::Driver;

/// The field manager of these labels and annotations. A Sync may itself be a managed object, whose fields
/// another manager owns.
const PARENT_MANAGER: &str = "towline-parent";

impl Driver {
    /// Makes sure that the Sync has its labels and annotations, and names at least `kinds`.
    pub(super) async fn mark(&mut self, kinds: &BTreeSet<GroupKind>) -> Result<(), kube::Error> {
        let id = self.name.applyset_id();
        self.state.parent.marked = self.state.parent.marked || self.inbox.is_marked(&id);
        if self.state.parent.marked && kinds.is_subset(&self.state.parent.contained) {
            return Ok(());
        }
        let all = self.state.parent.contained.union(kinds).cloned().collect();
        self.write_marks(Some(all)).await
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
        let api: Api<Sync> = Api::namespaced(self.context.client.clone(), &self.name.namespace);
        let params = PatchParams::apply(PARENT_MANAGER).force();
        let patch = Patch::Apply(meta.into_request_partial::<Sync>());
        match api.patch_metadata(&self.name.name, &params, &patch).await {
            // If the object with this uid is gone, the apply is a conflict.
            Err(error) if kinds.is_none() && is_gone(&error) => Ok(()),
            answer => {
                answer?;
                self.state.parent.marked = kinds.is_some();
                self.state.parent.contained = kinds.unwrap_or_default();
                Ok(())
            }
        }
    }
}
