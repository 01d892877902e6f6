//! Replaces an object that cannot be changed, where that is asked for.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::apply::{Done, Object};
use crate::api::REQUESTED_AT;
use crate::cluster::{Applying, WriteError};
use crate::desired::Item;
use crate::intent::SyncIntent;
use crate::manifest::{Digest, GroupKind, Manifest, ObjectKey};
use crate::plan::{
    Contest, Observed, Refusal, contested, exclusive, restorable, stamped, without_exclusive,
};
use crate::sync::job::Barred;
use crate::sync::memory::Trouble;

/// How long the old object may take to go before the new one is left to a later round, and how often is looked.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);

/// Kinds with data or other objects in them: only their own annotation allows that they are deleted.
const PRECIOUS: [(&str, &str); 5] = [
    ("", "PersistentVolumeClaim"),
    ("", "PersistentVolume"),
    ("", "Namespace"),
    ("apps", "StatefulSet"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// Whether an object may be deleted and made again where a change of it is refused since a field is immutable.
/// `live` is the object as it is now.
pub(super) fn may_be(intent: &SyncIntent, item: &Item, live: Option<&Observed>) -> bool {
    item.modes.may_be_replaced() || intent.force && !is_spared(item, live)
}

/// Whether `spec.force` is not enough: the object may hold data, or an annotation says that it is not to be deleted.
fn is_spared(item: &Item, live: Option<&Observed>) -> bool {
    let is_kept = item.modes.is_kept() || live.is_some_and(|live| live.modes.is_kept());
    is_kept || is_precious(&item.key.kind)
}

fn is_precious(kind: &GroupKind) -> bool {
    PRECIOUS.contains(&(&*kind.group, &*kind.kind))
}

impl Object<'_> {
    /// Deletes the object and makes it again as Git has it, if that is allowed. `refused` is why it cannot be changed.
    pub(super) async fn replace(
        &self,
        manifest: Manifest,
        refused: WriteError,
    ) -> Result<Done, WriteError> {
        let key = &self.job.item.key;
        let barred = self.barred(&manifest).await;
        if !self.may_be_replaced {
            let is_spared = is_spared(&self.job.item, self.job.before.as_ref());
            let mut advice = advice(is_spared).to_owned();
            if let Some(Barred { words, .. }) = barred {
                advice = format!(
                    "{advice}; {words}, and only its deletion ends that, so allow the same for it"
                );
            }
            return Ok(Done::Troubled(told(&refused, &advice)));
        }
        // Each try is an outage of what the object does.
        if let Some(why) = &self.job.replaced_in_vain {
            return Ok(Done::Troubled(told(&refused, why)));
        }
        let (inventory, owner) = (&self.cluster.inventory, self.seal.sync());
        let ours = self.job.before.as_ref();
        let ours = ours.filter(|before| inventory.is_proven(owner, key, before));
        let Some(before) = ours else {
            let why = "towline does not replace it, since somebody else has made it: delete it, and towline makes it \
                       again";
            return Ok(Done::Troubled(told(&refused, why)));
        };
        let Some(old) = self.acting.live(self.served, key).await? else {
            return self.create(manifest).await;
        };
        // Of an address, a dry run does not say that another object has it.
        if let Some(barred) = barred {
            let why = format!(
                "it is not replaced, since {}, and only its deletion ends that: if Git gives it another address, \
                 annotate its manifest with towline.dev/force: enabled as well",
                barred.words
            );
            return Ok(Done::Barred(told(&refused, &why), barred));
        }
        // The new object has to be one that the API server takes, before the old one goes.
        if let Err(error) = self.rehearse_create(&manifest, &old).await {
            let words = format!("a new one would be refused as well: {error}");
            let trouble = told(&refused, &format!("it is not replaced, since {words}"));
            // Another Service of the commit may give up the port.
            let refusal = error.refusal().filter(|_| error.is_only_allocated());
            return Ok(match refusal {
                Some(refusal) => Done::Barred(trouble, Barred { refusal, words }),
                None => Done::Troubled(trouble),
            });
        }
        self.cluster.outlive(std::iter::once(before)).await;
        self.acting.delete(key, &before.uid).await?;
        if !self.is_gone(before).await {
            let why = "its deletion, which replaces it, waits for what holds the old object; a new one is made after \
                       that";
            return Ok(Done::Troubled(told(&refused, why)));
        }
        let error = match self.create(manifest).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let why = match self.restore(old, before).await {
            Ok(()) => format!("a new object was refused, so the old one was made again: {error}"),
            Err(lost) => format!(
                "a new object was refused: {error}; nor could the old one be made again: {lost}"
            ),
        };
        let why = format!(
            "{why}; this is tried again with another manifest, or when the Sync's annotation {REQUESTED_AT} changes"
        );
        Ok(Done::ReplacedInVain(told(&refused, &why), why.into()))
    }

    /// The other Service that has the address which this one is to get.
    pub(super) async fn barred(&self, manifest: &Manifest) -> Option<Barred> {
        let key = &self.job.item.key;
        let address = address(key, &manifest.body)?;
        let holder = self.acting.with_address(self.served, key, &address).await?;
        let words = match holder.namespace == key.namespace {
            true => format!("{holder} has the address {address}"),
            false => format!("a Service of another namespace has the address {address}"),
        };
        let refusal = Refusal {
            said: format!("{address} is already allocated"),
            ..Refusal::default()
        };
        Some(Barred { refusal, words })
    }

    /// Tries out whether a new object would be taken once the old one is gone.
    pub(super) async fn rehearse_create(
        &self,
        manifest: &Manifest,
        old: &Value,
    ) -> Result<(), WriteError> {
        let (key, body) = (&self.job.item.key, self.whole.as_ref().unwrap_or(manifest));
        let mut body = body.clone();
        if key.kind == GroupKind::new("", "Service") {
            // Of several values that are taken, the API server names the first one only.
            body.body = without_exclusive(&body.body, &exclusive(old));
        }
        let sent = stamped(body.clone(), &self.seal, &self.job.item.digest, None);
        let tried = self
            .acting
            .rehearse_create(self.served, &self.seal, &sent)
            .await;
        // A port or address that the old object holds is free then. One that another object holds is not.
        let is_own = |error: &WriteError| {
            let refusal = error.refusal().filter(|_| error.is_only_allocated());
            refusal
                .is_some_and(|refusal| contested(&refusal, (key, &body.body), (key, old)).is_some())
        };
        match tried {
            Err(error) if is_own(&error) => Ok(()),
            tried => tried,
        }
    }

    async fn create(&self, manifest: Manifest) -> Result<Done, WriteError> {
        let mut contest = Contest::default();
        let applied = self.send(&mut contest, manifest, Applying::Whole).await?;
        Ok(Done::Applied {
            applied: Box::new(applied),
            contest,
            left: Vec::new(),
            replaced: true,
        })
    }

    /// Waits until the object with this uid is gone.
    pub(super) async fn is_gone(&self, before: &Observed) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let seen = self.cluster.inventory.get(&self.job.item.key);
            if seen.is_none_or(|seen| seen.uid != before.uid) {
                return true;
            }
            tokio::time::sleep(STEP).await;
        }
        false
    }

    /// Makes the old object again.
    pub(super) async fn restore(&self, old: Value, before: &Observed) -> Result<(), String> {
        let mut manifests =
            Manifest::from_value(restorable(old)).map_err(|error| error.to_string())?;
        let manifest = manifests.pop().ok_or("it cannot be read")?;
        let digest = before
            .digest
            .as_deref()
            .and_then(|digest| digest.parse().ok());
        // Another digest than that of Git's manifest: the change is tried again.
        let digest = digest.unwrap_or_else(|| Digest::of(&manifest.body));
        let seal = self
            .cluster
            .inventory
            .seal(self.seal.sync(), &self.job.item.key);
        let body = stamped(manifest, &seal, &digest, None);
        let applied = self
            .acting
            .apply(self.served, &seal, &body, None, Applying::Whole);
        applied.await.map(drop).map_err(|error| error.to_string())
    }
}

/// The cluster IP that a Service is to get.
fn address(key: &ObjectKey, body: &Value) -> Option<String> {
    let text = body.pointer("/spec/clusterIP")?.as_str()?;
    let is_address = key.kind == GroupKind::new("", "Service") && !matches!(text, "" | "None");
    is_address.then(|| text.to_owned())
}

/// What a person can do about a field that cannot be changed.
fn advice(is_spared: bool) -> &'static str {
    match is_spared {
        true => {
            "this cannot be changed, and deleting the object may lose data, or an annotation keeps the object: if it \
             is to be deleted and made again all the same, annotate its manifest with towline.dev/force: enabled"
        }
        false => {
            "this cannot be changed: to have the object deleted and made again, annotate its manifest with \
             towline.dev/force: enabled, or set spec.force of the Sync"
        }
    }
}

fn told(refused: &WriteError, why: &str) -> Trouble {
    let mut trouble = Trouble::from(refused);
    trouble.message = format!("{}; {why}", trouble.message);
    trouble
}
