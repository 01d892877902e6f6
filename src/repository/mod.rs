//! The driver of one `GitRepository`: wait → poll → publish → assess → write. A found revision goes
//! live before anything about it is written to the API server.

mod ancestors;
mod assess;
mod child;
mod driven;
mod inbox;
mod login;
mod poll;
mod repair;
mod standby;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use self::ancestors::ancestors;
use self::assess::{Assessment, LONGEST_PAUSE, NextPoll, Observed, Poll, assess};
use self::child::Child;
use self::inbox::{Inbox, superseded};
pub(crate) use self::login::{Login, LoginError};
pub(crate) use self::poll::request;
use self::poll::{PollError, PolledRevision, Poller};
use self::repair::RepairSchedule;
use self::standby::standby;
use self::webhook::Webhook;
use crate::api::{
    Condition, ConditionType, GitRepository, GitRepositoryStatus, Reason, Status as _, Time,
    reason_since, set_conditions, short_commits, summary,
};
use crate::backoff::Backoff;
use crate::driver::{
    Context, StatusBackoff, StatusError, StatusOf, StatusRefusal, Written, write_status,
};
use crate::fleet::{FetchedRevision, SourceName};
use crate::intent::SourceIntent;
use crate::metrics::Work;
use crate::notify::{Level, Notice};

/// Drives one repository until its object is gone.
struct Driver {
    context: Arc<Context>,
    name: SourceName,
    inbox: Inbox,
    poller: Poller,
    webhook: Webhook,
    repair: RepairSchedule,
    /// The requested state when the last poll began.
    asked: Option<Asked>,
    child: Child,
    backoff: Backoff,
    next_poll: Instant,
    /// What the last poll says about the time of the next one.
    after: NextPoll,
    /// When the last poll began.
    last_poll: Instant,
    /// The status that was written last.
    status: GitRepositoryStatus,
    /// When to write the status again after a failure.
    write_again: Option<Instant>,
    /// The pauses between tries to write the status.
    status_backoff: StatusBackoff,
    refused: RefusedStatus,
}

/// A status that the API server refused, so that it is not sent at each poll.
#[derive(Default)]
struct RefusedStatus {
    status: Option<GitRepositoryStatus>,
    refusal: StatusRefusal,
}

impl RefusedStatus {
    fn is(&self, status: &GitRepositoryStatus) -> bool {
        self.status.as_ref() == Some(status)
    }
}

/// A change of any of these makes a poll due at once.
#[derive(Clone, PartialEq)]
struct Asked {
    generation: Option<i64>,
    requested_at: Option<String>,
}

impl Driver {
    pub(crate) fn new(context: Arc<Context>, object: watch::Receiver<Arc<GitRepository>>) -> Self {
        let first = object.borrow().clone();
        let name = SourceName::new(&first.namespace().unwrap_or_default(), &first.name_any());
        Self {
            inbox: Inbox::new(&context.fleet, &name, object),
            context,
            name,
            poller: Poller::default(),
            webhook: Webhook::default(),
            repair: RepairSchedule::new(),
            asked: None,
            child: Child::default(),
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
            next_poll: Instant::now(),
            after: NextPoll::AfterInterval,
            last_poll: Instant::now(),
            status: first.status.clone().unwrap_or_default(),
            write_again: None,
            status_backoff: StatusBackoff::default(),
            refused: RefusedStatus::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let object = self.inbox.object.borrow_and_update().clone();
            if object.metadata.deletion_timestamp.is_none() {
                self.reconcile(&object).await;
                self.report_plans(&object).await;
                if self.write_again.is_some_and(|at| at <= Instant::now()) {
                    self.write(&object).await;
                }
            }
            if self.wait(&object).await.is_err() {
                return;
            }
        }
    }

    /// What the repository asks for, within what the operator's arguments allow.
    fn intent(&self, object: &GitRepository) -> SourceIntent {
        let intent = SourceIntent::from(object);
        SourceIntent {
            interval: self.context.policy.bounded(intent.interval),
            ..intent
        }
    }

    async fn reconcile(&mut self, object: &GitRepository) {
        let intent = self.intent(object);
        let asked = Asked {
            generation: intent.generation,
            requested_at: intent.requested_at.clone(),
        };
        let new_spec = self.asked.as_ref().map(|was| was.generation) != Some(asked.generation);
        let polls = self.asked.as_ref() != Some(&asked) || Instant::now() >= self.next_poll;
        let is_news = self.keep_child(object, new_spec, polls).await;
        if !polls && !is_news {
            return;
        }
        self.asked = Some(asked);
        self.last_poll = Instant::now();
        if new_spec || self.webhook.is_due(&intent) {
            let (secrets, receivers) = (&self.context.secrets, &self.context.receivers);
            let webhook = &mut self.webhook;
            webhook.keep(secrets, receivers, &intent, &self.name).await;
        }
        let live = self.status.revision.clone();
        let changes = self.inbox.object.clone();
        let poll = tokio::select! {
            poll = self.poll(object, &intent, new_spec) => poll,
            // Ends a fetch whose result nobody wants.
            () = superseded(changes, intent.generation) => {
                self.asked = None;
                return;
            }
        };
        let assessment = assess(Observed {
            name: &self.name,
            secret: intent.credentials.as_deref(),
            poll,
            child_error: self.child.error.clone(),
            webhook_error: self.webhook.error.clone(),
            live: live.as_deref(),
        });
        let pause = assessment
            .next_poll
            .pause(intent.interval, &mut self.backoff);
        self.next_poll = Instant::now() + pause;
        self.after = assessment.next_poll;
        self.report(object, &intent, assessment).await;
    }

    /// Applies the child Sync that the repository asks for, if it may differ. With `polls`, a poll
    /// follows, so an earlier error is tried again. Returns whether an error came, changed or ended.
    async fn keep_child(&mut self, object: &GitRepository, new_spec: bool, polls: bool) -> bool {
        let view = self.inbox.child();
        let is_watched = object.has_child() || self.child.is_held();
        let is_lost = is_watched && self.child.is_lost(&view, object);
        let is_due = is_lost && self.child.may_be_kept(Instant::now());
        let has_failed = polls && self.child.error.is_some();
        if !(new_spec || is_due || has_failed) {
            return false;
        }
        let before = self.child.error.take();
        self.child.keep(&self.context, object, &self.name).await;
        self.child.error != before
    }

    async fn poll(
        &mut self,
        object: &GitRepository,
        intent: &SourceIntent,
        new_spec: bool,
    ) -> Poll {
        if let Some(by_whom) = &intent.suspended {
            let unrestored = self.restore(object, intent).await;
            return Poll::Suspended {
                by_whom: by_whom.clone(),
                unrestored,
            };
        }
        let _at_work = self.context.metrics.at_work(Work::Fetch);
        let poller = &mut self.poller;
        match poller
            .poll(&self.context, intent, &self.name, new_spec)
            .await
        {
            Ok(found) => {
                let revision = self.publish(object, intent, &found);
                Poll::Fetched {
                    revision,
                    signer: found.signer,
                }
            }
            Err(error) => {
                let reason = error.reason();
                // A server that does not answer would be waited for twice.
                if reason != Reason::FetchFailed {
                    self.restore(object, intent).await;
                }
                failed(&error)
            }
        }
    }

    /// After a start: publishes the revision that was live, if no other one can be. Syncs go on to correct its drift.
    /// Returns why it cannot be.
    async fn restore(
        &mut self,
        object: &GitRepository,
        intent: &SourceIntent,
    ) -> Option<(Reason, String)> {
        let is_known = self.context.fleet.sources.read(&self.name).latest.is_some();
        let live = self.status.revision.clone().filter(|_| !is_known)?;
        let found = self
            .poller
            .restore(&self.context, intent, &self.name, &live)
            .await;
        match found {
            Ok(found) => {
                self.publish(object, intent, &found);
                None
            }
            Err(error) => {
                let (reason, error) = (error.reason(), error.message());
                tracing::warn!(
                    repository = %self.name, revision = live, error,
                    "the revision that was live cannot be fetched again; its drift is not corrected"
                );
                Some((reason, format!("{live} cannot be fetched again: {error}")))
            }
        }
    }

    /// Publishes a revision for the Syncs. Returns its name.
    fn publish(
        &mut self,
        object: &GitRepository,
        intent: &SourceIntent,
        found: &PolledRevision,
    ) -> String {
        let snapshot = &found.snapshot;
        let revision = snapshot.revision.to_string();
        let sources = &self.context.fleet.sources;
        let known = sources.read(&self.name).latest;
        let is_new = self.status.revision.as_deref() != Some(revision.as_str());
        let (at, fetch) = match known {
            Some(known) if known.snapshot.revision == snapshot.revision => (known.at, known.fetch),
            _ => (self.first_seen(&revision), is_new.then_some(found.times)),
        };
        if is_new {
            // The event is written before a Sync can report about the revision.
            let note = format!("{revision} by {}: {}", snapshot.author, snapshot.subject);
            let kind = (Level::Normal, Reason::ChangeCommitted);
            let notice = Notice::about(object, kind, Some(&revision), note)
                .with_change(&snapshot.author, &snapshot.subject);
            // As the status has it, from which it may be told again.
            self.context.notifier.tell(Notice { at, ..notice });
        }
        // Also publishes the new snapshot of a known revision: its objects may have moved, because
        // the cache was damaged or had grown too large.
        let asked = self.asked.as_ref();
        let requested_at = asked.and_then(|asked| asked.requested_at.clone());
        sources.update(&self.name, |view| {
            view.latest = Some(FetchedRevision {
                snapshot: Arc::clone(snapshot),
                at,
                fetch,
                ignore: Arc::clone(&intent.ignore),
                access: Arc::clone(&found.access),
                verify: intent.verify.clone().map(Arc::new),
            });
            view.problem = None;
            view.requested_at = requested_at;
        });
        self.status.committed_at = Some(Time(snapshot.committed_at));
        self.status.observed_at = Some(Time(at));
        if is_new {
            self.status.polled_at = Some(Time(found.times.began));
        }
        // A status of an earlier version has none.
        if is_new || self.status.ancestors.is_empty() {
            let before = self.status.revision.as_deref().filter(|_| is_new);
            self.status.ancestors = ancestors(&snapshot.parents, before, &self.status.ancestors);
        }
        self.status.revision = Some(revision.clone());
        revision
    }

    /// When a revision was first seen. A restart of the operator does not change this time.
    fn first_seen(&self, revision: &str) -> Timestamp {
        match &self.status.observed_at {
            Some(at) if self.status.revision.as_deref() == Some(revision) => at.0,
            _ => Timestamp::now(),
        }
    }

    /// Reports the result to Syncs, metrics, events and the status. Each gets only what is new to
    /// it.
    async fn report(
        &mut self,
        object: &GitRepository,
        intent: &SourceIntent,
        assessment: Assessment,
    ) {
        let Assessment {
            verdicts, problem, ..
        } = assessment;
        let failure = verdicts.first().cloned();
        self.context.fleet.sources.update(&self.name, |view| {
            if problem.is_some() {
                view.problem = problem;
            }
            view.requested_at.clone_from(&intent.requested_at);
            if let Some(ready) = &failure {
                view.ready.set(ready.status == Some(true), ready.reason);
            }
        });
        let before: &[Condition] = &self.status.conditions;
        let generation = intent.generation;
        let now = Time(Timestamp::now());
        let line = verdicts.first().map(|ready| summary(&ready.message));
        let mut conditions = set_conditions(before, verdicts, generation, &now);
        let plans = self.plans_condition(intent.pull_requests.is_some(), generation, &now);
        let of_plans = self.plans_notice(object, plans.as_ref());
        conditions.extend(plans);
        let known = (before, self.status.reason_since.as_ref());
        let status = GitRepositoryStatus {
            reason_since: reason_since(known, &conditions, &now),
            summary: line,
            short_revision: self.status.revision.as_deref().map(short_commits),
            observed_generation: generation,
            conditions,
            last_handled_reconcile_at: intent.requested_at.clone(),
            ..self.status.clone()
        };
        let fitted = status.fit();
        let is_written = object.status.as_ref() == Some(&fitted) || self.refused.is(&fitted);
        if is_written && self.status == status {
            return;
        }
        let news = assess::news(before, &status.conditions).zip(failure);
        let news = news.map(|(level, ready)| {
            let revision = status.revision.as_deref();
            Notice::about(object, (level, ready.reason), revision, ready.message)
        });
        self.status = status;
        self.write(object).await;
        // After the status: whoever hears of it finds it there, and so does an operator that is started anew.
        for notice in of_plans.into_iter().chain(news) {
            self.context.notifier.tell(notice);
        }
    }

    /// The condition about the plans of pull requests. Until they are known, it stays as it was.
    fn plans_condition(
        &self,
        are_asked_for: bool,
        generation: Option<i64>,
        now: &Time,
    ) -> Option<Condition> {
        if !are_asked_for {
            return None;
        }
        let before = &self.status.conditions;
        match self.inbox.plans.borrow().verdict.clone() {
            Some(verdict) => set_conditions(before, vec![verdict], generation, now).pop(),
            None => before.iter().find(|before| is_plans(before)).cloned(),
        }
    }

    /// Reports what became of the plans of pull requests, if that has changed since the last report.
    async fn report_plans(&mut self, object: &GitRepository) {
        let (generation, now) = (object.metadata.generation, Time(Timestamp::now()));
        let is_asked_for = self.intent(object).pull_requests.is_some();
        let condition = self.plans_condition(is_asked_for, generation, &now);
        let before = &self.status.conditions;
        // The first report comes from the first poll.
        let is_known = before.iter().find(|before| is_plans(before)) == condition.as_ref();
        if before.is_empty() || is_known {
            return;
        }
        let notice = self.plans_notice(object, condition.as_ref());
        let others = before.iter().filter(|before| !is_plans(before)).cloned();
        self.status.conditions = others.chain(condition).collect();
        self.write(object).await;
        if let Some(notice) = notice {
            self.context.notifier.tell(notice);
        }
    }

    /// Says that plans of pull requests have begun to fail.
    fn plans_notice(
        &self,
        object: &GitRepository,
        condition: Option<&Condition>,
    ) -> Option<Notice> {
        let has_failed = |condition: &Condition| condition.reason == Reason::PlanFailed.as_str();
        let failed = condition.filter(|condition| has_failed(condition))?;
        let mut before = self.status.conditions.iter();
        let is_known = before.any(|before| is_plans(before) && has_failed(before));
        let kind = (Level::Warning, Reason::PlanFailed);
        let revision = self.status.revision.as_deref();
        (!is_known).then(|| Notice::about(object, kind, revision, failed.message.clone()))
    }

    async fn write(&mut self, object: &GitRepository) {
        let context = &self.context;
        context.cluster.running_applies.wait_until_idle().await;
        let SourceName { namespace, name } = &self.name;
        let of = StatusOf {
            namespace,
            name,
            version: None,
        };
        let written = write_status::<GitRepository>(context, of, &self.status).await;
        match &written {
            Ok(_) => {
                self.write_again = None;
                self.status_backoff.reset();
            }
            Err(error) => {
                self.write_again = Some(Instant::now() + self.status_backoff.pause(error));
                let error = crate::chain(error);
                tracing::warn!(%namespace, %name, error, "writing the status of a GitRepository");
            }
        }
        self.note_refusal(object, &written);
    }

    /// Reports, once for each cause, that the API server refused a status.
    fn note_refusal(&mut self, object: &GitRepository, written: &Result<Written, StatusError>) {
        if let Ok(written) = written {
            let is_refused = matches!(written, Written::InShort(_));
            self.refused.status = is_refused.then(|| self.status.fit());
        }
        if let Some(message) = self.refused.refusal.note(written) {
            let kind = (Level::Warning, Reason::StatusRefused);
            let revision = self.status.revision.as_deref();
            let notice = Notice::about(object, kind, revision, message);
            self.context.notifier.tell(notice);
        }
    }
}

fn is_plans(condition: &Condition) -> bool {
    condition.type_ == ConditionType::PullRequestsPlanned.as_str()
}

fn failed(error: &PollError) -> Poll {
    Poll::Failed {
        reason: error.reason(),
        message: error.message(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A merge patch does not change fields that it does not name, so a field without a value is
    /// written as null.
    #[test]
    fn a_status_names_the_fields_that_have_no_value() {
        let status = serde_json::to_value(GitRepositoryStatus::default()).unwrap();
        for field in [
            "observedGeneration",
            "revision",
            "committedAt",
            "observedAt",
            "lastHandledReconcileAt",
        ] {
            assert_eq!(status.get(field), Some(&serde_json::Value::Null), "{field}");
        }
    }
}
