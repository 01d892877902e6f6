//! The driver of one `GitRepository`: fetch, publish, tell.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Context;
use super::login::{self, Login, PollError};
use super::mend::Mender;
use super::patch::{is_gone, write_status};
use super::receiver;
use super::secrets;
use super::verified::Verifier;
use crate::api::{
    Condition, ConditionType, GitRepository, GitRepositoryStatus, REQUESTED_AT, Reason, Sync,
    SyncSpec, Time, Verdict, set_conditions,
};
use crate::backoff::{Backoff, jittered};
use crate::chain;
use crate::fleet::{FetchedRevision, SourceName, SourceView, Subscription, SyncView};
use crate::manifest::redact;
use crate::metrics::{Ready, RepositoryFigures};
use crate::notify::Level;
use crate::plan::SyncName;
use crate::source::{Credentials, FetchRequest, Fetched, Proxy, Reference, Snapshot};

/// The field manager of child Syncs; not that of managed objects, so that a Sync which is itself in
/// Git keeps its two writers apart.
const CHILD_MANAGER: &str = "towline-repository";

/// The longest pause between two tries of a failing remote.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Drives one repository until its object is gone.
pub(super) struct Driver {
    context: Arc<Context>,
    object: watch::Receiver<Arc<GitRepository>>,
    name: SourceName,
    status: GitRepositoryStatus,
    /// The Sync of this repository's name, and whether it was there at the last look.
    child: Subscription<SyncName, SyncView>,
    saw_child: bool,
    /// What the last poll was for.
    asked: Option<Asked>,
    backoff: Backoff,
    next_poll: Instant,
    login: Login,
    /// The credentials that the remote has accepted last.
    proven: Option<Credentials>,
    verifier: Verifier,
    /// What the last poll found, whether it went live or not.
    fetched: Option<Arc<Snapshot>>,
    mender: Mender,
    /// The webhook's Secret.
    token: Option<watch::Receiver<u64>>,
    /// Why webhooks are not heard.
    deaf: Option<receiver::Refused>,
    /// What a webhook wakes; it keeps one call while a fetch is under way.
    poke: Arc<Notify>,
}

/// What makes a poll due at once when it changes.
#[derive(Clone, PartialEq)]
struct Asked {
    generation: Option<i64>,
    requested_at: Option<String>,
}

impl Driver {
    pub(super) fn new(context: Arc<Context>, object: watch::Receiver<Arc<GitRepository>>) -> Self {
        let first = object.borrow().clone();
        let namespace = first.namespace().unwrap_or_default();
        let child = SyncName::new(&namespace, &first.name_any());
        Self {
            child: context.fleet.syncs.subscribe(&child),
            saw_child: false,
            name: SourceName::new(&namespace, &first.name_any()),
            context,
            object,
            status: first.status.clone().unwrap_or_default(),
            asked: None,
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            next_poll: Instant::now(),
            login: Login::default(),
            proven: None,
            verifier: Verifier::default(),
            fetched: None,
            mender: Mender::new(),
            token: None,
            deaf: None,
            poke: Arc::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let object = self.object.borrow_and_update().clone();
            let (wants_child, saw) = (object.spec.sync.is_some(), self.saw_child);
            let deleting = object.metadata.deletion_timestamp.is_some();
            if !deleting {
                self.step(&object).await;
            }
            let latest = self.context.fleet.sources.read(&self.name).latest;
            let snapshot = latest.map(|seen| seen.snapshot);
            tokio::select! {
                changed = self.object.changed() => if changed.is_err() { return },
                () = self.child.wait_for(|child| child.exists != saw), if wants_child => {
                    self.saw_child = !saw;
                    if saw {
                        self.asked = None; // somebody deleted it: it is made again
                    }
                }
                // A rotated credential is tried at once.
                true = self.login.changed() => self.next_poll = Instant::now(),
                true = self.verifier.changed() => self.next_poll = Instant::now(),
                true = secrets::changed(self.token.as_mut()) => {
                    self.token = None;
                    self.next_poll = Instant::now();
                }
                // Somebody read from a copy that is damaged, and waits for a sound one.
                due = self.mender.due(snapshot) => self.next_poll = self.next_poll.min(due),
                () = self.poke.notified() => self.next_poll = Instant::now(),
                // Without a step it would be due for ever.
                () = tokio::time::sleep_until(self.next_poll), if !deleting => (),
            }
        }
    }

    async fn step(&mut self, object: &GitRepository) {
        let asked = Asked {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
        };
        let new_spec = self.asked.as_ref().map(|was| was.generation) != Some(asked.generation);
        let due = self.asked.as_ref() != Some(&asked) || Instant::now() >= self.next_poll;
        if !due {
            return;
        }
        self.asked = Some(asked);
        let childless = object.spec.sync.is_some() && !self.child.borrow().exists;
        let child = match new_spec || childless {
            true => self.keep_child(object).await,
            false => Ok(()),
        };
        if new_spec || self.token.is_none() {
            self.keep_receiver(object).await;
        }
        if object.spec.suspend {
            self.next_poll = Instant::now() + LONGEST_PAUSE;
            let message = "suspended: set spec.suspend to false to fetch again";
            self.report(object, vec![ready(None, Reason::Suspended, message)])
                .await;
            return;
        }
        let verdicts = match self.fetch(object, new_spec).await {
            Ok(message) => {
                self.backoff.reset();
                self.next_poll = Instant::now() + jittered(object.spec.interval.into());
                match &self.deaf {
                    None => vec![ready(Some(true), Reason::Fetched, message)],
                    Some((reason, why)) => {
                        vec![ready(Some(false), *reason, format!("{message}, but {why}"))]
                    }
                }
            }
            Err(error) => {
                // The remote answered: it is asked as often as ever.
                let pause = match error.reason() {
                    Reason::VerificationFailed => jittered(object.spec.interval.into()),
                    _ => self.backoff.pause(),
                };
                self.next_poll = Instant::now() + pause;
                self.failed(object, &error)
            }
        };
        let verdicts = match child {
            Ok(()) => verdicts,
            Err(message) => {
                self.asked = None; // try again at the next poll
                vec![ready(Some(false), Reason::InvalidSpec, message)]
            }
        };
        self.report(object, verdicts).await;
    }

    /// Fetches, and publishes what is new before anything is written to the API server about it.
    async fn fetch(&mut self, object: &GitRepository, new_spec: bool) -> Result<String, PollError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let repositories = self.context.metrics.figures().repositories.clone();
        let _at_work = repositories.at_work(&namespace, &name);
        let known = self.context.fleet.sources.read(&self.name).latest;
        let started = Instant::now();
        let found = self.find(object, new_spec).await;
        let outcome = found
            .as_ref()
            .map_or_else(PollError::reason, |_| Reason::Fetched);
        self.context.metrics.fetch(outcome, started.elapsed());
        let (snapshot, signer) = found?;
        let revision = snapshot.revision.to_string();
        // The newest snapshot also of a revision that is known: its objects may have moved, when the
        // cache was found corrupt or had grown too large.
        let seen = FetchedRevision {
            at: match known {
                Some(seen) if seen.snapshot.revision == snapshot.revision => seen.at,
                _ => self.first_seen(&revision),
            },
            snapshot: snapshot.clone(),
        };
        let at = seen.at;
        let news = self.status.revision.as_deref() != Some(revision.as_str());
        if news {
            // Queued before a Sync can tell what became of it.
            let note = format!("{revision} by {}: {}", snapshot.author, snapshot.subject);
            let notifier = &self.context.notifier;
            notifier.tell(object, Level::Normal, Reason::ChangeCommitted, &note);
        }
        self.context.fleet.sources.update(&self.name, |view| {
            *view = SourceView {
                latest: Some(seen),
                problem: None,
            };
        });
        self.status.revision = Some(revision.clone());
        self.status.committed_at = Some(Time(snapshot.committed_at));
        self.status.observed_at = Some(Time(at));
        Ok(match signer {
            Some(signer) => format!("fetched {revision}, {signer}"),
            None => format!("fetched {revision}"),
        })
    }

    /// What the remote has, and who signed it where somebody must have.
    async fn find(
        &mut self,
        object: &GitRepository,
        new_spec: bool,
    ) -> Result<(Arc<Snapshot>, Option<String>), PollError> {
        let (credentials, proxy) = self.login.read(&self.context, object).await?;
        let request = FetchRequest {
            // Another URL or ref may name the same commit; it is another revision all the same.
            known: self.fetched.clone().filter(|_| !new_spec),
            proven: self.proven.as_ref() == Some(&credentials),
            ..request(object, credentials.clone(), proxy)
        };
        let fetched = self.context.cache.fetch(request).await?;
        let (Fetched::New(snapshot) | Fetched::Unchanged(snapshot)) = fetched;
        self.proven = Some(credentials);
        self.fetched = Some(Arc::clone(&snapshot));
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let repositories = &self.context.metrics.figures().repositories;
        repositories.set(&namespace, &name, |row| {
            row.fetched_at = Some(Timestamp::now());
        });
        let signer = self
            .verifier
            .check(&self.context, object, &snapshot)
            .await?;
        Ok((snapshot, signer))
    }

    /// When a revision was first seen: a restart of the operator is no new observation.
    fn first_seen(&self, revision: &str) -> Timestamp {
        match &self.status.observed_at {
            Some(at) if self.status.revision.as_deref() == Some(revision) => at.0,
            _ => Timestamp::now(),
        }
    }

    /// Makes the webhook's receiver what the spec and the Secret say.
    async fn keep_receiver(&mut self, object: &GitRepository) {
        let namespace = object.namespace().unwrap_or_default();
        self.token = object.spec.webhook.as_ref().map(|webhook| {
            self.context
                .secrets
                .subscribe(&namespace, &webhook.secret_ref.name)
        });
        let reference = Reference::from(object.spec.reference.as_ref());
        let kept = receiver::follow(&self.context, object, &reference, &self.poke).await;
        self.deaf = kept.err();
        if matches!(&self.deaf, Some((Reason::ApiUnavailable, _))) {
            self.token = None; // it is read again at the next poll
        }
    }

    fn failed(&self, object: &GitRepository, error: &PollError) -> Vec<Verdict> {
        let reason = error.reason();
        let mut message = crate::text::redact(&chain(error));
        if let Some(advice) = login::advice(object, reason) {
            message = format!("{message}; {advice}");
        }
        if let Some(revision) = &self.status.revision {
            message = match message.contains(revision) {
                true => format!("{message}; it was live before, and stays so"),
                false => format!("{message}; {revision} stays live"),
            };
        }
        self.context.fleet.sources.update(&self.name, |view| {
            view.problem = Some((reason, message.clone()));
        });
        let standing = match reason {
            Reason::VerificationFailed => Verdict::new(
                ConditionType::Stalled,
                true,
                reason,
                "a revision that is signed by who may has to come, or its signer into the Secret",
            ),
            _ => Verdict::new(
                ConditionType::Reconciling,
                true,
                Reason::Progressing,
                "the fetch is retried",
            ),
        };
        vec![ready(Some(false), reason, message), standing]
    }

    async fn report(&mut self, object: &GitRepository, verdicts: Vec<Verdict>) {
        let conditions: &[Condition] = &self.status.conditions;
        let generation = object.metadata.generation;
        let now = Time(Timestamp::now());
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if let Some(ready) = verdicts.first() {
            let rows = &self.context.metrics.figures().repositories;
            rows.set(&namespace, &name, |row| {
                row.ready.turns(ready.status == Some(true), ready.reason);
            });
        }
        let failure = verdicts
            .first()
            .filter(|ready| ready.status == Some(false))
            .cloned();
        let status = GitRepositoryStatus {
            observed_generation: generation,
            conditions: set_conditions(conditions, verdicts, generation, &now),
            last_handled_reconcile_at: object.annotations().get(REQUESTED_AT).cloned(),
            ..self.status.clone()
        };
        if object.status.as_ref() == Some(&status) && self.status == status {
            return;
        }
        let context = &self.context;
        // The first condition is Ready. A failure that changes nothing is told once; each revision that
        // is refused is a failure of its own.
        let standing = |status: &GitRepositoryStatus| {
            let ready = status.conditions.first()?;
            let is_refusal = ready.reason == Reason::VerificationFailed.as_str();
            let of = is_refusal.then(|| ready.message.clone());
            Some((ready.status.clone(), ready.reason.clone(), of))
        };
        if standing(&status) != standing(&self.status)
            && let Some(ready) = failure
        {
            let notifier = &context.notifier;
            notifier.tell(object, Level::Warning, ready.reason, &ready.message);
        }
        self.status = status;
        self.context.cluster.applies.quiet().await;
        if let Err(error) =
            write_status::<GitRepository>(context, &namespace, &name, &self.status).await
        {
            tracing::warn!(namespace, name, %error, "writing the status of a GitRepository");
            self.asked = None;
            self.next_poll = self.next_poll.min(Instant::now() + self.backoff.pause());
        }
    }

    /// Makes the child Sync what `spec.sync` says, or removes the one that it no longer asks for.
    async fn keep_child(&self, object: &GitRepository) -> Result<(), String> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<Sync> = Api::namespaced(self.context.client.clone(), &namespace);
        let existing = match api.get_metadata_opt(&name).await {
            Ok(existing) => existing,
            Err(error) => return Err(format!("reading Sync {namespace}/{name}: {error}")),
        };
        let ours = |meta: &ObjectMeta| {
            let mut owners = meta.owner_references.iter().flatten();
            owners.any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref())
        };
        match (&object.spec.sync, existing) {
            (None, Some(child)) if ours(&child.metadata) => {
                let params = DeleteParams::background().preconditions(Preconditions {
                    uid: child.metadata.uid.clone(),
                    resource_version: None,
                });
                match api.delete(&name, &params).await {
                    Err(error) if !is_gone(&error) => {
                        Err(format!("deleting Sync {namespace}/{name}: {error}"))
                    }
                    _ => Ok(()),
                }
            }
            (None, _) => Ok(()),
            (Some(_), Some(other)) if !ours(&other.metadata) => Err(format!(
                "spec.sync asks for Sync {namespace}/{name}, but a Sync of that name exists and is \
                 not this repository's: rename one of them, or delete that Sync"
            )),
            (Some(settings), _) => {
                let mut child = Sync::new(
                    &name,
                    SyncSpec {
                        source_ref: crate::api::SourceRef { name: name.clone() },
                        settings: settings.clone(),
                    },
                );
                child.metadata.owner_references = object.controller_owner_ref(&()).map(|o| vec![o]);
                let params = PatchParams::apply(CHILD_MANAGER).force();
                match api.patch(&name, &params, &Patch::Apply(&child)).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("writing Sync {namespace}/{name}: {error}")),
                }
            }
        }
    }
}

/// The figures of a repository whose driver has not begun yet, as its status tells them.
pub(super) fn figures(object: &GitRepository) -> RepositoryFigures {
    let status = object.status.as_ref();
    let conditions = status.map(|status| status.conditions.as_slice());
    let mut ready = Ready::of(conditions.unwrap_or_default());
    if object.spec.suspend {
        ready.turns(false, Reason::Suspended);
    }
    RepositoryFigures {
        ready,
        fetched_at: None,
    }
}

/// What a spec asks to fetch, by one who has and has proven nothing.
pub(super) fn request(
    object: &GitRepository,
    credentials: Credentials,
    proxy: Option<Proxy>,
) -> FetchRequest {
    let spec = &object.spec;
    let reference = Reference::from(spec.reference.as_ref());
    FetchRequest {
        credentials,
        proven: false,
        proxy,
        full_history: spec.full_history,
        recurse_submodules: spec.recurse_submodules,
        ..FetchRequest::new(&spec.url, reference, spec.timeout.into())
    }
}

fn ready(status: Option<bool>, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionType::Ready, status, reason, message)
}
