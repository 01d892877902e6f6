//! The driver of one `GitRepository`: fetch, publish, tell.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Context;
use super::backoff::{Backoff, jittered};
use super::board::Standing;
use super::patch::{is_gone, write_status};
use super::sources::{Seen, SourceState};
use crate::api::{
    Condition, ConditionType, GitRepository, GitRepositoryStatus, REQUESTED_AT, Reason, Sync,
    SyncSpec, Time, Verdict, set_conditions,
};
use crate::chain;
use crate::manifest::redact;
use crate::notify::Level;
use crate::plan::SyncName;
use crate::source::{self, FetchRequest, Fetched, Reference};

/// The field manager of child Syncs; not that of managed objects, so that a Sync which is itself in
/// Git keeps its two writers apart.
const CHILD_MANAGER: &str = "towline-repository";

/// The longest pause between two tries of a failing remote.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Drives one repository until its object is gone.
pub(super) struct Driver {
    context: Arc<Context>,
    object: watch::Receiver<Arc<GitRepository>>,
    publish: watch::Sender<SourceState>,
    status: GitRepositoryStatus,
    /// The standing of the child Sync, and whether it has been seen.
    child: watch::Receiver<Standing>,
    has_child: bool,
    /// What the last poll was for.
    asked: Option<Asked>,
    backoff: Backoff,
    next_poll: Instant,
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
            child: context.board.subscribe(&child),
            has_child: false,
            publish: context.sources.sender(&namespace, &first.name_any()),
            context,
            object,
            status: first.status.clone().unwrap_or_default(),
            asked: None,
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            next_poll: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let object = self.object.borrow_and_update().clone();
            if object.metadata.deletion_timestamp.is_none() {
                self.step(&object).await;
            }
            tokio::select! {
                changed = self.object.changed() => if changed.is_err() { return },
                // Somebody deleted the child Sync.
                Ok(_) = self.child.wait_for(|child| !child.exists), if self.has_child => {
                    self.has_child = false;
                    self.asked = None;
                }
                () = tokio::time::sleep_until(self.next_poll) => (),
            }
        }
    }

    async fn step(&mut self, object: &GitRepository) {
        let asked = Asked {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
        };
        let new_spec = self.asked.as_ref().map(|was| was.generation) != Some(asked.generation);
        self.has_child = object.spec.sync.is_some() && self.child.borrow().exists;
        let due = self.asked.as_ref() != Some(&asked) || Instant::now() >= self.next_poll;
        if !due {
            return;
        }
        self.asked = Some(asked);
        let child = match new_spec {
            true => self.keep_child(object).await,
            false => Ok(()),
        };
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
                vec![ready(Some(true), Reason::Fetched, message)]
            }
            Err(error) => {
                self.next_poll = Instant::now() + self.backoff.next();
                self.failed(&error)
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

    /// Fetches, and publishes what is new before anything is written about it.
    async fn fetch(
        &mut self,
        object: &GitRepository,
        new_spec: bool,
    ) -> Result<String, source::Error> {
        let known = self.publish.borrow().latest.clone();
        let started = Instant::now();
        let request = FetchRequest {
            url: object.spec.url.clone(),
            reference: Reference::from(object.spec.reference.as_ref()),
            timeout: object.spec.timeout.into(),
            // Another URL or ref may name the same commit; it is another revision all the same.
            known: known
                .as_ref()
                .filter(|_| !new_spec)
                .map(|seen| seen.snapshot.clone()),
            credentials: source::Credentials::default(),
        };
        let fetched = self.context.cache.fetch(request).await;
        let outcome = match &fetched {
            Ok(_) => Reason::Fetched,
            Err(error) => error.reason(),
        };
        self.context
            .metrics
            .fetch(outcome.as_str(), started.elapsed());
        let (Fetched::New(snapshot) | Fetched::Unchanged(snapshot)) = fetched?;
        let revision = snapshot.revision.to_string();
        let seen = match known {
            Some(seen) if seen.snapshot.revision == snapshot.revision => seen,
            _ => Seen {
                at: self.first_seen(&revision),
                snapshot: snapshot.clone(),
            },
        };
        let at = seen.at;
        let news = self.status.revision.as_deref() != Some(revision.as_str());
        self.publish.send_if_modified(|state| {
            let same = state.problem.is_none()
                && state
                    .latest
                    .as_ref()
                    .is_some_and(|latest| Arc::ptr_eq(&latest.snapshot, &seen.snapshot));
            *state = SourceState {
                latest: Some(seen),
                problem: None,
            };
            !same
        });
        if news {
            let note = format!("{revision} by {}: {}", snapshot.author, snapshot.subject);
            let notifier = &self.context.notifier;
            notifier.tell(object, Level::Normal, Reason::ChangeCommitted, &note);
        }
        self.status.revision = Some(revision.clone());
        self.status.committed_at = Some(Time(snapshot.committed_at));
        self.status.observed_at = Some(Time(at));
        Ok(format!("fetched {revision}"))
    }

    /// When a revision was first seen: a restart of the operator is no new observation.
    fn first_seen(&self, revision: &str) -> Timestamp {
        match &self.status.observed_at {
            Some(at) if self.status.revision.as_deref() == Some(revision) => at.0,
            _ => Timestamp::now(),
        }
    }

    fn failed(&self, error: &source::Error) -> Vec<Verdict> {
        let reason = error.reason();
        let mut message = redact::text(&chain(error));
        if let Some(revision) = &self.status.revision {
            message = format!("{message}; {revision} stays live");
        }
        self.publish.send_if_modified(|state| {
            let problem = Some((reason, message.clone()));
            let changed = state.latest.is_none() && state.problem != problem;
            state.problem = problem;
            changed
        });
        vec![
            ready(Some(false), reason, message.clone()),
            Verdict::new(
                ConditionType::Reconciling,
                true,
                Reason::Progressing,
                "the fetch is retried",
            ),
        ]
    }

    async fn report(&mut self, object: &GitRepository, verdicts: Vec<Verdict>) {
        let conditions: &[Condition] = &self.status.conditions;
        let generation = object.metadata.generation;
        let now = Time(Timestamp::now());
        let status = GitRepositoryStatus {
            observed_generation: generation,
            conditions: set_conditions(conditions, verdicts, generation, &now),
            last_handled_reconcile_at: object.annotations().get(REQUESTED_AT).cloned(),
            ..self.status.clone()
        };
        if object.status.as_ref() == Some(&status) && self.status == status {
            return;
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let client = &self.context.client;
        self.status = status;
        if let Err(error) =
            write_status::<GitRepository>(client, &namespace, &name, &self.status).await
        {
            tracing::warn!(namespace, name, %error, "writing the status of a GitRepository");
            self.asked = None;
            self.next_poll = self.next_poll.min(Instant::now() + self.backoff.next());
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

fn ready(status: Option<bool>, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionType::Ready, status, reason, message)
}
