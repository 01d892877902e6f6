//! Notices: "change committed", "diff", "converged", and other news for users.
//!
//! A notice is a value. The [`Notifier`] logs it and gives it to every [`Sink`]. A sink makes it visible
//! to users: as events of the API server ([`events`]), and as messages to services (`outbox`).

mod events;

use std::sync::Arc;

pub use events::{Before, EventWriter};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

use crate::api::Reason;
use crate::text::{shorten, visible};

/// The longest message of a notice, and the longest name in it, in bytes. Thousands wait to be written at
/// times.
const LONGEST_MESSAGE: usize = 2048;
const LONGEST_NAME: usize = 512;

/// How the message of a `Diff` begins. What differs follows.
pub const DIFFERS: &str = "Git and the cluster differ: ";

/// How urgent a notice is, in the words of the events API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something happened as it should.
    Normal,
    /// A person may have to act.
    Warning,
}

impl Level {
    /// The value of an event's field `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Who made a commit, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The author.
    pub author: String,
    /// The first line of the commit's message.
    pub subject: String,
}

/// Something that happened to a Sync or a GitRepository.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The resource.
    pub about: Arc<ObjectReference>,
    /// The revision: `<ref>@sha1:<commit>`.
    pub revision: Option<String>,
    /// The kind of the notice.
    pub reason: Reason,
    /// How urgent it is.
    pub level: Level,
    /// The revision that brought the content that this is about, until that content has been live once. Commit
    /// statuses are about it.
    pub delivers: Option<String>,
    /// The revision whose content was live before, where this one takes its place.
    pub replaces: Option<String>,
    /// The commit of the revision, where it is known.
    pub change: Option<Arc<Change>>,
    /// The first of the objects that the notice is about.
    pub objects: Vec<String>,
    /// The text for users. It holds no secret.
    pub message: String,
    /// When it happened.
    pub at: Timestamp,
}

impl Notice {
    /// A notice about a whole resource, with the current time.
    pub fn about<K: Resource<DynamicType = ()>>(
        resource: &K,
        (level, reason): (Level, Reason),
        revision: Option<&str>,
        message: String,
    ) -> Self {
        Self {
            about: Arc::new(resource.object_ref(&())),
            revision: revision.map(str::to_owned),
            reason,
            level,
            delivers: None,
            replaces: None,
            change: None,
            objects: Vec::new(),
            message,
            at: Timestamp::now(),
        }
    }

    /// A notice about a resource of towline that may be gone, with the current time.
    pub fn about_name(
        (kind, namespace, name): (&str, &str, &str),
        (level, reason): (Level, Reason),
        message: String,
    ) -> Self {
        Self {
            about: Arc::new(ObjectReference {
                kind: Some(kind.to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            }),
            revision: None,
            reason,
            level,
            delivers: None,
            replaces: None,
            change: None,
            objects: Vec::new(),
            message,
            at: Timestamp::now(),
        }
    }

    /// The same notice with the commit of its revision.
    #[must_use]
    pub fn with_change(self, author: &str, subject: &str) -> Self {
        let change = Change {
            author: shorten(author, LONGEST_NAME),
            subject: shorten(subject, LONGEST_NAME),
        };
        Self {
            change: Some(Arc::new(change)),
            ..self
        }
    }

    /// Whether this only says that work on a commit began. It is for commit statuses, and no news for people.
    pub fn is_progress(&self) -> bool {
        self.reason == Reason::Progressing
    }

    /// The commit of the revision.
    pub fn commit(&self) -> Option<&str> {
        commit_of(self.revision.as_deref()?)
    }
}

/// The commit of a revision.
pub fn commit_of(revision: &str) -> Option<&str> {
    let (_, commit) = revision.rsplit_once(':')?;
    Some(commit)
}

/// Makes notices visible. It must not wait, because drivers call it.
pub trait Sink: Send + Sync {
    /// Takes one notice.
    fn take(&self, notice: &Arc<Notice>);
}

/// Gives every notice to every sink. Clones share the sinks.
#[derive(Clone, Default)]
pub struct Notifier {
    sinks: Arc<[Arc<dyn Sink>]>,
}

impl Notifier {
    /// A notifier for these sinks.
    pub fn new(sinks: impl IntoIterator<Item = Arc<dyn Sink>>) -> Self {
        Self {
            sinks: sinks.into_iter().collect(),
        }
    }

    /// Logs a notice and gives it to every sink.
    pub fn tell(&self, mut notice: Notice) {
        notice.message = shorten(&visible(&notice.message), LONGEST_MESSAGE);
        for object in &mut notice.objects {
            *object = shorten(&visible(object), LONGEST_NAME);
        }
        let Notice {
            about,
            reason,
            message,
            ..
        } = &notice;
        if !notice.is_progress() {
            tracing::info!(
                kind = about.kind.as_deref(),
                namespace = about.namespace.as_deref(),
                name = about.name.as_deref(),
                reason = reason.as_str(),
                "{message}"
            );
        }
        let notice = Arc::new(notice);
        for sink in &*self.sinks {
            sink.take(&notice);
        }
    }
}
