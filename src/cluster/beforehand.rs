//! Changes of a live object that come before an apply, so that the apply does what Git says: of `managedFields`, which
//! say what is whose, and of what a manifest empties.

use http::{Request, header};
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use serde_json::Value;

use super::ServedKind;
use super::refused::{Causes, WriteError};
use super::write::{METADATA, REHEARSED, Wanted, Writer, path, read};
use crate::api::FIELD_MANAGER;
use crate::manifest::{GroupVersionKind, ObjectKey};
use crate::plan::{
    DIGEST, EMPTIER, Share, emptied, emptying, filled, is_typed, may_leave, reshaped,
};

/// How often what a manifest empties is looked for, while others write the object.
const TRIES: usize = 5;

impl Writer<'_> {
    /// Makes empty what `body` empties, if all of it is accepted otherwise. Returns whether that changed the object. An apply
    /// without it would leave the defaults for good: it gives up the fields by which we know that they were meant.
    pub(super) async fn empty_out(
        &self,
        wanted: &Wanted<'_>,
        body: &[u8],
    ) -> Result<bool, WriteError> {
        if !may_empty(wanted) {
            return Ok(false);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for _ in 0..TRIES {
            let Some(live) = self.live(wanted).await? else {
                return Ok(false);
            };
            // A refusal of the trial is told without what is live.
            wanted.live.keep(live.clone());
            match self.empty_out_of(wanted, &live, &body).await? {
                Some(true) => return Ok(true),
                Some(false) => {
                    wanted.live.keep(live);
                    return Ok(false);
                }
                // It is out of date.
                None => drop(wanted.live.take()),
            }
        }
        Err(WriteError::Refused {
            code: 409,
            message: "others write the object all the time, so that what Git empties cannot be removed; it is tried again"
                .to_owned(),
            causes: Causes::default(),
        })
    }

    /// Removes what Git empties from one version of the live object. None if somebody wrote another version meanwhile.
    async fn empty_out_of(
        &self,
        wanted: &Wanted<'_>,
        live: &Value,
        body: &Value,
    ) -> Result<Option<bool>, WriteError> {
        let version = live["metadata"]["resourceVersion"].as_str();
        let (Some(share), Some(version)) = (share_of(live, wanted), version) else {
            return Ok(Some(false));
        };
        let places = emptied(live, body, &share);
        if places.is_empty() {
            return Ok(Some(false));
        }
        // A manifest that is refused must not be applied in part.
        let trial = filled(body.clone(), live, &places).to_string().into_bytes();
        let written = match self.try_out(wanted, trial).await {
            Ok(()) => {
                let patch = emptying(&places, version);
                self.patch_live(wanted, &patch, EMPTIER).await
            }
            Err(error) => Err(error),
        };
        match written {
            // The apply says why, and resolves what can be resolved.
            Err(WriteError::Refused { .. }) => Ok(Some(false)),
            Ok(meta) => Ok(meta.map(|meta| meta.resource_version.as_deref() != Some(version))),
            Err(error) => Err(error),
        }
    }

    /// Has our entry name what leaves the object, where the definition of its kind has changed the type of a list or a map
    /// since the last apply. The apply would leave it for good.
    pub(super) async fn reshape(&self, wanted: &Wanted<'_>) -> Result<(), WriteError> {
        let body: Value = serde_json::from_slice(wanted.body).unwrap_or_default();
        if !may_reshape(wanted, &body) {
            return Ok(());
        }
        let live = match self.live(wanted).await {
            // An account that may write an object need not be able to read it.
            Err(error) if error.is_denied() => return Ok(()),
            live => live?,
        };
        let Some(live) = live else {
            return Ok(());
        };
        let share = share_of(&live, wanted).filter(|share| may_leave(&live, &body, share));
        let Some(mut share) = share else {
            wanted.live.keep(live);
            return Ok(());
        };
        wanted.live.keep(live.clone());
        let tried = self
            .send_apply(REHEARSED, METADATA, wanted, wanted.body)
            .await;
        let after = match tried {
            Ok(answer) => {
                let object: PartialObjectMeta<DynamicObject> = read(&answer.text)?;
                Share::of(&object.metadata, &wanted.served.resource.api_version)
            }
            // The apply says why.
            Err(WriteError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(fields) = after.and_then(|after| reshaped(&live, &share, &after)) {
            share.claim(&fields);
            self.write_share(wanted, &share).await?;
        }
        Ok(())
    }

    /// Waits until the API server's own copy of a Service is as new as its storage. For an object of another kind, nothing
    /// is done.
    ///
    /// An update begins with that copy, and takes the node ports for it. Where the copy turns out to be old, the update begins
    /// again, and is refused: its own first attempt has the port, and nobody has it for minutes (`Store.Update` of
    /// Kubernetes ends an attempt before it is written). So what was written a moment ago is not written again at once.
    ///
    /// If it cannot be read, the next write goes on without: it says itself what is wrong.
    pub(super) async fn catch_up(&self, served: &ServedKind, key: &ObjectKey) {
        if !key.kind.group.is_empty() || &*key.kind.kind != "Service" {
            return;
        }
        let Ok(Some(live)) = self.metadata(served, key).await else {
            return;
        };
        let Some(version) = live.resource_version else {
            return;
        };
        let uri = format!("{}?resourceVersion={version}", path(served, key));
        let copy = self.send(key, &[], || {
            Request::get(&uri)
                .header(header::ACCEPT, METADATA)
                .body(Vec::new())
        });
        let _ = copy.await;
    }

    /// Brings entries of versions that are not served any longer into the version that Git has: the server would
    /// forget them, and with them which fields were ours.
    pub(super) async fn leave_version(
        &self,
        wanted: &Wanted<'_>,
        is_served: &impl Fn(&GroupVersionKind) -> bool,
    ) -> Result<(), WriteError> {
        let Some(live) = self.whole(wanted.served, wanted.key).await? else {
            return Ok(());
        };
        if let Some(mut share) = share_of(&live, wanted) {
            let kind = &wanted.key.kind.kind;
            share.relabel(|version| {
                GroupVersionKind::parse(version, kind).is_some_and(|gvk| !is_served(&gvk))
            });
            self.write_share(wanted, &share).await?;
        }
        Ok(())
    }

    /// The same for an object of which an older state is known.
    pub(super) async fn rewrite_share(
        &self,
        wanted: &Wanted<'_>,
        share: &Share,
    ) -> Result<bool, WriteError> {
        let live = self.whole(wanted.served, wanted.key).await?;
        let Some(version) = live
            .as_ref()
            .and_then(|live| live["metadata"]["resourceVersion"].as_str())
        else {
            return Ok(false);
        };
        self.write_share(wanted, &share.at(version)).await
    }

    /// Writes `managedFields`, and no value. False if there is nothing to write, or if somebody wrote the object
    /// meanwhile: its watch event brings us back.
    pub(super) async fn write_share(
        &self,
        wanted: &Wanted<'_>,
        share: &Share,
    ) -> Result<bool, WriteError> {
        Ok(self.patch_share(wanted, share).await?.is_some())
    }

    /// The same; the object's metadata after that.
    pub(super) async fn patch_share(
        &self,
        wanted: &Wanted<'_>,
        share: &Share,
    ) -> Result<Option<ObjectMeta>, WriteError> {
        match share.patch() {
            Some(patch) => self.patch_live(wanted, &patch, FIELD_MANAGER).await,
            None => Ok(None),
        }
    }

    /// Changes an object by a JSON patch. None if somebody wrote the object meanwhile.
    pub(super) async fn patch_live(
        &self,
        wanted: &Wanted<'_>,
        patch: &Value,
        manager: &str,
    ) -> Result<Option<ObjectMeta>, WriteError> {
        let uri = format!("{}?fieldManager={manager}", path(wanted.served, wanted.key));
        let patch = patch.to_string();
        let answer = self
            .send(wanted.key, &[], || {
                Request::patch(&uri)
                    .header(header::CONTENT_TYPE, "application/json-patch+json")
                    .header(header::ACCEPT, METADATA)
                    .body(patch.clone().into_bytes())
            })
            .await;
        match self.without_live(wanted.served, wanted.key, answer).await {
            Ok(answer) => {
                let object: PartialObjectMeta<DynamicObject> = read(&answer.text)?;
                Ok(Some(object.metadata))
            }
            Err(WriteError::Refused { code: 409, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn share_of(live: &Value, wanted: &Wanted<'_>) -> Option<Share> {
    let meta = serde_json::from_value(live.get("metadata")?.clone()).ok()?;
    Share::of(&meta, &wanted.served.resource.api_version)
}

/// Whether an object may have lists and maps of another type than at its last apply: only definitions change them, and only what
/// has left the manifest matters.
fn may_reshape(wanted: &Wanted<'_>, body: &Value) -> bool {
    let digest = body["metadata"]["annotations"][DIGEST].as_str();
    let known = wanted.known.filter(|_| !is_typed(wanted.key));
    known.is_some_and(|known| known.digest.as_deref() != digest)
}

/// Whether the apply of a manifest may have to empty something. Kubernetes' own kinds cannot tell that from its absence.
fn may_empty(wanted: &Wanted<'_>) -> bool {
    let has = |text: &[u8]| wanted.body.windows(text.len()).any(|found| found == text);
    !is_typed(wanted.key) && (has(b":null") || has(b":{}"))
}
