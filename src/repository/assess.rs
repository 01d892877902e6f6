//! Decides the repository's conditions and the time of the next poll from the result of a poll.
//! Pure.

use std::time::Duration;

use crate::api::{Condition, ConditionType, Reason, Verdict};
use crate::backoff::{Backoff, jittered};
use crate::fleet::SourceName;
use crate::notify::Level;

/// The longest pause between two tries of a failing remote, and between two checks of a suspended
/// repository.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The results of one reconciliation.
pub(super) struct Observed<'a> {
    /// The repository.
    pub(super) name: &'a SourceName,
    /// The Secret that `spec.secretRef` names.
    pub(super) secret: Option<&'a str>,
    /// The result of the poll.
    pub(super) poll: Poll,
    /// Why the Sync of `spec.sync` could not be made, or is not deleted.
    pub(super) child_error: Option<(Reason, String)>,
    /// Why webhooks do not work.
    pub(super) webhook_error: Option<(Reason, String)>,
    /// The revision that was live before this poll.
    pub(super) live: Option<&'a str>,
}

/// The result of a poll.
pub(super) enum Poll {
    /// No poll, because the repository is suspended.
    Suspended {
        /// Who did it, and why.
        by_whom: String,
        /// Why the revision that was live before the start is not there for the Syncs.
        unrestored: Option<(Reason, String)>,
    },
    /// A revision that may go live.
    Fetched {
        /// The revision.
        revision: String,
        /// The signer, as in "signed by …". None if no signature is required.
        signer: Option<String>,
    },
    /// No revision may go live.
    Failed {
        /// The reason from the closed set.
        reason: Reason,
        /// The text for people.
        message: String,
    },
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Assessment {
    /// The conditions; the first is `Ready`.
    pub(super) verdicts: Vec<Verdict>,
    /// When to poll again.
    pub(super) next_poll: NextPoll,
    /// The problem that Syncs report while there is no revision at all.
    pub(super) problem: Option<(Reason, String)>,
}

/// When to poll again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextPoll {
    /// After `spec.interval`: the remote answered.
    AfterInterval,
    /// After `spec.interval`, and earlier failures no longer count.
    AfterSuccess,
    /// After a pause that grows with each failure.
    AfterBackoff,
    /// When a person requests it or resumes the repository.
    WhenAsked,
}

impl NextPoll {
    /// The pause until the next poll.
    pub(super) fn pause(self, interval: Duration, backoff: &mut Backoff) -> Duration {
        match self {
            Self::AfterInterval => jittered(interval),
            Self::AfterSuccess => {
                backoff.reset();
                jittered(interval)
            }
            Self::AfterBackoff => backoff.pause(),
            Self::WhenAsked => LONGEST_PAUSE,
        }
    }
}

/// Decides.
pub(super) fn assess(observed: Observed<'_>) -> Assessment {
    let mut assessment = match observed.poll {
        Poll::Suspended {
            by_whom,
            unrestored,
        } => {
            let suspended = suspended(&by_whom);
            return Assessment {
                next_poll: match unrestored {
                    Some(_) => NextPoll::AfterBackoff,
                    None => suspended.next_poll,
                },
                problem: unrestored,
                ..suspended
            };
        }
        Poll::Fetched {
            ref revision,
            ref signer,
        } => fetched(revision, signer.as_deref(), observed.webhook_error),
        Poll::Failed {
            reason,
            ref message,
        } => {
            let advice = advice(observed.name, observed.secret, reason);
            failed(reason, message, advice, observed.live)
        }
    };
    if let Some((reason, message)) = observed.child_error {
        // Only a person can end it.
        let stalled = (reason == Reason::PruneHeld)
            .then(|| Verdict::new(ConditionType::Stalled, true, reason, &*message));
        assessment.verdicts = vec![ready(false, reason, message)];
        assessment.verdicts.extend(stalled);
    }
    assessment
}

fn suspended(by_whom: &str) -> Assessment {
    let message = format!("{by_whom}; set spec.suspend to false to fetch again");
    Assessment {
        verdicts: vec![ready(None, Reason::Suspended, message)],
        next_poll: NextPoll::WhenAsked,
        problem: None,
    }
}

fn fetched(
    revision: &str,
    signer: Option<&str>,
    webhook_error: Option<(Reason, String)>,
) -> Assessment {
    let message = match signer {
        Some(signer) => format!("fetched {revision}, {signer}"),
        None => format!("fetched {revision}"),
    };
    let ready = match webhook_error {
        None => ready(true, Reason::Fetched, message),
        Some((reason, why)) => ready(false, reason, format!("{message}, but {why}")),
    };
    Assessment {
        verdicts: vec![ready],
        next_poll: NextPoll::AfterSuccess,
        problem: None,
    }
}

fn failed(reason: Reason, message: &str, advice: Option<String>, live: Option<&str>) -> Assessment {
    let mut message = message.to_owned();
    if let Some(advice) = advice {
        message = format!("{message}; {advice}");
    }
    match live {
        Some(live) if message.contains(live) => {
            message = format!("{message}; it was live before and stays live");
        }
        Some(live) => message = format!("{message}; {live} stays live"),
        None => (),
    }
    let (next_poll, more) = match reason {
        // The remote answered, so the usual interval stays.
        Reason::VerificationFailed => (
            NextPoll::AfterInterval,
            Verdict::new(
                ConditionType::Stalled,
                true,
                reason,
                "push a revision with an accepted signature, or add its signer to the Secret of \
                 spec.verify",
            ),
        ),
        _ => (
            NextPoll::AfterBackoff,
            Verdict::new(
                ConditionType::Reconciling,
                true,
                Reason::Progressing,
                "the fetch is retried",
            ),
        ),
    };
    Assessment {
        problem: Some((reason, message.clone())),
        verdicts: vec![ready(false, reason, message), more],
        next_poll,
    }
}

/// What a person can do, if the failure itself does not name the object to change.
fn advice(repository: &SourceName, secret: Option<&str>, reason: Reason) -> Option<String> {
    match (reason, secret) {
        (Reason::AuthenticationFailed, Some(secret)) => Some(format!(
            "correct Secret {}/{secret}, which is used as soon as it changes",
            repository.namespace
        )),
        (Reason::AuthenticationFailed, None) => {
            Some("name a Secret with credentials in spec.secretRef".to_owned())
        }
        (Reason::RefNotFound, _) => {
            Some("correct spec.ref, or restore it on the server".to_owned())
        }
        _ => None,
    }
}

/// Whether the change of a condition needs an event, and how urgent it is: a failure that is new, or the end of one. Each
/// refused revision is a failure of its own. Other failures with the same reason are the same failure.
pub(super) fn news(before: &[Condition], after: &[Condition]) -> Option<Level> {
    let outline = |conditions: &[Condition]| {
        let ready = conditions.first()?;
        let is_refusal = ready.reason == Reason::VerificationFailed.as_str();
        let of = is_refusal.then(|| ready.message.clone());
        Some((ready.status.clone(), ready.reason.clone(), of))
    };
    let is = |conditions: &[Condition], status: &str| {
        conditions
            .first()
            .is_some_and(|ready| ready.status == status)
    };
    match is(after, "False") {
        true => (outline(before) != outline(after)).then_some(Level::Warning),
        false => (is(before, "False") && is(after, "True")).then_some(Level::Normal),
    }
}

fn ready(status: impl Into<Option<bool>>, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionType::Ready, status, reason, message)
}

#[cfg(test)]
mod tests;
