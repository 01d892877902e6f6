//! From the way of a revision into the cluster to the spans of a trace, and their wire format: OTLP over HTTP, in JSON.
//! Pure.
//!
//! One trace is one revision on its way to one Sync. Its ids follow from both, so that another process gives the same
//! ids to the same way.

mod otlp;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

pub use self::otlp::{Reply, body, head, judge, written};
use crate::api::Reason;
use crate::text::{shorten, visible};

/// The longest text of an attribute, in bytes.
const LONGEST: usize = 1024;

/// A step of the way. The names are those of the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asking the remote, and downloading the commit.
    Fetch,
    /// Checking the signature.
    Verify,
    /// From files to objects.
    Render,
    /// Comparing with the cluster.
    Plan,
    /// Writes to the cluster.
    Apply,
    /// Waiting for health.
    Health,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Verify => "verify",
            Self::Render => "render",
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Health => "health",
        }
    }
}

/// When something began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its begin.
    pub began: Timestamp,
    /// Its end.
    pub ended: Timestamp,
}

impl Period {
    /// The part that is within another period: at least one moment of it.
    fn within(self, whole: Self) -> Self {
        let began = self.began.clamp(whole.began, whole.ended);
        Self {
            began,
            ended: self.ended.clamp(began, whole.ended),
        }
    }
}

/// How the way ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The cluster equals the revision and, with `wait`, is healthy.
    Converged,
    /// The revision has failed.
    Failed {
        /// In which step.
        step: Option<Step>,
        /// The reason of the condition `Ready`.
        reason: Reason,
        /// Its message. It holds no secret.
        message: String,
    },
    /// A later revision came before the end.
    Replaced,
    /// It had failed before, and has converged now.
    Recovered,
}

impl End {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Failed { .. } => "failed",
            Self::Replaced => "replaced",
            Self::Recovered => "recovered",
        }
    }
}

/// The way of a revision to one Sync, at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// `<ref>@sha1:<commit>`.
    pub revision: String,
    /// When towline first saw it. None if that was before there was reason to apply it: for the first revision of a
    /// Sync, and for one that a pin brought back.
    pub observed: Option<Timestamp>,
    /// The whole way. Of one that recovered: the time since it had failed.
    pub whole: Period,
    /// The steps that are known, in their order.
    pub steps: Vec<(Step, Period)>,
    /// The objects that were created, changed and pruned.
    pub changes: [usize; 3],
    /// How it ended.
    pub end: End,
}

/// The Sync, and where its revisions are from.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The Sync's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// The name of its GitRepository.
    pub repository: &'a str,
    /// The URL of that, without user, password and query.
    pub url: &'a str,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(usize),
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its id.
    pub id: [u8; 8],
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// Its name.
    pub name: &'static str,
    /// When it began and ended.
    pub period: Period,
    /// Its attributes.
    pub attributes: Vec<(&'static str, Value)>,
    /// What failed.
    pub error: Option<String>,
}

/// The spans of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub id: [u8; 16],
    /// The spans: the whole way first, then its steps.
    pub spans: Vec<Span>,
}

/// The trace of a way.
pub fn trace(about: &About<'_>, way: &Way) -> Trace {
    // A branch that is set back brings the same revision again, at another time. Kubernetes keeps whole seconds.
    let seen = way.observed.map(|at| at.as_second().to_string());
    let seen = seen.unwrap_or_default();
    let id: [u8; 16] = hashed(&[about.uid, &way.revision, &seen]);
    let named = |name: &str| hashed(&[&hex::encode(id), name]);
    let whole = named(WHOLE);
    let (error, failed) = match &way.end {
        End::Failed { step, message, .. } => (Some(text(message)), *step),
        _ => (None, None),
    };
    let is_again = way.end == End::Recovered;
    let (name, parent) = match is_again {
        true => (AGAIN, Some(whole)),
        false => (WHOLE, None),
    };
    let mut spans = vec![Span {
        id: named(name),
        parent,
        name,
        period: way.whole.within(Period {
            began: way.whole.began,
            ended: way.whole.ended.max(way.whole.began),
        }),
        attributes: attributes(about, way),
        error: error.clone(),
    }];
    let period = spans[0].period;
    spans.extend(way.steps.iter().map(|(step, own)| Span {
        id: named(step.as_str()),
        parent: Some(whole),
        name: step.as_str(),
        period: own.within(period),
        attributes: match step {
            Step::Apply => counts(way.changes).to_vec(),
            _ => Vec::new(),
        },
        error: error.clone().filter(|_| failed == Some(*step)),
    }));
    Trace { id, spans }
}

/// The span of the whole way, and that of a way that goes on after a failure.
const WHOLE: &str = "deliver";
const AGAIN: &str = "recover";

/// The attributes of the whole way. Names with `towline.` are our own; all others are OpenTelemetry's semantic
/// conventions.
fn attributes(about: &About<'_>, way: &Way) -> Vec<(&'static str, Value)> {
    let (reference, commit) = parts(&way.revision);
    let mut all = vec![
        ("k8s.namespace.name", about.namespace),
        ("towline.sync.name", about.name),
        ("towline.sync.uid", about.uid),
        ("towline.repository.name", about.repository),
        ("towline.outcome", way.end.as_str()),
        ("vcs.ref.head.name", reference),
        ("vcs.ref.head.revision", commit),
        ("vcs.repository.url.full", about.url),
    ];
    if let End::Failed { reason, .. } = &way.end {
        all.push(("error.type", reason.as_str()));
    }
    let all = all.into_iter().filter(|(_, value)| !value.is_empty());
    all.map(|(name, value)| (name, Value::Text(text(value))))
        .collect()
}

fn counts([created, changed, pruned]: [usize; 3]) -> [(&'static str, Value); 3] {
    [
        ("towline.objects.created", Value::Number(created)),
        ("towline.objects.changed", Value::Number(changed)),
        ("towline.objects.pruned", Value::Number(pruned)),
    ]
}

/// The ref and the commit of `<ref>@sha1:<commit>`.
fn parts(revision: &str) -> (&str, &str) {
    let (reference, digest) = revision.rsplit_once('@').unwrap_or(("", revision));
    let commit = digest.rsplit_once(':').map_or(digest, |(_, commit)| commit);
    (reference, commit)
}

fn text(value: &str) -> String {
    shorten(&visible(value), LONGEST)
}

/// The start of a hash of texts.
fn hashed<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut id = [0; N];
    id.copy_from_slice(&hash.finalize()[..N]);
    id
}

#[cfg(test)]
mod tests;
