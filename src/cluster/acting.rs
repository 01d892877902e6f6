//! Requests with the rights of one actor.

use std::sync::{Mutex, PoisonError};

use kube::api::ObjectMeta;
use serde_json::Value;

use super::apply::Compared;
use super::definition;
use super::own_kinds::Doing;
use super::refused::WriteError;
use super::served::ServedKind;
use super::write::{self, LastRead, Made, Once};
use super::{Actor, Applied, Applying, Cluster};
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{HelmRecord, Observed, Seal, breaks_transition_rule, reproved};

/// A cluster with the rights of one actor. Cheap to make.
pub struct Acting<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) actor: &'a Actor,
}

impl Acting<'_> {
    /// Applies one object with server-side apply, and records the answer. `body` is the object as JSON, without what
    /// is in `once`.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn apply(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
        once: Option<Once<'_>>,
        applying: Applying,
    ) -> Result<Applied, WriteError> {
        let key = seal.object();
        self.permit(served, key, Doing::Write).await?;
        let Cluster {
            kinds,
            inventory,
            running_applies,
            ..
        } = self.cluster;
        let under_way = running_applies.begin();
        let known = match inventory.get(key) {
            None if inventory.take_unanswered(key) => self.made_before(served, seal).await?,
            known => known,
        };
        // It has become known since the body was made.
        let known_now = known.as_ref().filter(|_| seal.is_new()).map(|known| {
            let seal = seal.clone().for_object(known);
            let body = reproved(body, &seal);
            (seal, body)
        });
        let (seal, body) = match &known_now {
            Some((seal, body)) => (seal, &**body),
            None => (seal, body),
        };
        let (rewritten, last_read) = (Mutex::default(), LastRead::default());
        let may_be_changed = self.cluster.admission.may_change(kinds, served).await;
        let wanted = write::Wanted {
            rewritten: may_be_changed.then_some(&rewritten),
            force: applying != Applying::Unforced,
            merges: applying == Applying::Merged,
            once,
            ..self.wanted(served, seal, body, known.as_ref(), &last_read)
        };
        let applied = match applying {
            Applying::Declared => self.writer().apply_once(&wanted).await,
            Applying::Whole | Applying::Merged | Applying::Unforced => {
                let is_served = |gvk: &_| kinds.get(gvk).is_some();
                match self.writer().apply_until_accepted(&wanted, is_served).await {
                    Ok(applied) => self.writer().without_remains(&wanted, applied).await,
                    Err(error) => Err(error),
                }
            }
        };
        let (answer, made) = applied.inspect_err(|error| {
            if known.is_none() && error.may_have_written() {
                inventory.unanswered(key);
            }
        })?;
        let created = made == Made::New;
        let answer = self.proven(&wanted, answer, made).await?;
        drop(under_way);
        if definition::is_one(&key.kind)
            && let Some(kind) = definition::kind_of(body)
        {
            kinds.expect(kind);
        }
        let newest = inventory.applied(key, answer.clone());
        let current = newest
            .as_ref()
            .is_some_and(|newest| newest.version == answer.version);
        // The answer has only metadata. A write alone does not make an object healthy.
        let health = newest.map_or(answer.health.clone(), |newest| newest.health);
        Ok(Applied {
            answer: Observed { health, ..answer },
            created,
            current,
            rewritten: rewritten
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// What an apply without an answer has made, if it has.
    async fn made_before(
        &self,
        served: &ServedKind,
        seal: &Seal,
    ) -> Result<Option<Observed>, WriteError> {
        let key = seal.object();
        let live = self.metadata(served, key).await?;
        let observed = live.and_then(|live| Observed::read(key, &live, Health::Current));
        Ok(observed.filter(|observed| seal.holds(observed)))
    }

    /// The answer to an apply, after another apply where the proof that was sent does not fit the object.
    async fn proven(
        &self,
        wanted: &write::Wanted<'_>,
        answer: Observed,
        made: Made,
    ) -> Result<Observed, WriteError> {
        let seal = wanted.seal;
        let holds = seal.holds(&answer);
        // The answer to a repeated request does not tell whether the first one created the object. Its proof does.
        let existed = made == Made::Existed || made == Made::Unknown && !holds;
        if existed && seal.is_new() && !seal.has_made(&answer.uid) {
            let seal = seal.clone().for_adopted(&answer);
            return self.prove(wanted, &seal, &answer).await;
        }
        if holds {
            return Ok(answer);
        }
        if made == Made::New {
            self.cluster.clients.clock.learn(answer.created);
        }
        let seal = seal.clone().for_object(&answer);
        let proven = self.prove(wanted, &seal, &answer).await;
        match made {
            Made::New => proven.map_err(|error| error.after_making(&answer.uid)),
            Made::Existed | Made::Unknown => proven,
        }
    }

    /// Applies an object again, with the proof of this seal. The first proof was that of a new object, and this
    /// one existed before, or the API server took its time.
    async fn prove(
        &self,
        wanted: &write::Wanted<'_>,
        seal: &Seal,
        answer: &Observed,
    ) -> Result<Observed, WriteError> {
        let body = reproved(wanted.body, seal);
        let wanted = write::Wanted {
            body: &body,
            seal,
            known: Some(answer),
            once: None,
            ..*wanted
        };
        let (answer, _) = self.writer().apply_once(&wanted).await?;
        // Without the proof, the object could never be pruned, and nobody would know why.
        match seal.holds(&answer) {
            true => Ok(answer),
            false => Err(WriteError::Unmarked {
                mark: "annotation towline.dev/proof",
                made: None,
            }),
        }
    }

    /// Whether applying `body` would change any value of the live object.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn compare(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<Compared, WriteError> {
        let known = self.cluster.inventory.get(seal.object());
        let last_read = LastRead::default();
        let wanted = self.wanted(served, seal, body, known.as_ref(), &last_read);
        self.writer().compare(&wanted).await
    }

    /// The metadata of one live object; none where there is no such object.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn metadata(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<ObjectMeta>, WriteError> {
        self.writer().metadata(served, key).await
    }

    /// Waits until the API server's own copy of a Service is as new as its storage, so that the next write of the Service
    /// loses no node port. Nothing is done for another kind.
    pub async fn catch_up(&self, served: &ServedKind, key: &ObjectKey) {
        self.writer().catch_up(served, key).await;
    }

    /// Reads one object whole; none where there is none.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn live(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<Value>, WriteError> {
        self.writer().whole(served, key).await
    }

    /// Creates an object that is no member of a Sync's ApplySet. Returns the object as it then is.
    ///
    /// # Errors
    /// [`WriteError`], about this object only; also where it exists already.
    pub async fn create(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: impl Fn() -> Vec<u8>,
    ) -> Result<Value, WriteError> {
        self.permit(served, key, Doing::Create).await?;
        self.writer().create(served, key, body).await
    }

    /// Secrets, as the API server serves them.
    ///
    /// # Errors
    /// [`WriteError::NotServed`], as long as it is not known what is served.
    pub fn secrets(&self) -> Result<ServedKind, WriteError> {
        let kind = GroupKind::new("", "Secret");
        let served = self.cluster.kinds.preferred(&kind);
        served.ok_or(WriteError::NotServed)
    }

    /// Changes an object that is no member of a Sync's ApplySet, by a merge patch.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn patch(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<(), WriteError> {
        self.permit(served, key, Doing::Write).await?;
        self.writer().patch(served, key, patch).await
    }

    /// The records that Helm reads of a release, in Secrets of its namespace.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn helm_records(
        &self,
        namespace: &str,
        release: &str,
    ) -> Result<Vec<HelmRecord>, WriteError> {
        self.writer().helm_records(namespace, release).await
    }

    /// The live pods of a Job, newest last.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn pods_of(&self, job: &ObjectKey, uid: &str) -> Result<Vec<Value>, WriteError> {
        self.writer().pods_of(job, uid).await
    }

    /// The live pods with these labels in the namespace of an object; a page of them.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn pods_with(
        &self,
        about: &ObjectKey,
        selector: &str,
    ) -> Result<Vec<Value>, WriteError> {
        self.writer().pods_with(about, selector).await
    }

    /// Applies an object as a dry run.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn rehearse(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<(), WriteError> {
        self.writer()
            .rehearse(&self.wanted(served, seal, body, None, &LastRead::default()))
            .await
    }

    /// Creates an object as a dry run, whether or not there is such an object.
    ///
    /// # Errors
    /// [`WriteError`], if the API server would not take it as a new object now; [`WriteError::is_only_allocated`] where
    /// an object holds a port or an address of it.
    pub async fn rehearse_create(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<(), WriteError> {
        self.writer()
            .rehearse_create(&self.wanted(served, seal, body, None, &LastRead::default()))
            .await
    }

    /// Whether a change was refused that a new object would not be refused for: a field cannot be changed. Where the
    /// server's words do not say it, the rules of the kind's definition are read, with towline's own rights.
    pub async fn is_immutable(&self, served: &ServedKind, error: &WriteError) -> bool {
        if error.is_immutable() {
            return true;
        }
        let refusal = error.refusal().filter(|_| error.is_invalid());
        // The groups of Kubernetes without a dot have no definitions.
        let refusal = refusal.filter(|_| served.resource.group.contains('.'));
        let definitions = self.cluster.kinds.preferred(&definition::kind());
        let Some((refusal, definitions)) = refusal.zip(definitions) else {
            return false;
        };
        let key = ObjectKey {
            kind: definition::kind(),
            namespace: None,
            name: served.definition().into(),
        };
        let towline = Actor::operator(&self.actor.sync);
        match self.cluster.as_(&towline).live(&definitions, &key).await {
            Ok(Some(live)) => breaks_transition_rule(&refusal, &live, &served.resource.version),
            _ => false,
        }
    }

    /// Deletes one object with this uid. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.cluster.kinds.preferred(&key.kind) {
            Some(served) => {
                self.permit(&served, key, Doing::Write).await?;
                self.writer().delete(&served, key, uid).await
            }
            // If its definition is gone, a custom resource is gone too.
            None => Ok(()),
        }
    }

    /// Removes towline's label and annotations from one object. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn disown(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.cluster.kinds.preferred(&key.kind) {
            Some(served) => {
                self.permit(&served, key, Doing::Write).await?;
                self.writer().disown(&served, key, uid).await
            }
            None => Ok(()),
        }
    }

    /// Refuses what only towline's rights for itself would allow.
    async fn permit(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        doing: Doing,
    ) -> Result<(), WriteError> {
        if !self.actor.is_operator() {
            return Ok(());
        }
        let namespace = key.namespace.as_deref();
        let own_kinds = &self.cluster.own_kinds;
        own_kinds.permit(served, namespace, doing).await
    }

    fn wanted<'a>(
        &'a self,
        served: &'a ServedKind,
        seal: &'a Seal,
        body: &'a [u8],
        known: Option<&'a Observed>,
        last_read: &'a LastRead,
    ) -> write::Wanted<'a> {
        write::Wanted {
            served,
            key: seal.object(),
            body,
            known,
            seal,
            appliers: &self.cluster.appliers,
            force: true,
            merges: false,
            once: None,
            rewritten: None,
            live: last_read,
        }
    }

    pub(super) fn writer(&self) -> write::Writer<'_> {
        let Cluster {
            clients, requests, ..
        } = self.cluster;
        write::Writer::new(&clients.requests, requests, self.actor)
    }
}
