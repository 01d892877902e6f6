//! Applies that need more than one request: another applier's share is taken over, a default that nobody declares
//! stands in the way, or `managedFields` are written in a version that is gone.
//!
//! What is to be done is decided by `plan`; here it is carried out. An apply that needs none of it stays one
//! request.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use http::Request;
use kube::Resource as _;
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use serde_json::Value;
use tokio::time::Instant;

use super::ServedKind;
use super::beforehand::share_of;
use super::refused::WriteError;
use super::write::{METADATA, Made, Once, REHEARSED, Wanted, Writer, path, read};
use crate::health::Health;
use crate::manifest::{GroupVersionKind, ObjectKey};
use crate::plan::{
    EMPTIER, IDENTITY, Indivisible, Observed, PART_OF, PROOF, Share, claims, is_keyless,
    may_have_remains, opponents, remains, rewritten, rivals, without_keyless, without_null,
};

/// The most applies of one object in a row.
const ROUNDS: usize = 5;

const FORCED: &str = "&force=true";

/// The API server's words for `managedFields` that do not fit the object in their version.
const STALE: &str = "field not declared in schema";
/// The same words about what was sent.
const SENT: &str = "failed to create typed patch object";

/// How a live object stands to its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// There is none.
    Gone,
    /// Values differ.
    Differs,
    /// It has every value that the manifest declares, at this resourceVersion.
    Equal(String),
}

impl Writer<'_> {
    /// Applies an object. If the API server refuses it, removes the cause where that is possible, and applies it again.
    /// Returns what the server has then, and whether the object is new.
    ///
    /// What was claimed to remove a cause is given back if the object is refused all the same: the apply of another manifest
    /// would remove it, such as the selector that the API server made for a Job.
    pub(super) async fn apply_until_accepted(
        &self,
        wanted: &Wanted<'_>,
        is_served: impl Fn(&GroupVersionKind) -> bool,
    ) -> Result<(Observed, Made), WriteError> {
        let mut claimed = None;
        let answer = self.apply_in_rounds(wanted, is_served, &mut claimed).await;
        match (&answer, claimed) {
            (Err(error), Some(claimed)) if error.is_invalid() => {
                self.requests
                    .claims
                    .were_in_vain(wanted.key, wanted.body, Instant::now());
                let share = claimed.before.instead_of(&claimed.version);
                self.catch_up(wanted.served, wanted.key).await;
                // Where somebody wrote the object meanwhile, nothing is given back.
                if let Err(error) = self.write_share(wanted, &share).await {
                    let error = crate::chain(&error);
                    tracing::warn!(object = %wanted.key, error, "what was claimed for a refused manifest is not given back");
                }
            }
            _ => (),
        }
        answer
    }

    async fn apply_in_rounds(
        &self,
        wanted: &Wanted<'_>,
        is_served: impl Fn(&GroupVersionKind) -> bool,
        claimed: &mut Option<Claimed>,
    ) -> Result<(Observed, Made), WriteError> {
        let api_version = &wanted.served.resource.api_version;
        let is_of_another_version = wanted
            .known
            .is_some_and(|known| known.is_of_another_version(api_version));
        if is_of_another_version {
            self.leave_version(wanted, &is_served).await?;
        }
        let mut made: Option<Made> = None;
        if let Some(once) = &wanted.once {
            let whole = serde_json::from_slice(once.whole).unwrap_or_default();
            match self.release(wanted, once, &whole).await? {
                Released::Made(observed) => return Ok((*observed, Made::New)),
                Released::Beforehand { before } => made = before,
            }
        }
        if wanted.known.is_some() {
            self.empty_out(wanted, wanted.body).await?;
            self.reshape(wanted).await?;
        }
        let mut body = wanted.body.to_vec();
        // The shares as they were before those of others were taken over.
        let mut before: Option<Share> = None;
        let mut is_first = !is_of_another_version && wanted.once.is_none();
        for _ in 1..ROUNDS {
            if !std::mem::take(&mut is_first) {
                self.catch_up(wanted.served, wanted.key).await;
            }
            match self.apply(wanted, &body).await {
                Ok((observed, answer, now)) => {
                    let made = *made.insert(made.map_or(now, |made| made.and(now)));
                    if !observed.shared || wanted.merges || before.is_some() {
                        return Ok((observed, made));
                    }
                    let Some(share) = Share::of(answer.meta(), api_version) else {
                        return Ok((observed, made));
                    };
                    let mut taken = share.clone();
                    take_over(wanted, &mut taken)?;
                    if taken.patch().is_none() {
                        return Ok((observed, made));
                    }
                    // Where a controller wrote the object meanwhile, its shares are looked at once more.
                    if self.write_share(wanted, &taken).await? {
                        before = Some(share);
                    }
                }
                Err(error) => {
                    let share = before.as_mut().filter(|_| error.is_invalid());
                    // What the server assumed of the time before cannot be removed: it is nobody's then.
                    let is_mended = match share.and_then(|share| share.without_assumed()) {
                        Some(mut share) => {
                            take_over(wanted, &mut share)?;
                            self.rewrite_share(wanted, &share).await?
                        }
                        None => {
                            self.resolve_refusal(wanted, &mut body, &error, claimed)
                                .await?
                        }
                    };
                    if !is_mended {
                        return Err(error);
                    }
                }
            }
        }
        self.catch_up(wanted.served, wanted.key).await;
        let (observed, _, now) = self.apply(wanted, &body).await?;
        Ok((observed, made.map_or(now, |made| made.and(now))))
    }

    /// Applies an object once more if another version of its kind, in which it was before, has left something that
    /// Git's version has no field for.
    pub(super) async fn without_remains(
        &self,
        wanted: &Wanted<'_>,
        (observed, made): (Observed, Made),
    ) -> Result<(Observed, Made), WriteError> {
        let api_version = &wanted.served.resource.api_version;
        let is_other = |known: &Observed| known.is_of_another_version(api_version);
        let may_have_some = !wanted.merges
            && made != Made::New
            && wanted.known.is_none_or(is_other)
            && may_have_remains(api_version, &wanted.key.kind.kind);
        if !may_have_some {
            return Ok((observed, made));
        }
        let Some(live) = self.whole(wanted.served, wanted.key).await? else {
            return Ok((observed, made));
        };
        let Some(mut share) = share_of(&live, wanted) else {
            return Ok((observed, made));
        };
        let body: Value = serde_json::from_slice(wanted.body).unwrap_or_default();
        let Some(fields) = remains(&live, &body, &share.of_others()) else {
            return Ok((observed, made));
        };
        share.claim(&fields);
        self.write_share(wanted, &share).await?;
        self.catch_up(wanted.served, wanted.key).await;
        let (observed, _, now) = self.apply(wanted, wanted.body).await?;
        Ok((observed, made.and(now)))
    }

    /// Gives up the fields that are sent only once, so that the next apply does not remove them. An object that does
    /// not exist is created with them.
    async fn release(
        &self,
        wanted: &Wanted<'_>,
        once: &Once<'_>,
        whole: &Value,
    ) -> Result<Released, WriteError> {
        let api_version = &wanted.served.resource.api_version;
        let mut before: Option<Made> = None;
        for _ in 0..ROUNDS {
            let live = self.metadata(wanted.served, wanted.key).await?;
            let (meta, made) = match live {
                Some(meta) => (meta, None),
                None => {
                    let (observed, object, now) = self.apply(wanted, once.whole).await?;
                    before = Some(before.map_or(now, |before| before.and(now)));
                    (object.metadata, Some(observed))
                }
            };
            let Some(mut share) = Share::of(&meta, api_version) else {
                return Ok(Released::Beforehand { before });
            };
            share.release(once.fields, whole)?;
            if share.patch().is_none() {
                return Ok(match made {
                    Some(observed) if before == Some(Made::New) => {
                        Released::Made(Box::new(observed))
                    }
                    _ => Released::Beforehand { before },
                });
            }
            // Somebody else may write it at the same time.
            if let Some(written) = self.patch_share(wanted, &share).await? {
                let observed =
                    made.and_then(|_| Observed::read(wanted.key, &written, Health::Current));
                return Ok(match observed {
                    Some(observed) if before == Some(Made::New) => {
                        let observed = observed.shared_with(&written, wanted.appliers);
                        Released::Made(Box::new(observed))
                    }
                    _ => Released::Beforehand { before },
                });
            }
        }
        Err(WriteError::Answer(
            "others write it all the time".to_owned(),
        ))
    }

    /// Applies an object in one request; one null after the other is taken out if the server refuses them.
    pub(super) async fn apply_once(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<(Observed, Made), WriteError> {
        let mut body = wanted.body.to_vec();
        let answer = match self.apply(wanted, &body).await {
            Err(error) if remove_nulls(&error, &mut body) => self.apply(wanted, &body).await,
            answer => answer,
        };
        answer.map(|(observed, _, made)| (observed, made))
    }

    async fn apply(
        &self,
        wanted: &Wanted<'_>,
        body: &[u8],
    ) -> Result<(Observed, PartialObjectMeta<DynamicObject>, Made), WriteError> {
        let key = wanted.key;
        let query = match wanted.force {
            true => FORCED,
            false => "",
        };
        let accept = match wanted.rewritten {
            Some(_) => "application/json",
            None => METADATA,
        };
        let answer = self.send_apply(query, accept, wanted, body).await?;
        let object: PartialObjectMeta<DynamicObject> = read(&answer.text)?;
        if let Some(found) = wanted.rewritten {
            let sent = serde_json::from_slice(body).unwrap_or_default();
            let found = &mut *found.lock().unwrap_or_else(PoisonError::into_inner);
            *found = rewritten(&sent, &read(&answer.text)?);
        }
        let observed = Observed::read(key, object.meta(), Health::Current)
            .ok_or_else(|| unmarked(object.meta(), answer.made))?
            .shared_with(object.meta(), wanted.appliers);
        Ok((observed, object, answer.made))
    }

    /// The live object with all of its fields; none where there is none.
    pub(super) async fn whole(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<Value>, WriteError> {
        let uri = path(served, key);
        let request = || Request::get(&uri).body(Vec::new());
        match self.send(key, &[], request).await {
            Err(WriteError::Refused { code: 404, .. } | WriteError::NoNamespace { .. }) => Ok(None),
            answer => read(&answer?.text).map(Some),
        }
    }

    /// Removes the cause of a refusal. False if that is not possible.
    async fn resolve_refusal(
        &self,
        wanted: &Wanted<'_>,
        body: &mut Vec<u8>,
        error: &WriteError,
        claimed: &mut Option<Claimed>,
    ) -> Result<bool, WriteError> {
        if remove_nulls(error, body) {
            return Ok(true);
        }
        if let Some(said) = error.refusal().map(|refusal| refusal.said)
            && is_keyless(&said)
        {
            let live = self.whole(wanted.served, wanted.key).await?;
            let patch = live.and_then(|live| without_keyless(&said, &live));
            return match patch {
                Some(patch) => Ok(self.patch_live(wanted, &patch, EMPTIER).await?.is_some()),
                None => Ok(false),
            };
        }
        let is_stale = is_stale(error);
        if !is_stale && !error.is_invalid() {
            return Ok(false);
        }
        let live = match self.live(wanted).await {
            // What is refused is of more use to people than that.
            Err(error) if error.is_denied() => None,
            live => live?,
        };
        let Some(live) = live else {
            return Ok(false);
        };
        wanted.live.keep(live);
        if self.empty_out(wanted, body).await? {
            return Ok(true);
        }
        let Some(live) = self.live(wanted).await? else {
            return Ok(false);
        };
        let Some(mut share) = share_of(&live, wanted) else {
            return Ok(false);
        };
        if is_stale {
            share.relabel(|_| true);
            return self.write_share(wanted, &share).await;
        }
        take_over(wanted, &mut share)?;
        let before = share.clone();
        let mut has_claimed = false;
        if !self
            .requests
            .claims
            .are_in_vain(wanted.key, wanted.body, Instant::now())
        {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let found = found_claims(error, &live, &body, &share);
            has_claimed = found.is_some_and(|fields| share.claim(&fields));
            if share.patch().is_none()
                && let Some(fields) = self.rivals(wanted, &live, &body, error).await
            {
                has_claimed = share.claim(&fields);
            }
        }
        let Some(written) = self.patch_share(wanted, &share).await? else {
            return Ok(false);
        };
        if has_claimed && let Some(version) = written.resource_version {
            let before = claimed.take().map_or(before, |claimed| claimed.before);
            *claimed = Some(Claimed { before, version });
        }
        Ok(true)
    }

    /// Items of lists and members of unions that have to go, since Git's cannot stand beside them. None where the manifest
    /// would be refused without them, too.
    async fn rivals(
        &self,
        wanted: &Wanted<'_>,
        live: &Value,
        body: &Value,
        error: &WriteError,
    ) -> Option<Value> {
        let share = share_of(live, wanted)?;
        let (ours, all) = (share.of_ours(), share.of_all());
        let causes = error.causes();
        let found = rivals(causes, live, body, &all)
            .or_else(|| opponents(causes, live, body, (&ours, &all)));
        let found = found.filter(|_| !wanted.merges)?;
        let is_taken = match self.rehearse_create(wanted).await {
            // What the object itself holds is free for the one that replaces it.
            Err(error) => error.is_only_allocated(),
            Ok(()) => true,
        };
        is_taken.then_some(found)
    }

    /// Whether applying `body` would change any value of the live object; our share in
    /// `managedFields` does not count.
    pub(super) async fn compare(&self, wanted: &Wanted<'_>) -> Result<Compared, WriteError> {
        let Wanted { served, key, .. } = wanted;
        let Some(mut live) = self.whole(served, key).await? else {
            return Ok(Compared::Gone);
        };
        let mut body = wanted.body.to_vec();
        let try_it = async |body: &[u8]| {
            self.send_apply(REHEARSED, "application/json", wanted, body)
                .await
        };
        let tried = match try_it(&body).await {
            Err(error) if remove_nulls(&error, &mut body) => try_it(&body).await,
            tried => tried,
        };
        let tried = match tried {
            Err(error) if self.is_resolvable(wanted, &live, &body, &error).await => {
                return Ok(Compared::Differs);
            }
            tried => tried?,
        };
        let mut tried: Value = read(&tried.text)?;
        let version = live["metadata"]["resourceVersion"]
            .as_str()
            .map(str::to_owned);
        for object in [&mut live, &mut tried] {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                for field in ["managedFields", "resourceVersion", "generation"] {
                    metadata.remove(field);
                }
                // A proof says whose the object is, not what it is.
                if let Some(annotations) = metadata.get_mut("annotations") {
                    annotations.as_object_mut().map(|all| all.remove(PROOF));
                }
            }
        }
        Ok(match version {
            Some(version) if live == tried => Compared::Equal(version),
            _ => Compared::Differs,
        })
    }

    /// Applies an object as a dry run.
    pub(super) async fn rehearse(&self, wanted: &Wanted<'_>) -> Result<(), WriteError> {
        self.try_out(wanted, wanted.body.to_vec()).await
    }

    /// The same with another body.
    pub(super) async fn try_out(
        &self,
        wanted: &Wanted<'_>,
        mut body: Vec<u8>,
    ) -> Result<(), WriteError> {
        let mut answer = self.send_apply(REHEARSED, METADATA, wanted, &body).await;
        if let Err(error) = &answer
            && remove_nulls(error, &mut body)
        {
            answer = self.send_apply(REHEARSED, METADATA, wanted, &body).await;
        }
        answer.map(drop)
    }

    /// Whether an apply could remove the cause of a refused dry run: something that nobody declares stands against
    /// the manifest, so that the object differs from it.
    async fn is_resolvable(
        &self,
        wanted: &Wanted<'_>,
        live: &Value,
        body: &[u8],
        error: &WriteError,
    ) -> bool {
        let Some(mut share) = share_of(live, wanted).filter(|_| error.is_invalid()) else {
            return false;
        };
        if take_over(wanted, &mut share).is_err() {
            return false;
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        share.patch().is_some()
            || found_claims(error, live, &body, &share).is_some()
            || self.rivals(wanted, live, &body, error).await.is_some()
    }
}

/// What was claimed so that an apply removes it.
struct Claimed {
    /// The shares before that.
    before: Share,
    /// The object's resourceVersion after it.
    version: String,
}

/// The fields that an apply has to remove, so that the manifest is not refused.
fn found_claims(error: &WriteError, live: &Value, body: &Value, share: &Share) -> Option<Value> {
    let (ours, others, all) = (share.of_ours(), share.of_others(), share.of_all());
    claims(error.causes(), live, body, (&ours, &others, &all))
}

/// Why an answer is not an object of towline's.
fn unmarked(meta: &ObjectMeta, made: Made) -> WriteError {
    let has =
        |map: Option<&BTreeMap<String, String>>, key| map.is_some_and(|map| map.contains_key(key));
    let mark = if !has(meta.labels.as_ref(), PART_OF) {
        "label applyset.kubernetes.io/part-of"
    } else if !has(meta.annotations.as_ref(), IDENTITY) {
        "annotations"
    } else {
        return WriteError::Answer("it is not the object that was sent".to_owned());
    };
    let made = meta.uid.as_deref().filter(|_| made == Made::New);
    WriteError::Unmarked {
        mark,
        made: made.map(Into::into),
    }
}

/// What became of the fields that are sent only once.
enum Released {
    /// The object was created with them, and there is nothing more to do.
    Made(Box<Observed>),
    /// They are not ours any longer. What the applies so far did, if there were any.
    Beforehand { before: Option<Made> },
}

/// Takes over what other appliers of whole manifests declared, but for what is left to others.
fn take_over(wanted: &Wanted<'_>, share: &mut Share) -> Result<(), Indivisible> {
    if wanted.merges {
        return Ok(());
    }
    share.take_over(wanted.appliers, wanted.known.is_some());
    if let Some(once) = &wanted.once {
        let whole = serde_json::from_slice(once.whole).unwrap_or_default();
        share.release(once.fields, &whole)?;
    }
    Ok(())
}

/// Takes out of `body` what was refused for being null.
fn remove_nulls(error: &WriteError, body: &mut Vec<u8>) -> bool {
    if !error.is_invalid() {
        return false;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let removed = without_null(error.causes(), &mut value);
    if removed {
        *body = value.to_string().into_bytes();
    }
    removed
}

fn is_stale(error: &WriteError) -> bool {
    let WriteError::Refused { message, .. } = error else {
        return false;
    };
    message.contains(STALE) && !message.contains(SENT)
}
