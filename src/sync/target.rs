//! The target of a Sync: the desired objects of a revision, matched with objects of the cluster.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::bases::BaseError;
use super::newest::Newest;
use crate::api::{FetchedBase, Reason};
use crate::cluster::Kinds;
use crate::desired::{
    self, Desired, DesiredError, Inputs, Item, Limit, Misplaced, Reading, Resolved,
};
use crate::intent::{FieldRule, RenderIntent, SyncIntent};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{RecordClash, SyncName};
use crate::render;
use crate::source::Snapshot;

/// When a revision is tried again that the cluster refused or Helm works on, and one that could not be read or tried out.
const VALIDATED_AGAIN: Duration = Duration::from_secs(30);
const TRIED_AGAIN: Duration = Duration::from_secs(1);

/// Why a revision cannot become the target.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// The desired state cannot be read.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// A remote base cannot be had.
    #[error("remote base")]
    Base {
        /// Why.
        source: BaseError,
        /// When it is tried again.
        again: Duration,
    },
    /// Remote bases are being fetched.
    #[error("remote bases are fetched first: {0}")]
    Fetching(String),
    /// `spec.validate`: the API server refuses objects of the revision.
    #[error("spec.validate lets nothing be written of a revision with a refused object: {objects}")]
    Refused {
        /// The first of them, and why.
        objects: String,
    },
    /// `spec.validate`: the revision could not be tried out.
    #[error("spec.validate: it could not be tried out: {why}")]
    Untried {
        /// Why.
        why: String,
    },
    /// Whether a chart is installed already cannot be known.
    #[error("the records of Helm of release {release} cannot be read: {why}")]
    HelmUnread {
        /// The release's name.
        release: String,
        /// Why.
        why: String,
    },
    /// Helm is at work on the release that would be taken over.
    #[error("the release is not taken over")]
    HelmAtWork(#[source] RecordClash),
    /// The task that read the revision ended early.
    #[error("reading the repository was interrupted")]
    Interrupted,
}

impl TargetError {
    /// The condition's reason.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Desired(error) => error.reason(),
            Self::Base { source, .. } => source.reason(),
            Self::Refused { .. } => Reason::ValidationFailed,
            Self::Untried { .. } | Self::HelmUnread { .. } => Reason::ApiUnavailable,
            Self::HelmAtWork(_) => Reason::OwnershipConflict,
            Self::Interrupted | Self::Fetching(_) => Reason::Progressing,
        }
    }

    /// Whether only a person can help.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Desired(error) => error.is_lasting(),
            Self::Base { source, .. } => source.is_lasting(),
            Self::Refused { .. }
            | Self::Untried { .. }
            | Self::HelmUnread { .. }
            | Self::HelmAtWork(_)
            | Self::Fetching(_)
            | Self::Interrupted => false,
        }
    }

    /// Whether trying again is of no use until a timer, a person or something new says so.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Base { .. } | Self::Fetching(_) => true,
            Self::Desired(_)
            | Self::Untried { .. }
            | Self::HelmUnread { .. }
            | Self::HelmAtWork(_)
            | Self::Interrupted => self.is_lasting(),
        }
    }

    /// When it is tried again although nothing has changed in Git.
    pub(super) fn again_after(&self) -> Option<Duration> {
        match self {
            Self::Desired(error)
                if error.is_for_want_of_room() || error.is_for_want_of_an_answer() =>
            {
                Some(VALIDATED_AGAIN)
            }
            Self::Desired(_) | Self::Fetching(_) => None,
            Self::Base { source, .. } if source.is_lasting() => None,
            Self::Base { again, .. } => Some(*again),
            Self::Refused { .. } | Self::HelmAtWork(_) => Some(VALIDATED_AGAIN),
            Self::Untried { .. } | Self::HelmUnread { .. } | Self::Interrupted => Some(TRIED_AGAIN),
        }
    }
}

/// Why an object that another Sync owns is not this Sync's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// That Sync has it.
    By(SyncName),
    /// The account may not write it, as the API server says. Who has it is not told.
    Denied(String),
}

impl Taken {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::By(_) => Reason::OwnershipConflict,
            Self::Denied(_) => Reason::ApplyFailed,
        }
    }
}

/// A revision and its desired objects.
pub(super) struct Target {
    pub(super) seen: Newest,
    pub(super) revision: String,
    pub(super) desired: Arc<Desired>,
    /// The remote bases that it is made of.
    pub(super) bases: Vec<FetchedBase>,
}

impl Target {
    /// Whether a revision is known to have the same desired objects. Does not block.
    pub(super) fn is_still(&self, seen: &Newest, scope: &RenderIntent, inputs: &Inputs) -> bool {
        self.desired.is_known_in(&*seen.snapshot, scope, inputs)
    }

    /// The same objects, as another revision asks for them.
    pub(super) fn at(&self, seen: &Newest) -> Self {
        Self {
            seen: seen.clone(),
            revision: seen.revision(),
            desired: Arc::clone(&self.desired),
            bases: self.bases.clone(),
        }
    }

    /// Whether it was made of exactly this.
    pub(super) fn is_of(&self, seen: &Newest, scope: &RenderIntent, inputs: &Inputs) -> bool {
        self.seen.is(seen) && self.desired.is_for(scope, inputs)
    }

    /// The file and document of an object, for messages.
    pub(super) fn place(&self, index: usize) -> Option<String> {
        Some(self.desired.provenance(index)?.to_string())
    }
}

/// What is made of a revision: what the Sync asks for, without what the source leaves out.
pub(super) fn scope<'i>(intent: &'i SyncIntent, newest: &Newest) -> Cow<'i, RenderIntent> {
    match newest.ignore.is_empty() {
        true => Cow::Borrowed(&intent.render),
        false => Cow::Owned(RenderIntent {
            source_ignore: Arc::clone(&newest.ignore),
            ..intent.render.clone()
        }),
    }
}

/// The last refused revision, so that it is not rendered again before something changes.
pub(super) struct Refused {
    snapshot: Weak<Snapshot>,
    /// Of the chart's source.
    chart: Option<Weak<Snapshot>>,
    scope: RenderIntent,
    inputs: Arc<Inputs>,
    /// Whether another try may have another result.
    pub(super) is_tried_again: bool,
}

/// For which newest revision, spec and inputs what was live could not be the target, and why.
pub(super) struct Untaken {
    /// None if it is tried again.
    pub(super) of: Option<Refused>,
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(
        seen: &Newest,
        scope: RenderIntent,
        inputs: Arc<Inputs>,
        is_tried_again: bool,
    ) -> Self {
        Self {
            is_tried_again,
            snapshot: Arc::downgrade(&seen.snapshot),
            chart: weak_chart(seen),
            scope,
            inputs,
        }
    }

    /// Whether this revision was refused.
    pub(super) fn is(&self, seen: &Newest, scope: &RenderIntent, inputs: &Inputs) -> bool {
        let chart = weak_chart(seen);
        let chart = chart.as_ref().map(Weak::as_ptr);
        std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(&seen.snapshot))
            && self.chart.as_ref().map(Weak::as_ptr) == chart
            && self.scope == *scope
            && *self.inputs == *inputs
    }
}

fn weak_chart(seen: &Newest) -> Option<Weak<Snapshot>> {
    let chart = seen.chart.as_ref();
    chart.map(|chart| Arc::downgrade(&chart.seen.snapshot))
}

/// The result of reading a revision.
pub(super) enum Loaded {
    /// The content equals that of the earlier target.
    Same,
    /// The content is new.
    New(Box<Target>),
}

/// Reads the desired objects of `task` on a blocking thread. If the content equals that of `before`,
/// nothing is rendered or parsed.
pub(super) async fn load(
    seen: &Newest,
    task: desired::Task,
    before: Option<&Target>,
    cache: &mut render::Cache,
) -> Result<Loaded, TargetError> {
    let before = before.map(|before| Arc::clone(&before.desired));
    let mut taken = std::mem::take(cache);
    let work = tokio::task::spawn_blocking(move || {
        let reading = desired::read(&task, before.as_deref(), &mut taken);
        (reading, taken)
    });
    let Ok((reading, taken)) = work.await else {
        return Err(TargetError::Interrupted);
    };
    *cache = taken;
    Ok(match reading? {
        Reading::Unchanged => Loaded::Same,
        Reading::Changed(desired) => Loaded::New(Box::new(Target {
            seen: seen.clone(),
            revision: seen.revision(),
            desired: Arc::from(desired),
            bases: Vec::new(),
        })),
    })
}

/// The target's objects, matched with objects of the cluster.
#[derive(Default)]
pub(super) struct Objects {
    /// Objects that can be applied.
    pub(super) items: HashMap<ObjectKey, Item>,
    /// Objects of kinds that are not served, by kind.
    pub(super) waiting: BTreeMap<GroupKind, Vec<usize>>,
    /// Objects without a valid place in the cluster, and why.
    pub(super) misplaced: Vec<(usize, Misplaced)>,
    /// Objects that another Sync owns.
    pub(super) taken: Vec<(ObjectKey, usize, Taken)>,
    /// The Syncs among what can be applied.
    pub(super) syncs: Vec<SyncName>,
}

impl Objects {
    /// Matches every object of the target with an object of the cluster. `within` is the only namespace
    /// that may be managed, if there is one. `rules` say which fields are left as they are.
    pub(super) fn resolve(
        target: &Target,
        kinds: &Kinds,
        within: Option<Limit<'_>>,
        rules: &[FieldRule],
    ) -> Self {
        let is_namespaced = |gvk: &_| kinds.get(gvk).map(|served| served.namespaced);
        let mut resolved = desired::resolve(&target.desired, is_namespaced, within);
        resolved.leave(&target.desired, rules);
        let Resolved {
            items,
            waiting,
            misplaced,
        } = resolved;
        Self {
            syncs: items.keys().filter_map(sync_of).collect(),
            items,
            waiting,
            misplaced,
            taken: Vec::new(),
        }
    }

    /// The kinds of the objects that can be applied.
    pub(super) fn kinds(&self) -> HashSet<GroupKind> {
        self.items.keys().map(|key| key.kind.clone()).collect()
    }
}

/// The Sync that an object is; none if it is of another kind.
pub(super) fn sync_of(key: &ObjectKey) -> Option<SyncName> {
    let is_sync = (&*key.kind.group, &*key.kind.kind) == ("towline.dev", "Sync");
    let namespace = key.namespace.as_deref().filter(|_| is_sync)?;
    Some(SyncName::new(namespace, &key.name))
}

/// A target error with its causes, for messages.
pub(super) fn explain(error: &TargetError) -> String {
    crate::text::redact(&crate::chain(error))
}
