//! Which release the content of a chart is, and what the first one takes over.

use super::PATIENCE;
use crate::api::SyncStatus;
use crate::cluster::WriteError;
use crate::desired::{Desired, Release, ReleaseNumber, Releases};
use crate::intent::SyncIntent;
use crate::plan::installed_by_helm;
use crate::sync::Driver;
use crate::sync::state::State;
use crate::sync::target::TargetError;

/// Which release the next content of a chart is, as far as a Sync's status says.
pub fn releases(status: &SyncStatus) -> Releases {
    let is_upgrade = status.last_applied_revision.is_some();
    let last = status.release.as_ref().map(|last| Release {
        number: ReleaseNumber {
            revision: last.revision,
            is_upgrade: last.upgrade,
        },
        content: last.content.clone(),
    });
    let revision = match &last {
        Some(last) => last.number.revision.saturating_add(1),
        None => 1 + u32::from(is_upgrade),
    };
    let next = ReleaseNumber {
        revision,
        is_upgrade,
    };
    Releases { last, next }
}

impl Driver {
    /// Which release a chart's content may be.
    pub(in crate::sync) fn releases(&self, revision: &str) -> Releases {
        let State {
            report, release, ..
        } = &self.state;
        match &release.takes_over {
            _ if report.status.release.is_some() => releases(&report.status),
            Some(Some(next)) => Releases {
                last: None,
                next: *next,
            },
            // A chart without hooks that a towline applied which did not count releases.
            _ if report.is_restored(revision) => Releases::default(),
            _ => releases(&report.status),
        }
    }

    /// Whether the first release of a chart takes over what is installed already, which was not known before: a
    /// release of Helm, or objects of this Sync, whose status was lost.
    ///
    /// Where the account may not list Secrets, none is known, and no object that Helm's hooks have made is replaced.
    pub(in crate::sync) async fn takes_over(
        &mut self,
        intent: &SyncIntent,
        desired: &Desired,
    ) -> Result<bool, TargetError> {
        let status = &self.state.report.status;
        let is_first = status.release.is_none() && status.last_applied_revision.is_none();
        if desired.release().is_none() || !is_first || self.state.release.takes_over.is_some() {
            return Ok(false);
        }
        if self.has_objects().await {
            self.state.release.takes_over = Some(Some(ReleaseNumber {
                revision: 2,
                is_upgrade: true,
            }));
            return Ok(true);
        }
        let helm = &intent.render.helm;
        let (namespace, release) = (&helm.release_namespace, &helm.release_name);
        // Nothing will be applied there, so nothing is read there either.
        if self.record_misplaced(intent).is_some() {
            return Ok(false);
        }
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let records = match acting.helm_records(namespace, release).await {
            Ok(records) => records,
            Err(WriteError::Refused { code: 403, .. }) => Vec::new(),
            Err(error) => {
                return Err(TargetError::HelmUnread {
                    release: release.clone(),
                    why: crate::chain(&error),
                });
            }
        };
        let installed = installed_by_helm(&records).map_err(TargetError::HelmAtWork)?;
        let found = installed.map(|(last, is_upgrade)| ReleaseNumber {
            revision: last.saturating_add(1),
            is_upgrade,
        });
        self.state.release.takes_over = Some(found);
        if let Some(ReleaseNumber { revision, .. }) = found {
            tracing::info!(sync = %self.name, release, revision, "takes over a release of Helm");
        }
        Ok(found.is_some())
    }

    /// Whether this Sync has objects in the cluster. Waits until those of its kinds are known.
    async fn has_objects(&self) -> bool {
        let cluster = &self.context.cluster;
        for kind in &self.state.parent.contained {
            if let Some(served) = cluster.kinds.preferred(kind)
                && let Err(error) = cluster.watched(&served, PATIENCE).await
            {
                tracing::debug!(sync = %self.name, %kind, error, "list");
            }
        }
        let (inventory, sync) = (&cluster.inventory, &self.name);
        let owned = inventory.owned(sync);
        let mut owned = owned.iter();
        owned.any(|(key, observed)| inventory.is_proven(sync, key, observed))
    }
}
