//! Follows a commit from the push to the cluster.

use std::time::{Duration, Instant};

use towline::api::{Condition, GitRepository, ObjectCounts, Sync};

use super::Scene;
use crate::{object_watch::ObjectWatch, stage::NAME};

/// The times of a pushed commit, measured from the end of `git push`.
pub struct Applied {
    /// The repository reports that it was fetched.
    pub observed: Duration,
    /// All objects are applied.
    pub applied: Duration,
    /// All objects are healthy.
    pub healthy: Duration,
    pub counts: ObjectCounts,
}

/// A pushed commit that was not applied.
pub struct Refused {
    pub after: Duration,
    pub reason: String,
    pub message: String,
}

impl Scene<'_> {
    /// Pushes, and follows the commit until its objects are live and healthy.
    pub async fn push(self, commit: &str) -> Result<Applied, String> {
        let mut repository = ObjectWatch::on(&self.stage.repositories(), NAME).await?;
        let mut sync = ObjectWatch::on(&self.stage.syncs(), NAME).await?;
        let observed = repository.until("the commit is observed", self.patience, |repository| {
            is_observed(repository?, commit)
        });
        let live = async {
            let what = "the commit is applied";
            let (applied, ()) = sync
                .until(what, self.patience, |sync| is_applied(sync?, commit))
                .await?;
            let what = "the commit is live and healthy";
            let (healthy, ()) = sync
                .until(what, self.patience, |sync| is_ready(sync?, commit))
                .await?;
            let counts = sync
                .until("the objects are counted", self.patience, |sync| {
                    sync?.status.as_ref()?.objects
                })
                .await?;
            Ok((applied, healthy, counts.1))
        };
        let (pushed, (observed, ()), (applied, healthy, counts)) =
            tokio::try_join!(self.pushed(), observed, live)?;
        Ok(Applied {
            observed: observed.saturating_duration_since(pushed),
            applied: applied.saturating_duration_since(pushed),
            healthy: healthy.saturating_duration_since(pushed),
            counts,
        })
    }

    /// Pushes a commit that must not be applied, and waits until towline refuses it.
    pub async fn push_bad(self, commit: &str) -> Result<Refused, String> {
        let mut sync = ObjectWatch::on(&self.stage.syncs(), NAME).await?;
        let verdict = sync.until("the commit is refused", self.patience, |sync| {
            let ready = about(sync?, commit)?;
            (ready.status == "False").then(|| (ready.reason.clone(), ready.message.clone()))
        });
        let (pushed, (refused, (reason, message))) = tokio::try_join!(self.pushed(), verdict)?;
        Ok(Refused {
            after: refused.saturating_duration_since(pushed),
            reason,
            message,
        })
    }

    /// Pushes. Returns the time when the push was done.
    async fn pushed(self) -> Result<Instant, String> {
        let clone = self.stage.clone.clone();
        let pushed = tokio::task::spawn_blocking(move || {
            clone.push()?;
            Ok::<_, String>(Instant::now())
        });
        pushed.await.map_err(|error| error.to_string())?
    }
}

fn is_observed(repository: &GitRepository, commit: &str) -> Option<()> {
    let revision = repository.status.as_ref()?.revision.as_ref()?;
    revision.ends_with(commit).then_some(())
}

fn is_applied(sync: &Sync, commit: &str) -> Option<()> {
    let revision = sync.status.as_ref()?.last_applied_revision.as_ref()?;
    revision.ends_with(commit).then_some(())
}

/// Whether the cluster equals `commit` and is healthy.
pub fn is_ready(sync: &Sync, commit: &str) -> Option<()> {
    is_applied(sync, commit)?;
    (ready(sync)?.status == "True").then_some(())
}

/// The condition `Ready`, if it is about `commit`.
fn about<'a>(sync: &'a Sync, commit: &str) -> Option<&'a Condition> {
    let attempted = sync.status.as_ref()?.last_attempted_revision.as_ref()?;
    ready(sync).filter(|_| attempted.ends_with(commit))
}

fn ready(sync: &Sync) -> Option<&Condition> {
    let conditions = &sync.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}
