//! From notices to requests of a service: which notices an alert tells, which of them make one message, the words of the
//! message, and the request that a service takes. Pure.
//!
//! ```text
//! notice → Filter (selected?) → Ledger (new? begins or ends a problem?) → Groups (one message for many) → compose
//!     (words) → request (wire format)
//! ```

mod answer;
mod compose;
mod deployment;
mod filter;
mod group;
mod lean;
mod ledger;
mod link;
mod pace;
mod problem;
mod service;
mod status;
mod template;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

pub use self::answer::{Answer, Outcome, judge, judge_deployment, judge_planning, pause};
pub use self::compose::{Line, Message, compose, example, reminder};
pub use self::deployment::{Deployment, DeploymentState, Setting, deployments};
pub use self::filter::{Filter, FilterError};
pub use self::group::{Group, Groups};
pub use self::lean::Lean;
pub use self::ledger::{Ledger, Origin, Saved};
pub use self::link::commit_link;
pub use self::pace::{Pace, pace};
pub use self::problem::{Context, OpenNotice, Problem};
pub use self::service::{
    Address, Comment, Deploying, Destination, DestinationError, InstallationToken, Labeller,
    NotReportable, PullRequest, PullRequests, Repository, Request, Rights, check_app, refresh,
    requests, status_request, token_of, token_request,
};
pub use self::status::{CommitStatus, Course, about_commit, status_name, statuses};
pub use self::template::{TemplateError, Templates};
use crate::api::Reason;
use crate::notify::Notice;

/// The resource that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Subject {
    /// The subject from its parts.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The subject of a notice.
    pub fn of(notice: &Notice) -> Self {
        let about = &notice.about;
        let text = |part: &Option<String>| part.as_deref().unwrap_or_default().to_owned();
        Self::new(
            &text(&about.kind),
            &text(&about.namespace),
            &text(&about.name),
        )
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        write!(f, "{kind} {namespace}/{name}")
    }
}

/// Names one notice, also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 8]);

impl Id {
    /// The id of a notice. A resource converges at a revision once, and a revision is committed once, so these need no
    /// time.
    pub fn of(notice: &Notice) -> Self {
        match notice.reason {
            Reason::Converged | Reason::ChangeCommitted | Reason::Progressing => {
                Self::timed(notice, "")
            }
            _ => Self::at(notice),
        }
    }

    /// The id of a notice that may come again. Kubernetes keeps whole seconds, so a notice that is made again from a
    /// status has no more.
    pub fn at(notice: &Notice) -> Self {
        Self::timed(notice, &notice.at.as_second().to_string())
    }

    fn timed(notice: &Notice, time: &str) -> Self {
        Self::parts(&[
            &Subject::of(notice).to_string(),
            notice.reason.as_str(),
            notice.revision.as_deref().unwrap_or_default(),
            time,
        ])
    }

    /// An id of texts.
    fn parts(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a notice is, for one alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeState {
    /// Something happened.
    News,
    /// A problem began.
    Begins,
    /// A problem is over.
    Ends,
}

impl NoticeState {
    /// The name in templates and in bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::News => "news",
            Self::Begins => "begins",
            Self::Ends => "ends",
        }
    }
}

/// A problem that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it was.
    pub reason: Reason,
    /// The revision that it was about.
    pub revision: Option<String>,
    /// When it began.
    pub since: Timestamp,
}

/// A notice that an alert has to tell.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its id.
    pub id: Id,
    /// What it is about.
    pub subject: Subject,
    /// What it is.
    pub state: NoticeState,
    /// The problems that end with it.
    pub ended: Vec<Ended>,
    /// The notice.
    pub notice: Arc<Notice>,
}

/// A notice for tests.
#[cfg(test)]
pub(crate) mod testing {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::notify::{Change, Level};

    pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    pub(crate) fn notice(name: &str, reason: Reason, second: i64) -> Notice {
        let is_warning = !matches!(
            reason,
            Reason::Converged
                | Reason::ChangeCommitted
                | Reason::DriftCorrected
                | Reason::Fetched
                | Reason::Pinned
                | Reason::Unpinned
        );
        Notice {
            about: Arc::new(ObjectReference {
                kind: Some("Sync".to_owned()),
                namespace: Some("prod".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            }),
            revision: Some(format!("main@sha1:{COMMIT}")),
            reason,
            level: match is_warning {
                true => Level::Warning,
                false => Level::Normal,
            },
            delivers: None,
            replaces: None,
            change: Some(Arc::new(Change {
                author: "Anna".to_owned(),
                subject: "Raise the limit".to_owned(),
            })),
            objects: vec!["ConfigMap prod/a".to_owned()],
            message: format!("{name} says <b>&"),
            at: Timestamp::from_second(second).unwrap(),
        }
    }
}
